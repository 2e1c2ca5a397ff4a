//! Measures what discovery costs on LANs of 10 to 10,000 nodes, and writes it down.
//!
//! `cargo run --release -p zeroshare-simulation --bin curves` writes the tables between their marks in BENCHMARKS.md and the
//! plot into docs/plots. With words after `--` only the scenes whose names contain one of them are run and printed.

#![expect(clippy::print_stdout, reason = "it is a program that prints")]
#![expect(
    clippy::expect_used,
    reason = "a measurement that fails has nothing to say"
)]

mod plot;
mod table;
mod targets;

use std::{
    collections::BTreeMap,
    env, fs,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use zeroshare_simulation::{
    Weather,
    measure::{Holders, Knowledge, Scene, idle_bytes_per_minute, lookups, newcomer_known},
    naive::everybody_answers,
};

use crate::{
    plot::Point,
    table::{lan_row, lookup_row, naive_row},
    targets::Targets,
};

/// Sizes of LANs.
const SIZES: [usize; 4] = [10, 100, 1_000, 10_000];

/// Lookups of the scenes that take longest.
const FEW_LOOKUPS: usize = 30;

/// The tables in BENCHMARKS.md stand between these.
const BEGIN: &str = "<!-- discovery: begin -->";
const END: &str = "<!-- discovery: end -->";

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    let is_wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word));
    let mut text = String::from(table::LOOKUPS);
    let mut points = Vec::new();
    let mut targets = Targets::default();
    let wanted: Vec<(String, Scene)> = scenes()
        .into_iter()
        .filter(|(name, _)| is_wanted(name))
        .collect();
    let seen = on_all_cores(&wanted, |(name, scene)| {
        let started = Instant::now();
        let seen = lookups(scene);
        let row = lookup_row(name, scene, &seen);
        let seconds = started.elapsed().as_secs_f64();
        println!("{} ({seconds:.1} s)", row.trim_end());
        (row, seen)
    });
    for ((name, scene), (row, seen)) in wanted.iter().zip(&seen) {
        text += row;
        points.push(Point::of(scene, seen));
        targets.judge(name, scene, seen);
    }
    if is_wanted("naive") {
        text += table::NAIVE;
        for nodes in SIZES {
            let seen = everybody_answers(nodes, 100, 1);
            points.push(Point::of_naive(nodes, &seen));
            text += &naive_row(nodes, &seen);
        }
    }
    if is_wanted("idle") {
        text += table::LAN;
        let seen = on_all_cores(&SIZES, |nodes| {
            let bytes = idle_bytes_per_minute(*nodes, 1);
            let row = lan_row(*nodes, bytes, &newcomer_known(*nodes, 1));
            println!("{}", row.trim_end());
            (row, bytes)
        });
        for (nodes, (row, bytes)) in SIZES.into_iter().zip(seen) {
            text += &row;
            targets.judge_idle(nodes, bytes);
        }
    }
    text += &targets.text();
    if words.is_empty() {
        write_down(&text);
        plot::draw(&root().join("docs/plots/discovery.svg"), &points).expect("a plot");
    } else {
        println!("{text}");
    }
}

/// Does the same with all of these, one on each core at a time.
fn on_all_cores<T: Sync, R: Send>(works: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done: Mutex<BTreeMap<usize, R>> = Mutex::default();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                // The largest LANs stand last in each list and take longest.
                while let Some(at) = works
                    .len()
                    .checked_sub(next.fetch_add(1, Ordering::Relaxed) + 1)
                {
                    let result = work(&works[at]);
                    let mut done = done.lock().expect("nobody panicked");
                    done.insert(at, result);
                }
            });
        }
    });
    let done = done.into_inner().expect("nobody panicked");
    done.into_values().collect()
}

/// All runs by name.
fn scenes() -> Vec<(String, Scene)> {
    let mut scenes = Vec::new();
    for nodes in SIZES {
        for holders in [Holders::All, Holders::One, Holders::Nobody] {
            scenes.push(("cable".to_owned(), Scene::of(nodes, holders)));
        }
    }
    for nodes in SIZES {
        let scene = Scene {
            knowledge: Knowledge::MassStart,
            ..Scene::of(nodes, Holders::All)
        };
        scenes.push(("mass start".to_owned(), scene));
    }
    for (name, weather) in [
        ("20 % loss", Weather::lossy()),
        ("Wi-Fi", Weather::wireless()),
    ] {
        for (nodes, holders) in SIZES
            .into_iter()
            .flat_map(|nodes| [(nodes, Holders::All), (nodes, Holders::One)])
        {
            let scene = Scene {
                weather: weather.clone(),
                wait: std::time::Duration::from_secs(2),
                ..Scene::of(nodes, holders)
            };
            scenes.push((name.to_owned(), scene));
        }
    }
    for (name, scene) in &mut scenes {
        // Of what has no target fewer lookups keep the whole run within minutes.
        let is_side = match scene.holders {
            Holders::All => name != "cable" && name != "mass start",
            Holders::One => name == "Wi-Fi",
            Holders::Nobody => true,
        };
        if scene.nodes == 10_000 && is_side {
            scene.lookups = FEW_LOOKUPS;
        }
    }
    scenes
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Puts the tables where the last ones stood.
fn write_down(text: &str) {
    let path = root().join("BENCHMARKS.md");
    let before = fs::read_to_string(&path).expect("BENCHMARKS.md");
    let (head, rest) = before.split_once(BEGIN).expect("the first mark");
    let (_, tail) = rest.split_once(END).expect("the second mark");
    let after = format!("{head}{BEGIN}\n{text}\n{END}{tail}");
    fs::write(&path, after).expect("BENCHMARKS.md is written");
    println!("written into {}", path.display());
}
