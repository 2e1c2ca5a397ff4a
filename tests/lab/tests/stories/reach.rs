//! Who reaches what.

use anyhow::Result;

use crate::compose::{Lab, docker};

/// A machine on the LAN, and on nothing else, that tries to open a connection.
fn reaches(lab: &Lab, address: &str, route: Option<&str>) -> Result<bool> {
    let image = lab.inspect("host-a", "{{.Config.Image}}")?;
    let network = lab.network("lan");
    let container = docker(&[
        "run",
        "--detach",
        "--network",
        &network,
        "--ip",
        "172.28.1.99",
        "--entrypoint",
        "/lab-host",
        &image,
        "idle",
    ])?;
    let probe = || -> Result<bool> {
        if let Some(gateway) = route {
            // As an attacker on the LAN would: the other network behind a host that is on both.
            let pid = docker(&["inspect", "--format", "{{.State.Pid}}", &container])?;
            let status = std::process::Command::new("nsenter")
                .args([
                    "-t",
                    &pid,
                    "-n",
                    "ip",
                    "route",
                    "add",
                    "172.28.9.0/24",
                    "via",
                    gateway,
                ])
                .status()?;
            anyhow::ensure!(status.success(), "no route: {status}");
        }
        let output = std::process::Command::new("docker")
            .args(["exec", &container, "/lab-host", "probe", address])
            .output()?;
        Ok(output.status.success())
    };
    let reached = probe();
    docker(&["rm", "--force", &container])?;
    reached
}

#[test]
fn peers_are_served_on_the_lan_and_local_apis_are_out_of_its_reach() -> Result<()> {
    let lab = Lab::up("reach")?;

    assert!(
        reaches(&lab, "172.28.1.11:38339", None)?,
        "peers must be served"
    );
    for port in ["7401", "7402", "7403"] {
        for address in ["172.28.1.11", "172.28.9.11"] {
            let address = format!("{address}:{port}");
            assert!(
                !reaches(&lab, &address, None)?,
                "{address} is in reach of the LAN"
            );
            assert!(
                !reaches(&lab, &address, Some("172.28.1.11"))?,
                "{address} is in reach by a route"
            );
        }
    }
    Ok(())
}
