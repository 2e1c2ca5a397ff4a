//! What peers answer, right or wrong.

use zeroshare_proof::KnownList;

use super::{ITEM, OpenCall, Simulation, asked_grains};
use crate::tests::world::{Behaviour, Kind, List, Version};
use crate::{Call, CallEnd, Probe, ProbeOutcome, UnitId, UnitOutcome};

impl Simulation {
    fn list_of(&mut self, who: &Behaviour) -> Option<KnownList> {
        if who.list == List::Changing {
            self.salt += 1;
        }
        self.file.list(who.list, self.salt)
    }

    pub(super) fn answer(&mut self, at: usize) {
        let ask = self.asks.swap_remove(at);
        let who = self.who(ask.provider);
        if self.fails(ask.provider, who.silent) {
            let end = Some(self.bad_end()).filter(|end| *end != CallEnd::Finished);
            let end = end.unwrap_or(CallEnd::Lost);
            return self.transfer.handle_ask_end(self.now, ask.provider, end);
        }
        self.transfer
            .handle_completeness(ask.provider, who.claims_all);
        if let Some(list) = self.list_of(&who) {
            if ask.named.contains(&ITEM) {
                self.transfer
                    .handle_list_named(ask.provider, ITEM, *list.digest());
            } else {
                self.transfer.handle_list(ask.provider, ITEM, list);
            }
        }
        self.transfer
            .handle_ask_end(self.now, ask.provider, CallEnd::Finished);
        if who.claims_all {
            self.known.insert(ask.provider);
        }
    }

    /// The bytes of a grain that somebody sends.
    fn version(&mut self, who: &Behaviour, grain: u32, is_recheck: bool) -> Version {
        let own = self.file.version_under(who.list, grain);
        let is_wrong = self.random.u8(0..8) < who.wrong;
        if is_wrong && !(is_recheck && who.corrects) {
            who.version + 100
        } else {
            own
        }
    }

    pub(super) fn probe(&mut self, at: usize) {
        let probe = self.probes.swap_remove(at);
        let who = self.who(probe.provider);
        let outcome = self.probed(&probe, &who);
        self.transfer
            .handle_probe(self.now, probe.provider, outcome);
    }

    fn probed(&mut self, probe: &Probe, who: &Behaviour) -> ProbeOutcome {
        if self.fails(probe.provider, who.lost) {
            return ProbeOutcome::End(self.bad_end());
        }
        let piece = probe.grain / self.file.grains_in_slice;
        if !self.has(who, piece) {
            return ProbeOutcome::End(CallEnd::NotHeld { piece: Some(piece) });
        }
        let version = self.version(who, probe.grain, probe.recheck);
        let is_damaged = version >= 100;
        if who.kind == Kind::BadDisk && probe.recheck && is_damaged {
            return ProbeOutcome::End(CallEnd::Corrupt);
        }
        let list = self.list_of(who);
        let Some(list) = list.filter(|list| self.knows(list.digest())) else {
            return ProbeOutcome::Unnamed;
        };
        if self.file.holds(&list, probe.grain, version) {
            ProbeOutcome::Linked(*list.digest())
        } else {
            ProbeOutcome::Broken(*list.digest())
        }
    }

    /// Moves a call by one slice, or ends it.
    pub(super) fn step_call(&mut self, at: usize) {
        let OpenCall { call, next, counts } = self.calls[at].clone();
        let who = self.who(call.provider);
        let Some(id) = call.units.get(next).copied() else {
            return self.end(at, CallEnd::Finished);
        };
        if self.fails(call.provider, who.lost) {
            let end = self.bad_end();
            return self.end(at, end);
        }
        let unit = self.transfer.unit(id).unwrap().clone();
        if !self.has(&who, unit.piece) {
            return self.end(
                at,
                CallEnd::NotHeld {
                    piece: Some(unit.piece),
                },
            );
        }
        self.calls[at].next += 1;
        let list = self.list_of(&who);
        if let Some(list) = &list {
            self.transfer
                .handle_list_named(call.provider, ITEM, *list.digest());
            let is_useless = !self.knows(list.digest()) && !self.transfer.lists(ITEM).is_empty();
            if is_useless {
                return self.end(at, CallEnd::Cancelled);
            }
        }
        let known = list.filter(|list| self.knows(list.digest()));
        let is_own = known.is_some();
        match known.or_else(|| self.transfer.lead(ITEM).cloned()) {
            Some(list) => self.deliver_judged((at, counts), &call, id, (&list, is_own)),
            None => self.deliver_unjudged(&call, id),
        }
    }

    fn deliver_judged(
        &mut self,
        (at, counts): (usize, bool),
        call: &Call,
        id: UnitId,
        (list, is_own): (&KnownList, bool),
    ) {
        let who = self.who(call.provider);
        let unit = self.transfer.unit(id).unwrap().clone();
        let asked = asked_grains(&unit);
        let mut grains = 0;
        let mut is_wrong = false;
        for grain in asked.clone() {
            let version = self.version(&who, grain, false);
            if !self.file.holds(list, grain, version) {
                is_wrong = true;
                break;
            }
            self.disk.insert(grain, version);
            grains += 1;
        }
        if is_wrong && counts {
            *self.wasted.entry(call.provider).or_default() += 1;
        }
        // A call may break off anywhere.
        let is_cut = !is_wrong && grains > 1 && self.fails(call.provider, who.lost);
        if is_cut {
            grains -= 1;
        }
        let outcome = UnitOutcome::Judged {
            list: *list.digest(),
            grains,
            is_own,
            is_wrong,
        };
        self.transfer.handle_unit(self.now, call.id, id, outcome);
        if is_wrong {
            self.end(at, CallEnd::Wrong);
        } else if is_cut {
            self.end(at, CallEnd::Lost);
        }
    }

    fn deliver_unjudged(&mut self, call: &Call, id: UnitId) {
        let who = self.who(call.provider);
        let unit = self.transfer.unit(id).unwrap().clone();
        let is_reread = self.transfer.is_reread(id);
        let mut differs = false;
        for grain in asked_grains(&unit) {
            let version = self.version(&who, grain, call.recheck);
            let old = self.disk.insert(grain, version);
            differs |= is_reread && old != Some(version);
        }
        self.transfer
            .handle_unit(self.now, call.id, id, UnitOutcome::Written { differs });
    }
}
