//! `zeroshare fetch`: brings trees and single files here.

pub(crate) mod follow;
mod kin;

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;
use serde::Serialize;
use tokio::sync::Semaphore;
use zeroshare_chassis::settings::StaticPeer;
use zeroshare_content::{ContentId, Family};
use zeroshare_kin::Kin;
use zeroshare_wire::pb::fetcher::v1::{Fetch, StartFetchRequest};

use crate::command::fetches::FetchDocument;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::reach::{Needs, Services};
use crate::render::{Page, Progress, Report};
use crate::session::Session;
use crate::together::all;
use follow::Follower;

const EXAMPLES: &str = "\
Standard output has the path of each tree and file in the order asked for, and nothing else.

A single file (blob:sha256:…) lies in no store: it goes to the current directory under the name that its sharer gave it, if
that is a harmless one, else under the hex digits of its id, or to where -o says. No other file is ever overwritten; an
equal one is a success. This machine's node offers it to others as long as it stays where it is and unchanged.

With --upstream peers are asked first (0.3 s for one that has it all), and what nobody has is read from there, over http or https. When
several machines start with the same id and an upstream at once, each reads a share of it, and they give each other the
rest: upstream sends it about once. Every byte is proven against the id, wherever it came from.

Ctrl-C leaves a fetch of the running node to itself (fetch the same id to watch it again); without a node it stops the
fetch, and the same command goes on where it was. A second Ctrl-C ends at once.

Examples:
  zeroshare fetch sha256new_…
  zeroshare fetch sha256new_… --from 192.168.1.7 --from laptop:38339
  zeroshare fetch sha256new_… --into ./hello
  zeroshare fetch sha256new_… --from-0share=192.168.1.7
  zeroshare fetch sha256new_… sha1new=… --max-size 2GiB --timeout 10s
  zeroshare fetch blob:sha256:…
  zeroshare fetch blob:sha256:… -o debian.iso
  zeroshare fetch blob:sha256:… --upstream https://host/debian.iso --upstream https://mirror/debian.iso";

/// The most trees that are fetched at once; the others wait.
const AT_ONCE: usize = 4;

/// What to fetch, from whom, and where to.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct FetchArguments {
    /// Trees (sha256new_…, sha256=…, sha1new=…) and single files (blob:sha256:…).
    #[arg(value_name = "ID", required = true, value_parser = parse_id)]
    pub ids: Vec<ContentId>,

    /// Ask this host only, and nobody by datagram; may be repeated.
    #[arg(long, value_name = "HOST[:PORT]", value_parser = parse_host)]
    pub from: Vec<String>,

    /// Ask programs that speak the original 0share of 2008 instead, by broadcast, or this one only. What they send is verified like
    /// anything else.
    #[arg(
        long = "from-0share",
        value_name = "HOST[:PORT]",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        conflicts_with_all = ["from", "into", "output", "upstream"]
    )]
    pub from_0share: Option<String>,

    /// Ask machines that run `0install store serve` of Zero Install for .NET instead: those that announce themselves by mDNS within
    /// 2 s, or this one only.
    #[arg(
        long,
        value_name = "HOST:PORT",
        num_args = 0..=1,
        default_missing_value = "",
        conflicts_with_all = ["from", "from_0share", "into", "output", "upstream", "timeout"]
    )]
    pub from_dotnet: Option<String>,

    /// Make an ordinary copy there, which must not exist yet, instead of adding to a store.
    #[arg(long, value_name = "DIR", conflicts_with = "store")]
    pub into: Option<PathBuf>,

    /// Where a single file goes: a new name, or a directory that is there [default: the current directory].
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Where a single file can be had when no peer has it (http or https); repeated: mirrors of the same file.
    #[arg(long, value_name = "URL")]
    pub upstream: Vec<String>,

    /// Give up when nobody who has it was found for so long, such as 500ms, 10s or 1m30s [default: 1s].
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub timeout: Option<Duration>,

    /// Refuse what is larger, such as 500MiB or 2GB [default: what fits on the disk].
    #[arg(long, value_name = "SIZE")]
    pub max_size: Option<ByteSize>,

    /// Do not wait until the disk has it.
    #[arg(long)]
    pub no_sync: bool,

    /// Add to this store instead of the usual one.
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,

    /// Replace what is there and does not verify.
    #[arg(skip)]
    pub replace: bool,
}

#[derive(Debug, Serialize)]
struct FetchReport {
    fetches: Vec<FetchDocument>,
}

impl Report for FetchReport {
    fn write(&self, page: &mut Page) -> fmt::Result {
        let paths = self.fetches.iter().filter_map(|fetch| fetch.path.as_ref());
        paths
            .into_iter()
            .try_for_each(|path| writeln!(page, "{path}"))
    }
}

