//! `ReadManifest`: a tree's manifest and the targets of its symlinks, from here or from a peer.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tracing::{Instrument as _, debug, info_span};
use zeroshare_chassis::process::chain;
use zeroshare_content::{BlobId, Entry, MAX_MANIFEST_BYTES, Manifest};
use zeroshare_shelf::{Beneath, verify_tree};
use zeroshare_wire::pb::fetcher::v1::ReadManifestResponse;

use crate::fetch::{FetchFailure, Members, Search, Wish, blocking, hunt, read_links, store_for};
use crate::local::{LocalTree, Trust, find_verified};
use crate::request::ManifestOrder;
use crate::shared::Shared;
use crate::status::CallError;

/// Bytes of one message, be it manifest or targets.
const MESSAGE_BYTES: usize = 1024 * 1024;

/// Messages that wait for a slow caller.
const QUEUE: usize = 2;

/// Where a tree's own copy of its manifest lies.
const MANIFEST_FILE: &str = ".manifest";

/// A manifest and what it does not say itself.
struct Described {
    manifest: Manifest,
    /// Where the tree lies, if it is here.
    path: Option<PathBuf>,
    /// In the order of the manifest; empty if they could not be read.
    link_targets: Vec<Bytes>,
}

/// Finds the manifest, and streams it.
pub(crate) async fn read(
    shared: &Arc<Shared>,
    order: ManifestOrder,
) -> Result<ReceiverStream<Result<ReadManifestResponse, Status>>, CallError> {
    let permit = shared.calls.clone().try_acquire_owned();
    let permit = permit.map_err(|_| CallError::Busy)?;
    let span = info_span!("read manifest", id = %order.ids[0]);
    let described = match find_verified(shared, &order.ids, Trust::Index, None).await {
        Some(local) => describe_local(shared, local).instrument(span).await?,
        None => describe_remote(shared, order).instrument(span).await?,
    };
    let (messages, stream) = mpsc::channel(QUEUE);
    let stopping = shared.lifetime.stopping();
    let sending = async move {
        tokio::select! {
            () = send(described, messages) => {}
            () = stopping => {}
        }
        // Held until the caller has all of it.
        drop(permit);
    };
    drop(shared.lifetime.spawn("send a manifest", sending));
    Ok(ReceiverStream::new(stream))
}

async fn send(described: Described, messages: mpsc::Sender<Result<ReadManifestResponse, Status>>) {
    let mut first = ReadManifestResponse {
        content_id: described.manifest.id().to_string(),
        path: described
            .path
            .map_or(String::new(), |path| path.display().to_string()),
        ..ReadManifestResponse::default()
    };
    let mut bytes = 0;
    for target in described.link_targets {
        bytes += target.len();
        first.link_targets.push(target);
        if bytes >= MESSAGE_BYTES {
            if messages.send(Ok(std::mem::take(&mut first))).await.is_err() {
                return;
            }
            bytes = 0;
        }
    }
    if messages.send(Ok(first)).await.is_err() {
        return;
    }
    for part in described.manifest.text().chunks(MESSAGE_BYTES) {
        let data = Bytes::copy_from_slice(part);
        let message = ReadManifestResponse {
            data,
            ..ReadManifestResponse::default()
        };
        if messages.send(Ok(message)).await.is_err() {
            return;
        }
    }
}

async fn describe_local(shared: &Arc<Shared>, local: LocalTree) -> Result<Described, CallError> {
    let manifest = read_local(shared, &local).await?;
    let (text, path) = (manifest.clone(), local.path.clone());
    let targets = blocking(shared, "read links", move || local_links(&text, &path)).await?;
    let link_targets = targets.map_err(|error| FetchFailure::Disk { why: chain(&error) })?;
    Ok(Described {
        manifest,
        path: Some(local.path),
        link_targets,
    })
}

