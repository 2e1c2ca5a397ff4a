//! `zeroshare secure-add`: what 0install runs after a download, so that all users have what one of them downloaded.
//!
//! 0install looks for a program `0store-secure-add-helper` in `PATH`, and runs it with the digest as its argument in a directory
//! with the unpacked tree and its manifest. It takes exit code 0 as its word that the tree is in a store now, and removes its own;
//! after any other it keeps the tree for this user alone. The environment is the user's: it says where this user's 0install looks for stores, and
//! nothing more.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use rustix::fs::OFlags;
use tracing::{Instrument as _, info_span};
use zeroshare_chassis::Places;
use zeroshare_content::{ContentId, MAX_MANIFEST_BYTES, Manifest, TreeId};
use zeroshare_shelf::{Environment, store_roots};

use crate::command::add::Delivery;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::reach::Services;
use crate::render::{Phase, Progress, Step};
use crate::session::{Session, interrupted};

const EXAMPLES: &str = "\
The current directory has the tree and its .manifest. The machine's node reads every byte from this command, and verifies it: no user
has to be trusted, and none needs to become another one. Exit code 0 means that the tree is in a store of all users.

Examples:
  cd tree && zeroshare secure-add sha256new_…
  zeroshare setup 0install          lets 0install run it after each download";

/// What 0install hands over.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct SecureAddArguments {
    /// What the directory in the store is called.
    #[arg(value_name = "DIGEST", value_parser = parse_digest)]
    pub digest: Digest,

    /// Where the machine's node listens.
    #[arg(long, value_name = "DIR", default_value = "/run/zeroshare")]
    pub node_dir: PathBuf,
}

/// An id, as 0install spells it.
#[derive(Debug, Clone)]
pub struct Digest {
    id: TreeId,
    name: String,
}

/// Reads a name exactly as stores have it, since 0install looks for just that.
fn parse_digest(text: &str) -> Result<Digest, String> {
    let id = TreeId::from_directory_name(text.as_bytes())
        .ok_or_else(|| format!("{text:?} is no name of a tree in a store"))?;
    if !ContentId::Tree(id).travels() {
        return Err("trees of the oldest algorithm, sha1, are ambiguous and are not added".into());
    }
    let name = text.to_owned();
    Ok(Digest { id, name })
}

/// Hands the tree in the current directory to the machine's node.
pub async fn run(arguments: SecureAddArguments, session: &Session) -> Result<Exit, Failure> {
    let span = info_span!(parent: None, "cli.secure_add", digest = %arguments.digest.name);
    add(arguments, session).instrument(span).await
}

async fn add(arguments: SecureAddArguments, session: &Session) -> Result<Exit, Failure> {
    let Digest { id, name } = arguments.digest;
    let places = Places {
        runtime_dir: arguments.node_dir,
        ..Places::machine()
    };
    let services = Services::running_in(places)?;
    let progress = Progress::new(&session.output);
    let mut track = progress.track(&name);
    track.show(Step::new(Phase::Verifying));
    let reading = session
        .lifetime
        .spawn_blocking("read a manifest", move || read_manifest(&id));
    let manifest = reading.await.map_err(|_| interrupted())??;
    let delivery = Delivery {
        shown: name.clone(),
        directory: PathBuf::from("."),
        manifest,
        target_store: String::new(),
        no_sync: false,
        kept: None,
    };
    let added = delivery.send(&services, session, &mut track).await?;
    drop(track);
    let roots = store_roots(&Environment::of_process(), &[]);
    let stores = roots.iter().map(|root| root.path.as_path());
    if will_be_found(Path::new(&added.path), &name, stores) {
        return Ok(Exit::Done);
    }
    // 0install removes its own copy once we succeed, and then looks for exactly this.
    let message = format!(
        "the node has it as {}, where 0install does not look",
        added.path
    );
    Err(Failure::failed(message))
}

/// Reads the manifest that lies in the tree: nothing of it counts before it matches the id.
fn read_manifest(id: &TreeId) -> Result<Manifest, Failure> {
    let read = || -> io::Result<Vec<u8>> {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits();
        let file: File = OpenOptions::new()
            .read(true)
            .custom_flags(flags.cast_signed())
            .open(".manifest")?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let mut text = Vec::new();
        // One more than allowed, so that too much is noticed.
        file.take(MAX_MANIFEST_BYTES as u64 + 1)
            .read_to_end(&mut text)?;
        Ok(text)
    };
    let text = read().map_err(|error| Failure::because("cannot read ./.manifest", &error))?;
    Manifest::verified(id, text).map_err(|error| Failure::because("./.manifest", &error))
}

/// Whether 0install finds a tree there that it looks for under this name.
fn will_be_found<'a>(path: &Path, name: &str, mut stores: impl Iterator<Item = &'a Path>) -> bool {
    path.file_name().is_some_and(|found| found == name)
        && stores.any(|store| path.parent() == Some(store))
        && fs::metadata(path).is_ok_and(|found| found.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_stores_have_are_taken() {
        let hex = "0123456789abcdef0123456789abcdef01234567";
        let new = format!("sha1new={hex}");
        assert_eq!(parse_digest(&new).unwrap().name, new);
        let upper = format!("sha1new={}", hex.to_uppercase());
        let (old, none) = (format!("sha1={hex}"), String::new());
        let long = format!("{new}/../x");
        for refused in [&upper, &old, &none, &long] {
            assert!(parse_digest(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn a_tree_that_0install_would_not_find_is_no_success() {
        let scratch = tempfile::tempdir().unwrap();
        let store = scratch.path().join("store");
        fs::create_dir_all(store.join("sha256=x")).unwrap();
        let stores = || [Path::new("/other"), store.as_path()].into_iter();
        let found = |path: &Path, name: &str| will_be_found(path, name, stores());
        assert!(found(&store.join("sha256=x"), "sha256=x"));
        assert!(!found(&store.join("sha256=x"), "sha256new_X"));
        assert!(!found(&store.join("missing"), "missing"));
        assert!(!found(&scratch.path().join("store"), "store"));
    }
}
