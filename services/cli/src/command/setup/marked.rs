//! Files that prove themselves that nobody changed them since they were written.
//!
//! One of their first lines is a comment with the hash of all the rest, so that neither a list of what was written nor the
//! program that wrote it is needed to take away exactly that.

use clap::ValueEnum as _;
use zeroshare_content::{BlobId, HashKind};

use super::What;

/// How the comment begins.
const BEFORE: &str = "# Written by `zeroshare setup ";

/// What stands between whom it was written for and the hash.
const BETWEEN: &str = "`, and replaced or removed by it as long as nobody changes it: ";

/// Behind an interpreter's line, if there is one.
const MOST_LINES_BEFORE: usize = 1;

/// What a file's text says of its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// As it was written, and what for.
    Ours(What),
    /// Written by us, and changed since.
    Changed,
    /// Not written by us.
    Foreign,
}

/// Puts the comment into a text, behind the line with its interpreter if it begins with one.
pub(super) fn mark(text: &str, what: What) -> String {
    let first = text.find('\n').map_or(text.len(), |end| end + 1);
    let (before, behind) = text.split_at(if text.starts_with("#!") { first } else { 0 });
    let hash = BlobId::of(HashKind::Sha256, text.as_bytes()).hex();
    format!("{before}{BEFORE}{}{BETWEEN}{hash}\n{behind}", word(what))
}

/// Says whose a file is.
pub(crate) fn origin(text: &[u8]) -> Origin {
    let Ok(text) = str::from_utf8(text) else {
        return Origin::Foreign;
    };
    let mut start = 0;
    for line in text.split_inclusive('\n').take(MOST_LINES_BEFORE + 1) {
        let end = start + line.len();
        if let Some((what, hash)) = read(line) {
            let rest = [&text[..start], &text[end..]].concat();
            let found = BlobId::of(HashKind::Sha256, rest.as_bytes()).hex();
            return if found == hash {
                Origin::Ours(what)
            } else {
                Origin::Changed
            };
        }
        start = end;
    }
    Origin::Foreign
}

fn read(line: &str) -> Option<(What, &str)> {
    let (what, hash) = line
        .strip_suffix('\n')?
        .strip_prefix(BEFORE)?
        .split_once(BETWEEN)?;
    Some((What::from_str(what, false).ok()?, hash))
}

fn word(what: What) -> String {
    let value = what.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_known_again_until_a_byte_changes() {
        for text in ["", "[Unit]\n", "#!/bin/sh\nexec true\n", "no end of line"] {
            for what in [What::ZeroInstall, What::Node] {
                let marked = mark(text, what);
                assert_eq!(origin(marked.as_bytes()), Origin::Ours(what), "{marked}");
                let longer = format!("{marked}x");
                assert_eq!(origin(longer.as_bytes()), Origin::Changed, "{longer}");
            }
        }
        let script = mark("#!/bin/sh\nexec true\n", What::Node);
        assert!(script.starts_with("#!/bin/sh\n# Written"), "{script}");
        let changed = script.replace("true", "fals");
        assert_eq!(origin(changed.as_bytes()), Origin::Changed);
    }

    #[test]
    fn what_others_wrote_is_theirs() {
        for text in [&b""[..], b"[Unit]\n", b"\xff\n", b"# Written by hand\n"] {
            assert_eq!(origin(text), Origin::Foreign);
        }
        let ours = mark("x\n", What::Node);
        let below = format!("\n\n\n{ours}");
        assert_eq!(origin(below.as_bytes()), Origin::Foreign);
        let other = ours.replace("setup node", "setup nothing");
        assert_eq!(origin(other.as_bytes()), Origin::Foreign);
    }
}
