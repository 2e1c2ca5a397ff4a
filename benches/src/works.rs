//! What is moved.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

pub(crate) const MIB: usize = 1 << 20;

/// A tree to move.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) tree: PathBuf,
    pub(crate) bytes: u64,
}

/// Its shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One file.
    Single,
    /// Many small files.
    Small,
    /// A toolchain: a few large files, many small ones.
    Mixed,
}

/// The name of the only file of [`Kind::Single`].
pub(crate) const SINGLE: &str = "large";

impl Work {
    /// One file.
    pub(crate) fn single(tree: &Path, mib: usize) -> Result<Self> {
        fs::create_dir_all(tree)?;
        write_noise(&tree.join(SINGLE), mib, 1)?;
        Self::of(format!("one file of {mib} MiB"), Kind::Single, tree)
    }

    /// Files of 1 to 16 KiB.
    pub(crate) fn small(tree: &Path, count: usize) -> Result<Self> {
        let bytes = noise(MIB, 2);
        for number in 0..count {
            let directory = tree.join(format!("{:03}", number / 100));
            if number % 100 == 0 {
                fs::create_dir_all(&directory)?;
            }
            let size = 1024 + number * 7919 % (15 * 1024);
            let start = number * 131 % (MIB - 16 * 1024);
            let part = bytes.get(start..start + size).context("in the noise")?;
            // No two files are equal, or one of them would not be moved.
            let content = [part, &number.to_le_bytes()].concat();
            fs::write(directory.join(format!("file-{number}")), content)?;
        }
        Self::of(format!("{count} files of 1 to 16 KiB"), Kind::Small, tree)
    }

    /// A part of this machine's own toolchain of so many files and bytes, or something of that shape.
    pub(crate) fn mixed(tree: &Path, count: usize, mib: usize) -> Result<Self> {
        fs::create_dir_all(tree)?;
        if copy_toolchain(tree, count, mib * MIB)? < count {
            made_up_toolchain(tree, count, mib * MIB)?;
        }
        let mut work = Self::of(String::new(), Kind::Mixed, tree)?;
        work.name = format!("{count} files, {} MiB, of a toolchain", work.bytes >> 20);
        Ok(work)
    }

    pub(crate) fn of(name: String, kind: Kind, tree: &Path) -> Result<Self> {
        let files = files(tree)?;
        let sizes = files
            .iter()
            .map(|file| Ok(fs::symlink_metadata(file)?.len()));
        Ok(Self {
            name,
            kind,
            tree: tree.to_owned(),
            bytes: sizes.sum::<Result<u64>>()?,
        })
    }
}

/// The share of the toolchain's bytes that is programs and libraries; the rest is many small files.
const LARGE_PERCENT: usize = 88;

/// Copies what the compiler is made of, then its documentation, until there is enough; says how many files that were.
fn copy_toolchain(tree: &Path, count: usize, bytes: usize) -> Result<usize> {
    let Some(sysroot) = sysroot() else {
        return Ok(0);
    };
    let mut left = u64::try_from(bytes / 100 * LARGE_PERCENT)?;
    let mut copied = 0;
    for (part, share) in [
        ("lib", left),
        ("bin", left),
        ("libexec", left),
        ("share", u64::MAX),
    ] {
        let part = sysroot.join(part);
        if share == u64::MAX {
            left = u64::try_from(bytes)?;
        }
        if !part.is_dir() {
            continue;
        }
        for file in files(&part)? {
            let size = fs::symlink_metadata(&file)?.len();
            if size == 0 || size > left || copied == count {
                continue;
            }
            left -= size;
            copied += 1;
            let to = tree.join(file.strip_prefix(&sysroot)?);
            fs::create_dir_all(to.parent().context("a directory")?)?;
            fs::copy(&file, to)?;
        }
    }
    Ok(copied)
}

fn sysroot() -> Option<PathBuf> {
    let output = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()
        .ok()?;
    Some(
        String::from_utf8(output.stdout)
            .ok()?
            .trim()
            .to_owned()
            .into(),
    )
}

/// A few files take most of the bytes, as in a toolchain.
fn made_up_toolchain(tree: &Path, count: usize, bytes: usize) -> Result<()> {
    fs::remove_dir_all(tree)?;
    let bin = tree.join("lib");
    fs::create_dir_all(&bin)?;
    let mut left = bytes;
    let large = 64.min(count / 2);
    for number in 0..large {
        let size = left * 3 / 10;
        fs::write(
            bin.join(format!("library-{number}")),
            noise(size, 100 + number as u64),
        )?;
        left -= size;
        if left < count * 12 * 1024 {
            break;
        }
    }
    let mean = left / count;
    for number in large..count {
        let directory = tree.join(format!("share/{:03}", number / 100));
        fs::create_dir_all(&directory)?;
        let size = mean / 4 + number * 7919 % (mean * 3 / 2 + 1);
        fs::write(
            directory.join(format!("page-{number}")),
            noise(size, 1_000 + number as u64),
        )?;
    }
    Ok(())
}

/// All regular files below a directory, sorted.
pub(crate) fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// A tar file of a tree, uncompressed.
pub(crate) fn pack(tree: &Path, tar: &Path) -> Result<()> {
    let status = Command::new("tar")
        .arg("-C")
        .arg(tree)
        .arg("-cf")
        .arg(tar)
        .arg(".")
        .status()?;
    ensure!(status.success(), "tar failed");
    Ok(())
}

/// Writes noise, however much, in parts.
pub(crate) fn write_noise(path: &Path, mib: usize, seed: u64) -> Result<()> {
    const PART_MIB: usize = 64;
    let mut file = File::create(path)?;
    let mut left = mib;
    while left > 0 {
        let part = left.min(PART_MIB);
        file.write_all(&noise(part * MIB, seed << 20 | left as u64))?;
        left -= part;
    }
    Ok(())
}

/// Bytes that no compressor shortens (xorshift64*, Vigna 2016).
pub(crate) fn noise(count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(count + 8);
    while out.len() < count {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        out.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    out.truncate(count);
    out
}
