//! The mount service: a read-only file system whose root is a Zero Install store, of all trees that this machine and its
//! neighbours hold.
//!
//! Looking a digest up asks the fetcher, which finds the tree's manifest among the neighbours; from it the tree is shown
//! in full. Opening a file has the fetcher bring that file first and then the rest into a real store; a tree that lies there
//! in full is shown as a link to it. An unmodified 0install that has the mount among its `implementation-dirs` takes its
//! programs from the LAN that way.
//!
//! It writes nothing, knows no peers and proves nothing but manifests and links: bytes come from the fetcher, or from a store.
//! How long anybody waits, and what is remembered, is decided in `patience`, `answers` and `neighbours`, without a clock; whoever gets
//! what nobody has is waited for (`arrival`), as `hold` and `evidence` decide; `shown`
//! makes a tree of a manifest, `by_name` links of cached feeds; `filesystem` answers the kernel, and hands whatever takes time to tasks.
//!
//! Start reading at `run`, then `filesystem`.

mod answers;
mod arguments;
mod arrival;
mod by_name;
mod caller;
mod evidence;
mod filesystem;
mod handles;
mod held;
mod hold;
mod listing;
mod mountpoint;
mod neighbours;
mod patience;
mod place;
mod questions;
mod readahead;
mod reading;
mod refreshed;
mod root;
mod run;
mod settings;
mod shared;
mod shown;
mod stored;
mod table;
mod traces;
mod ways;

pub use arguments::{Arguments, main};
pub use mountpoint::MountError;
pub use run::{Mounted, RunError, mount};
pub use settings::{Backing, DEFAULT_HOLD, MAX_HOLD, MountConfig};
