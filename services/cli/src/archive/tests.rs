use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use tar::{Builder, EntryType, Header};

use super::*;

const LIMITS: Limits = Limits {
    bytes: 1 << 20,
    entries: 100,
};

#[test]
fn every_compression_gives_the_same_files() {
    let tar = small_tar();
    let gz = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&tar).unwrap();
        encoder.finish().unwrap()
    };
    let bz2 = {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        encoder.write_all(&tar).unwrap();
        encoder.finish().unwrap()
    };
    let xz = {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
        encoder.write_all(&tar).unwrap();
        encoder.finish().unwrap()
    };
    let zst = zstd::encode_all(&tar[..], 1).unwrap();
    for archive in [tar, gz, bz2, xz, zst] {
        let (unpacked, found) = check(&archive).unwrap();
        assert_eq!(
            unpacked,
            Unpacked {
                files: 4,
                bytes: 11
            }
        );
        assert_eq!(found["bin/hello"], "x 1700000000 hello");
        assert_eq!(found["bin/again"], "x 1700000000 hello");
        assert_eq!(found["README"], "f 1132502750 x");
        assert_eq!(found["link"], "-> bin/hello");
        assert_eq!(found["empty"], "d");
    }
}

#[test]
fn a_zip_archive_keeps_modes_links_and_times() {
    let mut zip = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
    let time = zip::DateTime::from_date_and_time(2023, 11, 14, 22, 13, 20).unwrap();
    let options = || zip::write::SimpleFileOptions::default().last_modified_time(time);
    zip.add_directory("empty/", options()).unwrap();
    zip.start_file("bin/hello", options().unix_permissions(0o755))
        .unwrap();
    zip.write_all(b"hello").unwrap();
    zip.add_symlink("link", "bin/hello", options()).unwrap();
    let archive = zip.finish().unwrap().into_inner();
    let (unpacked, found) = check(&archive).unwrap();
    assert_eq!(unpacked, Unpacked { files: 2, bytes: 5 });
    assert_eq!(found["bin/hello"], "x 1700000000 hello");
    assert_eq!(found["link"], "-> bin/hello");
    assert_eq!(found["empty"], "d");
}

#[test]
fn a_zip_archive_cannot_climb() {
    for bad in ["../x", "/x", "a/../../x", "a\nb"] {
        let mut zip = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
        zip.start_file(bad, zip::write::SimpleFileOptions::default())
            .unwrap();
        let archive = zip.finish().unwrap().into_inner();
        assert!(
            matches!(check(&archive), Err(ArchiveError::Name { .. })),
            "{bad:?}"
        );
    }
}

#[test]
fn names_that_climb_are_refused() {
    for bad in ["../x", "/x", "a/../../x", "a\nb", ".."] {
        assert!(
            matches!(
                check(&tar(&[file(bad, b"x")])),
                Err(ArchiveError::Name { .. })
            ),
            "{bad:?}"
        );
    }
}

#[test]
fn links_out_of_the_archive_are_refused() {
    for target in ["/etc/passwd", "../x", "a/../../x"] {
        assert!(
            matches!(
                check(&tar(&[link("l", target)])),
                Err(ArchiveError::Entry { .. })
            ),
            "{target:?}"
        );
    }
    assert!(check(&tar(&[link("a/l", "../x")])).is_ok());
}

#[test]
fn nothing_is_written_through_a_link() {
    let through = tar(&[link("l", "d"), file("l/x", b"x")]);
    assert!(matches!(check(&through), Err(ArchiveError::Entry { .. })));
    let replaced = tar(&[link("l", "d"), file("l", b"x")]);
    assert!(matches!(check(&replaced), Err(ArchiveError::Entry { .. })));
}

#[test]
fn a_hard_link_needs_an_earlier_file() {
    for target in ["missing", "/etc/passwd", "../x", "empty"] {
        let archive = tar(&[
            kind("empty/", EntryType::Directory, None, b""),
            kind("h", EntryType::Link, Some(target), b""),
        ]);
        assert!(check(&archive).is_err(), "{target:?}");
    }
}

