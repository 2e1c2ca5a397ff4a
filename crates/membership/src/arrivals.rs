//! What others on this machine are getting, as whoever asks is told.

use std::time::Instant;

use zeroshare_content::ContentId;
use zeroshare_wire::datagram::HoldingState;

use crate::machine::Membership;

impl Membership {
    /// Takes in that somebody else on this machine gets something no more, which [`Self::handle_arriving`] told of; what is here of it
    /// by now stays.
    pub fn handle_arrival_over(&mut self, now: Instant, content: ContentId) {
        if self.holdings.is_only_coming(&content) {
            self.set_holding(now, content, None);
        }
    }

    /// Takes in that somebody else on this machine is getting something; what is here of it says more.
    pub fn handle_arrival(&mut self, now: Instant, content: ContentId) {
        if !self.holdings.is_known(&content) {
            self.handle_arriving(now, content, 0, HoldingState::OnItsWay);
        }
    }
}
