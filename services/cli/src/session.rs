//! What every command works with.

use std::future::Future;
use std::path::Path;
use std::sync::OnceLock;

use zeroshare_chassis::{Env, Lifetime};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::reach::{Needs, Services};
use crate::render::Output;
use crate::settings::{Resolved, Settings};
use crate::zero_install::Successor;

/// One run of a command: where its output goes, what it was started with, and when it must stop.
#[derive(Debug)]
pub struct Session {
    /// Where results, progress and errors go.
    pub output: Output,
    /// The environment of the process.
    pub env: Env,
    /// Stops when the user asks for it; all tasks of the command belong to it.
    pub lifetime: Lifetime,
    /// The configuration file that was named, if one was.
    pub named_config: Option<Box<Path>>,
    /// What this process becomes once all has ended.
    pub(crate) successor: OnceLock<Successor>,
}

impl Session {
    /// The settings of this user, without flags.
    pub fn settings(&self) -> Result<Resolved, Failure> {
        self.settings_with(Settings::of_environment()?)
    }

    /// The settings of this user, with these flags.
    pub fn settings_with(&self, flags: Settings) -> Result<Resolved, Failure> {
        Resolved::new(flags, self.named_config.as_deref(), &self.env)
    }

    /// What services of our own run with.
    pub(crate) fn own_settings(&self, runtime_dir: &Path) -> Result<Resolved, Failure> {
        let flags = Settings::of_environment()?;
        Resolved::own(flags, self.named_config.as_deref(), &self.env, runtime_dir)
    }

    /// The services of a running node, or of our own.
    pub fn services(&self, needs: Needs) -> Result<Services, Failure> {
        Services::reach(self, &self.settings()?, needs)
    }

    /// Lets another program take this process over once the command succeeded, and all that it started has ended.
    pub(crate) fn become_at_end(&self, successor: Successor) {
        // A command has one end: a second successor would be a second command.
        let _first = self.successor.set(successor);
    }

    /// Waits for `work`, but not longer than until the user asks to stop.
    pub async fn unless_stopped<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            result = work => result,
            () = self.lifetime.stopping() => Err(interrupted()),
        }
    }
}

/// The user asked to stop.
pub(crate) fn interrupted() -> Failure {
    Failure::new(Exit::Failed, "INTERRUPTED", "interrupted")
}
