//! 0install behind the command, played by a script: what it is asked, and that it goes on whatever happens before.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::home::{Home, Said, UNKNOWN, set_mode};

const URL: &str = "http://example.org/hello.xml";

/// What the script says of how it was started.
const RAN: &str = "ran";

#[test]
fn what_is_missing_comes_before_0install_runs_with_the_same_words() {
    let (one, two) = (Home::new(), Home::new());
    let _node = one.start_node(&[]);
    let id = add(&one);
    let address = one.address();
    let program = played(&two, &select(&document(&[&id])));

    let said = through(
        &two,
        &program,
        &["--from", &address],
        &["run", URL, "--json", "-v", "--help"],
    );
    assert_eq!(said.code, Some(7), "{said:?}");
    assert_eq!(said.out, format!("{RAN} run {URL} --json -v --help\n"));
    assert_eq!(said.err, "", "standard error is the program's");
    assert!(two.store().join(&id).is_dir());

    // With all of it here nobody is needed.
    drop(one);
    let said = through(&two, &program, &[], &["run", URL]);
    assert_eq!((said.code, said.err.as_str()), (Some(7), ""));
}

#[test]
fn a_saved_selection_is_taken_before_a_new_one() {
    let (one, two) = (Home::new(), Home::new());
    let _node = one.start_node(&[]);
    let id = add(&one);
    let show = format!(
        "show) cat <<'END'\n{}\nEND\nexit ;;\nselect) exit 9 ;;",
        document(&[&id])
    );
    let program = played(&two, &show);
    let address = one.address();
    let said = through(&two, &program, &["--from", &address], &["run", "hello"]);
    assert_eq!(said.out, format!("{RAN} run hello\n"), "{said:?}");
    assert!(two.store().join(&id).is_dir());
}

#[test]
fn when_nothing_can_be_brought_0install_goes_on_alone() {
    let home = Home::new();
    let nobody = select(&document(&[UNKNOWN]));
    let broken = "select) echo nonsense ;;";
    let failing = "select) exit 1 ;;";
    for (script, words) in [
        (nobody.as_str(), &["run", URL][..]),
        (&nobody, &["download", URL]),
        (broken, &["run", URL]),
        (failing, &["update", URL]),
    ] {
        let program = played(&home, script);
        let said = through(&home, &program, &["--wait", "50ms"], words);
        assert_eq!(said.code, Some(7), "{script}: {said:?}");
        assert_eq!(said.out, format!("{RAN} {}\n", words.join(" ")));
        assert_eq!(said.err, "", "{script}");
    }

    // What is wrong here is a warning.
    fs::write(home.path("bad.toml"), "[common]\nno-such = 1\n").unwrap();
    let program = played(&home, &nobody);
    let bad = home.path("bad.toml");
    let said = through(
        &home,
        &program,
        &["--config", bad.to_str().unwrap()],
        &["run", URL],
    );
    assert_eq!(said.code, Some(7), "{said:?}");
    assert!(said.err.starts_with("zeroshare: "), "{said:?}");
    assert!(said.err.contains("0install goes on alone"), "{said:?}");
}

#[test]
fn what_selects_nothing_is_passed_on_at_once() {
    let home = Home::new();
    // Would be noticed: it never ends.
    let program = played(&home, "select|show) sleep 600 ;;");
    for words in [
        &["config", "freshness"][..],
        &["store", "list"],
        &["run", "--offline", URL],
        &["run", "--dry-run", URL],
        &["run", "--no-such-option", URL],
        &["--version"],
        &[],
    ] {
        let said = through(&home, &program, &[], words);
        assert_eq!(said.code, Some(7), "{words:?}: {said:?}");
        assert_eq!(
            said.out.trim_end(),
            format!("{RAN} {}", words.join(" ")).trim_end()
        );
    }
    let said = through(&home, &program, &["--wait", "0"], &["run", URL]);
    assert_eq!(said.code, Some(7), "nobody is asked: {said:?}");
}

