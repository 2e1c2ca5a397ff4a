//! A file of a tree that lies in a store, read for those who opened it before it lay there.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// An open file of a store.
#[derive(Debug)]
pub(crate) struct Stored {
    file: File,
}

thread_local! {
    /// What was read last on this thread: filled again and again, since clearing new memory takes as long as reading.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Stored {
    pub(crate) fn new(file: File) -> Self {
        Self { file }
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Reads up to `len` bytes, less only at the end of the file, and hands them to `take`.
    ///
    /// The kernel asks for at most some megabytes at once, which each thread that it asks keeps.
    pub(crate) fn read(&self, offset: u64, len: usize, take: impl FnOnce(io::Result<&[u8]>)) {
        BUFFER.with_borrow_mut(|buffer| {
            if buffer.len() < len {
                buffer.resize(len, 0);
            }
            let read = read_at(&self.file, offset, &mut buffer[..len]);
            take(read.map(|read| &buffer[..read]));
        });
    }
}

/// Fills the buffer as far as the file reaches.
fn read_at(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_ends_with_the_file_and_nothing_of_before_is_left_in_it() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("file");
        std::fs::write(&path, b"0123456789").unwrap();
        let stored = Stored::new(File::open(path).unwrap());
        for (offset, len, expected) in [
            (0, 10, &b"0123456789"[..]),
            (2, 3, b"234"),
            (8, 100, b"89"),
            (10, 1, b""),
            (50, 1, b""),
        ] {
            stored.read(offset, len, |read| assert_eq!(read.unwrap(), expected));
        }
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        let directory = Stored::new(File::open("/").unwrap());
        directory.read(0, 1, |read| assert!(read.is_err()));
    }
}
