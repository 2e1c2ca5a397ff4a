//! The README's grpcurl calls, made through reflection by an independent gRPC implementation.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result, bail};

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

/// A Python with grpcio, grpcio-reflection and compose-spec, made once beside the build.
pub(crate) fn python() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let target = test
        .ancestors()
        .find(|path| path.join(".fingerprint").exists())
        .context("not started by cargo")?;
    let venv = target.join("lab-python");
    let python = venv.join("bin/python3");
    let ready = Command::new(&python)
        .args(["-c", "import grpc_reflection, compose_spec, yaml"])
        .output();
    if ready.is_ok_and(|output| output.status.success()) {
        return Ok(python);
    }
    let made = Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&venv)
        .status()?;
    if !made.success() {
        bail!("cannot make a Python environment: install python3-venv");
    }
    let installed = Command::new(&python)
        .args(["-m", "pip", "install", "--quiet"])
        .args([
            "grpcio",
            "grpcio-reflection",
            "protobuf",
            "compose-spec",
            "pyyaml",
        ])
        .status()?;
    if !installed.success() {
        bail!("cannot install Python packages");
    }
    Ok(python)
}
