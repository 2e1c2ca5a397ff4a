//! What callers ask for, checked once.

use std::path::PathBuf;
use std::time::Duration;

use tonic::Extensions;
use zeroshare_chassis::serve::PeerCredentials;
use zeroshare_chassis::settings::StaticPeer;
use zeroshare_content::{ContentId, Family, FeedUrl, HashKind, TreeId};
use zeroshare_wire::convert::{content_id, content_ids, feed_url, optional_duration};
use zeroshare_wire::pb::fetcher::v1::{
    CollectGarbageRequest, FindFeedRequest, FollowArrivalRequest, ListNeighboursRequest,
    ReadManifestRequest, ReadRangeRequest, StartFetchRequest,
};
use zeroshare_wire::{FieldError, FieldFault};

use crate::garbage::{Names, Rules, is_name};
use crate::settings::MAX_LOCATE_TIMEOUT;
use crate::upstream::UpstreamUrl;

/// All digests of one tree are four, spelled in five ways.
const MAX_IDS: usize = 8;

/// Hosts that one fetch may name.
const MAX_HOSTS: usize = 64;

/// Mirrors of one blob that one fetch may name.
const MAX_UPSTREAM_URLS: usize = 16;

/// More is read in several calls.
const MAX_RANGE_BYTES: u64 = 16 * 1024 * 1024;

/// Nothing on a disk is so old: a hundred years.
const MAX_AGE: Duration = Duration::from_hours(24 * 36_525);

/// Trees that one collection of garbage may name.
const MAX_NAMES: usize = 10_000;

/// Names of callers and paths are not endless.
const MAX_TEXT_BYTES: usize = 4096;

/// How long peers have to say what they share, and how long they may be given.
const LIST_TIMEOUT: Duration = Duration::from_millis(300);
const MAX_LIST_TIMEOUT: Duration = Duration::from_secs(10);

/// A checked `StartFetchRequest`.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    /// The tree's digests, the most trusted first, or one blob; never empty.
    pub(crate) ids: Vec<ContentId>,
    pub(crate) from: Vec<StaticPeer>,
    /// Where a copy goes; always set for a blob.
    pub(crate) into: Option<PathBuf>,
    /// Whether that is a directory, in which a blob gets a name.
    pub(crate) into_directory: bool,
    pub(crate) target_store: Option<PathBuf>,
    pub(crate) max_bytes: Option<u64>,
    pub(crate) locate_timeout: Option<Duration>,
    pub(crate) no_sync: bool,
    pub(crate) replace: bool,
    pub(crate) client: String,
    /// Where a blob can be had when nobody has it.
    pub(crate) upstream: Vec<UpstreamUrl>,
}

/// Whose call it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Caller {
    /// The user as whom this service runs.
    Same,
    /// Somebody else on this machine.
    User(u32),
    /// Somebody over TCP.
    Unknown,
}

impl Caller {
    pub(crate) fn of(extensions: &Extensions) -> Self {
        match extensions.get::<PeerCredentials>() {
            Some(caller) if caller.uid == rustix::process::geteuid().as_raw() => Self::Same,
            Some(caller) => Self::User(caller.uid),
            None => Self::Unknown,
        }
    }

    /// The user's number, if it is known.
    pub(crate) fn user_id(self) -> Option<u32> {
        match self {
            Self::Same => Some(rustix::process::geteuid().as_raw()),
            Self::User(uid) => Some(uid),
            Self::Unknown => None,
        }
    }

    /// As an error names it.
    pub(crate) fn name(self) -> String {
        self.user_id()
            .map_or_else(|| "unknown".to_owned(), |uid| uid.to_string())
    }

    /// Whether it may decide for everybody: the service's own user, and root.
    pub(crate) fn is_master(self) -> bool {
        matches!(self, Self::Same | Self::User(0))
    }
}

impl TryFrom<StartFetchRequest> for Order {
    type Error = FieldError;

    fn try_from(request: StartFetchRequest) -> Result<Self, FieldError> {
        let timeout = request.locate_timeout.as_ref();
        let ids = ids(&request.content_ids)?;
        let into = optional_path("into_path", &request.into_path)?;
        let is_blob = ids.iter().any(|id| id.blob().is_some());
        if is_blob && into.is_none() {
            return Err(refused("into_path", "missing: a blob lies in no store"));
        }
        if is_blob && !request.target_store.is_empty() {
            return Err(refused("target_store", "a blob lies in no store"));
        }
        if !is_blob && request.into_directory {
            return Err(refused("into_directory", "for blobs only"));
        }
        Ok(Self {
            ids,
            from: hosts(&request.from)?,
            into,
            into_directory: request.into_directory,
            target_store: optional_path("target_store", &request.target_store)?,
            max_bytes: Some(request.max_bytes).filter(|bytes| *bytes > 0),
            locate_timeout: optional_duration("locate_timeout", timeout, MAX_LOCATE_TIMEOUT)?,
            no_sync: request.no_sync,
            replace: request.replace,
            client: short_text("client", request.client)?,
            upstream: upstream(&request.upstream_urls, is_blob)?,
        })
    }
}

