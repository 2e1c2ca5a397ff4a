//! What we speak is plain gRPC: an independent implementation reads it with nothing but the contracts.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use zeroshare_network::{Lan, noisy_tree};
use zeroshare_testkit::python;

/// More than a reader's window and a sender's pages together.
const BLOB_BYTES: usize = 24 << 20;

#[test]
fn an_independent_grpc_client_reads_pieces() -> Result<()> {
    let python = python(
        "grpc-python",
        "grpc, grpc_tools",
        &["grpcio", "grpcio-tools"],
    )?;
    let lan = Lan::new(2)?;
    let (giver, reader) = (lan.host(1), lan.host(2));
    let _node = giver.start_node(&[])?;
    let tree = giver.home().join("tree");
    noisy_tree(&tree, 40, 3_000_000)?;
    let tree_id = giver.must_zeroshare(&["add", &tree.to_string_lossy()])?;
    giver.wait_until_offered(&tree_id)?;
    let file = giver.home().join("a blob");
    fs::write(&file, noise(BLOB_BYTES))?;
    let blob_id = giver.must_zeroshare(&["share", &file.to_string_lossy()])?;
    let blob_id = blob_id.split_whitespace().next().context("an id")?;
    giver.wait_until_offered(blob_id)?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));

    let output = reader
        .command(python)
        .arg(root.join("tests/read_pieces.py"))
        .arg(root.join("../../proto"))
        .arg(format!("{}:38339", giver.address()))
        .args([tree_id.as_str(), &*tree.to_string_lossy()])
        .args([blob_id, &*file.to_string_lossy()])
        .output()?;

    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}{complaint}");
    Ok(())
}

/// Bytes that differ from page to page.
fn noise(count: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(7);
    std::iter::repeat_with(|| rng.u8(..)).take(count).collect()
}
