//! What a node costs that does nothing.

use std::{thread, time::Duration};

use anyhow::Result;
use clap::Args;
use zeroshare_network::{Lan, Running, hello_tree};

use crate::{book::Book, finding::Finding, options::Options};

/// Settings of the idle benchmark.
#[derive(Debug, Clone, Args)]
pub(crate) struct Idle {
    /// How long each size is watched, in seconds, after a settling time.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// How long a network settles first, in seconds.
    #[arg(long, default_value_t = 20)]
    settle: u64,
    /// How many neighbours, one network after the other.
    #[arg(long, value_delimiter = ',', default_values_t = [0, 2, 30])]
    neighbours: Vec<u8>,
}

impl Idle {
    pub(crate) fn run(&self, options: &Options) -> Result<()> {
        let mut book = Book::open("idle", options)?;
        book.fact(format!(
            "Watched for {} s after {} s of settling; packets are those of the interface, ARP and neighbour discovery included.",
            self.seconds, self.settle
        ));
        let title = vec![
            "neighbours".to_owned(),
            "packets sent a minute".to_owned(),
            "resident MiB".to_owned(),
            "share of a core".to_owned(),
        ];
        let mut rows = vec![title];
        for &neighbours in &self.neighbours {
            rows.push(self.watch(neighbours, &mut book)?);
        }
        book.table("idle", rows);
        book.close()
    }

    fn watch(&self, neighbours: u8, book: &mut Book<'_>) -> Result<Vec<String>> {
        let lan = Lan::new(neighbours + 1)?;
        let mut nodes: Vec<Running> = Vec::new();
        for host in lan.hosts() {
            let tree = host.home().join("tree");
            hello_tree(&tree)?;
            nodes.push(host.start_node(&[])?);
            host.must_zeroshare(&["add", &tree.to_string_lossy()])?;
        }
        thread::sleep(Duration::from_secs(self.settle));
        let host = lan.host(1);
        let (packets, cpu) = (host.sent_packets()?, nodes[0].cpu()?);
        thread::sleep(Duration::from_secs(self.seconds));
        let packets = host.sent_packets()? - packets;
        let cpu = nodes[0].cpu()?.saturating_sub(cpu);
        let share = cpu.as_secs_f64() / self.seconds as f64 * 100.0;
        let resident = nodes[0].resident_kib()?;
        let name = |what: &str| format!("{what}, {neighbours} neighbours");
        let resident = resident as f64 / 1024.0;
        let packets = packets * 60 / self.seconds;
        book.add([
            Finding::figure(None, &name("packets sent a minute"), packets as f64, ""),
            Finding::figure(None, &name("resident"), resident, "MiB"),
            Finding::figure(None, &name("processor"), share, "% of a core"),
        ]);
        Ok(vec![
            neighbours.to_string(),
            packets.to_string(),
            format!("{resident:.1}"),
            format!("{share:.3} %"),
        ])
    }
}
