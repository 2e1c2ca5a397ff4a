//! The lines that we add to 0install's list of stores, `implementation-dirs`.
//!
//! 0install asks its own store first, then the machine's, then those of the list from its last line to its first. What has
//! to be asked of the network comes behind all that is here, and so at the top of the list. All other bytes stay as they are:
//! blanks count in this file, and its lines need not be UTF-8.

/// How our comment begins; the line below it is ours too.
const COMMENT: &[u8] = b"# zeroshare setup: ";

/// What follows.
const WORDS: &[u8] =
    b"what neighbours have; `zeroshare setup 0install --undo` removes this line and the next\n";

/// Where our lines are, and the directory that they name.
struct Lines<'a> {
    start: usize,
    end: usize,
    directory: &'a [u8],
}

/// The list with `directory` in it: unchanged where somebody has it there already, in its old place where we do.
pub(super) fn with(list: &[u8], directory: &[u8]) -> Vec<u8> {
    if let Some(lines) = find(list) {
        let (before, behind) = (&list[..lines.start], &list[lines.end..]);
        return [before, &block(directory), behind].concat();
    }
    if list
        .split(|byte| *byte == b'\n')
        .any(|line| line == directory)
    {
        return list.to_vec();
    }
    [&block(directory), list].concat()
}

/// The list without our lines.
pub(super) fn without(list: &[u8]) -> Vec<u8> {
    match find(list) {
        Some(lines) => [&list[..lines.start], &list[lines.end..]].concat(),
        None => list.to_vec(),
    }
}

/// The directory that our lines name, if they are there.
pub(crate) fn directory(list: &[u8]) -> Option<&[u8]> {
    Some(find(list)?.directory)
}

fn find(list: &[u8]) -> Option<Lines<'_>> {
    let mut start = 0;
    let mut lines = list.split_inclusive(|byte| *byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        let below = start + line.len();
        // Whoever took the directory away, or put another line there, has taken over.
        if line.starts_with(COMMENT)
            && let Some(next) = lines.peek()
            && next.starts_with(b"/")
        {
            return Some(Lines {
                start,
                end: below + next.len(),
                directory: next.strip_suffix(b"\n").unwrap_or(next),
            });
        }
        start = below;
    }
    None
}

fn block(directory: &[u8]) -> Vec<u8> {
    [COMMENT, WORDS, directory, b"\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &[u8] = b"/run/lan";

    const LISTS: [&[u8]; 6] = [
        b"",
        b"/mnt/usb\n",
        b"# my stick\n/mnt/usb\n\n /blank \n#end",
        b"\xff/odd\n\n\n",
        b"/no/end/of/line",
        b"# zeroshare setup: of somebody else\n# not ours\n",
    ];

    #[test]
    fn our_lines_come_first_and_go_without_a_trace() {
        for list in LISTS {
            let set = with(list, OURS);
            assert!(set.ends_with(list));
            assert_eq!(directory(&set), Some(OURS));
            assert_eq!(with(&set, OURS), set, "a second time changes nothing");
            assert_eq!(without(&set), list);
            assert_eq!(without(list), list);
        }
    }

    #[test]
    fn our_lines_stay_where_somebody_moved_them_and_follow_the_directory() {
        let set = with(b"", OURS);
        let moved = [b"/first\n", &set[..], b"/last\n"].concat();
        assert_eq!(with(&moved, OURS), moved);
        let other = with(&moved, b"/other");
        assert_eq!(directory(&other), Some(&b"/other"[..]));
        assert_eq!(without(&other), b"/first\n/last\n");
    }

    #[test]
    fn what_a_user_wrote_is_the_users() {
        let own = b"/run/lan\n";
        assert_eq!(with(own, OURS), own);
        assert_eq!(without(own), own);
        assert_eq!(directory(own), None);
        let taken_over = [COMMENT, WORDS, b"# off: /run/lan\n"].concat();
        assert_eq!(without(&taken_over), taken_over);
    }

    #[test]
    fn the_store_that_asks_the_network_is_asked_last() {
        let scratch = tempfile::tempdir().unwrap();
        let place = scratch.path().join("0install.net/injector");
        std::fs::create_dir_all(&place).unwrap();
        let list = with(b"/one\n/two\n", OURS);
        std::fs::write(place.join("implementation-dirs"), list).unwrap();
        let config = ("XDG_CONFIG_HOME".to_owned(), scratch.path().into());
        let none = ("XDG_CONFIG_DIRS".to_owned(), "/nonexistent".into());
        let vars = [config, none].into_iter().collect();
        let environment = zeroshare_shelf::Environment::of_variables(vars);
        let roots = zeroshare_shelf::store_roots(&environment, &[]);
        let last = roots.last().map(|root| root.path.clone());
        assert_eq!(last, Some("/run/lan".into()));
    }
}
