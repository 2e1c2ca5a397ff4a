//! An independent client speaks Python.

use std::{env, io, path::PathBuf, process::Command};

/// A Python that can import `modules`, for which `packages` are installed; made once beside the build, under a name.
///
/// # Errors
///
/// If the test was not started by cargo, or the environment cannot be made.
pub fn python(name: &str, modules: &str, packages: &[&str]) -> io::Result<PathBuf> {
    let test = env::current_exe()?;
    let target = test
        .ancestors()
        .find(|path| path.join(".fingerprint").exists())
        .ok_or_else(|| io::Error::other("not started by cargo"))?;
    let venv = target.join(name);
    let python = venv.join("bin/python3");
    let ready = Command::new(&python)
        .args(["-c", &format!("import {modules}")])
        .output();
    if ready.is_ok_and(|output| output.status.success()) {
        return Ok(python);
    }
    let made = Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&venv)
        .status()?;
    if !made.success() {
        return Err(io::Error::other(
            "cannot make a Python environment: install python3-venv",
        ));
    }
    let installed = Command::new(&python)
        .args(["-m", "pip", "install", "--quiet"])
        .args(packages)
        .status()?;
    if !installed.success() {
        return Err(io::Error::other("cannot install Python packages"));
    }
    Ok(python)
}