/// A checked `ReadManifestRequest`.
#[derive(Debug)]
pub(crate) struct ManifestOrder {
    pub(crate) ids: Vec<TreeId>,
    pub(crate) from: Vec<StaticPeer>,
    pub(crate) locate_timeout: Option<Duration>,
}

impl TryFrom<ReadManifestRequest> for ManifestOrder {
    type Error = FieldError;

    fn try_from(request: ReadManifestRequest) -> Result<Self, FieldError> {
        let timeout = request.locate_timeout.as_ref();
        Ok(Self {
            ids: tree_ids(&request.content_ids)?,
            from: hosts(&request.from)?,
            locate_timeout: optional_duration("locate_timeout", timeout, MAX_LOCATE_TIMEOUT)?,
        })
    }
}

/// A checked `FollowArrivalRequest`.
#[derive(Debug)]
pub(crate) struct ArrivalOrder {
    pub(crate) ids: Vec<TreeId>,
}

impl TryFrom<FollowArrivalRequest> for ArrivalOrder {
    type Error = FieldError;

    fn try_from(request: FollowArrivalRequest) -> Result<Self, FieldError> {
        Ok(Self {
            ids: tree_ids(&request.content_ids)?,
        })
    }
}

/// A checked `ListNeighboursRequest`.
#[derive(Debug)]
pub(crate) struct NeighboursOrder {
    /// These hosts only; empty: whom discovery knows.
    pub(crate) from: Vec<StaticPeer>,
    pub(crate) timeout: Duration,
}

impl TryFrom<ListNeighboursRequest> for NeighboursOrder {
    type Error = FieldError;

    fn try_from(request: ListNeighboursRequest) -> Result<Self, FieldError> {
        let timeout = request.timeout.as_ref();
        let timeout = optional_duration("timeout", timeout, MAX_LIST_TIMEOUT)?;
        Ok(Self {
            from: hosts(&request.from)?,
            timeout: timeout.unwrap_or(LIST_TIMEOUT),
        })
    }
}

/// A checked `FindFeedRequest`.
#[derive(Debug)]
pub(crate) struct FeedOrder {
    pub(crate) url: FeedUrl,
    /// These hosts only; empty: whom discovery finds.
    pub(crate) from: Vec<StaticPeer>,
    pub(crate) timeout: Duration,
}

impl TryFrom<FindFeedRequest> for FeedOrder {
    type Error = FieldError;

    fn try_from(request: FindFeedRequest) -> Result<Self, FieldError> {
        let timeout = request.timeout.as_ref();
        let timeout = optional_duration("timeout", timeout, MAX_LIST_TIMEOUT)?;
        Ok(Self {
            url: feed_url("feed_url", &request.feed_url)?,
            from: hosts(&request.from)?,
            timeout: timeout.unwrap_or(LIST_TIMEOUT),
        })
    }
}

/// A checked `ReadRangeRequest`.
#[derive(Debug)]
pub(crate) struct RangeOrder {
    /// The fetch that brings the bytes.
    pub(crate) fetch: Order,
    /// The file's line in the manifest.
    pub(crate) line: u32,
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

impl TryFrom<ReadRangeRequest> for RangeOrder {
    type Error = FieldError;

    fn try_from(request: ReadRangeRequest) -> Result<Self, FieldError> {
        let (line, offset, len) = (request.file, request.offset_bytes, request.length_bytes);
        if len > MAX_RANGE_BYTES {
            return Err(refused("length_bytes", "more than 16 MiB"));
        }
        if offset.checked_add(len).is_none() {
            return Err(refused("offset_bytes", "behind the end of any file"));
        }
        tree_ids(&request.content_ids)?;
        let fetch = Order::try_from(StartFetchRequest {
            content_ids: request.content_ids,
            from: request.from,
            client: request.client,
            locate_timeout: request.locate_timeout,
            ..StartFetchRequest::default()
        })?;
        Ok(Self {
            fetch,
            line,
            offset,
            len,
        })
    }
}

/// A checked `CollectGarbageRequest`.
#[derive(Debug)]
pub(crate) struct GarbageOrder {
    /// At least one is set.
    pub(crate) rules: Rules,
    pub(crate) target_store: Option<PathBuf>,
    pub(crate) is_dry_run: bool,
    /// Only these; empty: all.
    pub(crate) names: Names,
}

impl TryFrom<CollectGarbageRequest> for GarbageOrder {
    type Error = FieldError;

