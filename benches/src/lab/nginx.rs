//! A web server beside us.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use zeroshare_network::{Host, Running, wait_until};

const PORT: u16 = 8_081;

/// nginx, serving a directory.
#[derive(Debug)]
pub(crate) struct Nginx {
    address: String,
    log: PathBuf,
    _process: Running,
}

impl Nginx {
    /// Starts it on a host, and waits until it listens.
    pub(crate) fn start(host: &Host, root: &Path) -> Result<Self> {
        let base = host.home().join("nginx");
        fs::create_dir_all(base.join("temporary"))?;
        let log = base.join("access.log");
        let text = configuration(&base, root, &log);
        let config = base.join("nginx.conf");
        fs::write(&config, text)?;
        let mut command = host.bare_command("nginx");
        command
            .arg("-e")
            .arg(base.join("error.log"))
            .arg("-c")
            .arg(&config);
        let process = host.within(|| host.spawn_command(command))?;
        let address = format!("{}:{PORT}", host.address());
        let target: SocketAddr = address.parse()?;
        let listens = wait_until("nginx listens", Duration::from_secs(10), || {
            host.within(|| Ok(TcpStream::connect_timeout(&target, Duration::from_secs(1)).is_ok()))
        });
        listens.with_context(|| process.log())?;
        Ok(Self {
            address,
            log,
            _process: process,
        })
    }

    /// The URL of a file below its root.
    pub(crate) fn url(&self, file: &str) -> String {
        format!("http://{}/{file}", self.address)
    }

    /// Bytes of bodies sent so far, of requests that have ended.
    pub(crate) fn body_bytes(&self) -> Result<u64> {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        log.lines()
            .map(|line| Ok(line.trim().parse::<u64>()?))
            .sum()
    }
}

fn configuration(base: &Path, root: &Path, log: &Path) -> String {
    let base = base.display();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {base}/temporary/{kind};\n"))
        .concat();
    format!(
        "user root;\ndaemon off;\nworker_processes 2;\npid {base}/pid;\nevents {{ worker_connections 4096; }}\n\
         http {{\n{temporary}log_format bytes '$body_bytes_sent';\naccess_log {} bytes;\n\
         sendfile on;\ntcp_nopush on;\nserver {{ listen {PORT}; root {}; }}\n}}\n",
        log.display(),
        root.display()
    )
}