impl FetchArguments {
    /// Fetches these from these hosts, and leaves the rest to the defaults.
    pub fn of(ids: Vec<ContentId>, from: Vec<String>) -> Self {
        Self {
            ids,
            from,
            from_0share: None,
            from_dotnet: None,
            into: None,
            output: None,
            upstream: Vec::new(),
            timeout: None,
            max_size: None,
            no_sync: false,
            store: None,
            replace: false,
        }
    }

    /// Who is to be asked in place of peers.
    fn older_program(&self) -> Result<Option<kin::Whom>, Failure> {
        let (kin, flag, host) = match (&self.from_0share, &self.from_dotnet) {
            (None, None) => return Ok(None),
            (Some(host), _) => (Kin::ZeroShare, "--from-0share", host),
            (None, Some(host)) => (Kin::DotNet, "--from-dotnet", host),
        };
        if host.is_empty() {
            return Ok(Some(kin::Whom::Everybody(kin)));
        }
        match host.parse() {
            Ok(peer) => Ok(Some(kin::Whom::One(kin, peer))),
            Err(error) => Err(Failure::because(flag, &error)),
        }
    }

    fn has_blobs(&self) -> bool {
        self.ids.iter().any(|id| id.blob().is_some())
    }

    fn request(&self, id: ContentId, client: &str) -> Result<StartFetchRequest, Failure> {
        let (into, into_directory) = match id {
            ContentId::Tree(_) => (self.into.as_deref(), false),
            ContentId::Blob(_) => {
                let output = self.output.as_deref().unwrap_or(Path::new("."));
                (Some(output), output.is_dir())
            }
        };
        Ok(StartFetchRequest {
            content_ids: vec![id.to_string()],
            from: self.from.clone(),
            into_path: into.map(absolute).transpose()?.unwrap_or_default(),
            into_directory,
            upstream_urls: self.upstream.clone(),
            max_bytes: self.max_size.map_or(0, |size| size.as_u64()),
            locate_timeout: self.timeout.map(zeroshare_wire::convert::to_duration),
            target_store: self
                .store
                .as_deref()
                .map(absolute)
                .transpose()?
                .unwrap_or_default(),
            no_sync: self.no_sync,
            replace: self.replace,
            client: client.to_owned(),
        })
    }
}

/// Fetches all, and prints where they are.
pub async fn run(arguments: FetchArguments, session: &Session) -> Result<Exit, Failure> {
    check(&arguments)?;
    if let Some(whom) = arguments.older_program()? {
        let fetching = kin::run(&arguments, &whom, session);
        return session.unless_stopped(fetching).await;
    }
    // Another user's node writes only where it wants to.
    let is_own_place =
        arguments.into.is_some() || arguments.store.is_some() || arguments.has_blobs();
    let needs = if is_own_place {
        Needs::ALL_OF_SAME_USER
    } else {
        Needs::ALL
    };
    let services = session.services(needs)?;
    let results = fetch_all(&arguments, session, &services).await?;

    let mut exit = Exit::Done;
    let mut failures = Vec::new();
    let mut fetches = Vec::new();
    for result in results {
        match result {
            Ok(fetch) => fetches.push(FetchDocument::from(&fetch)),
            Err(failure) => {
                exit = exit.max(failure.exit);
                failures.push(failure);
            }
        }
    }
    if !fetches.is_empty() {
        session.output.report(&FetchReport { fetches })?;
    }
    // The last one is the caller's to print.
    let last = failures.pop();
    for failure in &failures {
        session.output.failure(failure);
    }
    match last {
        None => Ok(exit),
        Some(failure) => Err(Failure { exit, ..failure }),
    }
}

/// Follows several fetches at once; the results are in the order of the ids.
async fn fetch_all(
    arguments: &FetchArguments,
    session: &Session,
    services: &Services,
) -> Result<Vec<Result<Fetch, Failure>>, Failure> {
    let progress = Progress::new(&session.output);
    let client = client_name()?;
    let turns = Semaphore::new(AT_ONCE);
    let mut work = Vec::new();
    for id in &arguments.ids {
        let request = arguments.request(*id, &client)?;
        let follower = Follower::new(session, services, &progress, request);
        let turns = &turns;
        work.push(async move {
            // Nobody closes it, and without a turn it would only be less polite.
            let _turn = turns.acquire().await;
            follower.follow().await
        });
    }
    Ok(all(work).await)
}

fn check(arguments: &FetchArguments) -> Result<(), Failure> {
    if arguments.into.is_some() && arguments.ids.len() > 1 {
        return Err(Failure::usage(
            "--into takes one id: several trees cannot be one copy",
        ));
    }
    check_places(arguments)?;
    check_upstream(arguments)?;
    for id in &arguments.ids {
        if let ContentId::Tree(tree) = id
            && tree.family() == Family::Sha1
        {
            return Err(Failure::usage(format!(
                "{id} cannot be fetched: manifests of the oldest format, sha1=, do not say in which directory a file \
                 lies, so that two trees can have one id"
            ))
            .advise("Feeds give other digests of the same implementation: sha256new_… or sha1new=…"));
        }
    }
    Ok(())
}