fn local_links(manifest: &Manifest, tree: &Path) -> std::io::Result<Vec<Bytes>> {
    let links = manifest
        .lines()
        .iter()
        .filter(|line| matches!(line.entry, Entry::Symlink { .. }));
    let tree = Beneath::open(tree)?;
    links
        .map(|line| Ok(Bytes::from(tree.link_target(line.path.as_path())?)))
        .collect()
}

/// Reads the manifest of a tree that verified: its own copy, else as hashing it anew gives.
pub(crate) async fn read_local(
    shared: &Arc<Shared>,
    local: &LocalTree,
) -> Result<Manifest, FetchFailure> {
    let (id, path) = (local.id, local.path.clone());
    let read = blocking(shared, "read a manifest", move || {
        // A copy that is not the right one says nothing about the tree.
        if let Ok(text) = read_own_copy(&path)
            && let Ok(manifest) = Manifest::verified(&id, text)
        {
            return Ok(manifest);
        }
        let store = path.parent().unwrap_or(Path::new("/"));
        let verified = verify_tree(store, &id, &mut |_| ());
        let tree = verified.map_err(|error| FetchFailure::Disk { why: chain(&error) })?;
        Manifest::verified(&id, tree.manifest)
            .map_err(|error| FetchFailure::of_manifest(id.into(), &error))
    });
    read.await?
}

fn read_own_copy(tree: &Path) -> std::io::Result<Vec<u8>> {
    let file = Beneath::open(tree)?.file(Path::new(MANIFEST_FILE))?;
    let mut text = Vec::new();
    file.take(MAX_MANIFEST_BYTES as u64 + 1)
        .read_to_end(&mut text)?;
    Ok(text)
}

async fn describe_remote(
    shared: &Arc<Shared>,
    order: ManifestOrder,
) -> Result<Described, CallError> {
    let tasks = shared.lifetime.child();
    let store = store_for(shared, None).await;
    let wish = Wish {
        ids: order.ids.iter().map(Into::into).collect(),
        with_pieces: false,
        spool_dir: store.unwrap_or_else(|_| std::env::temp_dir()),
    };
    let patience = order.locate_timeout.unwrap_or(shared.config.locate_timeout);
    let search = Search {
        members: Members::LeftOut,
        ids: order.ids.iter().map(Into::into).collect(),
        from: order.from,
        patience,
    };
    let hunted = hunt(shared, &tasks, search, wish).await;
    tasks.stop();
    let hunted = hunted?;
    let links = match &hunted.peer {
        Some(peer) => {
            read_links(
                shared,
                peer,
                &hunted.described.manifest,
                &hunted.described.layout,
            )
            .await
        }
        None => BTreeMap::new(),
    };
    let link_targets = in_order(&hunted.described.manifest, &links).unwrap_or_else(|| {
        debug!("the targets of symlinks could not be read");
        Vec::new()
    });
    Ok(Described {
        manifest: hunted.described.manifest,
        path: None,
        link_targets,
    })
}

fn in_order(manifest: &Manifest, links: &BTreeMap<BlobId, Bytes>) -> Option<Vec<Bytes>> {
    let targets = manifest.lines().iter().filter_map(|line| match line.entry {
        Entry::Symlink { blob, .. } => Some(blob),
        Entry::Directory | Entry::File { .. } => None,
    });
    targets.map(|blob| links.get(&blob).cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_that_is_a_link_or_a_pipe_is_not_opened() {
        let place = tempfile::tempdir().unwrap();
        let own = place.path().join(MANIFEST_FILE);
        std::fs::write(place.path().join("other"), "D /x\n").unwrap();
        std::os::unix::fs::symlink("other", &own).unwrap();
        read_own_copy(place.path()).unwrap_err();
        std::fs::remove_file(&own).unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mknodat(rustix::fs::CWD, &own, fifo, mode, 0).unwrap();
        read_own_copy(place.path()).unwrap_err();
        std::fs::remove_file(&own).unwrap();
        std::fs::write(&own, "D /x\n").unwrap();
        assert_eq!(read_own_copy(place.path()).unwrap(), b"D /x\n");
    }
}
