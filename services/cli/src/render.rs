//! What people and programs see: results on standard output, all else on standard error.

mod output;
mod page;
mod progress;
mod table;
pub(crate) mod words;

pub use output::{ColorChoice, Output, Report, Shape};
pub use page::Page;
pub(crate) use progress::shortened;
pub use progress::{Phase, Progress, Step, Track};
pub use table::Table;
