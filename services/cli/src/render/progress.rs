//! How far long work is: bars on a terminal, plain lines elsewhere, documents for programs.

use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::{Output, Shape, words};

/// How often a plain line or a document is written at most, while the phase stays the same.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

const BAR: &str = "{spinner} {prefix} [{bar:16}] {wide_msg}";
const SPINNER: &str = "{spinner} {prefix} {wide_msg}";

/// What long work does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It looks for peers.
    Locating,
    /// It reads from peers.
    Transferring,
    /// It makes what it has durable and visible.
    Committing,
    /// It hands bytes to the service that writes.
    Adding,
    /// It hashes what is here.
    Verifying,
    /// It waits for somebody else who does the same.
    Waiting,
}

impl Phase {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Locating => "looking for peers",
            Self::Transferring => "fetching",
            Self::Committing => "finishing",
            Self::Adding => "adding",
            Self::Verifying => "verifying",
            Self::Waiting => "waiting",
        }
    }
}

/// One state of long work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What it does now.
    pub phase: Phase,
    /// Bytes done, and in all; zero until known.
    pub done_bytes: u64,
    /// See `done_bytes`.
    pub total_bytes: u64,
    /// Of the done bytes, those that were here already.
    pub reused_bytes: u64,
    /// Files done, and in all; zero where files are not counted.
    pub done_files: u64,
    /// See `done_files`.
    pub total_files: u64,
    /// Bytes per second now; zero when unknown.
    pub bytes_per_second: u64,
    /// Who gives.
    pub peers: Vec<String>,
}

impl Step {
    /// The beginning of a phase.
    pub fn new(phase: Phase) -> Self {
        Self {
            phase,
            done_bytes: 0,
            total_bytes: 0,
            reused_bytes: 0,
            done_files: 0,
            total_files: 0,
            bytes_per_second: 0,
            peers: Vec::new(),
        }
    }

    fn details(&self) -> String {
        let mut parts = Vec::new();
        if self.total_files > 0 {
            parts.push(format!(
                "{}/{}",
                self.done_files,
                words::count(self.total_files, "file")
            ));
        }
        if self.reused_bytes > 0 {
            parts.push(format!("{} were here", words::size(self.reused_bytes)));
        }
        if self.bytes_per_second > 0 {
            parts.push(format!("{}/s", words::size(self.bytes_per_second)));
        }
        match self.peers.as_slice() {
            [] => {}
            [only] => parts.push(format!("from {only}")),
            [first, rest @ ..] => parts.push(format!("from {first} and {} more", rest.len())),
        }
        parts.join(", ")
    }

    /// "fetching 1.0 KiB of 4.0 KiB (3/7 files, from 10.0.0.2:38339)".
    pub(crate) fn words(&self) -> String {
        let mut words = self.phase.word().to_owned();
        if self.total_bytes > 0 {
            let (done, total) = (words::size(self.done_bytes), words::size(self.total_bytes));
            words.extend([" ", &done, " of ", &total]);
        }
        let details = self.details();
        if !details.is_empty() {
            words.extend([" (", &details, ")"]);
        }
        words
    }
}

/// The progress of all that a command does at once.
#[derive(Debug)]
pub struct Progress<'a> {
    output: &'a Output,
    bars: Option<MultiProgress>,
    /// Whether nothing is said without bars.
    is_silent: bool,
}

impl<'a> Progress<'a> {
    /// Nothing to be seen yet.
    pub fn new(output: &'a Output) -> Self {
        let bars = output
            .has_bars()
            .then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)));
        Self {
            output,
            bars,
            is_silent: false,
        }
    }

    /// The same for work that nobody asked for by itself: no plain lines, only bars, and documents for programs.
    pub fn aside(output: &'a Output) -> Self {
        Self {
            is_silent: output.shape() == Shape::Human,
            ..Self::new(output)
        }
    }

    /// Begins to show one thing; `title` is an id or a file name.
    pub fn track(&self, title: &str) -> Track<'a> {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new_spinner());
            bar.set_prefix(shortened(title));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Track {
            output: self.output,
            title: title.to_owned(),
            bar,
            is_silent: self.is_silent,
            last: None,
        }
    }

    /// Says something without disturbing the bars.
    pub fn note(&self, words: &str) {
        match &self.bars {
            Some(bars) => bars.suspend(|| self.output.note(words)),
            None => self.output.note(words),
        }
    }
}

