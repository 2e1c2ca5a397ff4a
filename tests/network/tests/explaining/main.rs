//! What is told when something is not found: `find --explain` and `doctor` on networks in trouble.

mod groups;
mod liar;
mod told;

use anyhow::{Result, ensure};
use zeroshare_content::Algorithm;
use zeroshare_network::{Lan, zero_install_hello};
use zeroshare_testkit::TestTree;
use zeroshare_wire::datagram::GroupKey;

use self::{
    liar::Liar,
    told::{doctor, drop_incoming, explain, meet},
};

/// An id that nobody has.
fn nobodys() -> String {
    format!("sha256new_{}", "A".repeat(52))
}

#[test]
fn on_a_healthy_lan_the_story_names_who_has_it_and_doctor_is_content() -> Result<()> {
    let lan = Lan::new(2)?;
    let (holder, asker) = (lan.host(1), lan.host(2));
    let id = zero_install_hello(holder)?;
    let _nodes = [holder.start_node(&[])?, asker.start_node(&[])?];
    holder.wait_until_offered(&id)?;
    meet(asker, 1)?;

    let found = explain(asker, &id)?;
    ensure!(found.code == Some(0), "{found:?}");
    let events = found.events();
    let claims = ["on_record", "answered"];
    ensure!(
        events.iter().any(|one| claims.contains(&one.as_str())),
        "{events:?}"
    );
    ensure!(events.contains(&"confirmed".to_owned()), "{events:?}");
    ensure!(found.reasons().is_empty(), "{found:?}");
    let text = asker.must_zeroshare(&["find", &id, "--explain"])?;
    println!("{text}");
    ensure!(
        text.contains("38339 itself: it has 2 of 2 pieces"),
        "{text}"
    );

    let nobody = explain(asker, &nobodys())?;
    ensure!(nobody.code == Some(3), "{nobody:?}");
    ensure!(nobody.reasons() == ["none_holds"], "{nobody:?}");
    let again = explain(asker, &nobodys())?;
    let began = again.text_of("began")?;
    ensure!(began.contains("nobody had it"), "{began}");

    let doctor = doctor(asker)?;
    ensure!(doctor.code == Some(0), "{doctor:?}");
    for check in [
        "interface",
        "road",
        "neighbour",
        "store",
        "clock",
        "port",
        "state",
    ] {
        ensure!(
            doctor.levels(check).contains(&"ok".to_owned()),
            "{check}: {doctor:?}"
        );
    }
    ensure!(doctor.document["healthy"] == true, "{doctor:?}");
    println!("{}", asker.must_zeroshare(&["doctor"])?);
    Ok(())
}

#[test]
fn blocked_multicast_is_named_while_broadcast_still_finds() -> Result<()> {
    let lan = Lan::new(2)?;
    let (holder, asker) = (lan.host(1), lan.host(2));
    let id = zero_install_hello(holder)?;
    for host in [holder, asker] {
        drop_incoming(host, &["ip daddr 224.0.0.0/4", "ip6 daddr ff12::/16"])?;
    }
    let _nodes = [holder.start_node(&[])?, asker.start_node(&[])?];
    holder.wait_until_offered(&id)?;
    meet(asker, 1)?;
    let found = explain(asker, &id)?;
    ensure!(found.code == Some(0), "{found:?}");

    let doctor = doctor(asker)?;
    ensure!(doctor.code == Some(1), "{doctor:?}");
    let road = doctor.finding("road", "eth0 multicast4")?;
    ensure!(road["level"] == "fault", "{road}");
    let text = road["text"].as_str().unwrap_or_default();
    ensure!(
        text.contains("does not come back") && text.contains("broadcast works"),
        "{text}"
    );
    let broadcast = doctor.finding("road", "eth0 broadcast")?;
    ensure!(broadcast["level"] == "ok", "{broadcast}");
    let rule = doctor.finding("firewall", "nft")?;
    ensure!(
        rule["text"]
            .as_str()
            .is_some_and(|text| text.contains("224.0.0.0/4")),
        "{rule}"
    );
    println!("{}", asker.zeroshare(&["doctor"])?.stdout);
    Ok(())
}

