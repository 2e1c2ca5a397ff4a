//! What machines do when they are told to: reading from upstream and from each other.

use std::time::Duration;

use super::{Happens, Nature, ONE_WAY, PIECE, Word, World, fake, machine_is_fine, truth};
use crate::cold::*;

impl World {
    /// Upstream sends one piece after the other, to whoever asked first.
    fn next_read(&mut self, node: usize, request: RequestId, piece: u32, end: u32) {
        let sent = Duration::from_millis(10);
        self.upstream_free = self.upstream_free.max(self.now) + sent;
        self.at(
            self.upstream_free + ONE_WAY,
            Happens::Read {
                node,
                request,
                piece,
                end,
            },
        );
    }

    pub(super) fn read(&mut self, index: usize, request: RequestId, piece: u32, end: u32) {
        self.upstream_bytes += PIECE;
        if !self.nodes[index].is_alive {
            return;
        }
        let digest = match self.nodes[index].nature {
            Nature::Poisons(each) if piece.is_multiple_of(each) => fake(piece, index),
            Nature::Honest
            | Nature::Dies(_)
            | Nature::Hoards
            | Nature::Trickles { .. }
            | Nature::Poisons(_)
            | Nature::Contradicts
            | Nature::SpoilsRelayed => truth(piece),
        };
        self.nodes[index].disk[piece as usize] = Some(digest);
        self.nodes[index].own.insert(piece);
        let now = self.now;
        if let Some(left) = self.nodes[index].reading.get_mut(&request) {
            left.start = piece + 1;
        }
        self.machine(index, |machine| {
            machine.handle_read_piece(now, request, piece, digest);
        });
        if piece + 1 < end {
            self.next_read(index, request, piece + 1, end);
        } else {
            self.nodes[index].reading.remove(&request);
            self.machine(index, |machine| machine.handle_read_end(now, request));
        }
    }

    pub(super) fn took(&mut self, index: usize, take: TakeId, from: usize, mut left: Vec<u32>) {
        let now = self.now;
        if self.nodes[index].cancelled.contains(&take) {
            return;
        }
        if left.is_empty() || !self.nodes[from].is_alive {
            let end = if left.is_empty() {
                TakeEnd::Finished
            } else {
                TakeEnd::Lost
            };
            self.nodes[index].taking.remove(&take);
            self.machine(index, |machine| machine.handle_take_end(now, take, end));
            return;
        }
        let piece = left.remove(0);
        self.nodes[index].taking.insert(take, left.clone());
        let giver = &self.nodes[from];
        let Some(held) = giver.disk[piece as usize] else {
            let end = TakeEnd::NotHeld { piece: Some(piece) };
            self.nodes[index].taking.remove(&take);
            self.machine(index, |machine| machine.handle_take_end(now, take, end));
            return;
        };
        let is_spoilt = match giver.nature {
            Nature::Contradicts => giver.own.contains(&piece),
            Nature::SpoilsRelayed => !giver.own.contains(&piece),
            Nature::Trickles { lies } => lies,
            Nature::Honest | Nature::Dies(_) | Nature::Hoards | Nature::Poisons(_) => false,
        };
        let digest = if is_spoilt { fake(piece, from) } else { held };
        self.nodes[index].disk[piece as usize] = Some(digest);
        self.machine(index, |machine| {
            machine.handle_taken(now, take, piece, digest);
        });
        self.send(index, take, from, left);
    }

    /// A node sends at the rate of upstream.
    fn send(&mut self, index: usize, take: TakeId, from: usize, left: Vec<u32>) {
        let sent = if left.is_empty() {
            Duration::ZERO
        } else if let Nature::Trickles { .. } = self.nodes[from].nature {
            Duration::from_secs(20)
        } else {
            Duration::from_millis(10)
        };
        let free = self.nodes[from].uplink_free.max(self.now) + sent;
        self.nodes[from].uplink_free = free;
        self.at(
            free + ONE_WAY,
            Happens::Took {
                node: index,
                take,
                from,
                left,
            },
        );
    }

