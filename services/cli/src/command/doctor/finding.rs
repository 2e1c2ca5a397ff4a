//! What one test came to.

use serde::Serialize;

/// Whether something must be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// It is as it should be.
    Ok,
    /// Good to know; nothing is wrong by it alone.
    Hint,
    /// It keeps machines from finding or reading each other.
    Fault,
}

/// What one test came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What was tested: "node", "interface", "road", "neighbour", "store", "group", "version", "clock", "port",
    /// "firewall", "state", "space", "setup".
    pub(super) check: &'static str,
    /// Which of them: an interface and its road, an address, a path.
    pub(super) about: Option<String>,
    pub(super) level: Level,
    /// What was seen, in words.
    pub(super) text: String,
    /// What to do about it.
    pub(super) advice: Option<String>,
}

impl Finding {
    pub(super) fn ok(check: &'static str, text: impl Into<String>) -> Self {
        Self::new(check, Level::Ok, text.into())
    }

    pub(super) fn hint(check: &'static str, text: impl Into<String>) -> Self {
        Self::new(check, Level::Hint, text.into())
    }

    pub(super) fn fault(check: &'static str, text: impl Into<String>) -> Self {
        Self::new(check, Level::Fault, text.into())
    }

    /// The one or the other, whichever it is.
    pub(super) fn fault_if(is_fault: bool, check: &'static str, text: impl Into<String>) -> Self {
        let level = if is_fault { Level::Fault } else { Level::Hint };
        Self::new(check, level, text.into())
    }

    fn new(check: &'static str, level: Level, text: String) -> Self {
        Self {
            check,
            about: None,
            level,
            text,
            advice: None,
        }
    }

    /// Names what was tested.
    #[must_use]
    pub(super) fn about(self, about: impl Into<String>) -> Self {
        Self {
            about: Some(about.into()),
            ..self
        }
    }

    /// Says what to do about it.
    #[must_use]
    pub(super) fn advise(self, advice: impl Into<String>) -> Self {
        Self {
            advice: Some(advice.into()),
            ..self
        }
    }
}
