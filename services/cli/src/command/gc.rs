//! `zeroshare gc`: makes room in a store.

use std::fmt::{self, Write as _};
use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use bytesize::ByteSize;
use clap::Args;
use serde::Serialize;
use zeroshare_chassis::Places;
use zeroshare_chassis::places::Owner;
use zeroshare_wire::convert::to_duration;
use zeroshare_wire::pb::fetcher::v1::{
    CollectGarbageRequest, CollectGarbageResponse, GarbageOutcome,
};

use crate::command::fetch::{absolute, parse_duration};
use crate::command::setup::SHARED_STORE;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::reach::{Needs, Services};
use crate::render::{Page, Report, words};
use crate::session::{Session, interrupted};
use crate::words::of_status;

const EXAMPLES: &str = "\
A tree goes when all that is asked for holds: its age, its disuse, and that it takes its going to come down to the size. Of several, the one that was
not read for longest goes first. It lists what would go, and asks; without a terminal nothing goes unless --yes is given.

A tree that a program has open or mapped, runs, or has as its directory or root, never goes: it is looked for before, and once more after it was
moved aside. Programs of other users can be looked into by root alone. So where others can come to the store, root is the one to ask; a store in a
home that is closed to others is its user's. What was read is known from the access times of files: on a disk mounted with `noatime` nothing counts as read.

Examples:
  zeroshare gc --unused-for 90d
  zeroshare gc --keep-size 20GiB --older-than 7d --dry-run
  sudo zeroshare gc --unused-for 180d --yes      the store of all users";

/// Trees of which one question is asked.
const AT_ONCE: usize = 10_000;

/// What goes, and from where.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct GcArguments {
    /// Remove only what was added so long ago: days, or such as 12h, 7d, 8w.
    #[arg(long, value_name = "AGE", value_parser = parse_age, required_unless_present_any = ["unused_for", "keep_size"])]
    pub older_than: Option<Duration>,

    /// Remove only what nobody here read for so long.
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    pub unused_for: Option<Duration>,

    /// Remove only as much as it takes for the rest to fit into this, such as 20GiB.
    #[arg(long, value_name = "SIZE")]
    pub keep_size: Option<ByteSize>,

    /// The store [default: the one that is fetched into].
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,

    /// Say what would be removed, and remove nothing.
    #[arg(long)]
    pub dry_run: bool,

    /// Do not ask.
    #[arg(long, short, conflicts_with = "dry_run")]
    pub yes: bool,
}

#[derive(Debug, Serialize)]
struct GcReport {
    dry_run: bool,
    trees: Vec<TreeReport>,
}

#[derive(Debug, Serialize)]
struct TreeReport {
    content_id: String,
    path: String,
    size_bytes: u64,
    add_time: Option<String>,
    use_time: Option<String>,
    /// `removed`, `would_remove` or `in_use`.
    outcome: &'static str,
    #[serde(skip)]
    unused: Duration,
}

impl Report for GcReport {
    fn write(&self, page: &mut Page) -> fmt::Result {
        let mut gone = 0_u64;
        for tree in &self.trees {
            let (id, size) = (&tree.content_id, words::size(tree.size_bytes));
            if tree.outcome == "in_use" {
                writeln!(page, "{id}  stays: a program uses it")?;
                continue;
            }
            gone = gone.saturating_add(tree.size_bytes);
            writeln!(page, "{id}  {size}, read {} ago", words::span(tree.unused))?;
        }
        let verb = if self.dry_run { "would go" } else { "are gone" };
        writeln!(page, "{} {verb}", words::size(gone))
    }
}

/// Removes what may go, after a question.
pub async fn run(arguments: GcArguments, session: &Session) -> Result<Exit, Failure> {
    // What is removed is of the same user, or root asks, who sees all programs.
    let services = session.services(Needs::ADD_OF_SAME_USER)?;
    let mut request = CollectGarbageRequest {
        older_than: arguments.older_than.map(to_duration),
        unused_for: arguments.unused_for.map(to_duration),
        keep_bytes: arguments.keep_size.map(|size| size.as_u64()),
        target_store: store(&arguments, session)?,
        dry_run: true,
        names: Vec::new(),
    };
    let planned = ask(&services, &request).await?;
    if arguments.dry_run || planned.trees.is_empty() {
        session.output.report(&planned)?;
        return Ok(Exit::Done);
    }
    if !arguments.yes && !is_meant(&planned, session).await? {
        session.output.note("nothing was removed");
        return Ok(Exit::Done);
    }
    request.dry_run = false;
    let mut done = GcReport {
        dry_run: false,
        trees: Vec::new(),
    };
    for some in planned.trees.chunks(AT_ONCE) {
        // What was shown, and nothing else; the size was reckoned with then.
        request.keep_bytes = None;
        request.older_than = Some(to_duration(Duration::ZERO));
        request.names = some.iter().filter_map(TreeReport::name).collect();
        done.trees.extend(ask(&services, &request).await?.trees);
    }
    session.output.report(&done)?;
    Ok(Exit::Done)
}

