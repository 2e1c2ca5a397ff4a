//! A service as a process of its own: runtime, telemetry, signals, and an orderly end.

use std::{error::Error, io, process::ExitCode, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime;
use tracing::{error, info, warn};

use crate::{
    Lifetime, heap,
    shutdown::Signals,
    telemetry::{self, TelemetryError, TelemetrySettings},
};

/// How long tasks may take to end once the work is done.
const GRACE: Duration = Duration::from_secs(10);

/// How long blocking work may take beyond that before the process ends under it.
const BLOCKING_GRACE: Duration = Duration::from_secs(2);

/// Why a process failed.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError<E> {
    /// It could not start its runtime or take over signals.
    #[error("cannot start")]
    Start(#[source] io::Error),
    /// It could not log or trace.
    #[error(transparent)]
    Telemetry(TelemetryError),
    /// Its work failed.
    #[error(transparent)]
    Work(E),
}

/// Runs one piece of work on a runtime of its own, with telemetry, until it ends or a signal stops its lifetime.
pub fn run<E: Error>(
    settings: &TelemetrySettings,
    work: impl AsyncFnOnce(Lifetime) -> Result<(), E>,
) -> Result<(), ProcessError<E>> {
    heap::keep_buffers();
    let raised = raise_open_files();
    let runtime = runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(ProcessError::Start)?;
    let outcome = runtime.block_on(async {
        let telemetry = telemetry::start(settings).map_err(ProcessError::Telemetry)?;
        if let Err(error) = raised {
            warn!(%error, "cannot raise the limit of open files");
        }
        let outcome = run_in_runtime(work).await;
        match &outcome {
            Ok(()) => info!("stopped"),
            Err(failure) => error!(error = chain(failure), "failed"),
        }
        telemetry.shutdown().await;
        outcome
    });
    runtime.shutdown_timeout(BLOCKING_GRACE);
    outcome
}

/// Lets this process open as many files as its supervisor allows: connections and staged files outgrow the usual 1024.
///
/// That number is kept low for programs that use `select`; none of ours does.
pub fn raise_open_files() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return Ok(());
    }
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    Ok(setrlimit(Resource::Nofile, raised)?)
}

async fn run_in_runtime<E>(
    work: impl AsyncFnOnce(Lifetime) -> Result<(), E>,
) -> Result<(), ProcessError<E>> {
    let mut signals = Signals::install().map_err(ProcessError::Start)?;
    let lifetime = Lifetime::new();
    let all = async {
        let outcome = work(lifetime.clone()).await;
        lifetime.clone().end(GRACE).await;
        outcome
    };
    signals
        .stop_on_signal(&lifetime, all)
        .await
        .map_err(ProcessError::Work)
}

/// How the process of a service ends: what failed is told on standard error.
#[expect(
    clippy::print_stderr,
    reason = "nothing logs before telemetry runs, nor after it ended"
)]
pub fn exit_code<E: AsRef<dyn Error>>(service: &str, outcome: Result<(), E>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{service}: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// An error and what caused it, on one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_with_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot open {0}")]
        struct Outer(u8, #[source] io::Error);
        let error = Outer(7, io::Error::other("no such door"));
        assert_eq!(chain(&error), "cannot open 7: no such door");
    }
}
