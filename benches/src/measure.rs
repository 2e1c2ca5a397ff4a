//! How things are measured and compared.

mod contest;
mod cpu;
mod machine;
mod statistics;

pub(crate) use contest::{Contender, Contest};
pub(crate) use cpu::{CpuMeter, Sample, Usage};
pub(crate) use machine::{Figures, touch};
pub(crate) use statistics::{median, quantile, ratio_interval};
