//! What discovery keeps on disk: the node's key, and what it learnt.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use zeroshare_membership::{Memory, RememberedBan};
use zeroshare_wire::datagram::SigningKey;

/// The node's key: 32 random bytes.
const KEY_FILE: &str = "node-key";

/// What it learnt: lines of text.
const MEMORY_FILE: &str = "discovery-memory";

/// The first line of the latter.
const MEMORY_FORMAT: &str = "zeroshare discovery memory 1";

/// 64 peers and 2,048 bans of 160 bytes take less.
const MAX_MEMORY_BYTES: u64 = 512 * 1024;

/// Why the node's key is not there.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The system has no random bytes.
    #[error("the system gives no random bytes")]
    NoRandomness(#[source] getrandom::Error),
    /// It is not a key.
    #[error("{} is no node key of 32 bytes; remove it to get another", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The disk refused.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Random bytes from the system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], KeyError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(KeyError::NoRandomness)?;
    Ok(bytes)
}

/// A key that ends with the process.
pub(crate) fn key_in_memory() -> Result<SigningKey, KeyError> {
    Ok(SigningKey::from_seed(&random()?))
}

/// Reads the node's key, and makes it at the first start.
pub(crate) fn key_on_disk(state_dir: &Path) -> Result<SigningKey, KeyError> {
    let path = state_dir.join(KEY_FILE);
    let failed = |source: io::Error| KeyError::Io {
        path: path.clone(),
        source,
    };
    match read_key(&path) {
        Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        read => return read,
    }
    make_dir(state_dir).map_err(failed)?;
    let seed: [u8; 32] = random()?;
    // Two that start at once both make one; the first link counts for both.
    let suffix = u64::from_be_bytes(random()?);
    let draft = state_dir.join(format!("{KEY_FILE}.{suffix:016x}"));
    let linked = write_new(&draft, &seed).and_then(|()| fs::hard_link(&draft, &path));
    drop(fs::remove_file(&draft));
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    sync_dir(state_dir);
    read_key(&path)
}

fn read_key(path: &Path) -> Result<SigningKey, KeyError> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(33).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|source| KeyError::Io {
        path: path.to_owned(),
        source,
    })?;
    let seed: [u8; 32] = bytes.try_into().map_err(|_| KeyError::Damaged {
        path: path.to_owned(),
    })?;
    Ok(SigningKey::from_seed(&seed))
}

/// Reads what an earlier run learnt; whatever is not readable was not learnt.
pub(crate) fn load_memory(state_dir: &Path, now: SystemTime) -> Memory {
    let mut text = String::new();
    let read = File::open(state_dir.join(MEMORY_FILE))
        .and_then(|file| file.take(MAX_MEMORY_BYTES).read_to_string(&mut text));
    if read.is_err() {
        return Memory::default();
    }
    parse_memory(&text, now)
}

/// Writes what was learnt: the old file or the new one, never half of it.
pub(crate) fn save_memory(state_dir: &Path, memory: &Memory, now: SystemTime) -> io::Result<()> {
    make_dir(state_dir)?;
    let draft = state_dir.join(format!("{MEMORY_FILE}.new"));
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    write_new(&draft, format_memory(memory, now).as_bytes())?;
    fs::rename(&draft, state_dir.join(MEMORY_FILE))
}

fn parse_memory(text: &str, now: SystemTime) -> Memory {
    let mut memory = Memory::default();
    let mut lines = text.lines();
    if lines.next() != Some(MEMORY_FORMAT) {
        return memory;
    }
    for line in lines {
        let mut words = line.split(' ');
        let (kind, address) = (words.next(), words.next());
        let Some(Ok(address)) = address.map(str::parse::<SocketAddr>) else {
            continue;
        };
        match (kind, words.next().map(str::parse::<u64>)) {
            (Some("peer"), None) => memory.learnt.push(address),
            (Some("ban"), Some(Ok(end))) => {
                let ban = parse_ban(now, address, (end, words.next(), words.next()));
                memory.bans.extend(ban);
            }
            _ => {}
        }
    }
    memory
}

/// A ban's end in seconds since 1970, how often it was convicted, and for what; the last two are missing in old files.
type BanWords<'a> = (u64, Option<&'a str>, Option<&'a str>);

