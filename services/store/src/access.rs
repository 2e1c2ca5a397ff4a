//! Who calls, and what that entitles to.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tonic::{Extensions, Status};
use zeroshare_chassis::networks::ReadableNetworks;
use zeroshare_chassis::serve::{PeerAddress, PeerCredentials};
use zeroshare_shelf::Audience;

use crate::slots::Taker;
use crate::status;

/// Strangers that may connect at once to be told that they may not read.
const STRANGERS_AT_ONCE: u32 = 16;

/// After how long one more stranger may.
const STRANGER_INTERVAL: Duration = Duration::from_secs(4);

/// Who sent a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Another machine, on the LAN.
    Peer(PeerAddress),
    /// Somebody on this machine, by a Unix socket.
    User(PeerCredentials),
    /// Somebody who reaches the local API over TCP.
    Tool(PeerAddress),
}

impl Caller {
    /// Tells who sent a request on the LAN, if that one may read here.
    pub(crate) fn of_lan(
        extensions: &Extensions,
        networks: &ReadableNetworks,
    ) -> Result<Self, Status> {
        let Some(address) = extensions.get::<PeerAddress>() else {
            return Err(status::not_allowed(
                "address",
                "a caller without address".to_owned(),
            ));
        };
        if networks.allows_from(address.0) {
            Ok(Self::Peer(*address))
        } else {
            Err(status::not_allowed("address", address.0.ip().to_string()))
        }
    }

    /// Tells who sent a request to the local API.
    pub(crate) fn of_local(extensions: &Extensions) -> Result<Self, Status> {
        if let Some(credentials) = extensions.get::<PeerCredentials>() {
            return Ok(Self::User(*credentials));
        }
        match extensions.get::<PeerAddress>() {
            Some(address) => Ok(Self::Tool(*address)),
            None => Err(status::not_allowed(
                "user",
                "a caller without credentials".to_owned(),
            )),
        }
    }

    /// Lets only this process's own user and root go on: who may tell us what lies in our stores.
    pub(crate) fn owner(&self) -> Result<(), Status> {
        match self {
            Self::User(credentials) if is_owner(credentials) => Ok(()),
            Self::User(credentials) => {
                Err(status::not_allowed("user", credentials.uid.to_string()))
            }
            Self::Peer(address) | Self::Tool(address) => {
                Err(status::not_allowed("address", address.0.ip().to_string()))
            }
        }
    }

    /// What it may see: other users of this machine see what peers do, since the machine's socket is open to all.
    pub(crate) fn audience(&self) -> Audience {
        match self {
            Self::Peer(_) => Audience::Peers,
            Self::User(credentials) if !is_owner(credentials) => Audience::Peers,
            Self::User(_) | Self::Tool(_) => Audience::Local,
        }
    }

    /// As whose its slots are counted.
    pub(crate) fn taker(&self) -> Taker {
        match self {
            Self::Peer(address) | Self::Tool(address) => Taker::Address(address.0.ip()),
            Self::User(credentials) => Taker::User(credentials.uid),
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(address) | Self::Tool(address) => address.fmt(f),
            Self::User(credentials) => credentials.fmt(f),
        }
    }
}

fn is_owner(credentials: &PeerCredentials) -> bool {
    credentials.uid == 0 || credentials.uid == own_user()
}

fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether those who may read are told what there is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// They are.
    Public,
    /// They must know ids.
    Refused,
}

impl Listing {
    /// They are, unless that was forbidden.
    pub(crate) fn unless(is_forbidden: bool) -> Self {
        if is_forbidden {
            Self::Refused
        } else {
            Self::Public
        }
    }

    /// Lets only those go on who are to be told.
    pub(crate) fn admit(self, caller: &Caller) -> Result<(), Status> {
        match self {
            Self::Public => Ok(()),
            Self::Refused => Err(status::not_allowed("listing", caller.to_string())),
        }
    }
}

