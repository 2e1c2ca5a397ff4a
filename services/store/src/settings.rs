//! What can be set, and what it comes to.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;
use serde::Deserialize;
use zeroshare_chassis::listen::LocalAddress;
use zeroshare_chassis::networks::Network;
use zeroshare_chassis::places::Owner;
use zeroshare_chassis::restrict::Restriction;
use zeroshare_chassis::serve::LanBounds;
use zeroshare_chassis::settings::{
    CommonConfig, LeftAlone, SettingsError, StaticPeer, choose, choose_list,
};
use zeroshare_identity::GroupSecret;
use zeroshare_kin::Kin;
use zeroshare_shelf::{
    Environment, IndexPlace, RootKind, ShelvedRoot, StoreRoot, feed_caches, store_roots,
};

use crate::access::Listing;

/// Transfers at once: as many as a crowd of 16 that starts together needs twice over. Who is told to come back loses more
/// than who waits for the line, by simulation.
const MAX_TRANSFERS: u32 = 64;

/// Transfers at once to one peer: one that is served by several others needs few of each.
const MAX_TRANSFERS_PER_PEER: u32 = 8;

/// Disks decay slowly.
const REVERIFY_DAYS: u32 = 30;

/// Slow enough that nobody hears the disk, fast enough for 40 TB a month.
const REVERIFY_MIB_PER_SECOND: u32 = 16;

const DAY: Duration = Duration::from_hours(24);

/// Table `[store]`, and flags of the store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct StoreSettings {
    /// Offer what this store holds to peers, and no other store's; may be repeated [default: all that are found].
    #[arg(
        long,
        value_name = "STORE",
        env = "ZEROSHARE_SHARE",
        value_delimiter = ':'
    )]
    pub share: Vec<PathBuf>,
    /// Do not offer what this store holds; may be repeated.
    #[arg(
        long,
        value_name = "STORE",
        env = "ZEROSHARE_NO_SHARE",
        value_delimiter = ':'
    )]
    pub no_share: Vec<PathBuf>,
    /// Let this network read too, like 10.0.0.0/8, beside those directly connected; may be repeated.
    #[arg(
        long,
        value_name = "NET",
        env = "ZEROSHARE_ALLOW",
        value_delimiter = ','
    )]
    pub allow: Vec<Network>,
    /// Do not serve peers at all.
    #[arg(
        long,
        env = "ZEROSHARE_NO_LAN",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub no_lan: Option<bool>,
    /// Serve the store's local API on this address too, for tools like grpcurl: whoever reaches it sees all stores, also those not shared; may be repeated.
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "ZEROSHARE_STORE_API",
        value_delimiter = ','
    )]
    pub store_api: Vec<SocketAddr>,
    /// Do not tell peers which trees are offered: they must know an id to read it.
    #[arg(
        long,
        env = "ZEROSHARE_NO_LISTING",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub no_listing: Option<bool>,
    /// Let peers read the signed feeds that 0install has cached, if they know the address, with the public key from this user's gpg.
    #[arg(
        long,
        env = "ZEROSHARE_SHARE_FEEDS",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub share_feeds: Option<bool>,
    /// Transfers to peers at once; further ones are told to come back [default: 64].
    #[arg(long, value_name = "COUNT", env = "ZEROSHARE_MAX_TRANSFERS")]
    pub max_transfers: Option<u32>,
    /// Transfers to one peer at once [default: 8].
    #[arg(long, value_name = "COUNT", env = "ZEROSHARE_MAX_TRANSFERS_PER_PEER")]
    pub max_transfers_per_peer: Option<u32>,
    /// Send all peers together no more than this a second, like 10M or 2MiB; 0: no limit [default: no limit].
    #[arg(long, value_name = "BYTES", env = "ZEROSHARE_UPLOAD_LIMIT")]
    pub upload_limit: Option<ByteSize>,
    /// Hash everything again after so many days, since disks decay; 0: never [default: 30].
    #[arg(long, value_name = "DAYS", env = "ZEROSHARE_REVERIFY_DAYS")]
    pub reverify_days: Option<u32>,
    /// Hash again no faster than this, in MiB per second [default: 16].
    #[arg(long, value_name = "MIB", env = "ZEROSHARE_REVERIFY_RATE")]
    pub reverify_rate: Option<u32>,
}

