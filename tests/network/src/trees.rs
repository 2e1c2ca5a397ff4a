//! Trees to move, and the real 0install around them.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

use crate::Host;

/// A small program with data: an executable, a symlink to it, and a few files.
pub fn hello_tree(directory: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(directory.join("bin"))?;
    fs::create_dir_all(directory.join("share/empty"))?;
    let program = directory.join("bin/hello");
    fs::write(
        &program,
        "#!/bin/sh\nexec cat \"$(dirname \"$0\")/../share/greeting\"\n",
    )?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    fs::write(
        directory.join("share/greeting"),
        "hello from the machine beside you\n",
    )?;
    symlink("hello", directory.join("bin/hi"))?;
    Ok(())
}

/// [`hello_tree`] with `files` small files and one large file beside them, `bytes` in all.
pub fn noisy_tree(directory: &Path, files: u64, bytes: u64) -> anyhow::Result<()> {
    hello_tree(directory)?;
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15 ^ files ^ bytes);
    if let Some(small) = (bytes / 2).checked_div(files) {
        for number in 0..files {
            let part = directory.join(format!("share/part-{:03}", number / 100));
            fs::create_dir_all(&part)?;
            fs::write(part.join(format!("file-{number}")), noise.bytes(small)?)?;
        }
    }
    fs::write(directory.join("share/large"), noise.bytes(bytes / 2)?)?;
    Ok(())
}

/// The compiler's own directory: a real tree of hundreds of megabytes, with symlinks put beside.
pub fn real_tree(directory: &Path) -> anyhow::Result<()> {
    let sysroot = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()
        .context("cannot start rustc")?;
    let sysroot = PathBuf::from(String::from_utf8(sysroot.stdout)?.trim().to_owned());
    hello_tree(directory)?;
    let copied = Command::new("cp")
        .args(["-a", "--no-preserve=ownership"])
        .arg(sysroot.join("lib"))
        .arg(directory.join("toolchain"))
        .status()?;
    if !copied.success() {
        bail!("cannot copy the toolchain");
    }
    // Real programs' trees hold many small files; this machine's own Python or Perl is always there.
    for library in [
        "/usr/lib/python3",
        "/usr/lib/python3.11",
        "/usr/share/perl",
        "/usr/share/zoneinfo",
    ] {
        let source = Path::new(library);
        if source.is_dir() {
            let name = source.file_name().context("a name")?;
            Command::new("cp")
                .args(["-a", "--no-preserve=ownership"])
                .arg(source)
                .arg(directory.join(name))
                .status()?;
        }
    }
    Ok(())
}

/// Adds a tree to a host's store with the real `0install store add`, and gives its id.
pub fn zero_install_add(host: &Host, tree: &Path) -> anyhow::Result<String> {
    let path = tree.to_str().context("an odd path")?;
    let id = host.must("0install", &["digest", "--algorithm=sha256new", path])?;
    host.must("0install", &["store", "add", &id, path])?;
    Ok(id)
}

/// Adds the program of [`hello_tree`], which stays in `tree` of the host's home, to its store.
pub fn zero_install_hello(host: &Host) -> anyhow::Result<String> {
    let tree = host.home().join("tree");
    hello_tree(&tree)?;
    zero_install_add(host, &tree)
}

/// A local feed whose only implementation is `id`, with `bin/hello` as its command.
pub fn local_feed(directory: &Path, id: &str) -> anyhow::Result<PathBuf> {
    let digest = id.strip_prefix("sha256new_").context("a sha256new id")?;
    let feed = directory.join("hello.xml");
    fs::write(
        &feed,
        format!(
            r#"<?xml version="1.0"?>
<interface xmlns="http://zero-install.sourceforge.net/2004/injector/interface">
  <name>Hello</name><summary>says hello</summary>
  <implementation id="hello-1" version="1.0" main="bin/hello" released="2026-01-01">
    <manifest-digest sha256new="{digest}"/>
    <archive href="http://hello.example/hello-1.tar.gz" size="1000"/>
  </implementation>
</interface>
"#
        ),
    )?;
    Ok(feed)
}

/// A generator of bytes that no compressor shortens (xorshift64*, Vigna 2016).
struct Noise(u64);

impl Noise {
    fn bytes(&mut self, count: u64) -> anyhow::Result<Vec<u8>> {
        let count = usize::try_from(count)?;
        let mut out = Vec::with_capacity(count + 8);
        while out.len() < count {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            out.extend_from_slice(&self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
        }
        out.truncate(count);
        Ok(out)
    }
}
