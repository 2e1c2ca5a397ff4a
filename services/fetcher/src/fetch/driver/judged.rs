//! Files that are judged by lists of midstates: has done what the machine wants of them.

use std::collections::BTreeSet;
use std::time::Instant;

use tracing::{Instrument as _, debug, info};
use zeroshare_content::{BlobId, Piece};
use zeroshare_staging::PutError;
use zeroshare_transfer::{Ask, FileVerdict, Probe, UnitId};
use zeroshare_wire::pb::content::v1::PieceState;

use super::super::failure::FetchFailure;
use super::super::judging::{grains_of, judge_on_disk};
use super::super::lists;
use super::super::offer::Offer;
use super::super::probing;
use super::super::reader::Report;
use super::Driver;

impl Driver {
    /// Has every file judged grain by grain that can be: it comes in slices, and its hash is a SHA-256.
    pub(super) fn keep_lists(&mut self) {
        let items = self.around.layout.items().iter().zip(0_u32..);
        for (found, item) in items {
            let pieces = self.around.layout.pieces_of_item(item);
            let first = pieces.and_then(|pieces| self.around.layout.piece(pieces.start));
            let is_sliced = matches!(first, Some(Piece::Slice { .. }));
            if is_sliced && matches!(found.blob, BlobId::Sha256(_)) {
                self.machine.keep_lists(item);
            }
        }
    }

    /// Puts questions for lists, and reads the grains that decide who is right.
    pub(super) fn inquire(&mut self) {
        let now = Instant::now();
        while let Some(ask) = self.machine.poll_ask(now) {
            self.ask(ask);
        }
        while let Some(probe) = self.machine.poll_probe(now) {
            self.probe(probe);
        }
    }

    fn ask(&mut self, ask: Ask) {
        let Some(provider) = self.peers.get(&ask.provider) else {
            return;
        };
        let asking = lists::ask(provider.peer.clone(), ask, self.around.clone());
        drop(
            self.tasks
                .spawn("ask for midstates", asking.in_current_span()),
        );
    }

    fn probe(&mut self, probe: Probe) {
        let Some(provider) = self.peers.get(&probe.provider) else {
            return;
        };
        info!(
            peer = %provider.peer.address,
            item = probe.item,
            grain = probe.grain,
            recheck = probe.recheck,
            "a grain is read to find out who is right"
        );
        let probing = probing::probe(provider.peer.clone(), probe, self.around.clone());
        drop(self.tasks.spawn("probe", probing.in_current_span()));
    }

    /// Takes in what somebody said of lists, or what came of judging by them.
    pub(super) fn handle_list_report(&mut self, report: Report) {
        let now = Instant::now();
        self.is_to_be_reviewed = true;
        match report {
            Report::Complete {
                provider,
                is_complete,
            } => self.machine.handle_completeness(provider, is_complete),
            Report::Named {
                provider,
                item,
                list,
            } => self.machine.handle_list_named(provider, item, list),
            Report::List {
                provider,
                item,
                list,
            } => {
                self.machine.handle_list(provider, item, list);
                self.renewed.insert(item);
            }
            Report::Asked { provider, end } => self.machine.handle_ask_end(now, provider, end),
            Report::Probed { provider, outcome } => {
                debug!(?provider, ?outcome, "a grain was judged");
                self.machine.handle_probe(now, provider, outcome);
            }
            Report::Judged { unit, list, linked } => {
                self.machine.handle_judged_on_disk(unit, list, &linked);
                self.offer_linked(unit);
            }
            Report::Unit { .. }
            | Report::End { .. }
            | Report::Checked { .. }
            | Report::Connected(_)
            | Report::Holding { .. }
            | Report::Claimed { .. }
            | Report::Fatal(_) => {}
        }
    }

    /// Has what comes from now on judged by another list.
    pub(super) fn take_lead(&mut self, item: u32) -> Result<(), FetchFailure> {
        if let Some(lead) = self.machine.lead(item) {
            let judged = self.staged.judge_by(item, *lead.digest());
            judged.map_err(|error| FetchFailure::of_put(&error))?;
        }
        self.renewed.insert(item);
        self.changed.insert(item);
        self.is_to_be_reviewed = true;
        Ok(())
    }

