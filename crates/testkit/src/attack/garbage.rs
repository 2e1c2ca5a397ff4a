//! Garbage, by seed.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use fastrand::Rng;
use http::{Request, header::CONTENT_TYPE};
use http_body_util::Full;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tonic::{body::Body, transport::Endpoint};
use tower::{Service as _, ServiceExt as _};
use zeroshare_wire::{
    AtMost,
    datagram::{Alive, Body as Said, Datagram, Day, Echo, GroupKey, NodeId, Query, Tag, encode},
};

/// No answer to garbage is waited for any longer.
const PATIENCE: Duration = Duration::from_millis(100);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const METHODS: [&str; 7] = [
    "/zeroshare.store.v1.StoreService/StatContent",
    "/zeroshare.store.v1.StoreService/ReadManifest",
    "/zeroshare.store.v1.StoreService/ReadPieces",
    "/zeroshare.store.v1.StoreService/ReadMidstates",
    "/zeroshare.store.v1.StoreService/WatchPieces",
    "/zeroshare.store.v1.LocalStoreService/ListContent",
    "/grpc.health.v1.Health/Check",
];

/// Opens connections one after the other and sends random bytes: plain, as HTTP/1, and as frames of
/// HTTP/2 with a right beginning.
pub async fn garbage_connections(address: SocketAddr, seed: u64, count: usize) {
    let mut random = Rng::with_seed(seed);
    for _ in 0..count {
        let bytes = garbage(&mut random);
        let Ok(Ok(mut connection)) = timeout(PATIENCE, TcpStream::connect(address)).await else {
            continue;
        };
        let _cut_off = timeout(PATIENCE, connection.write_all(&bytes)).await;
        let _cut_off = connection.shutdown().await;
        let mut answer = Vec::new();
        let _cut_off = timeout(PATIENCE, connection.read_to_end(&mut answer)).await;
    }
}

/// Calls methods that are there and such that are not, with messages of random bytes.
pub async fn garbage_calls(address: SocketAddr, seed: u64, count: usize) {
    let mut random = Rng::with_seed(seed);
    let endpoint = Endpoint::try_from(format!("http://{address}")).expect("an address is a URI");
    let mut channel = endpoint.connect_lazy();
    for _ in 0..count {
        let request = garbage_call(&mut random, address);
        let Ok(Ok(ready)) = timeout(PATIENCE, channel.ready()).await else {
            channel = endpoint.connect_lazy();
            continue;
        };
        let _refused = timeout(PATIENCE, ready.call(request)).await;
    }
}

/// A datagram that nobody should send: random bytes, a right one with changed bytes, or a right one
/// of somebody who lies about who he is, when he said it, or how many there are.
pub fn garbage_datagram(random: &mut Rng) -> Vec<u8> {
    let mut bytes = encode(&lie(random), &GroupKey::none(), None);
    match random.u8(..3) {
        0 => random_bytes(random, 1400),
        1 => {
            for _ in 0..random.usize(1..8) {
                let at = random.usize(..bytes.len());
                bytes[at] = random.u8(..);
            }
            bytes.truncate(random.usize(..=bytes.len()));
            bytes
        }
        _ => bytes,
    }
}

fn lie(random: &mut Rng) -> Datagram {
    let body = match random.u8(..4) {
        0 => Said::Leaving,
        1 => Said::Alive(Alive {
            ttl: Duration::from_secs(random.u64(..)),
            known_nodes: random.u32(..),
            filter: None,
        }),
        2 => Said::Query(Query {
            nonce: random.u64(..),
            tags: AtMost::first([Tag::from_bits(random.u64(..))]),
            day: Day::from_number(random.u32(..)),
            enough: random.u8(..),
            spread: Duration::from_millis(random.u64(..20_000)),
            known_nodes: random.u32(..),
            exclude: AtMost::default(),
            round: random.u8(..),
        }),
        _ => Said::Echo(Echo {
            nonce: random.u64(..),
            reply: random.bool(),
        }),
    };
    Datagram {
        node: NodeId::from_bytes(random.u128(..).to_be_bytes()),
        incarnation: random.u64(..),
        sequence: u64::MAX - random.u64(..10),
        store_port: random.u16(..),
        unicast_port: random.u16(..),
        trace: None,
        body,
    }
}

fn garbage(random: &mut Rng) -> Vec<u8> {
    let mut bytes = match random.u8(..4) {
        0 => Vec::new(),
        1 => b"GET / HTTP/1.1\r\nHost: x\r\n".to_vec(),
        2 => PREFACE.to_vec(),
        _ => [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat(),
    };
    for _ in 0..random.usize(..4) {
        let payload = random_bytes(random, 400);
        let length = u32::try_from(payload.len()).unwrap_or(0);
        bytes.extend_from_slice(&length.to_be_bytes()[1..]);
        bytes.extend([random.u8(..12), random.u8(..)]);
        bytes.extend_from_slice(&random.u32(..8).to_be_bytes());
        bytes.extend(payload);
    }
    bytes
}

fn garbage_call(random: &mut Rng, address: SocketAddr) -> Request<Body> {
    let method = match random.usize(..=METHODS.len()) {
        known if known < METHODS.len() => METHODS[known],
        _ => "/zeroshare.store.v1.StoreService/Format",
    };
    let payload = random_bytes(random, 2000);
    let length = match random.u8(..4) {
        0 => random.u32(..),
        _ => u32::try_from(payload.len()).unwrap_or(0),
    };
    let compressed = u8::from(random.u8(..8) == 0);
    let framed = [&[compressed], &length.to_be_bytes()[..], &payload].concat();
    let content_type = match random.u8(..8) {
        0 => "text/plain",
        _ => "application/grpc",
    };
    Request::post(format!("http://{address}{method}"))
        .header(CONTENT_TYPE, content_type)
        .header("te", "trailers")
        .body(Body::new(Full::new(Bytes::from(framed))))
        .expect("the parts are right")
}

fn random_bytes(random: &mut Rng, most: usize) -> Vec<u8> {
    let mut bytes = vec![0; random.usize(..=most)];
    random.fill(&mut bytes);
    bytes
}
