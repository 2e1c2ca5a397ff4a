//! Keys that neighbours give, looked at apart from the user's own before any of them gets there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::timeout;
use zeroshare_shelf::{SignatureFault, Signer, split_signed};

/// How long one call of `gpg` may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What it prints is far less.
const MAX_PRINTED_BYTES: u64 = 1024 * 1024;

/// Names of a key's owner that are shown.
const MAX_NAMES: usize = 4;

/// Characters of one of them.
const MAX_NAME_CHARS: usize = 120;

/// Why a key or a signature does not count.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// There is no `gpg`, or no place for what it is given.
    #[error("gpg cannot be asked")]
    Io(#[source] io::Error),
    /// It hangs.
    #[error("gpg did not answer within {PATIENCE:?}")]
    Slow,
    /// The key is none, or several.
    #[error("what came with it is not one public key")]
    NotOneKey,
    /// The feed has no signature.
    #[error("it is not signed")]
    Unsigned,
    /// Its signature does not count.
    #[error("{0}")]
    Signature(#[source] SignatureFault),
    /// The user's own `gpg` does not take the key.
    #[error("gpg does not take the key")]
    Refused,
}

/// A feed whose one signature is good, by the one key that came with it.
#[derive(Debug)]
pub(crate) struct Signed {
    /// Who signed it.
    pub(crate) signer: Signer,
    /// Who the key says its owner is: anybody can write anything there.
    pub(crate) names: Vec<String>,
    /// The public key, and nothing else.
    key: Vec<u8>,
    /// Where the feed lies, for as long as this lives.
    pub(crate) feed: PathBuf,
    _place: TempDir,
}

/// `gpg` with a keyring.
#[derive(Debug, Clone, Copy)]
enum Ring<'a> {
    /// The user's own.
    Own,
    /// One for our own use.
    Apart(&'a Path),
}

/// What a call of `gpg` came to.
struct Answer {
    status: ExitStatus,
    printed: Vec<u8>,
}

impl Signed {
    /// Checks a feed against a key, without touching the user's own keys.
    pub(crate) async fn check(feed: &str, key: &[u8]) -> Result<Self, KeyError> {
        let (signed, signature) = split_signed(feed).ok_or(KeyError::Unsigned)?;
        let place = tempfile::Builder::new().prefix("zeroshare-feed-").tempdir();
        let place = place.map_err(KeyError::Io)?;
        let at = |name: &str| place.path().join(name);
        fs::write(at("feed.xml"), feed).map_err(KeyError::Io)?;
        fs::write(at("signature"), signature).map_err(KeyError::Io)?;
        fs::create_dir(at("keys")).map_err(KeyError::Io)?;
        let home = at("keys");
        let ring = Ring::Apart(&home);
        // Whether it went well shows in what is there then.
        ring.ask(&["--import"], key).await?;
        let listed = ring.ask(&["--with-colons", "--list-keys"], b"").await?;
        let names =
            one_key(&String::from_utf8_lossy(&listed.printed)).ok_or(KeyError::NotOneKey)?;
        let signature = at("signature");
        let signature = signature.to_str().ok_or(KeyError::Unsigned)?;
        let words = ["--status-fd=1", "--verify", "--", signature, "-"];
        let said = ring.ask(&words, signed.as_bytes()).await?;
        let signer = Signer::of_status(&String::from_utf8_lossy(&said.printed));
        let signer = signer.map_err(KeyError::Signature)?;
        let words = [
            "--export-options=export-minimal",
            "--export",
            "--",
            &signer.primary,
        ];
        let key = ring.ask(&words, b"").await?.printed;
        Ok(Self {
            signer,
            names,
            key,
            feed: at("feed.xml"),
            _place: place,
        })
    }

    /// Whether the user's own keyring has the key.
    pub(crate) async fn is_known(&self) -> Result<bool, KeyError> {
        let words = ["--with-colons", "--list-keys", "--", &self.signer.primary];
        Ok(Ring::Own.ask(&words, b"").await?.status.success())
    }

    /// Puts the key into the user's own keyring.
    pub(crate) async fn keep_key(&self) -> Result<(), KeyError> {
        let kept = Ring::Own.ask(&["--import"], &self.key).await?;
        if kept.status.success() {
            Ok(())
        } else {
            Err(KeyError::Refused)
        }
    }

    /// Takes it away again.
    pub(crate) async fn forget_key(&self) -> Result<(), KeyError> {
        let words = ["--yes", "--delete-keys", "--", &self.signer.primary];
        Ring::Own.ask(&words, b"").await.map(drop)
    }

    /// Whether this is the fingerprint of the key.
    pub(crate) fn is_by(&self, fingerprint: &str) -> bool {
        let own = [&self.signer.primary, &self.signer.signing];
        own.iter().any(|own| own.eq_ignore_ascii_case(fingerprint))
    }
}

impl Ring<'_> {
    /// Calls `gpg`, which asks nobody and leaves nothing running.
    async fn ask(self, words: &[&str], input: &[u8]) -> Result<Answer, KeyError> {
        let mut command = Command::new("gpg");
        if let Self::Apart(home) = self {
            command.arg("--no-options").arg("--homedir").arg(home);
            command.arg("--trust-model=always");
        }
        command
            .args([
                "--batch",
                "--no-tty",
                "--no-autostart",
                "--no-auto-key-retrieve",
            ])
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let asking = async {
            let mut child = command.spawn().map_err(KeyError::Io)?;
            let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
            let write = async {
                if let Some(mut stdin) = stdin {
                    // It may have seen enough.
                    drop(stdin.write_all(input).await);
                }
            };
            let mut printed = Vec::new();
            let read = async {
                match stdout {
                    Some(out) => out.take(MAX_PRINTED_BYTES).read_to_end(&mut printed).await,
                    None => Ok(0),
                }
            };
            let ((), read) = tokio::join!(write, read);
            read.map_err(KeyError::Io)?;
            let status = child.wait().await.map_err(KeyError::Io)?;
            Ok(Answer { status, printed })
        };
        timeout(PATIENCE, asking)
            .await
            .map_err(|_| KeyError::Slow)?
    }
}

