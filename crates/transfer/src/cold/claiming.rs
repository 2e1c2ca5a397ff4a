//! What is read from upstream, by whom, and when.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::rendezvous::order;
use super::{
    ColdAction, ColdStart, MemberId, Origin, PieceDigest, Request, RequestId, SHARED_ROUNDS,
};

/// Requests that a member may have at once, and more that it is about to begin: so many pieces may be due at the same time.
const PIECES_DUE: u64 = 4;

/// Of what this machine reads from upstream in the same time, the part that others have to come to.
const PART_OF_OWN: u64 = 4;

/// No upstream is slower, in bytes a second, to whoever waits for a member that reads it.
const SLOWEST: u64 = 8 * 1024;

/// Whoever else could read a server without ranges is waited for so many times as long as one of them, in all.
const PATIENCES: u32 = 4;

/// Upstream's rate is known after so long.
const MEASURED: Duration = Duration::from_secs(1);

/// Who else reads from upstream, as far as is known now.
struct Sharers(Vec<MemberId>);

impl ColdStart {
    /// Takes in that a member is about to read pieces from upstream.
    pub fn handle_claimed(&mut self, now: Instant, member: MemberId, pieces: Range<u32>) {
        let count = self.piece_count();
        let Some(state) = self
            .members
            .get_mut(member.index())
            .filter(|state| state.id == member)
        else {
            return;
        };
        state.takes_part = true;
        if !state.is_live() {
            return;
        }
        let node = state.node;
        let room = match self.origin {
            // Whoever reads it reads all of it.
            Origin::Whole if state.credit > 0 => u64::MAX,
            Origin::Whole | Origin::Ranges | Origin::None => state.credit,
        };
        for number in pieces.start..pieces.end.min(count) {
            let piece = &self.pieces[number as usize];
            let is_full = state.claimed_bytes + piece.bytes > room;
            if piece.word_of(member).is_some() || state.claims.contains_key(&number) || is_full {
                continue;
            }
            if state.claims.is_empty() {
                (state.claiming_since, state.kept_bytes, state.last_word) = (now, 0, now);
            }
            state.claims.insert(number, now);
            state.claimed_bytes += piece.bytes;
            let is_theirs = match self.origin {
                Origin::Whole => {
                    (order(node, self.blob), node) < (order(self.me, self.blob), self.me)
                }
                Origin::Ranges | Origin::None => {
                    self.weights.of(node, number) < self.weights.of(self.me, number)
                }
            };
            let contested = piece.request.filter(|_| is_theirs);
            let claimed_only =
                |id: &RequestId| self.requests.get(id).is_some_and(|open| !open.is_reading);
            if let Some(request) = contested.filter(claimed_only) {
                Self::release(&mut self.pieces, self.requests.remove(&request), request);
            }
        }
    }

    /// Takes in that a piece came from upstream, and lies there.
    pub fn handle_read_piece(
        &mut self,
        now: Instant,
        request: RequestId,
        piece: u32,
        digest: PieceDigest,
    ) {
        let Some(open) = self.requests.get(&request).filter(|open| open.is_reading) else {
            return;
        };
        if !open.pieces.contains(&piece) {
            return;
        }
        self.last_gain = now;
        self.upstream.read_until = now;
        self.upstream.failures = 0;
        let state = &mut self.pieces[piece as usize];
        state.request = None;
        self.upstream.read_bytes += state.bytes;
        self.hold(piece, digest, true);
        self.actions.push_back(ColdAction::State {
            piece,
            digest,
            origin: None,
        });
        self.judge(piece);
    }

    /// Takes in that a request is over; what did not come by then is read again, by somebody.
    pub fn handle_read_end(&mut self, now: Instant, request: RequestId) {
        let Some(open) = self.requests.remove(&request) else {
            return;
        };
        let is_short = Self::release(&mut self.pieces, Some(open), request);
        let settings = &self.settings;
        if !is_short {
            let doubled = self.upstream.request_bytes.saturating_mul(2);
            self.upstream.request_bytes = doubled.min(settings.request_bytes);
            return;
        }
        self.upstream.failures += 1;
        if self.upstream.failures >= settings.failures {
            self.upstream.is_lost = true;
        }
        let rest = settings
            .rest
            .saturating_mul(1 << (self.upstream.failures - 1).min(16));
        self.upstream.rests_until = Some(now + rest.min(settings.longest_rest));
    }