/// What the store runs with.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// The stores that are read, in the order of lookup.
    pub roots: Vec<ShelvedRoot>,
    /// Where the index is kept.
    pub index: IndexPlace,
    /// Where the local API listens.
    pub local: Vec<LocalAddress>,
    /// Whether peers are served.
    pub lan: bool,
    /// Whether peers are told which trees are offered.
    pub listing: Listing,
    /// 0install's caches whose signed feeds peers may read; none: no feed is shared.
    pub feeds: Vec<PathBuf>,
    /// The group whose members alone are served, over TLS; `None`: whoever is in a readable network.
    pub group: Option<GroupSecret>,
    /// The older programs that are answered by HTTP/1.1, where there is no group.
    pub kin: BTreeSet<Kin>,
    /// Where the node's key lies.
    pub state_dir: PathBuf,
    /// Who may read, beside directly connected networks.
    pub allow: Vec<Network>,
    /// Interfaces whose networks may not read.
    pub left_alone: LeftAlone,
    /// Who may read as well, by name.
    pub static_peers: Vec<StaticPeer>,
    /// Transfers to peers at once.
    pub max_transfers: u32,
    /// Transfers to one peer at once.
    pub max_transfers_per_peer: u32,
    /// How many bytes a second all peers together are sent; `None`: as many as they take.
    pub upload_limit_bytes: Option<u64>,
    /// After how long everything is hashed again; `None`: never.
    pub reverify_age: Option<Duration>,
    /// How many bytes a second are hashed again.
    pub reverify_rate_bytes: u64,
    /// What one peer may hold.
    pub bounds: LanBounds,
    /// How long a reader may take for one part of an answer.
    pub part_deadline: Duration,
    /// How the kernel restricts the thread that runs this; `None`: nobody asked it to.
    pub restriction: Option<Restriction>,
}

impl StoreConfig {
    /// Settles what flags and file say, and finds the stores of this environment.
    pub fn resolve(
        flags: StoreSettings,
        file: StoreSettings,
        common: &CommonConfig,
    ) -> Result<Self, SettingsError> {
        let environment = Environment::of_process();
        let found = store_roots(&environment, &common.stores);
        let roots = read_roots(found, common.places.owner, &common.stores);
        let feeds = if choose(flags.share_feeds, file.share_feeds, false) {
            read_feeds(environment, common.places.owner)
        } else {
            Vec::new()
        };
        let config = Self::resolve_with_roots(flags, file, common, roots)?;
        Ok(Self { feeds, ..config })
    }

    fn resolve_with_roots(
        flags: StoreSettings,
        file: StoreSettings,
        common: &CommonConfig,
        roots: Vec<PathBuf>,
    ) -> Result<Self, SettingsError> {
        let share = choose_list(flags.share, file.share);
        let no_share = choose_list(flags.no_share, file.no_share);
        let apis = choose_list(flags.store_api, file.store_api);
        let local = std::iter::once(LocalAddress::of(&common.places, "store"))
            .chain(apis.into_iter().map(LocalAddress::Tcp))
            .collect();
        let days = choose(flags.reverify_days, file.reverify_days, REVERIFY_DAYS);
        let rate = choose(
            flags.reverify_rate,
            file.reverify_rate,
            REVERIFY_MIB_PER_SECOND,
        );
        let transfers = choose(flags.max_transfers, file.max_transfers, MAX_TRANSFERS);
        let per_peer = choose(
            flags.max_transfers_per_peer,
            file.max_transfers_per_peer,
            MAX_TRANSFERS_PER_PEER,
        );
        for (name, value) in [
            ("max-transfers", transfers),
            ("max-transfers-per-peer", per_peer),
            ("reverify-rate", rate),
        ] {
            if value == 0 {
                return Err(SettingsError::Value {
                    name,
                    why: "must be at least 1".to_owned(),
                });
            }
        }
        let upload_limit = choose(flags.upload_limit, file.upload_limit, ByteSize(0));
        let upload_limit_bytes = (upload_limit.0 > 0).then_some(upload_limit.0);
        let group = GroupSecret::read_if_named(common.group_secret.as_deref())
            .map_err(|error| SettingsError::because("group-secret", &error))?;
        apart(&common.places.cache_dir, &roots)?;
        Ok(Self {
            roots: shelved(roots, &share, &no_share)?,
            index: IndexPlace::File(common.places.cache_dir.join("index.sqlite")),
            local,
            lan: !choose(flags.no_lan, file.no_lan, false),
            listing: Listing::unless(choose(flags.no_listing, file.no_listing, false)),
            feeds: Vec::new(),
            group,
            kin: kin_of(common),
            state_dir: common.places.state_dir.clone(),
            allow: choose_list(flags.allow, file.allow),
            left_alone: LeftAlone::default(),
            static_peers: common.static_peers.clone(),
            max_transfers: transfers,
            max_transfers_per_peer: per_peer,
            upload_limit_bytes,
            reverify_age: (days > 0).then(|| DAY * days),
            reverify_rate_bytes: u64::from(rate) * 1024 * 1024,
            bounds: LanBounds::lan(),
            part_deadline: Duration::from_secs(30),
            restriction: None,
        })
    }

