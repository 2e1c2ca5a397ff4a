//! `zeroshare completions`: what shells need to complete our words.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::arguments::CommandLine;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::session::Session;

const EXAMPLES: &str = "\
Examples:
  zeroshare completions bash > ~/.local/share/bash-completion/completions/zeroshare
  zeroshare completions fish > ~/.config/fish/completions/zeroshare.fish";

/// Which shell.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct CompletionsArguments {
    /// The shell.
    pub shell: Shell,
}

/// Prints the script.
pub fn run(arguments: &CompletionsArguments, session: &Session) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut CommandLine::command(),
        "zeroshare",
        &mut script,
    );
    session.output.put_bytes(&script)?;
    Ok(Exit::Done)
}
