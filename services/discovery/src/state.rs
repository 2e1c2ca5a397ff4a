//! What discovery keeps on disk beside the node's key: what it learnt.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    net::SocketAddr,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use zeroshare_identity::private::{make_dir, write_new};
use zeroshare_membership::{Memory, RememberedBan};

/// What it learnt: lines of text.
const MEMORY_FILE: &str = "discovery-memory";

/// The first line of the latter.
const MEMORY_FORMAT: &str = "zeroshare discovery memory 1";

/// 64 peers and 2,048 bans of 160 bytes take less.
const MAX_MEMORY_BYTES: u64 = 512 * 1024;

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

#[cfg(test)]
mod tests {
    use super::*;

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
