//! Kills itself at every step, and looks at what is left.

use std::fs;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Signal, getpid, kill_process};
use zeroshare_staging::{Durability, Observer, StageError, StageOptions, Staged, Step};

use crate::support::{
    LARGE, Store, Tree, corrupt, forget_the_boot, journal_of, make_writable, noise, sample, tree,
};

const STORE: &str = "ZEROSHARE_STAGING_TEST_STORE";
const KILL_AT: &str = "ZEROSHARE_STAGING_TEST_KILL_AT";
const UMASK: &str = "ZEROSHARE_STAGING_TEST_UMASK";

/// What the child stages: small enough to be killed at each of its steps.
fn victim() -> Tree {
    tree()
        .dir("d")
        .dir("d/inner")
        .file("d/inner/small", "small")
        .file("d/small too", "small")
        .entry("d/small program", "small", true, -7)
        .file("empty", "")
        .link("link", "d")
        .file("says d", "d")
        .file("large", noise(1, LARGE))
        .entry("d/large too", noise(1, LARGE), true, 9)
        .build()
}

/// Not a test of its own: what the others start as another process.
#[test]
fn child() {
    let Some(store) = std::env::var_os(STORE) else {
        return;
    };
    let log = Path::new(&store).join("log");
    let log = fs::File::options()
        .append(true)
        .create(true)
        .open(log)
        .unwrap();
    if let Ok(umask) = std::env::var(UMASK) {
        let umask = u32::from_str_radix(&umask, 8).unwrap();
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(umask));
    }
    let kill_at: usize = std::env::var(KILL_AT).unwrap().parse().unwrap();
    let steps = AtomicUsize::new(0);
    let observer = Observer::new(move |step| {
        if let Step::Proven(item) = step {
            writeln!(&log, "{item}").unwrap();
        }
        if steps.fetch_add(1, Ordering::Relaxed) == kill_at {
            kill_process(getpid(), Signal::KILL).unwrap();
        }
    });
    let options = StageOptions {
        observer: Some(observer),
        ..StageOptions::default()
    };
    let tree = victim();
    let staged = Staged::begin(Path::new(&store), &tree.manifest, &options).unwrap();
    tree.put_missing(&staged);
    staged.commit(Durability::Durable).unwrap();
}

fn run_child(store: &Path, kill_at: usize, umask: &str) -> ExitStatus {
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program)
        .args(["--exact", "crashes::child", "--test-threads=1"])
        .env(STORE, store)
        .env(KILL_AT, kill_at.to_string())
        .env(UMASK, umask)
        .output()
        .unwrap();
    let killed = output.status.signal() == Some(9);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(killed || output.status.success(), "{text}");
    output.status
}

/// Runs the child until it dies at a step, then looks and goes on; `false` when it had no such step.
fn check_kill(store: &Store, kill_at: usize, umask: &str) -> bool {
    let tree = victim();
    let died = run_child(store.path(), kill_at, umask).signal().is_some();
    let place = tree.place_in(store.path());
    if place.exists() {
        tree.assert_stored(&place);
    }
    let log = store.path().join("log");
    let proven = fs::read_to_string(&log).unwrap_or_default();
    if !place.exists() {
        let staged = store.begin(&tree);
        tree.assert_proven(&staged);
        for item in proven.lines() {
            assert!(
                staged.is_proven(item.parse().unwrap()),
                "killed at {kill_at}: {item}"
            );
        }
        let missing = staged.missing_bytes();
        assert_eq!(tree.put_missing(&staged), missing);
        tree.assert_stored(&staged.commit(Durability::Unsynced).unwrap().path);
    }
    died
}

#[test]
fn killed_at_any_step_the_store_shows_the_whole_tree_or_none_and_nothing_is_fetched_twice() {
    let mut steps = 0;
    while check_kill(&Store::new(), steps, "022") {
        steps += 1;
        assert!(steps < 1000, "the child never ends");
    }
    assert!(steps > 20, "{steps}");
}

#[test]
fn killed_again_and_again_it_still_gets_there() {
    let store = Store::new();
    let tree = victim();
    // Each life is a little longer than the one before.
    let mut lives = 0;
    while run_child(store.path(), 2 + lives * 2, "022")
        .signal()
        .is_some()
    {
        lives += 1;
        assert!(lives < 100, "it never gets there");
    }
    tree.assert_stored(&tree.place_in(store.path()));
    assert!(lives > 1);
}

#[test]
fn the_mask_of_the_process_does_not_matter() {
    for umask in ["000", "022", "077", "277"] {
        let store = Store::new();
        assert!(!check_kill(&store, usize::MAX, umask), "{umask}");
        victim().assert_stored(&victim().place_in(store.path()));
        assert_eq!(store.names().len(), 2, "{:?}", store.names());
    }
}

#[test]
fn killed_while_it_replaces_a_corrupt_tree_there_is_always_one() {
    let tree = victim();
    let mut steps = 0;
    loop {
        let store = Store::new();
        let standing = tree.slow_commit(store.path()).path;
        make_writable(&standing);
        corrupt(&standing.join("large"));
        let died = run_child(store.path(), steps, "022").signal().is_some();
        assert!(tree.place_in(store.path()).exists(), "killed at {steps}");
        // Whatever was left behind, the next run ends well.
        let staged = store.begin(&tree);
        tree.assert_proven(&staged);
        tree.put_missing(&staged);
        tree.assert_stored(&staged.commit(Durability::Unsynced).unwrap().path);
        if !died {
            break;
        }
        steps += 1;
    }
    assert!(steps > 20);
}

#[test]
fn a_process_that_died_holds_no_lock() {
    let (store, tree) = (Store::new(), victim());
    run_child(store.path(), 1, "022");
    let staged = store.begin(&tree);
    let second = Staged::begin(store.path(), &tree.manifest, &StageOptions::default());
    assert!(matches!(second, Err(StageError::AlreadyLocked { .. })));
    drop(staged);
    store.begin(&sample());
}

#[test]
fn killed_while_it_hashes_after_a_new_start_of_the_machine_it_believes_nothing() {
    let tree = victim();
    for kill_at in 0..15 {
        let store = Store::new();
        let staged = store.begin(&tree);
        tree.put_missing(&staged);
        let journal = journal_of(&store, &staged);
        let dir = staged.dir().to_owned();
        drop(staged);
        corrupt(&dir.join("large"));
        corrupt(&dir.join("d/small program"));
        forget_the_boot(&journal);
        run_child(store.path(), kill_at, "022");
        let place = tree.place_in(store.path());
        if !place.exists() {
            let staged = store.begin(&tree);
            tree.assert_proven(&staged);
            tree.put_missing(&staged);
            staged.commit(Durability::Unsynced).unwrap();
        }
        tree.assert_stored(&place);
    }
}