/// The progress of one thing.
#[derive(Debug)]
pub struct Track<'a> {
    output: &'a Output,
    title: String,
    bar: Option<ProgressBar>,
    is_silent: bool,
    last: Option<(Instant, Step)>,
}

#[derive(Serialize)]
struct StepDocument<'a> {
    progress: StepBody<'a>,
}

#[derive(Serialize)]
struct StepBody<'a> {
    id: &'a str,
    #[serde(flatten)]
    step: &'a Step,
}

impl Track<'_> {
    /// Shows a new state.
    pub fn show(&mut self, step: Step) {
        match &self.bar {
            Some(bar) => draw(bar, &step),
            None if self.is_silent => return,
            None if self.is_due(&step) => self.write(&step),
            None => return,
        }
        self.last = Some((Instant::now(), step));
    }

    fn is_due(&self, step: &Step) -> bool {
        self.last.as_ref().is_none_or(|(when, last)| {
            last.phase != step.phase || (last != step && when.elapsed() >= PLAIN_EVERY)
        })
    }

    fn write(&self, step: &Step) {
        match self.output.shape() {
            Shape::Human => self
                .output
                .put_err(&format!("{}: {}\n", self.title, step.words())),
            Shape::Json => {
                self.output.event(&StepDocument {
                    progress: StepBody {
                        id: &self.title,
                        step,
                    },
                });
            }
        }
    }
}

impl Drop for Track<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn draw(bar: &ProgressBar, step: &Step) {
    let (template, length) = match step.total_bytes {
        0 => (SPINNER, None),
        total => (BAR, Some(total)),
    };
    if bar.length() != length {
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        match length {
            Some(length) => bar.set_length(length),
            None => bar.unset_length(),
        }
    }
    bar.set_position(step.done_bytes);
    bar.set_message(step.words());
}

/// Enough of an id to tell it from others.
pub(crate) fn shortened(title: &str) -> String {
    const KEPT: usize = 20;
    if title.chars().count() <= KEPT {
        return title.to_owned();
    }
    title.chars().take(KEPT - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Kept {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0
                .lock()
                .map_err(|_| std::io::ErrorKind::Other)?
                .extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn shown(shape: Shape, steps: &[Step]) -> String {
        let kept = Kept::default();
        let output = Output::to(shape, Box::new(std::io::sink()), Box::new(kept.clone()));
        show(&Progress::new(&output), steps);
        kept.text()
    }

    fn shown_aside(shape: Shape, steps: &[Step]) -> String {
        let kept = Kept::default();
        let output = Output::to(shape, Box::new(std::io::sink()), Box::new(kept.clone()));
        show(&Progress::aside(&output), steps);
        kept.text()
    }

    fn show(progress: &Progress<'_>, steps: &[Step]) {
        let mut track = progress.track("x");
        for step in steps {
            track.show(step.clone());
        }
    }

    fn fetching(done_bytes: u64) -> Step {
        let peers = vec!["10.0.0.2:38339".to_owned()];
        Step {
            done_bytes,
            total_bytes: 4096,
            peers,
            ..Step::new(Phase::Transferring)
        }
    }

    #[test]
    fn plain_lines_come_at_each_new_phase_and_not_for_each_byte() {
        let text = shown(
            Shape::Human,
            &[Step::new(Phase::Locating), fetching(1024), fetching(2048)],
        );
        assert_eq!(
            text,
            "x: looking for peers\nx: fetching 1.0 KiB of 4.0 KiB (from 10.0.0.2:38339)\n"
        );
    }

    #[test]
    fn work_aside_leaves_standard_error_to_others_and_tells_programs() {
        let steps = [Step::new(Phase::Locating), fetching(1024)];
        assert_eq!(shown_aside(Shape::Human, &steps), "");
        let text = shown_aside(Shape::Json, &steps);
        assert_eq!(text.lines().count(), 2, "{text}");
    }

    #[test]
    fn programs_get_a_document_on_a_line() {
        let text = shown(Shape::Json, &[fetching(7)]);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["progress"]["id"], "x");
        assert_eq!(value["progress"]["phase"], "transferring");
        assert_eq!(value["progress"]["done_bytes"], 7);
        assert_eq!(value["progress"]["peers"][0], "10.0.0.2:38339");
    }
}
