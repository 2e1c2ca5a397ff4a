//! Whether what `zeroshare setup` wrote is there, runs, and does what it is for.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use zeroshare_chassis::Env;
use zeroshare_shelf::is_own_mount;

use super::finding::Finding;
use super::programs::{Said, ask};
use crate::command::setup::{
    Disk, DiskError, MOUNT, NODE, Origin, Paths, SERVICES, SHARED_STORE, Scope, TARGET,
    listed_directory, origin,
};

const CHECK: &str = "setup";

/// Run by 0install after a download.
const HELPER: &str = "0store-secure-add-helper";

/// All that was set up for the machine and for this user.
pub(super) async fn setup(env: &Env) -> Vec<Finding> {
    let mut findings = of(&Scope::machine(), env).await;
    if let (Ok(user), true) = (Scope::user(env), env.uid != 0) {
        findings.extend(of(&user, env).await);
    }
    if findings.is_empty() && in_path(env, "0install").is_some() {
        let text = "0install is here, and is not led to the neighbours";
        let advice = "`zeroshare setup 0install` does that, and --dry-run says what it would do.";
        findings.push(Finding::hint(CHECK, text).advise(advice));
    }
    findings
}

async fn of(scope: &Scope, env: &Env) -> Vec<Finding> {
    let paths = scope.paths();
    let seen = match scope.disk().and_then(|disk| look(&disk, &paths)) {
        Ok(seen) => seen,
        Err(error) => {
            let text = crate::failure::chain(&error);
            return vec![Finding::fault(CHECK, text)];
        }
    };
    let mut findings = Vec::new();
    for unit in wanted_units(scope, &seen) {
        let origin = seen.units.iter().find(|(name, _)| *name == unit);
        let state = state(scope, unit).await;
        findings.push(judge_unit(
            scope,
            unit,
            origin.map(|(_, origin)| *origin),
            state.as_deref(),
        ));
    }
    if seen.is_for_0install() {
        findings.push(judge_list(&seen, &paths));
        findings.extend(seen.directory.as_deref().map(|dir| judge_mount(scope, dir)));
        findings.extend(paths.helper.as_deref().map(|path| helper(path, &seen, env)));
    }
    if !findings.is_empty() && paths.directories.is_some() {
        findings.push(shared_store(Path::new(SHARED_STORE)));
    }
    findings
}

/// What files say.
#[derive(Debug, Default)]
struct Seen {
    /// What the list names.
    directory: Option<PathBuf>,
    /// The units that are there.
    units: Vec<(&'static str, Origin)>,
    /// What 0install's helper is, if there is one.
    helper: Option<Origin>,
}

impl Seen {
    fn is_for_0install(&self) -> bool {
        self.directory.is_some() || self.units.iter().any(|(name, _)| *name == MOUNT)
    }
}

fn look(disk: &Disk, paths: &Paths) -> Result<Seen, DiskError> {
    let list = disk.read(&paths.list)?.unwrap_or_default();
    let directory = listed_directory(&list);
    let mut units = Vec::new();
    for name in [TARGET, NODE, MOUNT].into_iter().chain(SERVICES) {
        if let Some(text) = disk.read(&paths.units.join(name))? {
            units.push((name, origin(&text)));
        }
    }
    let helper = match &paths.helper {
        Some(path) => disk.read(path)?.map(|text| origin(&text)),
        None => None,
    };
    Ok(Seen {
        directory: directory.map(|name| PathBuf::from(std::ffi::OsStr::from_bytes(name))),
        units,
        helper,
    })
}

/// The units that have to be there, given what is.
fn wanted_units(scope: &Scope, seen: &Seen) -> Vec<&'static str> {
    let mut wanted = Vec::new();
    if seen.is_for_0install() {
        wanted.push(MOUNT);
    }
    if !seen.units.is_empty() || !wanted.is_empty() {
        match scope {
            Scope::System { .. } => wanted.extend(SERVICES),
            Scope::User { .. } => wanted.push(NODE),
        }
    }
    wanted
}

/// Whether a unit runs, as systemd says; `None` where there is no systemd to say it.
async fn state(scope: &Scope, unit: &str) -> Option<String> {
    if !scope.has_systemd() {
        return None;
    }
    let words = scope.systemctl(&["show", "--property=ActiveState", "--value", unit]);
    let words: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
    match ask("systemctl", &words).await {
        Said::Words(words) => Some(words.trim().to_owned()),
        Said::Missing | Said::Refused => None,
    }
}

