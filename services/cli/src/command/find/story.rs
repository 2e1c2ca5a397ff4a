//! What happened while something was looked for, in words.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::Serialize;
use zeroshare_wire::convert::{duration, socket_address};
use zeroshare_wire::pb::discovery::v1::explain_find_response::{
    Answered, Asked, Began, Ended, NotAsked, Refusal, Step, Unasked,
};
use zeroshare_wire::pb::discovery::v1::{
    ExplainFindResponse, FindProvidersResponse, HoldingClaim, StoreAddress,
};

use crate::render::words;

/// No step comes later than this, and no time named in one is longer.
const LONGEST: Duration = Duration::from_hours(2);

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Line {
    /// Counted from the question.
    pub(super) after_ms: f64,
    /// One word for programs.
    pub(super) event: &'static str,
    pub(super) peer_id: Option<String>,
    pub(super) address: Option<String>,
    pub(super) interface: Option<String>,
    pub(super) road: Option<String>,
    /// The same in words.
    pub(super) text: String,
}

impl Line {
    /// What discovery told; `None` for what only a newer one tells.
    pub(super) fn of(told: &ExplainFindResponse) -> Option<Self> {
        let (event, text) = words_of(told)?;
        let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Some(Self {
            after_ms: millis(span(told.after.as_ref())),
            event,
            peer_id: known(&told.peer_id),
            address: told.address.as_ref().and_then(address),
            interface: known(&told.interface_name),
            road: known(&told.road),
            text,
        })
    }
}

/// Milliseconds to the microsecond.
pub(super) fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

fn words_of(told: &ExplainFindResponse) -> Option<(&'static str, String)> {
    let peer = peer_words(&told.peer_id, told.address.as_ref());
    let told = match told.step.as_ref()? {
        Step::Began(began) => ("began", began_words(began)),
        Step::OnRecord(claim) => {
            let grounds = match HoldingClaim::try_from(*claim) {
                Ok(HoldingClaim::Stated) => "it said lately that it has it",
                Ok(HoldingClaim::Probable | HoldingClaim::Unspecified) | Err(_) => {
                    "the summary of what it holds matches"
                }
            };
            ("on_record", format!("{peer} is on record: {grounds}"))
        }
        Step::Asked(asked) => ("asked", asked_words(told, asked)),
        Step::NotAsked(unasked) => ("not_asked", not_asked_words(unasked)),
        Step::Unsent(error) => {
            let to = destination_words(told);
            let error = if error.is_empty() {
                "no reason given"
            } else {
                error
            };
            (
                "unsent",
                format!("this machine refused to send to {to}: {error}"),
            )
        }
        Step::Answered(answered) => ("answered", answered_words(&peer, told, *answered)),
        Step::EchoAsked(_) => (
            "echo_asked",
            format!("asked {peer} to send back a number, to see that it is really there"),
        ),
        Step::Echoed(took) => {
            let took = millis(span(Some(took)));
            ("echoed", format!("{peer} sent it back, {took} ms later"))
        }
        Step::Silent(_) => ("silent", format!("{peer} did not send it back")),
        Step::PassedOver(refusal) => {
            let refusal = Refusal::try_from(*refusal).unwrap_or_default();
            (
                "passed_over",
                format!("{peer} is not used: {}", refusal_words(refusal)),
            )
        }
        Step::Found(found) => ("found", found_words(&peer, found)),
        Step::Ended(ended) => ("ended", ended_words(ended)),
    };
    Some(told)
}

fn began_words(began: &Began) -> String {
    let of_peers = match (began.peers, began.summed_up) {
        (0, _) => "no peer is known".to_owned(),
        (1, 1) => "1 peer is known, and has told in sum what it holds".to_owned(),
        (1, _) => "1 peer is known".to_owned(),
        (peers, told) => {
            format!("{peers} peers are known, and {told} have told in sum what they hold")
        }
    };
    let reach = match (began.interfaces, began.roads) {
        (0, _) => "no interface is usable".to_owned(),
        (interfaces, roads) => format!(
            "{} with {}",
            words::count(interfaces.into(), "interface"),
            words::count(roads.into(), "road")
        ),
    };
    let named = match began.static_peers {
        0 => String::new(),
        peers => format!(", {}", words::count(peers.into(), "named peer")),
    };
    let wait = seconds(span(began.wait.as_ref()));
    let looking = match began.absent_since.as_ref() {
        Some(since) => format!(
            "nobody had it {} ago, so looking for only {wait}",
            seconds(span(Some(since)))
        ),
        None => format!("looking for {wait}"),
    };
    format!("{of_peers}; {reach}{named}; {looking}")
}

