//! Fetching a single file.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use tracing::debug;
use zeroshare_chassis::process::chain;
use zeroshare_content::{BlobId, Name};
use zeroshare_staging::equal_file;

use super::opening::Described;
use super::providers::Hunt;
use super::reuse::{Looking, find_file, reuse};
use super::stage::{self, Target};
use super::{FetchFailure, Run, blocking};

impl Run {
    /// Brings a blob to where it was asked for; an equal file there is a success, another one is never touched.
    pub(super) async fn fetch_blob(
        &self,
        blob: BlobId,
        into: &Path,
    ) -> Result<PathBuf, FetchFailure> {
        if !self.order.into_directory && self.stands(blob, into).await? {
            return Ok(into.to_owned());
        }
        self.entry.update(|view| view.looked_locally = true);
        if let Some(done) = self.blob_from_here(blob, into).await? {
            return Ok(done);
        }
        if !self.order.upstream.is_empty() {
            return self.fetch_with_upstream(blob, into).await;
        }
        let hunt = self.hunt(into.to_owned()).await?;
        self.fetch_from_peers(blob, into, hunt).await
    }

    /// Takes it from those who were found.
    pub(super) async fn fetch_from_peers(
        &self,
        blob: BlobId,
        into: &Path,
        hunt: Hunt,
    ) -> Result<PathBuf, FetchFailure> {
        self.check_size(&hunt)?;
        match self.begin_blob(blob, into, &hunt.described).await? {
            stage::Begun::Present(path) => Ok(path),
            stage::Begun::Staged(staged) => {
                let permit = self.shared.transfers.acquire().await;
                let _permit = permit.map_err(|_| FetchFailure::Stopping)?;
                self.complete(staged, hunt, (None, None)).await
            }
        }
    }

    /// Takes it from this machine; `None` when it is not here, or turns out to be something else.
    async fn blob_from_here(
        &self,
        blob: BlobId,
        into: &Path,
    ) -> Result<Option<PathBuf>, FetchFailure> {
        let found = match find_file(&self.shared, blob).await {
            Ok(found) => found,
            Err(error) => {
                debug!(%error, "the store does not say whether the blob is here");
                None
            }
        };
        let Some(source) = found else { return Ok(None) };
        let described = blocking(&self.shared, "look at a file", move || {
            let size = source.metadata().ok()?.len();
            let name = source
                .file_name()
                .and_then(|name| Name::try_from(name).ok());
            Described::of_blob(blob, size, name)
        });
        let Some(described) = described.await? else {
            return Ok(None);
        };
        let staged = match self.begin_blob(blob, into, &described).await? {
            stage::Begun::Present(path) => return Ok(Some(path)),
            stage::Begun::Staged(staged) => staged,
        };
        let parts = (&described.manifest, &described.layout);
        let looking = Looking::begin(&self.shared, parts, None);
        reuse(&self.shared, &staged, looking).await?;
        if !staged.is_complete() {
            debug!("the file that the store named is not the blob any more");
            return Ok(None);
        }
        let hunt = Hunt::of_local(&self.shared, &self.tasks, self.search(), described);
        self.complete(staged, hunt, (None, None)).await.map(Some)
    }

    pub(super) async fn begin_blob(
        &self,
        blob: BlobId,
        into: &Path,
        described: &Described,
    ) -> Result<stage::Begun, FetchFailure> {
        let path = if self.order.into_directory {
            into.join(name_of(blob, described.file_name.as_ref()))
        } else {
            into.to_owned()
        };
        if self.stands(blob, &path).await? {
            return Ok(stage::Begun::Present(path));
        }
        self.entry.update(|view| view.id = blob.into());
        stage::begin(self, &Target::File(path), described).await
    }

    /// Whether the file is there already; another one in its place is an error.
    async fn stands(&self, blob: BlobId, path: &Path) -> Result<bool, FetchFailure> {
        let own = path.to_owned();
        let looked = blocking(&self.shared, "look at the target", move || {
            equal_file(&own, blob)
        });
        match looked.await? {
            Ok(None) => Ok(false),
            Ok(Some(true)) => Ok(true),
            Ok(Some(false)) => Err(FetchFailure::TargetExists {
                path: path.to_owned(),
            }),
            Err(error) => Err(FetchFailure::BadTarget {
                path: path.to_owned(),
                why: chain(&error),
            }),
        }
    }
}

/// The name that a blob gets when its caller gives none: its sharer's, if that is harmless.
fn name_of(blob: BlobId, offered: Option<&Name>) -> PathBuf {
    let harmless = offered.filter(|name| is_harmless(name.as_bytes()));
    let name = harmless.map(|name| OsStr::from_bytes(name.as_bytes()).into());
    name.unwrap_or_else(|| blob.hex().into())
}

/// A peer chose the name: it must not hide, steer a terminal, look like an option or like a path elsewhere.
fn is_harmless(name: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(name) else {
        return false;
    };
    let is_direction = |letter: char| matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let is_bad = |letter: char| letter.is_control() || letter == '\\' || is_direction(letter);
    !text.starts_with(['.', '-', ' ']) && !text.ends_with(' ') && !text.contains(is_bad)
}

#[cfg(test)]
mod tests {
    use zeroshare_content::HashKind;

    use super::*;

    #[test]
    fn a_harmless_name_is_taken_and_any_other_becomes_the_hex_of_the_id() {
        let blob = BlobId::of(HashKind::Sha256, b"x");
        let named = |name: &[u8]| name_of(blob, Name::new(name).ok().as_ref());
        for name in ["debian-13.iso", "Größe 1.txt", "a b"] {
            assert_eq!(named(name.as_bytes()), Path::new(name));
        }
        let hex = PathBuf::from(blob.hex());
        for name in [
            &b".bashrc"[..],
            b"-rf",
            b"..",
            b"",
            b"a/b",
            b"a\\b",
            b"\x1b[2J",
            b"new\nline",
            b"\xff",
            " blank".as_bytes(),
            "exe\u{202e}gpj".as_bytes(),
            &[b'a'; 256],
        ] {
            assert_eq!(named(name), hex, "{}", name.escape_ascii());
        }
        assert_eq!(name_of(blob, None), hex);
    }
}
