use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;

const LIST: &str = "/etc/xdg/0install.net/injector/implementation-dirs";
const HELPER: &str = "/usr/local/bin/0store-secure-add-helper";
const MOUNT_UNIT: &str = "/etc/systemd/system/zeroshare-mount.service";
const STORE_UNIT: &str = "/etc/systemd/system/zeroshare-store.service";

/// An image of a machine.
struct Image {
    root: TempDir,
}

impl Image {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        Self { root }
    }

    fn scope(&self) -> Scope {
        Scope::System {
            root: self.root.path().to_owned(),
        }
    }

    fn disk(&self) -> Disk {
        self.scope().disk().unwrap()
    }

    fn plan(&self, what: What) -> Result<Vec<Step>, PlanError> {
        let facts = Facts {
            what,
            program: "/usr/bin/zeroshare".to_owned(),
            mount: "/run/zeroshare-lan".to_owned(),
            environment: Vec::new(),
        };
        setup(&self.scope(), &self.disk(), &facts)
    }

    fn set_up(&self, what: What) -> Vec<Step> {
        let steps = self.plan(what).unwrap();
        self.carry_out(&steps);
        steps
    }

    fn undo(&self, what: What) -> Vec<Step> {
        let steps = undo(&self.scope(), &self.disk(), what).unwrap();
        self.carry_out(&steps);
        steps
    }

    fn carry_out(&self, steps: &[Step]) {
        let disk = self.disk();
        for step in steps {
            match step {
                Step::Write { path, text, mode } => disk.write(path, text, *mode).unwrap(),
                Step::Remove { path } => disk.remove(path).unwrap(),
                Step::Run { words } => panic!("an image runs nothing: {words:?}"),
                Step::Same { .. } | Step::Left { .. } | Step::Later { .. } => {}
            }
        }
    }

    fn put(&self, path: &str, text: &str) {
        self.disk()
            .write(Path::new(path), text.as_bytes(), 0o644)
            .unwrap();
    }

    fn text(&self, path: &str) -> Option<String> {
        let found = self.disk().read(Path::new(path)).unwrap();
        found.map(|bytes| String::from_utf8(bytes).unwrap())
    }

    /// All files that are there.
    fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        let mut waiting = vec![self.root.path().to_owned()];
        while let Some(directory) = waiting.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() {
                    waiting.push(entry.path());
                } else {
                    let path = entry.path();
                    let below = path.strip_prefix(self.root.path()).unwrap();
                    files.push(format!("/{}", below.display()));
                }
            }
        }
        files.sort();
        files
    }
}

fn writes(steps: &[Step]) -> usize {
    let is_write = |step: &&Step| matches!(step, Step::Write { .. } | Step::Remove { .. });
    steps.iter().filter(is_write).count()
}

#[test]
fn undo_leaves_what_was_there_before_and_a_second_setup_changes_nothing() {
    for what in [What::ZeroInstall, What::Node] {
        let image = Image::new();
        image.put(LIST, "# mine\n/mnt/usb\n");
        let before = image.files();
        let steps = image.set_up(what);
        assert!(writes(&steps) >= 6, "{steps:?}");
        let after = image.files();
        assert_eq!(writes(&image.set_up(what)), 0);
        assert_eq!(image.files(), after);
        image.undo(what);
        assert_eq!(image.files(), before);
        assert_eq!(image.text(LIST).unwrap(), "# mine\n/mnt/usb\n");
        assert_eq!(image.undo(what), []);
    }
}

#[test]
fn a_list_of_our_own_goes_with_us() {
    let image = Image::new();
    image.set_up(What::ZeroInstall);
    let list = image.text(LIST).unwrap();
    assert!(list.ends_with("\n/run/zeroshare-lan\n"), "{list}");
    assert!(image.text(HELPER).unwrap().contains("zeroshare secure-add"));
    image.undo(What::ZeroInstall);
    assert_eq!(image.files(), [""; 0]);
}

#[test]
fn what_somebody_changed_is_neither_replaced_nor_removed() {
    let image = Image::new();
    image.set_up(What::ZeroInstall);
    let mut changed = image.text(STORE_UNIT).unwrap();
    changed.push_str("Nice=5\n");
    image.put(STORE_UNIT, &changed);
    let refused = image.plan(What::ZeroInstall);
    assert!(matches!(refused, Err(PlanError::InTheWay(_))));
    let failure = Failure::from(refused.unwrap_err());
    assert_eq!(failure.reason, "IN_THE_WAY");

    let steps = image.undo(What::ZeroInstall);
    let left = Step::Left {
        path: STORE_UNIT.into(),
    };
    assert!(steps.contains(&left), "{steps:?}");
    assert_eq!(image.files(), [STORE_UNIT]);
    assert_eq!(image.text(STORE_UNIT).unwrap(), changed);
}