fn asked_words(told: &ExplainFindResponse, asked: &Asked) -> String {
    let to = destination_words(told);
    if asked.held_back {
        return format!("did not ask {to}: this node speaks no faster");
    }
    let again = match asked.number {
        0 | 1 => String::new(),
        number => format!(" ({number}. time)"),
    };
    format!("asked {to}{again}")
}

fn destination_words(told: &ExplainFindResponse) -> String {
    let interface = if told.interface_name.is_empty() {
        String::new()
    } else {
        format!(" on {}", told.interface_name)
    };
    match told.road.as_str() {
        "unicast" => told
            .address
            .as_ref()
            .and_then(address)
            .unwrap_or_else(|| "a peer".to_owned()),
        road => format!("everybody{interface} by {}", road_words(road)),
    }
}

/// A road as people call it.
pub(in crate::command) fn road_words(road: &str) -> &str {
    match road {
        "multicast4" => "IPv4 multicast",
        "multicast6" => "IPv6 multicast",
        other => other,
    }
}

fn not_asked_words(unasked: &NotAsked) -> String {
    match unasked.reason() {
        Unasked::NoWait => "asked nobody: only what is known already was wanted".to_owned(),
        Unasked::Enough => "asked nobody: enough are known".to_owned(),
        Unasked::SummariesTellAll => {
            "asked nobody: all peers have told what they hold, so nobody else would answer"
                .to_owned()
        }
        Unasked::Later | Unasked::Unspecified => format!(
            "asks others only after {}",
            seconds(span(unasked.later.as_ref()))
        ),
    }
}

fn answered_words(peer: &str, told: &ExplainFindResponse, answered: Answered) -> String {
    let what = match (answered.member, answered.on_its_way, answered.part) {
        (true, ..) => "it takes part in getting it".to_owned(),
        (_, true, _) => "it is getting it".to_owned(),
        (.., 255) => "it has all of it".to_owned(),
        (.., part) => format!("it has {} % of it", part * 100 / 255),
    };
    let interface = if told.interface_name.is_empty() {
        String::new()
    } else {
        format!(" on {}", told.interface_name)
    };
    format!(
        "{peer} answered by {}{interface}: {what}",
        road_words(&told.road)
    )
}

fn refusal_words(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Banned => "it was caught lying, and is banned",
        Refusal::Lacks => "asked a moment ago, it had nothing of it",
        Refusal::NoStore => "it has no store that others can read",
        Refusal::OutOfReach => "it is on no network that this machine may speak with",
        Refusal::Gone | Refusal::Unspecified => "it is gone",
    }
}

fn found_words(peer: &str, found: &FindProvidersResponse) -> String {
    let grounds = match found.claim() {
        HoldingClaim::Stated => "by its word",
        HoldingClaim::Probable | HoldingClaim::Unspecified => "probably, by its summary",
    };
    format!("found: {peer} has it, {grounds}")
}

fn ended_words(ended: &Ended) -> String {
    let mut parts = vec![
        format!("over: {} found", words::count(ended.found.into(), "peer")),
        words::count(ended.asked.into(), "question"),
        words::count(ended.answers.into(), "answer"),
        format!(
            "{} of others heard meanwhile",
            words::count(ended.heard, "datagram")
        ),
    ];
    if ended.heard_own == 0 && ended.asked > 0 {
        parts.push("none of this machine's own came back".to_owned());
    }
    if ended.unsent > 0 {
        parts.push(format!("{} could not be sent", ended.unsent));
    }
    if ended.untold > 0 {
        parts.push(format!("{} more things happened", ended.untold));
    }
    parts.join(", ")
}

