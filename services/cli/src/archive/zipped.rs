//! Takes zip archives apart.

use std::fs::File;
use std::io::{BufReader, Read};

use zip::ZipArchive;
use zip::extra_fields::ExtraField;
use zip::read::ZipFile;

use super::ArchiveError;
use super::ground::{FileFacts, Ground, MAX_TARGET_BYTES};

/// The bits of a Unix mode that say what an entry is, and the kinds among them that we take.
const TYPE_MASK: u32 = 0o170_000;
const TYPES_TAKEN: [u32; 4] = [0, 0o100_000, 0o040_000, 0o120_000];

pub(super) fn unpack(file: BufReader<File>, ground: &mut Ground) -> Result<(), ArchiveError> {
    let mut archive = ZipArchive::new(file).map_err(|error| zip_error(&error))?;
    if archive
        .has_overlapping_files()
        .map_err(|error| zip_error(&error))?
    {
        return Err(ArchiveError::Zip("its files overlap".to_owned()));
    }
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(|error| zip_error(&error))?;
        place(&mut entry, ground)?;
    }
    Ok(())
}

fn place<R: Read>(entry: &mut ZipFile<'_, R>, ground: &mut Ground) -> Result<(), ArchiveError> {
    let name = entry
        .name()
        .map_err(|error| zip_error(&error))?
        .into_owned()
        .into_bytes();
    let mode = entry.unix_mode().unwrap_or(0);
    if !TYPES_TAKEN.contains(&(mode & TYPE_MASK)) {
        return Err(ArchiveError::entry(
            &name,
            "it is neither file, directory nor link",
        ));
    }
    if entry.is_dir() {
        return ground.directory(&name);
    }
    if entry.is_symlink() {
        let mut target = Vec::new();
        entry
            .take(MAX_TARGET_BYTES + 1)
            .read_to_end(&mut target)
            .map_err(ArchiveError::Read)?;
        return ground.symlink(&name, &target);
    }
    let facts = FileFacts {
        size_bytes: entry.size(),
        executable: mode & 0o111 != 0,
        mtime: mtime(entry),
    };
    ground.file(&name, facts, entry)?;
    // Reading on to the end makes the crate compare the checksum, and finds what is longer than it says.
    let mut rest = [0; 1];
    match entry.read(&mut rest).map_err(ArchiveError::Read)? {
        0 => Ok(()),
        _ => Err(ArchiveError::entry(&name, "it is longer than it says")),
    }
}

/// The time in UTC where the archive has it, else the local time of whoever made it, read as UTC so that every machine
/// gets the same tree.
fn mtime<R: Read>(entry: &ZipFile<'_, R>) -> i64 {
    let exact = entry.extra_data_fields().find_map(|field| {
        let ExtraField::ExtendedTimestamp(times) = field else {
            return None;
        };
        times.mod_time()
    });
    if let Some(seconds) = exact {
        // Four bytes with a sign, says Info-ZIP.
        return i64::from(seconds.cast_signed());
    }
    entry.last_modified().and_then(civil_seconds).unwrap_or(0)
}

fn civil_seconds(time: zip::DateTime) -> Option<i64> {
    let small = |number: u8| i8::try_from(number).ok();
    let year = i16::try_from(time.year()).ok()?;
    let (hour, minute, second) = (
        small(time.hour())?,
        small(time.minute())?,
        small(time.second())?,
    );
    let date = jiff::civil::Date::new(year, small(time.month())?, small(time.day())?).ok()?;
    let moment = date.to_datetime(jiff::civil::Time::new(hour, minute, second, 0).ok()?);
    Some(
        moment
            .to_zoned(jiff::tz::TimeZone::UTC)
            .ok()?
            .timestamp()
            .as_second(),
    )
}

fn zip_error(error: &zip::result::ZipError) -> ArchiveError {
    ArchiveError::Zip(error.to_string())
}
