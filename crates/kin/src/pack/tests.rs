use std::collections::BTreeMap;

use flate2::read::GzDecoder;
use zeroshare_content::{Algorithm, BlobId, Entry, HashKind, Name};
use zeroshare_testkit::{TestEntry, TestTree};
use zip::extra_fields::ExtraField;

use super::*;

/// The contents of a tree in memory, of which some lines cannot be read.
struct InMemory<'t> {
    tree: &'t TestTree,
    manifest: &'t Manifest,
    broken_line: Option<u32>,
}

impl Contents for InMemory<'_> {
    fn read(&mut self, line: u32, offset: u64, into: &mut [u8]) -> io::Result<()> {
        if self.broken_line == Some(line) {
            return Err(io::Error::other("broken"));
        }
        let path = &self.manifest.lines()[line as usize].path;
        let bytes = match self.tree.at(path.as_bytes()).unwrap() {
            TestEntry::Directory => panic!("directories have no bytes"),
            TestEntry::File { bytes, .. } => bytes.to_vec(),
            TestEntry::Symlink { target } => target.clone(),
        };
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        into.copy_from_slice(&bytes[offset..offset + into.len()]);
        Ok(())
    }
}

/// Takes so many bytes, and then no more.
struct Narrow {
    room: usize,
    taken: Vec<u8>,
}

impl Write for Narrow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fitting = bytes.len().min(self.room - self.taken.len());
        self.taken.extend_from_slice(&bytes[..fitting]);
        if fitting == 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(fitting)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A tree with all that is hard to write down.
fn hard(tree: TestTree) -> TestTree {
    let long = "long/".repeat(40);
    let name = "n".repeat(255);
    tree.symlink("kept as it is", "a/./b//c/")
        .symlink("long target", "../".repeat(50) + "x")
        .symlink(format!("{long}link"), "t".repeat(100))
        .symlink("just too long", "t".repeat(101))
        .file(format!("{long}{name}"), "deep")
        .directory(format!("{long}empty"))
}

fn packed(tree: &TestTree, format: Format) -> Result<Vec<u8>, PackError> {
    let manifest = tree.manifest(Algorithm::Sha256New);
    let mut contents = InMemory {
        tree,
        manifest: &manifest,
        broken_line: None,
    };
    let mut archive = Vec::new();
    pack(&manifest, format, &mut contents, &mut archive)?;
    Ok(archive)
}

/// What a tree consists of, in words.
fn described(tree: &TestTree) -> BTreeMap<Vec<u8>, String> {
    let manifest = tree.manifest(Algorithm::Sha256New);
    let describe = |line: &zeroshare_content::Line| match line.entry {
        Entry::Directory => "d".to_owned(),
        Entry::File {
            executable,
            mtime,
            blob,
            ..
        } => format!("f {executable} {mtime} {blob}"),
        Entry::Symlink { blob, .. } => format!("l {blob}"),
    };
    let lines = manifest.lines().iter();
    lines
        .map(|line| (line.path.as_bytes().to_vec(), describe(line)))
        .collect()
}

fn hashed(mut from: impl io::Read) -> BlobId {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    BlobId::of(HashKind::Sha256, &bytes)
}

fn read_tar(archive: impl io::Read) -> io::Result<BTreeMap<Vec<u8>, String>> {
    let mut found = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let name = entry.path_bytes().into_owned();
        let header = entry.header();
        let kind = header.entry_type();
        let what = if kind.is_dir() {
            "d".to_owned()
        } else if kind.is_symlink() {
            let target = entry.link_name_bytes().unwrap();
            format!("l {}", BlobId::of(HashKind::Sha256, &target))
        } else {
            assert!(kind.is_file(), "{kind:?}");
            let (executable, mtime) = (header.mode()? & 0o111 != 0, header.mtime()?);
            format!("f {executable} {mtime} {}", hashed(&mut entry))
        };
        assert!(found.insert(name, what).is_none(), "twice");
    }
    Ok(found)
}

fn read_zip(archive: Vec<u8>) -> Result<BTreeMap<Vec<u8>, String>, zip::result::ZipError> {
    let mut archive = zip::ZipArchive::new(io::Cursor::new(archive))?;
    let mut found = BTreeMap::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index)?;
        let name = entry.name()?.trim_end_matches('/').as_bytes().to_vec();
        let mode = entry.unix_mode().unwrap();
        let mtime = entry.extra_data_fields().find_map(|field| {
            let ExtraField::ExtendedTimestamp(times) = field else {
                return None;
            };
            times.mod_time()
        });
        let what = if entry.is_dir() {
            "d".to_owned()
        } else if entry.is_symlink() {
            format!("l {}", hashed(&mut entry))
        } else {
            let mtime = mtime.unwrap().cast_signed();
            format!("f {} {mtime} {}", mode & 0o111 != 0, hashed(&mut entry))
        };
        assert!(found.insert(name, what).is_none(), "twice");
    }
    Ok(found)
}