    /// The older programs that are answered: in a group none, as they cannot prove to be members.
    pub(crate) fn kin(&self) -> BTreeSet<Kin> {
        match self.group {
            Some(_) => BTreeSet::new(),
            None => self.kin.clone(),
        }
    }
}

fn kin_of(common: &CommonConfig) -> BTreeSet<Kin> {
    let all = [
        (Kin::ZeroShare, common.answers_0share),
        (Kin::DotNet, common.answers_dotnet),
    ];
    let answered = all.into_iter().filter(|(_, is_on)| *is_on);
    answered.map(|(kin, _)| kin).collect()
}

/// Names the stores that a node reads: the machine's own leaves out what is root's private cache, unless it is named.
fn read_roots(found: Vec<StoreRoot>, owner: Owner, named: &[PathBuf]) -> Vec<PathBuf> {
    let is_read = |root: &StoreRoot| {
        owner == Owner::User || root.kind != RootKind::User || named.contains(&root.path)
    };
    let read = found.into_iter().filter(is_read);
    read.map(|root| absolute(&root.path)).collect()
}

/// Names the caches of feeds that are shared: the machine's own node leaves out root's, like root's store.
fn read_feeds(mut environment: Environment, owner: Owner) -> Vec<PathBuf> {
    if owner == Owner::Machine {
        environment.home = None;
        environment.vars.remove("XDG_CACHE_HOME");
    }
    feed_caches(&environment)
}

/// Refuses an index among the stores: its directory stays writable, where the stores must not be.
fn apart(cache_dir: &Path, roots: &[PathBuf]) -> Result<(), SettingsError> {
    let cache = real(cache_dir);
    let is_mixed = |root: &&PathBuf| {
        let root = real(root);
        root.starts_with(&cache) || cache.starts_with(&root)
    };
    match roots.iter().find(is_mixed) {
        None => Ok(()),
        Some(root) => Err(SettingsError::Value {
            name: "cache-dir",
            why: format!(
                "{} and the store {} must not lie in each other",
                cache_dir.display(),
                root.display()
            ),
        }),
    }
}

/// Where a path leads, as far as it exists.
fn real(path: &Path) -> PathBuf {
    let path = absolute(path);
    let known = path.ancestors().find_map(|ancestor| {
        let real = std::fs::canonicalize(ancestor).ok()?;
        Some(real.join(path.strip_prefix(ancestor).ok()?))
    });
    known.unwrap_or(path)
}

