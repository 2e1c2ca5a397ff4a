//! Reading and walking what was opened before the tree was here, once it is, beside the same tree on the disk.

use std::{
    fs::{self, File, OpenOptions},
    io::Read as _,
    os::{fd::AsFd, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{Advice, Mode, OFlags, fadvise, openat};

use super::{Reader, with_giver};
use crate::{
    book::Book,
    finding::Target,
    lab::Place,
    measure::{Contender, Contest, CpuMeter, Sample, touch},
    options::Options,
    works::{SINGLE, Work, files},
};

/// What `cat` and `cp` read at once.
const PAGE_BYTES: usize = 128 * 1024;

/// How fast reading must be, as a share of what the disk's own file system does.
const LEAST_SPEED: f64 = 0.9;

/// How long a walk may take, as a multiple of the same walk on the disk.
const LONGEST_WALK: f64 = 1.5;

/// What is done below a directory: how many files there were.
type Job = fn(&Path) -> Result<usize>;

/// Whether what is read is in the kernel's memory already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cache {
    Cold,
    Warm,
}

/// One large file: through a handle that is older than the tree, and through one that is opened later in a directory that is older.
pub(super) fn one_large_file(
    book: &mut Book<'_>,
    options: &Options,
    base: &Path,
    place: &Place,
) -> Result<()> {
    let mib = options.size(1024, 64);
    let ways = ["a handle opened before", "a directory opened before"];
    let name = |way: &str, cache: Cache| format!("{mib} MiB read through {way}, {cache:?}");
    let caches = [Cache::Cold, Cache::Warm];
    let wanted = ways
        .iter()
        .any(|way| caches.iter().any(|cache| options.wants(&name(way, *cache))));
    if !wanted {
        return Ok(());
    }
    let work = Work::single(&base.join("single"), mib)?;
    with_giver(place, &work, None, |lan, giver| {
        let reader = Reader::start(lan.host(2), "reader", place)?;
        let shown = reader.find(&giver.id)?;
        let directory = File::open(&shown)?;
        let handle = File::open(shown.join(SINGLE))?;
        // The first byte that is read brings the whole tree.
        (&handle).take(1).read_exact(&mut [0])?;
        let stored = reader.mounted.wait_until_here(&giver.id)?.join(SINGLE);
        place.settle();
        for cache in caches {
            let by_handle = name(ways[0], cache);
            if options.wants(&by_handle) {
                let ours = || read_again(&handle, cache, &stored);
                book.add(beside_the_disk(by_handle, options, ours, &stored, cache)?);
            }
        }
        // As long as one handle asks for what it reads, all of that file do.
        drop(handle);
        for cache in caches {
            let by_directory = name(ways[1], cache);
            if options.wants(&by_directory) {
                let ours = || {
                    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                    let opened = openat(&directory, SINGLE, flags, Mode::empty())?;
                    read_again(&File::from(opened), cache, &stored)
                };
                book.add(beside_the_disk(
                    by_directory,
                    options,
                    ours,
                    &stored,
                    cache,
                )?);
            }
        }
        Ok(())
    })
}

/// Many small files: walks by the mount's path, which leads into the store, and below a directory opened before.
pub(super) fn many_files(
    book: &mut Book<'_>,
    options: &Options,
    base: &Path,
    place: &Place,
) -> Result<()> {
    let count = options.size(20_000, 500);
    let jobs: [(&str, Job); 2] = [("walk", walk), ("reading", read_all)];
    let by_path = |job: &str| format!("{job} of {count} files through the mount");
    let by_directory =
        |job: &str| format!("{job} of {count} files below a directory opened before");
    if !jobs
        .iter()
        .any(|(job, _)| options.wants(&by_path(job)) || options.wants(&by_directory(job)))
    {
        return Ok(());
    }
    let work = Work::small(&base.join("small"), count)?;
    with_giver(place, &work, None, |lan, giver| {
        let reader = Reader::start(lan.host(2), "walker", place)?;
        let shown = reader.find(&giver.id)?;
        let directory = File::open(&shown)?;
        let first = files(&work.tree)?.into_iter().next().context("no files")?;
        fs::read(shown.join(first.strip_prefix(&work.tree)?))?;
        let stored = reader.mounted.wait_until_here(&giver.id)?;
        let before = PathBuf::from(format!("/proc/self/fd/{}", fd_number(&directory)));
        place.settle();
        for (job, does) in jobs {
            let most = (job == "walk").then_some(Target::AtMost(LONGEST_WALK));
            for (name, path) in [(by_path(job), &shown), (by_directory(job), &before)] {
                if !options.wants(&name) {
                    continue;
                }
                let timed = |path: &Path| -> Result<Sample> {
                    let meter = CpuMeter::start()?;
                    let found = does(path)?;
                    ensure!(found >= count, "{found} of {count} files");
                    meter.sample()
                };
                let ours = Contender::new("ours", None, |_| timed(&path.join(".")));
                let theirs = Contender::new("the same on the disk", most, |_| timed(&stored));
                book.add(
                    Contest::new(name, None, options, ours)
                        .beside(theirs)
                        .hold()?,
                );
            }
        }
        Ok(())
    })
}

fn beside_the_disk(
    name: String,
    options: &Options,
    mut ours: impl FnMut() -> Result<Sample>,
    stored: &Path,
    cache: Cache,
) -> Result<Vec<crate::finding::Finding>> {
    let ours = Contender::new("ours", None, move |_| ours());
    let least = Some(Target::AtLeast(LEAST_SPEED));
    let theirs = Contender::new("the same on the disk", least, |_| {
        read_again(&File::open(stored)?, cache, stored)
    });
    Contest::new(name, None, options, ours)
        .unit("GB/s")
        .beside(theirs)
        .hold()
}

/// Reads a file from its beginning to its end: GB/s.
fn read_again(handle: &File, cache: Cache, stored: &Path) -> Result<Sample> {
    let bytes = fs::metadata(stored)?.size();
    touch(256 << 20);
    match cache {
        Cache::Cold => {
            forget(handle)?;
            // What the kernel holds of the file below counts as well.
            forget(OpenOptions::new().read(true).open(stored)?)?;
        }
        Cache::Warm => drop(read(handle, bytes)?),
    }
    read(handle, bytes)
}

fn read(handle: &File, bytes: u64) -> Result<Sample> {
    let mut page = vec![0; PAGE_BYTES];
    let mut done: u64 = 0;
    let meter = CpuMeter::start()?;
    while done < bytes {
        let read = rustix::io::pread(handle, &mut page, done)?;
        ensure!(read > 0, "the file ends at {done}");
        done += u64::try_from(read)?;
    }
    let mut sample = meter.sample()?;
    sample.value = bytes as f64 / sample.value / 1e9;
    Ok(sample)
}

/// Has the kernel forget what it holds of a file.
fn forget(file: impl AsFd) -> Result<()> {
    Ok(fadvise(file, 0, None, Advice::DontNeed)?)
}

/// Looks at everything below a directory, and counts what is no directory.
fn walk(directory: &Path) -> Result<usize> {
    let mut count = 0;
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            // As find and rsync do, whatever the directory said.
            if fs::symlink_metadata(&path)?.is_dir() {
                open.push(path);
            } else {
                count += 1;
            }
        }
    }
    Ok(count)
}

fn read_all(directory: &Path) -> Result<usize> {
    let all = files(directory)?;
    for file in &all {
        std::hint::black_box(fs::read(file)?);
    }
    Ok(all.len())
}

fn fd_number(file: &File) -> i32 {
    std::os::fd::AsRawFd::as_raw_fd(file)
}
