//! Who is right when two that have the whole give different lists.

use crate::file::{FileProof, ProofEvent};
use crate::party::Presence;
use crate::{KnownList, ListDigest, Party};

/// Two lists, each with somebody who claims the whole, of which one is a lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dispute {
    /// The list that is not the lead.
    pub(crate) challenger: ListDigest,
    /// The grain behind the last border at which they differ.
    ///
    /// The border behind it is common. If one of the two is true, that border is, and nobody can link other bytes to it:
    /// that would be a second preimage.
    pub(crate) grain: u32,
}

/// A grain that somebody should give now, to be judged by its own list and not written anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WantedProbe {
    /// Who.
    pub party: Party,
    /// Which grain of the file.
    pub grain: u32,
}

impl FileProof {
    /// Lists who should give the grain that decides the present dispute: everybody on either side.
    ///
    /// The owner asks one of each side at a time, and reports each that did not give it with
    /// [`handle_failed_probe`](Self::handle_failed_probe); it may be asked again when it is ready.
    pub fn wanted_probes(&self) -> impl Iterator<Item = (WantedProbe, ListDigest)> {
        let dispute = self.dispute;
        let sides = dispute.and_then(|dispute| Some([self.lead?, dispute.challenger]));
        sides.into_iter().flatten().flat_map(move |side| {
            self.parties
                .iter()
                .filter(move |(_, stand)| stand.is_on_side(&side))
                .filter_map(move |(party, _)| {
                    let (party, grain) = (*party, dispute?.grain);
                    Some((WantedProbe { party, grain }, side))
                })
        })
    }

    /// Takes in that a grain which was read from anybody holds by this list.
    pub fn handle_linked_probe(&mut self, list: &ListDigest, grain: u32) {
        self.decide(list, grain);
    }

    /// Takes in that somebody did not give the grain that it was asked for.
    ///
    /// When nobody of either side does, the next list that contradicts the lead has its turn.
    pub fn handle_failed_probe(&mut self, party: Party) {
        self.stand(party).has_failed = true;
        let Some(dispute) = self.dispute.filter(|_| !self.may_be_decided()) else {
            return;
        };
        let at = self
            .lists
            .iter()
            .position(|list| *list.digest() == dispute.challenger);
        if let Some(list) = at.map(|at| self.lists.remove(at)) {
            self.lists.push(list);
        }
        let next = self.challengers().next();
        if next.is_some_and(|next| *next.digest() != dispute.challenger) {
            self.dispute = None;
            self.settle();
        }
    }

    /// Finds a lead, and decides all disputes that what is linked decides.
    pub(crate) fn settle(&mut self) {
        self.choose_lead();
        while let Some(dispute) = self.find_dispute() {
            if self.dispute != Some(dispute) {
                self.dispute = Some(dispute);
                for stand in self.parties.values_mut() {
                    stand.has_failed = false;
                }
            }
            if !self.is_linked(dispute.grain) {
                return;
            }
            self.convict(&dispute.challenger);
        }
        self.dispute = None;
    }

    /// Whether a grain is what the present dispute is about, while somebody may still decide it.
    pub(crate) fn is_held_back(&self, lead: &KnownList, grain: u32) -> bool {
        let Some(dispute) = &self.dispute else {
            return false;
        };
        let Some(challenger) = self.list(&dispute.challenger) else {
            return false;
        };
        self.may_be_decided() && !challenger.agrees_at(lead, grain)
    }

    /// Whether anybody of either side was not asked in vain yet.
    fn may_be_decided(&self) -> bool {
        self.wanted_probes().any(|(probe, _)| {
            let stand = self.parties.get(&probe.party);
            stand.is_some_and(|stand| !stand.has_failed)
        })
    }

    /// Lets a grain that one side linked decide.
    pub(crate) fn decide(&mut self, list: &ListDigest, grain: u32) {
        let (Some(dispute), Some(lead)) = (self.dispute, self.lead) else {
            return;
        };
        if grain != dispute.grain {
            return;
        }
        if *list == lead {
            self.convict(&dispute.challenger);
        } else if *list == dispute.challenger {
            self.take_lead(dispute.challenger);
            self.convict(&lead);
        } else {
            return;
        }
        self.settle();
    }

    /// Names all who claim the whole and stand by the list that lost, those that are gone too, and forgets the list.
    fn convict(&mut self, loser: &ListDigest) {
        self.dispute = None;
        self.lists.retain(|list| list.digest() != loser);
        for (party, stand) in &mut self.parties {
            let is_convicted = stand.presence == Presence::Convicted;
            if stand.is_complete && !is_convicted && stand.stands_by(loser) {
                stand.presence = Presence::Convicted;
                self.events
                    .push_back(ProofEvent::Convicted { party: *party });
            }
        }
    }

    /// Keeps the lead unless there is none, or nobody is left who has the whole and stands by it while somebody
    /// stands by another one. That is no verdict.
    fn choose_lead(&mut self) {
        // The chain reaches the hash: there is no better list.
        if self.is_proven() {
            return;
        }
        let has_list = self.lead.is_some_and(|lead| self.list(&lead).is_some());
        let best = self
            .lists
            .iter()
            .map(|list| *list.digest())
            .max_by_key(|list| {
                let complete = self.parties.values().filter(|stand| stand.is_on_side(list));
                let live = self
                    .parties
                    .values()
                    .filter(|stand| stand.is_live() && stand.stands_by(list));
                (complete.count(), live.count(), Some(*list) == self.lead)
            });
        let Some(best) = best.filter(|best| Some(*best) != self.lead) else {
            return;
        };
        let is_abandoned = !self.has_side(self.lead.as_ref())
            && (self.has_side(Some(&best)) || !self.has_supporter());
        if !has_list || is_abandoned {
            self.take_lead(best);
        }
    }

    /// Whether anybody who can be asked stands by the lead.
    fn has_supporter(&self) -> bool {
        let lead = self.lead;
        lead.is_some_and(|lead| {
            self.parties
                .values()
                .any(|stand| stand.is_live() && stand.stands_by(&lead))
        })
    }

    /// The next list that contradicts the lead, if both have somebody who claims the whole.
    fn find_dispute(&self) -> Option<Dispute> {
        let lead = self.lead()?;
        if !self.has_side(Some(lead.digest())) {
            return None;
        }
        let current = self.dispute.map(|dispute| dispute.challenger);
        let kept = self
            .challengers()
            .find(|list| Some(*list.digest()) == current);
        let challenger = kept.or_else(|| self.challengers().next())?;
        Some(Dispute {
            challenger: *challenger.digest(),
            grain: challenger.last_difference(lead)?,
        })
    }

    /// The lists other than the lead by which somebody stands who claims the whole, the next one first.
    fn challengers(&self) -> impl Iterator<Item = &KnownList> {
        self.lists.iter().filter(|list| {
            Some(list.digest()) != self.lead.as_ref() && self.has_side(Some(list.digest()))
        })
    }
}
