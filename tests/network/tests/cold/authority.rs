//! A certificate authority of one's own, made with openssl.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

const KEY: [&str; 5] = [
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:prime256v1",
    "-nodes",
];

/// Files of an authority that nobody knows.
#[derive(Debug)]
pub(crate) struct Authority {
    place: tempfile::TempDir,
}

impl Authority {
    pub(crate) fn new() -> Result<Self> {
        let place = tempfile::tempdir()?;
        let words = ["req", "-x509", "-keyout", "ca.key", "-out", "ca.pem"];
        let about = ["-subj", "/CN=a test", "-days", "2"];
        openssl(place.path(), &[&words, &KEY[..], &about].concat())?;
        Ok(Self { place })
    }

    /// Its own certificate: whoever trusts it trusts its servers.
    pub(crate) fn root(&self) -> PathBuf {
        self.place.path().join("ca.pem")
    }

    /// What a server at an address of IPv4 shows.
    pub(crate) fn server(&self, address: &str) -> Result<Arc<ServerConfig>> {
        let place = self.place.path();
        let words = ["req", "-keyout", "server.key", "-out", "server.req"];
        openssl(
            place,
            &[&words, &KEY[..], &["-subj", "/CN=a server"]].concat(),
        )?;
        fs::write(
            place.join("names"),
            format!("subjectAltName=IP:{address}\n"),
        )?;
        let words = ["x509", "-req", "-in", "server.req", "-out", "server.pem"];
        let by = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
        let about = ["-days", "2", "-extfile", "names"];
        openssl(place, &[&words, &by[..], &about].concat())?;
        let certificate = CertificateDer::from_pem_file(place.join("server.pem"))?;
        let key = PrivateKeyDer::from_pem_file(place.join("server.key"))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)?;
        Ok(Arc::new(config))
    }
}

fn openssl(place: &Path, words: &[&str]) -> Result<()> {
    let output = Command::new("openssl")
        .args(words)
        .current_dir(place)
        .output()
        .context("cannot start openssl: install it")?;
    if !output.status.success() {
        bail!(
            "openssl {}: {}",
            words.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
