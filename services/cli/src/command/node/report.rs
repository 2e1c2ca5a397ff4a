//! What a node says to programs that start it.

use serde::Serialize;
use zeroshare_chassis::lock::NodeFacts;

/// Written to standard error once the node listens, with `--json`.
#[derive(Debug, Serialize)]
pub(super) struct Started<'a> {
    node: Facts<'a>,
}

#[derive(Debug, Serialize)]
struct Facts<'a> {
    pid: u32,
    version: &'a str,
    ports: &'a [u16],
}

impl<'a> Started<'a> {
    pub(super) fn new(facts: &'a NodeFacts) -> Self {
        Self {
            node: Facts {
                pid: facts.pid,
                version: &facts.version,
                ports: &facts.ports,
            },
        }
    }
}
