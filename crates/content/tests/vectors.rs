//! What 0install 2.18 wrote down about every vector, against what we write and read.

use std::collections::BTreeSet;

use zeroshare_conformance::{Expected, PlanFault, expected, vectors};
use zeroshare_content::{Algorithm, Family, LineFault, Manifest, ManifestError, TreeId};

/// Where we are stricter than 0install: it takes a newline in the name of a file or symlink.
const NEWLINES: [&str; 3] = [
    "81-newline-file",
    "82-newline-symlink",
    "91-collision-forged-sha1",
];

/// What 0install digests but does not store, since the name belongs to the manifest.
const MANIFEST_NAMED: [&str; 2] = ["62-dotmanifest-dir", "63-dotmanifest-symlink"];

#[test]
fn every_vector_has_the_manifest_and_the_digest_that_0install_gives_it() {
    let expected = expected().expect("the vectors can be read");
    let names: BTreeSet<_> = vectors()
        .iter()
        .map(|vector| vector.name.to_owned())
        .collect();
    assert_eq!(names, expected.keys().cloned().collect());
    for vector in vectors() {
        let listing = vector.plan.listing();
        for (algorithm, outcome) in &expected[vector.name] {
            let case = format!("{} {algorithm}", vector.name);
            match (outcome, &listing) {
                (Expected::Refused, Err(PlanFault::SpecialFile)) => {}
                (Expected::Refused, Err(fault)) => assert!(fault.is_newline(), "{case}: {fault:?}"),
                (Expected::Written(_), Err(fault)) => {
                    assert!(
                        fault.is_newline() && NEWLINES.contains(&vector.name),
                        "{case}: {fault:?}"
                    );
                }
                (Expected::Refused, Ok(_)) => panic!("{case}: 0install refuses it"),
                (Expected::Written(written), Ok(listing)) => {
                    let text = listing.manifest_text(*algorithm).expect(&case);
                    if let Some(manifest) = &written.manifest {
                        assert_eq!(
                            String::from_utf8_lossy(&text),
                            String::from_utf8_lossy(manifest),
                            "{case}"
                        );
                        assert_eq!(text, *manifest, "{case}");
                    }
                    let id = TreeId::of_manifest(algorithm.family(), &text);
                    assert_eq!(
                        id.directory_name(*algorithm),
                        Some(written.id.clone()),
                        "{case}"
                    );
                    assert_eq!(written.id.parse(), Ok(id), "{case}");
                    assert_eq!(TreeId::from_directory_name(written.id.as_bytes()), Some(id));
                }
            }
        }
    }
}

#[test]
fn every_manifest_that_0install_stores_can_be_read() {
    let expected = expected().expect("the vectors can be read");
    let mut read = 0;
    for (name, outcomes) in &expected {
        for (algorithm, outcome) in outcomes {
            let Expected::Written(written) = outcome else {
                continue;
            };
            let Some(text) = &written.manifest else {
                continue;
            };
            let manifest = Manifest::parse(algorithm.family(), text.clone());
            let case = format!("{name} {algorithm}");
            if *algorithm == Algorithm::Sha1 {
                assert_eq!(manifest, Err(ManifestError::Ambiguous), "{case}");
                continue;
            }
            match manifest {
                Ok(manifest) => {
                    let id = manifest.id();
                    assert_eq!(
                        id.directory_name(*algorithm),
                        Some(written.id.clone()),
                        "{case}"
                    );
                    assert_eq!(manifest.text(), text, "{case}");
                    assert!(Manifest::verified(&id, text.clone()).is_ok(), "{case}");
                    read += 1;
                }
                Err(ManifestError::Line {
                    why: LineFault::ManifestName,
                    ..
                }) => {
                    assert!(
                        MANIFEST_NAMED.contains(&&**name) && !written.storable,
                        "{case}"
                    );
                }
                Err(error) => assert!(NEWLINES.contains(&&**name), "{case}: {error}"),
            }
        }
    }
    assert!(read > 90, "only {read} manifests were read");
}

#[test]
fn a_newline_would_let_two_trees_have_one_digest() {
    let expected = expected().expect("the vectors can be read");
    let honest = &expected["90-collision-honest"][&Algorithm::Sha1New];
    let forged = &expected["91-collision-forged-sha1"][&Algorithm::Sha1New];
    assert_eq!(honest, forged);
    let Expected::Written(written) = forged else {
        panic!("0install takes it")
    };
    // The text means the honest tree, so whoever makes files from it makes these two.
    let text = written.manifest.clone().expect("it is short");
    let manifest = Manifest::parse(Family::Sha1New, text).expect("the honest manifest");
    let paths: Vec<_> = manifest
        .lines()
        .iter()
        .map(|line| line.path.to_string())
        .collect();
    assert_eq!(paths, ["a", "b"]);
}
