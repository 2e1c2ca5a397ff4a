//! Bringing feeds that 0install has not cached, and cannot download, from the LAN.
//!
//! A feed counts by its signature: what a neighbour gives is checked with the key that came with it, apart from the user's
//! own keys; then the user is asked about that key; and then 0install imports the feed, with its own check and its own
//! question whom to trust.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead as _, IsTerminal as _, Read as _};
use std::path::PathBuf;
use std::time::Duration;

use zeroshare_content::FeedUrl;
use zeroshare_shelf::{
    DocumentError, Environment, MAX_FEED_BYTES, feed_caches, is_element, parse_document,
};
use zeroshare_wire::convert::to_duration;
use zeroshare_wire::pb::errors::v1::ErrorReason;
use zeroshare_wire::pb::fetcher::v1::{FindFeedRequest, FindFeedResponse};

use super::keyring::{KeyError, Signed};
use super::select::{SelectError, select};
use super::{Implementation, Program, ProgramError, Selecting};
use crate::exit::Exit;
use crate::failure::{Failure, chain};
use crate::reach::{Needs, Services};
use crate::session::Session;
use crate::words::of_status;

/// Feeds of one program that are brought, with those it needs.
const MAX_FEEDS: usize = 64;

/// Whom to ask for feeds, and whom to trust.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FeedRules<'a> {
    /// Ask these hosts only, and nobody by datagram; empty: the LAN.
    pub(crate) from: &'a [String],
    /// How long somebody who has one is looked for.
    pub(crate) wait: Duration,
    /// Fingerprints of keys that are trusted without a question.
    pub(crate) trusted: &'a [String],
}

/// Why a neighbour's feed is not imported.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("{0}")]
    Fault(String),
    #[error("it is not text")]
    NotText,
    #[error("it cannot be read: {0}")]
    Document(#[source] DocumentError),
    #[error("it is not the feed of this address")]
    OtherAddress,
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("its key was not accepted")]
    Declined,
    #[error("nobody is here to say whether to trust its key {fingerprint}")]
    Unasked { fingerprint: String },
    #[error("0install does not import it")]
    Import(#[source] ProgramError),
    #[error("0install did not import it")]
    NotImported,
    #[error("0install's list of trusted keys cannot be kept as it was")]
    Trust(#[source] io::Error),
}

/// Why nothing is selected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unselected {
    /// 0install says so, and neighbours could not help.
    #[error(transparent)]
    Select(SelectError),
    /// A feed could not be brought.
    #[error("{0}")]
    Feed(Failure),
}

/// Selects as [`select`] does; where 0install cannot, since feeds are missing, they are taken from the LAN first.
pub(crate) async fn select_with_feeds(
    program: &Program,
    selecting: &Selecting,
    rules: FeedRules<'_>,
    session: &Session,
) -> Result<Vec<Implementation>, Unselected> {
    let error = match select(program, selecting).await {
        Ok(found) => return Ok(found),
        Err(error) => error,
    };
    let failed = matches!(error, SelectError::Program(ProgramError::Failed { .. }));
    let target = selecting.target.to_str().and_then(|text| text.parse().ok());
    let (Some(target), true, false) = (target, failed, selecting.refreshes) else {
        return Err(Unselected::Select(error));
    };
    let bringer = Bringer {
        program,
        rules,
        session,
    };
    let brought = bringer.bring_all(target).await.map_err(Unselected::Feed)?;
    if brought == 0 {
        return Err(Unselected::Select(error));
    }
    select(program, selecting).await.map_err(Unselected::Select)
}

struct Bringer<'a> {
    program: &'a Program,
    rules: FeedRules<'a>,
    session: &'a Session,
}

