//! Trees as tar.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use tar::{Builder, EntryType, Header};
use zeroshare_content::{Entry, Line, Manifest};

use super::{DIRECTORY_TIME, Input};

/// What GNU tar calls an entry that only carries a long name.
const LONG_LINK: &[u8] = b"././@LongLink";

/// Writes all entries and the end, and gives back where to.
pub(super) fn write<W: Write>(manifest: &Manifest, input: &mut Input<'_>, out: W) -> io::Result<W> {
    let gate = input.gate;
    let mut builder = Builder::new(out);
    for (line, number) in manifest.lines().iter().zip(0..) {
        if let Err(error) = entry(&mut builder, input, line, number) {
            gate.shut(None);
            return Err(error);
        }
    }
    builder.into_inner()
}

fn entry<W: Write>(
    builder: &mut Builder<W>,
    input: &mut Input<'_>,
    line: &Line,
    number: u32,
) -> io::Result<()> {
    let path = Path::new(OsStr::from_bytes(line.path.as_bytes()));
    let mut header = Header::new_gnu();
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    match line.entry {
        Entry::Directory => {
            header.set_entry_type(EntryType::Directory);
            header.set_mode(0o755);
            date(builder, &mut header, DIRECTORY_TIME)?;
            builder.append_data(&mut header, path, io::empty())
        }
        Entry::File {
            executable,
            mtime,
            size,
            ..
        } => {
            header.set_entry_type(EntryType::Regular);
            header.set_mode(if executable { 0o755 } else { 0o644 });
            header.set_size(size);
            date(builder, &mut header, mtime)?;
            let mut file = FileOf {
                input,
                line: number,
                size,
                taken: 0,
                waiting: 0..0,
            };
            builder.append_data(&mut header, path, &mut file)
        }
        Entry::Symlink { target_len, .. } => {
            let target = input.target(number, target_len)?;
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            date(builder, &mut header, DIRECTORY_TIME)?;
            point(builder, &mut header, &target)?;
            builder.append_data(&mut header, path, io::empty())
        }
    }
}

/// Before 1970 there is no time in the header, so it stands in a pax record before it.
fn date<W: Write>(builder: &mut Builder<W>, header: &mut Header, mtime: i64) -> io::Result<()> {
    if let Ok(mtime) = u64::try_from(mtime) {
        header.set_mtime(mtime);
        return Ok(());
    }
    header.set_mtime(0);
    builder.append_pax_extensions([("mtime", mtime.to_string().as_bytes())])
}

/// Puts in the target byte for byte: its digest is in the manifest.
fn point<W: Write>(builder: &mut Builder<W>, header: &mut Header, target: &[u8]) -> io::Result<()> {
    if target.len() <= header.as_old().linkname.len() {
        return header.set_link_name_literal(target);
    }
    let mut long = Header::new_gnu();
    let name = &mut long.as_old_mut().name;
    if let Some(name) = name.get_mut(..LONG_LINK.len()) {
        name.copy_from_slice(LONG_LINK);
    }
    long.set_entry_type(EntryType::GNULongLink);
    long.set_mode(0o644);
    long.set_uid(0);
    long.set_gid(0);
    long.set_mtime(0);
    // With a NUL byte at its end, as GNU tar does.
    long.set_size(target.len() as u64 + 1);
    long.set_cksum();
    builder.append(&long, target.chain(&[0][..]))
}

/// One file, read to its end once.
struct FileOf<'f, 'a> {
    input: &'f mut Input<'a>,
    line: u32,
    size: u64,
    /// How much was taken out of the tree.
    taken: u64,
    /// What of the buffer is still to be handed over.
    waiting: Range<usize>,
}

impl Read for FileOf<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.waiting.is_empty() {
            let more = self.input.next(self.line, self.taken, self.size)?.len();
            self.taken += more as u64;
            self.waiting = 0..more;
        }
        let waiting = self.input.buffer.get(self.waiting.clone());
        let mut waiting = waiting.unwrap_or_default();
        let handed_over = waiting.read(into)?;
        self.waiting.start += handed_over;
        Ok(handed_over)
    }
}