fn judge_unit(scope: &Scope, unit: &str, origin: Option<Origin>, state: Option<&str>) -> Finding {
    let again = "`zeroshare setup` with what you set up writes it again.";
    let Some(origin) = origin else {
        let text = format!("{unit} is missing, without which the rest of the setup is of no use");
        return Finding::fault(CHECK, text).about(unit).advise(again);
    };
    let finding = match state {
        Some("active") => Finding::ok(CHECK, format!("{unit} runs")),
        Some(state) => {
            let ask = scope.systemctl(&["status", unit]).join(" ");
            let text = format!("{unit} does not run: systemd says that it is {state}");
            Finding::fault(CHECK, text).advise(format!("`{ask}` says why."))
        }
        None if matches!(origin, Origin::Ours(_)) => {
            let text =
                format!("{unit} is there; no systemd is here that could say whether it runs");
            Finding::hint(CHECK, text)
        }
        None => Finding::hint(
            CHECK,
            format!("{unit} is there, and was changed by somebody"),
        ),
    };
    finding.about(unit)
}

fn judge_list(seen: &Seen, paths: &Paths) -> Finding {
    let list = paths.list.display();
    let finding = match &seen.directory {
        Some(directory) => Finding::ok(
            CHECK,
            format!("0install looks for programs in {} too", directory.display()),
        ),
        None => Finding::fault(
            CHECK,
            format!("{list} does not name the mount: 0install does not look there"),
        )
        .advise("`zeroshare setup 0install` adds the line."),
    };
    finding.about(list.to_string())
}

fn judge_mount(scope: &Scope, directory: &Path) -> Finding {
    let shown = directory.display();
    let finding = if is_own_mount(directory) {
        Finding::ok(CHECK, format!("{shown} shows what neighbours have"))
    } else {
        let start = scope.systemctl(&["restart", MOUNT]).join(" ");
        Finding::fault(
            CHECK,
            format!("nothing is mounted on {shown}, where 0install looks for what neighbours have"),
        )
        .advise(format!("`{start}` mounts it."))
    };
    finding.about(shown.to_string())
}

/// Whether 0install finds what puts downloads into the shared store.
fn helper(path: &Path, seen: &Seen, env: &Env) -> Finding {
    let shown = path.display();
    let found = in_path(env, HELPER);
    let finding = match (seen.helper, found) {
        (None, _) => Finding::fault(
            CHECK,
            format!("{shown} is missing: what 0install downloads stays with whoever downloaded it"),
        )
        .advise("`zeroshare setup 0install` writes it."),
        (Some(Origin::Changed | Origin::Foreign), _) => {
            Finding::hint(CHECK, format!("{shown} is not as it was written"))
        }
        (Some(Origin::Ours(_)), None) => Finding::fault(
            CHECK,
            format!("{shown} is not in this user's PATH, so 0install does not run it"),
        )
        .advise("Put its directory into PATH."),
        (Some(Origin::Ours(_)), Some(found)) if found == path => Finding::ok(
            CHECK,
            "what 0install downloads goes to all users of this machine",
        ),
        (Some(Origin::Ours(_)), Some(other)) => Finding::hint(
            CHECK,
            format!("0install runs {} instead of {shown}", other.display()),
        ),
    };
    finding.about(shown.to_string())
}

fn in_path(env: &Env, program: &str) -> Option<PathBuf> {
    let path = env.text("PATH")?;
    std::env::split_paths(path)
        .map(|directory| directory.join(program))
        .find(|candidate| {
            fs::metadata(candidate).is_ok_and(|found| found.is_file() && found.mode() & 0o111 != 0)
        })
}

/// Whether the shared store is there, its owner's to write, and nobody else's.
fn shared_store(store: &Path) -> Finding {
    let shown = store.display();
    let finding = match fs::metadata(store) {
        Ok(found) => judge_store(store, found.mode(), found.uid()),
        Err(error) => Finding::fault(
            CHECK,
            format!("the store of all users, {shown}, is missing: {error}"),
        )
        .advise("`zeroshare setup` with what you set up has it made."),
    };
    finding.about(shown.to_string())
}

