//! `BitTorrent` clients beside us.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, ensure};
use data_encoding::HEXLOWER;
use sha1::{Digest as _, Sha1};
use zeroshare_network::{Host, Running, wait_until};

use super::{Crowd, Outcome, client_directory};
use crate::lab::find;

/// As aria2's own documentation and most publishers have it for files of this size.
const PIECE_BYTES: usize = 256 * 1024;

const TRACKER_PORT: u16 = 6_969;

/// The name of the only file.
const FILE: &str = "content";

/// The longest that a crowd of clients may take.
const PATIENCE: Duration = Duration::from_mins(5);

/// Where `cargo install` puts rqbit.
const RQBIT_ROOT: &str = "/var/tmp/zeroshare-peers/rqbit";

/// Which client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Client {
    /// aria2, of Debian.
    Aria2,
    /// rqbit, of the crate registry.
    Rqbit,
}

/// A description of one file (BEP 3).
#[derive(Debug)]
pub(crate) struct Metainfo {
    bytes: Vec<u8>,
    info_hash: String,
}

/// A tracker on a host, and the description that it knows.
#[derive(Debug)]
pub(crate) struct Torrent {
    metainfo: PathBuf,
    _tracker: Running,
}

impl Client {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Aria2 => "aria2",
            Self::Rqbit => "rqbit",
        }
    }

    /// Where it is; rqbit is installed when it is missing.
    pub(crate) fn program(self) -> Result<PathBuf> {
        match self {
            Self::Aria2 => find("aria2c").context("on Debian: apt install aria2"),
            Self::Rqbit => rqbit(),
        }
    }

    fn command(self, host: &Host, program: &Path, torrent: &Path, into: &Path) -> Command {
        let mut command = host.bare_command(program);
        match self {
            Self::Aria2 => command
                .args(ARIA2)
                .arg(format!(
                    "--on-bt-download-complete={}",
                    into.join("hook").display()
                ))
                .arg(format!("--dir={}", into.display()))
                .arg(torrent),
            Self::Rqbit => command
                .args(RQBIT)
                .arg("download")
                .arg("--overwrite")
                .arg("-o")
                .arg(into)
                .arg(torrent),
        };
        command
    }

    fn is_done(self, process: &Running, into: &Path) -> Option<SystemTime> {
        match self {
            Self::Aria2 => fs::metadata(into.join("done")).ok()?.modified().ok(),
            Self::Rqbit => {
                let log = process.log();
                let done =
                    log.contains("finished downloading") || log.contains("torrent completed");
                done.then(SystemTime::now)
            }
        }
    }
}

const ARIA2: [&str; 13] = [
    "--no-conf",
    "--seed-ratio=0.0",
    "--enable-dht=false",
    "--enable-dht6=false",
    "--enable-peer-exchange=true",
    "--bt-enable-lpd=true",
    "--bt-tracker-interval=3",
    "--bt-max-peers=64",
    "--file-allocation=none",
    "--check-integrity=true",
    "--allow-overwrite=true",
    "--console-log-level=warn",
    "--summary-interval=0",
];

const RQBIT: [&str; 7] = [
    "-v",
    "info",
    "-i",
    "3s",
    "--disable-dht",
    "--http-api-listen-addr",
    "127.0.0.1:0",
];

fn rqbit() -> Result<PathBuf> {
    let installed = Path::new(RQBIT_ROOT).join("bin/rqbit");
    if let Some(found) = find("rqbit").or_else(|| installed.is_file().then_some(installed.clone()))
    {
        return Ok(found);
    }
    eprintln!("installing rqbit from the crate registry, once");
    let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "install",
            "rqbit",
            "--version",
            "9.1.0",
            "--locked",
            "--no-default-features",
        ])
        .args(["--features", "rust-tls", "--root", RQBIT_ROOT])
        .status()?;
    ensure!(status.success(), "rqbit cannot be installed");
    Ok(installed)
}