fn parse_ban(
    now: SystemTime,
    address: SocketAddr,
    (end, convictions, content): BanWords<'_>,
) -> Option<RememberedBan> {
    let end = UNIX_EPOCH.checked_add(Duration::from_secs(end))?;
    Some(RememberedBan {
        address,
        remaining: end.duration_since(now).unwrap_or_default(),
        over_for: now.duration_since(end).unwrap_or_default(),
        convictions: convictions.and_then(|text| text.parse().ok()).unwrap_or(1),
        content: content.and_then(|text| text.parse().ok()),
    })
}

fn format_memory(memory: &Memory, now: SystemTime) -> String {
    let peers = memory
        .learnt
        .iter()
        .map(|address| format!("peer {address}\n"));
    let bans = memory.bans.iter().filter_map(|ban| {
        let end = (now + ban.remaining).checked_sub(ban.over_for)?;
        let end = end.duration_since(UNIX_EPOCH).ok()?.as_secs();
        let content = ban.content.map(|content| content.to_string());
        let words = [Some(ban.convictions.to_string()), content];
        let words: Vec<String> = words.into_iter().flatten().collect();
        Some(format!("ban {} {end} {}\n", ban.address, words.join(" ")))
    });
    format!("{MEMORY_FORMAT}\n") + &peers.chain(bans).collect::<String>()
}

fn make_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_dir(dir: &Path) {
    // The key is there; at worst a power cut now gives the node another.
    drop(File::open(dir).and_then(|dir| dir.sync_all()));
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let key = key_on_disk(&state).unwrap();
        assert_eq!(key_on_disk(&state).unwrap().node_id(), key.node_id());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&state), mode(&state.join(KEY_FILE))), (0o700, 0o600));
        assert_eq!(fs::read_dir(&state).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_key_is_an_error_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        for bytes in [vec![7; 31], vec![7; 33], Vec::new()] {
            fs::write(dir.path().join(KEY_FILE), &bytes).unwrap();
            let error = key_on_disk(dir.path()).unwrap_err();
            assert!(matches!(error, KeyError::Damaged { .. }), "{error}");
            assert_eq!(fs::read(dir.path().join(KEY_FILE)).unwrap(), bytes);
        }
    }

    #[test]
    fn what_was_learnt_survives_and_bans_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        assert_eq!(load_memory(dir.path(), now), Memory::default());
        let memory = Memory {
            learnt: vec![
                "10.9.0.1:38339".parse().unwrap(),
                "[fe80::1%2]:5".parse().unwrap(),
            ],
            bans: vec![RememberedBan {
                address: "10.0.0.7:38339".parse().unwrap(),
                remaining: Duration::from_mins(10),
                over_for: Duration::ZERO,
                convictions: 3,
                content: Some(
                    "sha256new_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
                        .parse()
                        .unwrap(),
                ),
            }],
        };
        save_memory(dir.path(), &memory, now).unwrap();
        save_memory(dir.path(), &memory, now).unwrap();
        assert_eq!(load_memory(dir.path(), now), memory);
        let later = load_memory(dir.path(), now + Duration::from_secs(400));
        assert_eq!(later.bans[0].remaining, Duration::from_secs(200));
        let over = load_memory(dir.path(), now + Duration::from_secs(601)).bans[0];
        assert_eq!(
            (over.remaining, over.over_for),
            (Duration::ZERO, Duration::from_secs(1))
        );
        save_memory(
            dir.path(),
            &Memory {
                learnt: Vec::new(),
                bans: vec![over],
            },
            now,
        )
        .unwrap();
        assert_eq!(load_memory(dir.path(), now).bans, [over]);
    }

    #[test]
    fn a_ban_of_an_older_version_is_a_first_one() {
        let text = format!("{MEMORY_FORMAT}\nban 10.0.0.1:1 60\n");
        let memory = parse_memory(&text, UNIX_EPOCH);
        let ban = memory.bans[0];
        assert_eq!((ban.convictions, ban.content), (1, None));
        assert_eq!(ban.remaining, Duration::from_mins(1));
    }

    #[test]
    fn nonsense_on_disk_was_not_learnt() {
        let now = UNIX_EPOCH;
        let text = format!("{MEMORY_FORMAT}\npeer\nban x 7\nban 10.0.0.1:1\n\npeer 10.0.0.1:2\nx");
        assert_eq!(parse_memory(&text, now).learnt.len(), 1);
        assert!(parse_memory(&text, now).bans.is_empty());
        assert_eq!(parse_memory("peer 10.0.0.1:2", now), Memory::default());
    }
}