impl Bringer<'_> {
    /// Brings a feed and those that it needs, and says how many were.
    async fn bring_all(&self, target: FeedUrl) -> Result<usize, Failure> {
        let mut services = None;
        let mut brought = 0;
        let mut seen = BTreeSet::from([target.clone()]);
        let mut left = VecDeque::from([target.clone()]);
        while let Some(url) = left.pop_front() {
            if self.cached(&url).is_none() {
                let services = match &mut services {
                    Some(services) => services,
                    None => services.insert(self.session.services(Needs::ALL)?),
                };
                match self.bring(services, &url).await {
                    Ok(()) => brought += 1,
                    Err(failure) if url == target => return Err(failure),
                    // The program may do without it.
                    Err(failure) => self.note(&failure.message),
                }
            }
            let text = self.cached(&url).unwrap_or_default();
            for needed in needed(&text) {
                if seen.len() < MAX_FEEDS && seen.insert(needed.clone()) {
                    left.push_back(needed);
                }
            }
        }
        Ok(brought)
    }

    /// Imports what the first neighbour gives of which nothing is wrong.
    async fn bring(&self, services: &Services, url: &FeedUrl) -> Result<(), Failure> {
        let request = FindFeedRequest {
            feed_url: url.to_string(),
            timeout: Some(to_duration(self.rules.wait)),
            from: self.rules.from.to_vec(),
        };
        let failed = |status| of_status("the fetcher", &status);
        let answer = services.fetcher().find_feed(request).await;
        let mut answers = answer.map_err(failed)?.into_inner();
        let mut last = None;
        while let Some(answer) = answers.message().await.map_err(failed)? {
            let from = answer.address.clone();
            match self.import(url, answer).await {
                Ok(()) => {
                    self.note(&format!("the feed {url} came from {from}"));
                    return Ok(());
                }
                Err(refused @ (Refused::Declined | Refused::Unasked { .. })) => {
                    return Err(unasked(url, &from, &refused));
                }
                Err(refused) => {
                    let why = chain(&refused);
                    self.note(&format!(
                        "the feed {url} that {from} gives is refused: {why}"
                    ));
                    last = Some(why);
                }
            }
        }
        Err(match last {
            None => {
                let reason = crate::words::name(ErrorReason::NoProviders);
                let message = format!("nobody shares the feed {url}");
                Failure::new(Exit::Nobody, reason, message)
                    .advise("A machine shares its feeds with `zeroshare node --share-feeds`.")
            }
            Some(why) => Failure::failed(format!("no neighbour gives a good feed {url}: {why}")),
        })
    }

    async fn import(&self, url: &FeedUrl, answer: FindFeedResponse) -> Result<(), Refused> {
        if !answer.fault.is_empty() {
            return Err(Refused::Fault(answer.fault));
        }
        let text = str::from_utf8(&answer.feed).map_err(|_| Refused::NotText)?;
        check_address(text, url)?;
        let signed = Signed::check(text, &answer.key).await?;
        let is_trusted = self.rules.trusted.iter().any(|key| signed.is_by(key));
        let is_known = signed.is_known().await?;
        if !is_trusted && !is_known {
            self.ask(url, &answer.address, &signed).await?;
        }
        if !is_known {
            signed.keep_key().await?;
        }
        let trust = TrustedKeys::read(self.session).map_err(Refused::Trust)?;
        let imported = self.have_imported(url, &signed, is_trusted).await;
        if imported.is_err() {
            trust.restore().map_err(Refused::Trust)?;
            if !is_known {
                signed.forget_key().await?;
            }
        }
        imported
    }

    /// Has 0install do it, with its own check; whom its user named beforehand it is told to trust.
    async fn have_imported(
        &self,
        url: &FeedUrl,
        signed: &Signed,
        is_trusted: bool,
    ) -> Result<(), Refused> {
        let words: [OsString; 4] = [
            "import".into(),
            "--console".into(),
            "--".into(),
            signed.feed.clone().into(),
        ];
        if !is_trusted && !io::stdin().is_terminal() {
            let fingerprint = signed.signer.primary.clone();
            // What it trusts already it imports; its question would have no answer.
            let asked = self.program.answer(&words, b"").await;
            return match (asked, self.cached(url)) {
                (Ok(()), Some(_)) => Ok(()),
                _ => Err(Refused::Unasked { fingerprint }),
            };
        }
        let imported = if is_trusted {
            self.program.answer(&words, b"Y\n").await
        } else {
            self.program.let_ask(&words).await
        };
        imported.map_err(Refused::Import)?;
        match self.cached(url) {
            Some(_) => Ok(()),
            None => Err(Refused::NotImported),
        }
    }

    /// Asks whether the key may be put among the user's own.
    async fn ask(&self, url: &FeedUrl, from: &str, signed: &Signed) -> Result<(), Refused> {
        let fingerprint = signed.signer.primary.clone();
        if !io::stdin().is_terminal() {
            return Err(Refused::Unasked { fingerprint });
        }
        self.note(&format!(
            "{from} gives the feed {url}, signed with a key that you do not have:\n  {fingerprint}"
        ));
        for name in &signed.names {
            self.session.output.note(&format!("  {name}"));
        }
        let question =
            "put it among the keys of your gpg, and let 0install ask whether to trust it? [y/N]";
        self.session.output.note(question);
        let reading = self.session.lifetime.spawn_blocking("read an answer", || {
            let mut line = String::new();
            io::stdin().lock().read_line(&mut line).map(|_| line)
        });
        match reading.await {
            Ok(Ok(line)) if matches!(line.trim(), "y" | "Y" | "yes") => Ok(()),
            _ => Err(Refused::Declined),
        }
    }

    /// What 0install has of a feed; `None`: nothing.
    fn cached(&self, url: &FeedUrl) -> Option<String> {
        let environment = Environment::of_variables(self.session.env.vars.clone());
        let mut caches = feed_caches(&environment).into_iter();
        caches.find_map(|cache| {
            let file = File::open(cache.join(url.file_name())).ok()?;
            let mut text = String::new();
            let most = MAX_FEED_BYTES as u64;
            file.take(most).read_to_string(&mut text).ok().map(|_| text)
        })
    }

    fn note(&self, words: &str) {
        self.session.output.note(&format!("zeroshare: {words}"));
    }
}

