//! `zeroshare prefetch`: all implementations of a program, from the LAN.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use zeroshare_wire::pb::errors::v1::ErrorReason;

use crate::command::fetch::{parse_duration, parse_host};
use crate::exit::Exit;
use crate::failure::{Failure, chain};
use crate::render::{Page, Progress, Report, Table, words};
use crate::session::Session;
use crate::zero_install::{
    Asked, Bringing, Brought, FeedRules, Implementation, Outcome, Program, Selecting, Unselected,
    bring, parse_fingerprint, read_selections, select_with_feeds,
};

const EXAMPLES: &str = "\
A program is what 0install selects for it: the program itself and all that it needs. A selections
document (`0install select --xml`) is taken as it is, for which 0install need not be installed. What
comes is verified, and lies in the store where 0install finds it; packages of the distribution and
what lies in directories of one's own are left out. Nothing is downloaded but feeds that 0install
has not cached; where 0install cannot download one, a neighbour that shares it gives it, and 0install
imports it with its own check, after a question about the key that it is signed with.

Exit code 3: all that the LAN has is here, and it lacks some; `0install download` brings the rest
from upstream.

Examples:
  zeroshare prefetch http://example.org/hello.xml
  zeroshare prefetch http://example.org/hello.xml -- --version=2..3 --command=test
  zeroshare prefetch hello                       an app of 0install
  zeroshare prefetch selections.xml --from 192.168.1.7
  0install select --xml http://example.org/hello.xml | zeroshare prefetch - --json";

/// What to bring, from whom.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct PrefetchArguments {
    /// A feed's address or file, an app, or a selections document; `-`: one on standard input.
    #[arg(value_name = "URL|FILE|APP")]
    pub target: OsString,

    /// How long somebody who has one is looked for, such as 500ms or 10s.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "1s")]
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

    /// Options of `0install select` that decide what is selected.
    #[arg(value_name = "OPTION", last = true, allow_hyphen_values = true)]
    pub options: Vec<OsString>,
}

#[derive(Debug, Serialize)]
struct PrefetchReport {
    implementations: Vec<ImplementationDocument>,
}

/// An implementation, for programs.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct ImplementationDocument {
    interface: String,
    version: String,
    /// The best of its digests; null: none by which it could be asked for.
    content_id: Option<String>,
    state: &'static str,
    path: Option<String>,
    /// What it consists of, where it was fetched.
    size_bytes: Option<u64>,
    failure_reason: Option<String>,
    failure_message: Option<String>,
    #[serde(skip)]
    name: String,
}

impl From<&Brought> for ImplementationDocument {
    fn from(brought: &Brought) -> Self {
        let Brought {
            implementation,
            outcome,
        } = brought;
        let mut document = Self {
            interface: implementation.interface.clone(),
            version: implementation.version.clone(),
            content_id: implementation.ids().first().map(ToString::to_string),
            state: "here",
            path: None,
            size_bytes: None,
            failure_reason: None,
            failure_message: None,
            name: implementation.to_string(),
        };
        match outcome {
            Outcome::Here(path) => document.path = Some(path.display().to_string()),
            Outcome::Fetched(fetch) => {
                document.state = "fetched";
                document.content_id = Some(fetch.content_id.clone());
                document.path = Some(fetch.path.clone());
                document.size_bytes = fetch.progress.as_ref().map(|done| done.total_bytes);
            }
            Outcome::Nobody => document.state = "nobody",
            Outcome::Unnamed => document.state = "unnamed",
            Outcome::Failed(failure) => {
                document.state = "failed";
                document.failure_reason = Some(failure.reason.clone());
                document.failure_message = Some(failure.message.clone());
            }
        }
        document
    }
}

impl ImplementationDocument {
    fn words(&self) -> String {
        match (self.state, self.size_bytes, &self.failure_message) {
            ("fetched", Some(size), _) => format!("fetched {}", words::size(size)),
            ("nobody", ..) => "nobody has it".to_owned(),
            ("unnamed", ..) => "has no digest to ask for".to_owned(),
            ("failed", _, Some(message)) => message.clone(),
            (state, ..) => state.to_owned(),
        }
    }
}

impl Report for PrefetchReport {
    fn write(&self, page: &mut Page) -> fmt::Result {
        let mut table = Table::new(&["IMPLEMENTATION", "STATE", "PATH"]);
        for one in &self.implementations {
            let path = one.path.clone().unwrap_or_default();
            table.row([one.name.clone(), one.words(), path]);
        }
        table.write(page)
    }
}

/// Brings all, and says what is missing still.
pub async fn run(arguments: PrefetchArguments, session: &Session) -> Result<Exit, Failure> {
    let selecting = selecting(&arguments)?;
    let implementations = implementations(&arguments, &selecting, session).await?;
    let bringing = Bringing {
        stores: &selecting.stores,
        from: &arguments.from,
        wait: arguments.wait,
    };
    let progress = Progress::new(&session.output);
    let all = bring(implementations, bringing, &progress, session).await?;
    let implementations = all.iter().map(ImplementationDocument::from).collect();
    session.output.report(&PrefetchReport { implementations })?;
    conclude(&arguments.target, &all)
}

