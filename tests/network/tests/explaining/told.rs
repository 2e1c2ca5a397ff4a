//! Commands with `--json` on a host, and what they say.

use std::{fmt::Write as _, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::Value;
use zeroshare_network::{Host, wait_until};

/// Nodes hear each other within this.
const MEETING: Duration = Duration::from_secs(20);

/// What a command with `--json` came to.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) code: Option<i32>,
    pub(crate) document: Value,
}

impl Told {
    pub(crate) fn list(&self, name: &str) -> impl Iterator<Item = &Value> {
        self.document[name].as_array().into_iter().flatten()
    }

    pub(crate) fn events(&self) -> Vec<String> {
        words(self.list("story"), "event")
    }

    pub(crate) fn reasons(&self) -> Vec<String> {
        words(self.list("why"), "reason")
    }

    pub(crate) fn text_of(&self, event: &str) -> Result<String> {
        let mut steps = self.list("story").filter(|step| step["event"] == event);
        let step = steps
            .next()
            .with_context(|| format!("no {event} in {self:?}"))?;
        Ok(step["text"].as_str().context("no text")?.to_owned())
    }

    pub(crate) fn levels(&self, check: &str) -> Vec<String> {
        words(
            self.list("findings").filter(|one| one["check"] == check),
            "level",
        )
    }

    pub(crate) fn finding(&self, check: &str, about: &str) -> Result<&Value> {
        let mut of_check = self.list("findings").filter(|one| one["check"] == check);
        let found = of_check.find(|one| one["about"] == about);
        found.with_context(|| format!("no {check} of {about} in {self:?}"))
    }
}

fn words<'a>(of: impl Iterator<Item = &'a Value>, name: &str) -> Vec<String> {
    of.filter_map(|one| Some(one[name].as_str()?.to_owned()))
        .collect()
}

pub(crate) fn explain(host: &Host, id: &str) -> Result<Told> {
    told(host, &["find", id, "--explain", "--json"])
}

pub(crate) fn doctor(host: &Host) -> Result<Told> {
    told(host, &["doctor", "--json"])
}

fn told(host: &Host, words: &[&str]) -> Result<Told> {
    let output = host.zeroshare(words)?;
    let document = serde_json::from_str(&output.stdout)
        .with_context(|| format!("{words:?}: {}{}", output.stdout, output.stderr))?;
    Ok(Told {
        code: output.status.code(),
        document,
    })
}

/// Waits until a host's node knows so many peers.
pub(crate) fn meet(host: &Host, count: usize) -> Result<()> {
    wait_until("they know each other", MEETING, || {
        let text = host.must_zeroshare(&["peers", "--json"])?;
        let peers: Value = serde_json::from_str(&text)?;
        Ok(peers["peers"].as_array().map_or(0, Vec::len) >= count)
    })?;
    Ok(())
}

/// A firewall that drops what comes in and matches one of these.
pub(crate) fn drop_incoming(host: &Host, matches: &[&str]) -> Result<()> {
    let mut rules =
        "add table inet t; add chain inet t c { type filter hook input priority 0; }".to_owned();
    for one in matches {
        write!(rules, "; add rule inet t c iifname eth0 {one} drop")?;
    }
    host.must("nft", &[&rules])?;
    Ok(())
}
