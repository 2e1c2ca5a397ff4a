//! What nodes sent.

use zeroshare_wire::datagram::Body;

/// Datagrams that nodes sent; one to everybody counts once for each road.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// To everybody.
    pub to_all: u64,
    /// To one.
    pub to_one: u64,
    /// Bytes of both.
    pub bytes: u64,
    /// Questions and answers among those to everybody: what lookups cost.
    pub lookups_to_all: u64,
    /// Questions and answers among those to one, and echoes.
    pub lookups_to_one: u64,
}

impl Traffic {
    pub(super) fn add(&mut self, is_to_all: bool, bytes: usize, body: Option<&Body>) {
        let is_of_lookup = matches!(body, Some(Body::Query(_) | Body::Answer(_)));
        let is_echo = matches!(body, Some(Body::Echo(_)));
        self.bytes += bytes as u64;
        if is_to_all {
            self.to_all += 1;
            self.lookups_to_all += u64::from(is_of_lookup);
        } else {
            self.to_one += 1;
            self.lookups_to_one += u64::from(is_of_lookup || is_echo);
        }
    }
}
