//! Processor time of the whole machine, which is quiet but for the benchmark.

use std::{fs, time::Instant};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// Counts processor time from when it was started, of all processes and of the kernel.
#[derive(Debug)]
pub(crate) struct CpuMeter {
    start: Instant,
    before: Ticks,
}

/// What one run took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sample {
    /// Seconds, or whatever is compared.
    pub(crate) value: f64,
    /// What it took of the processors meanwhile.
    pub(crate) usage: Usage,
}

/// What was used of the processors.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// Processor seconds, user and system.
    pub(crate) cpu_seconds: f64,
    /// The share of all processors that was not idle, from 0 to 1; what the host of a virtual machine took counts as used.
    pub(crate) share: f64,
}

#[derive(Debug, Clone, Copy)]
struct Ticks {
    used: u64,
    idle: u64,
    stolen: u64,
}

impl CpuMeter {
    pub(crate) fn start() -> Result<Self> {
        Ok(Self {
            start: Instant::now(),
            before: Ticks::read()?,
        })
    }

    /// The seconds since the start, and what they took.
    pub(crate) fn sample(&self) -> Result<Sample> {
        Ok(Sample {
            value: self.start.elapsed().as_secs_f64(),
            usage: self.read()?,
        })
    }

    pub(crate) fn read(&self) -> Result<Usage> {
        let now = Ticks::read()?;
        let used = now.used - self.before.used;
        let busy = used + now.stolen - self.before.stolen;
        let all = busy + now.idle - self.before.idle;
        Ok(Usage {
            cpu_seconds: used as f64 / rustix::param::clock_ticks_per_second() as f64,
            share: busy as f64 / all.max(1) as f64,
        })
    }
}

impl Ticks {
    /// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal (proc(5)).
    fn read() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat")?;
        let line = text.lines().next().context("an empty /proc/stat")?;
        let fields: Vec<u64> = line
            .split_whitespace()
            .skip(1)
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        let at = |index: usize| fields.get(index).copied().unwrap_or(0);
        Ok(Self {
            used: at(0) + at(1) + at(2) + at(5) + at(6),
            idle: at(3) + at(4),
            stolen: at(7),
        })
    }
}
