//! Whether neighbours' stores can be read: they are asked as a fetch would, in a group over TLS and as a member of it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tonic::Status;
use zeroshare_api::connect::{ConnectError, PeerChannelOptions, peer_channel};
use zeroshare_api::errors;
use zeroshare_api::health::{Health, check_health_over};
use zeroshare_wire::datagram::NodeId;
use zeroshare_wire::pb::errors::v1::ErrorReason;

use super::finding::Finding;
use super::network::{LET_IN, millis};
use crate::failure::chain;
use crate::settings::Resolved;
use crate::together::all;

/// A store on a LAN takes a connection within milliseconds.
const CONNECT_TIME: Duration = Duration::from_secs(1);

/// Where a neighbour's store is, and which node it should be.
pub(super) type At = (SocketAddr, Option<NodeId>);

/// Asks these stores. `is_node_in_group` is what the node says of itself, where it is known.
pub(super) async fn stores(
    stores: Vec<At>,
    settings: &Resolved,
    is_node_in_group: Option<bool>,
) -> Vec<Finding> {
    let is_secret_known = settings.fetcher.group.is_some();
    let mut findings = Vec::new();
    let options = PeerChannelOptions {
        connect_time: CONNECT_TIME,
        ..PeerChannelOptions::default()
    };
    let options = match (is_node_in_group.unwrap_or(is_secret_known), is_secret_known) {
        (false, false) => options,
        (false, true) => {
            findings.push(node_without_secret());
            options
        }
        (true, false) => return vec![secret_unknown()],
        (true, true) => match settings.fetcher.member() {
            Ok(member) => PeerChannelOptions { member, ..options },
            Err(error) => return vec![no_member(&chain(&error))],
        },
    };
    let asked = stores.into_iter().map(|at| store(at, &options));
    findings.extend(all(asked.collect()).await);
    findings
}

fn secret_unknown() -> Finding {
    let text = "this node is in a group whose secret this command does not know, so no neighbour's store was tried";
    Finding::hint("group", text).advise(
        "Name the file where commands find it too: ZEROSHARE_GROUP_SECRET=FILE, or group-secret = \"FILE\" under [common] in \
         the configuration.",
    )
}

fn node_without_secret() -> Finding {
    let text = "the configuration names a group secret, and this node runs without one";
    Finding::hint("group", text)
        .advise("Start the node anew: what it is started with, and the configuration, count then.")
}

fn no_member(why: &str) -> Finding {
    let text = format!("this machine cannot prove that it is of its group: {why}");
    Finding::fault("group", text).advise(
        "Its node cannot either: `zeroshare config show` tells where the group secret should be.",
    )
}

async fn store((store, node): At, options: &PeerChannelOptions) -> Finding {
    let began = Instant::now();
    let is_member = options.member.is_some();
    let finding = match peer_channel(store, &options.expecting(node)).await {
        Err(error) => unreachable(store, &error),
        Ok(channel) => match check_health_over(channel, "").await {
            Ok(Health::Serving) => serves(store, is_member, began.elapsed()),
            Ok(Health::NotServing | Health::Unknown) => {
                let text = format!("{store} takes connections, and does not serve now");
                Finding::hint("store", text)
                    .advise("Its node starts or ends: try again in a few seconds.")
            }
            Err(status) => refused(store, &status),
        },
    };
    finding.about(store.to_string())
}

fn serves(store: SocketAddr, is_member: bool, took: Duration) -> Finding {
    let who = if is_member {
        "proves to be of this group"
    } else {
        "takes connections"
    };
    let took = millis(took);
    Finding::ok(
        "store",
        format!("{store} {who} and serves, after {took} ms"),
    )
}

