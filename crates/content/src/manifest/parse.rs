use data_encoding::HEXLOWER;

use super::{Entry, Line, LineFault, ManifestError};
use crate::limits::MAX_PATHS_TOTAL;
use crate::name::check_name;
use crate::path::{check_path, join_unchecked};
use crate::{
    BlobId, HashKind, MAX_CONTENT_BYTES, MAX_DEPTH, MAX_ENTRIES, MAX_LINK_TARGET, MAX_PATH_BYTES,
    PathError, TreePath,
};

/// Reads all lines, and says how many bytes their files have.
pub(super) fn lines(kind: HashKind, text: &[u8]) -> Result<(Vec<Line>, u64), ManifestError> {
    let mut parser = Parser::new(kind);
    for (index, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        if index == MAX_ENTRIES {
            return Err(ManifestError::TooManyEntries);
        }
        let at_line = |why| ManifestError::Line {
            line: index + 1,
            why,
        };
        let line = line
            .strip_suffix(b"\n")
            .ok_or(at_line(LineFault::Unterminated))?;
        parser.line(line).map_err(at_line)?;
    }
    Ok((parser.lines, parser.total_size))
}

struct Parser {
    kind: HashKind,
    no_bytes: BlobId,
    lines: Vec<Line>,
    /// The root, and every directory on the way down to the one whose entries are being read.
    open: Vec<OpenDirectory>,
    /// The path of the innermost open directory; those further out are its prefixes.
    path: Vec<u8>,
    total_size: u64,
    paths_total: usize,
}

struct OpenDirectory {
    path_bytes: usize,
    /// The lines of its files and symlinks: these follow its own line at once.
    first_leaf: usize,
    end_of_leaves: usize,
    last_subdirectory: Option<Box<[u8]>>,
}

