//! Which interfaces there are, which of them are used, and when that changes.

mod choice;
mod wake;

use std::{io, time::Duration};

use tokio::time::{sleep, timeout};
use tracing::{info, warn};

pub(crate) use self::choice::{InterfaceChoice, Surveyed, Unused, UsableInterface};
use self::wake::Wake;

/// The kernel tells of changes; what it might not tell of is found by looking.
const SLOW_POLL: Duration = Duration::from_secs(15);

/// … and by looking more often where it cannot tell.
const ONLY_POLL: Duration = Duration::from_secs(3);

/// Tells the usable interfaces, and again whenever they changed. Ends with its receiver.
pub(crate) async fn watch<F: Future<Output = bool>>(
    choice: InterfaceChoice,
    mut tell: impl FnMut(Vec<UsableInterface>) -> F,
) {
    let mut wake = Wake::open();
    if let Err(error) = &wake {
        warn!(%error, "the kernel does not tell of changed interfaces; looking from time to time");
    }
    let mut last: Option<Vec<UsableInterface>> = None;
    let mut failed = false;
    loop {
        match list(choice.clone()).await {
            Ok(usable) if last.as_ref() != Some(&usable) => {
                let names: Vec<&str> = usable.iter().map(|one| one.name.as_str()).collect();
                info!(interfaces = names.join(", "), "interfaces in use");
                if !tell(usable.clone()).await {
                    return;
                }
                last = Some(usable);
                failed = false;
            }
            Ok(_) => failed = false,
            Err(error) if !failed => {
                warn!(%error, "cannot list interfaces; trying again");
                failed = true;
            }
            Err(_) => {}
        }
        match &mut wake {
            // Whether it was woken or not: look.
            Ok(wake) => drop(timeout(SLOW_POLL, wake.changed()).await),
            Err(_) => sleep(ONLY_POLL).await,
        }
    }
}

async fn list(choice: InterfaceChoice) -> io::Result<Vec<UsableInterface>> {
    let listing =
        tokio::task::spawn_blocking(move || if_addrs::get_if_addrs().map(|all| choice.choose(all)));
    listing.await.map_err(io::Error::other)?
}

/// Lists every interface of this machine, each with why it is not used.
pub(crate) async fn survey(choice: InterfaceChoice) -> io::Result<Vec<Surveyed>> {
    let listing =
        tokio::task::spawn_blocking(move || if_addrs::get_if_addrs().map(|all| choice.survey(all)));
    listing.await.map_err(io::Error::other)?
}
