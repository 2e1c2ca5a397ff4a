//! How fast the lines to readers are, and whether what goes over them is worth compressing.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use zeroshare_content::ContentId;

/// A rate is taken over so long; what sockets buffer at first looks faster than it is.
const WINDOW: Duration = Duration::from_millis(250);

/// A line of which nothing was heard for so long may be another one now.
const KEPT: Duration = Duration::from_mins(5);

/// Readers whose lines are known; the one that read longest ago is forgotten.
const MAX_LINES: usize = 256;

/// Contents of which is known how much they shrink; the one noted longest ago is forgotten.
const MAX_SAMPLES: usize = 256;

/// After so many bytes, of however many answers, is judged whether a content becomes smaller.
const SAMPLE_BYTES: u64 = 512 * 1024;

/// … which what was sent lately decides, so many times as much.
const REMEMBERED_SAMPLES: u64 = 8;

/// Whoever finds a content dense tries again after so much of it went as it is: few trees are all text, or none.
const RETRY_BYTES: u64 = 8 * 1024 * 1024;

/// Streams compressed at once: each takes up to 16 MiB, and a core. Further ones travel as they are.
const MAX_ENCODERS: usize = 2;

/// Lines and contents, as far as they are known. The time is handed in.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    lines: BTreeMap<IpAddr, Line>,
    samples: VecDeque<(ContentId, Sample)>,
    encoders: usize,
}

/// What compressing did to a content so far.
#[derive(Debug, Default)]
struct Sample {
    taken_bytes: u64,
    given_bytes: u64,
    /// Bytes that went as they are since it was found dense.
    passed: u64,
}

/// The way to one reader, over all its calls.
#[derive(Debug)]
struct Line {
    /// Calls that run now.
    calls: usize,
    /// Since when calls ran, the time between them left out, and how much was taken since then.
    since: Instant,
    bytes: u64,
    bytes_per_second: Option<u64>,
    used: Instant,
}

/// One call over a line, until it and all that it gave to the line are dropped.
#[derive(Debug)]
pub(crate) struct OnLine {
    lines: Arc<Lines>,
    reader: IpAddr,
}

/// Bytes on their way, dropped by the connection once the socket took them: only that tells how fast the line is.
pub(super) struct UnderWay<T> {
    bytes: T,
    line: Arc<OnLine>,
    count: u64,
}

/// Leave to compress one stream, until it is dropped.
#[derive(Debug)]
pub(super) struct Compression {
    lines: Arc<Lines>,
    pub(super) level: i32,
}

