//! Generates the service that stands for plain tonic.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(["bulk.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .bytes(".zeroshare.bench.v1.SharedChunk")
        .compile_fds(files)?;
    Ok(())
}