#[test]
fn a_firewall_that_drops_udp_is_told_apart_from_an_empty_network() -> Result<()> {
    let lan = Lan::new(2)?;
    let (holder, asker) = (lan.host(1), lan.host(2));
    let id = zero_install_hello(holder)?;
    drop_incoming(asker, &["udp dport 38339"])?;
    let _nodes = [holder.start_node(&[])?, asker.start_node(&[])?];
    holder.wait_until_offered(&id)?;

    let found = explain(asker, &id)?;
    ensure!(found.code == Some(3), "{found:?}");
    ensure!(
        found.reasons() == ["own_unheard", "nobody_heard"],
        "{found:?}"
    );
    let said = asker.zeroshare(&["find", &id, "--explain"])?;
    println!("{}{}", said.stdout, said.stderr);
    ensure!(
        said.stdout.contains("let UDP port 38339 in"),
        "{}",
        said.stdout
    );

    let doctor = doctor(asker)?;
    ensure!(doctor.code == Some(1), "{doctor:?}");
    ensure!(
        doctor.levels("road").iter().all(|level| level == "fault"),
        "{doctor:?}"
    );
    let rule = doctor.finding("firewall", "nft")?;
    ensure!(rule["level"] == "fault", "{rule}");
    println!("{}", asker.zeroshare(&["doctor"])?.stdout);

    // On an empty network without a firewall: another reason, and nothing is wrong here.
    asker.must("nft", &["delete table inet t"])?;
    lan.unplug(2)?;
    let found = explain(asker, &id)?;
    ensure!(found.reasons() == ["nobody_heard"], "{found:?}");
    Ok(())
}

#[test]
fn a_firewall_that_drops_tcp_is_found_by_asking_the_store() -> Result<()> {
    let lan = Lan::new(2)?;
    let (holder, asker) = (lan.host(1), lan.host(2));
    let id = zero_install_hello(holder)?;
    drop_incoming(holder, &["tcp dport 38339"])?;
    let _nodes = [holder.start_node(&[])?, asker.start_node(&[])?];
    holder.wait_until_offered(&id)?;
    meet(asker, 1)?;

    let found = explain(asker, &id)?;
    ensure!(found.code == Some(3), "{found:?}");
    ensure!(found.reasons() == ["store_unreachable"], "{found:?}");
    let doctor = doctor(asker)?;
    ensure!(doctor.code == Some(1), "{doctor:?}");
    let store = doctor.finding("store", "10.77.0.1:38339")?;
    ensure!(store["level"] == "fault", "{store}");
    ensure!(
        doctor.levels("neighbour").iter().all(|level| level == "ok"),
        "{doctor:?}"
    );
    Ok(())
}

#[test]
fn a_neighbour_that_lies_about_holding_it_is_named() -> Result<()> {
    let lan = Lan::new(3)?;
    let (asker, liar) = (lan.host(2), lan.host(3));
    let id = TestTree::with_slices(7)
        .tree_id(Algorithm::Sha256New)
        .to_string();
    let _node = asker.start_node(&[])?;
    let lying = Liar::start(liar, GroupKey::none())?;
    meet(asker, 1)?;

    let found = explain(asker, &id)?;
    lying.end()?;
    ensure!(found.code == Some(3), "{found:?}");
    let events = found.events();
    for event in ["answered", "found", "denied"] {
        ensure!(events.contains(&event.to_owned()), "{events:?}");
    }
    ensure!(found.reasons() == ["claim_untrue"], "{found:?}");
    ensure!(
        found.text_of("denied")?.contains("10.77.0.3:38339"),
        "{found:?}"
    );
    Ok(())
}
