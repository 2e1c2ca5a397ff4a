//! Who may depend on whom.

use std::collections::BTreeSet;

use zeroshare_tidy::{Graph, graph};

/// Crates that decide, and are handed bytes, time and chance.
const PURE: [&str; 6] = [
    "zeroshare-content",
    "zeroshare-lanes",
    "zeroshare-membership",
    "zeroshare-proof",
    "zeroshare-transfer",
    "zeroshare-wire",
];

/// What does or waits, which nothing pure needs, not even by a detour.
const ACTS: [&str; 20] = [
    "fs4",
    "futures-util",
    "getrandom",
    "h2",
    "hyper",
    "if-addrs",
    "libc",
    "mio",
    "nix",
    "notify",
    "opentelemetry",
    "rand",
    "reqwest",
    "rusqlite",
    "rustix",
    "socket2",
    "tempfile",
    "tokio",
    "tonic",
    "tracing",
];

#[test]
fn pure_crates_need_nothing_that_acts() -> anyhow::Result<()> {
    let graph = graph()?;
    let acts = ACTS.map(String::from);
    for pure in PURE {
        let found: Vec<_> = graph
            .all(pure)
            .into_iter()
            .filter(|name| acts.contains(name))
            .collect();
        assert_eq!(found, [""; 0], "{pure} is pure");
        only(&graph, pure, &PURE);
    }
    Ok(())
}

#[test]
fn dependencies_point_down() -> anyhow::Result<()> {
    let graph = graph()?;
    only(&graph, "zeroshare-content", &[]);
    only(&graph, "zeroshare-lanes", &[]);
    only(
        &graph,
        "zeroshare-proof",
        &["zeroshare-content", "zeroshare-lanes"],
    );
    only(
        &graph,
        "zeroshare-wire",
        &["zeroshare-content", "zeroshare-proof"],
    );
    only(&graph, "zeroshare-identity", &["zeroshare-wire"]);
    only(&graph, "zeroshare-kin", &["zeroshare-content"]);
    let bottom = ["zeroshare-content", "zeroshare-proof", "zeroshare-wire"];
    for middle in ["zeroshare-shelf", "zeroshare-staging"] {
        only(&graph, middle, &bottom);
    }
    only(
        &graph,
        "zeroshare-api",
        &["zeroshare-identity", "zeroshare-proof", "zeroshare-wire"],
    );
    Ok(())
}

#[test]
fn the_chassis_knows_no_trees() -> anyhow::Result<()> {
    only(&graph()?, "zeroshare-chassis", &[]);
    Ok(())
}

#[test]
fn what_one_service_is_made_of_no_other_uses() -> anyhow::Result<()> {
    let graph = graph()?;
    for (part, owner) in [
        ("zeroshare-membership", "zeroshare-discovery"),
        ("zeroshare-transfer", "zeroshare-fetcher"),
        ("zeroshare-staging", "zeroshare-fetcher"),
    ] {
        let users = users(&graph, part);
        assert_eq!(
            users,
            BTreeSet::from([owner.to_owned()]),
            "only {owner} uses {part}"
        );
    }
    Ok(())
}

#[test]
fn what_strangers_reach_cannot_write() -> anyhow::Result<()> {
    let needed = graph()?.all("zeroshare-store");
    assert!(
        !needed.contains("zeroshare-staging"),
        "the store depends on what writes into stores"
    );
    assert!(
        needed.contains("zeroshare-shelf"),
        "this looks at the wrong crate"
    );
    Ok(())
}

#[test]
fn services_do_not_know_each_other() -> anyhow::Result<()> {
    let graph = graph()?;
    let services = graph.members_in("services");
    assert!(services.len() >= 4, "{services:?}");
    // The command line runs them all in one process.
    for service in services.iter().filter(|service| *service != "zeroshare") {
        let mut known = graph.direct_members(service);
        known.retain(|name| services.contains(name));
        assert_eq!(known, BTreeSet::new(), "{service} knows other services");
    }
    Ok(())
}

#[test]
fn what_is_made_for_tests_is_used_by_tests() -> anyhow::Result<()> {
    let graph = graph()?;
    let mut for_tests = graph.members_in("tests");
    for_tests.extend(graph.members_in("benches"));
    for_tests.push("zeroshare-testkit".to_owned());
    for package in product(&graph) {
        let mut used = graph.direct_members(&package);
        used.retain(|name| for_tests.contains(name));
        assert_eq!(
            used,
            BTreeSet::new(),
            "{package} uses what is made for tests"
        );
    }
    Ok(())
}

/// All that is part of the product: crates and services, but what helps testing them.
fn product(graph: &Graph) -> Vec<String> {
    let mut product = graph.members_in("crates");
    product.extend(graph.members_in("services"));
    product.retain(|name| name != "zeroshare-testkit");
    product
}

fn users(graph: &Graph, part: &str) -> BTreeSet<String> {
    product(graph)
        .into_iter()
        .filter(|name| graph.direct(name).contains(part))
        .collect()
}

#[track_caller]
fn only(graph: &Graph, package: &str, allowed: &[&str]) {
    let mut others = graph.direct_members(package);
    others.retain(|name| !allowed.contains(&name.as_str()));
    assert_eq!(
        others,
        BTreeSet::new(),
        "{package} may depend on {allowed:?}"
    );
}
