//! Why a command gave up, for people and for programs.

use std::error::Error;

use serde::Serialize;

use crate::exit::Exit;

/// What a command ends with when it does not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// One word for programs: a reason of our services, or `USAGE`, `CONFIGURATION`, `FAILED`, `INTERRUPTED`,
    /// `NODE_RUNS`, `NO_NODE`, `FOREIGN_NODE`, `UNREACHABLE`.
    pub reason: String,
    /// What happened, in words.
    pub message: String,
    /// What to do about it.
    pub advice: Option<String>,
}

/// The shape of a failure in JSON.
#[derive(Debug, Serialize)]
pub(crate) struct FailureDocument<'a> {
    error: FailureBody<'a>,
}

#[derive(Debug, Serialize)]
struct FailureBody<'a> {
    exit_code: u8,
    reason: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<&'a str>,
}

impl Failure {
    /// A failure of any kind that programs need not tell apart.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, "FAILED", message)
    }

    /// The command line asks for what cannot be.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "USAGE", message)
    }

    /// A failure with a reason that programs know.
    pub fn new(exit: Exit, reason: &str, message: impl Into<String>) -> Self {
        Self {
            exit,
            reason: reason.to_owned(),
            message: message.into(),
            advice: None,
        }
    }

    /// A failure whose message is what was tried and the whole chain of errors behind it.
    pub fn because(tried: &str, error: &(dyn Error + 'static)) -> Self {
        Self::failed(format!("{tried}: {}", chain(error)))
    }

    /// Says what to do about it.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    pub(crate) fn document(&self) -> FailureDocument<'_> {
        FailureDocument {
            error: FailureBody {
                exit_code: self.exit.code(),
                reason: &self.reason,
                message: &self.message,
                advice: self.advice.as_deref(),
            },
        }
    }
}

/// An error and all behind it, in one line.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_words = cause.to_string();
        // Some errors repeat their source.
        if !words.ends_with(&cause_words) {
            words.push_str(": ");
            words.push_str(&cause_words);
        }
        source = cause.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read x")]
    struct Outer(#[source] io::Error);

    #[test]
    fn a_chain_has_every_cause_once() {
        let error = Outer(io::Error::other("disk on fire"));
        assert_eq!(chain(&error), "cannot read x: disk on fire");
    }

    #[test]
    fn a_failure_has_a_stable_shape_for_programs() {
        let failure = Failure::new(Exit::Nobody, "NO_PROVIDERS", "nobody has it").advise("wait");
        let text = serde_json::to_string(&failure.document()).unwrap();
        let expected = r#"{"error":{"exit_code":3,"reason":"NO_PROVIDERS","message":"nobody has it","advice":"wait"}}"#;
        assert_eq!(text, expected);
    }
}
