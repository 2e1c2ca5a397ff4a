//! Setting up a user's node and 0install, and the image of a machine; what 0install runs after a download.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use crate::home::{Home, Said, set_mode, wait_until};

const LIST: &str = "config/0install.net/injector/implementation-dirs";

#[test]
fn a_user_is_set_up_and_back_again() {
    let home = Home::new();
    fs::create_dir_all(home.path(LIST).parent().unwrap()).unwrap();
    fs::write(home.path(LIST), "# mine\n/mnt/usb").unwrap();
    let words = ["setup", "0install", "--user"];
    let planned = home.document(&[&words[..], &["--dry-run"]].concat());
    assert_eq!(planned["dry_run"], true);
    assert!(!home.path("config/systemd").exists());

    let report = home.document(&words);
    assert_eq!(actions(&report, "write").len(), 3, "{report}");
    assert!(actions(&report, "run").is_empty(), "no systemd runs here");
    assert_eq!(actions(&report, "later").len(), 1, "{report}");
    assert_eq!(report["steps"], planned["steps"]);
    let lan = home.path("run/zeroshare-lan");
    let list = fs::read_to_string(home.path(LIST)).unwrap();
    assert!(list.ends_with(&format!("\n{}\n# mine\n/mnt/usb", lan.display())));
    let unit = home.path("config/systemd/user/zeroshare-mount.service");
    let text = fs::read_to_string(&unit).unwrap();
    let start = format!(
        "\nExecStart={} mount --with-node {}\n",
        env!("CARGO_BIN_EXE_zeroshare"),
        lan.display()
    );
    assert!(text.contains(&start), "{text}");
    let cache = format!(
        "\nEnvironment=XDG_CACHE_HOME={}\n",
        home.path("cache").display()
    );
    assert!(text.contains(&cache), "{text}");
    assert!(home.must(&words).contains("is right"));

    let undone = home.must(&["setup", "0install", "--user", "--undo"]);
    assert!(
        undone.contains("removed") && undone.contains("zeroshare.service"),
        "{undone}"
    );
    assert_eq!(
        fs::read_to_string(home.path(LIST)).unwrap(),
        "# mine\n/mnt/usb"
    );
    let left = fs::read_dir(home.path("config/systemd/user")).unwrap();
    assert_eq!(left.count(), 0);
}

#[test]
fn the_image_of_a_machine_is_set_up_and_told_what_is_left_to_do() {
    let home = Home::new();
    let image = home.path("image");
    fs::create_dir_all(image.join("usr/bin")).unwrap();
    fs::write(image.join("usr/bin/zeroshare"), "").unwrap();
    let root = image.display().to_string();
    let words = [
        "setup",
        "0install",
        "--root",
        &root,
        "--program",
        "/usr/bin/zeroshare",
    ];
    let refused = home.run(&[&words[..], &["--json"]].concat());
    assert_eq!(
        refused.error()["reason"],
        "PROGRAM_UNFIT",
        "it cannot be run"
    );
    set_mode(&image.join("usr/bin/zeroshare"), 0o755);
    let said = home.must(&words);
    assert!(
        said.contains("then run:\n  systemd-sysusers --root="),
        "{said}"
    );
    let helper = image.join("usr/local/bin/0store-secure-add-helper");
    assert_eq!(
        fs::metadata(&helper).unwrap().permissions().mode() & 0o777,
        0o755
    );
    let unit = fs::read_to_string(image.join("etc/systemd/system/zeroshare-fetcher.service"));
    assert!(
        unit.unwrap()
            .contains("\nExecStart=/usr/bin/zeroshare node --only fetcher\n")
    );

    fs::write(&helper, "#!/bin/sh\nexit 1\n").unwrap();
    let refused = home.run(&[&words[..], &["--json"]].concat());
    assert_eq!(refused.code, Some(1));
    assert_eq!(refused.error()["reason"], "IN_THE_WAY");
    let undone = home.must(&["setup", "0install", "--root", &root, "--undo"]);
    assert!(undone.contains("somebody changed it"), "{undone}");
    assert!(helper.exists());
}

#[test]
fn the_services_of_a_node_run_in_processes_of_their_own() {
    let home = Home::new();
    let mut services =
        ["discovery", "store", "fetcher"].map(|service| home.start(&["node", "--only", service]));
    wait_until("all services serve", || {
        home.run(&["status"]).code == Some(0)
    });
    assert_eq!(home.document(&["status"])["node"]["pid"], Value::Null);
    let second = home.run(&["node", "--only", "store", "--json"]);
    assert_eq!(second.error()["reason"], "CANNOT_LISTEN");
    home.make_tree("tree", 1);
    let id = home.must(&["add", "tree"]);
    home.wait_until_offered(&id);
    for service in &mut services {
        service.signal(Signal::TERM);
        assert_eq!(service.wait().code(), Some(0), "{}", service.err());
    }
}

#[test]
fn what_0install_downloaded_goes_to_the_node_and_is_verified_there() {
    let (owner, user) = (Home::new(), Home::new());
    user.make_tree("tree", 1);
    let id = user.must(&["add", "tree"]);
    let downloaded = user.store().join(&id);
    let helper = |downloaded: &Path| -> Said {
        let node = owner.path("run/node").display().to_string();
        let mut command = user.command(&["secure-add", "--json", "--node-dir", &node, "--", &id]);
        // As 0install calls it.
        command
            .env("HOME", "Unclean")
            .env("ENV_NOT_CLEARED", "Unclean");
        // All users have this store.
        command.env("XDG_CACHE_DIRS", owner.path("cache"));
        user.start_by(command.current_dir(downloaded)).said()
    };
    let refused = helper(&downloaded);
    assert_eq!(refused.code, Some(1));
    assert_eq!(refused.error()["reason"], "NO_NODE");

    let _node = owner.start_node(&[]);
    let damaged = user.path("damaged");
    copy(&downloaded, &damaged);
    set_mode(&damaged.join("README"), 0o644);
    fs::write(damaged.join("README"), "tree 2\n").unwrap();
    let refused = helper(&damaged);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(!owner.store().join(&id).exists());

    let said = helper(&downloaded);
    assert_eq!((said.code, said.out.as_str()), (Some(0), ""), "{said:?}");
    assert_eq!(
        helper(&downloaded).code,
        Some(0),
        "what is there already is no error"
    );
    assert!(owner.store().join(&id).join(".manifest").is_file());
    let elsewhere = user.run(&["secure-add", &id]);
    assert_eq!(elsewhere.code, Some(1), "there is no tree");
}

fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .args([from, to])
        .status();
    assert!(copied.unwrap().success());
}

/// The files or commands of one kind of step.
fn actions(report: &Value, action: &str) -> Vec<String> {
    let steps = report["steps"].as_array().unwrap();
    let wanted = steps.iter().filter(|step| step["action"] == action);
    let named = wanted.map(|step| {
        let name = step["path"].as_str().or(step["command"].as_str());
        name.unwrap().to_owned()
    });
    named.collect()
}
