//! Bytes from one machine's page cache to another's memory, and no further.

mod bulk;
mod pieces;
mod rpc;
mod settings;

use std::{
    env, fs,
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroshare_content::{BlobId, HashKind, Layout};
use zeroshare_network::{Host, Lan, Running, wait_until};

pub(crate) use self::{
    bulk::{ReadBulk, ServeBulk},
    pieces::ReadPieces,
};
use self::{pieces::Reading, settings::Settings};
use crate::{
    book::Book,
    finding::{Target, plain},
    lab::{Nginx, Node, Place, Seat, congestion, cubic, limit, need},
    measure::{Contender, Contest, CpuMeter, Sample, median, touch},
    options::Options,
    works::{MIB, SINGLE, Work},
};

const BULK_PORT: u16 = 9_124;

const STORE_PORT: u16 = 38_339;

/// Settings of the transfer benchmark.
#[derive(Debug, Clone, Args)]
pub(crate) struct Transfer {
    /// Rates of the sender's link in Mbit/s; 0: no limit.
    #[arg(long, value_delimiter = ',', default_values_t = [0, 10_000, 1_000])]
    mbit: Vec<u32>,
    /// Leave out the table of settings.
    #[arg(long)]
    no_settings: bool,
    /// Send from a node of a group: over TLS that proves both ends; the others as they are.
    #[arg(long)]
    group_secret: bool,
}

/// What a client got; it prints that as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Moved {
    bytes: u64,
    seconds: f64,
}

/// Two hosts, and one file that the first sends in all ways.
struct Stage<'a> {
    from: &'a Host,
    reader: Seat<'a>,
    id: String,
    file: PathBuf,
    nginx: Nginx,
    bytes: u64,
    /// Where the secret of the sender's group lies.
    secret: Option<PathBuf>,
    _node: Node,
}

impl Moved {
    #[expect(clippy::unnecessary_wraps, reason = "the last step of a program")]
    fn print(&self) -> Result<()> {
        println!("{{\"bytes\":{},\"seconds\":{}}}", self.bytes, self.seconds);
        Ok(())
    }
}

impl Transfer {
    pub(crate) fn run(&self, options: &Options) -> Result<()> {
        need(&["ip", "nginx", "curl", "iperf3"])?;
        let mut book = Book::open("transfer", options)?;
        let lan = Lan::new(2)?;
        let mib = options.size(1024, 64);
        let stage = Stage::new(&lan, mib, self.group_secret)?;
        book.fact(format!(
            "{mib} MiB from the page cache to memory, one stream, veth; GB/s as each client measures it from connecting to the last byte; CPU \
             seconds are of the whole machine, both ends."
        ));
        for mbit in &self.mbit {
            let group = if self.group_secret {
                ", in a group"
            } else {
                ""
            };
            let name = match mbit {
                0 => format!("{mib} MiB to memory{group}"),
                mbit => format!("{mib} MiB to memory{group}, {mbit} Mbit/s"),
            };
            if !options.wants(&name) {
                continue;
            }
            if *mbit > 0 {
                limit(lan.host(1), *mbit)?;
            }
            book.add(stage.contest(&name, *mbit, options).hold()?);
            crate::lab::unlimit(lan.host(1))?;
        }
        if !self.no_settings && options.wants("settings") {
            let rows = stage.settings_table(options)?;
            book.table("What each setting of plain tonic does", rows);
            let rows = stage.readers_table(options)?;
            book.table("Our own sender, read in several ways", rows);
        }
        book.close()
    }
}

impl<'a> Stage<'a> {
    fn new(lan: &'a Lan, mib: usize, in_group: bool) -> Result<Self> {
        for host in lan.hosts() {
            cubic(host)?;
        }
        let directory = Place::tmpfs()?.fresh()?;
        let work = Work::single(&directory.join("tree"), mib)?;
        let giver = Seat::new(lan.host(1), "giver", &directory.join("giver"))?;
        let secret = in_group.then(|| make_secret(&directory)).transpose()?;
        let word = secret
            .as_ref()
            .map(|secret| format!("--group-secret={}", secret.display()));
        let words: Vec<&str> = word.iter().map(String::as_str).collect();
        let node = giver.node(&words)?;
        let id = giver.run(giver.zeroshare(&["add", &work.tree.to_string_lossy()])?)?;
        giver.wait_until_offered(1, Duration::from_mins(2))?;
        Ok(Self {
            from: lan.host(1),
            reader: Seat::new(lan.host(2), "reader", &directory.join("reader"))?,
            nginx: Nginx::start(lan.host(1), &work.tree)?,
            file: work.tree.join(SINGLE),
            bytes: (mib * MIB) as u64,
            id,
            secret,
            _node: node,
        })
    }