impl Metainfo {
    /// Describes a file, with a URL that has it too (BEP 19).
    pub(crate) fn of(content: &[u8], tracker: &Host, web_seed: Option<&str>) -> Self {
        let hashes: Vec<u8> = content
            .chunks(PIECE_BYTES)
            .flat_map(|piece| Sha1::digest(piece).to_vec())
            .collect();
        let mut info = format!(
            "d6:lengthi{}e4:name{}:{FILE}12:piece lengthi{PIECE_BYTES}e6:pieces{}:",
            content.len(),
            FILE.len(),
            hashes.len()
        )
        .into_bytes();
        info.extend_from_slice(&hashes);
        info.push(b'e');
        let announce = format!("http://{}:{TRACKER_PORT}/announce", tracker.address());
        let mut bytes = format!("d8:announce{}:{announce}4:info", announce.len()).into_bytes();
        bytes.extend_from_slice(&info);
        if let Some(url) = web_seed {
            bytes.extend_from_slice(format!("8:url-list{}:{url}", url.len()).as_bytes());
        }
        bytes.push(b'e');
        Self {
            bytes,
            info_hash: HEXLOWER.encode(&Sha1::digest(&info)),
        }
    }
}

impl Torrent {
    /// Starts a tracker for it; `directory` takes its files.
    pub(crate) fn new(host: &Host, metainfo: &Metainfo, directory: &Path) -> Result<Self> {
        let home = directory.join("tracker");
        fs::create_dir_all(&home)?;
        fs::write(home.join("whitelist"), format!("{}\n", metainfo.info_hash))?;
        let path = directory.join("content.torrent");
        fs::write(&path, &metainfo.bytes)?;
        let port = TRACKER_PORT.to_string();
        let mut command = host.bare_command("opentracker");
        command
            .args([
                "-i",
                &host.address(),
                "-p",
                &port,
                "-P",
                &port,
                "-w",
                "whitelist",
                "-d",
            ])
            .arg(&home)
            .current_dir(&home);
        let tracker = host.within(|| host.spawn_command(command))?;
        let url = format!("http://{}:{port}/announce", host.address());
        let listens = wait_until("opentracker listens", Duration::from_secs(10), || {
            Ok(host
                .run("curl", &["-s", "-o", "/dev/null", &url])?
                .status
                .success())
        });
        listens.with_context(|| tracker.log())?;
        Ok(Self {
            metainfo: path,
            _tracker: tracker,
        })
    }

    /// A client that has the content, once it has checked that.
    pub(crate) fn seed(
        &self,
        client: Client,
        host: &Host,
        content: &[u8],
        base: &Path,
    ) -> Result<Running> {
        let into = client_directory(base, "seed", 0);
        fs::create_dir_all(&into)?;
        fs::write(into.join(FILE), content)?;
        let process = self.start(client, host, &into)?;
        wait_until(
            "the seed has checked its content",
            Duration::from_mins(1),
            || Ok(client.is_done(&process, &into).is_some() || knows_itself(client, &process)),
        )
        .with_context(|| process.log())?;
        Ok(process)
    }

    /// Starts clients on hosts 2 to `last` at once, and waits until all have it.
    pub(crate) fn race(
        &self,
        client: Client,
        crowd: &Crowd<'_>,
        last: u8,
        base: &Path,
    ) -> Result<Outcome> {
        let mut clients = Vec::new();
        for number in 2..=last {
            let into = client_directory(base, client.name(), number);
            fs::create_dir_all(&into)?;
            clients.push((crowd.host(number), into));
        }
        crowd.watch(|| {
            let start = SystemTime::now();
            let mut running = Vec::new();
            for (host, into) in &clients {
                running.push((self.start(client, host, into)?, into, None));
            }
            let waited = wait_until("all clients are done", PATIENCE, || {
                for (process, into, done) in &mut running {
                    *done = done.or_else(|| client.is_done(process, into));
                }
                thread::sleep(Duration::from_millis(30));
                Ok(running.iter().all(|(_, _, done)| done.is_some()))
            });
            waited.with_context(|| running[0].0.log())?;
            let done = running.iter().filter_map(|(_, _, done)| *done);
            done.map(|done| Ok(done.duration_since(start)?.as_secs_f64()))
                .collect()
        })
    }

    fn start(&self, client: Client, host: &Host, into: &Path) -> Result<Running> {
        hook(into)?;
        let command = client.command(host, &client.program()?, &self.metainfo, into);
        host.within(|| host.spawn_command(command))
    }
}

/// aria2 says by it that it is done.
fn hook(into: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let hook = into.join("hook");
    fs::write(
        &hook,
        format!("#!/bin/sh\ntouch '{}'\n", into.join("done").display()),
    )?;
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// A seed that had everything from the start need not say that it is done.
fn knows_itself(client: Client, process: &Running) -> bool {
    let log = process.log();
    match client {
        Client::Aria2 => log.contains("Verification finished successfully") || log.contains("SEED"),
        Client::Rqbit => log.contains("live") || log.contains("100.00%"),
    }
}
