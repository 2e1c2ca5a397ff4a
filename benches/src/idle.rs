//! What a node costs that does nothing.

use std::{thread, time::Duration};

use anyhow::Result;
use clap::Args;
use zeroshare_network::{Lan, Running, hello_tree};

use crate::table::{head, row};

/// Settings of the idle benchmark.
#[derive(Debug, Args)]
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
    pub(crate) fn run(&self) -> Result<()> {
        head(&[
            "neighbours",
            "packets sent a minute",
            "resident MiB",
            "processor",
        ]);
        for &neighbours in &self.neighbours {
            self.watch(neighbours)?;
        }
        Ok(())
    }

    fn watch(&self, neighbours: u8) -> Result<()> {
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
        #[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
        let share = cpu.as_secs_f64() / self.seconds as f64 * 100.0;
        let resident = nodes[0].resident_kib()?;
        row(&[
            neighbours.to_string(),
            (packets * 60 / self.seconds).to_string(),
            format!("{}.{}", resident / 1024, resident % 1024 * 10 / 1024),
            format!("{share:.3} % of a core"),
        ]);
        Ok(())
    }
}