/// Trees go to stores or become directories, blobs become files.
fn check_places(arguments: &FetchArguments) -> Result<(), Failure> {
    let has_trees = arguments.ids.iter().any(|id| id.tree().is_some());
    if arguments.has_blobs() && (arguments.into.is_some() || arguments.store.is_some()) {
        return Err(Failure::usage(
            "--into and --store are for trees: a single file goes where -o FILE says",
        ));
    }
    let Some(output) = &arguments.output else {
        return Ok(());
    };
    if has_trees {
        return Err(Failure::usage(
            "-o is for single files (blob:sha256:…): a copy of a tree goes where --into DIR says",
        ));
    }
    if arguments.ids.len() > 1 && !output.is_dir() {
        return Err(Failure::usage(
            "-o FILE takes one id: give a directory for several files",
        ));
    }
    if output.as_os_str() == "-" {
        return Err(Failure::usage(
            "standard output cannot be used: what is written there before all is proven cannot be taken back",
        ));
    }
    Ok(())
}

/// An upstream has one file, which only its id proves.
fn check_upstream(arguments: &FetchArguments) -> Result<(), Failure> {
    if arguments.upstream.is_empty() {
        return Ok(());
    }
    if arguments.ids.len() > 1 || !arguments.has_blobs() {
        return Err(Failure::usage(
            "--upstream goes with one single file (blob:sha256:…): every URL is taken for a mirror of it",
        ));
    }
    Ok(())
}

pub(crate) fn client_name() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| Failure::because("no random numbers", &error))?;
    Ok(bytes.iter().fold(String::new(), |mut name, byte| {
        // Writing to a string cannot fail.
        let _written = write!(name, "{byte:02x}");
        name
    }))
}

/// An id on the command line; the error shows the right form.
pub fn parse_id(text: &str) -> Result<ContentId, String> {
    text.parse::<ContentId>()
        .map_err(|error| crate::failure::chain(&error))
}

/// A host on the command line.
pub(crate) fn parse_host(text: &str) -> Result<String, String> {
    text.parse::<StaticPeer>()
        .map(|_| text.to_owned())
        .map_err(|error| error.to_string())
}

/// "10s", "1m30s", "500ms", or a number of seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let refused = || format!("`{text}` is not a duration such as 500ms, 10s or 1m30s");
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    let span: jiff::SignedDuration = text.parse().map_err(|_| refused())?;
    Duration::try_from(span).map_err(|_| refused())
}

/// A path as a service in another directory understands it.
pub(crate) fn absolute(path: &Path) -> Result<String, Failure> {
    let absolute = std::path::absolute(path).map_err(|error| {
        Failure::because(&format!("cannot use the path {}", path.display()), &error)
    })?;
    absolute
        .into_os_string()
        .into_string()
        .map_err(|path| Failure::usage(format!("the path {} is not UTF-8", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(parse_duration("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(parse_duration("1m30s").unwrap(), Duration::from_secs(90));
        assert_eq!(parse_duration("7").unwrap(), Duration::from_secs(7));
        for bad in ["", "-1s", "soon", "1x"] {
            assert!(parse_duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_malformed_id_is_answered_with_the_right_form() {
        let error = parse_id("sha256new_nonsense").unwrap_err();
        assert!(error.contains("sha256new_"), "{error}");
        assert!(error.contains("52"), "{error}");
    }

    #[test]
    fn files_and_trees_go_to_places_of_their_own() {
        let tree = parse_id(&format!("sha256={}", "0".repeat(64))).unwrap();
        let blob = parse_id(&format!("blob:sha256:{}", "0".repeat(64))).unwrap();
        let arguments = |ids: &[ContentId]| FetchArguments::of(ids.to_vec(), Vec::new());
        let output = |ids: &[ContentId], path: &str| FetchArguments {
            output: Some(path.into()),
            ..arguments(ids)
        };
        for good in [
            arguments(&[tree, blob]),
            output(&[blob], "new name"),
            output(&[blob, blob], "/"),
        ] {
            check(&good).unwrap();
        }
        let into = FetchArguments {
            into: Some("x".into()),
            ..arguments(&[blob])
        };
        for bad in [
            into,
            output(&[tree], "x"),
            output(&[tree, blob], "/"),
            output(&[blob, blob], "new name"),
            output(&[blob], "-"),
        ] {
            assert_eq!(check(&bad).unwrap_err().exit, Exit::Usage);
        }
    }

    #[test]
    fn a_digest_that_may_mean_two_things_is_answered_with_both() {
        let error = parse_id(&format!("sha256:{}", "0".repeat(64))).unwrap_err();
        assert!(error.contains("sha256=0"), "{error}");
        assert!(error.contains("blob:sha256:0"), "{error}");
    }

    #[test]
    fn the_oldest_format_is_refused_with_the_reason() {
        let id = parse_id(&format!("sha1={}", "0".repeat(40))).unwrap();
        let failure = check(&FetchArguments::of(vec![id], Vec::new())).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.message.contains("oldest"));
    }
}
