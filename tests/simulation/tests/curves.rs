//! The targets of the curves, at sizes that an ordinary test run can bear; `curves` measures all of them.

use std::time::Duration;

use zeroshare_simulation::{
    Weather,
    measure::{Holders, Knowledge, Lookups, Scene, idle_bytes_per_minute, lookups, newcomer_known},
};

fn few(scene: Scene) -> Lookups {
    lookups(&Scene {
        lookups: 12,
        ..scene
    })
}

#[test]
fn up_to_a_hundred_nodes_warm_filters_need_no_datagram() {
    for nodes in [10, 100] {
        for holders in [Holders::All, Holders::One] {
            let seen = few(Scene::of(nodes, holders));
            let sent = (seen.to_all.most(), seen.to_one.most());
            assert_eq!(sent, (0, 0), "{nodes} nodes, {holders:?}");
            assert_eq!(seen.first.most(), Duration::ZERO, "{nodes} nodes");
        }
    }
}

#[test]
fn however_many_hold_it_a_few_answer() {
    let seen = few(Scene::of(1_000, Holders::All));
    assert!(seen.to_all.p50() <= 8, "{:?}", seen.to_all);
    assert!(seen.to_all.most() <= 25, "{:?}", seen.to_all);
    let third = seen.third.most();
    assert!(third < Duration::from_millis(60), "{:?}", seen.third);
}

#[test]
fn right_after_a_mass_start_they_are_not_many_more() {
    let seen = few(Scene {
        knowledge: Knowledge::MassStart,
        ..Scene::of(1_000, Holders::All)
    });
    assert!(seen.to_all.p99() <= 40, "{:?}", seen.to_all);
}

#[test]
fn a_lone_holder_is_found_soon_in_any_weather() {
    let limits = [
        (Weather::fair(), Duration::from_millis(25)),
        (Weather::lossy(), Duration::from_millis(400)),
        (Weather::wireless(), Duration::from_secs(1)),
    ];
    for (weather, limit) in limits {
        let seen = few(Scene {
            weather: weather.clone(),
            wait: Duration::from_secs(2),
            ..Scene::of(300, Holders::One)
        });
        assert!(seen.first.p99() <= limit, "{weather:?}: {:?}", seen.first);
    }
}

#[test]
fn holders_wait_for_each_other_as_long_as_what_goes_to_all_takes() {
    let ms = Duration::from_millis;
    let seen = few(Scene {
        weather: Weather {
            delay: ms(1)..ms(3),
            delay_to_all: Some(ms(20)..ms(60)),
            ..Weather::fair()
        },
        wait: Duration::from_secs(2),
        ..Scene::of(300, Holders::All)
    });
    // Nobody knows before the first lookup.
    assert!(seen.to_all.p50() <= 25, "{:?}", seen.to_all);
}

#[test]
fn nobody_is_asked_for_a_bounded_number_of_times() {
    let seen = few(Scene::of(300, Holders::Nobody));
    assert!(seen.to_all.most() <= 20, "{:?}", seen.to_all);
}

#[test]
fn a_lan_of_a_thousand_is_quiet_and_knows_a_newcomer_at_once() {
    let bytes = idle_bytes_per_minute(1_000, 1);
    assert!(bytes < 120_000, "{bytes} bytes a minute");
    let known = newcomer_known(1_000, 1);
    assert!(known.p99() < Duration::from_millis(200), "{known:?}");
}
