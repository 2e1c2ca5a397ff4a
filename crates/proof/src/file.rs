use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use crate::bits::Bits;
use crate::dispute::Dispute;
use crate::party::{Presence, Stand, Word};
use crate::{KnownList, ListDigest, Party, grain_count};

/// Lists of one file that are kept at once: more than a fetch reads from at a time.
pub const MAX_LISTS: usize = 32;

/// Lists of one file that are kept however long they are: the lead, the one that contradicts it, and the next one.
const LEAST_LISTS: usize = 3;

/// The bytes of all lists of one fetch, beyond the fewest of each file, and of the longest: that of a file of 128 GiB. A longer file is proven as
/// a whole only.
pub const MAX_LIST_BYTES: u64 = 32 * 1024 * 1024;

/// Which parts of one large file are proven, by whose lists, and who contradicted himself.
///
/// One list, the **lead**, is what the file is put together under; a grain is *linked* if the bytes on the disk lead from border
/// to border of that list. When every grain is linked, the chain reaches from SHA-256's start value to the file's hash, and the
/// file is proven, whoever gave the list. Whoever claims the whole and gives another list opens a dispute:
/// the grain at the last difference decides, since everything behind it is common, see
/// [`wanted_probes`](Self::wanted_probes). Who holds a part only has its list from somebody else, and is never a party.
///
/// The size is what the manifest says, or proven by the last grain ([`check_last_grain`](crate::check_last_grain)).
///
/// Invariants: only those who claimed the whole are convicted, and only when a grain was linked to a border which their own list
/// has too, from a border which it has not. While there is a lead, it is one of the lists that are kept.
#[derive(Debug)]
pub struct FileProof {
    pub(crate) grains: u32,
    pub(crate) lists: Vec<KnownList>,
    pub(crate) parties: BTreeMap<Party, Stand>,
    pub(crate) lead: Option<ListDigest>,
    /// Grains on the disk that hold by the lead.
    linked: Bits,
    /// Grains on the disk that were not judged by the lead.
    unjudged: Bits,
    pub(crate) dispute: Option<Dispute>,
    /// Bytes that lists beyond the fewest may come to.
    room: u64,
    pub(crate) events: VecDeque<ProofEvent>,
}

/// What the owner has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProofEvent {
    /// It claims the whole, and stands by a list that another's bytes refuted.
    Convicted {
        /// Who.
        party: Party,
    },
    /// It claims the whole, and stands by one list first and by another one later. It may have been restarted: that convicts
    /// nobody, but it is of no use.
    Renamed {
        /// Who.
        party: Party,
    },
    /// The file is put together under another list, or under one at all: nothing is linked any more until it was judged again.
    Lead,
}

/// How one grain stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrainState {
    /// It is not on the disk, or what is there is wrong.
    Missing,
    /// Something is on the disk that was not judged by the lead.
    Unjudged,
    /// What is on the disk holds by the lead.
    Linked,
}

impl FileProof {
    /// Begins with nothing; `None` for a file whose lists would be too long to be kept.
    pub fn new(size: u64) -> Option<Self> {
        Self::among(size, 1)
    }

    /// As [`new`](Self::new), for one of so many files whose lists are kept at the same time: they share the room of one.
    pub fn among(size: u64, files: usize) -> Option<Self> {
        let grains = grain_count(size);
        if u64::from(grains) * 32 > MAX_LIST_BYTES {
            return None;
        }
        Some(Self {
            grains,
            lists: Vec::new(),
            parties: BTreeMap::new(),
            lead: None,
            linked: Bits::new(grains),
            unjudged: Bits::new(grains),
            dispute: None,
            room: MAX_LIST_BYTES / (files as u64).max(1),
            events: VecDeque::new(),
        })
    }

    /// Takes in somebody of whom nothing is known yet.
    pub fn add_party(&mut self, party: Party) {
        self.parties.entry(party).or_insert_with(Stand::new);
    }

    /// Takes in whether somebody says, on its own connection, that it holds the whole.
    pub fn handle_claim(&mut self, party: Party, is_complete: bool) {
        self.stand(party).is_complete = is_complete;
        self.settle();
    }

    /// Takes in the list by which somebody asks to be judged: from its answer, or from the header of a slice.
    pub fn handle_named(&mut self, party: Party, list: ListDigest) {
        let stand = self.stand(party);
        let word = std::mem::replace(&mut stand.word, Word::Named(list));
        if stand.is_complete
            && let Word::Named(before) = word
            && before != list
        {
            self.events.push_back(ProofEvent::Renamed { party });
        }
        self.settle();
    }

