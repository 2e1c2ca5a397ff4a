//! The README's grpcurl calls, made through reflection by an independent gRPC implementation.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use crate::compose::{Lab, root};

#[test]
fn an_independent_grpc_implementation_makes_the_readmes_calls() -> Result<()> {
    let lab = Lab::up("reflection")?;
    let id = lab.offer("a", 3_000_000)?;
    let script = root().join("tests/lab/tests/stories/reflection.py");

    let output = Command::new(python()?).arg(script).arg(&id).output()?;

    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    lab.exec("fetcher-b", &["/zeroshare", "verify", &id])?;
    Ok(())
}

/// A Python with grpcio, grpcio-reflection and compose-spec.
pub(crate) fn python() -> Result<PathBuf> {
    let modules = "grpc_reflection, compose_spec, yaml";
    let packages = [
        "grpcio",
        "grpcio-reflection",
        "protobuf",
        "compose-spec",
        "pyyaml",
    ];
    Ok(zeroshare_testkit::python("lab-python", modules, &packages)?)
}
