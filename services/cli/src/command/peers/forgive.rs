//! `zeroshare peers forgive`: lifts bans.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, SocketAddr};

use clap::Args;
use serde::Serialize;
use zeroshare_wire::convert::store_address;
use zeroshare_wire::pb::discovery::v1::{ForgivePeerRequest, StoreAddress};

use super::{PeersReport, look};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::reach::Needs;
use crate::render::{Page, Report, words};
use crate::session::Session;
use crate::words::of_status;

const EXAMPLES: &str = "\
Examples:
  zeroshare peers forgive 192.168.1.7
  zeroshare peers forgive 192.168.1.7:38339
  zeroshare peers forgive 3f2a91c0
  zeroshare peers forgive --all";

/// Fewer digits name nobody.
const LEAST_DIGITS: usize = 4;

/// A node's id in hex digits.
const ID_DIGITS: usize = 32;

/// Whose bans to lift.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct ForgiveArguments {
    /// A peer's id or its beginning, or an address with or without port.
    #[arg(value_name = "PEER|ADDRESS", value_parser = parse_whom, required_unless_present = "all")]
    pub whom: Option<Whom>,

    /// Lift all bans.
    #[arg(long, conflicts_with = "whom")]
    pub all: bool,
}

/// Whose bans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whom {
    /// Those of a live peer, by the beginning of its id.
    Peer(String),
    /// Those of all stores at an address.
    Machine(IpAddr),
    /// That of one store.
    Store(SocketAddr),
}

fn parse_whom(text: &str) -> Result<Whom, String> {
    if let Ok(address) = text.parse() {
        return Ok(Whom::Store(address));
    }
    if let Ok(address) = text.parse() {
        return Ok(Whom::Machine(address));
    }
    let is_id = (LEAST_DIGITS..=ID_DIGITS).contains(&text.len())
        && text.chars().all(|digit| digit.is_ascii_hexdigit());
    if is_id {
        return Ok(Whom::Peer(text.to_ascii_lowercase()));
    }
    Err("neither an address (such as 192.168.1.7 or 192.168.1.7:38339) nor a peer's id".to_owned())
}

#[derive(Debug, Serialize)]
struct ForgiveReport {
    forgiven_peers: u32,
}

impl Report for ForgiveReport {
    fn write(&self, page: &mut Page) -> fmt::Result {
        match self.forgiven_peers {
            0 => writeln!(page, "nobody was banned there"),
            number => writeln!(page, "{} lifted", words::count(number.into(), "ban")),
        }
    }
}

/// Lifts them in the running node.
pub(super) async fn run(arguments: ForgiveArguments, session: &Session) -> Result<Exit, Failure> {
    let services = session.services(Needs::RUNNING_NODE)?;
    let request = match arguments.whom {
        None => ForgivePeerRequest::default(),
        Some(Whom::Peer(beginning)) => ForgivePeerRequest {
            peer_id: the_one(&look(services.discovery()).await?, &beginning)?,
            address: None,
        },
        Some(Whom::Store(address)) => at(store_address(address)),
        Some(Whom::Machine(address)) => at(StoreAddress {
            port: 0,
            ..store_address(SocketAddr::new(address, 1))
        }),
    };
    let forgiven = services.discovery().forgive_peer(request).await;
    let forgiven = forgiven.map_err(|status| of_status("the ban", &status))?;
    session.output.report(&ForgiveReport {
        forgiven_peers: forgiven.into_inner().forgiven_peers,
    })?;
    Ok(Exit::Done)
}

fn at(address: StoreAddress) -> ForgivePeerRequest {
    ForgivePeerRequest {
        peer_id: String::new(),
        address: Some(address),
    }
}

/// The only live peer whose id begins so.
fn the_one(known: &PeersReport, beginning: &str) -> Result<String, Failure> {
    let ids = known.peers.iter().map(|peer| peer.peer_id.as_str());
    let mut fitting: Vec<&str> = ids.filter(|id| id.starts_with(beginning)).collect();
    fitting.dedup();
    match fitting.as_slice() {
        [id] => Ok((*id).to_owned()),
        [] => {
            let message = format!("no peer is heard whose id begins with {beginning}");
            Err(Failure::failed(message)
                .advise("Name its address instead, as `zeroshare peers` shows it."))
        }
        _ => Err(Failure::failed(format!(
            "the ids of several peers begin with {beginning}; give more digits"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use zeroshare_wire::pb::discovery::v1::Peer;

    use super::*;
    use crate::command::peers::show::PeerDocument;

    #[test]
    fn addresses_and_ids_are_told_apart() {
        let ip: IpAddr = "10.0.0.7".parse().unwrap();
        assert_eq!(parse_whom("10.0.0.7"), Ok(Whom::Machine(ip)));
        assert_eq!(
            parse_whom("10.0.0.7:9"),
            Ok(Whom::Store(SocketAddr::new(ip, 9)))
        );
        assert_eq!(parse_whom("AB12"), Ok(Whom::Peer("ab12".to_owned())));
        assert_eq!(
            parse_whom("fd00::1"),
            Ok(Whom::Machine("fd00::1".parse().unwrap()))
        );
        for wrong in ["", "abc", "host", "10.0.0.7:x", &"a".repeat(33)] {
            assert!(parse_whom(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_beginning_of_an_id_names_one_peer_or_nobody() {
        let peer = |id: &str| {
            PeerDocument::from(&Peer {
                peer_id: id.to_owned(),
                ..Peer::default()
            })
        };
        let known = PeersReport {
            peers: vec![peer("ab1200"), peer("ab1300")],
            bans: Vec::new(),
        };
        assert_eq!(the_one(&known, "ab12"), Ok("ab1200".to_owned()));
        assert!(the_one(&known, "ab1").is_err());
        assert!(the_one(&known, "cd").is_err());
    }
}
