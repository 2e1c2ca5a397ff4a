//! Interfaces that are named, and those that are left alone.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Deserializer};

use super::parsed;
use crate::networks::Network;

/// The longest name that Linux gives an interface.
const MAX_INTERFACE_NAME_BYTES: usize = 15;

/// Modems, dialled lines and tethered phones, as kernels and udev name them.
const METERED: [&str; 7] = ["wwan", "wwp", "wwx", "ppp", "usb", "rmnet", "ccmni"];

/// Names interfaces: one by its name, or those in a network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum InterfaceName {
    /// The kernel's name: `eth0`.
    Name(String),
    /// Every name that begins so: `wwan*`.
    Prefix(String),
    /// Every interface with an address in it: `172.28.1.0/24`.
    Network(Network),
}

/// Text that names no interface.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is neither an interface such as eth0 or wwan* nor a network such as 172.28.1.0/24"
)]
pub struct InterfaceNameError {
    text: String,
}

/// The interfaces that a node leaves alone: it neither speaks on them nor is it read by their networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftAlone {
    /// If there are any, all others are left alone.
    pub named: Vec<InterfaceName>,
    /// These are, whatever else is said.
    pub excluded: Vec<InterfaceName>,
    /// Whether those that cost by volume are, going by their names, unless they are named.
    pub metered: bool,
}

/// Why an interface is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AloneReason {
    /// It is excluded.
    Excluded,
    /// By its name it costs by volume.
    Metered,
    /// Others are named.
    NotNamed,
}

impl InterfaceName {
    /// Whether it names an interface with this name and these addresses.
    pub fn names(&self, name: &str, addresses: &[IpAddr]) -> bool {
        match self {
            Self::Name(this) => this == name,
            Self::Prefix(prefix) => name.starts_with(prefix.as_str()),
            Self::Network(network) => addresses.iter().any(|ip| network.contains(*ip)),
        }
    }
}

impl LeftAlone {
    /// Whether an interface is wanted by name.
    pub fn is_named(&self, name: &str, addresses: &[IpAddr]) -> bool {
        self.named.iter().any(|one| one.names(name, addresses))
    }

    /// Why an interface with this name and these addresses is left alone; `None`: it is not.
    pub fn reason(&self, name: &str, addresses: &[IpAddr]) -> Option<AloneReason> {
        if self.excluded.iter().any(|one| one.names(name, addresses)) {
            return Some(AloneReason::Excluded);
        }
        if self.is_named(name, addresses) {
            return None;
        }
        if self.metered && METERED.iter().any(|prefix| name.starts_with(prefix)) {
            return Some(AloneReason::Metered);
        }
        (!self.named.is_empty()).then_some(AloneReason::NotNamed)
    }
}

impl FromStr for InterfaceName {
    type Err = InterfaceNameError;

    fn from_str(text: &str) -> Result<Self, InterfaceNameError> {
        if let Ok(network) = text.parse() {
            return Ok(Self::Network(network));
        }
        let fits = (1..=MAX_INTERFACE_NAME_BYTES).contains(&text.len());
        let is_plain = !text.contains(['/', ':']) && !text.contains(char::is_whitespace);
        let prefix = text.strip_suffix('*').unwrap_or(text);
        let is_name = fits && is_plain && !prefix.contains('*') && text != "." && text != "..";
        if is_name && prefix.len() < text.len() {
            Ok(Self::Prefix(prefix.to_owned()))
        } else if is_name {
            Ok(Self::Name(text.to_owned()))
        } else {
            Err(InterfaceNameError {
                text: text.to_owned(),
            })
        }
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Network(network) => fmt::Display::fmt(network, f),
        }
    }
}

impl<'de> Deserialize<'de> for InterfaceName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_named_or_in_a_network() {
        for text in [
            "eth0",
            "wlp3s0",
            "wwan*",
            "*",
            "172.28.1.0/24",
            "fd00::/8",
            "10.0.0.1/32",
        ] {
            assert_eq!(text.parse::<InterfaceName>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "a/b",
            "172.28.1.0/33",
            "an interface",
            "0123456789abcdef",
            "..",
            "w*n",
        ] {
            assert!(text.parse::<InterfaceName>().is_err(), "{text}");
        }
    }

    #[test]
    fn exclusion_beats_a_name_and_a_name_beats_what_it_costs() {
        let names = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let left = |named: &[&str], excluded: &[&str], metered| LeftAlone {
            named: names(named),
            excluded: names(excluded),
            metered,
        };
        let at: [IpAddr; 1] = ["10.0.0.7".parse().unwrap()];
        assert_eq!(left(&[], &[], false).reason("wwan0", &at), None);
        let metered = Some(AloneReason::Metered);
        assert_eq!(left(&[], &[], true).reason("wwan0", &at), metered);
        assert_eq!(left(&["wwan0"], &[], true).reason("wwan0", &at), None);
        let excluded = Some(AloneReason::Excluded);
        assert_eq!(
            left(&["wwan0"], &["10.0.0.0/8"], true).reason("wwan0", &at),
            excluded
        );
        assert_eq!(left(&["eth*"], &[], false).reason("eth1", &at), None);
        let not_named = Some(AloneReason::NotNamed);
        assert_eq!(left(&["eth*"], &[], false).reason("wlan0", &at), not_named);
    }
}
