//! Rules of the workspace that no compiler checks.
//!
//! The rules themselves are the tests of this package: who may depend on whom, and what every file
//! has in common. They read the workspace that they were compiled in.

mod files;
mod graph;

pub use files::{SourceFile, own_files, root};
pub use graph::{Graph, graph};
