//! Making calls, and taking in how they went.

use std::time::Instant;

use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, info_span, warn};
use zeroshare_content::Piece;
use zeroshare_staging::{PutError, SourceId};
use zeroshare_transfer::{Call, CallEnd, CallId, FileVerdict, Holding, UnitId, UnitOutcome};

use zeroshare_wire::pb::content::v1::PieceState;

use super::super::failure::FetchFailure;
use super::super::offer;
use super::super::reader::{Reader, Report, WantedUnit};
use super::{Driver, OpenCall};

impl Driver {
    pub(super) fn handle(&mut self, report: Report) -> Result<(), FetchFailure> {
        match report {
            Report::Unit {
                call,
                unit,
                outcome,
            } => self.handle_unit(call, unit, outcome),
            Report::End { call, end } => self.handle_end(call, end),
            Report::Checked { item, verdict } => self.handle_checked(item, verdict),
            Report::Connected(result) => {
                self.connecting = self.connecting.saturating_sub(1);
                match result {
                    Ok(peer) => self.add_peer(peer),
                    Err((candidate, why)) => self.lose_candidate(&candidate, why),
                }
            }
            Report::Holding { provider, ranges } => {
                let holding = Holding::Partial(ranges);
                if self.machine.handle_holding(provider, holding) {
                    self.starving.handle_news(Instant::now());
                }
            }
            Report::Claimed { provider, ranges } => self.machine.handle_claim(provider, &ranges),
            report @ (Report::Complete { .. }
            | Report::Named { .. }
            | Report::List { .. }
            | Report::Asked { .. }
            | Report::Probed { .. }
            | Report::Judged { .. }) => self.handle_list_report(report),
            Report::Fatal(failure) => return Err(failure),
        }
        Ok(())
    }

    fn handle_unit(&mut self, call: CallId, unit: UnitId, outcome: UnitOutcome) {
        let is_reread = self.machine.is_reread(unit);
        if let Some(unit) = self.machine.unit(unit) {
            self.tally
                .count(unit, outcome, is_reread, &self.around.layout);
            let is_whole = outcome == UnitOutcome::Proven;
            if is_whole
                && let Some(offer) = &mut self.offer
                && (unit.whole || offer::is_proven(&self.staged, unit.piece))
            {
                offer.add(unit.piece, PieceState::Proven);
            }
        }
        match outcome {
            UnitOutcome::Proven => {
                self.rounds = 0;
                self.starving.handle_progress();
            }
            UnitOutcome::Judged { grains, .. } if grains > 0 => {
                self.rounds = 0;
                self.starving.handle_progress();
            }
            UnitOutcome::Written { .. } | UnitOutcome::Part { .. } => self.rounds = 0,
            UnitOutcome::Judged { .. } | UnitOutcome::Wrong { .. } => {}
        }
        self.machine
            .handle_unit(Instant::now(), call, unit, outcome);
        self.offer_linked(unit);
    }

    fn handle_end(&mut self, call: CallId, end: CallEnd) {
        let open = self.calls.remove(&call);
        self.machine.handle_call_end(Instant::now(), call, end);
        let Some(open) = open else { return };
        let Some(provider) = self.peers.get_mut(&open.provider) else {
            return;
        };
        if !matches!(end, CallEnd::Finished | CallEnd::Cancelled) {
            debug!(peer = %provider.peer.address, ?end, "a call to a provider failed");
        }
        // Whoever lacks a piece has a part only, and is followed as it gets more.
        if matches!(end, CallEnd::NotHeld { piece: Some(_) }) && provider.watches.is_none() {
            self.machine.handle_incomplete(open.provider);
            self.follow(open.provider);
        }
    }

    fn handle_checked(&mut self, item: u32, verdict: FileVerdict) {
        if verdict == FileVerdict::Proven {
            self.tally.file_proven();
            self.starving.handle_progress();
            self.offer_file(item);
        } else {
            warn!(
                item,
                "a file put together from slices does not match, and is read again"
            );
        }
        self.machine.handle_file(item, verdict);
    }

    fn offer_file(&mut self, item: u32) {
        let Some(offer) = &mut self.offer else { return };
        for piece in 0..self.around.layout.piece_count() {
            if let Some(Piece::Slice { item: of, .. }) = self.around.layout.piece(piece)
                && of == item
            {
                offer.add(piece, PieceState::Proven);
            }
        }
    }

    pub(super) fn check_file(&self, item: u32) {
        let (staged, reports) = (self.staged.clone(), self.around.reports.clone());
        let (writers, tasks) = (self.around.writers.clone(), self.tasks.clone());
        let checking = async move {
            let Ok(permit) = writers.acquire_owned().await else {
                return;
            };
            let hashing = tasks.spawn_blocking("hash a file", move || {
                let result = staged.finish_item(item);
                drop(permit);
                result
            });
            let report = match hashing.await {
                Ok(Ok(())) => Report::Checked {
                    item,
                    verdict: FileVerdict::Proven,
                },
                Ok(Err(PutError::Mismatch { .. })) => Report::Checked {
                    item,
                    verdict: FileVerdict::Mismatch,
                },
                Ok(Err(error)) => Report::Fatal(FetchFailure::of_put(&error)),
                Err(_) => Report::Fatal(FetchFailure::Stopping),
            };
            drop(reports.send(report).await);
        };
        drop(self.tasks.spawn("check a file", checking.in_current_span()));
    }

    pub(super) fn make(&mut self, call: &Call) {
        let Some(provider) = self.peers.get(&call.provider) else {
            return;
        };
        if let Some(offer) = &mut self.offer {
            let rare = call.units.iter().filter(|id| self.machine.is_rarest(**id));
            for unit in rare.filter_map(|id| self.machine.unit(*id)) {
                offer.add(unit.piece, PieceState::Claimed);
            }
        }
        let units = call.units.iter().filter_map(|id| {
            let unit = self.machine.unit(*id)?.clone();
            Some(WantedUnit {
                id: *id,
                unit,
                is_reread: self.machine.is_reread(*id),
            })
        });
        let cancel = CancellationToken::new();
        let reader = Reader {
            call: call.id,
            peer: provider.peer.clone(),
            provider: call.provider,
            source: SourceId(call.provider.number()),
            units: units.collect(),
            is_recheck: call.recheck,
            cancel: cancel.clone(),
            around: self.around.clone(),
        };
        let span = info_span!(
            "read pieces",
            peer = %provider.peer.address,
            units = call.units.len(),
            recheck = call.recheck,
        );
        self.calls.insert(
            call.id,
            OpenCall {
                provider: call.provider,
                cancel,
            },
        );
        drop(
            self.tasks
                .spawn("read pieces", reader.run().instrument(span)),
        );
    }
}