/// Reads a fingerprint as people write it, with spaces or without.
pub(crate) fn parse_fingerprint(text: &str) -> Result<String, String> {
    let plain: String = text.split_whitespace().collect();
    if (40..=64).contains(&plain.len()) && plain.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(plain.to_ascii_uppercase())
    } else {
        Err(
            "a fingerprint has at least 40 hexadecimal digits; shorter ids can be forged"
                .to_owned(),
        )
    }
}

/// Reads a list of keys that must have exactly one, and gives its owner's names.
fn one_key(listed: &str) -> Option<Vec<String>> {
    let of = |kind: &'static str| {
        let lines = listed.lines().map(|line| line.split(':'));
        lines.filter_map(move |mut fields| (fields.next() == Some(kind)).then_some(fields))
    };
    if of("pub").count() != 1 {
        return None;
    }
    let names = of("uid").filter_map(|mut fields| fields.nth(8));
    Some(names.take(MAX_NAMES).map(shown).collect())
}

/// What a terminal can be trusted with.
fn shown(name: &str) -> String {
    let plain = name.chars().filter(|found| !found.is_control());
    plain.take(MAX_NAME_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_key_is_taken_and_its_names_cannot_move_the_cursor() {
        let key = "pub:-:255:22:0C:17:::-:::scSC:::::ed25519:::0:\nfpr:::::::::DC03:\n\
                   uid:-::::17::E570::Test \u{1b}[2JSigner <a@example.test>::::::::::0:\n";
        let listed = format!("tru::1:17:0:3:1:5\n{key}");
        assert_eq!(
            one_key(&listed),
            Some(vec!["Test [2JSigner <a@example.test>".to_owned()])
        );
        assert_eq!(one_key(&format!("{key}{key}")), None);
        assert_eq!(one_key("tru::1\n"), None);
    }

    #[test]
    fn fingerprints_are_whole() {
        let whole = "dc03 9afe e27d 6af1 e183  68f8 0ce0 3135 dc8f a073";
        let plain = "DC039AFEE27D6AF1E18368F80CE03135DC8FA073";
        assert_eq!(parse_fingerprint(whole).as_deref(), Ok(plain));
        for bad in ["", "0CE03135DC8FA073", &plain.replace('D', "x")] {
            assert!(parse_fingerprint(bad).is_err(), "{bad}");
        }
    }
}
