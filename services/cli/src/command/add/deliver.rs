//! Hands a tree to the service that writes.

mod send;

use std::path::PathBuf;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use zeroshare_content::Manifest;
use zeroshare_wire::pb::fetcher::v1::AddContentResponse;

use crate::failure::Failure;
use crate::reach::Services;
use crate::render::{Phase, Step, Track};
use crate::session::{Session, interrupted};
use crate::source::Source;
use crate::words::of_status;
use send::Parcel;

/// Parts on their way to the service, of at most 1 MiB each.
const PARTS_AHEAD: usize = 4;

/// A tree to be handed over.
#[derive(Debug)]
pub(in crate::command) struct Delivery {
    /// What it is called in messages.
    pub(in crate::command) shown: String,
    /// Where its files are.
    pub(in crate::command) directory: PathBuf,
    /// What they are.
    pub(in crate::command) manifest: Manifest,
    /// The store that it is for; empty: the service's choice.
    pub(in crate::command) target_store: String,
    /// Whether nobody waits for the disk.
    pub(in crate::command) no_sync: bool,
    /// What must not be removed before all is read.
    pub(in crate::command) kept: Option<Source>,
}

impl Delivery {
    /// Sends all of it, and gives what the service made of it.
    pub(in crate::command) async fn send(
        self,
        services: &Services,
        session: &Session,
        track: &mut Track<'_>,
    ) -> Result<AddContentResponse, Failure> {
        let Self {
            shown,
            directory,
            manifest,
            target_store,
            no_sync,
            kept,
        } = self;
        let (parts, stream) = mpsc::channel(PARTS_AHEAD);
        let (counted, sent) = mpsc::channel(PARTS_AHEAD);
        let parcel = Parcel {
            target_store,
            no_sync,
            parts,
            counted,
        };
        let ours = manifest.clone();
        let sending = session.lifetime.spawn_blocking("send a tree", move || {
            let sent = parcel.send(&ours, &directory);
            drop(kept);
            sent
        });
        let mut fetcher = services.fetcher();
        let call = fetcher.add_content(ReceiverStream::new(stream));
        let answer = watched(call, sent, track, &manifest).await;
        // What went wrong while reading is the cause of what the service says.
        sending
            .await
            .map_err(|_| interrupted())?
            .map_err(|error| Failure::because(&shown, &error))?;
        let added = answer.map_err(|status| of_status(&shown, &status))?;
        Ok(added.into_inner())
    }
}

/// Waits for the call, and shows what was sent meanwhile.
async fn watched<T>(
    call: impl Future<Output = T>,
    mut sent: mpsc::Receiver<u64>,
    track: &mut Track<'_>,
    manifest: &Manifest,
) -> T {
    let mut call = std::pin::pin!(call);
    let mut step = Step {
        total_bytes: manifest.total_size(),
        ..Step::new(Phase::Adding)
    };
    loop {
        tokio::select! {
            answer = &mut call => return answer,
            Some(bytes) = sent.recv() => {
                step.done_bytes = step.done_bytes.saturating_add(bytes);
                if step.done_bytes >= step.total_bytes {
                    step.phase = Phase::Committing;
                }
                track.show(step.clone());
            }
        }
    }
}
