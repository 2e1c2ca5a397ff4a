//! What can be set, and what it comes to.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf};

use clap::Args;
use serde::Deserialize;
use zeroshare_api::connect::LocalEndpoint;
use zeroshare_chassis::{
    listen::LocalAddress,
    networks::Network,
    places::DEFAULT_PORT,
    settings::{
        CommonConfig, InterfaceName, LeftAlone, SettingsError, StaticPeer, choose, choose_list,
    },
};
use zeroshare_identity::GroupSecret;
use zeroshare_membership::Road;

/// Table `[discovery]`, and flags of discovery.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct DiscoverySettings {
    /// Speak on this interface only: its name, the beginning of one (eth*), or a network that it is in; may be repeated
    /// [default: all but those of containers].
    #[arg(
        long,
        value_name = "NAME|NETWORK",
        env = "ZEROSHARE_INTERFACE",
        value_delimiter = ','
    )]
    pub interface: Vec<InterfaceName>,
    /// Never speak on this interface: its name, the beginning of one (wwan*), or a network that it is in; may be repeated.
    #[arg(
        long,
        value_name = "NAME|NETWORK",
        env = "ZEROSHARE_NO_INTERFACE",
        value_delimiter = ','
    )]
    pub no_interface: Vec<InterfaceName>,
    /// Leave modems, dialled lines and tethered phones alone: wwan*, wwp*, wwx*, ppp*, usb*, rmnet*, ccmni*. Goes by these
    /// names only; name others that cost by volume, such as a phone's Wi-Fi, with --no-interface.
    #[arg(
        long,
        env = "ZEROSHARE_SKIP_METERED",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub skip_metered: Option<bool>,
    /// Answer this network too, although it is not directly connected; may be repeated.
    #[arg(
        long,
        value_name = "NETWORK",
        env = "ZEROSHARE_ALLOW_ASKING",
        value_delimiter = ','
    )]
    pub allow_asking: Vec<Network>,
    /// Do not use broadcast, which is tried only where nobody answers multicast.
    #[arg(
        long,
        env = "ZEROSHARE_NO_BROADCAST",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub no_broadcast: Option<bool>,
    /// Do not use IPv4 multicast.
    #[arg(
        long,
        env = "ZEROSHARE_NO_MULTICAST4",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub no_multicast4: Option<bool>,
    /// Do not use IPv6 multicast.
    #[arg(
        long,
        env = "ZEROSHARE_NO_MULTICAST6",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub no_multicast6: Option<bool>,
    /// The UDP port on which everybody is spoken to; all nodes of a LAN must agree [default: 38339].
    #[arg(long, value_name = "PORT", env = "ZEROSHARE_GROUP_PORT")]
    pub group_port: Option<u16>,
    /// Serve discovery's local API on this address too, for tools like grpcurl; may be repeated.
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "ZEROSHARE_DISCOVERY_API",
        value_delimiter = ','
    )]
    pub discovery_api: Vec<SocketAddr>,
}

/// What discovery runs with.
#[derive(Debug, Clone)]
pub struct DiscoveryConfig {
    /// Whether the node shows itself.
    pub mode: Mode,
    /// Where the local API listens.
    pub local: Vec<LocalAddress>,
    /// Where this machine's store is asked what it holds.
    pub store: LocalEndpoint,
    /// Where the node's key and what it learnt lie.
    pub state_dir: PathBuf,
    /// The group whose members alone are heard and spoken to; `None`: those who are in none.
    pub group: Option<GroupSecret>,
    /// Which interfaces are left alone.
    pub left_alone: LeftAlone,
    /// The roads to everybody that may be used.
    pub roads: BTreeSet<Road>,
    /// Networks that are answered although they are not directly connected.
    pub allowed: Vec<Network>,
    /// Peers that are asked by unicast.
    pub static_peers: Vec<StaticPeer>,
    /// The UDP port on which everybody is spoken to.
    pub group_port: u16,
    /// The UDP port on which this node alone is spoken to; 0: any.
    pub unicast_port: u16,
    /// Whether another unicast port will do when this one is taken.
    pub unicast_port_may_change: bool,
    /// Whether the original 0share is answered, where there is no group.
    pub answers_0share: bool,
    /// Whether Zero Install for .NET is told where the store is, where there is no group.
    pub answers_dotnet: bool,
}