fn judge_store(store: &Path, mode: u32, uid: u32) -> Finding {
    let shown = store.display();
    if mode & 0o002 != 0 {
        let text = format!(
            "everybody can write to the store of all users, {shown}, and what 0install runs from there it does not verify"
        );
        return Finding::fault(CHECK, text).advise(format!("`chmod o-w {shown}`"));
    }
    if uid == 0 {
        let text = format!(
            "the store of all users, {shown}, belongs to root: the node cannot write there"
        );
        let advice = "`zeroshare setup` with what you set up gives it to the node's user.";
        return Finding::fault(CHECK, text).advise(advice);
    }
    if mode & 0o300 != 0o300 {
        let text = format!("its owner cannot write to the store of all users, {shown}");
        return Finding::fault(CHECK, text).advise(format!("`chmod u+rwx {shown}`"));
    }
    Finding::ok(
        CHECK,
        format!("the node keeps programs of all users in {shown}"),
    )
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;
    use crate::command::setup::What;

    fn set_up() -> Seen {
        let ours = Origin::Ours(What::ZeroInstall);
        Seen {
            directory: Some("/run/zeroshare-lan".into()),
            units: [MOUNT, TARGET]
                .into_iter()
                .chain(SERVICES)
                .map(|name| (name, ours))
                .collect(),
            helper: Some(ours),
        }
    }

    #[test]
    fn where_nothing_was_set_up_nothing_is_wanted() {
        assert_eq!(wanted_units(&Scope::machine(), &Seen::default()), [""; 0]);
        let wanted = wanted_units(&Scope::machine(), &set_up());
        assert_eq!(wanted.len(), 1 + SERVICES.len());
        let only_line = Seen {
            directory: Some("/x".into()),
            ..Seen::default()
        };
        assert!(wanted_units(&Scope::machine(), &only_line).contains(&MOUNT));
    }

    #[test]
    fn a_unit_that_is_missing_or_stopped_is_wrong() {
        let scope = Scope::machine();
        let ours = Some(Origin::Ours(What::Node));
        let judge = |origin, state: Option<&str>| judge_unit(&scope, MOUNT, origin, state).level;
        assert_eq!(judge(ours, Some("active")), Level::Ok);
        assert_eq!(judge(ours, Some("failed")), Level::Fault);
        assert_eq!(judge(ours, None), Level::Hint);
        assert_eq!(judge(Some(Origin::Changed), None), Level::Hint);
        assert_eq!(judge(None, None), Level::Fault);
    }

    #[test]
    fn a_mount_that_is_not_listed_or_not_there_is_wrong() {
        let paths = Scope::machine().paths();
        assert_eq!(judge_list(&set_up(), &paths).level, Level::Ok);
        assert_eq!(judge_list(&Seen::default(), &paths).level, Level::Fault);
        let found = judge_mount(&Scope::machine(), Path::new("/nothing/here"));
        assert_eq!(found.level, Level::Fault);
        assert!(found.advice.unwrap().contains("systemctl restart"));
    }

    #[test]
    fn the_helper_must_be_the_one_that_is_found_first() {
        let scratch = tempfile::tempdir().unwrap();
        let (one, two) = (scratch.path().join("one"), scratch.path().join("two"));
        let mut env = Env::default();
        for directory in [&one, &two] {
            fs::create_dir(directory).unwrap();
            fs::copy("/bin/true", directory.join(HELPER)).unwrap();
        }
        let mut level = |path: String, at: &Path| {
            env.vars.insert("PATH".to_owned(), path.into());
            helper(&at.join(HELPER), &set_up(), &env).level
        };
        let both = format!("{}:{}", one.display(), two.display());
        assert_eq!(level(both.clone(), &one), Level::Ok);
        assert_eq!(level(both, &two), Level::Hint);
        assert_eq!(level("/nothing/here".to_owned(), &one), Level::Fault);
        let missing = helper(&one.join(HELPER), &Seen::default(), &env);
        assert_eq!(missing.level, Level::Fault);
    }

    #[test]
    fn the_shared_store_is_its_owners_to_write_and_nobody_elses() {
        let level = |mode, uid| judge_store(Path::new("/s"), mode, uid).level;
        assert_eq!(level(0o755, 102), Level::Ok);
        assert_eq!(level(0o757, 102), Level::Fault);
        assert_eq!(level(0o555, 102), Level::Fault);
        assert_eq!(level(0o755, 0), Level::Fault);
        assert_eq!(shared_store(Path::new("/nothing/here")).level, Level::Fault);
    }
}
