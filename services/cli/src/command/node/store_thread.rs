//! Runs the store where the kernel keeps it from writing.
//!
//! Landlock holds for a thread and all that it starts, so the store gets a thread that is restricted before it makes a
//! runtime: whatever a stranger talks the store into, it cannot write a store, although the same process can.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use tokio::runtime;
use tokio::sync::oneshot;
use zeroshare_chassis::Lifetime;
use zeroshare_chassis::restrict::restrict_thread;
use zeroshare_store::{StoreConfig, StoreListeners};

use crate::failure::{Failure, chain};

/// How long blocking work, such as hashing a large file, may take to end after the store.
const BLOCKING_GRACE: Duration = Duration::from_secs(2);

/// Starts the store; what is sent back says how it ended.
pub(super) fn start(
    config: StoreConfig,
    listeners: StoreListeners,
    writable: Vec<PathBuf>,
    lifetime: Lifetime,
) -> Result<oneshot::Receiver<Result<(), String>>, Failure> {
    let (sender, receiver) = oneshot::channel();
    let span = tracing::Span::current();
    let dispatch = tracing::dispatcher::get_default(Clone::clone);
    thread::Builder::new()
        .name("store".to_owned())
        .spawn(move || {
            let _span = span.entered();
            let run = || run(config, listeners, &writable, lifetime);
            let end = tracing::dispatcher::with_default(&dispatch, run);
            // Nobody waits for it only when the process ends.
            let _told = sender.send(end);
        })
        .map_err(|error| Failure::because("cannot start a thread for the store", &error))?;
    Ok(receiver)
}

fn run(
    config: StoreConfig,
    listeners: StoreListeners,
    writable: &[PathBuf],
    lifetime: Lifetime,
) -> Result<(), String> {
    let restriction = restrict_thread(writable).map_err(|error| chain(&error))?;
    let config = StoreConfig {
        restriction: Some(restriction),
        ..config
    };
    let runtime = runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("store")
        .build()
        .map_err(|error| chain(&error))?;
    let end = runtime.block_on(zeroshare_store::run(config, listeners, lifetime));
    runtime.shutdown_timeout(BLOCKING_GRACE);
    end.map_err(|error| chain(&error))
}
