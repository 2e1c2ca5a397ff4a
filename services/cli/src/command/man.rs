//! `zeroshare man`: the manual, made from the same words as the help.

use std::fs;
use std::path::PathBuf;

use clap::{Args, Command, CommandFactory as _};
use clap_mangen::Man;

use crate::arguments::CommandLine;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::session::Session;

const EXAMPLES: &str = "\
Examples:
  zeroshare man | man -l -
  zeroshare man ~/.local/share/man/man1";

/// Where to.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct ManArguments {
    /// Write a page for each command there; without it, the first page is printed.
    pub directory: Option<PathBuf>,
}

/// Prints or writes the manual.
pub fn run(arguments: &ManArguments, session: &Session) -> Result<Exit, Failure> {
    let mut command = CommandLine::command();
    command.build();
    match &arguments.directory {
        None => session.output.put_bytes(&page(&command)?)?,
        Some(directory) => {
            for (name, page) in pages(&command)? {
                let path = directory.join(format!("{name}.1"));
                fs::write(&path, page).map_err(|error| {
                    Failure::because(&format!("cannot write {}", path.display()), &error)
                })?;
            }
        }
    }
    Ok(Exit::Done)
}

fn pages(command: &Command) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let mut pages = vec![("zeroshare".to_owned(), page(command)?)];
    for sub in command
        .get_subcommands()
        .filter(|sub| sub.get_name() != "help")
    {
        let name = format!("zeroshare-{}", sub.get_name());
        pages.push((name, page(sub)?));
    }
    Ok(pages)
}

fn page(command: &Command) -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    Man::new(command.clone())
        .render(&mut page)
        .map_err(|error| Failure::because("cannot write the manual", &error))?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let mut command = CommandLine::command();
        command.build();
        let pages = pages(&command).unwrap();
        assert!(pages.len() > 15);
        for (name, page) in pages {
            let text = String::from_utf8(page).unwrap();
            assert!(text.contains(".TH"), "{name}");
            assert!(text.contains("NAME"), "{name}");
        }
    }
}