#[test]
fn a_tar_archive_has_all_that_the_tree_has() {
    let tree = hard(TestTree::with_slices(1)).file(b"not UTF-8: \xff\\", "x");
    let archive = packed(&tree, Format::Tar).unwrap();
    assert_eq!(read_tar(&archive[..]).unwrap(), described(&tree));
    let archive = packed(&tree, Format::TarGz).unwrap();
    assert_eq!(
        read_tar(GzDecoder::new(&archive[..])).unwrap(),
        described(&tree)
    );
    let empty = packed(&TestTree::new(), Format::Tar).unwrap();
    assert!(read_tar(&empty[..]).unwrap().is_empty() && empty.len() == 1024);
}

#[test]
fn a_zip_archive_has_all_that_the_tree_has() {
    for tree in [hard(TestTree::with_slices(1)), TestTree::new()] {
        let archive = packed(&tree, Format::Zip).unwrap();
        assert_eq!(read_zip(archive).unwrap(), described(&tree));
    }
}

#[test]
fn times_beyond_the_usual_ones_are_kept_or_refused() {
    let name = Name::new(*b"x").unwrap();
    let blob = BlobId::of(HashKind::Sha256, b"");
    let mut nothing = InMemory {
        tree: &TestTree::new(),
        manifest: &TestTree::new().manifest(Algorithm::Sha256New),
        broken_line: None,
    };
    for (mtime, fits_zip) in [
        (-1, true),
        (i64::from(i32::MIN), true),
        (i64::from(i32::MAX), true),
        (i64::from(i32::MAX) + 1, false),
        (1 << 40, false),
        (-(1 << 40), false),
    ] {
        let manifest = Manifest::of_one_file(&name, blob, 0, mtime).unwrap();
        let mut archive = Vec::new();
        pack(&manifest, Format::Tar, &mut nothing, &mut archive).unwrap();
        let mut archive = tar::Archive::new(&archive[..]);
        let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
        let exact = entry.pax_extensions().unwrap().map(|mut records| {
            let record = records.next().unwrap().unwrap();
            record.value().unwrap().parse().unwrap()
        });
        let header = entry.header().mtime().unwrap().cast_signed();
        assert_eq!(exact.unwrap_or(header), mtime);
        let mut archive = Vec::new();
        let packed = pack(&manifest, Format::Zip, &mut nothing, &mut archive);
        assert_eq!(packed.is_ok(), fits_zip, "{mtime}");
        assert_eq!(fits(&manifest, Format::Zip).is_ok(), fits_zip);
        if fits_zip {
            let found = read_zip(archive).unwrap();
            assert_eq!(found[&b"x"[..]], format!("f false {mtime} {blob}"));
        }
    }
}

#[test]
fn names_that_mean_something_else_in_zip_are_refused_there() {
    for name in [&b"a\\b"[..], b"\xff"] {
        let tree = TestTree::new().file(name, "x");
        let refused = packed(&tree, Format::Zip).unwrap_err();
        assert!(matches!(refused, PackError::Unfit(Unfit::Name { .. })));
    }
}

#[test]
fn an_archive_of_a_tree_that_cannot_be_read_is_not_whole() {
    let tree = hard(TestTree::small());
    let manifest = tree.manifest(Algorithm::Sha256New);
    let lines = manifest.lines().iter().zip(0..);
    let readable = lines.filter(|(line, _)| line.entry != Entry::Directory);
    for (_, broken) in readable {
        for format in [Format::Tar, Format::TarGz, Format::Zip] {
            let mut contents = InMemory {
                tree: &tree,
                manifest: &manifest,
                broken_line: Some(broken),
            };
            let mut archive = Vec::new();
            let packed = pack(&manifest, format, &mut contents, &mut archive);
            if packed.is_ok() {
                // An empty file needs no reading.
                continue;
            }
            assert!(matches!(packed, Err(PackError::Contents(_))), "{packed:?}");
            assert!(!is_whole(format, archive), "{format:?} {broken}");
        }
    }
}

#[test]
fn an_archive_that_nobody_takes_ends_where_they_stopped() {
    let tree = hard(TestTree::small());
    for format in [Format::Tar, Format::TarGz, Format::Zip] {
        let size = packed(&tree, format).unwrap().len();
        let manifest = tree.manifest(Algorithm::Sha256New);
        for room in [0, 1, 600, size / 2, size - 1] {
            let mut contents = InMemory {
                tree: &tree,
                manifest: &manifest,
                broken_line: None,
            };
            let taken = Vec::new();
            let mut narrow = Narrow { room, taken };
            let packed = pack(&manifest, format, &mut contents, &mut narrow);
            assert!(matches!(packed, Err(PackError::Write(_))), "{packed:?}");
            assert!(!is_whole(format, narrow.taken), "{format:?} {room}");
        }
    }
}

/// Whether an archive has its end.
fn is_whole(format: Format, archive: Vec<u8>) -> bool {
    match format {
        Format::Tar => archive.ends_with(&[0; 1024]) && archive.len().is_multiple_of(512),
        Format::TarGz => io::copy(&mut GzDecoder::new(&archive[..]), &mut io::sink()).is_ok(),
        Format::Zip => read_zip(archive).is_ok(),
    }
}
