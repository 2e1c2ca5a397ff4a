//! What systemd is told, and what 0install runs after a download.
//!
//! Three traps shape these files. A unit with its own mount namespace (`ProtectSystem=`, `PrivateTmp=` and their like) hides
//! what it mounts from everybody else, so the mount has none of those. Whatever needs `NoNewPrivileges=`, which in a user's
//! manager is each filter of system calls, breaks `fusermount3`, so a user's mount has none of these. And a `DynamicUser=`
//! could not write the shared store, so that the node runs as whom the store belongs to.

use std::fmt::Write as _;

use super::words::{in_assignment, in_command, in_shell};

/// All services of the machine's node.
pub(crate) const TARGET: &str = "zeroshare.target";

/// A user's node.
pub(crate) const NODE: &str = "zeroshare.service";

/// The mount, of the machine or of a user.
pub(crate) const MOUNT: &str = "zeroshare-mount.service";

/// The services of the machine's node, each a process of its own.
pub(crate) const SERVICES: [&str; 3] = [
    "zeroshare-discovery.service",
    "zeroshare-store.service",
    "zeroshare-fetcher.service",
];

/// Holds the machine's node together.
pub(super) fn target() -> String {
    format!(
        "[Unit]\n\
         Description=zeroshare: programs from the machines beside this one\n\
         Wants={}\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n",
        SERVICES.join(" ")
    )
}

/// What all services of the machine's node have in common.
///
/// Left out on purpose: `RestrictSUIDSGID=` forbids openat2, without which every path below a store is walked name by name;
/// `PrivateUsers=` hides who calls. What Landlock needs is in none of systemd's groups of system calls before version 253.
const CONFINEMENT: &str = "\
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallFilter=landlock_create_ruleset landlock_add_rule landlock_restrict_self
UMask=0022
";

/// Directories that the services share, and that stay when one of them stops.
const DIRECTORIES: &str = "\
RuntimeDirectory=zeroshare
RuntimeDirectoryPreserve=yes
StateDirectory=zeroshare
StateDirectoryMode=0700
CacheDirectory=zeroshare
CacheDirectoryMode=0700
";

/// Finds the neighbours.
pub(super) fn discovery(program: &str, owner: &str) -> String {
    let more = "ProtectHome=yes\nProtectProc=invisible\n";
    service(program, owner, "discovery", "who is there", more)
}

/// What strangers reach: it may read, and write nothing but its own index.
pub(super) fn store(program: &str, owner: &str) -> String {
    let more = "# Files that root shares may lie in a home.\nProtectHome=read-only\nProtectProc=invisible\n";
    service(program, owner, "store", "what this machine offers", more)
}

/// What writes: the shared store, and nothing else.
pub(super) fn fetcher(program: &str, owner: &str, store: &str) -> String {
    let more = format!(
        "# A store named in /etc/zeroshare/config.toml has to be named here too: `systemctl edit zeroshare-fetcher`.\n\
         ReadWritePaths={store}\n\
         ProtectHome=read-only\n"
    );
    service(program, owner, "fetcher", "brings programs here", &more)
}

fn service(program: &str, owner: &str, name: &str, what: &str, more: &str) -> String {
    format!(
        "[Unit]\n\
         Description=zeroshare: {what}\n\
         PartOf={TARGET}\n\
         After=network.target\n\
         \n\
         [Service]\n\
         Type=exec\n\
         ExecStart={program} node --only {name}\n\
         User={owner}\n\
         Restart=on-failure\n\
         RestartSec=1s\n\
         {DIRECTORIES}\
         {more}\
         {CONFINEMENT}"
    )
}

