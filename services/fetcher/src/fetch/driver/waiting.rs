//! Callers that wait for bytes: their files come first, and are opened for them once enough is proven.

use tracing::debug;
use zeroshare_content::BlobId;

use super::super::wants::{Judge, MAX_WANTS, Ready, Want};
use super::Driver;

/// Somebody who waits for an item.
pub(super) struct Waiting {
    item: u32,
    want: Want,
}

impl Driver {
    /// Takes in what was wanted before anything was asked for.
    pub(super) fn hear_wants(&mut self) {
        while let Some(Ok(want)) = self
            .wants
            .as_mut()
            .map(tokio::sync::mpsc::Receiver::try_recv)
        {
            self.handle_want(want);
        }
    }

    /// What is no file's bytes, or too much, can be had when the fetch is over.
    pub(super) fn handle_want(&mut self, want: Want) {
        let Some(item) = self.staged.item_of_line(want.line) else {
            return;
        };
        if self.waiting.len() < MAX_WANTS {
            self.machine.want(item, want.offset);
            self.waiting.push(Waiting { item, want });
        }
    }

    /// Opens the files of those whose bytes are proven by now.
    pub(super) fn serve_waiting(&mut self) {
        for waiting in std::mem::take(&mut self.waiting) {
            if waiting.want.ready.is_closed() {
                continue;
            }
            match self.judge_of(&waiting) {
                Some(judge) => self.open_for(waiting, judge),
                None => self.waiting.push(waiting),
            }
        }
    }

    /// By what the bytes are to be judged; `None` while they are not proven.
    #[expect(clippy::option_option, reason = "a proven file needs no judge")]
    fn judge_of(&self, waiting: &Waiting) -> Option<Option<Judge>> {
        if self.staged.is_proven(waiting.item) {
            return Some(None);
        }
        let (from, list) = self.machine.proven_from(waiting.item)?;
        let item = self.around.layout.items().get(waiting.item as usize)?;
        let BlobId::Sha256(digest) = item.blob else {
            return None;
        };
        (from <= waiting.want.offset).then_some(Some(Judge { list, digest }))
    }

    fn open_for(&self, waiting: Waiting, judge: Option<Judge>) {
        let Waiting { item, want } = waiting;
        let found = self.around.layout.items().get(item as usize);
        let size = found.map_or(0, |found| found.size);
        let staged = self.staged.clone();
        drop(self.tasks.spawn_blocking(
            "open for a reader",
            move || match staged.open_item(item) {
                Ok(file) => drop(want.ready.send(Ready { file, size, judge })),
                Err(error) => debug!(item, %error, "a staged file cannot be opened"),
            },
        ));
    }
}