/// It was heard by UDP, and then this.
fn unreachable(store: SocketAddr, error: &ConnectError) -> Finding {
    match error {
        ConnectError::TimedOut { .. } => {
            let text =
                format!("{store} answers by UDP, and does not take TCP connections within 1 s");
            let advice = format!("A firewall there or here probably drops them. {LET_IN}");
            Finding::fault("store", text).advise(advice)
        }
        ConnectError::Failed { source, .. } => {
            let text =
                format!("{store} answers by UDP, and cannot be connected to by TCP: {source}");
            Finding::fault("store", text).advise(LET_IN)
        }
        ConnectError::Unproven { source, .. } if is_another_node(source) => {
            let text = format!("{store} is of this group, and not who was heard there: {source}");
            Finding::fault("store", text).advise(
                "Machines may have changed addresses: try again in a minute. If it stays, one machine was copied from another: \
                 stop the node on the copy, and remove the file node-key in its state directory.",
            )
        }
        ConnectError::Unproven { source, .. } => {
            let text = format!(
                "{store} takes TCP connections, and does not prove to be of this group: {source}"
            );
            Finding::fault("store", text).advise(
                "Its node may run with an older group secret, or without one: give it the same file, and start it anew. If the \
                 file was changed here, start this machine's node anew. It may also be another program that has the port there, \
                 or the node there does not let this network read (`zeroshare node --allow NETWORK`).",
            )
        }
        ConnectError::NotHttp2 { .. } => no_store(store, &chain(error)),
    }
}

fn is_another_node(source: &std::io::Error) -> bool {
    source.kind() == std::io::ErrorKind::PermissionDenied
}

/// It takes connections, and then this.
fn refused(store: SocketAddr, status: &Status) -> Finding {
    if errors::reason(status) == Some(ErrorReason::NotAllowed) {
        let text = format!("{store} takes connections, and does not let this machine read");
        return Finding::fault("store", text).advise(
            "Machines let the networks read that they are in themselves. There: `zeroshare node --allow NETWORK`.",
        );
    }
    no_store(store, status.message())
}

fn no_store(store: SocketAddr, why: &str) -> Finding {
    let text = format!("{store} takes TCP connections, and no store of zeroshare answers: {why}");
    Finding::fault("store", text).advise(
        "Another program may have the port there, or the node there has a group secret and this one none.",
    )
}

#[cfg(test)]
mod tests {
    use std::io;

    use tokio::net::TcpListener;

    use super::super::finding::Level;
    use super::*;

    fn in_clear() -> PeerChannelOptions {
        PeerChannelOptions {
            connect_time: CONNECT_TIME,
            ..PeerChannelOptions::default()
        }
    }

    #[tokio::test]
    async fn a_store_that_takes_no_connection_is_wrong() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        drop(listener);
        let found = store((at, None), &in_clear()).await;
        assert_eq!(found.level, Level::Fault);
        assert!(found.text.contains("refused"), "{}", found.text);
    }

    #[tokio::test]
    async fn a_program_that_hangs_up_is_no_store() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let hanging_up = async {
            loop {
                drop(listener.accept().await);
            }
        };
        let options = in_clear();
        let found = tokio::select! {
            () = hanging_up => None,
            found = store((at, None), &options) => Some(found),
        };
        let found = found.unwrap();
        assert_eq!(found.level, Level::Fault);
        let is_told_apart = found.text.contains("takes TCP connections, and no store");
        assert!(is_told_apart, "{}", found.text);
    }

    #[test]
    fn another_node_and_no_member_are_told_apart() {
        let at: SocketAddr = "10.0.0.1:38339".parse().unwrap();
        let said = |kind| {
            let source = io::Error::new(kind, "so it is");
            let error = ConnectError::Unproven {
                address: at,
                source,
            };
            unreachable(at, &error).text
        };
        let another = said(io::ErrorKind::PermissionDenied);
        assert!(another.contains("is of this group, and not"), "{another}");
        let no_member = said(io::ErrorKind::UnexpectedEof);
        assert!(no_member.contains("does not prove"), "{no_member}");
    }
}
