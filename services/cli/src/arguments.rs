//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::command::{
    add, cancel, completions, config, digest, doctor, fetch, find, gc, man, mount, node, pause,
    peers, prefetch, refresh, repair, secure_add, setup, share, status, verify, zero_install,
};
use crate::render::ColorChoice;
use zeroshare_chassis::settings::LogSettings;

const AFTER: &str = "\
Without a command it runs a node, as `zeroshare node` does.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 nobody has it.

Examples:
  zeroshare                      share this machine's trees and fetch those of others
  zeroshare fetch sha256new_…    bring a tree here, and print where it lies
  zeroshare find sha256new_…     who has it, and how much is it?
  zeroshare -f sha256new_… -H 192.168.1.7
                                 the same as `zeroshare fetch sha256new_… --from 192.168.1.7`";

/// Takes content-addressed trees from the machines beside this one.
#[derive(Debug, Parser)]
#[command(name = "zeroshare", version, after_help = AFTER, max_term_width = 100)]
pub struct CommandLine {
    /// What every command takes.
    #[command(flatten)]
    pub general: GeneralOptions,

    /// Fetch this tree, in the spelling of 0share.
    #[arg(short = 'f', value_name = "ID", value_parser = fetch::parse_id)]
    pub fetch: Vec<zeroshare_content::ContentId>,

    /// With -f: ask this host only.
    #[arg(short = 'H', value_name = "HOST", requires = "fetch")]
    pub host: Vec<String>,

    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Options of all commands.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "General options")]
pub struct GeneralOptions {
    /// What is logged.
    #[command(flatten)]
    pub log: LogSettings,

    /// Give results, progress and errors as JSON.
    #[arg(long, global = true)]
    pub json: bool,

    /// When to use colours.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub color: ColorChoice,

    /// Read this configuration file instead of the usual one.
    #[arg(long, global = true, value_name = "FILE", env = "ZEROSHARE_CONFIG")]
    pub config: Option<PathBuf>,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a node: find peers, offer what this machine holds, fetch for its users.
    Node(Box<node::NodeArguments>),
    /// Bring trees and single files here, and print where they lie.
    Fetch(fetch::FetchArguments),
    /// Put a tree of your own into the store, and print its id.
    Add(add::AddArguments),
    /// Put the tree in the current directory into the machine's store, as 0install asks its helper to.
    SecureAdd(secure_add::SecureAddArguments),
    /// Offer single files to others, and print their ids; or take them back.
    Share(share::ShareArguments),
    /// Show all trees of this machine and its neighbours as a file system.
    Mount(mount::MountArguments),
    /// Run 0install, after what it lacks was taken from the LAN.
    #[command(name = "0install")]
    ZeroInstall(zero_install::ZeroInstallArguments),
    /// Bring all implementations of a Zero Install program from the LAN.
    Prefetch(prefetch::PrefetchArguments),
    /// Start a node on boot, and lead 0install to the neighbours; or take that away again.
    Setup(setup::SetupArguments),
    /// Say who has a tree or file, and how much it is.
    Find(find::FindArguments),
    /// List the machines that are heard, and those that are banned; forgive these.
    Peers(peers::PeersArguments),
    /// Ask anew for what nobody had a moment ago.
    Refresh(refresh::RefreshArguments),
    /// Share nothing for a while.
    Pause(pause::PauseArguments),
    /// List what this machine holds.
    #[command(after_help = "Examples:\n  zeroshare list\n  zeroshare list --json")]
    List,
    /// List the fetches that run, and those that ended lately.
    #[command(after_help = "Examples:\n  zeroshare fetches")]
    Fetches,
    /// Stop a fetch of the running node; what it has is kept for the next try.
    Cancel(cancel::CancelArguments),
    /// Hash what this machine holds, and name what does not match.
    Verify(verify::VerifyArguments),
    /// Fetch a tree anew that does not verify, and replace it.
    Repair(repair::RepairArguments),
    /// Remove trees from a store by age, size and disuse; never one that is in use.
    Gc(gc::GcArguments),
    /// Print the ids of a directory, an archive or a file.
    Digest(digest::DigestArguments),
    /// Say how the running node is, or show its transfers live.
    Status(status::StatusArguments),
    /// Test the network and this machine, and say what to do about what is wrong.
    Doctor(doctor::DoctorArguments),
    /// Look at the configuration.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print the version.
    #[command(after_help = "Examples:\n  zeroshare version --json")]
    Version,
    /// Print completions for a shell.
    Completions(completions::CompletionsArguments),
    /// Print the manual, or write all its pages into a directory.
    Man(man::ManArguments),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn every_command_shows_examples() {
        let command = CommandLine::command();
        for sub in command.get_subcommands() {
            let examples = sub
                .get_after_help()
                .is_some_and(|text| text.to_string().contains("xample"));
            assert!(
                examples || sub.has_subcommands(),
                "{} shows none",
                sub.get_name()
            );
        }
    }
}