    /// Takes in a whole list that somebody gave, under the name that it really has.
    ///
    /// It is not kept if it has not as many midstates as the file.
    pub fn handle_list(&mut self, party: Party, list: KnownList) {
        if list.midstates().grains() != self.grains {
            self.handle_no_list(party);
            return;
        }
        let digest = *list.digest();
        if self.list(&digest).is_none() {
            self.make_room();
            self.lists.push(list);
        }
        self.handle_named(party, digest);
    }

    /// Takes in that somebody gives no list.
    pub fn handle_no_list(&mut self, party: Party) {
        let stand = self.stand(party);
        if stand.word == Word::Awaited {
            stand.word = Word::NoList;
        }
        self.settle();
    }

    /// Takes in that bytes of somebody who names no list do not hold by the lead. That is nobody's fault yet.
    pub fn handle_difference(&mut self, party: Party, list: ListDigest) {
        self.stand(party).differs_from = Some(list);
    }

    /// Takes in that somebody is asked no more.
    pub fn handle_gone(&mut self, party: Party) {
        let stand = self.stand(party);
        if stand.presence == Presence::Live {
            stand.presence = Presence::Gone;
        }
        self.settle();
    }

    /// Takes in that bytes were written that nobody judged.
    pub fn handle_unjudged(&mut self, grains: Range<u32>) {
        for grain in grains {
            self.linked.set(grain, false);
            self.unjudged.set(grain, true);
        }
    }

    /// Takes in that bytes lie there which hold by this list. By another list than the lead they are as good as not judged.
    pub fn handle_linked(&mut self, list: &ListDigest, grains: Range<u32>) {
        if self.lead.as_ref() != Some(list) {
            self.handle_unjudged(grains.clone());
            for grain in grains {
                self.decide(list, grain);
            }
            return;
        }
        for grain in grains.clone() {
            self.unjudged.set(grain, false);
            self.linked.set(grain, true);
        }
        self.settle();
    }

    /// Takes in that what lies there is wrong, or nothing.
    pub fn handle_missing(&mut self, grains: Range<u32>) {
        for grain in grains {
            self.linked.set(grain, false);
            self.unjudged.set(grain, false);
        }
    }

    /// Gives the next thing to know.
    pub fn poll_event(&mut self) -> Option<ProofEvent> {
        self.events.pop_front()
    }

    /// The list under which the file is put together.
    pub fn lead(&self) -> Option<&KnownList> {
        self.list(self.lead.as_ref()?)
    }

    /// A list that is kept.
    pub fn list(&self, digest: &ListDigest) -> Option<&KnownList> {
        self.lists.iter().find(|list| list.digest() == digest)
    }

    /// All lists that are kept.
    pub fn lists(&self) -> &[KnownList] {
        &self.lists
    }

    /// How many grains the file has.
    pub fn grains(&self) -> u32 {
        self.grains
    }

    /// How a grain stands.
    pub fn state(&self, grain: u32) -> GrainState {
        if self.linked.has(grain) {
            GrainState::Linked
        } else if self.unjudged.has(grain) {
            GrainState::Unjudged
        } else {
            GrainState::Missing
        }
    }

    /// The first run of grains within `range` that stand so.
    pub fn first_run(&self, range: Range<u32>, state: GrainState) -> Option<Range<u32>> {
        Bits::first_run(range, |grain| self.state(grain) == state)
    }

    /// The first of the grains that are linked from there to the file's end; as many as there are grains if the last one is not.
    ///
    /// These are proven: the end of their chain is the file's hash.
    pub fn proven_from(&self) -> u32 {
        if self.lead.is_none() {
            return self.grains;
        }
        let linked = (0..self.grains).rev();
        let behind = linked.take_while(|grain| self.linked.has(*grain)).last();
        behind.unwrap_or(self.grains)
    }

    /// Whether every grain is linked, from the start value to the hash.
    pub fn is_proven(&self) -> bool {
        self.lead.is_some() && self.linked.count() == self.grains
    }

    /// Whether somebody was not heard yet by which list it stands.
    pub fn is_awaited(&self, party: Party) -> bool {
        self.parties
            .get(&party)
            .is_some_and(|stand| stand.word == Word::Awaited)
    }

    /// The list somebody stands by.
    pub fn named_by(&self, party: Party) -> Option<ListDigest> {
        match self.parties.get(&party)?.word {
            Word::Named(list) => Some(list),
            Word::Awaited | Word::NoList => None,
        }
    }

    /// The list to be read from somebody as a whole: it stands by one that is not kept, and that matters.
    pub fn wanted_list(&self, party: Party) -> Option<ListDigest> {
        let stand = self.parties.get(&party)?;
        let named = self.named_by(party)?;
        let matters = stand.is_complete || !self.has_side(self.lead.as_ref());
        (stand.is_live() && matters && self.list(&named).is_none()).then_some(named)
    }

