//! What we say about trees, against what the 0install that is installed here says.
//!
//! Without a 0install these tests fail: Debian and Ubuntu have it as `0install-core`.

mod real {
    pub(crate) mod compare;
    pub(crate) mod zero_install;
}

use std::cell::Cell;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use real::compare::{Scanned, compare_digests, scan};
use real::zero_install::ZeroInstall;
use rustix::process::geteuid;
use tempfile::TempDir;
use zeroshare_conformance::{Expected, TreePlan, Vector, any_tree, expected, vectors};
use zeroshare_content::{Algorithm, Manifest};
use zeroshare_shelf::verify_tree;

/// A newline in the name of a file or symlink is the one thing that it takes and we do not.
const NEWLINES: [&str; 4] = [
    "80-newline-dir",
    "81-newline-file",
    "82-newline-symlink",
    "91-collision-forged-sha1",
];

#[test]
fn both_make_the_same_manifest_of_every_vector() -> anyhow::Result<()> {
    let real = ZeroInstall::find()?;
    let expected = expected()?;
    let trees = Trees::new()?;
    for vector in makeable_vectors() {
        let dir = trees.make(vector.name, &vector.plan)?;
        let ours = scan(&dir)?;
        for (algorithm, outcome) in &expected[vector.name] {
            let case = || format!("{} {algorithm}", vector.name);
            let said = real.digest(*algorithm, &dir)?;
            match (outcome, &said) {
                (Expected::Refused, Err(_)) => {}
                (Expected::Written(written), Ok(said)) => {
                    ensure!(
                        said.id == written.id,
                        "{}: not the version that was observed",
                        case()
                    );
                }
                (Expected::Refused, Ok(_)) | (Expected::Written(_), Err(_)) => {
                    anyhow::bail!("{}: not the version that was observed: {said:?}", case());
                }
            }
            match (&ours, said) {
                (Scanned::Special, Err(_)) => {}
                (Scanned::Newline, _) if NEWLINES.contains(&vector.name) => {}
                (Scanned::Tree(tree), Ok(said)) => {
                    compare_digests(tree, *algorithm, &said).with_context(case)?;
                }
                (ours, said) => anyhow::bail!("{}: {ours:?} and {said:?}", case()),
            }
        }
    }
    Ok(())
}

#[test]
fn it_stores_trees_under_our_names_and_we_verify_what_it_stored() -> anyhow::Result<()> {
    let real = ZeroInstall::find()?;
    let expected = expected()?;
    let trees = Trees::new()?;
    for vector in makeable_vectors() {
        let Scanned::Tree(tree) = scan(&trees.make(vector.name, &vector.plan)?)? else {
            continue;
        };
        let algorithm = Algorithm::Sha256New;
        let Expected::Written(written) = &expected[vector.name][&algorithm] else {
            continue;
        };
        let id = tree.tree_id(algorithm)?;
        let added = real.store_add(&id.to_string(), &trees.dir(vector.name))?;
        if !written.storable {
            ensure!(added.is_err(), "{} was stored", vector.name);
            continue;
        }
        added.map_err(anyhow::Error::msg).context(vector.name)?;
        check_stored(&real, &tree, algorithm).context(vector.name)?;
    }
    Ok(())
}

#[test]
fn it_stores_trees_of_all_algorithms_under_our_names() -> anyhow::Result<()> {
    let real = ZeroInstall::find()?;
    let trees = Trees::new()?;
    for vector in vectors()
        .iter()
        .filter(|vector| vector.name == "74-typical")
    {
        let Scanned::Tree(tree) = scan(&trees.make(vector.name, &vector.plan)?)? else {
            anyhow::bail!("it is a tree");
        };
        for algorithm in Algorithm::ALL {
            let name = tree
                .tree_id(algorithm)?
                .directory_name(algorithm)
                .context("its name")?;
            let added = real.store_add(&name, &trees.dir(vector.name))?;
            added.map_err(anyhow::Error::msg).context(name)?;
        }
        // sha256 and sha256new name one tree, of which one directory is looked at.
        for algorithm in [Algorithm::Sha1, Algorithm::Sha1New, Algorithm::Sha256New] {
            check_stored(&real, &tree, algorithm).with_context(|| algorithm.to_string())?;
        }
    }
    Ok(())
}

#[test]
fn both_make_the_same_manifest_of_trees_that_are_made_up() -> anyhow::Result<()> {
    let real = ZeroInstall::find()?;
    let trees = Trees::new()?;
    let number = Cell::new(0_u32);
    // Each case starts 0install four or five times, at 25 to 100 ms.
    let config = Config {
        cases: 48,
        max_shrink_iters: 64,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config).run(&any_tree(), |plan| {
        number.set(number.get() + 1);
        check_made_up(&real, &trees, &number.get().to_string(), &plan)
            .map_err(|error| TestCaseError::fail(format!("{error:#}")))
    })?;
    Ok(())
}

fn check_made_up(
    real: &ZeroInstall,
    trees: &Trees,
    name: &str,
    plan: &TreePlan,
) -> anyhow::Result<()> {
    let dir = trees.make(name, plan)?;
    let Scanned::Tree(tree) = scan(&dir)? else {
        anyhow::bail!("it is a tree")
    };
    let listing = plan
        .listing()
        .map_err(|fault| anyhow::anyhow!("{fault:?}"))?;
    for algorithm in [Algorithm::Sha1, Algorithm::Sha1New, Algorithm::Sha256New] {
        ensure!(listing.manifest_text(algorithm)? == tree.manifest_text(algorithm)?);
        let said = real.digest(algorithm, &dir)?.map_err(anyhow::Error::msg)?;
        compare_digests(&tree, algorithm, &said)?;
    }
    let algorithm = Algorithm::Sha256New;
    let added = real.store_add(&tree.tree_id(algorithm)?.to_string(), &dir)?;
    added.map_err(anyhow::Error::msg)?;
    check_stored(real, &tree, algorithm)
}

/// Both verify what 0install stored, and its `.manifest` can be read where that is possible at all.
fn check_stored(
    real: &ZeroInstall,
    tree: &zeroshare_shelf::ScannedTree,
    algorithm: Algorithm,
) -> anyhow::Result<()> {
    let id = tree.tree_id(algorithm)?;
    let verified = verify_tree(&real.store(), &id, &mut |_| {})?;
    ensure!(verified.manifest == tree.manifest_text(algorithm)?);
    ensure!(verified.has_manifest_file);
    real.store_verify(&verified.path)?
        .map_err(anyhow::Error::msg)?;
    if algorithm != Algorithm::Sha1 {
        Manifest::verified(&id, verified.manifest)?;
    }
    Ok(())
}

/// All vectors; the one with a device only for root, who alone can make it.
fn makeable_vectors() -> Vec<Vector> {
    let mut vectors = vectors();
    vectors.retain(|vector| geteuid().is_root() || !vector.plan.needs_root());
    vectors
}

/// A directory of trees that goes away with all of them.
struct Trees(TempDir);

impl Trees {
    fn new() -> anyhow::Result<Self> {
        Ok(Self(TempDir::new()?))
    }

    fn make(&self, name: &str, plan: &TreePlan) -> anyhow::Result<PathBuf> {
        let dir = self.dir(name);
        plan.create(&dir)
            .with_context(|| format!("cannot make {name}"))?;
        Ok(dir)
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}
