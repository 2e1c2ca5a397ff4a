//! How selections come about: 0install makes them, in the way that changes least.

use std::ffi::OsString;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use super::program::Manner;
use super::{
    Implementation, MAX_DOCUMENT_BYTES, Program, ProgramError, Selecting, SelectionsError, selected,
};

/// How long it may take to select from what is cached: tens of milliseconds for hundreds of feeds.
const CACHED_TIME: Duration = Duration::from_secs(10);

/// How long feeds may take that are downloaded anew: then 0install goes on alone, and waits for them itself.
const REFRESH_TIME: Duration = Duration::from_secs(15);

/// Why nothing was selected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SelectError {
    /// 0install selected nothing.
    #[error("0install selected nothing")]
    Program(#[source] ProgramError),
    /// What it printed is no selections document.
    #[error("what 0install selected is not understood")]
    Document(#[source] SelectionsError),
}

/// Selects what 0install is about to select, and gives the implementations.
///
/// Tried in this order, each only where the one before selects nothing: the saved selections; from the feeds that are
/// cached, which changes nothing and starts no update in the background; with the feeds that are missing, which
/// 0install downloads now instead of later, asking its user what it would have asked then. Feeds that are to be downloaded
/// anew are left for 0install to keep, since it compares them with the old ones. May be dropped midway.
pub(crate) async fn select(
    program: &Program,
    selecting: &Selecting,
) -> Result<Vec<Implementation>, SelectError> {
    if selecting.takes_saved {
        let words = [
            "show".into(),
            "--xml".into(),
            "--".into(),
            selecting.target.clone(),
        ];
        let shown = program.ask(&words, Manner::Alone, Some(CACHED_TIME)).await;
        if let Some(found) = shown.ok().and_then(|shown| selected(&shown).ok()) {
            return Ok(found);
        }
    }
    if selecting.refreshes {
        let words = words(selecting, &["--dry-run", "--console", "--refresh"]);
        let anew = program.ask(&words, Manner::Quiet, Some(REFRESH_TIME)).await;
        return document(&anew.map_err(SelectError::Program)?);
    }
    let alone = words(selecting, &["--dry-run", "--console"]);
    match program.ask(&alone, Manner::Alone, Some(CACHED_TIME)).await {
        Ok(printed) => document(&printed),
        Err(ProgramError::Failed { .. }) => {
            let own: &[&str] = if selecting.console {
                &["--console"]
            } else {
                &[]
            };
            let open = program
                .ask(&words(selecting, own), Manner::Open, None)
                .await;
            document(&open.map_err(SelectError::Program)?)
        }
        Err(error) => Err(SelectError::Program(error)),
    }
}

/// Reads a selections document of the user's own; `None` if the file is something else, such as a feed.
pub(crate) fn read_selections(path: &Path) -> io::Result<Option<Vec<Implementation>>> {
    let mut text = Vec::new();
    let limit = MAX_DOCUMENT_BYTES as u64 + 1;
    if path.as_os_str() == "-" {
        io::stdin().lock().take(limit).read_to_end(&mut text)?;
    } else {
        std::fs::File::open(path)?
            .take(limit)
            .read_to_end(&mut text)?;
    }
    match selected(&text) {
        Ok(found) => Ok(Some(found)),
        Err(SelectionsError::SomethingElse { .. }) => Ok(None),
        Err(error) => Err(io::Error::other(error)),
    }
}

fn words(selecting: &Selecting, own: &[&str]) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["select".into(), "--xml".into()];
    words.extend(own.iter().map(OsString::from));
    words.extend(selecting.options.iter().cloned());
    let stores = selecting.stores.iter();
    words.extend(stores.map(|store| {
        let mut word = OsString::from("--with-store=");
        word.push(store);
        word
    }));
    words.extend(["--".into(), selecting.target.clone()]);
    words
}

/// The document in what was printed: lines that say what a dry run leaves out may stand before it.
fn document(printed: &[u8]) -> Result<Vec<Implementation>, SelectError> {
    let declaration = b"<?xml ";
    let mut places = printed.windows(declaration.len());
    let start = places.position(|found| found == declaration).unwrap_or(0);
    selected(&printed[start..]).map_err(SelectError::Document)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "[dry-run] [dry-run] would check for updates in the background\n\
        <?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\n\
        <selections command=\"run\" interface=\"http://h/hello.xml\" source=\"false\" \
        xmlns=\"http://zero-install.sourceforge.net/2004/injector/interface\">\n  \
        <selection id=\"hello-1\" interface=\"http://h/hello.xml\" version=\"1.0\"/>\n</selections>\n";

    #[test]
    fn what_a_dry_run_says_before_the_document_is_passed_over() {
        let found = document(PRINTED.as_bytes()).unwrap();
        assert_eq!(found.len(), 1);
        assert!(matches!(document(b""), Err(SelectError::Document(_))));
    }

    #[test]
    fn the_target_cannot_be_taken_for_an_option() {
        let selecting = Selecting {
            target: "-x".into(),
            options: vec!["--version=2".into()],
            stores: vec!["/s".into()],
            ..Selecting::default()
        };
        let expected = [
            "select",
            "--xml",
            "--refresh",
            "--version=2",
            "--with-store=/s",
            "--",
            "-x",
        ];
        assert_eq!(words(&selecting, &["--refresh"]), expected);
    }

    #[test]
    fn a_feed_is_no_selections_document_and_a_broken_one_is_an_error() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("x.xml");
        std::fs::write(&file, "<feed/>").unwrap();
        assert!(matches!(read_selections(&file), Ok(None)));
        std::fs::write(&file, "<feed").unwrap();
        assert!(read_selections(&file).is_err());
        std::fs::write(&file, &PRINTED[PRINTED.find("<?xml").unwrap()..]).unwrap();
        assert_eq!(read_selections(&file).unwrap().unwrap().len(), 1);
    }
}