    /// Whether grains may be read from somebody, of all that are missing.
    ///
    /// Under a lead only what links under it is of use: from those who stand by it, and from others where their
    /// list agrees with it. What the present dispute is about is left alone until it is decided, or nobody decides it.
    pub fn may_give(&self, party: Party, grain: u32) -> bool {
        let Some(lead) = self.lead() else {
            return true;
        };
        let Some(stand) = self.parties.get(&party) else {
            return false;
        };
        if self.is_held_back(lead, grain) {
            return false;
        }
        match &stand.word {
            Word::Named(named) if named == lead.digest() => true,
            Word::Named(named) => self
                .list(named)
                .is_some_and(|list| list.agrees_at(lead, grain)),
            // Whoever was not heard yet is waited for, as long as somebody else can be asked.
            Word::Awaited => !self.has_side(self.lead.as_ref()),
            Word::NoList => stand.differs_from.as_ref() != Some(lead.digest()),
        }
    }

    /// Whether any grain may be read from somebody that is missing within `range`.
    pub fn may_give_any(&self, party: Party, range: Range<u32>) -> bool {
        let is_plain =
            self.dispute.is_none() && (self.lead.is_none() || (self.named_by(party) == self.lead));
        is_plain || self.first_given(party, range).is_some()
    }

    /// The first run of missing grains within `range` that may be read from somebody.
    pub fn first_given(&self, party: Party, range: Range<u32>) -> Option<Range<u32>> {
        Bits::first_run(range, |grain| {
            self.state(grain) == GrainState::Missing && self.may_give(party, grain)
        })
    }

    /// Whether bytes of somebody who names no list did not hold by one that was the lead.
    pub fn is_doubtful(&self, party: Party) -> bool {
        let stand = self.parties.get(&party);
        stand.is_some_and(|stand| stand.differs_from.is_some())
    }

    /// Whether what is linked may be passed on under the lead.
    ///
    /// Not if only one of several that have the whole gave it: then it may be a liar's, and everybody who gets it
    /// would have been sent what is of no use.
    pub fn may_pass_on(&self) -> bool {
        let Some(lead) = &self.lead else { return false };
        let complete = || {
            self.parties
                .values()
                .filter(|stand| stand.is_complete && stand.presence != Presence::Convicted)
        };
        let givers = complete().filter(|stand| stand.stands_by(lead)).count();
        let others = complete().filter(|stand| stand.is_live() && !stand.stands_by(lead));
        givers >= 2 || others.count() == 0
    }

    pub(crate) fn stand(&mut self, party: Party) -> &mut Stand {
        self.parties.entry(party).or_insert_with(Stand::new)
    }

    /// Whether somebody who has the whole, and can be asked, stands by a list.
    pub(crate) fn has_side(&self, list: Option<&ListDigest>) -> bool {
        list.is_some_and(|list| self.parties.values().any(|stand| stand.is_on_side(list)))
    }

    pub(crate) fn is_linked(&self, grain: u32) -> bool {
        self.linked.has(grain)
    }

    /// Puts the file together under another list: what lies there is judged anew.
    pub(crate) fn take_lead(&mut self, list: ListDigest) {
        self.lead = Some(list);
        for grain in 0..self.grains {
            if self.linked.has(grain) {
                self.linked.set(grain, false);
                self.unjudged.set(grain, true);
            }
        }
        self.events.push_back(ProofEvent::Lead);
    }

    /// Forgets the oldest list that nobody needs now. Those who stand by it can be asked for it again.
    fn make_room(&mut self) {
        let bytes = u64::from(self.grains) * 32 * (self.lists.len() as u64 + 1);
        let is_much = self.lists.len() >= LEAST_LISTS && bytes > self.room;
        if self.lists.len() < MAX_LISTS && !is_much {
            return;
        }
        let challenger = self.dispute.as_ref().map(|dispute| dispute.challenger);
        let is_needed = |list: &KnownList| {
            Some(list.digest()) == self.lead.as_ref() || Some(*list.digest()) == challenger
        };
        let has_anybody = |list: &KnownList| {
            let mut stands = self.parties.values();
            stands.any(|stand| stand.is_live() && stand.stands_by(list.digest()))
        };
        let unneeded = |list: &&KnownList| !is_needed(list);
        let oldest = self
            .lists
            .iter()
            .filter(unneeded)
            .min_by_key(|list| has_anybody(list));
        if let Some(digest) = oldest.map(|list| *list.digest()) {
            self.lists.retain(|list| *list.digest() != digest);
        }
    }
}