#[test]
fn a_file_of_somebody_else_stops_it_before_anything_is_written() {
    let image = Image::new();
    image.put(
        HELPER,
        "#!/bin/sh\nsudo -u zeroinst 0store-secure-add \"$1\"\n",
    );
    let refused = image.plan(What::ZeroInstall);
    assert!(matches!(refused, Err(PlanError::InTheWay(_))));
    assert_eq!(image.files(), [HELPER]);
    // The node alone does not need that place.
    image.set_up(What::Node);
    image.undo(What::Node);
    assert_eq!(image.files(), [HELPER]);
}

#[test]
fn a_node_that_is_wanted_for_its_own_sake_stays() {
    for order in [
        [What::Node, What::ZeroInstall],
        [What::ZeroInstall, What::Node],
    ] {
        let image = Image::new();
        for what in order {
            image.set_up(what);
        }
        let refused = undo(&image.scope(), &image.disk(), What::Node);
        assert!(matches!(refused, Err(PlanError::Needed)), "{order:?}");
        image.undo(What::ZeroInstall);
        assert!(image.text(STORE_UNIT).is_some(), "{order:?}");
        assert!(image.text(MOUNT_UNIT).is_none() && image.text(HELPER).is_none());
        assert!(image.text(LIST).is_none());
        image.undo(What::Node);
        assert_eq!(image.files(), [""; 0], "{order:?}");
    }
}

#[test]
fn an_older_version_is_replaced() {
    let image = Image::new();
    image.set_up(What::ZeroInstall);
    let now = image.text(STORE_UNIT).unwrap();
    let older = mark(
        "[Unit]\nDescription=of an older version\n",
        What::ZeroInstall,
    );
    image.put(STORE_UNIT, &older);
    let steps = image.set_up(What::ZeroInstall);
    assert_eq!(writes(&steps), 1);
    assert_eq!(image.text(STORE_UNIT).unwrap(), now);
}

#[test]
fn links_to_units_that_were_enabled_go_with_them() {
    let image = Image::new();
    image.set_up(What::Node);
    let wants = image
        .root
        .path()
        .join("etc/systemd/system/multi-user.target.wants");
    fs::create_dir_all(&wants).unwrap();
    for name in ["zeroshare.target", "other.service"] {
        let unit = format!("/etc/systemd/system/{name}");
        std::os::unix::fs::symlink(unit, wants.join(name)).unwrap();
    }
    image.undo(What::Node);
    assert_eq!(
        image.files(),
        ["/etc/systemd/system/multi-user.target.wants/other.service"]
    );
}

#[test]
fn an_image_is_told_how_to_start_it() {
    let image = Image::new();
    let steps = image.plan(What::ZeroInstall).unwrap();
    let later: Vec<String> = steps
        .iter()
        .filter_map(|step| match step {
            Step::Later { words } => Some(words.join(" ")),
            Step::Write { .. }
            | Step::Remove { .. }
            | Step::Same { .. }
            | Step::Left { .. }
            | Step::Run { .. } => None,
        })
        .collect();
    let root = image.root.path().display();
    let expected = [
        format!("systemd-sysusers --root={root} /etc/sysusers.d/zeroshare.conf"),
        format!("systemd-tmpfiles --root={root} --create /etc/tmpfiles.d/zeroshare.conf"),
        format!("systemctl --root={root} enable zeroshare-mount.service zeroshare.target"),
    ];
    assert_eq!(later, expected);
}

#[test]
fn a_user_gets_a_node_and_a_mount_and_nothing_of_the_systems() {
    let home = tempfile::tempdir().unwrap();
    let scope = Scope::User {
        config: home.path().join("config"),
        runtime: home.path().join("run"),
    };
    let facts = Facts {
        what: What::ZeroInstall,
        program: "/usr/bin/zeroshare".to_owned(),
        mount: "/run/user/7/zeroshare-lan".to_owned(),
        environment: Vec::new(),
    };
    let steps = setup(&scope, &scope.disk().unwrap(), &facts).unwrap();
    let paths = steps.iter().filter_map(|step| match step {
        Step::Write { path, .. } => Some(path),
        Step::Remove { .. }
        | Step::Same { .. }
        | Step::Left { .. }
        | Step::Run { .. }
        | Step::Later { .. } => None,
    });
    let names: Vec<_> = paths
        .map(|path| {
            path.strip_prefix(home.path())
                .unwrap()
                .display()
                .to_string()
        })
        .collect();
    let expected = [
        "config/systemd/user/zeroshare.service",
        "config/systemd/user/zeroshare-mount.service",
        "config/0install.net/injector/implementation-dirs",
    ];
    assert_eq!(names, expected);
}
