//! Where output goes, and in which shape.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal as _, Write};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::Page;
use crate::failure::Failure;

/// When to use colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Whether output is for people or for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Words and tables.
    Human,
    /// One JSON document on standard output; a document per line on standard error.
    Json,
}

/// A command's result, in both shapes.
pub trait Report: Serialize {
    /// Writes it for people.
    fn write(&self, page: &mut Page) -> fmt::Result;
}

/// What may be drawn over and over, because it goes to a terminal.
#[derive(Debug, Clone, Copy, Default)]
struct Redrawn {
    progress: bool,
    results: bool,
}

/// The two streams of a command.
pub struct Output {
    shape: Shape,
    color_out: bool,
    color_err: bool,
    redrawn: Redrawn,
    out: Mutex<Box<dyn Write + Send>>,
    err: Mutex<Box<dyn Write + Send>>,
}

impl Output {
    /// The process's own streams.
    pub fn of_process(shape: Shape, color: ColorChoice, no_color: bool) -> Self {
        let (out, err) = (io::stdout(), io::stderr());
        let colored = |terminal: bool| match color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => terminal && !no_color,
        };
        Self {
            shape,
            color_out: shape == Shape::Human && colored(out.is_terminal()),
            color_err: shape == Shape::Human && colored(err.is_terminal()),
            redrawn: Redrawn {
                progress: shape == Shape::Human && err.is_terminal(),
                results: shape == Shape::Human && out.is_terminal(),
            },
            out: Mutex::new(Box::new(out)),
            err: Mutex::new(Box::new(err)),
        }
    }

    /// Streams of one's own, without colours and bars.
    pub fn to(shape: Shape, out: Box<dyn Write + Send>, err: Box<dyn Write + Send>) -> Self {
        let (out, err) = (Mutex::new(out), Mutex::new(err));
        Self {
            shape,
            color_out: false,
            color_err: false,
            redrawn: Redrawn::default(),
            out,
            err,
        }
    }

    /// Whether output is for people or for programs.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Whether progress may be drawn over and over.
    pub fn has_bars(&self) -> bool {
        self.redrawn.progress
    }

    /// Puts a result on standard output.
    pub fn report(&self, report: &impl Report) -> Result<(), Failure> {
        let text = match self.shape {
            Shape::Json => json_line(report)?,
            Shape::Human => {
                let mut page = Page::new(self.color_out);
                report
                    .write(&mut page)
                    .map_err(|_| Failure::failed("cannot lay out the result"))?;
                page.into_text()
            }
        };
        self.put(&text)
    }

    /// Whether results may be drawn over and over.
    pub fn redraws(&self) -> bool {
        self.redrawn.results
    }

    /// Puts a result where the one before was.
    pub fn redraw(&self, report: &impl Report) -> Result<(), Failure> {
        // Home, then clear to the end: clearing first would flicker.
        self.put_bytes(b"\x1b[H\x1b[J")?;
        self.report(report)
    }

    /// Puts bytes on standard output as they are: paths, scripts, manuals.
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let done = out.write_all(bytes).and_then(|()| out.flush());
        match done {
            // The reader has what it wanted.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            done => {
                done.map_err(|error| Failure::because("cannot write to standard output", &error))
            }
        }
    }

    /// Says something to people on standard error; to programs as `{"note": …}`.
    pub fn note(&self, words: &str) {
        match self.shape {
            Shape::Human => self.put_err(&format!("{words}\n")),
            Shape::Json => self.event(&serde_json::json!({ "note": words })),
        }
    }

    /// Puts a document on a line of standard error, for programs only.
    pub fn event(&self, document: &impl Serialize) {
        if self.shape == Shape::Json
            && let Ok(line) = json_line(document)
        {
            self.put_err(&line);
        }
    }

    /// Says why the command gave up.
    pub fn failure(&self, failure: &Failure) {
        if self.shape == Shape::Json {
            return self.event(&failure.document());
        }
        let mut page = Page::new(self.color_err);
        let written = (|| {
            page.bad("error: ")?;
            writeln!(page, "{}", failure.message)?;
            match &failure.advice {
                Some(advice) => writeln!(page, "       {}", advice.replace('\n', "\n       ")),
                None => Ok(()),
            }
        })();
        if written.is_ok() {
            self.put_err(&page.into_text());
        }
    }

    fn put(&self, text: &str) -> Result<(), Failure> {
        self.put_bytes(text.as_bytes())
    }

    pub(super) fn put_err(&self, text: &str) {
        let mut err = self.err.lock().unwrap_or_else(PoisonError::into_inner);
        // There is nowhere left to say that standard error is gone.
        let _gone = err.write_all(text.as_bytes()).and_then(|()| err.flush());
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output")
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}

fn json_line(document: &impl Serialize) -> Result<String, Failure> {
    let mut line = serde_json::to_string(document)
        .map_err(|error| Failure::because("cannot write the result as JSON", &error))?;
    line.push('\n');
    Ok(line)
}