/// Shows what neighbours have to all users: by root, since others may not without a line in `/etc/fuse.conf`.
pub(super) fn system_mount(program: &str, directory: &str) -> String {
    let directory = in_command(directory);
    let after = SERVICES.join(" ");
    format!(
        "[Unit]\n\
         Description=zeroshare: programs of the neighbours as a Zero Install store\n\
         Wants={TARGET}\n\
         After={after}\n\
         \n\
         [Service]\n\
         Type=exec\n\
         ExecStart={program} mount --with-node {directory}\n\
         # What a killed mount leaves answers nobody.\n\
         ExecStopPost=-umount --lazy --no-canonicalize --quiet {directory}\n\
         Restart=on-failure\n\
         RestartSec=1s\n\
         # No option that makes a mount namespace, or nobody else sees the mount; no NoNewPrivileges=, or fusermount3 fails.\n\
         CapabilityBoundingSet=CAP_SYS_ADMIN\n\
         DevicePolicy=closed\n\
         DeviceAllow=/dev/fuse rw\n\
         IPAddressDeny=any\n\
         LockPersonality=yes\n\
         MemoryDenyWriteExecute=yes\n\
         RestrictAddressFamilies=AF_UNIX\n\
         RestrictNamespaces=yes\n\
         RestrictRealtime=yes\n\
         SystemCallArchitectures=native\n\
         SystemCallErrorNumber=EPERM\n\
         SystemCallFilter=@system-service @mount\n\
         UMask=0022\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    )
}

/// A user's node.
pub(super) fn user_node(program: &str, environment: &[(String, String)]) -> String {
    format!(
        "[Unit]\n\
         Description=zeroshare: programs from the machines beside this one\n\
         \n\
         [Service]\n\
         Type=exec\n\
         ExecStart={program} node\n\
         {}\
         Restart=on-failure\n\
         RestartSec=1s\n\
         NoNewPrivileges=yes\n\
         LockPersonality=yes\n\
         MemoryDenyWriteExecute=yes\n\
         RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK\n\
         RestrictRealtime=yes\n\
         SystemCallArchitectures=native\n\
         SystemCallErrorNumber=EPERM\n\
         SystemCallFilter=@system-service\n\
         SystemCallFilter=landlock_create_ruleset landlock_add_rule landlock_restrict_self\n\
         \n\
         [Install]\n\
         WantedBy=default.target\n",
        assignments(environment)
    )
}

/// A user's mount, by `fusermount3`, which is root's: nothing here may forbid new privileges.
pub(super) fn user_mount(
    program: &str,
    directory: &str,
    environment: &[(String, String)],
) -> String {
    let directory = in_command(directory);
    format!(
        "[Unit]\n\
         Description=zeroshare: programs of the neighbours as a Zero Install store\n\
         Wants={NODE}\n\
         After={NODE}\n\
         \n\
         [Service]\n\
         Type=exec\n\
         ExecStart={program} mount --with-node {directory}\n\
         # What a killed mount leaves answers nobody.\n\
         ExecStopPost=-fusermount3 -u -z -q {directory}\n\
         {}\
         Restart=on-failure\n\
         RestartSec=1s\n\
         # No filters here: for a user's units each of them means NoNewPrivileges=, and with that fusermount3 fails.\n\
         \n\
         [Install]\n\
         WantedBy=default.target\n",
        assignments(environment)
    )
}

/// Variables that decide where things lie, and that a login sets but systemd does not know.
fn assignments(environment: &[(String, String)]) -> String {
    let mut lines = String::new();
    for (name, value) in environment {
        let word = in_assignment(&format!("{name}={value}"));
        // Writing to a string does not fail.
        let _written = writeln!(lines, "Environment={word}");
    }
    lines
}

/// Makes the user whose the shared store is, as Debian's package of 0install does.
pub(super) fn account(owner: &str) -> String {
    format!("u {owner} - \"Zero Install's shared store\" /var/cache/0install.net\n")
}

/// Makes the shared store, and gives it to its user.
pub(super) fn directories(owner: &str, store: &str) -> String {
    format!("d /var/cache/0install.net 0755 root root -\nd {store} 0755 {owner} {owner} -\n")
}

/// Puts what 0install downloaded for any user into the shared store.
pub(super) fn helper(program: &str) -> String {
    format!(
        "#!/bin/sh\n\
         # 0install runs this after a download, in the unpacked tree: the node reads it, verifies it, and keeps it for all users.\n\
         exec {} secure-add -- \"$1\"\n",
        in_shell(program)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each of these makes a mount namespace; see systemd.exec(5).
    const MAKE_A_MOUNT_NAMESPACE: [&str; 24] = [
        "BindPaths=",
        "BindReadOnlyPaths=",
        "DynamicUser=",
        "ExecPaths=",
        "InaccessiblePaths=",
        "LoadCredential",
        "LogNamespace=",
        "MountAPIVFS=",
        "NoExecPaths=",
        "PrivateDevices=",
        "PrivateIPC=",
        "PrivateMounts=",
        "PrivateTmp=",
        "PrivateUsers=",
        "ProcSubset=",
        "ProtectControlGroups=",
        "ProtectHome=",
        "ProtectKernel",
        "ProtectProc=",
        "ProtectSystem=",
        "ReadOnlyPaths=",
        "ReadWritePaths=",
        "RootDirectory=",
        "TemporaryFileSystem=",
    ];

    /// Each of these means `NoNewPrivileges=yes` in a user's manager; see systemd.exec(5).
    const MEAN_NO_NEW_PRIVILEGES: [&str; 17] = [
        "DynamicUser=",
        "LockPersonality=",
        "MemoryDenyWriteExecute=",
        "NoNewPrivileges=",
        "PrivateDevices=",
        "ProtectClock=",
        "ProtectHostname=",
        "ProtectKernelLogs=",
        "ProtectKernelModules=",
        "ProtectKernelTunables=",
        "RestrictAddressFamilies=",
        "RestrictNamespaces=",
        "RestrictRealtime=",
        "RestrictSUIDSGID=",
        "SystemCallArchitectures=",
        "SystemCallFilter=",
        "SystemCallLog=",
    ];

    fn has(unit: &str, options: &[&str]) -> Vec<String> {
        let lines = unit.lines().filter(|line| {
            let begins = |option: &str| line.starts_with(option);
            options.iter().any(|option| begins(option))
        });
        lines.map(str::to_owned).collect()
    }

    #[test]
    fn everybody_sees_the_mount() {
        let none = [""; 0];
        let system = system_mount("/bin/zeroshare", "/run/lan");
        assert_eq!(has(&system, &MAKE_A_MOUNT_NAMESPACE), none);
        assert_eq!(has(&system, &["NoNewPrivileges=", "User="]), none);
        let user = user_mount("/bin/zeroshare", "/run/lan", &[]);
        assert_eq!(has(&user, &MAKE_A_MOUNT_NAMESPACE), none);
        assert_eq!(has(&user, &MEAN_NO_NEW_PRIVILEGES), none);
    }

    #[test]
    fn the_fetcher_alone_may_write_the_store_and_all_run_as_its_owner() {
        let all = [
            discovery("/bin/zeroshare", "zeroinst"),
            store("/bin/zeroshare", "zeroinst"),
            fetcher("/bin/zeroshare", "zeroinst", "/var/cache/shared"),
        ];
        for unit in &all {
            assert!(unit.contains("\nUser=zeroinst\n"), "{unit}");
            assert!(unit.contains("\nProtectSystem=strict\n"), "{unit}");
            assert!(unit.contains("landlock_restrict_self"), "{unit}");
            let breaks = ["RestrictSUIDSGID=", "PrivateUsers=", "DynamicUser="];
            assert_eq!(has(unit, &breaks), [""; 0]);
        }
        let writes = all.map(|unit| unit.contains("\nReadWritePaths=/var/cache/shared\n"));
        assert_eq!(writes, [false, false, true]);
    }

    #[test]
    fn odd_directories_and_variables_are_quoted() {
        let mount = user_mount(
            "/bin/zeroshare",
            "/run/my lan",
            &[("XDG_CACHE_HOME".to_owned(), "/my cache".to_owned())],
        );
        assert!(mount.contains("mount --with-node \"/run/my lan\"\n"));
        assert!(mount.contains("\nEnvironment=\"XDG_CACHE_HOME=/my cache\"\n"));
    }
}