#[test]
fn devices_and_pipes_are_refused() {
    for bad in [
        EntryType::Char,
        EntryType::Block,
        EntryType::Fifo,
        EntryType::GNUSparse,
    ] {
        let archive = tar(&[kind("x", bad, None, b"")]);
        assert!(
            matches!(
                check(&archive),
                Err(ArchiveError::Entry { .. } | ArchiveError::Read(_))
            ),
            "{bad:?}"
        );
    }
}

#[test]
fn sizes_and_counts_are_bounded() {
    let large = vec![0; usize::try_from(LIMITS.bytes).unwrap() + 1];
    assert!(matches!(
        check(&tar(&[file("x", &large)])),
        Err(ArchiveError::TooLarge { .. })
    ));
    let names: Vec<_> = (0..=LIMITS.entries)
        .map(|number| number.to_string())
        .collect();
    let many: Vec<_> = names.iter().map(|name| file(name, b"")).collect();
    assert!(matches!(
        check(&tar(&many)),
        Err(ArchiveError::TooManyEntries { .. })
    ));
    let deep = "d/".repeat(101) + "x";
    assert!(matches!(
        check(&tar(&[file(&deep, b"")])),
        Err(ArchiveError::TooManyEntries { .. })
    ));
}

#[test]
fn a_giant_long_name_is_refused_before_it_is_read() {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(512 << 20);
    header.set_cksum();
    // Only the header is there: reading what it promises would say that it ends early.
    assert!(matches!(
        check(header.as_bytes()),
        Err(ArchiveError::Entry { .. })
    ));
}

#[test]
fn a_bomb_in_skipped_data_is_noticed() {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::new(b'V'));
    header.set_size(64 << 20);
    header.set_cksum();
    let mut plain = header.as_bytes().to_vec();
    plain.resize(plain.len() + (64 << 20), 0);
    let bomb = zstd::encode_all(&plain[..], 1).unwrap();
    assert!(bomb.len() < 100_000);
    assert!(matches!(check(&bomb), Err(ArchiveError::Read(_))));
}

#[test]
fn long_names_of_both_kinds_are_joined() {
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(120));
    let mut gnu = Builder::new(Vec::new());
    let mut header = plain_header(1);
    gnu.append_data(&mut header, &long, &b"x"[..]).unwrap();
    let (_, found) = check(&gnu.into_inner().unwrap()).unwrap();
    assert_eq!(found[&long], "f 1132502750 x");

    let mut pax = Builder::new(Vec::new());
    pax.append_pax_extensions([("path", long.as_bytes()), ("mtime", b"-1.5")])
        .unwrap();
    let mut header = plain_header(1);
    header.set_path("short").unwrap();
    header.set_cksum();
    pax.append(&header, &b"x"[..]).unwrap();
    let (_, found) = check(&pax.into_inner().unwrap()).unwrap();
    assert_eq!(found[&long], "f -1 x");
}

#[test]
fn two_sizes_of_one_entry_are_refused() {
    let mut pax = Builder::new(Vec::new());
    pax.append_pax_extensions([("size", &b"513"[..])]).unwrap();
    let mut header = plain_header(1);
    header.set_path("x").unwrap();
    header.set_cksum();
    pax.append(&header, &b"x"[..]).unwrap();
    assert!(matches!(
        check(&pax.into_inner().unwrap()),
        Err(ArchiveError::Entry { .. })
    ));
}

#[test]
fn a_cut_archive_is_refused() {
    let tar = tar(&[file("x", &[7; 2000])]);
    assert!(check(&tar[..1000]).is_err());
}

#[test]
fn what_is_no_archive_is_said_to_be_none() {
    for no in [&b""[..], b"hello", &[0; 4096]] {
        assert!(matches!(check(no), Err(ArchiveError::UnknownFormat)));
    }
}

