//! SHA-256 on one core: several messages at the same time, and one after the other.

use std::{hint::black_box, time::Instant};

use anyhow::Result;
use clap::Args;
use sha2::{Digest as _, Sha256};
use zeroshare_proof::{lanes, sha256_of_each};

use crate::{book::Book, finding::Finding, options::Options, works::MIB};

/// So much is hashed in one round.
const ROUND_BYTES: usize = 256 * MIB;

/// Settings of the hash benchmark.
#[derive(Debug, Clone, Args)]
pub(crate) struct Hash {
    /// What a thread hashes in one go, in KiB: as a fetch does it while few calls run.
    #[arg(long, default_value_t = 2048)]
    batch: usize,
}

impl Hash {
    pub(crate) fn run(&self, options: &Options) -> Result<()> {
        let mut book = Book::open("hash", options)?;
        book.fact(format!(
            "{} MiB on one core, {} KiB at a time; {} messages are best hashed at once here.",
            ROUND_BYTES / MIB,
            self.batch,
            lanes()
        ));
        let bytes: Vec<u8> = (0..251).cycle().take(self.batch * 1024).collect();
        for (name, kib) in [
            ("grains of 128 KiB", 128),
            ("files of 8 KiB", 8),
            ("files of 1 KiB", 1),
        ] {
            if !options.wants(name) {
                continue;
            }
            let messages: Vec<&[u8]> = bytes.chunks(kib * 1024).collect();
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..options.rounds(5) {
                ours.push(rate(bytes.len(), || {
                    black_box(sha256_of_each(&messages));
                }));
                theirs.push(rate(bytes.len(), || {
                    for message in &messages {
                        black_box(Sha256::digest(message));
                    }
                }));
            }
            book.add([Finding::compared(None, name, &ours)
                .unit("GB/s")
                .beside("sha2, one by one", &theirs)]);
        }
        book.close()
    }
}

/// GB/s over one round.
fn rate(batch: usize, mut hash_batch: impl FnMut()) -> f64 {
    let start = Instant::now();
    let batches = (ROUND_BYTES / batch.max(1)).max(1);
    for _ in 0..batches {
        hash_batch();
    }
    (batches * batch) as f64 / start.elapsed().as_secs_f64() / 1e9
}