/// Says of each store whether it is offered.
fn shelved(
    roots: Vec<PathBuf>,
    share: &[PathBuf],
    no_share: &[PathBuf],
) -> Result<Vec<ShelvedRoot>, SettingsError> {
    let share: Vec<PathBuf> = share.iter().map(|path| absolute(path)).collect();
    let no_share: Vec<PathBuf> = no_share.iter().map(|path| absolute(path)).collect();
    for (name, paths) in [("share", &share), ("no-share", &no_share)] {
        if let Some(unknown) = paths.iter().find(|path| !roots.contains(path)) {
            let known: Vec<String> = roots
                .iter()
                .map(|root| root.display().to_string())
                .collect();
            let why = format!(
                "{} is none of the stores, which are {}",
                unknown.display(),
                known.join(", ")
            );
            return Err(SettingsError::Value { name, why });
        }
    }
    let is_shared =
        |path: &PathBuf| (share.is_empty() || share.contains(path)) && !no_share.contains(path);
    Ok(roots
        .into_iter()
        .map(|path| ShelvedRoot {
            shared: is_shared(&path),
            path,
        })
        .collect())
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use zeroshare_chassis::Env;
    use zeroshare_chassis::settings::CommonSettings;

    use super::*;

    #[test]
    fn every_store_is_shared_unless_something_else_is_said() {
        check(&[], &[], &[("/a", true), ("/b", true)]);
        check(&["/b"], &[], &[("/a", false), ("/b", true)]);
        check(&[], &["/b/"], &[("/a", true), ("/b", false)]);
        check(&["/a", "/b"], &["/a"], &[("/a", false), ("/b", true)]);
    }

    #[test]
    fn sharing_an_unknown_store_is_refused_and_the_known_ones_are_named() {
        let error = resolve(&StoreSettings {
            share: vec!["/c".into()],
            ..StoreSettings::default()
        })
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "`share`: /c is none of the stores, which are /a, /b"
        );
    }

    #[test]
    fn bounds_of_nothing_are_refused_and_zero_means_never_or_no_limit() {
        for settings in [
            StoreSettings {
                max_transfers: Some(0),
                ..StoreSettings::default()
            },
            StoreSettings {
                max_transfers_per_peer: Some(0),
                ..StoreSettings::default()
            },
            StoreSettings {
                reverify_rate: Some(0),
                ..StoreSettings::default()
            },
        ] {
            assert!(resolve(&settings).is_err());
        }
        let limited = |text: &str| {
            let settings = StoreSettings {
                upload_limit: Some(text.parse().unwrap()),
                ..StoreSettings::default()
            };
            resolve(&settings).unwrap().upload_limit_bytes
        };
        assert_eq!(limited("0"), None);
        assert_eq!(limited("2MiB"), Some(2 << 20));
        let never = StoreSettings {
            reverify_days: Some(0),
            ..StoreSettings::default()
        };
        assert_eq!(resolve(&never).unwrap().reverify_age, None);
        assert_eq!(
            resolve(&StoreSettings::default()).unwrap().reverify_age,
            Some(DAY * 30)
        );
    }

    #[test]
    fn the_machines_node_leaves_roots_own_store_alone_unless_it_is_named() {
        let found = || {
            [("/r/.cache", RootKind::User), ("/var", RootKind::System)]
                .map(|(path, kind)| StoreRoot {
                    path: path.into(),
                    kind,
                })
                .into()
        };
        let [own, system] = ["/r/.cache", "/var"].map(PathBuf::from);
        let both = [own.clone(), system.clone()];
        assert_eq!(read_roots(found(), Owner::Machine, &[]), [system]);
        assert_eq!(read_roots(found(), Owner::Machine, &[own]), both);
        assert_eq!(read_roots(found(), Owner::User, &[]), both);
    }

    #[test]
    fn the_machines_node_shares_the_machines_feeds_alone() {
        let environment = Environment {
            home: Some("/root".into()),
            ..Environment::default()
        };
        let [own, system] = ["/root/.cache", "/var/cache"]
            .map(|cache| Path::new(cache).join("0install.net/interfaces"));
        assert_eq!(
            read_feeds(environment.clone(), Owner::User),
            [own, system.clone()]
        );
        assert_eq!(read_feeds(environment, Owner::Machine), [system]);
    }

    #[test]
    fn an_index_and_a_store_must_not_lie_in_each_other() {
        let place = zeroshare_testkit::Scratch::new();
        let store = place.directory("store");
        std::os::unix::fs::symlink(&store, place.join("alias")).unwrap();
        let roots = [store.clone()];
        for mixed in [
            store.clone(),
            store.join("cache"),
            place.join("alias/new/cache"),
            place.path().to_owned(),
        ] {
            let error = apart(&mixed, &roots).unwrap_err().to_string();
            assert!(error.starts_with("`cache-dir`"), "{error}");
        }
        apart(&place.join("store-index"), &roots).unwrap();
    }

    fn check(share: &[&str], no_share: &[&str], expected: &[(&str, bool)]) {
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect();
        let settings = StoreSettings {
            share: paths(share),
            no_share: paths(no_share),
            ..StoreSettings::default()
        };
        let roots = resolve(&settings).unwrap().roots;
        let roots: Vec<(&str, bool)> = roots
            .iter()
            .map(|root| (root.path.to_str().unwrap(), root.shared))
            .collect();
        assert_eq!(roots, expected);
    }

    fn resolve(settings: &StoreSettings) -> Result<StoreConfig, SettingsError> {
        let env = Env {
            vars: BTreeMap::new(),
            uid: 1000,
        };
        let common =
            CommonConfig::resolve(CommonSettings::default(), CommonSettings::default(), &env)?;
        let roots = vec!["/a".into(), "/b".into()];
        StoreConfig::resolve_with_roots(settings.clone(), StoreSettings::default(), &common, roots)
    }
}
