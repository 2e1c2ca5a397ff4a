//! `zeroshare status --watch`: the transfers that run, live, and a key that cancels one.
//!
//! What is shown and done is decided in [`board`] (on a terminal) and [`changes`] (elsewhere); here is who asks, waits and draws.

mod board;
mod changes;
mod terminal;
mod transfer;

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::time::{Interval, MissedTickBehavior, interval};
use zeroshare_api::deadline;
use zeroshare_wire::pb::fetcher::v1::{CancelFetchRequest, Fetch, ListFetchesRequest};

use crate::command::fetches::FetchDocument;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::reach::{FetcherClient, Needs};
use crate::render::{Page, Report, Shape};
use crate::session::Session;
use crate::words::of_status;
use board::{Action, Board};
use changes::Changes;
use terminal::{Input, Terminal};
use transfer::{Name, Users, sentence};

/// Between two looks: quick enough to follow, and nothing to the service.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// A service of this machine that takes longer is in trouble.
const ANSWER_TIME: Duration = Duration::from_secs(3);

/// How often a transfer is told of in lines for people, while it does the same.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// One change, on a line.
#[derive(Debug, Serialize)]
struct ChangeReport {
    fetch: FetchDocument,
    #[serde(skip)]
    sentence: String,
}

impl Report for ChangeReport {
    fn write(&self, page: &mut Page) -> fmt::Result {
        writeln!(page, "{}", self.sentence)
    }
}

/// Shows the transfers of the running node; may be dropped at any time.
pub(super) async fn run(session: &Session) -> Result<Exit, Failure> {
    let services = session.services(Needs::RUNNING_NODE)?;
    let fetcher = services.fetcher();
    let users = Users::new(std::fs::read_to_string("/etc/passwd").unwrap_or_default());
    if session.output.redraws() && io::stdin().is_terminal() {
        on_terminal(session, fetcher, Board::new(users)).await
    } else {
        in_lines(session, fetcher, &users).await
    }
}

async fn in_lines(
    session: &Session,
    mut fetcher: FetcherClient,
    users: &Users,
) -> Result<Exit, Failure> {
    let mut changes = Changes::new(match session.output.shape() {
        Shape::Human => LINE_EVERY,
        Shape::Json => Duration::ZERO,
    });
    let mut looks = looks();
    loop {
        looks.tick().await;
        let fetches = look(&mut fetcher).await?;
        for fetch in changes.handle_fetches(Instant::now(), fetches) {
            session.output.report(&ChangeReport {
                fetch: FetchDocument::from(&fetch),
                sentence: sentence(&fetch, users),
            })?;
        }
    }
}

async fn on_terminal(
    session: &Session,
    mut fetcher: FetcherClient,
    mut board: Board,
) -> Result<Exit, Failure> {
    board.handle_fetches(Instant::now(), look(&mut fetcher).await?);
    let (terminal, mut inputs) = Terminal::enter(&session.output, &session.lifetime)?;
    let mut looks = looks();
    loop {
        terminal.draw(&board.screen(Terminal::size()))?;
        let input = tokio::select! {
            _ = looks.tick() => {
                board.handle_fetches(Instant::now(), look(&mut fetcher).await?);
                continue;
            }
            input = inputs.recv() => input,
        };
        match input {
            Some(Input::Key(key)) => match board.handle_key(key) {
                Some(Action::Quit) => return Ok(Exit::Done),
                Some(Action::Cancel(name)) => board.handle_answer(cancel(&mut fetcher, name).await),
                None => {}
            },
            Some(Input::Resized) => {}
            // Nobody types any more.
            None => return Ok(Exit::Done),
        }
    }
}

fn looks() -> Interval {
    let mut looks = interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    looks
}

async fn look(fetcher: &mut FetcherClient) -> Result<Vec<Fetch>, Failure> {
    let asking = fetcher.list_fetches(ListFetchesRequest {});
    let answer = deadline::within(ANSWER_TIME, asking).await;
    let answer = answer.map_err(|status| of_status("the fetches", &status))?;
    Ok(answer.into_inner().fetches)
}

/// Cancels it for all callers, as far as the service lets this user; says what came of it.
async fn cancel(fetcher: &mut FetcherClient, name: Name) -> String {
    let id = name.content_id.clone();
    let request = CancelFetchRequest {
        content_id: name.content_id,
        into_path: name.into_path,
        client: String::new(),
    };
    match deadline::within(ANSWER_TIME, fetcher.cancel_fetch(request)).await {
        Ok(_) => format!("cancelled; `zeroshare fetch {id}` goes on where it was"),
        Err(status) => of_status(&id, &status).message,
    }
}