    /// Lets readers see the lists that changed.
    pub(super) fn renew_lists(&mut self) {
        for item in std::mem::take(&mut self.renewed) {
            let (known, lead) = (self.machine.lists(item), self.machine.lead(item));
            self.around.lists.set(item, known, lead);
        }
    }

    /// Offers what is linked of the files of which it may be passed on, and takes back what may not any more.
    pub(super) fn review_offer(&mut self) {
        if self.offer.is_none() || !std::mem::take(&mut self.is_to_be_reviewed) {
            return;
        }
        let items = self.machine.judged_items();
        let may: BTreeSet<u32> = items
            .into_iter()
            .filter(|item| self.machine.may_pass_on(*item))
            .collect();
        let is_taken_back = self.passing.iter().any(|item| {
            let is_over = self.staged.is_proven(*item);
            !is_over && (!may.contains(item) || self.changed.contains(item))
        });
        self.changed.clear();
        if is_taken_back {
            self.passing.clear();
            self.offer = Some(Offer::start(&self.shared, &self.offering, &self.staged));
        }
        for item in may {
            if self.passing.insert(item) {
                self.offer_linked_of(item);
            }
        }
    }

    fn offer_linked_of(&mut self, item: u32) {
        let (Some(offer), Some(lead)) = (&mut self.offer, self.machine.lead(item)) else {
            return;
        };
        let line = self.around.layout.items().get(item as usize);
        offer.add_list(line.map_or(0, |item| item.line), lead.midstates());
        for piece in self.machine.linked_pieces(item) {
            offer.add(piece, PieceState::Linked);
        }
    }

    /// Offers a slice that is linked now, if it may be passed on.
    pub(super) fn offer_linked(&mut self, unit: UnitId) {
        let piece = self.machine.unit(unit).map(|unit| unit.piece);
        let Some((item, _)) = piece.and_then(|piece| grains_of(&self.around.layout, piece)) else {
            return;
        };
        if let (Some(offer), Some(piece)) = (&mut self.offer, piece)
            && self.passing.contains(&item)
            && self.machine.is_linked(unit)
        {
            offer.add(piece, PieceState::Linked);
        }
    }

    /// Judges a slice that lies there by the lead.
    pub(super) fn judge(&mut self, unit: UnitId) {
        let place = self.machine.unit(unit).map(|unit| unit.piece);
        let place = place.and_then(|piece| grains_of(&self.around.layout, piece));
        let Some((item, grains)) = place else { return };
        let Some(list) = self.machine.lead(item).cloned() else {
            return;
        };
        let (staged, reports) = (self.staged.clone(), self.around.reports.clone());
        let (writers, tasks) = (self.around.writers.clone(), self.tasks.clone());
        let judging = async move {
            let Ok(permit) = writers.acquire_owned().await else {
                return;
            };
            let name = *list.digest();
            let judged = tasks.spawn_blocking("judge a slice", move || {
                let linked = judge_on_disk(&staged, item, grains, &list);
                drop(permit);
                linked
            });
            let report = match judged.await {
                Ok(Ok(linked)) => Report::Judged {
                    unit,
                    list: name,
                    linked,
                },
                Ok(Err(error)) => Report::Fatal(FetchFailure::of_put(&error)),
                Err(_) => Report::Fatal(FetchFailure::Stopping),
            };
            drop(reports.send(report).await);
        };
        drop(self.tasks.spawn("judge a slice", judging.in_current_span()));
    }

    /// Finishes a file of which every grain holds by the lead.
    pub(super) fn prove_file(&mut self, item: u32) {
        let Some(list) = self.machine.lead(item).cloned() else {
            return;
        };
        let (staged, reports, tasks) = (
            self.staged.clone(),
            self.around.reports.clone(),
            self.tasks.clone(),
        );
        let proving = async move {
            let proven = tasks.spawn_blocking("finish a file", move || {
                staged.prove_item(item, list.midstates().clone())
            });
            let verdict = match proven.await {
                Ok(Ok(())) => FileVerdict::Proven,
                Ok(Err(PutError::Incomplete { .. })) => FileVerdict::Unlinked,
                Ok(Err(error)) => {
                    let failure = FetchFailure::of_put(&error);
                    return drop(reports.send(Report::Fatal(failure)).await);
                }
                Err(_) => return,
            };
            drop(reports.send(Report::Checked { item, verdict }).await);
        };
        drop(self.tasks.spawn("finish a file", proving.in_current_span()));
    }
}