/// A peer as a line names it: where it is, and the beginning of its id.
fn peer_words(peer_id: &str, at: Option<&StoreAddress>) -> String {
    let id: String = peer_id.chars().take(8).collect();
    match at.and_then(address) {
        Some(address) if id.is_empty() => address,
        Some(address) => format!("{address} ({id}…)"),
        None if id.is_empty() => "a peer".to_owned(),
        None => format!("{id}…"),
    }
}

/// An address as text; without its port where none is told.
pub(in crate::command) fn address(of: &StoreAddress) -> Option<String> {
    if of.port != 0 {
        return Some(socket_address("address", of).ok()?.to_string());
    }
    let some_port = StoreAddress {
        port: 1,
        ..of.clone()
    };
    let ip: SocketAddr = socket_address("address", &some_port).ok()?;
    Some(match (ip, ip.ip()) {
        (SocketAddr::V6(v6), _) if v6.scope_id() != 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
        (_, IpAddr::V4(ip)) => ip.to_string(),
        (_, IpAddr::V6(ip)) => ip.to_string(),
    })
}

/// A time of a message; zero for one that makes no sense.
pub(in crate::command) fn span(time: Option<&prost_types::Duration>) -> Duration {
    let time = time.and_then(|time| duration("after", Some(time), LONGEST).ok());
    time.unwrap_or_default()
}

fn seconds(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{} s", (time.as_secs_f64() * 10.0).round() / 10.0)
    }
}

#[cfg(test)]
mod tests {
    use zeroshare_wire::convert::{store_address, to_duration};
    use zeroshare_wire::pb::discovery::v1::explain_find_response::Silent;

    use super::*;

    fn told(step: Step) -> ExplainFindResponse {
        ExplainFindResponse {
            after: Some(to_duration(Duration::from_micros(1_234))),
            peer_id: "00112233445566778899aabbccddeeff".to_owned(),
            address: Some(store_address("10.0.0.7:38339".parse().unwrap())),
            interface_name: "eth0".to_owned(),
            road: "multicast4".to_owned(),
            step: Some(step),
        }
    }

    fn text(step: Step) -> String {
        Line::of(&told(step)).unwrap().text
    }

    #[test]
    fn every_step_has_a_sentence() {
        let asked = Asked {
            number: 2,
            ..Asked::default()
        };
        assert_eq!(
            text(Step::Asked(asked)),
            "asked everybody on eth0 by IPv4 multicast (2. time)"
        );
        let all = Answered {
            part: 255,
            ..Answered::default()
        };
        assert_eq!(
            text(Step::Answered(all)),
            "10.0.0.7:38339 (00112233…) answered by IPv4 multicast on eth0: it has all of it"
        );
        let banned = Step::PassedOver(Refusal::Banned.into());
        assert!(text(banned).contains("banned"));
        let refused = Step::Unsent("Network is unreachable".to_owned());
        assert!(text(refused).ends_with("Network is unreachable"));
        let began = Began {
            peers: 3,
            summed_up: 2,
            interfaces: 1,
            roads: 2,
            absent_since: Some(to_duration(Duration::from_millis(1_500))),
            wait: Some(to_duration(Duration::from_millis(150))),
            ..Began::default()
        };
        assert_eq!(
            text(Step::Began(began)),
            "3 peers are known, and 2 have told in sum what they hold; 1 interface with 2 roads; \
             nobody had it 1.5 s ago, so looking for only 150 ms"
        );
        let ended = Ended {
            asked: 3,
            ..Ended::default()
        };
        assert!(text(Step::Ended(ended)).contains("none of this machine's own came back"));
    }

    #[test]
    fn a_line_says_when_who_and_where() {
        let line = Line::of(&told(Step::Silent(Silent::default()))).unwrap();
        assert_eq!((line.after_ms, line.event), (1.234, "silent"));
        assert_eq!(line.address.as_deref(), Some("10.0.0.7:38339"));
        assert_eq!(line.interface.as_deref(), Some("eth0"));
    }

    #[test]
    fn a_machine_without_a_port_is_named_by_its_address() {
        let mut at = store_address("[fe80::1%3]:5".parse().unwrap());
        at.port = 0;
        assert_eq!(address(&at).as_deref(), Some("fe80::1%3"));
        let mut at = store_address("10.0.0.7:5".parse().unwrap());
        at.port = 0;
        assert_eq!(address(&at).as_deref(), Some("10.0.0.7"));
    }
}
