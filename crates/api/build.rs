//! Generates clients and servers; their messages are those of `zeroshare-wire`.

use std::{env, error::Error, path::PathBuf};

const SERVICES: [&str; 4] = [
    "zeroshare/discovery/v1/discovery_service.proto",
    "zeroshare/fetcher/v1/fetcher_service.proto",
    "zeroshare/store/v1/local_store_service.proto",
    "zeroshare/store/v1/store_service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let files = protox::compile(SERVICES, [&root])?;
    let mut builder = tonic_prost_build::configure();
    for area in ["content", "discovery", "errors", "fetcher", "store"] {
        builder = builder.extern_path(
            format!(".zeroshare.{area}.v1"),
            format!("::zeroshare_wire::pb::{area}::v1"),
        );
    }
    builder.compile_fds(files)?;
    Ok(())
}
