//! A wrong group secret, and a missing one.

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use anyhow::{Result, ensure};
use zeroshare_identity::GroupSecret;
use zeroshare_network::{Host, Lan, wait_until, zero_install_hello};

use crate::{
    liar::Liar,
    nobodys,
    told::{Told, doctor, explain, meet},
};

const SECRET: &str = "EdvX6yWvx6QQ4lHkYlMmYkR9c2VjcmV0IQ==";
const ANOTHER: &str = "bm90IHRoZSBzYW1lIHNlY3JldCBhdCBhbGwh";

/// A beacon of each is heard within this.
const HEARING: Duration = Duration::from_mins(2);

/// Whom nobody is.
const NOBODY: &str = "65534";

/// What a host is told of another one that it cannot understand.
struct Case {
    secret: Option<&'static str>,
    others: Option<&'static str>,
    /// What is wrong, and what to do about it.
    text: &'static str,
    advice: &'static str,
}

#[test]
fn a_wrong_or_missing_group_secret_is_named_with_what_to_do_about_it() -> Result<()> {
    let cases = [
        Case {
            secret: Some(SECRET),
            others: Some(ANOTHER),
            text: "10.77.0.1:38339 has another group secret",
            advice: "Probably the group secret is wrong here, or wrong or missing there",
        },
        Case {
            secret: Some(SECRET),
            others: None,
            text: "10.77.0.1:38339 has no group secret",
            advice: "Give all machines that belong together the same file",
        },
        Case {
            secret: None,
            others: Some(SECRET),
            text: "10.77.0.1:38339 has a group secret, and this node has none",
            advice: "Probably the group secret is missing here",
        },
    ];
    for case in cases {
        case.play()?;
    }
    Ok(())
}

impl Case {
    fn play(&self) -> Result<()> {
        let lan = Lan::new(2)?;
        let (holder, asker) = (lan.host(1), lan.host(2));
        give(holder, self.others)?;
        give(asker, self.secret)?;
        let id = zero_install_hello(holder)?;
        let _asking = asker.start_node(&[])?;
        let _holding = holder.start_node(&[])?;
        holder.wait_until_offered(&id)?;
        wait_until("the other one is heard", HEARING, || {
            let outsiders = &asker.status()?["discovery"]["outsiders"];
            Ok(outsiders.as_array().is_some_and(|all| !all.is_empty()))
        })?;
        self.find(asker, &id)?;
        self.examine(asker)
    }

    fn find(&self, asker: &Host, id: &str) -> Result<()> {
        let found = explain(asker, id)?;
        ensure!(found.code == Some(3), "{found:?}");
        ensure!(found.reasons()[0] == "other_group", "{found:?}");
        let said = asker.zeroshare(&["find", id, "--explain"])?;
        for part in [self.text, "not listened to", self.advice] {
            ensure!(said.stdout.contains(part), "no {part:?}: {}", said.stdout);
        }
        Ok(())
    }

    fn examine(&self, asker: &Host) -> Result<()> {
        let told = doctor(asker)?;
        ensure!(told.code == Some(1), "{told:?}");
        ensure!(told.levels("group") == ["fault"], "{told:?}");
        ensure!(told.levels("neighbour") == ["hint"], "{told:?}");
        let said = asker.zeroshare(&["doctor"])?;
        for part in [self.text, self.advice, "--group-secret FILE"] {
            ensure!(said.stdout.contains(part), "no {part:?}: {}", said.stdout);
        }
        Ok(())
    }
}

#[test]
fn in_a_group_doctor_tells_a_member_from_somebody_who_only_says_so() -> Result<()> {
    let lan = Lan::new(3)?;
    let (member, asker, liar) = (lan.host(1), lan.host(2), lan.host(3));
    for host in [member, asker] {
        give(host, Some(SECRET))?;
    }
    let _nodes = [member.start_node(&[])?, asker.start_node(&[])?];
    meet(asker, 1)?;
    let told = doctor(asker)?;
    ensure!(told.code == Some(0), "{told:?}");
    let store = text(&told, "10.77.0.1:38339")?;
    ensure!(
        store.contains("proves to be of this group and serves"),
        "{store}"
    );

    // Its datagrams are of the group, as those of a node are whose store was started before the secret was changed.
    let key = GroupSecret::of(SECRET.as_bytes()).datagrams();
    let lying = Liar::start(liar, key)?;
    meet(asker, 2)?;
    let told = doctor(asker)?;
    ensure!(told.code == Some(1), "{told:?}");
    let store = text(&told, "10.77.0.3:38339")?;
    ensure!(
        store.contains("takes TCP connections, and does not prove to be of this group"),
        "{store}"
    );
    println!("{}", asker.zeroshare(&["doctor"])?.stdout);
    let explained = explain(asker, &nobodys())?;
    ensure!(explained.reasons() == ["store_unproven"], "{explained:?}");
    lying.end()
}

#[test]
fn a_command_that_does_not_know_its_nodes_secret_says_so() -> Result<()> {
    let lan = Lan::new(2)?;
    let (member, asker) = (lan.host(1), lan.host(2));
    give(member, Some(SECRET))?;
    let _member = member.start_node(&[])?;
    let secret = asker.home().join("secret");
    write_secret(&secret, SECRET)?;
    let _node = asker.start_node(&["--group-secret", &secret.to_string_lossy()])?;
    meet(asker, 1)?;
    let told = doctor(asker)?;
    ensure!(told.code == Some(0), "{told:?}");
    ensure!(told.levels("group") == ["hint"], "{told:?}");
    let said = asker.zeroshare(&["doctor"])?.stdout;
    ensure!(said.contains("ZEROSHARE_GROUP_SECRET=FILE"), "{said}");
    Ok(())
}

#[test]
fn whoever_may_not_read_the_group_secret_is_told_what_to_do() -> Result<()> {
    let lan = Lan::new(1)?;
    let host = lan.host(1);
    give(host, Some(SECRET))?;
    // Everything but the secret is for everybody to read.
    let home = host.home().to_string_lossy();
    host.must("chmod", &["755", &home])?;
    let program = zeroshare_network::program("zeroshare")?;
    let program = program.to_string_lossy();
    let words = ["--reuid", NOBODY, "--clear-groups", &program, "doctor"];
    let said = host.run("setpriv", &words)?;
    ensure!(said.status.code() == Some(2), "{}", said.stderr);
    for part in ["may not read the group secret", "sudo", "chmod 640"] {
        ensure!(said.stderr.contains(part), "no {part:?}: {}", said.stderr);
    }
    Ok(())
}

/// What doctor says of a store.
fn text(told: &Told, store: &str) -> Result<String> {
    let finding = told.finding("store", store)?;
    Ok(finding["text"].as_str().unwrap_or_default().to_owned())
}

/// Puts a secret and a configuration that names it on a host.
fn give(host: &Host, secret: Option<&str>) -> Result<()> {
    let Some(secret) = secret else {
        return Ok(());
    };
    let directory = host.home().join("config/zeroshare");
    fs::create_dir_all(&directory)?;
    let file = directory.join("secret");
    write_secret(&file, secret)?;
    let configuration = format!("[common]\ngroup-secret = \"{}\"\n", file.display());
    fs::write(directory.join("config.toml"), configuration)?;
    Ok(())
}

fn write_secret(file: &std::path::Path, secret: &str) -> Result<()> {
    fs::write(file, format!("{secret}\n"))?;
    fs::set_permissions(file, fs::Permissions::from_mode(0o600))?;
    Ok(())
}