/// Lets strangers in now and then, so that an honest one learns why it may not read; a crowd is hung up on.
#[derive(Debug)]
pub(crate) struct Doorkeeper {
    left: Mutex<(u32, Instant)>,
}

impl Doorkeeper {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            left: Mutex::new((STRANGERS_AT_ONCE, now)),
        }
    }

    /// Says whether one more stranger may connect.
    pub(crate) fn admits(&self, now: Instant) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(left.1).as_secs() / STRANGER_INTERVAL.as_secs();
        if passed > 0 {
            let more = u32::try_from(passed).unwrap_or(u32::MAX);
            *left = (left.0.saturating_add(more).min(STRANGERS_AT_ONCE), now);
        }
        match left.0.checked_sub(1) {
            Some(rest) => {
                left.0 = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use zeroshare_api::errors::{ErrorReason, reason};

    use super::*;

    #[test]
    fn who_is_in_no_readable_network_is_not_allowed_to_read() {
        let networks = ReadableNetworks::with_listing(
            vec!["10.9.0.0/16".parse().unwrap()],
            Box::new(|| Ok(vec!["192.168.7.0/24".parse().unwrap()])),
        );
        let caller = |address: &str| {
            let mut extensions = Extensions::new();
            extensions.insert(PeerAddress(address.parse().unwrap()));
            Caller::of_lan(&extensions, &networks)
        };
        for address in ["10.9.1.1:1", "192.168.7.9:1", "127.0.0.1:1", "[fe80::1]:1"] {
            assert_eq!(
                caller(address).unwrap().audience(),
                Audience::Peers,
                "{address}"
            );
        }
        for address in [
            "10.8.1.1:1",
            "192.168.8.9:1",
            "8.8.8.8:1",
            "[2001:db8::1]:1",
        ] {
            assert_eq!(
                refusal(caller(address)),
                ErrorReason::NotAllowed,
                "{address}"
            );
        }
        assert_eq!(
            refusal(Caller::of_lan(&Extensions::new(), &networks)),
            ErrorReason::NotAllowed
        );
        assert_eq!(
            refusal(Caller::of_local(&Extensions::new())),
            ErrorReason::NotAllowed
        );
    }

    #[test]
    fn only_our_own_user_and_root_tell_what_lies_in_the_stores() {
        let user = |uid| {
            Caller::User(PeerCredentials {
                uid,
                gid: 7,
                pid: None,
            })
        };
        assert!(user(0).owner().is_ok());
        assert!(user(own_user()).owner().is_ok());
        assert_eq!(
            refusal(user(own_user() + 1).owner()),
            ErrorReason::NotAllowed
        );
        let tool = Caller::Tool(PeerAddress("127.0.0.1:9".parse().unwrap()));
        assert_eq!(refusal(tool.owner()), ErrorReason::NotAllowed);
    }

    #[test]
    fn other_users_of_this_machine_see_what_peers_see() {
        let audience = |uid| {
            Caller::User(PeerCredentials {
                uid,
                gid: 7,
                pid: None,
            })
            .audience()
        };
        assert_eq!(audience(0), Audience::Local);
        assert_eq!(audience(own_user()), Audience::Local);
        assert_eq!(audience(own_user() + 1), Audience::Peers);
        let tool = Caller::Tool(PeerAddress("127.0.0.1:9".parse().unwrap()));
        assert_eq!(tool.audience(), Audience::Local);
    }

    fn refusal<T: fmt::Debug>(result: Result<T, Status>) -> ErrorReason {
        reason(&result.unwrap_err()).unwrap()
    }

    #[test]
    fn a_crowd_of_strangers_is_hung_up_on_and_later_ones_are_heard_again() {
        let start = Instant::now();
        let door = Doorkeeper::new(start);
        let admitted = (0..100).filter(|_| door.admits(start)).count();
        assert_eq!(admitted, 16);
        let later = start + STRANGER_INTERVAL * 2;
        assert_eq!((0..100).filter(|_| door.admits(later)).count(), 2);
    }
}
