//! What a peer served.

use std::collections::BTreeMap;

use zeroshare_content::ContentId;

/// The calls a peer got, in their order.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// One for each call.
    pub calls: Vec<Call>,
}

/// One call.
#[derive(Debug, Clone)]
pub struct Call {
    /// What was called.
    pub method: Method,
    /// What it was about; `None` when it could not be read, or is about several.
    pub content: Option<ContentId>,
    /// How many bytes of manifest were handed to the network.
    pub manifest_bytes: u64,
    /// The parts of pieces that were handed to the network whole.
    pub sent: Vec<Sent>,
    /// The `traceparent` it came with.
    pub trace_parent: Option<String>,
    /// Whether it was served to its end.
    pub finished: bool,
}

/// What can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// `StatContent`.
    StatContent,
    /// `ReadManifest`.
    ReadManifest,
    /// `ReadPieces`.
    ReadPieces,
    /// `ReadMidstates`.
    ReadMidstates,
    /// `WatchPieces`.
    WatchPieces,
    /// `ReadFeed`.
    ReadFeed,
    /// `ListPublic`.
    ListPublic,
}

/// A part of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sent {
    /// The piece.
    pub piece: u32,
    /// Where in it the part begins.
    pub offset: u64,
    /// How many bytes it has.
    pub bytes: u64,
}

impl Record {
    /// How often each piece of some content was sent.
    pub fn times_sent(&self, content: &ContentId) -> BTreeMap<u32, usize> {
        let mut times = BTreeMap::new();
        for sent in self.about(content).flat_map(|call| &call.sent) {
            *times.entry(sent.piece).or_default() += 1;
        }
        times
    }

    /// How many bytes of pieces were sent.
    pub fn piece_bytes(&self) -> u64 {
        let sent = self.calls.iter().flat_map(|call| &call.sent);
        sent.map(|sent| sent.bytes).sum()
    }

    /// How many bytes of manifests were sent.
    pub fn manifest_bytes(&self) -> u64 {
        self.calls.iter().map(|call| call.manifest_bytes).sum()
    }

    /// How many calls of one kind there were.
    pub fn count(&self, method: Method) -> usize {
        let calls = self.calls.iter();
        calls.filter(|call| call.method == method).count()
    }

    fn about(&self, content: &ContentId) -> impl Iterator<Item = &Call> {
        let content = Some(*content);
        self.calls
            .iter()
            .filter(move |call| call.content == content)
    }
}