impl Lines {
    /// Notes that a call to a reader begins.
    pub(crate) fn begin(self: &Arc<Self>, now: Instant, reader: IpAddr) -> OnLine {
        let mut known = self.known();
        known.forget_lines(now);
        let line = known.lines.entry(reader).or_insert_with(|| Line {
            calls: 0,
            since: now,
            bytes: 0,
            bytes_per_second: None,
            used: now,
        });
        if line.calls == 0 {
            // Calls may be shorter than the time over which a rate is taken.
            line.since += now.saturating_duration_since(line.used);
        }
        line.calls += 1;
        line.used = now;
        drop(known);
        OnLine {
            lines: Arc::clone(self),
            reader,
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Whatever is half noted is a guess all the same.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sample {
    /// Whether it does not become smaller, as far as is known.
    fn is_dense(&self) -> bool {
        self.taken_bytes >= SAMPLE_BYTES && self.given_bytes > self.taken_bytes / 16 * 15
    }

    fn note(&mut self, taken_bytes: u64, given_bytes: u64) {
        self.taken_bytes = self.taken_bytes.saturating_add(taken_bytes);
        self.given_bytes = self.given_bytes.saturating_add(given_bytes);
        while self.taken_bytes > SAMPLE_BYTES * REMEMBERED_SAMPLES {
            self.taken_bytes /= 2;
            self.given_bytes /= 2;
        }
    }

    fn pass(&mut self, bytes: u64) {
        self.passed = self.passed.saturating_add(bytes);
        if self.passed >= RETRY_BYTES {
            *self = Self::default();
        }
    }
}

impl Known {
    fn is_dense(&self, content: &ContentId) -> bool {
        let mut samples = self.samples.iter();
        samples.any(|(of, sample)| of == content && sample.is_dense())
    }

    fn forget_lines(&mut self, now: Instant) {
        self.lines
            .retain(|_, line| line.calls > 0 || now.saturating_duration_since(line.used) < KEPT);
        while self.lines.len() >= MAX_LINES {
            let idle = self.lines.iter().filter(|(_, line)| line.calls == 0);
            match idle
                .min_by_key(|(_, line)| line.used)
                .map(|(reader, _)| *reader)
            {
                Some(oldest) => drop(self.lines.remove(&oldest)),
                // There are fewer calls than that at once.
                None => return,
            }
        }
    }
}

impl<T> UnderWay<T> {
    pub(super) fn new(bytes: T, count: u64, line: Arc<OnLine>) -> Self {
        Self { bytes, line, count }
    }
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for UnderWay<T> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

impl<T> Drop for UnderWay<T> {
    fn drop(&mut self) {
        self.line.sent(Instant::now(), self.count);
    }
}

impl OnLine {
    /// Notes that the reader's side took so many bytes.
    fn sent(&self, now: Instant, bytes: u64) {
        let mut known = self.lines.known();
        let Some(line) = known.lines.get_mut(&self.reader) else {
            return;
        };
        line.bytes += bytes;
        line.used = now;
        let passed = now.saturating_duration_since(line.since);
        if passed >= WINDOW {
            let millis = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
            let rate = line.bytes.saturating_mul(1000) / millis.max(1);
            line.bytes_per_second = Some(match line.bytes_per_second {
                Some(before) => before.midpoint(rate),
                None => rate,
            });
            (line.since, line.bytes) = (now, 0);
        }
    }

    /// Notes that so many bytes of a content went as they are.
    pub(super) fn passed(&self, content: &ContentId, bytes: u64) {
        let mut known = self.lines.known();
        let sample = known.samples.iter_mut().find(|(of, _)| of == content);
        if let Some((_, sample)) = sample.filter(|(_, sample)| sample.is_dense()) {
            sample.pass(bytes);
        }
    }

    /// Says whether content should be compressed for this line, and how well.
    pub(super) fn compression(&self, content: &ContentId) -> Option<Compression> {
        let mut known = self.lines.known();
        let rate = known.lines.get(&self.reader)?.bytes_per_second?;
        let level = level(rate)?;
        if known.encoders >= MAX_ENCODERS || known.is_dense(content) {
            return None;
        }
        known.encoders += 1;
        Some(Compression {
            lines: Arc::clone(&self.lines),
            level,
        })
    }
}

impl Compression {
    /// Whether what is compressed does not become smaller.
    pub(super) fn is_vain(&self, content: &ContentId) -> bool {
        self.lines.known().is_dense(content)
    }

    /// Notes what became of so many bytes of a content: what does not become smaller is not compressed for a while.
    ///
    /// Over all answers, for in a crowd each is short.
    pub(super) fn note(&self, content: &ContentId, taken_bytes: u64, given_bytes: u64) {
        let mut known = self.lines.known();
        let place = known.samples.iter().position(|(of, _)| of == content);
        let place = place.unwrap_or_else(|| {
            if known.samples.len() >= MAX_SAMPLES {
                known.samples.pop_front();
            }
            known.samples.push_back((*content, Sample::default()));
            known.samples.len() - 1
        });
        if let Some((_, sample)) = known.samples.get_mut(place) {
            sample.note(taken_bytes, given_bytes);
        }
    }
}

impl Drop for OnLine {
    fn drop(&mut self) {
        if let Some(line) = self.lines.known().lines.get_mut(&self.reader) {
            line.calls = line.calls.saturating_sub(1);
        }
    }
}

impl Drop for Compression {
    fn drop(&mut self) {
        let mut known = self.lines.known();
        known.encoders = known.encoders.saturating_sub(1);
    }
}

/// The best level that keeps a line busy with text, which shrinks to a fifth: one core compresses some 50 MB/s at level
/// 9 and 110 MB/s at level 5. Faster lines carry it as it is.
fn level(bytes_per_second: u64) -> Option<i32> {
    const MB: u64 = 1_000_000;
    match bytes_per_second {
        0..8_000_000 => Some(9),
        rate if rate < 16 * MB => Some(5),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use zeroshare_content::{BlobId, HashKind};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_shrinks_is_compressed_on_slow_lines_only() {
        for (rate, expected) in [
            (1_000_000, Some(9)),
            (12_000_000, Some(5)),
            (100_000_000, None),
        ] {
            let (lines, now) = (Arc::new(Lines::default()), Instant::now());
            let line = lines.begin(now, reader(1));
            assert!(
                line.compression(&content(1)).is_none(),
                "it is not known yet"
            );
            line.sent(now + SECOND / 5, 1 << 30);
            assert!(line.compression(&content(1)).is_none(), "sockets buffer it");
            let line = lines.begin(now + SECOND, reader(2));
            line.sent(now + SECOND * 2, rate);
            let compression = line.compression(&content(1));
            assert_eq!(
                compression.as_ref().map(|compression| compression.level),
                expected
            );
            if let Some(compression) = compression {
                compression.note(&content(1), SAMPLE_BYTES, SAMPLE_BYTES);
                assert!(line.compression(&content(1)).is_none());
                assert!(line.compression(&content(2)).is_some());
            }
        }
    }

    #[test]
    fn many_short_answers_tell_as_much_as_a_long_one() {
        let (lines, now) = (Arc::new(Lines::default()), Instant::now());
        let line = lines.begin(now, reader(1));
        line.sent(now + SECOND, 1);
        let piece = SAMPLE_BYTES / 4;
        for _ in 0..4 {
            // Noise grows a little; text shrinks to a fifth.
            let [noise, text] = [content(1), content(2)];
            let compression = line.compression(&noise).unwrap();
            compression.note(&noise, piece, piece + 12);
            compression.note(&text, piece, piece / 5);
        }
        assert!(line.compression(&content(1)).is_none());
        assert!(line.compression(&content(2)).is_some());
    }

    #[test]
    fn after_a_dense_stretch_it_is_tried_again() {
        let (lines, now) = (Arc::new(Lines::default()), Instant::now());
        let line = lines.begin(now, reader(1));
        line.sent(now + SECOND, 1);
        let tree = content(1);
        let compression = line.compression(&tree).unwrap();
        compression.note(&tree, 100 * SAMPLE_BYTES, 20 * SAMPLE_BYTES);
        assert!(!compression.is_vain(&tree), "text");
        compression.note(&tree, 100 * SAMPLE_BYTES, 100 * SAMPLE_BYTES);
        assert!(compression.is_vain(&tree), "archives in it");
        drop(compression);
        line.passed(&tree, RETRY_BYTES - 1);
        assert!(line.compression(&tree).is_none());
        line.passed(&tree, 1);
        assert!(line.compression(&tree).is_some());
    }

    #[test]
    fn many_short_calls_tell_how_fast_the_line_is() {
        let (lines, mut now) = (Arc::new(Lines::default()), Instant::now());
        for _ in 0..5 {
            let line = lines.begin(now, reader(1));
            now += WINDOW / 4;
            line.sent(now, 400_000);
            drop(line);
            now += SECOND;
        }
        let line = lines.begin(now, reader(1));
        assert_eq!(line.compression(&content(1)).map(|one| one.level), Some(9));
    }

    #[test]
    fn what_is_under_way_belongs_to_the_call() {
        let lines = Arc::new(Lines::default());
        let line = Arc::new(lines.begin(Instant::now(), reader(1)));
        let bytes = UnderWay::new([1, 2], 2, Arc::clone(&line));
        drop(line);
        assert_eq!(
            lines.known().lines.get(&reader(1)).map(|line| line.calls),
            Some(1)
        );
        assert_eq!(bytes.as_ref(), [1, 2]);
        drop(bytes);
        let known = lines.known();
        let line = known.lines.get(&reader(1)).unwrap();
        assert_eq!((line.calls, line.bytes), (0, 2));
    }

    #[test]
    fn the_time_between_calls_does_not_count() {
        let (lines, now) = (Arc::new(Lines::default()), Instant::now());
        drop(lines.begin(now, reader(1)));
        let line = lines.begin(now + SECOND * 100, reader(1));
        line.sent(now + SECOND * 101, 100_000_000);
        assert!(line.compression(&content(1)).is_none());
    }

    #[test]
    fn only_so_many_streams_are_compressed_at_once() {
        let (lines, now) = (Arc::new(Lines::default()), Instant::now());
        let line = lines.begin(now, reader(1));
        line.sent(now + SECOND, 1);
        let mut running: Vec<_> = (0..MAX_ENCODERS)
            .map(|_| line.compression(&content(1)).unwrap())
            .collect();
        assert!(line.compression(&content(1)).is_none());
        running.pop();
        assert!(line.compression(&content(1)).is_some());
    }

    #[test]
    fn only_so_many_lines_and_contents_are_known() {
        let (lines, now) = (Arc::new(Lines::default()), Instant::now());
        for number in 0..1000_u32 {
            let line = lines.begin(now, IpAddr::V4(number.into()));
            line.sent(now + SECOND, 1);
            line.compression(&content(number)).unwrap().note(
                &content(number),
                SAMPLE_BYTES,
                SAMPLE_BYTES,
            );
        }
        let known = lines.known();
        assert!(known.lines.len() <= MAX_LINES && known.samples.len() <= MAX_SAMPLES);
        assert_eq!(known.encoders, 0);
    }

    fn reader(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn content(number: u32) -> ContentId {
        ContentId::Blob(BlobId::of(HashKind::Sha256, &number.to_le_bytes()))
    }
}
