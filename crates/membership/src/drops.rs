//! What was dropped, and why.

use std::collections::BTreeMap;

/// Why a datagram was dropped, or not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// It could not be decoded.
    Malformed,
    /// It speaks another major version.
    OtherVersion,
    /// It belongs to another group, or to none.
    OtherGroup,
    /// Its signature is wrong.
    WrongSignature,
    /// This node sent it.
    Own,
    /// It crossed a router where it must not have.
    FarAway,
    /// Its source, or where it was to go, is neither a neighbour nor allowed.
    Stranger,
    /// It was seen already.
    Duplicate,
    /// Its sequence or incarnation surprises; the sender is asked for an echo.
    OutOfOrder,
    /// Its filter is more than 55 % full.
    OverfullFilter,
    /// Its day is not this one, nor the one before or after.
    OtherDay,
    /// It answers nothing that was asked.
    Unsolicited,
    /// A table is full.
    TableFull,
    /// Its reply would be longer than itself.
    ReplyTooLong,
    /// What it caused to be said, or this node wanted to say, was over the limit of its interface.
    RateLimited,
}

impl DropReason {
    /// Its name in interfaces and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::OtherVersion => "other_version",
            Self::OtherGroup => "other_group",
            Self::WrongSignature => "wrong_signature",
            Self::Own => "own",
            Self::FarAway => "far_away",
            Self::Stranger => "stranger",
            Self::Duplicate => "duplicate",
            Self::OutOfOrder => "out_of_order",
            Self::OverfullFilter => "overfull_filter",
            Self::OtherDay => "other_day",
            Self::Unsolicited => "unsolicited",
            Self::TableFull => "table_full",
            Self::ReplyTooLong => "reply_too_long",
            Self::RateLimited => "rate_limited",
        }
    }
}

/// Counts of drops.
#[derive(Debug, Default)]
pub(crate) struct Drops(BTreeMap<DropReason, u64>);

impl Drops {
    pub(crate) fn count(&mut self, reason: DropReason) {
        let count = self.0.entry(reason).or_default();
        *count = count.saturating_add(1);
    }

    pub(crate) fn all(&self) -> &BTreeMap<DropReason, u64> {
        &self.0
    }
}
