//! Finding out what lies in the stores, and whether shared files are still there.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use zeroshare_content::{ContentId, Entry, TreeId};

use super::catalogue::{CopyPlace, HeldCopy};
use super::{OpenError, Shelf, ShelfEvent};
use crate::beneath::{Beneath, Identity};
use crate::index::{IndexError, TreeKey, TreeRecord, TreeSizes, TreeState};
use crate::mounts::is_own_mount;
use crate::stamp::Stamp;

/// Midstates under which anything was sent are kept for 60 s; twice that, since peers' clocks differ.
const KEPT_WHEN_GONE: Duration = Duration::from_mins(2);

/// The directories of one store that are named like trees.
type Listing = BTreeMap<String, (TreeId, Identity)>;

impl Shelf {
    /// Compares the stores and the shared files with what is known of them. Reads names and stamps only.
    pub fn rescan(&self, now: SystemTime) -> Result<(), IndexError> {
        let mut seen = Vec::new();
        for root in 0..self.roots.len() {
            let listing = match self.list_root(root, &mut seen) {
                Ok(listing) => listing,
                Err(error) if error.kind() == io::ErrorKind::NotFound => Listing::new(),
                Err(error) => {
                    tracing::warn!(store = %self.root_path(root).display(), %error, "cannot read store, and keeps what is known of it");
                    continue;
                }
            };
            self.compare_root(root, &listing, now)?;
        }
        self.look_at_files(now)?;
        self.index
            .purge_gone(now.checked_sub(KEPT_WHEN_GONE).unwrap_or(now))?;
        let has_work = self.catalogue().all().any(|(_, copy)| copy.waits());
        if has_work {
            self.tell(ShelfEvent::Work);
        }
        Ok(())
    }

    /// Lists a store; one that was listed under another path already counts as empty, and so does one that we show ourselves.
    fn list_root(&self, root: usize, seen: &mut Vec<Identity>) -> io::Result<Listing> {
        if is_own_mount(self.root_path(root)) {
            return Ok(Listing::new());
        }
        let opened = Beneath::open(self.root_path(root))?;
        let identity = opened.identity()?;
        if seen.contains(&identity) {
            return Ok(Listing::new());
        }
        seen.push(identity);
        let mut listing = Listing::new();
        for name in opened.names()? {
            let Some(id) = TreeId::from_directory_name(&name) else {
                continue;
            };
            // A symbolic link may lead anywhere; 0install follows it, nothing is served through it.
            let Some(directory) = opened.directory_identity(Path::new(OsStr::from_bytes(&name)))?
            else {
                continue;
            };
            if let Ok(name) = String::from_utf8(name) {
                listing.insert(name, (id, directory));
            }
        }
        Ok(listing)
    }

    /// Takes in what lies in one store now.
    fn compare_root(
        &self,
        root: usize,
        listing: &Listing,
        now: SystemTime,
    ) -> Result<(), IndexError> {
        let known = self.known_in(root);
        for (name, (id, known_identity, copy)) in &known {
            match listing.get(name) {
                None => self.take_away(id, copy, now)?,
                Some((_, identity)) if identity != known_identity => {
                    let place = tree_place(root, name, *identity);
                    self.set_unverified(
                        id,
                        &HeldCopy {
                            place,
                            ..copy.clone()
                        },
                    )?;
                }
                Some(_) => {}
            }
        }
        if listing.keys().any(|name| !known.contains_key(name)) || known.is_empty() {
            let mut records: BTreeMap<String, (TreeKey, TreeRecord)> = self
                .index
                .trees(self.root_path(root))?
                .into_iter()
                .map(|(key, record)| (record.name.clone(), (key, record)))
                .collect();
            records.retain(|name, _| !known.contains_key(name));
            for (name, (id, identity)) in listing {
                if !known.contains_key(name) {
                    let record = match records.remove(name) {
                        Some(record) => Some(record),
                        None => self.revive(root, name, (*id, *identity))?,
                    };
                    self.take_in(root, name, (*id, *identity), record);
                }
            }
            for (key, _) in records.into_values() {
                self.index.set_gone(key, now)?;
            }
        }
        Ok(())
    }

    /// What is known of one store: its directories by name, and which they were.
    fn known_in(&self, root: usize) -> BTreeMap<String, (ContentId, Identity, HeldCopy)> {
        let catalogue = self.catalogue();
        let known = catalogue.all().filter_map(|(id, copy)| match &copy.place {
            CopyPlace::Tree {
                root: of,
                name,
                identity,
            } if *of == root => Some((name.clone(), (*id, *identity, copy.clone()))),
            CopyPlace::Tree { .. } | CopyPlace::File { .. } => None,
        });
        known.collect()
    }

