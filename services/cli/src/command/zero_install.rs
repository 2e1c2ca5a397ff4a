//! `zeroshare 0install`: the real 0install, after what it lacks was taken from the LAN.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::command::fetch::{parse_duration, parse_host};
use crate::exit::Exit;
use crate::failure::{Failure, chain};
use crate::render::Progress;
use crate::session::Session;
use crate::zero_install::{
    Asked, Bringing, FeedRules, Outcome, Program, Selecting, Successor, Unselected, bring,
    parse_fingerprint, select_with_feeds,
};

const EXAMPLES: &str = "\
Of `run`, `download`, `update` and `add` the program is selected first, by 0install itself with the
options that count; what is missing comes from the neighbours, verified, into the store. Then
0install runs with the very words that it was given, in place of this command: its input, output
and exit status are its own. What nobody has it downloads as ever. Anything else, and whatever is
--offline or a --dry-run, it does alone.

Neighbours are asked for all that is missing at once, for as long as --wait says; one that said to
have something, and is silent then, is given up after 5 s. When nothing can be fetched 0install goes
on all the same, with a warning at most. Feeds that are cached are not asked for again; one that is
not, 0install downloads, with its question whom to trust. Where it cannot, a neighbour that shares it
(`zeroshare node --share-feeds`) gives it with the key that it is signed with: you are asked about the
key, and 0install imports the feed with its own check and its own question. Where nobody can be
asked, --trust-key names the key's fingerprint.

Options of zeroshare stand before the first word of 0install; `--` ends them:
`zeroshare 0install -- -v run URL`.

A mount (`zeroshare help mount`) does the same for every 0install without this command. A script
named 0install that stands earlier in PATH does it for launchers too:
  #!/bin/sh
  exec zeroshare 0install --program /usr/bin/0install -- \"$@\"

Examples:
  zeroshare 0install run http://example.org/hello.xml --an-option-of-hello
  zeroshare 0install download --version=2..3 http://example.org/hello.xml
  zeroshare 0install --wait 2s --from 192.168.1.7 add hello http://example.org/hello.xml
  zeroshare 0install update hello";

/// What 0install is asked, and how long neighbours are.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct ZeroInstallArguments {
    /// How long somebody who has what is missing is looked for, such as 300ms or 2s; 0: nobody is asked.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "300ms")]
    pub wait: Duration,

    /// Ask this host only, and nobody by datagram; may be repeated.
    #[arg(long, value_name = "HOST[:PORT]", value_parser = parse_host)]
    pub from: Vec<String>,

    /// Trust this key with feeds that neighbours give, without a question; may be repeated.
    #[arg(long, value_name = "FINGERPRINT", value_parser = parse_fingerprint)]
    pub trust_key: Vec<String>,

    /// The real 0install [default: the first one in PATH].
    #[arg(long, value_name = "FILE", env = "ZEROSHARE_0INSTALL")]
    pub program: Option<PathBuf>,

    /// A command of 0install, and all that belongs to it.
    #[arg(
        value_name = "ARGS",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub words: Vec<OsString>,
}

/// Brings what 0install is about to download, and lets it take over.
pub async fn run(arguments: ZeroInstallArguments, session: &Session) -> Result<Exit, Failure> {
    let program = Program::find(arguments.program.as_deref())?;
    let asked = Asked::of(&arguments.words);
    if let Asked::Selects(selecting) = asked
        && !arguments.wait.is_zero()
        && let Err(failure) = help(&program, &selecting, &arguments, session).await
    {
        warn(session, &failure.message);
        if let Some(advice) = &failure.advice {
            session.output.note(advice);
        }
    }
    session.become_at_end(Successor::new(program, arguments.words));
    Ok(Exit::Done)
}

async fn help(
    program: &Program,
    selecting: &Selecting,
    arguments: &ZeroInstallArguments,
    session: &Session,
) -> Result<(), Failure> {
    let rules = FeedRules {
        from: &arguments.from,
        wait: arguments.wait,
        trusted: &arguments.trust_key,
    };
    let implementations = match select_with_feeds(program, selecting, rules, session).await {
        Ok(implementations) => implementations,
        Err(Unselected::Feed(failure)) if failure.exit != Exit::Nobody => return Err(failure),
        Err(error) => {
            // It will say so itself.
            tracing::info!(error = chain(&error), "nothing to be brought");
            return Ok(());
        }
    };
    let bringing = Bringing {
        stores: &selecting.stores,
        from: &arguments.from,
        wait: arguments.wait,
    };
    let progress = Progress::aside(&session.output);
    for brought in bring(implementations, bringing, &progress, session).await? {
        let what = &brought.implementation;
        match brought.outcome {
            Outcome::Failed(failure) => warn(session, &failure.message),
            Outcome::Fetched(fetch) => {
                tracing::info!(%what, path = fetch.path, "came from the LAN");
            }
            Outcome::Nobody | Outcome::Unnamed => tracing::info!(%what, "nobody has it"),
            Outcome::Here(path) => tracing::debug!(%what, path = %path.display(), "is here"),
        }
    }
    Ok(())
}

fn warn(session: &Session, message: &str) {
    session
        .output
        .note(&format!("zeroshare: {message}; 0install goes on alone"));
}
