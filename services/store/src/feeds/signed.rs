//! Whether a feed is signed, and with which key, as `gpg` says.

use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::process::Stdio;
use std::str;
use std::time::Duration;

use bytes::Bytes;
use rustix::fs::MemfdFlags;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::timeout;
use zeroshare_content::FeedUrl;
use zeroshare_shelf::{
    MAX_FEED_BYTES, SignatureFault, Signer, is_element, parse_document, split_signed,
};

/// Keys are smaller, even with a photograph.
const MAX_KEY_BYTES: u64 = 64 * 1024;

/// What `gpg` says of one signature is far less.
const MAX_STATUS_BYTES: u64 = 64 * 1024;

/// How long `gpg` may take for one feed.
const PATIENCE: Duration = Duration::from_secs(20);

/// It looks at this user's keys, and writes nothing: here it could not.
const READING: [&str; 7] = [
    "--batch",
    "--no-tty",
    "--no-autostart",
    "--lock-never",
    "--no-auto-check-trustdb",
    "--trust-model=always",
    "--no-auto-key-retrieve",
];

/// Why a feed is not offered.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsigned {
    #[error("it is no signed feed of its address")]
    NoFeed,
    #[error("gpg cannot be asked")]
    Io(#[source] std::io::Error),
    #[error("gpg did not answer in time")]
    Slow,
    #[error("it has no good signature by a key that gpg has")]
    Signature(#[source] SignatureFault),
    #[error("gpg gives no key, or one that is too large")]
    Key,
}

/// Gives the armored key that the feed of this address is signed with. May be dropped midway.
pub(super) async fn key_of(feed: &[u8], url: &FeedUrl) -> Result<Bytes, Unsigned> {
    let text = str::from_utf8(feed).map_err(|_| Unsigned::NoFeed)?;
    let (signed, signature) = split_signed(text).ok_or(Unsigned::NoFeed)?;
    if !is_of(text, url) {
        return Err(Unsigned::NoFeed);
    }
    let work = async {
        let fingerprint = signer(signed, &signature).await?;
        export(&fingerprint).await
    };
    timeout(PATIENCE, work).await.map_err(|_| Unsigned::Slow)?
}

fn is_of(text: &str, url: &FeedUrl) -> bool {
    let document = parse_document(text, MAX_FEED_BYTES);
    document.is_ok_and(|document| {
        let root = document.root_element();
        let is_feed = is_element(root, "interface") || is_element(root, "feed");
        is_feed && root.attribute("uri") == Some(url.as_str())
    })
}

/// The fingerprint of the one key that made the signature, which is good.
async fn signer(signed: &str, signature: &[u8]) -> Result<String, Unsigned> {
    // Nothing can be written to a disk here. It is inherited: `gpg` opens it by its number.
    let memory = rustix::fs::memfd_create("feed signature", MemfdFlags::empty());
    let mut file = std::fs::File::from(memory.map_err(|error| Unsigned::Io(error.into()))?);
    file.write_all(signature).map_err(Unsigned::Io)?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let words = ["--status-fd=1", "--verify", "--", &path, "-"];
    let said = gpg(&words, signed.as_bytes(), MAX_STATUS_BYTES).await?;
    drop(file);
    let signer = Signer::of_status(&String::from_utf8_lossy(&said));
    Ok(signer.map_err(Unsigned::Signature)?.primary)
}

async fn export(fingerprint: &str) -> Result<Bytes, Unsigned> {
    let words = [
        "--armor",
        "--export-options=export-minimal",
        "--export",
        "--",
        fingerprint,
    ];
    let key = gpg(&words, b"", MAX_KEY_BYTES + 1).await?;
    if key.is_empty() || key.len() as u64 > MAX_KEY_BYTES {
        return Err(Unsigned::Key);
    }
    Ok(key.into())
}

/// Gives what it prints, at most so many bytes, however it ends.
async fn gpg(words: &[&str], input: &[u8], most: u64) -> Result<Vec<u8>, Unsigned> {
    let mut child = Command::new("gpg")
        .args(READING)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // To open /dev/null would be to write, which is forbidden here.
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(Unsigned::Io)?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let errors = child.stderr.take();
    let overhear = async {
        if let Some(mut errors) = errors {
            drop(tokio::io::copy(&mut errors, &mut tokio::io::sink()).await);
        }
    };
    let write = async {
        if let Some(mut stdin) = stdin {
            // It may have seen enough.
            drop(stdin.write_all(input).await);
        }
    };
    let mut printed = Vec::new();
    let read = async {
        match stdout {
            Some(stdout) => stdout.take(most).read_to_end(&mut printed).await,
            None => Ok(0),
        }
    };
    let ((), (), read) = tokio::join!(write, overhear, read);
    read.map_err(Unsigned::Io)?;
    Ok(printed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_is_of_the_address_that_it_names() {
        let url: FeedUrl = "http://h/x.xml".parse().unwrap();
        let feed = |uri: &str| {
            format!(
                "<interface xmlns='http://zero-install.sourceforge.net/2004/injector/interface' uri='{uri}'/>"
            )
        };
        assert!(is_of(&feed("http://h/x.xml"), &url));
        assert!(!is_of(&feed("http://h/y.xml"), &url));
        assert!(!is_of("<interface uri='http://h/x.xml'/>", &url));
        assert!(!is_of("", &url));
    }
}