    /// Begins requests whose claims were heard by all, and claims what comes next.
    pub(super) fn plan_reads(&mut self, now: Instant) {
        let is_resting = self.upstream.rests_until.is_some_and(|until| until > now);
        if !self.can_read() || is_resting || !self.is_settled(now) {
            return;
        }
        self.start_requests(now);
        let most = match self.origin {
            Origin::Ranges => self.settings.requests + 1,
            Origin::Whole | Origin::None => 1,
        };
        while self.requests.len() < most {
            let Some(pieces) = self.choose(now) else {
                return;
            };
            let request = RequestId(self.id());
            for piece in &mut self.pieces[pieces.start as usize..pieces.end as usize] {
                piece.request = Some(request);
            }
            let open = Request {
                pieces: pieces.clone(),
                claimed: now,
                is_reading: false,
                is_clearing: false,
            };
            self.requests.insert(request, open);
            self.actions.push_back(ColdAction::Claim { pieces });
        }
    }

    /// Claims of others are void when they are gone, say nothing new for too long, or read too slowly. Who let claims pass is believed
    /// later as far as it makes good what it says.
    pub(super) fn forget_old_claims(&mut self, now: Instant) {
        let (rate, patience) = (self.slowest_rate(), self.claim_patience());
        for member in &mut self.members {
            let silent = now.saturating_duration_since(member.last_word);
            let busy = now.saturating_duration_since(member.claiming_since);
            let is_slow = busy >= patience + Duration::from_secs(member.kept_bytes / rate);
            let is_void = !member.is_live() || silent >= patience || is_slow;
            if is_void && !member.claims.is_empty() {
                member.claims.clear();
                (member.claimed_bytes, member.credit) = (0, 0);
            }
        }
    }

    /// What a member that is waited for reads from upstream at least, in bytes a second.
    fn slowest_rate(&self) -> u64 {
        let own = self.upstream_rate().map(|rate| rate / PART_OF_OWN);
        let rate = self.settings.slowest_rate;
        own.map_or(rate, |own| own.clamp(SLOWEST.min(rate), rate))
            .max(1)
    }

    /// How long a member may say nothing new while it reads.
    fn claim_patience(&self) -> Duration {
        let bytes = self.piece_bytes() * PIECES_DUE;
        self.settings.claim_patience + Duration::from_secs(bytes / self.slowest_rate())
    }

    /// Bytes a second that this machine got from upstream while it read.
    pub(super) fn upstream_rate(&self) -> Option<u64> {
        let time = self
            .upstream
            .read_until
            .saturating_duration_since(self.upstream.read_from?);
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        (time >= MEASURED).then(|| self.upstream.read_bytes.saturating_mul(1000) / millis)
    }

    /// The size of most pieces.
    pub(super) fn piece_bytes(&self) -> u64 {
        self.pieces.first().map_or(0, |piece| piece.bytes)
    }

