//! `zeroshare share`: offers single files, or takes them back.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use tokio_stream::StreamExt as _;
use zeroshare_content::{ContentId, IdError};
use zeroshare_wire::pb::store::v1::{ShareFilesRequest, ShareFilesResponse, UnshareFilesRequest};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::reach::{Needs, Services};
use crate::render::{Page, Phase, Progress, Report, Step};
use crate::session::Session;
use crate::words::of_status;

const EXAMPLES: &str = "\
Standard output has the id of each file and its path. Whoever has the id fetches the file with `zeroshare fetch ID`; its name
travels along. The node reads it where it lies: nothing is copied. As soon as it changes, moves or vanishes it is not offered
any more; changed bytes are never sent.

Files are shared by the user as whom the node runs, and by root; a machine's node refuses all other users, because what it may
read is not theirs to publish. They share from a node of their own.

Examples:
  zeroshare share debian-13.iso
  zeroshare share *.deb
  zeroshare share --remove debian-13.iso
  zeroshare share --remove blob:sha256:…";

/// What to share.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct ShareArguments {
    /// Regular files; with --remove also ids (blob:sha256:…).
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// Do not offer them any more.
    #[arg(long)]
    pub remove: bool,
}

#[derive(Debug, Serialize)]
struct ShareReport {
    files: Vec<SharedDocument>,
}

#[derive(Debug, Serialize)]
struct SharedDocument {
    content_id: String,
    path: String,
    size_bytes: Option<u64>,
    shared: bool,
}

impl Report for ShareReport {
    fn write(&self, page: &mut Page) -> fmt::Result {
        self.files.iter().try_for_each(|file| {
            let path = Path::new(&file.path).display().to_string();
            writeln!(page, "{}  {}", file.content_id, path.escape_debug())
        })
    }
}

/// Shares, or takes back.
pub async fn run(arguments: ShareArguments, session: &Session) -> Result<Exit, Failure> {
    if arguments.remove {
        return remove(&arguments, session).await;
    }
    let mut failures = Vec::new();
    let mut paths = Vec::new();
    for file in &arguments.files {
        match place_of(file) {
            Ok(path) => paths.push(path),
            Err(failure) => failures.push(failure),
        }
    }
    let services = session.services(Needs::STORE)?;
    let files = if paths.is_empty() {
        Vec::new()
    } else {
        share(&services, session, paths, &mut failures).await?
    };
    if !files.is_empty() {
        session.output.report(&ShareReport { files })?;
        if services.are_our_own() {
            session
                .output
                .note("No node runs here: the files are offered once one does (`zeroshare node`).");
        }
    }
    // The last one is the caller's to print.
    let last = failures.pop();
    for failure in &failures {
        session.output.failure(failure);
    }
    last.map_or(Ok(Exit::Done), Err)
}

async fn share(
    services: &Services,
    session: &Session,
    paths: Vec<String>,
    failures: &mut Vec<Failure>,
) -> Result<Vec<SharedDocument>, Failure> {
    let answer = services
        .store()
        .share_files(ShareFilesRequest { paths })
        .await;
    let mut answers = answer
        .map_err(|status| of_status("sharing files", &status))?
        .into_inner();
    let progress = Progress::new(&session.output);
    let mut tracks = BTreeMap::new();
    let mut files = Vec::new();
    while let Some(answer) = answers.next().await {
        let answer = answer.map_err(|status| of_status("sharing files", &status))?;
        if !answer.blob_id.is_empty() {
            tracks.remove(&answer.path);
            files.push(shared_document(answer));
        } else if !answer.problem.is_empty() {
            tracks.remove(&answer.path);
            failures.push(Failure::new(Exit::Failed, "FAILED", answer.problem));
        } else {
            let track = tracks
                .entry(answer.path.clone())
                .or_insert_with(|| progress.track(&answer.path));
            track.show(Step {
                done_bytes: answer.done_bytes,
                total_bytes: answer.total_bytes,
                ..Step::new(Phase::Verifying)
            });
        }
    }
    Ok(files)
}

fn shared_document(answer: ShareFilesResponse) -> SharedDocument {
    SharedDocument {
        content_id: answer.blob_id,
        path: answer.path,
        size_bytes: Some(answer.total_bytes),
        shared: true,
    }
}

async fn remove(arguments: &ShareArguments, session: &Session) -> Result<Exit, Failure> {
    let mut request = UnshareFilesRequest::default();
    for file in &arguments.files {
        match blob_of(file)? {
            Some(id) => request.blob_ids.push(id),
            None => request.paths.push(place_of(file)?),
        }
    }
    let services = session.services(Needs::STORE)?;
    let removed = services.store().unshare_files(request).await;
    let removed = removed
        .map_err(|status| of_status("sharing files", &status))?
        .into_inner();
    if removed.files.is_empty() {
        return Err(
            Failure::new(Exit::Failed, "FAILED", "none of them is shared")
                .advise("`zeroshare list` shows what is."),
        );
    }
    let files = removed.files.into_iter().map(|file| SharedDocument {
        content_id: file.blob_id,
        path: file.path,
        size_bytes: None,
        shared: false,
    });
    let files = files.collect();
    session.output.report(&ShareReport { files })?;
    Ok(Exit::Done)
}

/// An id, when it is one and not the name of a file.
fn blob_of(file: &Path) -> Result<Option<String>, Failure> {
    let Some(text) = file.to_str().filter(|text| text.starts_with("blob:")) else {
        return Ok(None);
    };
    match text.parse::<ContentId>() {
        Ok(id) => Ok(Some(id.to_string())),
        Err(IdError::UnknownForm { .. }) => Ok(None),
        Err(error) => Err(Failure::usage(error.to_string())),
    }
}

/// The path as the service understands it: absolute, and without detours. A link at its end stays, and is refused there.
fn place_of(file: &Path) -> Result<String, Failure> {
    let shown = file.display();
    let absolute = std::path::absolute(file)
        .map_err(|error| Failure::because(&format!("cannot use the path {shown}"), &error))?;
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err(Failure::usage(format!(
            "{shown} is a directory, not a file"
        )));
    };
    // A directory that is gone does not keep a file from being taken back.
    let parent = parent.canonicalize().unwrap_or_else(|_| parent.into());
    let path = parent.join(name).into_os_string().into_string();
    path.map_err(|_| {
        Failure::usage(format!(
            "the path {shown} is not UTF-8 and cannot be shared"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_absolute_without_detours() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("a")).unwrap();
        let detour = place.path().join("a/../file");
        let straight = place.path().canonicalize().unwrap().join("file");
        assert_eq!(place_of(&detour).unwrap(), straight.to_str().unwrap());
        assert!(place_of(Path::new("/")).is_err());
    }

    #[test]
    fn ids_and_files_are_told_apart() {
        let id = format!("blob:sha256:{}", "0".repeat(64));
        assert_eq!(blob_of(Path::new(&id)).unwrap(), Some(id));
        assert_eq!(blob_of(Path::new("file")).unwrap(), None);
        assert_eq!(blob_of(Path::new("blob:other")).unwrap(), None);
        assert!(blob_of(Path::new("blob:sha256:12")).is_err());
    }
}
