//! compose.yaml suits every Compose that people have.

use std::process::Command;

use anyhow::Result;

use crate::{
    compose::{Lab, root},
    reflection::python,
};

/// docker-compose 1.29 has a schema of its own; Compose v2 follows the Compose Specification, which the Python package
/// compose-spec implements: it refuses what the specification does not know.
#[test]
fn compose_yaml_is_accepted_by_docker_compose_and_by_the_compose_specification() -> Result<()> {
    Lab::described().compose(&["config", "--quiet"])?;

    let script = root().join("tests/lab/tests/stories/accepted.py");
    let output = Command::new(python()?)
        .arg(script)
        .arg(root().join("compose.yaml"))
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.contains("fetcher-c"), "{said}");
    Ok(())
}