/// The store that was named; root's usual one is that of all users, whoever runs the node.
fn store(arguments: &GcArguments, session: &Session) -> Result<String, Failure> {
    match &arguments.store {
        Some(store) => absolute(store),
        None if Places::find(&session.env).owner == Owner::Machine => Ok(SHARED_STORE.to_owned()),
        None => Ok(String::new()),
    }
}

async fn ask(services: &Services, request: &CollectGarbageRequest) -> Result<GcReport, Failure> {
    let failed = |status| of_status("the store", &status);
    let answer = services.fetcher().collect_garbage(request.clone()).await;
    let mut answers = answer.map_err(failed)?.into_inner();
    let mut trees = Vec::new();
    while let Some(tree) = answers.message().await.map_err(failed)? {
        trees.push(TreeReport::of(tree));
    }
    Ok(GcReport {
        dry_run: request.dry_run,
        trees,
    })
}

/// Shows what would go, and asks the person at the terminal.
async fn is_meant(planned: &GcReport, session: &Session) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(
            "nobody is here to ask: --yes removes without a question, --dry-run says what would go",
        ));
    }
    session.output.report(planned)?;
    session.output.note("remove these? [y/N]");
    let reading = session.lifetime.spawn_blocking("read an answer", || {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map(|_| line)
    });
    let answer = reading.await.map_err(|_| interrupted())?;
    let answer = answer.map_err(|error| Failure::because("cannot read the answer", &error))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

impl TreeReport {
    fn of(tree: CollectGarbageResponse) -> Self {
        let outcome = match tree.outcome() {
            GarbageOutcome::Removed => "removed",
            GarbageOutcome::WouldRemove => "would_remove",
            GarbageOutcome::InUse | GarbageOutcome::Unspecified => "in_use",
        };
        let used = tree
            .use_time
            .and_then(|time| SystemTime::try_from(time).ok());
        let unused = used.and_then(|used| SystemTime::now().duration_since(used).ok());
        Self {
            add_time: words::moment(tree.add_time.as_ref()),
            use_time: words::moment(tree.use_time.as_ref()),
            content_id: tree.content_id,
            path: tree.path,
            size_bytes: tree.size_bytes,
            outcome,
            unused: unused.unwrap_or_default(),
        }
    }

    /// What its directory is called.
    fn name(&self) -> Option<String> {
        let (_, name) = self.path.rsplit_once('/')?;
        Some(name.to_owned())
    }
}

/// Days, or a number with a unit.
fn parse_age(text: &str) -> Result<Duration, String> {
    const DAY: u64 = 24 * 60 * 60;
    let (number, unit) = match text.chars().next_back() {
        Some('d') => (text.trim_end_matches('d'), DAY),
        Some('w') => (text.trim_end_matches('w'), 7 * DAY),
        Some(last) if last.is_ascii_digit() => (text, DAY),
        _ => return parse_duration(text),
    };
    let refused = || format!("`{text}` is not an age such as 12h, 7d or 8w");
    let count: u32 = number.parse().map_err(|_| refused())?;
    Ok(Duration::from_secs(u64::from(count) * unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_days_unless_they_say_otherwise() {
        let day = Duration::from_hours(24);
        for (text, age) in [
            ("7", 7 * day),
            ("7d", 7 * day),
            ("2w", 14 * day),
            ("12h", day / 2),
            ("0", Duration::ZERO),
        ] {
            assert_eq!(parse_age(text).unwrap(), age, "{text}");
        }
        for bad in ["", "d", "-1d", "soon", "99999999999d"] {
            assert!(parse_age(bad).is_err(), "{bad}");
        }
    }
}