impl Parser {
    fn new(kind: HashKind) -> Self {
        let root = OpenDirectory {
            path_bytes: 0,
            first_leaf: 0,
            end_of_leaves: 0,
            last_subdirectory: None,
        };
        Self {
            kind,
            no_bytes: BlobId::of(kind, b""),
            lines: Vec::new(),
            open: vec![root],
            path: Vec::new(),
            total_size: 0,
            paths_total: 0,
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), LineFault> {
        match line {
            [b'D', b' ', b'/', path @ ..] => self.directory(path),
            [b'F', b' ', rest @ ..] => self.file(false, rest),
            [b'X', b' ', rest @ ..] => self.file(true, rest),
            [b'S', b' ', rest @ ..] => self.symlink(rest),
            _ => Err(LineFault::UnknownKind),
        }
    }

    fn directory(&mut self, path: &[u8]) -> Result<(), LineFault> {
        check_path(path).map_err(LineFault::Path)?;
        let cut = path.iter().rposition(|byte| *byte == b'/');
        let (parent, name) = match cut {
            Some(cut) => (&path[..cut], &path[cut + 1..]),
            None => (&path[..0], path),
        };
        let outer = self
            .open
            .iter_mut()
            .rposition(|open| open.path_bytes == parent.len());
        let outer = outer.ok_or(LineFault::NoParent)?;
        if !self.path.starts_with(parent) {
            return Err(LineFault::NoParent);
        }
        if outer == 0 {
            check_free_at_root(name)?;
        }
        self.open.truncate(outer + 1);
        if let Some(open) = self.open.last_mut() {
            open.check_subdirectory(name, &self.lines)?;
            open.last_subdirectory = Some(name.into());
        }
        self.count_path(path.len())?;
        self.path = path.to_vec();
        let path = TreePath::from_checked(path.into());
        self.lines.push(Line {
            path,
            entry: Entry::Directory,
        });
        self.open.push(OpenDirectory {
            path_bytes: self.path.len(),
            first_leaf: self.lines.len(),
            end_of_leaves: self.lines.len(),
            last_subdirectory: None,
        });
        Ok(())
    }

    fn file(&mut self, executable: bool, rest: &[u8]) -> Result<(), LineFault> {
        let [hash, mtime, size, name] = fields(rest)?;
        let blob = self.blob(hash)?;
        let mtime = canonical_signed(mtime).ok_or(LineFault::Time)?;
        let size = canonical_unsigned(size).ok_or(LineFault::Size)?;
        if (size == 0) != (blob == self.no_bytes) {
            return Err(LineFault::SizeOfNoBytes);
        }
        self.total_size = self
            .total_size
            .checked_add(size)
            .filter(|total| *total <= MAX_CONTENT_BYTES)
            .ok_or(LineFault::TooMuchContent)?;
        self.leaf(
            name,
            Entry::File {
                executable,
                blob,
                mtime,
                size,
            },
        )
    }

    fn symlink(&mut self, rest: &[u8]) -> Result<(), LineFault> {
        let [hash, length, name] = fields(rest)?;
        let blob = self.blob(hash)?;
        let target_len = canonical_unsigned(length).ok_or(LineFault::Size)?;
        if !(1..=MAX_LINK_TARGET).contains(&target_len) {
            return Err(LineFault::LinkTarget { bytes: target_len });
        }
        if blob == self.no_bytes {
            return Err(LineFault::SizeOfNoBytes);
        }
        self.leaf(name, Entry::Symlink { blob, target_len })
    }

    fn blob(&self, hash: &[u8]) -> Result<BlobId, LineFault> {
        let mut digest = [0; 32];
        let digest = &mut digest[..self.kind.digest_bytes()];
        let fault = LineFault::Hash {
            digits: digest.len() * 2,
        };
        if hash.len() != digest.len() * 2 {
            return Err(fault);
        }
        HEXLOWER.decode_mut(hash, digest).map_err(|_| fault)?;
        BlobId::from_digest(self.kind, digest).ok_or(fault)
    }

    /// Adds a file or symlink to the directory whose line came last.
    fn leaf(&mut self, name: &[u8], entry: Entry) -> Result<(), LineFault> {
        check_name(name).map_err(LineFault::Name)?;
        let path = join_unchecked(&self.path, name);
        if path.len() > MAX_PATH_BYTES {
            return Err(LineFault::Path(PathError::TooLong { bytes: path.len() }));
        }
        let depth = self.open.len();
        if depth > MAX_DEPTH {
            return Err(LineFault::Path(PathError::TooDeep { depth }));
        }
        if depth == 1 {
            check_free_at_root(name)?;
        }
        self.count_path(path.len())?;
        if let Some(open) = self.open.last_mut() {
            if let Some(last) = self.lines[open.first_leaf..].last() {
                check_order(last.path.name(), name)?;
            }
            open.end_of_leaves = self.lines.len() + 1;
        }
        self.lines.push(Line {
            path: TreePath::from_checked(path),
            entry,
        });
        Ok(())
    }

    fn count_path(&mut self, bytes: usize) -> Result<(), LineFault> {
        self.paths_total += bytes;
        if self.paths_total > MAX_PATHS_TOTAL {
            return Err(LineFault::PathsTooLong);
        }
        Ok(())
    }
}

impl OpenDirectory {
    fn check_subdirectory(&self, name: &[u8], lines: &[Line]) -> Result<(), LineFault> {
        if let Some(last) = &self.last_subdirectory {
            check_order(last, name)?;
        }
        let leaves = &lines[self.first_leaf..self.end_of_leaves];
        match leaves.binary_search_by(|leaf| leaf.path.name().cmp(name)) {
            Ok(_) => Err(LineFault::Duplicate),
            Err(_) => Ok(()),
        }
    }
}

fn check_order(before: &[u8], name: &[u8]) -> Result<(), LineFault> {
    match before.cmp(name) {
        std::cmp::Ordering::Less => Ok(()),
        std::cmp::Ordering::Equal => Err(LineFault::Duplicate),
        std::cmp::Ordering::Greater => Err(LineFault::Order),
    }
}

fn check_free_at_root(name: &[u8]) -> Result<(), LineFault> {
    if name == b".manifest" {
        Err(LineFault::ManifestName)
    } else {
        Ok(())
    }
}

/// Splits at single spaces; the last field is the rest, spaces included.
fn fields<const N: usize>(rest: &[u8]) -> Result<[&[u8]; N], LineFault> {
    let mut split = rest.splitn(N, |byte| *byte == b' ');
    let mut fields = [&rest[..0]; N];
    for field in &mut fields {
        *field = split.next().ok_or(LineFault::TooFewFields)?;
    }
    Ok(fields)
}

fn canonical_signed(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let shortest = is_shortest(digits) && text != b"-0";
    str::from_utf8(text).ok().filter(|_| shortest)?.parse().ok()
}

fn canonical_unsigned(text: &[u8]) -> Option<u64> {
    str::from_utf8(text)
        .ok()
        .filter(|_| is_shortest(text))?
        .parse()
        .ok()
}

fn is_shortest(digits: &[u8]) -> bool {
    let leading_zero = digits.len() > 1 && digits.starts_with(b"0");
    !digits.is_empty() && !leading_zero && digits.iter().all(u8::is_ascii_digit)
}
