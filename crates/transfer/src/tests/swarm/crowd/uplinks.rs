//! Uplinks give their readers in turn a chunk each.

use std::time::Duration;

use super::{CHUNK, Ending, Happening, LATENCY, Request, Swarm};
use crate::tests::swarm::plan::{PIECE, UPLINK};

impl Swarm {
    pub(super) fn take_request(&mut self, at: usize, request: Request) {
        let (reader, call) = (request.reader, request.call);
        if self.members[at].is_dead {
            self.plan(LATENCY, Happening::Ended(reader, call, Ending::Lost));
            return;
        }
        assert!(
            request
                .units
                .iter()
                .all(|unit| self.members[at].held[unit.index()])
        );
        if self.members[at].uplink.waiting.len() >= self.plan.queue
            && self.members[at].uplink.served.len() >= self.plan.served
        {
            self.plan(LATENCY, Happening::Ended(reader, call, Ending::Busy));
            return;
        }
        self.members[at].uplink.waiting.push_back(request);
        self.serve(at);
    }

    pub(super) fn serve(&mut self, at: usize) {
        let most = self.plan.served;
        let uplink = &mut self.members[at].uplink;
        while uplink.served.len() < most
            && let Some(next) = uplink.waiting.pop_front()
        {
            uplink.served.push_back(next);
        }
        if !uplink.is_busy && !uplink.served.is_empty() {
            uplink.is_busy = true;
            let time = Duration::from_secs_f64(f64::from(CHUNK) / f64::from(UPLINK));
            self.plan(time, Happening::Sent(at));
        }
    }

    pub(super) fn sent(&mut self, at: usize) {
        let uplink = &mut self.members[at].uplink;
        uplink.is_busy = false;
        if let Some(mut request) = uplink.served.pop_front() {
            uplink.sent_chunks += 1;
            request.sent += CHUNK;
            let (reader, call) = (request.reader, request.call);
            let mut arrivals = Vec::new();
            if request.sent == PIECE {
                request.sent = 0;
                let unit = request.units.pop_front().unwrap();
                arrivals.push(Happening::Delivered(reader, call, unit));
            }
            if request.units.is_empty() {
                arrivals.push(Happening::Ended(reader, call, Ending::Finished));
            } else {
                uplink.served.push_back(request);
            }
            for arrival in arrivals {
                self.plan(LATENCY, arrival);
            }
        }
        self.serve(at);
    }
}