/// Whether a node shows itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It says that it lives, and answers.
    Full,
    /// It asks for a command's own short time: a key in memory, nothing announced, nothing answered, nothing kept.
    AsksOnly,
}

impl DiscoveryConfig {
    /// Settles what flags and file say.
    pub fn resolve(
        flags: DiscoverySettings,
        file: DiscoverySettings,
        common: &CommonConfig,
    ) -> Result<Self, SettingsError> {
        let group_port = choose(flags.group_port, file.group_port, DEFAULT_PORT);
        if group_port == 0 {
            return Err(SettingsError::Value {
                name: "group-port",
                why: "everybody must know it, so it cannot be 0".to_owned(),
            });
        }
        let switches = [
            (Road::Multicast4, flags.no_multicast4.or(file.no_multicast4)),
            (Road::Multicast6, flags.no_multicast6.or(file.no_multicast6)),
            (Road::Broadcast, flags.no_broadcast.or(file.no_broadcast)),
        ];
        let roads = switches
            .into_iter()
            .filter(|(_, off)| !off.unwrap_or(false))
            .map(|(road, _)| road)
            .collect();
        let group = GroupSecret::read_if_named(common.group_secret.as_deref())
            .map_err(|error| SettingsError::because("group-secret", &error))?;
        let apis = choose_list(flags.discovery_api, file.discovery_api);
        let local = std::iter::once(LocalAddress::of(&common.places, "discovery"))
            .chain(apis.into_iter().map(LocalAddress::Tcp))
            .collect();
        Ok(Self {
            mode: Mode::Full,
            local,
            store: LocalEndpoint::Unix(common.places.socket("store")),
            state_dir: common.places.state_dir.clone(),
            group,
            left_alone: LeftAlone {
                named: choose_list(flags.interface, file.interface),
                excluded: choose_list(flags.no_interface, file.no_interface),
                metered: flags.skip_metered.or(file.skip_metered).unwrap_or(false),
            },
            roads,
            allowed: choose_list(flags.allow_asking, file.allow_asking),
            static_peers: common.static_peers.clone(),
            group_port,
            unicast_port: common.port,
            unicast_port_may_change: common.port_may_change,
            answers_0share: common.answers_0share,
            answers_dotnet: common.answers_dotnet,
        })
    }

    /// The same for a command's own short time, see [`Mode::AsksOnly`].
    #[must_use]
    pub fn asks_only(self) -> Self {
        Self {
            mode: Mode::AsksOnly,
            unicast_port: 0,
            unicast_port_may_change: true,
            ..self
        }
    }

    /// Whether the original 0share is answered: not in a group, whose members alone are, nor by who only asks.
    pub(crate) fn has_0share(&self) -> bool {
        self.answers_0share && self.group.is_none() && self.mode == Mode::Full
    }

    /// Whether Zero Install for .NET is told where the store is: likewise.
    pub(crate) fn has_dotnet(&self) -> bool {
        self.answers_dotnet && self.group.is_none() && self.mode == Mode::Full
    }
}

#[cfg(test)]
mod tests {
    use zeroshare_chassis::{Env, settings::CommonSettings};

    use super::*;

    fn resolve(flags: DiscoverySettings, file: DiscoverySettings) -> DiscoveryConfig {
        let none = CommonSettings::default;
        let common = CommonConfig::resolve(none(), none(), &Env::default()).unwrap();
        DiscoveryConfig::resolve(flags, file, &common).unwrap()
    }

    #[test]
    fn every_road_has_a_switch_and_a_flag_switches_it_on_again() {
        let none = DiscoverySettings::default;
        assert_eq!(resolve(none(), none()).roads.len(), 3);
        let file = DiscoverySettings {
            no_broadcast: Some(true),
            no_multicast6: Some(true),
            ..none()
        };
        let flags = DiscoverySettings {
            no_broadcast: Some(false),
            ..none()
        };
        let roads = resolve(flags, file).roads;
        assert_eq!(roads, [Road::Multicast4, Road::Broadcast].into());
    }

    #[test]
    fn whoever_only_asks_takes_any_port() {
        let none = DiscoverySettings::default;
        let config = resolve(none(), none()).asks_only();
        assert_eq!((config.mode, config.unicast_port), (Mode::AsksOnly, 0));
        assert_eq!(config.group_port, DEFAULT_PORT);
    }
}