fn unasked(url: &FeedUrl, from: &str, refused: &Refused) -> Failure {
    let message = format!("the feed {url} that {from} gives is not imported: {refused}");
    let failure = Failure::new(Exit::Failed, "NOT_TRUSTED", message);
    let Refused::Unasked { fingerprint } = refused else {
        return failure;
    };
    failure.advise(format!(
        "Ask its author whether the key is right; then `--trust-key {fingerprint}` takes it."
    ))
}

fn check_address(text: &str, url: &FeedUrl) -> Result<(), Refused> {
    let document = parse_document(text, MAX_FEED_BYTES).map_err(Refused::Document)?;
    let root = document.root_element();
    let is_feed = is_element(root, "interface") || is_element(root, "feed");
    if is_feed && root.attribute("uri") == Some(url.as_str()) {
        Ok(())
    } else {
        Err(Refused::OtherAddress)
    }
}

/// The feeds without which a program cannot be selected.
fn needed(text: &str) -> BTreeSet<FeedUrl> {
    let Ok(document) = parse_document(text, MAX_FEED_BYTES) else {
        return BTreeSet::new();
    };
    let elements = document.descendants();
    let needing =
        elements.filter(|node| is_element(*node, "requires") || is_element(*node, "runner"));
    let named = needing.filter_map(|node| node.attribute("interface")?.parse().ok());
    named.take(MAX_FEEDS).collect()
}

/// Whom 0install trusts, as it was before an import.
struct TrustedKeys {
    file: Option<PathBuf>,
    text: Option<Vec<u8>>,
}

impl TrustedKeys {
    fn read(session: &Session) -> io::Result<Self> {
        let environment = Environment::of_variables(session.env.vars.clone());
        let file = zeroshare_shelf::trusted_keys(&environment);
        let text = match file.as_ref().map(fs::read) {
            Some(Ok(text)) => Some(text),
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Some(Err(_)) | None => None,
        };
        Ok(Self { file, text })
    }

    /// Puts it back, if the import changed it.
    fn restore(self) -> io::Result<()> {
        let Some(file) = self.file else { return Ok(()) };
        match (fs::read(&file).ok(), self.text) {
            (now, before) if now == before => Ok(()),
            (_, Some(before)) => fs::write(file, before),
            (_, None) => fs::remove_file(file),
        }
    }
}
