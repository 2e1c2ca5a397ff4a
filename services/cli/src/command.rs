//! The commands, one file each, and what leads to them.

pub mod add;
pub mod cancel;
pub mod completions;
pub mod config;
pub mod digest;
pub mod doctor;
pub mod fetch;
pub mod fetches;
pub mod find;
pub mod gc;
pub mod list;
pub mod man;
pub mod mount;
pub mod node;
mod outsiders;
pub mod pause;
pub mod peers;
pub mod prefetch;
pub mod refresh;
pub mod repair;
pub mod secure_add;
pub mod setup;
pub mod share;
pub mod status;
pub mod verify;
pub mod version;
pub mod zero_install;

use crate::arguments::Command;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::session::Session;

/// Runs a command to its end.
///
/// Failures are returned, not printed.
pub async fn run(command: Command, session: &Session) -> Result<Exit, Failure> {
    // These tidy up, or say how to go on, when they are asked to stop; the others are dropped.
    match command {
        Command::Node(arguments) => node::run(*arguments, session).await,
        Command::Fetch(arguments) => fetch::run(arguments, session).await,
        Command::Mount(arguments) => mount::run(arguments, session).await,
        Command::Peers(arguments) => peers::run(arguments, session).await,
        Command::Repair(arguments) => repair::run(arguments, session).await,
        Command::Add(arguments) => session.unless_stopped(add::run(arguments, session)).await,
        Command::Find(arguments) => session.unless_stopped(find::run(arguments, session)).await,
        Command::Pause(arguments) => session.unless_stopped(pause::run(arguments, session)).await,
        Command::SecureAdd(arguments) => {
            session
                .unless_stopped(secure_add::run(arguments, session))
                .await
        }
        Command::Setup(arguments) => session.unless_stopped(setup::run(arguments, session)).await,
        Command::Share(arguments) => session.unless_stopped(share::run(arguments, session)).await,
        Command::ZeroInstall(arguments) => {
            session
                .unless_stopped(zero_install::run(arguments, session))
                .await
        }
        Command::Prefetch(arguments) => {
            session
                .unless_stopped(prefetch::run(arguments, session))
                .await
        }
        Command::Refresh(arguments) => {
            session
                .unless_stopped(refresh::run(arguments, session))
                .await
        }
        Command::List => session.unless_stopped(list::run(session)).await,
        Command::Fetches => session.unless_stopped(fetches::run(session)).await,
        Command::Gc(arguments) => session.unless_stopped(gc::run(arguments, session)).await,
        Command::Cancel(arguments) => {
            session
                .unless_stopped(cancel::run(arguments, session))
                .await
        }
        Command::Verify(arguments) => {
            session
                .unless_stopped(verify::run(arguments, session))
                .await
        }
        Command::Digest(arguments) => {
            session
                .unless_stopped(digest::run(arguments, session))
                .await
        }
        Command::Doctor(doctor::DoctorArguments {}) => {
            session.unless_stopped(doctor::run(session)).await
        }
        Command::Status(arguments) => status::run(&arguments, session).await,
        Command::Config(command) => config::run(&command, session),
        Command::Version => version::run(session),
        Command::Completions(arguments) => completions::run(&arguments, session),
        Command::Man(arguments) => man::run(&arguments, session),
    }
}
