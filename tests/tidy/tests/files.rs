//! What all files have in common.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use cargo_metadata::TargetKind;
use zeroshare_tidy::{SourceFile, graph, own_files, root};

/// A file holds one idea; where this many lines seem to be needed, it holds several.
const MAX_LINES: usize = 600;

#[test]
fn every_crate_says_what_it_is_for() -> anyhow::Result<()> {
    for package in graph()?.members() {
        for target in &package.targets {
            let text = fs::read_to_string(&target.src_path)?;
            let is_build_script = target.kind.contains(&TargetKind::CustomBuild);
            assert!(
                is_build_script || text.starts_with("//!"),
                "{} does not start with `//!`",
                target.src_path
            );
        }
    }
    Ok(())
}

#[test]
fn every_package_keeps_the_lints_of_the_workspace() -> anyhow::Result<()> {
    for package in graph()?.members() {
        let manifest = fs::read_to_string(&package.manifest_path)?;
        assert!(
            manifest.contains("[lints]\nworkspace = true\n"),
            "{}",
            package.manifest_path
        );
        assert!(
            package.publish.as_ref().is_some_and(Vec::is_empty),
            "{} could be published",
            package.name
        );
        assert!(
            package.description.is_some(),
            "{} has no description",
            package.name
        );
    }
    Ok(())
}

#[test]
fn pure_crates_have_one_list_of_what_they_must_not_call() -> anyhow::Result<()> {
    let lists: Vec<_> = ["content", "membership", "proof", "transfer", "wire"]
        .iter()
        .map(|pure| fs::read_to_string(root().join("crates").join(pure).join("clippy.toml")))
        .collect::<Result<_, _>>()?;
    assert!(
        lists.windows(2).all(|pair| pair[0] == pair[1]),
        "the copies of clippy.toml differ"
    );
    Ok(())
}

#[test]
fn modules_are_named_by_their_files() -> anyhow::Result<()> {
    let named_mod = ["mod", "rs"].join(".");
    for file in own_files()? {
        let name = file.path.file_name().unwrap_or_default();
        assert!(
            name != named_mod.as_str(),
            "{} should be named like its module",
            file.path.display()
        );
    }
    Ok(())
}

#[test]
fn nothing_is_put_off_in_the_code() -> anyhow::Result<()> {
    // Put together here, so that this file passes.
    let words = [
        ["TO", "DO"],
        ["FIX", "ME"],
        ["unimplemented", "!("],
        ["todo", "!("],
        ["dbg", "!("],
    ];
    for file in own_files()? {
        for word in words.map(|parts| parts.concat()) {
            let line = file.text.lines().position(|line| line.contains(&word));
            assert_eq!(
                line,
                None,
                "{} has `{word}` at that line, from 0",
                file.path.display()
            );
        }
    }
    Ok(())
}

#[test]
fn a_file_holds_one_idea() -> anyhow::Result<()> {
    for file in own_files()?
        .iter()
        .filter(|file| is_rust(&file.path) && !is_test(&file.path))
    {
        let lines = lines_before_tests(file);
        assert!(
            lines <= MAX_LINES,
            "{} has {lines} lines without its tests",
            file.path.display()
        );
    }
    Ok(())
}

#[test]
fn text_ends_with_one_newline_and_no_line_with_blanks() -> anyhow::Result<()> {
    for file in own_files()? {
        let path = file.path.display();
        assert!(
            file.text.is_empty() || file.text.ends_with('\n'),
            "{path} does not end its last line"
        );
        assert!(
            !file.text.ends_with("\n\n"),
            "{path} ends with an empty line"
        );
        assert!(!file.text.contains('\r'), "{path} has carriage returns");
        let blank = file
            .text
            .lines()
            .position(|line| line.ends_with([' ', '\t']));
        assert_eq!(
            blank, None,
            "{path} has blanks at the end of that line, from 0"
        );
    }
    Ok(())
}

#[test]
fn every_contract_lies_where_its_package_says() -> anyhow::Result<()> {
    let mut contracts = 0;
    for file in own_files()?
        .iter()
        .filter(|file| has_extension(&file.path, "proto"))
        // What a benchmark says to itself is no contract.
        .filter(|file| !file.path.starts_with("benches"))
    {
        contracts += 1;
        let path = file.path.display();
        let package = file
            .text
            .lines()
            .find_map(|line| line.strip_prefix("package "));
        let package = package.with_context(|| format!("{path} has no package"))?;
        let folder = package.trim_end_matches(';').replace('.', "/");
        let parent = file.path.parent().unwrap_or(Path::new(""));
        assert_eq!(
            parent,
            Path::new("proto").join(folder),
            "{path} is in the wrong folder"
        );
    }
    assert!(contracts >= 7, "only {contracts} contracts were found");
    Ok(())
}

#[test]
fn every_fuzz_target_has_a_corpus_that_tests_replay() -> anyhow::Result<()> {
    let mut targets = 0;
    for entry in fs::read_dir(root().join("tests/fuzz/fuzz_targets"))? {
        let path = entry?.path();
        let name = path.file_stem().context("a target has a name")?.to_owned();
        let corpus = root().join("tests/fuzz/corpus").join(&name);
        let inputs = fs::read_dir(&corpus)
            .with_context(|| corpus.display().to_string())?
            .count();
        assert!(inputs > 0, "{} is empty", corpus.display());
        targets += 1;
    }
    assert!(targets >= 3, "only {targets} targets were found");
    Ok(())
}

fn is_rust(path: &Path) -> bool {
    has_extension(path, "rs")
}

/// Whether a file holds tests only: below a folder `tests`, or a module of that name.
fn is_test(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests")
        || path.file_stem().is_some_and(|stem| stem == "tests")
}

fn has_extension(path: &Path, wanted: &str) -> bool {
    path.extension()
        .is_some_and(|extension| extension == wanted)
}

fn lines_before_tests(file: &SourceFile) -> usize {
    let lines: Vec<_> = file.text.lines().collect();
    let tests = lines
        .windows(2)
        .position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod "));
    tests.unwrap_or(lines.len())
}
