//! Who asked for what: a line for people, and a span in the asker's trace.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tracing::{info, info_span};
use zeroshare_chassis::propagate;
use zeroshare_content::ContentId;
use zeroshare_membership::Asked;
use zeroshare_wire::datagram::NodeId;

/// Repetitions of a question are one question.
const SAME_QUESTION: Duration = Duration::from_secs(10);

/// Questions remembered for that.
const MOST_REMEMBERED: usize = 1_024;

/// Lines of log in [`SAME_QUESTION`]: whoever asks for everything does not fill the disk.
const MOST_LINES: u32 = 200;

/// Logs questions, each once.
#[derive(Debug, Default)]
pub(super) struct AskedLog {
    seen: BTreeMap<(NodeId, ContentId), Instant>,
    window: Option<(Instant, u32)>,
}

impl AskedLog {
    pub(super) fn log(&mut self, now: Instant, asked: &Asked) {
        let fresh = |at: &Instant| now.saturating_duration_since(*at) < SAME_QUESTION;
        self.seen.retain(|_, at| fresh(at));
        let (start, lines) = self
            .window
            .filter(|(start, _)| fresh(start))
            .unwrap_or((now, 0));
        let key = asked.contents.first().map(|content| (asked.node, *content));
        let is_repeated = key.is_some_and(|key| self.seen.contains_key(&key));
        if is_repeated || lines >= MOST_LINES {
            return;
        }
        self.window = Some((start, lines + 1));
        if self.seen.len() < MOST_REMEMBERED {
            self.seen.extend(key.map(|key| (key, now)));
        }
        let span = info_span!("asked for", otel.kind = "server");
        if let Some(trace) = &asked.trace {
            propagate::set_parent(&span, trace.as_bytes());
        }
        span.in_scope(|| {
            for content in &asked.contents {
                info!(%content, asker = %asked.source.ip(), node = %asked.node, "asked for");
            }
        });
    }
}
