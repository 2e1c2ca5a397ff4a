//! One line of a result.

use serde::{Deserialize, Serialize};

use crate::measure::{median, ratio_interval};

/// What a figure should be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

/// What was found about one work.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Finding {
    /// The row of the table of goals.
    pub(crate) row: Option<u8>,
    /// What was done.
    pub(crate) work: String,
    /// The unit of `ours` and `theirs`.
    pub(crate) unit: String,
    /// The median of ours.
    pub(crate) ours: f64,
    /// All that were measured.
    pub(crate) ours_all: Vec<f64>,
    /// Who or what it is compared with.
    pub(crate) beside: Option<String>,
    /// The median of theirs.
    pub(crate) theirs: Option<f64>,
    /// All that were measured.
    pub(crate) theirs_all: Vec<f64>,
    /// Where the ratio lies with 95 % certainty.
    pub(crate) interval: Option<(f64, f64)>,
    /// For the ratio, or for ours where nothing is beside.
    pub(crate) target: Option<Target>,
    /// Processor seconds of a run, of the whole machine: ours, theirs.
    pub(crate) cpu_seconds: Option<(f64, Option<f64>)>,
    /// Why the figure does not count, where it does not.
    pub(crate) invalid: Option<String>,
    /// What else has to be said.
    pub(crate) note: String,
}

impl Target {
    pub(crate) fn value(self) -> f64 {
        match self {
            Self::AtMost(value) | Self::AtLeast(value) => value,
        }
    }

    pub(crate) fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }

    /// Whether it lies within an interval, so that nobody knows.
    pub(crate) fn splits(self, (low, high): (f64, f64)) -> bool {
        low <= self.value() && self.value() <= high
    }
}

impl Finding {
    /// Seconds, many times.
    pub(crate) fn compared(row: Option<u8>, work: &str, ours: &[f64]) -> Self {
        Self {
            row,
            work: work.to_owned(),
            unit: "s".to_owned(),
            ours: median(ours),
            ours_all: ours.to_vec(),
            beside: None,
            theirs: None,
            theirs_all: Vec::new(),
            interval: None,
            target: None,
            cpu_seconds: None,
            invalid: None,
            note: String::new(),
        }
    }

    /// One figure.
    pub(crate) fn figure(row: impl Into<Option<u8>>, work: &str, ours: f64, unit: &str) -> Self {
        Self::compared(row.into(), work, &[ours]).unit(unit)
    }

    pub(crate) fn unit(mut self, unit: &str) -> Self {
        unit.clone_into(&mut self.unit);
        self
    }

    /// Compares with somebody.
    pub(crate) fn beside(mut self, name: &str, theirs: &[f64]) -> Self {
        self.beside = Some(name.to_owned());
        self.theirs = Some(median(theirs));
        self.theirs_all = theirs.to_vec();
        if theirs.len().min(self.ours_all.len()) > 1 {
            self.interval = Some(ratio_interval(&self.ours_all, theirs));
        }
        self
    }

    pub(crate) fn target(mut self, target: Option<Target>) -> Self {
        self.target = target;
        self
    }

    pub(crate) fn cpu(mut self, ours: f64, theirs: Option<f64>) -> Self {
        self.cpu_seconds = Some((ours, theirs));
        self
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// Does not count, for this reason.
    pub(crate) fn invalid(mut self, reason: Option<String>) -> Self {
        self.invalid = reason;
        self
    }

    /// Ours divided by theirs.
    pub(crate) fn ratio(&self) -> Option<f64> {
        Some(self.ours / self.theirs?)
    }

    /// Whether the target is met; `None` without one.
    pub(crate) fn is_met(&self) -> Option<bool> {
        let value = self.ratio().unwrap_or(self.ours);
        Some(self.target?.is_met(value))
    }

    /// The cells of its row, see [`Finding::HEAD`].
    pub(crate) fn cells(&self) -> Vec<String> {
        let verdict = match (&self.invalid, self.is_met()) {
            (Some(_), _) => "invalid",
            (None, Some(true)) => "pass",
            (None, Some(false)) => "MISS",
            (None, None) => "",
        };
        let target = match self.target {
            Some(Target::AtMost(value)) => format!("≤ {}", plain(value)),
            Some(Target::AtLeast(value)) => format!("≥ {}", plain(value)),
            None => String::new(),
        };
        let ratio = self.ratio().map(plain).unwrap_or_default();
        let ratio = match self.interval {
            Some((low, high)) => format!("{ratio} ({} to {})", plain(low), plain(high)),
            None => ratio,
        };
        let cpu = match self.cpu_seconds {
            Some((ours, Some(theirs))) => format!("{ours:.2} / {theirs:.2}"),
            Some((ours, None)) => format!("{ours:.2}"),
            None => String::new(),
        };
        let mut note = self.invalid.clone().unwrap_or_default();
        if !note.is_empty() && !self.note.is_empty() {
            note.push_str("; ");
        }
        note.push_str(&self.note);
        let unit = |value: f64| format!("{} {}", plain(value), self.unit);
        vec![
            self.row.map(|row| row.to_string()).unwrap_or_default(),
            self.work.clone(),
            self.beside.clone().unwrap_or_default(),
            self.theirs.map(unit).unwrap_or_default(),
            unit(self.ours).trim().to_owned(),
            ratio,
            target,
            verdict.to_owned(),
            cpu,
            note,
        ]
    }

    /// The head of the table of findings.
    pub(crate) const HEAD: [&'static str; 10] = [
        "row",
        "work",
        "beside",
        "theirs",
        "ours",
        "ratio (95 %)",
        "target",
        "",
        "CPU s, ours / theirs",
        "",
    ];
}

/// Three digits, or all before the point.
pub(crate) fn plain(value: f64) -> String {
    if value.abs() >= 100.0 || (value.fract() == 0.0 && value.abs() < 1e9) {
        format!("{value:.0}")
    } else if value.abs() >= 10.0 {
        format!("{value:.1}")
    } else if value.abs() >= 0.1 {
        format!("{value:.2}")
    } else {
        format!("{value:.4}")
    }
}