type Found = BTreeMap<String, String>;

#[expect(
    clippy::unwrap_in_result,
    reason = "only what the archive is to blame for is a result"
)]
fn check(archive: &[u8]) -> Result<(Unpacked, Found), ArchiveError> {
    let outer = tempfile::tempdir().unwrap();
    let (file, into) = (outer.path().join("archive"), outer.path().join("into"));
    fs::write(&file, archive).unwrap();
    fs::create_dir(&into).unwrap();
    let result = unpack(&file, &into, LIMITS);
    let beside: Vec<_> = fs::read_dir(outer.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(
        beside.len(),
        2,
        "something was written beside the directory: {beside:?}"
    );
    let mut found = Found::new();
    look(&into, &into, &mut found);
    Ok((result?, found))
}

fn look(root: &Path, directory: &Path, found: &mut Found) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let facts = path.symlink_metadata().unwrap();
        let name = String::from_utf8_lossy(path.strip_prefix(root).unwrap().as_os_str().as_bytes())
            .into_owned();
        let says = if facts.is_dir() {
            look(root, &path, found);
            "d".to_owned()
        } else if facts.is_symlink() {
            format!("-> {}", fs::read_link(&path).unwrap().display())
        } else {
            let letter = if facts.permissions().mode() & 0o111 == 0 {
                'f'
            } else {
                'x'
            };
            format!(
                "{letter} {} {}",
                facts.mtime(),
                fs::read_to_string(&path).unwrap()
            )
        };
        found.insert(name, says);
    }
}

struct Made<'a> {
    name: &'a str,
    kind: EntryType,
    target: Option<&'a str>,
    data: &'a [u8],
}

fn file<'a>(name: &'a str, data: &'a [u8]) -> Made<'a> {
    kind(name, EntryType::Regular, None, data)
}

fn link<'a>(name: &'a str, target: &'a str) -> Made<'a> {
    kind(name, EntryType::Symlink, Some(target), b"")
}

fn kind<'a>(name: &'a str, kind: EntryType, target: Option<&'a str>, data: &'a [u8]) -> Made<'a> {
    Made {
        name,
        kind,
        target,
        data,
    }
}

/// Writes names that the crate's own builder refuses.
fn tar(entries: &[Made<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for made in entries {
        let mut header = plain_header(made.data.len() as u64);
        header.set_entry_type(made.kind);
        if made.name.len() > 100 {
            builder
                .append_pax_extensions([("path", made.name.as_bytes())])
                .unwrap();
        } else {
            header.as_mut_bytes()[..made.name.len()].copy_from_slice(made.name.as_bytes());
        }
        if let Some(target) = made.target {
            header.set_link_name_literal(target).unwrap();
        }
        header.set_cksum();
        builder.append(&header, made.data).unwrap();
    }
    builder.into_inner().unwrap()
}

fn plain_header(size_bytes: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_size(size_bytes);
    header.set_mode(0o644);
    header.set_mtime(1_132_502_750);
    header
}

fn small_tar() -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    let mut directory = plain_header(0);
    directory.set_entry_type(EntryType::Directory);
    builder
        .append_data(&mut directory, "empty/", io::empty())
        .unwrap();
    let mut hello = plain_header(5);
    hello.set_mode(0o755);
    hello.set_mtime(1_700_000_000);
    builder
        .append_data(&mut hello, "bin/hello", &b"hello"[..])
        .unwrap();
    let mut again = plain_header(0);
    again.set_entry_type(EntryType::Link);
    builder
        .append_link(&mut again, "bin/again", "bin/hello")
        .unwrap();
    let mut link = plain_header(0);
    link.set_entry_type(EntryType::Symlink);
    builder.append_link(&mut link, "link", "bin/hello").unwrap();
    builder
        .append_data(&mut plain_header(1), "./README", &b"x"[..])
        .unwrap();
    builder.into_inner().unwrap()
}
