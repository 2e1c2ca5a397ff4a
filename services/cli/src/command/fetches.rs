//! `zeroshare fetches`: the fetches that run, and those that ended lately.

use std::fmt;

use serde::Serialize;
use zeroshare_wire::pb::fetcher::v1::{
    Fetch, FetchState, ListFetchesRequest, PeerFault, PeerShare,
};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::reach::Needs;
use crate::render::{Page, Report, Table, words};
use crate::session::Session;
use crate::words::of_status;

/// A fetch, for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct FetchDocument {
    pub(crate) content_id: String,
    pub(crate) state: &'static str,
    pub(crate) start_time: Option<String>,
    pub(crate) into_path: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) done_bytes: u64,
    pub(crate) total_bytes: u64,
    pub(crate) reused_bytes: u64,
    pub(crate) done_files: u64,
    pub(crate) total_files: u64,
    pub(crate) clients: u32,
    pub(crate) user_ids: Vec<u32>,
    pub(crate) peers: Vec<ShareDocument>,
    pub(crate) failure_reason: Option<&'static str>,
    pub(crate) failure_message: Option<String>,
}

/// What came from one peer, for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ShareDocument {
    pub(crate) peer_id: String,
    pub(crate) address: String,
    pub(crate) received_bytes: u64,
    pub(crate) bytes_per_second: u64,
    pub(crate) fault: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct FetchesReport {
    fetches: Vec<FetchDocument>,
}

impl From<&Fetch> for FetchDocument {
    fn from(fetch: &Fetch) -> Self {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let progress = fetch.progress.clone().unwrap_or_default();
        let failed = fetch.state() == FetchState::Failed;
        Self {
            content_id: fetch.content_id.clone(),
            state: state_name(fetch.state()),
            start_time: words::moment(fetch.start_time.as_ref()),
            into_path: some(&fetch.into_path),
            path: some(&fetch.path),
            done_bytes: progress.done_bytes,
            total_bytes: progress.total_bytes,
            reused_bytes: progress.reused_bytes,
            done_files: progress.done_files,
            total_files: progress.total_files,
            clients: fetch.clients,
            user_ids: fetch.user_ids.clone(),
            peers: progress.peers.iter().map(ShareDocument::from).collect(),
            failure_reason: failed.then(|| crate::words::name(fetch.failure_reason())),
            failure_message: some(&fetch.failure_message),
        }
    }
}

impl From<&PeerShare> for ShareDocument {
    fn from(share: &PeerShare) -> Self {
        Self {
            peer_id: share.peer_id.clone(),
            address: share.address.clone(),
            received_bytes: share.received_bytes,
            bytes_per_second: share.bytes_per_second,
            fault: fault_name(share.fault()),
        }
    }
}

impl Report for FetchesReport {
    fn write(&self, page: &mut Page) -> fmt::Result {
        let mut table = Table::new(&["ID", "STATE", "DONE", "OF", "SINCE", "PATH"]);
        for fetch in &self.fetches {
            let place = fetch.path.clone().or_else(|| fetch.into_path.clone());
            table.row([
                fetch.content_id.clone(),
                fetch.state.to_owned(),
                words::size(fetch.done_bytes),
                words::size(fetch.total_bytes),
                fetch.start_time.clone().unwrap_or_default(),
                place
                    .or_else(|| fetch.failure_message.clone())
                    .unwrap_or_default(),
            ]);
        }
        table.write(page)
    }
}

/// Lists fetches.
pub async fn run(session: &Session) -> Result<Exit, Failure> {
    let services = session.services(Needs::RUNNING_NODE)?;
    let answer = services.fetcher().list_fetches(ListFetchesRequest {}).await;
    let answer = answer.map_err(|status| of_status("the fetches", &status))?;
    let fetches = answer
        .into_inner()
        .fetches
        .iter()
        .map(FetchDocument::from)
        .collect();
    session.output.report(&FetchesReport { fetches })?;
    Ok(Exit::Done)
}

/// A fault's name, as in the contract.
fn fault_name(fault: PeerFault) -> Option<&'static str> {
    match fault {
        PeerFault::Unspecified => None,
        PeerFault::Violation => Some("violation"),
        PeerFault::Corrupt => Some("corrupt"),
        PeerFault::WrongBytes => Some("wrong_bytes"),
        PeerFault::Convicted => Some("convicted"),
    }
}

/// What somebody did, for people; `None`: nothing wrong.
pub(crate) fn accusation(share: &PeerShare) -> Option<String> {
    let deed = match share.fault() {
        PeerFault::Unspecified => return None,
        PeerFault::Violation => "broke the protocol; nothing of that was kept",
        PeerFault::Corrupt => {
            "found its own copy damaged: `zeroshare repair` there brings it right again"
        }
        PeerFault::WrongBytes => {
            "sent wrong bytes, of which nothing was kept: it lied, or a disk, the network or a memory is at fault"
        }
        PeerFault::Convicted => {
            "sent wrong bytes and insisted on them; nothing was kept, and it is not asked for a while (`zeroshare peers`)"
        }
    };
    let name = if share.address.is_empty() {
        &share.peer_id
    } else {
        &share.address
    };
    Some(format!("{name} {deed}"))
}

/// A state's name, as in the contract.
pub(crate) fn state_name(state: FetchState) -> &'static str {
    match state {
        FetchState::Unspecified => "unknown",
        FetchState::Locating => "locating",
        FetchState::Transferring => "transferring",
        FetchState::Committing => "committing",
        FetchState::Succeeded => "succeeded",
        FetchState::Failed => "failed",
        FetchState::Cancelled => "cancelled",
    }
}