/// Reads the options by 0install's rules.
fn selecting(arguments: &PrefetchArguments) -> Result<Selecting, Failure> {
    let mut words: Vec<OsString> = vec!["download".into()];
    words.extend(arguments.options.iter().cloned());
    words.extend(["--".into(), arguments.target.clone()]);
    match Asked::of(&words) {
        Asked::Selects(selecting) => Ok(selecting),
        Asked::SomethingElse => {
            let options = arguments.options.join(" ".as_ref());
            Err(Failure::usage(format!(
                "`{}` are not options of `0install select` that decide what is selected",
                options.display()
            )))
        }
    }
}

async fn implementations(
    arguments: &PrefetchArguments,
    selecting: &Selecting,
    session: &Session,
) -> Result<Vec<Implementation>, Failure> {
    let path = Path::new(&arguments.target);
    if selecting.takes_saved && (arguments.target == "-" || path.is_file()) {
        let failed = |error: &(dyn std::error::Error + 'static)| {
            Failure::failed(format!("cannot read {}: {}", path.display(), chain(error)))
        };
        // Standard input may have nothing to say for long.
        let file = path.to_owned();
        let reading = session
            .lifetime
            .spawn_blocking("read selections", move || read_selections(&file));
        let read = reading.await.map_err(|error| failed(&error))?;
        if let Some(found) = read.map_err(|error| failed(&error))? {
            return Ok(found);
        }
    }
    let program = Program::find(arguments.program.as_deref())?;
    let rules = FeedRules {
        from: &arguments.from,
        wait: arguments.wait,
        trusted: &arguments.trust_key,
    };
    let selected = select_with_feeds(&program, selecting, rules, session).await;
    selected.map_err(|error| match error {
        Unselected::Feed(failure) => failure,
        Unselected::Select(error) => {
            let what = format!("cannot bring {}", arguments.target.display());
            Failure::because(&what, &error)
        }
    })
}

fn conclude(target: &OsStr, all: &[Brought]) -> Result<Exit, Failure> {
    let count =
        |is_one: fn(&Outcome) -> bool| all.iter().filter(|one| is_one(&one.outcome)).count();
    let failed = count(|outcome| matches!(outcome, Outcome::Failed(_)));
    let missing = count(|outcome| matches!(outcome, Outcome::Nobody | Outcome::Unnamed));
    let of = || {
        let all = words::count(all.len() as u64, "implementation");
        format!("of {all} of {}", target.display())
    };
    if failed > 0 {
        let message = format!("{failed} {} could not be fetched", of());
        return Err(Failure::failed(message)
            .advise("Ask again: what was verified is kept, and only the rest is read."));
    }
    if missing > 0 {
        let message = format!("the LAN lacks {missing} {}", of());
        let reason = crate::words::name(ErrorReason::NoProviders);
        return Err(Failure::new(Exit::Nobody, reason, message)
            .advise("`0install download` brings them from upstream; --wait 10s looks longer."));
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brought(outcome: Outcome) -> Brought {
        let digest = format!("sha256={}", "0".repeat(64));
        Brought {
            implementation: Implementation {
                interface: "http://h/hello.xml".to_owned(),
                version: "1.0".to_owned(),
                digests: vec![digest.parse().expect("a digest")],
            },
            outcome,
        }
    }

    #[test]
    fn what_the_lan_lacks_has_an_exit_code_of_its_own_and_a_failure_a_worse_one() {
        let target = OsString::from("x");
        let here = || brought(Outcome::Here("/s/x".into()));
        let failed = || brought(Outcome::Failed(Failure::failed("no space")));
        assert_eq!(conclude(&target, &[]), Ok(Exit::Done));
        assert_eq!(conclude(&target, &[here()]), Ok(Exit::Done));
        let lacking = conclude(&target, &[here(), brought(Outcome::Nobody)]).unwrap_err();
        assert_eq!(lacking.exit, Exit::Nobody);
        assert_eq!(lacking.message, "the LAN lacks 1 of 2 implementations of x");
        let worse = conclude(&target, &[failed(), brought(Outcome::Nobody)]).unwrap_err();
        assert_eq!(worse.exit, Exit::Failed);
    }

    #[test]
    fn programs_and_people_are_told_what_came_of_each() {
        let all = [
            brought(Outcome::Here("/s/x".into())),
            brought(Outcome::Nobody),
            brought(Outcome::Unnamed),
            brought(Outcome::Failed(Failure::failed("no space"))),
        ];
        let documents: Vec<_> = all.iter().map(ImplementationDocument::from).collect();
        let states: Vec<_> = documents.iter().map(|document| document.state).collect();
        assert_eq!(states, ["here", "nobody", "unnamed", "failed"]);
        assert_eq!(documents[3].failure_reason.as_deref(), Some("FAILED"));
        let mut page = Page::new(false);
        let report = PrefetchReport {
            implementations: documents,
        };
        report.write(&mut page).unwrap();
        let text = page.into_text();
        for words in ["hello 1.0", "/s/x", "nobody has it", "no space"] {
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn options_are_those_of_0install() {
        let arguments = |options: &[&str]| PrefetchArguments {
            target: "http://h/hello.xml".into(),
            wait: Duration::ZERO,
            from: Vec::new(),
            trust_key: Vec::new(),
            program: None,
            options: options.iter().map(OsString::from).collect(),
        };
        let found = selecting(&arguments(&["--version", "2"])).unwrap();
        assert_eq!(found.options, ["--version=2"]);
        assert_eq!(found.target, "http://h/hello.xml");
        for bad in [&["--offline"][..], &["--no-such"], &["word"]] {
            let failure = selecting(&arguments(bad)).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{bad:?}");
        }
    }
}
