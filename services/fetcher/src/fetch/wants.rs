//! What callers wait for of a fetch that runs.

use std::fs::File;
use std::sync::{Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};
use zeroshare_proof::KnownList;

/// So many callers wait for bytes at once, of one fetch and of all.
pub(crate) const MAX_WANTS: usize = 1024;

/// A caller that waits for what lies in one file behind an offset.
#[derive(Debug)]
pub(crate) struct Want {
    /// The file's line in the manifest.
    pub(crate) line: u32,
    pub(crate) offset: u64,
    /// Dropped without an answer: it can be had when the fetch is over.
    pub(crate) ready: oneshot::Sender<Ready>,
}

/// A staged file whose bytes are proven from an offset on.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) file: File,
    pub(crate) size: u64,
    /// By what each grain is to be judged once more when it is read; `None` where the whole file is proven.
    pub(crate) judge: Option<Judge>,
}

/// What a grain of an unfinished file is judged by.
#[derive(Debug, Clone)]
pub(crate) struct Judge {
    pub(crate) list: KnownList,
    /// The file's SHA-256.
    pub(crate) digest: [u8; 32],
}

/// The way from callers to a fetch.
#[derive(Debug)]
pub(crate) struct Wants {
    sender: mpsc::Sender<Want>,
    receiver: Mutex<Option<mpsc::Receiver<Want>>>,
}

impl Wants {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = mpsc::channel(MAX_WANTS);
        Self {
            sender,
            receiver: Mutex::new(Some(receiver)),
        }
    }

    /// Tells the fetch, now or once it reads; a fetch that reads no more, or has too many, drops it.
    pub(crate) fn tell(&self, want: Want) {
        drop(self.sender.try_send(want));
    }

    /// What the fetch is told; to be taken once.
    pub(crate) fn take(&self) -> Option<mpsc::Receiver<Want>> {
        let mut receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner);
        receiver.take()
    }
}
