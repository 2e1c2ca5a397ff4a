//! Bytes from one machine's page cache to another's memory, and no further.

mod bulk;
mod pieces;
mod rpc;
mod settings;

use std::{
    env,
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroshare_network::{Host, Lan, Running, wait_until};

use self::settings::Settings;
pub(crate) use self::{
    bulk::{ReadBulk, ServeBulk},
    pieces::ReadPieces,
};
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
    file: std::path::PathBuf,
    nginx: Nginx,
    bytes: u64,
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
        let stage = Stage::new(&lan, mib)?;
        book.fact(format!(
            "{mib} MiB from the page cache to memory, one stream, veth; GB/s as each client measures it from connecting to the last byte; CPU \
             seconds are of the whole machine, both ends."
        ));
        for mbit in &self.mbit {
            let name = match mbit {
                0 => format!("{mib} MiB to memory"),
                mbit => format!("{mib} MiB to memory, {mbit} Mbit/s"),
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
        }
        book.close()
    }
}

impl<'a> Stage<'a> {
    fn new(lan: &'a Lan, mib: usize) -> Result<Self> {
        for host in lan.hosts() {
            cubic(host)?;
        }
        let directory = Place::tmpfs()?.fresh()?;
        let work = Work::single(&directory.join("tree"), mib)?;
        let giver = Seat::new(lan.host(1), "giver", &directory.join("giver"))?;
        let node = giver.node(&[])?;
        let id = giver.run(giver.zeroshare(&["add", &work.tree.to_string_lossy()])?)?;
        giver.wait_until_offered(1, Duration::from_mins(2))?;
        Ok(Self {
            from: lan.host(1),
            reader: Seat::new(lan.host(2), "reader", &directory.join("reader"))?,
            nginx: Nginx::start(lan.host(1), &work.tree)?,
            file: work.tree.join(SINGLE),
            bytes: (mib * MIB) as u64,
            id,
            _node: node,
        })
    }

    fn contest(&self, name: &str, mbit: u32, options: &Options) -> Contest<'_> {
        let least = |least: f64| Some(Target::AtLeast(least));
        let ours = Contender::new("zeroshare", None, |_| self.pieces());
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

    fn pieces(&self) -> Result<Sample> {
        let address = format!("{}:{STORE_PORT}", self.from.address());
        self.client(&["read-pieces".to_owned(), address, self.id.clone()])
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
        let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); ways.len()];
        let rounds = options.rounds(5);
        for round in 0..=rounds {
            eprintln!("settings: round {round} of {rounds}");
            for (way, samples) in ways.iter().zip(&mut samples) {
                congestion(self.from, way.control)?;
                let sample = self.tonic(&way.settings)?;
                if round > 0 {
                    samples.push(sample);
                }
            }
        }
        congestion(self.from, "cubic")?;
        let mut rows = vec![
            ["settings", "GB/s", "CPU s a GiB"]
                .map(str::to_owned)
                .to_vec(),
        ];
        let gib = self.bytes as f64 / f64::from(1 << 30);
        for (way, samples) in ways.iter().zip(&samples) {
            let rates: Vec<f64> = samples.iter().map(|sample| sample.value).collect();
            let cpu: Vec<f64> = samples
                .iter()
                .map(|sample| sample.usage.cpu_seconds / gib)
                .collect();
            rows.push(vec![
                way.name.to_owned(),
                plain(median(&rates)),
                plain(median(&cpu)),
            ]);
        }
        Ok(rows)
    }
}
