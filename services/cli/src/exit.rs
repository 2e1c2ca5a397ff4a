//! How a command ends, as scripts see it.

use std::process::ExitCode;

/// A command's exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// 0: what was asked for is done.
    Done,
    /// 3: nobody has it.
    Nobody,
    /// 1: it failed.
    Failed,
    /// 2: the command line or the configuration is wrong.
    Usage,
}

impl Exit {
    /// The number that the process ends with.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Nobody => 3,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
