//! Other programs of this machine that know more.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::time::timeout;

/// Nobody waits longer for a firewall's tool.
const MOST_TIME: Duration = Duration::from_secs(5);

/// No set of rules is read beyond this.
const MOST_BYTES: u64 = 4 << 20;

/// Where administrators' tools lie; a user's `PATH` often leaves these out.
const PLACES: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/// What a program said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It is not installed.
    Missing,
    /// It succeeded.
    Words(String),
    /// It did not, most often because only root may ask.
    Refused,
}

/// Asks a program of the system, in a language that can be read here.
pub(super) async fn ask(program: &str, words: &[&str]) -> Said {
    let candidates = PLACES.map(|place| std::path::Path::new(place).join(program));
    let Some(path) = candidates.into_iter().find(|path| path.exists()) else {
        return Said::Missing;
    };
    let child = Command::new(path)
        .args(words)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let Ok(mut child) = child else {
        return Said::Refused;
    };
    let Some(stdout) = child.stdout.take() else {
        return Said::Refused;
    };
    let reading = async {
        let mut text = Vec::new();
        stdout.take(MOST_BYTES).read_to_end(&mut text).await.ok()?;
        let status = child.wait().await.ok()?;
        status
            .success()
            .then(|| String::from_utf8_lossy(&text).into_owned())
    };
    match timeout(MOST_TIME, reading).await {
        Ok(Some(text)) => Said::Words(text),
        Ok(None) | Err(_) => Said::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_speaks_refuses_or_is_missing() {
        assert_eq!(ask("no-such-program", &[]).await, Said::Missing);
        assert_eq!(ask("false", &[]).await, Said::Refused);
        assert_eq!(ask("echo", &["it"]).await, Said::Words("it\n".to_owned()));
    }
}