    fn try_from(request: CollectGarbageRequest) -> Result<Self, FieldError> {
        let age = |field, value| optional_duration(field, value, MAX_AGE);
        let rules = Rules {
            older_than: age("older_than", request.older_than.as_ref())?,
            unused_for: age("unused_for", request.unused_for.as_ref())?,
            keep_bytes: request.keep_bytes,
        };
        if rules == Rules::default() {
            return Err(refused("older_than", "or another rule must be set"));
        }
        if request.names.len() > MAX_NAMES {
            return Err(FieldError {
                field: "names",
                fault: FieldFault::TooMany {
                    count: request.names.len(),
                    most: MAX_NAMES,
                },
            });
        }
        if !request.names.iter().all(|name| is_name(name)) {
            return Err(refused("names", "not all are names of trees"));
        }
        Ok(Self {
            rules,
            target_store: optional_path("target_store", &request.target_store)?,
            is_dry_run: request.dry_run,
            names: request.names.into_iter().collect(),
        })
    }
}

/// Which fetch a caller means.
pub(crate) fn fetch_name(id: &str, into: &str) -> Result<(ContentId, Option<PathBuf>), FieldError> {
    let id = content_id("content_id", id)?;
    Ok((id, optional_path("into_path", into)?))
}

/// A path that may be left out, and is absolute otherwise: this process has a directory of its own.
pub(crate) fn optional_path(
    field: &'static str,
    text: &str,
) -> Result<Option<PathBuf>, FieldError> {
    if text.is_empty() {
        return Ok(None);
    }
    let path = PathBuf::from(text);
    if !path.is_absolute() || text.contains('\0') || text.len() > MAX_TEXT_BYTES {
        return Err(refused(field, "must be an absolute path"));
    }
    Ok(Some(path))
}

/// One blob, or the digests of one tree.
fn ids(texts: &[String]) -> Result<Vec<ContentId>, FieldError> {
    let field = "content_ids";
    let ids = content_ids(field, texts, MAX_IDS)?;
    match ids.iter().find_map(ContentId::blob) {
        None => Ok(tree_ids(texts)?.into_iter().map(ContentId::Tree).collect()),
        Some(_) if ids.len() > 1 => Err(refused(
            field,
            "a blob has one id, and is fetched by itself",
        )),
        Some(blob) if blob.kind() == HashKind::Sha1 => {
            let why = format!("{blob} is named by SHA-1, which is trusted inside old trees only");
            Err(refused(field, why))
        }
        Some(_) => Ok(ids),
    }
}

fn tree_ids(texts: &[String]) -> Result<Vec<TreeId>, FieldError> {
    let field = "content_ids";
    let ids = content_ids(field, texts, MAX_IDS)?;
    let mut trees = ids
        .into_iter()
        .map(|id| tree_of(id, field))
        .collect::<Result<Vec<_>, _>>()?;
    trees.sort_by_key(|tree| match tree.family() {
        Family::Sha256 => 0,
        Family::Sha1New => 1,
        Family::Sha1 => 2,
    });
    Ok(trees)
}

fn tree_of(id: ContentId, field: &'static str) -> Result<TreeId, FieldError> {
    match id {
        ContentId::Tree(tree) => Ok(tree),
        ContentId::Blob(blob) => {
            let why = format!("{blob} is a blob, which has no manifest");
            Err(refused(field, why))
        }
    }
}

/// Mirrors of one blob.
fn upstream(texts: &[String], is_blob: bool) -> Result<Vec<UpstreamUrl>, FieldError> {
    let field = "upstream_urls";
    if !texts.is_empty() && !is_blob {
        return Err(refused(field, "for blobs only"));
    }
    if texts.len() > MAX_UPSTREAM_URLS {
        return Err(FieldError {
            field,
            fault: FieldFault::TooMany {
                count: texts.len(),
                most: MAX_UPSTREAM_URLS,
            },
        });
    }
    let parse = |text: &String| {
        text.parse::<UpstreamUrl>()
            .map_err(|error| refused(field, format!("{text}: {error}")))
    };
    texts.iter().map(parse).collect()
}

fn hosts(texts: &[String]) -> Result<Vec<StaticPeer>, FieldError> {
    if texts.len() > MAX_HOSTS {
        return Err(FieldError {
            field: "from",
            fault: FieldFault::TooMany {
                count: texts.len(),
                most: MAX_HOSTS,
            },
        });
    }
    let parse = |text: &String| {
        text.parse::<StaticPeer>()
            .map_err(|error| refused("from", error.to_string()))
    };
    texts.iter().map(parse).collect()
}

fn short_text(field: &'static str, text: String) -> Result<String, FieldError> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(refused(field, "too long"));
    }
    Ok(text)
}

pub(crate) fn refused(field: &'static str, why: impl Into<Box<str>>) -> FieldError {
    FieldError {
        field,
        fault: FieldFault::Refused { why: why.into() },
    }
}
