//! How the kernel reads each file that is open: it asks us, or reads the stored file by itself.
//!
//! It takes one way for all handles of a file, and refuses to open another one otherwise. So the way is chosen when a file that
//! nobody has open is opened, and stays until all have closed it: a handle that was opened before its tree was here in full
//! goes on asking.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The way of one file.
#[derive(Debug)]
pub(crate) enum Way<B> {
    /// The kernel asks us for what its cache lacks.
    Asked,
    /// The kernel reads the stored file that this stands for, and us no more.
    Passed(Arc<B>),
}

/// The ways of all files that are open, by their inodes; `B` is what the kernel knows a stored file by.
#[derive(Debug)]
pub(crate) struct Ways<B> {
    is_allowed: bool,
    /// With how many handles have it open.
    by_inode: BTreeMap<u64, (Way<B>, u64)>,
}

/// Why a stored file cannot be handed to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// This one cannot, another one may.
    File,
    /// None can: this process may not.
    All,
}

impl<B> Ways<B> {
    /// Takes note that the kernel can read stored files by itself.
    pub(crate) fn allow(&mut self) {
        self.is_allowed = true;
    }

    /// Chooses the way of a new handle; `hand_over` gives the stored file to the kernel, where there is one.
    pub(crate) fn open(
        &mut self,
        inode: u64,
        hand_over: Option<impl FnOnce() -> Result<B, Refusal>>,
    ) -> Way<B> {
        if let Some((way, handles)) = self.by_inode.get_mut(&inode) {
            *handles += 1;
            return way.clone();
        }
        let handed = hand_over.filter(|_| self.is_allowed).map(|hand| hand());
        self.is_allowed &= !matches!(handed, Some(Err(Refusal::All)));
        let way = match handed {
            Some(Ok(stored)) => Way::Passed(Arc::new(stored)),
            Some(Err(_)) | None => Way::Asked,
        };
        self.by_inode.insert(inode, (way.clone(), 1));
        way
    }

    /// Takes note that a handle was closed; the last one lets go of the stored file.
    pub(crate) fn close(&mut self, inode: u64) {
        if let Some((_, handles)) = self.by_inode.get_mut(&inode) {
            *handles -= 1;
            if *handles == 0 {
                self.by_inode.remove(&inode);
            }
        }
    }
}

impl<B> Default for Ways<B> {
    fn default() -> Self {
        Self {
            is_allowed: false,
            by_inode: BTreeMap::new(),
        }
    }
}

// Not derived, since what it stands for need not be cloned.
impl<B> Clone for Way<B> {
    fn clone(&self) -> Self {
        match self {
            Self::Asked => Self::Asked,
            Self::Passed(stored) => Self::Passed(stored.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: u64 = 7;

    #[test]
    fn whoever_opens_a_stored_file_first_has_the_kernel_read_it() {
        let mut ways = allowed();
        assert_eq!(open(&mut ways, FILE, Some(Ok(1))), Some(1));
        assert_eq!(open(&mut ways, FILE, Some(Ok(2))), Some(1), "one for all");
        ways.close(FILE);
        assert_eq!(open(&mut ways, FILE, None), Some(1));
        ways.close(FILE);
        ways.close(FILE);
        assert_eq!(open(&mut ways, FILE, Some(Ok(3))), Some(3));
    }

    #[test]
    fn who_asked_before_goes_on_asking_and_so_do_all_who_join() {
        let mut ways = allowed();
        assert_eq!(open(&mut ways, FILE, None), None);
        assert_eq!(open(&mut ways, FILE, Some(Ok(1))), None);
        assert_eq!(open(&mut ways, FILE + 1, Some(Ok(1))), Some(1), "another");
        ways.close(FILE);
        ways.close(FILE);
        assert_eq!(open(&mut ways, FILE, Some(Ok(2))), Some(2));
        ways.close(FILE);
        ways.close(FILE);
        assert_eq!(ways.by_inode.len(), 1, "closed too often does no harm");
    }

    #[test]
    fn a_kernel_that_refuses_is_not_asked_again_unless_it_was_about_one_file() {
        let mut ways = Ways::default();
        assert_eq!(open(&mut ways, FILE, Some(Ok(1))), None, "not allowed");
        let mut ways = allowed();
        assert_eq!(open(&mut ways, 1, Some(Err(Refusal::File))), None);
        assert_eq!(open(&mut ways, 2, Some(Ok(2))), Some(2));
        assert_eq!(open(&mut ways, 3, Some(Err(Refusal::All))), None);
        assert_eq!(open(&mut ways, 4, Some(Ok(4))), None);
        assert_eq!(open(&mut ways, 2, Some(Ok(5))), Some(2), "is open");
    }

    fn allowed() -> Ways<u8> {
        let mut ways = Ways::default();
        ways.allow();
        ways
    }

    /// Opens a file; `stored` is what the kernel says when it is handed the stored file, if there is one.
    fn open(ways: &mut Ways<u8>, inode: u64, stored: Option<Result<u8, Refusal>>) -> Option<u8> {
        match ways.open(inode, stored.map(|stored| move || stored)) {
            Way::Asked => None,
            Way::Passed(stored) => Some(*stored),
        }
    }
}
