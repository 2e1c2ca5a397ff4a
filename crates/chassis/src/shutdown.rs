//! How a process is asked to end: the first signal asks, the second does not.

use std::{future::Future, io, pin::pin, process};

use tokio::signal::unix::{self, SignalKind};
use tracing::info;

use crate::Lifetime;

/// A signal that asks the process to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT, by Ctrl-C.
    Interrupt,
    /// SIGTERM, by a supervisor.
    Terminate,
}

impl Signal {
    /// The exit code that shells know it by.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

/// The process's SIGINT and SIGTERM, which no longer end it by themselves.
#[derive(Debug)]
pub struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
}

impl Signals {
    /// Takes over both signals; needs a runtime.
    pub fn install() -> io::Result<Self> {
        let interrupt = unix::signal(SignalKind::interrupt())?;
        let terminate = unix::signal(SignalKind::terminate())?;
        Ok(Self {
            interrupt,
            terminate,
        })
    }

    /// The next signal; may be dropped midway, and loses none.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
        }
    }

    /// Runs `work` to its end; the first signal stops the lifetime, the second ends the process at once.
    pub async fn stop_on_signal<T>(
        &mut self,
        lifetime: &Lifetime,
        work: impl Future<Output = T>,
    ) -> T {
        let mut work = pin!(work);
        let first = tokio::select! {
            done = &mut work => return done,
            signal = self.next() => signal,
        };
        info!(signal = ?first, "stopping; a second signal ends at once");
        lifetime.stop();
        tokio::select! {
            done = &mut work => done,
            second = self.next() => exit_by(second),
        }
    }
}

/// Ends the process at once, as an unhandled signal would have.
pub fn exit_by(signal: Signal) -> ! {
    #[expect(clippy::exit, reason = "whoever signals twice does not want to wait")]
    process::exit(signal.exit_code().into())
}
