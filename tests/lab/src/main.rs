//! `lab-host`: the idle program that owns a simulated host's network namespace, with the few things that a story
//! needs inside an image that holds nothing else (no shell, no coreutils).

use std::{
    fs,
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::Parser;

/// Owns a simulated host.
#[derive(Debug, Parser)]
#[command(version)]
enum Command {
    /// Does nothing until it is stopped.
    Idle,
    /// Says that the host is there.
    Health,
    /// Tries to open a TCP connection, and says by its exit code whether that worked.
    Probe {
        /// Where to.
        address: SocketAddr,
    },
    /// Makes a tree of files that depends on nothing but these numbers.
    MakeTree {
        /// Where; must not exist.
        directory: PathBuf,
        /// How many files.
        #[arg(long, default_value_t = 300)]
        files: u64,
        /// How many bytes in all.
        #[arg(long, default_value_t = 20_000_000)]
        bytes: u64,
        /// Another number, another tree.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Flips one byte in the middle of a file, as a bad disk would.
    Flip {
        /// Which file.
        file: PathBuf,
    },
    /// Lists a directory, one name a line.
    List {
        /// Which directory.
        directory: PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    run(&Command::parse())
}

fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Idle => loop {
            thread::park();
        },
        Command::Health => Ok(()),
        Command::Probe { address } => {
            TcpStream::connect_timeout(address, Duration::from_secs(1))
                .with_context(|| format!("cannot reach {address}"))?;
            Ok(())
        }
        Command::MakeTree {
            directory,
            files,
            bytes,
            seed,
        } => make_tree(directory, *files, *bytes, *seed),
        Command::Flip { file } => flip(file),
        Command::List { directory } => list(directory),
    }
}

/// Makes one file of half the bytes, so that slices occur, and spreads the rest over small ones.
fn make_tree(directory: &Path, files: u64, bytes: u64, seed: u64) -> anyhow::Result<()> {
    if directory.exists() {
        bail!("{} exists", directory.display());
    }
    fs::create_dir_all(directory.join("bin"))?;
    fs::create_dir_all(directory.join("share"))?;
    let mut noise = Noise(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    fs::write(directory.join("share/large"), noise.bytes(bytes / 2)?)?;
    let small = (bytes / 2).checked_div(files).unwrap_or(0);
    for number in 0..files {
        let part = directory.join(format!("share/{:02}", number % 50));
        fs::create_dir_all(&part)?;
        fs::write(part.join(format!("file-{number}")), noise.bytes(small)?)?;
    }
    let program = directory.join("bin/hello");
    fs::write(&program, "#!/bin/sh\necho hello\n")?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    symlink("hello", directory.join("bin/hi"))?;
    Ok(())
}

fn flip(file: &Path) -> anyhow::Result<()> {
    let mode = fs::metadata(file)?.permissions();
    fs::set_permissions(file, fs::Permissions::from_mode(0o644))?;
    let mut open = fs::OpenOptions::new().read(true).write(true).open(file)?;
    let middle = open.metadata()?.len() / 2;
    let mut byte = [0];
    open.seek(SeekFrom::Start(middle))?;
    open.read_exact(&mut byte)?;
    open.seek(SeekFrom::Start(middle))?;
    open.write_all(&[!byte[0]])?;
    fs::set_permissions(file, mode)?;
    Ok(())
}

fn list(directory: &Path) -> anyhow::Result<()> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.push(entry?.file_name());
    }
    names.sort();
    let mut out = std::io::stdout();
    for name in names {
        writeln!(out, "{}", name.display())?;
    }
    Ok(())
}

/// A generator of bytes that no compressor shortens (xorshift64*, Vigna 2016).
struct Noise(u64);

impl Noise {
    fn bytes(&mut self, count: u64) -> anyhow::Result<Vec<u8>> {
        let count = usize::try_from(count)?;
        let mut out = Vec::with_capacity(count + 8);
        while out.len() < count {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            out.extend_from_slice(&self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
        }
        out.truncate(count);
        Ok(out)
    }
}