    pub(super) fn poll(&mut self, index: usize) {
        if let Nature::Hoards | Nature::Trickles { .. } = self.nodes[index].nature {
            return;
        }
        let now = self.now;
        loop {
            let node = &mut self.nodes[index];
            let Some(machine) = node.machine.as_mut().filter(|_| node.is_alive) else {
                return;
            };
            let Some(action) = machine.poll_action(now) else {
                break;
            };
            self.act(index, action);
        }
        let machine = self.nodes[index].machine.as_ref().unwrap();
        if machine.standing(now) == ColdStanding::Done && !self.nodes[index].is_done {
            self.nodes[index].is_done = true;
            self.announce(index, &Word::Proven);
        }
        let is_honest = !matches!(self.nodes[index].nature, Nature::Poisons(_));
        assert!(
            !is_honest || machine_is_fine(&self.nodes[index], now),
            "an honest node gives up"
        );
    }

    fn act(&mut self, index: usize, action: ColdAction) {
        let now = self.now;
        match action {
            ColdAction::Claim { pieces } => self.announce(index, &Word::Claimed(pieces)),
            ColdAction::Read { request, pieces } => {
                self.check_alone(index, pieces.clone());
                self.nodes[index].reading.insert(request, pieces.clone());
                self.next_read(index, request, pieces.start, pieces.end);
            }
            ColdAction::Take {
                take,
                member,
                pieces,
            } => {
                let from = self.of(index, member);
                for piece in &pieces {
                    self.check_alone(index, *piece..*piece + 1);
                }
                self.nodes[index].taking.insert(take, pieces.clone());
                if let Nature::Trickles { .. } = self.nodes[from].nature {
                    self.send(index, take, from, pieces);
                    return;
                }
                self.at(
                    now + ONE_WAY,
                    Happens::Took {
                        node: index,
                        take,
                        from,
                        left: pieces,
                    },
                );
            }
            ColdAction::CancelTake { take } => {
                self.nodes[index].cancelled.insert(take);
                let at = now + ONE_WAY;
                self.at(at, Happens::Hung { node: index, take });
            }
            ColdAction::State {
                piece,
                digest,
                origin,
            } => {
                self.announce(index, &Word::Stated(piece, digest, origin.is_none()));
            }
            ColdAction::Check => {
                let node = &mut self.nodes[index];
                let right = (0_u32..)
                    .zip(&node.disk)
                    .all(|(piece, held)| *held == Some(truth(piece)));
                node.machine.as_mut().unwrap().handle_check(now, right);
            }
            ColdAction::Drop { member, reason } => self.drop_member(index, member, reason),
        }
    }

    fn drop_member(&mut self, index: usize, member: MemberId, reason: ColdDrop) {
        let whom = self.of(index, member);
        let is_honest = matches!(self.nodes[index].nature, Nature::Honest);
        if is_honest && reason.is_wrong_bytes() {
            let honest = matches!(
                self.nodes[whom].nature,
                Nature::Honest | Nature::Dies(_) | Nature::Trickles { lies: false }
            );
            assert!(!honest, "an honest node is blamed: {reason}");
        }
        self.dropped.push((index, whom, reason));
    }

    /// Two that write one piece would leave bytes of which nobody knows whose they are.
    fn check_alone(&self, index: usize, pieces: std::ops::Range<u32>) {
        let node = &self.nodes[index];
        let taken = node.taking.values().flatten();
        let read = node.reading.values().cloned().flatten();
        let twice: Vec<u32> = taken
            .copied()
            .chain(read)
            .filter(|piece| pieces.contains(piece))
            .collect();
        assert!(
            twice.is_empty(),
            "{index} writes pieces {twice:?} twice at once"
        );
    }

    fn of(&self, index: usize, member: MemberId) -> usize {
        let mut ids = self.nodes[index].ids.iter();
        ids.find(|(_, id)| **id == member)
            .map(|(whom, _)| *whom)
            .unwrap()
    }
}
