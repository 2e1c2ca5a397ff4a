//! What this machine holds already.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::{debug, warn};
use zeroshare_api::deadline;
use zeroshare_content::TreeId;
use zeroshare_shelf::{RootKind, StoreRoot, is_own_mount, verify_tree};
use zeroshare_wire::pb::store::v1::{HeldContent, ListContentRequest};

use crate::shared::Shared;
use zeroshare_chassis::process::chain;

/// Pages of a thousand that are looked through before a tree is hashed rather than looked up.
const MAX_PAGES: usize = 64;

/// How sure one has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// The store's index counts where it says that the tree was verified.
    Index,
    /// Every byte is hashed now.
    Nothing,
}

/// A tree that lies in a store and verifies.
#[derive(Debug, Clone)]
pub(crate) struct LocalTree {
    pub(crate) id: TreeId,
    pub(crate) path: PathBuf,
}

/// What looking at all copies of a tree showed.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// The first that verifies.
    pub(crate) found: Option<LocalTree>,
    /// The first that does not, of those before that one.
    pub(crate) damaged: Option<PathBuf>,
}

/// Finds a tree that verifies, under any of its names and spellings, in the stores or in one more.
pub(crate) async fn find_verified(
    shared: &Arc<Shared>,
    ids: &[TreeId],
    trust: Trust,
    also: Option<&Path>,
) -> Option<LocalTree> {
    look(shared, ids, trust, also).await.found
}

/// Looks at all copies of a tree until one verifies.
pub(crate) async fn look(
    shared: &Arc<Shared>,
    ids: &[TreeId],
    trust: Trust,
    also: Option<&Path>,
) -> Look {
    let mut damaged = None;
    for id in ids {
        let id = *id;
        let mut roots = shared.config.roots.clone();
        roots.extend(also.map(|path| StoreRoot {
            path: path.to_owned(),
            kind: RootKind::Named,
        }));
        let finding = shared
            .lifetime
            .spawn_blocking("find a tree", move || copies(&roots, &id));
        for path in finding.await.unwrap_or_default() {
            let is_right = (trust == Trust::Index && is_indexed(shared, id, &path).await)
                || verifies(shared, id, path.clone()).await;
            if is_right {
                let found = Some(LocalTree { id, path });
                return Look { found, damaged };
            }
            damaged.get_or_insert(path);
        }
    }
    Look {
        found: None,
        damaged,
    }
}

/// Every directory that has a name of the tree, the best name first; what a mount shows is asked of this very service.
fn copies(roots: &[StoreRoot], id: &TreeId) -> Vec<PathBuf> {
    let names = id.directory_names();
    let roots = roots.iter().filter(|root| !is_own_mount(&root.path));
    let paths = names
        .iter()
        .flat_map(|name| roots.clone().map(move |root| root.path.join(name)));
    let mut found: Vec<PathBuf> = Vec::new();
    for path in paths {
        if path.is_dir() && !found.contains(&path) {
            found.push(path);
        }
    }
    found
}

async fn verifies(shared: &Arc<Shared>, id: TreeId, path: PathBuf) -> bool {
    let Some(store) = path.parent().map(Path::to_owned) else {
        return false;
    };
    let hashed = shared.lifetime.spawn_blocking("verify a tree", move || {
        verify_tree(&store, &id, &mut |_| ())
    });
    match hashed.await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => {
            warn!(%id, path = %path.display(), error = %chain(&error), "a stored tree does not verify");
            false
        }
        Err(_) => false,
    }
}

/// Asks the store's index, which has the tree only after it was hashed in full.
async fn is_indexed(shared: &Shared, id: TreeId, path: &Path) -> bool {
    shared.handing.settled(id.into()).await;
    let limit = shared.config.patience.local_call;
    match deadline::within(limit, look_up(shared, id)).await {
        Ok(Some(held)) => held.verify_time.is_some() && Path::new(&held.path) == path,
        Ok(None) => false,
        Err(error) => {
            debug!(%id, %error, "the store does not say whether it holds a tree");
            false
        }
    }
}

async fn look_up(shared: &Shared, id: TreeId) -> Result<Option<HeldContent>, tonic::Status> {
    let wanted = id.to_string();
    let mut page_token = String::new();
    for _ in 0..MAX_PAGES {
        let request = ListContentRequest { page_token };
        let page = shared.store().list_content(request).await?.into_inner();
        if let Some(held) = page
            .contents
            .into_iter()
            .find(|held| held.content_id == wanted)
        {
            return Ok(Some(held));
        }
        if page.next_page_token.is_empty() {
            break;
        }
        page_token = page.next_page_token;
    }
    Ok(None)
}
