//! Trees that exercise manifests, and what the real 0install says about them.
//!
//! A [`TreePlan`] describes a tree; it can be listed in memory, so that pure crates are tested with
//! it, and made on disk, so that a scan and the real 0install can be. [`vectors`] are plans whose
//! manifests 0install 2.18 wrote down in `vectors/expected.json`; [`any_tree`] makes up others. The
//! tests of this package compare with the 0install that is installed here.

mod arbitrary;
mod create;
mod expected;
mod plan;
mod vectors;

pub use arbitrary::any_tree;
pub use expected::{Expected, Written, expected};
pub use plan::{Made, Mtime, PlanFault, Planned, TreePlan};
pub use vectors::{Vector, vectors};
