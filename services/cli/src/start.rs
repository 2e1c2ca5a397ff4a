//! From the words on the command line to an exit code.

use std::ffi::OsString;
use std::sync::OnceLock;
use std::time::Duration;

use clap::Parser as _;
use clap::error::ErrorKind;
use rustix::process::{Resource, getrlimit};
use tokio::runtime;
use zeroshare_chassis::heap;
use zeroshare_chassis::process;
use zeroshare_chassis::settings::LogConfig;
use zeroshare_chassis::shutdown::Signals;
use zeroshare_chassis::telemetry::{self, TelemetrySettings};
use zeroshare_chassis::{Env, Lifetime};

use crate::arguments::{Command, CommandLine};
use crate::command::{self, fetch::FetchArguments, node::NodeArguments};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::render::{ColorChoice, Output, Shape};
use crate::session::Session;
use crate::settings::{self, Settings};

/// How long services and tasks may take to end.
const GRACE: Duration = Duration::from_secs(10);

/// How long blocking work may take beyond that.
const BLOCKING_GRACE: Duration = Duration::from_secs(2);

/// Runs the command that these words ask for, the program's name first.
pub fn main_with(words: impl IntoIterator<Item = OsString>) -> Exit {
    let words: Vec<OsString> = words.into_iter().collect();
    let open_files = getrlimit(Resource::Nofile);
    let env = Env::of_process();
    let no_color = env.text("NO_COLOR").is_some();
    let parsed = match CommandLine::try_parse_from(&words) {
        Ok(parsed) => parsed,
        Err(error) => return refused(&error, &words, no_color),
    };
    let shape = if parsed.general.json {
        Shape::Json
    } else {
        Shape::Human
    };
    let output = Output::of_process(shape, parsed.general.color, no_color);
    let session = Session {
        output,
        env,
        lifetime: Lifetime::new(),
        named_config: parsed.general.config.clone().map(Into::into),
        successor: OnceLock::new(),
    };
    let result = run(parsed, &session);
    let Session {
        output, successor, ..
    } = session;
    // Only now: no thread of ours is left, and what the process becomes starts with nothing of ours.
    let result = match (result, successor.into_inner()) {
        (Ok(Exit::Done), Some(successor)) => Err(successor.take_over(open_files)),
        (result, _) => result,
    };
    result.unwrap_or_else(|failure| {
        output.failure(&failure);
        failure.exit
    })
}

fn run(parsed: CommandLine, session: &Session) -> Result<Exit, Failure> {
    let general = parsed.general.clone();
    let command = asked(parsed)?;
    let telemetry = telemetry_settings(&command, &general.log, session)?;
    heap::keep_buffers();
    let raised = process::raise_open_files();
    let runtime = runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::because("cannot start", &error))?;
    let result = runtime.block_on(async {
        let telemetry = telemetry::start(&telemetry)
            .map_err(|error| settings::refused(crate::failure::chain(&error)))?;
        if let Err(error) = raised {
            tracing::warn!(%error, "cannot raise the limit of open files");
        }
        let result = Box::pin(until_stopped(command, session)).await;
        telemetry.shutdown().await;
        result
    });
    runtime.shutdown_timeout(BLOCKING_GRACE);
    result
}

/// The first signal stops the command, the second ends the process at once.
async fn until_stopped(command: Command, session: &Session) -> Result<Exit, Failure> {
    let mut signals =
        Signals::install().map_err(|error| Failure::because("cannot take over signals", &error))?;
    let all = async {
        let result = Box::pin(command::run(command, session)).await;
        session.lifetime.clone().end(GRACE).await;
        result
    };
    signals.stop_on_signal(&session.lifetime, all).await
}

/// The command in its usual spelling.
fn asked(parsed: CommandLine) -> Result<Command, Failure> {
    match (parsed.command, parsed.fetch) {
        (Some(command), ids) if ids.is_empty() => Ok(command),
        (Some(_), _) => Err(Failure::usage(
            "-f is a command by itself, and cannot stand before another",
        )),
        (None, ids) if ids.is_empty() => Ok(Command::Node(Box::new(NodeArguments {
            settings: Settings::of_environment()?,
            only: Vec::new(),
        }))),
        (None, ids) => Ok(Command::Fetch(FetchArguments::of(ids, parsed.host))),
    }
}

/// A node logs what an operator cares about; another command only what went wrong, unless asked for more.
fn telemetry_settings(
    command: &Command,
    flags: &zeroshare_chassis::settings::LogSettings,
    session: &Session,
) -> Result<TelemetrySettings, Failure> {
    let is_node = matches!(command, Command::Node(_));
    let serves = is_node || matches!(command, Command::Mount(_));
    // Commands that need no configuration work without a right one, so that one can get it right.
    let file = settings::log_settings(session.named_config.as_deref(), &session.env);
    let file = if is_node {
        file?
    } else {
        file.unwrap_or_default()
    };
    let log = LogConfig::resolve(flags, &file);
    let mut telemetry = TelemetrySettings::new(
        if is_node {
            "zeroshare"
        } else {
            "zeroshare-cli"
        },
        log,
        &session.env,
    );
    if !serves && telemetry.filter.is_none() {
        let ours = match log.verbosity {
            0 => "error",
            1 => "info",
            2 => "debug",
            _ => "trace",
        };
        telemetry.filter = Some(format!("error,zeroshare={ours}"));
    }
    Ok(telemetry)
}

/// Says what is wrong with the words; help and version are no errors.
fn refused(error: &clap::Error, words: &[OsString], no_color: bool) -> Exit {
    let wants_json = words.iter().any(|word| word == "--json");
    let asked_for = matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    );
    if wants_json && !asked_for {
        let output = Output::of_process(Shape::Json, ColorChoice::Never, no_color);
        let words = error.render().to_string();
        output.failure(&Failure::usage(
            words.trim_start_matches("error: ").trim_end(),
        ));
        return Exit::Usage;
    }
    // A reader that is gone has seen enough.
    let _printed = error.print();
    if asked_for { Exit::Done } else { Exit::Usage }
}
