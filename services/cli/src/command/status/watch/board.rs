//! What a terminal shows of the fetches, and what its keys do.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use zeroshare_wire::pb::fetcher::v1::Fetch;

use super::transfer::{HEADINGS, Name, Users, cells, is_over, rate};
use crate::render::{Page, Table, shortened, words};

/// How long the end of a fetch can be seen.
const LINGER: Duration = Duration::from_secs(10);

/// Lines that are not transfers: the title, the headings, a blank one, and what the keys do.
const OTHER_LINES: usize = 4;

/// A key, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Up,
    Down,
    Letter(char),
    /// Ctrl-C.
    Interrupt,
    Other,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    Quit,
    Cancel(Name),
}

/// How large the terminal is, in letters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

/// One line of the screen, no wider than it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) is_selected: bool,
}

/// The fetches that run and those that ended a moment ago, of which one is selected.
///
/// Invariant: while there is a fetch one is selected, and nothing is asked about one that is over.
#[derive(Debug)]
pub(super) struct Board {
    users: Users,
    /// In the order of their start.
    transfers: Vec<Transfer>,
    selected: usize,
    question: Option<Name>,
    /// What the last deed came to.
    said: String,
}

#[derive(Debug)]
struct Transfer {
    name: Name,
    fetch: Fetch,
    /// When its end was seen.
    end: Option<Instant>,
}

impl Board {
    pub(super) fn new(users: Users) -> Self {
        Self {
            users,
            transfers: Vec::new(),
            selected: 0,
            question: None,
            said: String::new(),
        }
    }

    /// Takes in all fetches; of those that are over only the ones that were seen running stay, for a moment.
    pub(super) fn handle_fetches(&mut self, now: Instant, fetches: Vec<Fetch>) {
        let selected = self.selected().map(|transfer| transfer.name.clone());
        let before = std::mem::take(&mut self.transfers);
        for fetch in fetches {
            let name = Name::of(&fetch);
            let known = before.iter().find(|transfer| transfer.name == name);
            let end = match known {
                None if is_over(&fetch) => continue,
                Some(known) if is_over(&fetch) => Some(known.end.unwrap_or(now)),
                Some(_) | None => None,
            };
            if end.is_none_or(|end| now.saturating_duration_since(end) < LINGER) {
                self.transfers.push(Transfer { name, fetch, end });
            }
        }
        self.transfers
            .sort_by(|one, other| one.name.cmp(&other.name));
        let again = self
            .transfers
            .iter()
            .position(|transfer| Some(&transfer.name) == selected.as_ref());
        let last = self.transfers.len().saturating_sub(1);
        self.selected = again.unwrap_or(self.selected).min(last);
        let asked = self.question.take();
        self.question = asked.filter(|name| self.runs(name));
    }

    /// Takes in a key.
    pub(super) fn handle_key(&mut self, key: Key) -> Option<Action> {
        if key == Key::Interrupt {
            return Some(Action::Quit);
        }
        if let Some(name) = self.question.take() {
            // Whatever is not a yes is a no.
            return matches!(key, Key::Letter('y' | 'Y')).then_some(Action::Cancel(name));
        }
        self.said.clear();
        match key {
            Key::Up | Key::Letter('k') => self.selected = self.selected.saturating_sub(1),
            Key::Down | Key::Letter('j') => {
                let last = self.transfers.len().saturating_sub(1);
                self.selected = self.selected.saturating_add(1).min(last);
            }
            Key::Letter('c') => {
                let running = self.selected().filter(|transfer| transfer.end.is_none());
                self.question = running.map(|transfer| transfer.name.clone());
            }
            Key::Letter('q') => return Some(Action::Quit),
            Key::Letter(_) | Key::Interrupt | Key::Other => {}
        }
        None
    }

    /// Takes in what came of an action.
    pub(super) fn handle_answer(&mut self, said: String) {
        self.said = said;
    }

    /// All that is to be seen; never more lines than the terminal has.
    pub(super) fn screen(&self, size: Size) -> Vec<Line> {
        let plain = |text: String| (text, false);
        let mut lines = vec![plain(self.title())];
        if self.transfers.is_empty() {
            lines.push(plain(String::new()));
        } else {
            lines.extend(self.table(size.rows.saturating_sub(OTHER_LINES).max(1)));
            lines.push(plain(String::new()));
        }
        lines.push(plain(self.footer()));
        let shown = lines.into_iter().take(size.rows);
        shown
            .map(|(text, is_selected)| Line {
                text: console::truncate_str(&text, size.columns, "…").into_owned(),
                is_selected,
            })
            .collect()
    }

    fn title(&self) -> String {
        let running = self.transfers.iter().filter(|one| one.end.is_none());
        let rate: u64 = self.transfers.iter().map(|one| rate(&one.fetch)).sum();
        match running.count() {
            0 => "nothing is being fetched".to_owned(),
            count if rate == 0 => words::count(count as u64, "transfer"),
            count => format!(
                "{}, {}/s",
                words::count(count as u64, "transfer"),
                words::size(rate)
            ),
        }
    }

    /// The headings and at most so many transfers, the selected one among them.
    fn table(&self, rows: usize) -> Vec<(String, bool)> {
        let first = (self.selected + 1).saturating_sub(rows);
        let mut table = Table::new(&[&[" "][..], &HEADINGS].concat());
        let shown = self.transfers.iter().enumerate().skip(first).take(rows);
        for (number, transfer) in shown {
            let mark = if number == self.selected { ">" } else { " " };
            let cells = cells(&transfer.fetch, &self.users);
            table.row([mark.to_owned()].into_iter().chain(cells));
        }
        let mut page = Page::new(false);
        // A page takes whatever is written.
        let _written = table.write(&mut page);
        let text = page.into_text();
        let lines = text.lines().enumerate();
        lines
            .map(|(line, text)| (text.to_owned(), line == self.selected - first + 1))
            .collect()
    }

    fn footer(&self) -> String {
        let mut page = Page::new(false);
        let _written = match &self.question {
            Some(name) => write!(
                page,
                "cancel {}, for all who want it? y/n",
                shortened(&name.content_id)
            ),
            None if self.said.is_empty() => write!(page, "up/down select, c cancel, q quit"),
            None => write!(page, "{}", self.said.replace('\n', " ")),
        };
        page.into_text()
    }

    fn selected(&self) -> Option<&Transfer> {
        self.transfers.get(self.selected)
    }

    fn runs(&self, name: &Name) -> bool {
        self.transfers
            .iter()
            .any(|transfer| transfer.name == *name && transfer.end.is_none())
    }
}

#[cfg(test)]
mod tests;