#[test]
fn the_real_0install_must_be_there_and_be_another_program() {
    let home = Home::new();
    let said = home.run(&["0install", "--program", "/nowhere/0install", "config"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("/nowhere/0install"), "{said:?}");

    let shim = home.path("0install");
    let line = format!(
        "#!/bin/sh\nexec {} 0install --program {} -- \"$@\"\n",
        env!("CARGO_BIN_EXE_zeroshare"),
        shim.display()
    );
    fs::write(&shim, line).unwrap();
    set_mode(&shim, 0o755);
    let said = through(&home, &shim, &[], &["config"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("leads back"), "{said:?}");
}

#[test]
fn it_starts_with_the_limit_of_open_files_that_we_were_given() {
    let home = Home::new();
    let program = played(&home, "config) ulimit -Sn; exit ;;");
    let line = format!(
        "ulimit -Sn 99; exec {} 0install --program {} config",
        env!("CARGO_BIN_EXE_zeroshare"),
        program.display()
    );
    let mut command = std::process::Command::new("/bin/sh");
    let output = command.args(["-c", &line]).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "99\n",
        "{output:?}"
    );
}

#[test]
fn all_of_a_program_is_prefetched_and_what_is_lacking_is_said() {
    let (one, two) = (Home::new(), Home::new());
    let _node = one.start_node(&[]);
    let id = add(&one);
    let address = one.address();
    fs::write(two.path("all.xml"), document(&[&id])).unwrap();
    fs::write(two.path("some.xml"), document(&[UNKNOWN, &id])).unwrap();

    let words = ["prefetch", "all.xml", "--from", &address];
    let document = two.document(&words);
    let brought = &document["implementations"][0];
    assert_eq!(brought["state"], "fetched");
    assert_eq!(brought["content_id"], id.as_str());
    assert_eq!(brought["path"], two.store().join(&id).to_str().unwrap());
    assert_eq!(brought["interface"], URL);
    assert_eq!(two.document(&words)["implementations"][0]["state"], "here");

    let lacking = ["prefetch", "some.xml", "--from", &address];
    let said = two.run(&[&lacking[..], &["--json"]].concat());
    assert_eq!(said.code, Some(3), "{said:?}");
    assert_eq!(said.error()["reason"], "NO_PROVIDERS");
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(report["implementations"][0]["state"], "nobody");
    assert_eq!(report["implementations"][1]["state"], "here");
    let said = two.run(&lacking);
    assert!(said.out.contains("nobody has it"), "{said:?}");
    assert!(
        said.err.contains("lacks 1 of 2 implementations"),
        "{said:?}"
    );
}

#[test]
fn a_program_is_selected_by_0install_before_it_is_prefetched() {
    let (one, two) = (Home::new(), Home::new());
    let _node = one.start_node(&[]);
    let id = add(&one);
    let check = format!(
        "select) case \"$*\" in *--version=2*\"{URL}\") ;; *) exit 1 ;; esac\ncat <<'END'\n{}\nEND\nexit ;;",
        document(&[&id])
    );
    let program = played(&two, &check);
    let program = program.to_str().unwrap();
    let address = one.address();
    let words = [
        "prefetch",
        "--program",
        program,
        "--from",
        &address,
        URL,
        "--",
        "--version",
        "2",
    ];
    assert!(two.must(&words).contains("fetched"));
    assert!(two.store().join(&id).is_dir());

    for (words, code) in [
        (&["prefetch", URL, "--", "--offline"][..], 2),
        // Its feed is not cached, and nobody shares it.
        (&["prefetch", "--program", program, URL], 3),
        (&["prefetch", "--program", "/nowhere/0install", URL], 1),
    ] {
        let said = two.run(words);
        assert_eq!(said.code, Some(code), "{words:?}: {said:?}");
    }
}

#[test]
fn what_nobody_had_is_asked_for_anew() {
    let home = Home::new();
    let said = home.run(&["refresh", "--json"]);
    assert_eq!(said.error()["reason"], "NO_NODE");
    let _node = home.start_node(&[]);
    assert_eq!(home.must(&["refresh"]), "");
    let said = home.run(&["refresh", UNKNOWN, "--wait", "50ms", "--json"]);
    assert_eq!(said.code, Some(3), "{said:?}");
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(report["contents"][0]["content_id"], UNKNOWN);
    assert_eq!(report["contents"][0]["peer_id"], Value::Null);
}

/// Runs 0install by way of the command.
fn through(home: &Home, program: &Path, ours: &[&str], words: &[&str]) -> Said {
    let program = ["--program", program.to_str().unwrap()];
    home.run(&[&["0install"], &program[..], ours, words].concat())
}

/// A 0install that answers some of its commands as a script does, and to the others says how it was started.
fn played(home: &Home, cases: &str) -> PathBuf {
    let path = home.path("played-0install");
    let script = format!("#!/bin/sh\ncase \"$1\" in\n{cases}\nesac\necho {RAN} \"$@\"\nexit 7\n");
    fs::write(&path, script).unwrap();
    set_mode(&path, 0o755);
    path
}

/// Selects always the same.
fn select(document: &str) -> String {
    format!("show) exit 1 ;;\nselect) cat <<'END'\n{document}\nEND\nexit ;;")
}

fn document(ids: &[&str]) -> String {
    let selection =
        |id: &&str| format!("<selection interface=\"{URL}\" version=\"1\" id=\"{id}\"/>");
    let selections: String = ids.iter().map(selection).collect();
    format!(
        "<?xml version=\"1.0\"?>\n<selections interface=\"{URL}\" \
         xmlns=\"http://zero-install.sourceforge.net/2004/injector/interface\">{selections}</selections>"
    )
}

fn add(home: &Home) -> String {
    home.make_tree("tree", 21);
    let id = home.must(&["add", "tree"]);
    home.wait_until_offered(&id);
    id
}
