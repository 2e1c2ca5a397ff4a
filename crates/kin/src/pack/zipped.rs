//! Trees as zip.

use std::io::{self, Write as _};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use zeroshare_content::{Entry, Line, Manifest};
use zip::result::ZipError;
use zip::write::{FullFileOptions, ZipWriter};
use zip::{CompressionMethod, DateTime};

use super::{DIRECTORY_TIME, Input, Outlet, Unfit};

/// Beyond this the list at the end needs the forms of zip64, which old programs lack; and each entry is remembered until
/// then, at some hundreds of bytes.
const MAX_ENTRIES: usize = 65_534;

/// Files that come near to four bytes' worth of size, compressed or not, are written with eight.
const LARGE_BYTES: u64 = 0xF000_0000;

/// Info-ZIP's field of exact times (`extrafld.txt`): which follow, then each as a signed 32-bit number.
const EXTENDED_TIMESTAMP: u16 = 0x5455;
const ONLY_MODIFIED: u8 = 1;

/// What kind of file it is, and its mode, as Unix has it in the upper half of the attributes.
const LINK_ATTRIBUTES: u32 = 0o120_777 << 16;

type Zip<'o> = ZipWriter<zip::write::StreamWriter<Outlet<'o>>>;

/// Says whether a tree can be written: zip has names in UTF-8, in which some take `\` for `/`, and times of 32 bits.
pub(super) fn fits(manifest: &Manifest) -> Result<(), Unfit> {
    if manifest.lines().len() > MAX_ENTRIES {
        return Err(Unfit::TooMany { limit: MAX_ENTRIES });
    }
    for Line { path, entry } in manifest.lines() {
        let name = str::from_utf8(path.as_bytes());
        if name.is_err() || path.as_bytes().contains(&b'\\') {
            return Err(Unfit::Name { path: path.clone() });
        }
        if let Entry::File { mtime, .. } = entry
            && i32::try_from(*mtime).is_err()
        {
            return Err(Unfit::Time { path: path.clone() });
        }
    }
    Ok(())
}

/// Writes all entries and the list at the end; the tree fits.
pub(super) fn write(manifest: &Manifest, input: &mut Input<'_>, out: Outlet<'_>) -> io::Result<()> {
    let gate = input.gate;
    let mut zip = ZipWriter::new_stream(out);
    let mut written = Ok(());
    for (line, number) in manifest.lines().iter().zip(0..) {
        written = entry(&mut zip, input, line, number);
        if written.is_err() {
            gate.shut(None);
            break;
        }
    }
    // Also what failed comes to its end, behind the gate: else the writer complains when it is dropped.
    let finished = zip.finish().map(drop).map_err(io::Error::from);
    written.and(finished)
}

fn entry(zip: &mut Zip<'_>, input: &mut Input<'_>, line: &Line, number: u32) -> io::Result<()> {
    let name = str::from_utf8(line.path.as_bytes()).map_err(io::Error::other)?;
    match line.entry {
        Entry::Directory => {
            let options = options(DIRECTORY_TIME)?.unix_permissions(0o755);
            zip.add_directory(name, options)?;
            Ok(())
        }
        Entry::File {
            executable,
            mtime,
            size,
            ..
        } => {
            let options = options(mtime)?
                .unix_permissions(if executable { 0o755 } else { 0o644 })
                .large_file(size >= LARGE_BYTES);
            zip.start_file(name, options)?;
            let mut offset = 0;
            while offset < size {
                let part = input.next(number, offset, size)?;
                zip.write_all(part)?;
                offset += part.len() as u64;
            }
            Ok(())
        }
        Entry::Symlink { target_len, .. } => {
            let target = input.target(number, target_len)?;
            let options = options(DIRECTORY_TIME)?.external_attributes(LINK_ATTRIBUTES);
            zip.start_file(name, options)?;
            zip.write_all(&target)
        }
    }
}

fn options(mtime: i64) -> Result<FullFileOptions<'static, 'static>, ZipError> {
    let mut options = FullFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(1))
        .last_modified_time(dos_time(mtime));
    let seconds = i32::try_from(mtime).unwrap_or(0).to_le_bytes();
    let field = [&[ONLY_MODIFIED], &seconds[..]].concat();
    options.add_extra_field(EXTENDED_TIMESTAMP, field, false)?;
    Ok(options)
}

/// The time in UTC for those who do not read the exact one, to two seconds; the nearest one for times before 1980.
fn dos_time(mtime: i64) -> DateTime {
    let time = Timestamp::from_second(mtime).unwrap_or_default();
    let time = time.to_zoned(TimeZone::UTC).datetime();
    let part = |number: i8| u8::try_from(number).unwrap_or(0);
    let year = u16::try_from(time.year()).unwrap_or(0);
    let (month, day) = (part(time.month()), part(time.day()));
    let (hour, minute, second) = (part(time.hour()), part(time.minute()), part(time.second()));
    DateTime::from_date_and_time(year, month, day, hour, minute, second).unwrap_or_default()
}
