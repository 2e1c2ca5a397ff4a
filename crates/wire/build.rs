//! Compiles the messages of `proto/` without a system protoc.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const PROTOS: [&str; 7] = [
    "zeroshare/beacon/v1/beacon.proto",
    "zeroshare/content/v1/content.proto",
    "zeroshare/discovery/v1/discovery_service.proto",
    "zeroshare/errors/v1/errors.proto",
    "zeroshare/fetcher/v1/fetcher_service.proto",
    "zeroshare/store/v1/local_store_service.proto",
    "zeroshare/store/v1/store_service.proto",
];

#[expect(
    clippy::disallowed_methods,
    reason = "cargo hands settings to build scripts so"
)]
fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let files = protox::compile(PROTOS, [&root])?;
    fs::write(
        PathBuf::from(env::var("OUT_DIR")?).join("descriptors.bin"),
        files.encode_to_vec(),
    )?;
    prost_build::Config::new().bytes(["."]).compile_fds(files)?;
    Ok(())
}