    /// Whether members had time to find each other.
    fn is_settled(&self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.start);
        let is_quiet = now.saturating_duration_since(self.last_join) >= self.settings.quiet;
        let mut followed = self.members.iter().filter(|member| member.is_live());
        since >= self.settings.longest_settle
            || (since >= self.settings.settle && is_quiet && followed.all(|member| member.is_known))
    }

    fn start_requests(&mut self, now: Instant) {
        let reading = self
            .requests
            .values()
            .filter(|request| request.is_reading)
            .count();
        let room = self.settings.requests.saturating_sub(reading);
        let lead = self.lead();
        let is_ripe = |request: &Request| !request.is_reading && request.claimed + lead <= now;
        let ripe = self.requests.iter().filter(|(_, request)| is_ripe(request));
        let ripe: Vec<RequestId> = ripe.take(room).map(|(id, _)| *id).collect();
        for id in ripe {
            self.start_request(now, id);
        }
    }

    /// Between a claim and its request.
    pub(super) fn lead(&self) -> Duration {
        match self.origin {
            Origin::Whole => self.settings.whole_lead,
            Origin::Ranges | Origin::None => self.settings.claim_lead,
        }
    }

    fn start_request(&mut self, now: Instant, id: RequestId) {
        let Some(mut open) = self.requests.remove(&id) else {
            return;
        };
        Self::release(&mut self.pieces, Some(open.clone()), id);
        // What others got in the meantime is taken from them.
        let needed = |number: &u32| self.is_needed(*number);
        let start = open.pieces.clone().find(needed);
        let Some(start) = start else { return };
        let end = match self.origin {
            Origin::Whole => self.piece_count(),
            Origin::Ranges | Origin::None => (start..open.pieces.end)
                .find(|number| !needed(number))
                .unwrap_or(open.pieces.end),
        };
        open.pieces = start..end;
        if self.origin == Origin::Whole {
            open.pieces.start = 0;
            // Two that write one piece would leave bytes of which nobody knows whose they are.
            if !std::mem::replace(&mut open.is_clearing, true) {
                self.cancel_takes(|_| true);
            }
            open.is_reading = self.takes.is_empty();
        } else {
            open.is_reading = true;
        }
        for number in open.pieces.clone() {
            self.pieces[number as usize].request = Some(id);
        }
        if open.is_reading {
            self.upstream.read_from.get_or_insert(now);
            self.actions.push_back(ColdAction::Read {
                request: id,
                pieces: open.pieces.clone(),
            });
        }
        self.requests.insert(id, open);
    }

    /// What to claim next.
    fn choose(&self, now: Instant) -> Option<Range<u32>> {
        let sharers = self.sharers();
        if !self.settings.is_served && !sharers.0.is_empty() {
            return None;
        }
        if self.origin == Origin::Whole {
            let count = self.piece_count();
            let is_turn =
                (0..count).any(|number| self.is_needed(number)) && self.is_first(now, &sharers);
            return is_turn.then_some(0..count);
        }
        let is_deciding = |request: &Request| self.disputes.contains(&request.pieces.start);
        if !self.requests.values().any(is_deciding) {
            let disputed = self
                .disputes
                .iter()
                .find(|number| self.pieces[**number as usize].is_idle());
            if let Some(number) = disputed {
                return Some(*number..*number + 1);
            }
        }
        let is_tail = self.requests.is_empty();
        let needed: Vec<u32> = (0..self.piece_count())
            .filter(|number| self.is_needed(*number))
            .collect();
        let unclaimed = |number: &u32| !self.is_claimed(*number);
        let mut free: Vec<u32> = needed.iter().copied().filter(unclaimed).collect();
        if free.is_empty() && is_tail {
            // Nothing else is left to do.
            free = needed;
            free.retain(|number| self.is_claimed_long_since(now, *number));
        }
        let free = free;
        let place = |number: u32| {
            (
                !self.is_mine(number, &sharers),
                self.weights.of(self.me, number),
            )
        };
        let best = free.iter().copied().min_by_key(|number| place(*number))?;
        let is_own = self.is_mine(best, &sharers);
        let limit = self.request_limit(&free, &sharers);
        let (mut end, mut bytes) = (best, 0);
        while free.binary_search(&end).is_ok() && self.is_mine(end, &sharers) == is_own {
            bytes += self.pieces[end as usize].bytes;
            if end > best && bytes > limit {
                break;
            }
            end += 1;
        }
        Some(best..end)
    }

    /// How much to claim at once: little while others share the work, and less towards the end.
    fn request_limit(&self, free: &[u32], sharers: &Sharers) -> u64 {
        if sharers.0.is_empty() {
            return self.upstream.request_bytes;
        }
        let left: u64 = free
            .iter()
            .map(|number| self.pieces[*number as usize].bytes)
            .sum();
        let parts = (sharers.0.len() as u64 + 1) * self.settings.requests as u64;
        (left / parts).min(self.settings.first_request_bytes)
    }

    fn sharers(&self) -> Sharers {
        let members = self.members.iter();
        let sharing = members.filter(|member| member.takes_part && member.is_live());
        Sharers(sharing.map(|member| member.id).collect())
    }

    /// Whether rendezvous hashing gives a piece to this member, among those that have not read it yet.
    fn is_mine(&self, number: u32, sharers: &Sharers) -> bool {
        let mine = self.weights.of(self.me, number);
        let piece = &self.pieces[number as usize];
        let mut others = sharers.0.iter().filter(|id| piece.word_of(**id).is_none());
        others.all(|id| self.weights.of(self.members[id.index()].node, number) > mine)
    }

    /// Whether this member is the one to read a server without ranges: nobody does, and of those who did not read it all it is the first.
    fn is_first(&self, now: Instant, sharers: &Sharers) -> bool {
        let mine = self.order_of(self.me);
        let patience = self.claim_patience();
        if now.saturating_duration_since(self.last_gain) >= patience * PATIENCES {
            return true;
        }
        let mut others = sharers.0.iter().map(|id| (*id, &self.members[id.index()]));
        others.all(|(id, member)| {
            let is_stuck = now.saturating_duration_since(member.last_word) >= patience;
            let has_read = || self.pieces.iter().all(|piece| piece.word_of(id).is_some());
            let waits = || member.claims.is_empty() && self.order_of(member.node) > mine;
            is_stuck || waits() || has_read()
        })
    }

    /// Whether a piece has to be read from upstream by somebody who did not do so yet.
    fn is_needed(&self, number: u32) -> bool {
        let piece = &self.pieces[number as usize];
        if !piece.is_idle() && !self.is_only_claimed_piece(number) || piece.is_own() {
            return false;
        }
        if self.disputes.contains(&number) {
            return true;
        }
        let Some(held) = piece.held else {
            return piece.is_overdue || !self.is_given(number);
        };
        let is_doubted = self.verdict == Some(false) && !self.has_changed && self.wanted.is_empty();
        let believed = |id: &MemberId| self.members[id.index()].is_believed();
        let words = piece
            .words
            .iter()
            .filter(|(id, digest)| *digest == held.digest && believed(id));
        let needed = usize::try_from(self.round).unwrap_or(usize::MAX);
        is_doubted && (self.round > SHARED_ROUNDS || words.count() < needed)
    }

    /// Whether all was read again that this round asks for.
    pub(super) fn is_round_over(&self) -> bool {
        !(0..self.piece_count()).any(|number| self.is_needed(number))
    }

    fn is_claimed(&self, number: u32) -> bool {
        self.members
            .iter()
            .any(|member| member.is_live() && member.claims.contains_key(&number))
    }

    /// Whether this machine would have read by now what those claim who claim a piece.
    fn is_claimed_long_since(&self, now: Instant, number: u32) -> bool {
        let rate = self
            .upstream_rate()
            .unwrap_or(self.settings.slowest_rate)
            .max(1);
        let mut claiming = self.members.iter().filter_map(|member| {
            let since = member.claims.get(&number)?;
            Some((*since, member.claimed_bytes))
        });
        claiming.all(|(since, bytes)| {
            let time = self.settings.claim_patience * 2 + Duration::from_secs(bytes / rate);
            now.saturating_duration_since(since) >= time
        })
    }

    pub(super) fn is_only_claimed(&self, id: RequestId) -> bool {
        self.requests
            .get(&id)
            .is_some_and(|request| !request.is_reading)
    }

    fn is_only_claimed_piece(&self, number: u32) -> bool {
        let piece = &self.pieces[number as usize];
        piece.take.is_none() && piece.request.is_some_and(|id| self.is_only_claimed(id))
    }

    /// Frees the pieces of a request, and says whether there were any left.
    pub(super) fn release(
        pieces: &mut [super::Piece],
        open: Option<Request>,
        id: RequestId,
    ) -> bool {
        let mut any = false;
        for number in open.map_or(0..0, |open| open.pieces) {
            let piece = &mut pieces[number as usize];
            if piece.request == Some(id) {
                piece.request = None;
                any = true;
            }
        }
        any
    }

    pub(super) fn piece_count(&self) -> u32 {
        u32::try_from(self.pieces.len()).unwrap_or(u32::MAX)
    }
}