    fn contest(&self, name: &str, mbit: u32, options: &Options) -> Contest<'_> {
        let least = |least: f64| Some(Target::AtLeast(least));
        let ours = Contender::new("zeroshare", None, |_| self.pieces(&Reading::default()));
        let nginx_target = if mbit == 1_000 { None } else { least(0.9) };
        let contest = Contest::new(name, 4, options, ours)
            .unit("GB/s")
            .beside(Contender::new("nginx → curl", nginx_target, |_| {
                self.curl()
            }));
        if mbit == 0 {
            let usual = Settings::usual();
            let plain = move |_| self.tonic(&usual);
            return contest.beside(Contender::new("tonic, all default", least(3.0), plain));
        }
        let target = (mbit == 1_000).then_some(Target::AtLeast(0.99));
        contest.beside(Contender::new("iperf3", target, |_| self.iperf()))
    }

    fn pieces(&self, how: &Reading) -> Result<Sample> {
        let address = format!("{}:{STORE_PORT}", self.from.address());
        let layout = Layout::of_blob(BlobId::of(HashKind::Sha256, b"any"), self.bytes)?;
        let pieces = layout.piece_count().to_string();
        let mut words = vec!["read-pieces".to_owned(), address, self.id.clone(), pieces];
        words.extend(how.words());
        if let Some(secret) = &self.secret {
            words.push(format!("--group-secret={}", secret.display()));
        }
        self.client(&words)
    }

    fn curl(&self) -> Result<Sample> {
        let url = self.nginx.url(SINGLE);
        let format = "{\"bytes\":%{size_download},\"seconds\":%{time_total}}";
        let curl = self
            .reader
            .command("curl", &["-sS", "-o", "/dev/null", "-w", format, &url]);
        self.moved(curl)
    }

    /// Starts a server of its own for these settings.
    fn tonic(&self, settings: &Settings) -> Result<Sample> {
        let address = format!("{}:{BULK_PORT}", self.from.address());
        let _server = self.serve_bulk(&address, settings)?;
        let mut words = vec!["read-bulk".to_owned(), address];
        words.extend(settings.words());
        self.client(&words)
    }

    fn serve_bulk(&self, address: &str, settings: &Settings) -> Result<Running> {
        let mut command = self.from.bare_command(env::current_exe()?);
        command
            .args(["serve-bulk", address])
            .arg(&self.file)
            .args(settings.words());
        let server = self.from.within(|| self.from.spawn_command(command))?;
        let target: SocketAddr = address.parse()?;
        let listens = wait_until("plain tonic listens", Duration::from_secs(10), || {
            let connect =
                || Ok(TcpStream::connect_timeout(&target, Duration::from_secs(1)).is_ok());
            self.from.within(connect)
        });
        listens.with_context(|| server.log())?;
        Ok(server)
    }

    fn iperf(&self) -> Result<Sample> {
        let reader = self.reader.host;
        let mut listening = reader.bare_command("iperf3");
        listening.args(["-s", "-1", "--forceflush"]);
        let server = reader.within(|| reader.spawn_command(listening))?;
        wait_until("iperf3 listens", Duration::from_secs(10), || {
            Ok(server.log().contains("listening"))
        })?;
        let mut client = self.from.bare_command("iperf3");
        client
            .args(["-J", "-C", "cubic", "-c", &reader.address(), "-n"])
            .arg(self.bytes.to_string());
        touch(64 << 20);
        self.from.within(|| {
            let meter = CpuMeter::start()?;
            let output = client.output()?;
            let mut sample = meter.sample()?;
            ensure!(output.status.success(), "iperf3: {}", output.status);
            let said: Value = serde_json::from_slice(&output.stdout)?;
            let rate = said["end"]["sum_received"]["bits_per_second"].as_f64();
            sample.value = rate.context("iperf3 names no rate")? / 8e9;
            Ok(sample)
        })
    }

    /// A client of this program.
    fn client(&self, words: &[String]) -> Result<Sample> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let program: &Path = &env::current_exe()?;
        self.moved(self.reader.command(program, &words))
    }

    fn moved(&self, command: Command) -> Result<Sample> {
        touch(256 << 20);
        let (mut sample, said) = self.reader.timed(command)?;
        let moved: Moved = serde_json::from_str(&said).with_context(|| said.clone())?;
        ensure!(moved.bytes == self.bytes, "{} bytes came", moved.bytes);
        sample.value = moved.bytes as f64 / moved.seconds / 1e9;
        Ok(sample)
    }

    /// The tuned settings, and each of them undone.
    fn settings_table(&self, options: &Options) -> Result<Vec<Vec<String>>> {
        let ways = settings::ways();
        let names: Vec<&str> = ways.iter().map(|way| way.name).collect();
        let rows = self.table(options, "settings", &names, |at| {
            let way = ways.get(at).context("one of the ways")?;
            congestion(self.from, way.control)?;
            self.tonic(&way.settings)
        })?;
        congestion(self.from, "cubic")?;
        Ok(rows)
    }

    /// As fetches read, and other ways.
    fn readers_table(&self, options: &Options) -> Result<Vec<Vec<String>>> {
        let ways = pieces::ways();
        let names: Vec<&str> = ways.iter().map(|way| way.name).collect();
        self.table(options, "read by", &names, |at| {
            self.pieces(&ways.get(at).context("one of the ways")?.how)
        })
    }

    /// The medians of several ways, round by round.
    fn table(
        &self,
        options: &Options,
        what: &str,
        names: &[&str],
        mut once: impl FnMut(usize) -> Result<Sample>,
    ) -> Result<Vec<Vec<String>>> {
        let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); names.len()];
        let rounds = options.rounds(5);
        for round in 0..=rounds {
            eprintln!("{what}: round {round} of {rounds}");
            for (at, samples) in samples.iter_mut().enumerate() {
                let sample = once(at)?;
                if round > 0 {
                    samples.push(sample);
                }
            }
        }
        let mut rows = vec![[what, "GB/s", "CPU s a GiB"].map(str::to_owned).to_vec()];
        let gib = self.bytes as f64 / f64::from(1 << 30);
        for (name, samples) in names.iter().zip(&samples) {
            let rates: Vec<f64> = samples.iter().map(|sample| sample.value).collect();
            let cpu: Vec<f64> = samples
                .iter()
                .map(|sample| sample.usage.cpu_seconds / gib)
                .collect();
            rows.push(vec![
                (*name).to_owned(),
                plain(median(&rates)),
                plain(median(&cpu)),
            ]);
        }
        Ok(rows)
    }
}

/// A secret that nobody has to guess here.
fn make_secret(directory: &Path) -> Result<PathBuf> {
    let file = directory.join("group-secret");
    fs::write(&file, "what these two measure is no secret\n")?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    Ok(file)
}