    /// Takes up again what is known of a tree that was gone, and came back with every file as it was.
    fn revive(
        &self,
        root: usize,
        name: &str,
        (id, identity): (TreeId, Identity),
    ) -> Result<Option<(TreeKey, TreeRecord)>, IndexError> {
        let Some((key, record)) = self.index.tree(self.root_path(root), name)? else {
            return Ok(None);
        };
        let copy = HeldCopy {
            key: Some(key),
            state: record.state.clone(),
            sizes: record.sizes,
            ..HeldCopy::found(tree_place(root, name, identity))
        };
        if !copy.is_verified() || !self.is_untouched(&id.into(), &copy, key)? {
            return Ok(None);
        }
        self.index.set_present(key)?;
        Ok(Some((key, record)))
    }

    /// Whether every file of a tree is the one that was hashed.
    fn is_untouched(
        &self,
        id: &ContentId,
        copy: &HeldCopy,
        key: TreeKey,
    ) -> Result<bool, IndexError> {
        let source = match self.open_copy(id, copy, key) {
            Ok(source) => source,
            Err(OpenError::Index(error)) => return Err(error),
            Err(_) => return Ok(false),
        };
        let stamps: BTreeMap<u32, Stamp> = self
            .index
            .files(key, 0..=u32::MAX)?
            .into_iter()
            .map(|file| (file.line, file.stamp))
            .collect();
        let mut lines = source.manifest().lines().iter().zip(0_u32..);
        Ok(lines.all(|(line, number)| match line.entry {
            Entry::File { .. } => {
                let file = source.dir.file(line.path.as_path());
                let found = file.and_then(|file| Ok(Stamp::of(&file.metadata()?))).ok();
                found.is_some() && found.as_ref() == stamps.get(&number)
            }
            Entry::Directory | Entry::Symlink { .. } => true,
        }))
    }

    fn take_in(
        &self,
        root: usize,
        name: &str,
        (id, identity): (TreeId, Identity),
        record: Option<(TreeKey, TreeRecord)>,
    ) {
        let place = tree_place(root, name, identity);
        self.take_in_copy(id.into(), place, record);
    }

    pub(super) fn take_in_copy(
        &self,
        id: ContentId,
        place: CopyPlace,
        record: Option<(TreeKey, TreeRecord)>,
    ) {
        let (key, state, sizes) = match record {
            // What was not synced under another boot may be lost, whatever the names say.
            Some((
                key,
                TreeRecord {
                    boot: Some(boot),
                    sizes,
                    ..
                },
            )) if boot != self.boot => (Some(key), TreeState::Unverified, sizes),
            Some((key, record)) => (Some(key), record.state, record.sizes),
            None => (None, TreeState::Unverified, TreeSizes::default()),
        };
        let copy = HeldCopy {
            key,
            state,
            sizes,
            ..HeldCopy::found(place)
        };
        self.catalogue().put(id, copy);
        self.tell(ShelfEvent::Changed(id));
    }

    pub(super) fn take_away(
        &self,
        id: &ContentId,
        copy: &HeldCopy,
        now: SystemTime,
    ) -> Result<(), IndexError> {
        if let Some(key) = copy.key {
            self.open_trees().forget(key);
            self.index.set_gone(key, now)?;
        }
        self.catalogue().remove(id, &copy.place);
        self.tell(ShelfEvent::Changed(*id));
        Ok(())
    }

    /// Trusts a copy no more until it was hashed again.
    pub(super) fn set_unverified(&self, id: &ContentId, copy: &HeldCopy) -> Result<(), IndexError> {
        if let Some(key) = copy.key {
            self.open_trees().forget(key);
            self.index.set_state(key, &TreeState::Unverified)?;
        }
        self.catalogue().put(
            *id,
            HeldCopy {
                state: TreeState::Unverified,
                ..copy.clone()
            },
        );
        self.tell(ShelfEvent::Changed(*id));
        self.tell(ShelfEvent::Work);
        Ok(())
    }
}

fn tree_place(root: usize, name: &str, identity: Identity) -> CopyPlace {
    CopyPlace::Tree {
        root,
        name: name.to_owned(),
        identity,
    }
}
