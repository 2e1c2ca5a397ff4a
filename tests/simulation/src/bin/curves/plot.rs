//! The picture.

use std::{error::Error, fs, path::Path};

use plotters::prelude::*;
use zeroshare_simulation::{
    measure::{Holders, Knowledge, Lookups, Scene},
    naive::Naive,
};

/// Width and height.
const SIZE: (u32, u32) = (820, 480);

/// One measurement: how many datagrams a lookup takes on a LAN of some size.
#[derive(Debug)]
pub(crate) struct Point {
    curve: &'static str,
    nodes: f64,
    datagrams: f64,
}

/// The curves, in the order of their legend.
const CURVES: [(&str, RGBColor); 4] = [
    (NAIVE, RED),
    (MASS, RGBColor(230, 140, 0)),
    (ALL, BLUE),
    (NOBODY, RGBColor(120, 120, 120)),
];

const NAIVE: &str = "everybody answers";
const MASS: &str = "zeroshare, right after a mass start, p99";
const ALL: &str = "zeroshare, all hold it, p99";
const NOBODY: &str = "zeroshare, nobody holds it, p99";

impl Point {
    /// What a scene came to; only those on a cable are drawn.
    pub(crate) fn of(scene: &Scene, seen: &Lookups) -> Self {
        let is_fair = scene.weather.loss == 0.0 && scene.weather.delay_to_all.is_none();
        let curve = match (scene.holders, scene.knowledge) {
            _ if !is_fair => "",
            (Holders::All, Knowledge::MassStart) => MASS,
            (Holders::All, Knowledge::Settled) => ALL,
            (Holders::Nobody, _) => NOBODY,
            (Holders::One, _) => "",
        };
        Self::new(curve, scene.nodes, seen.to_all.p99())
    }

    pub(crate) fn of_naive(nodes: usize, seen: &Naive) -> Self {
        Self::new(NAIVE, nodes, seen.datagrams)
    }

    fn new(curve: &'static str, nodes: usize, datagrams: u64) -> Self {
        let number = |number: u64| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
        Self {
            curve,
            nodes: number(nodes as u64),
            datagrams: number(datagrams),
        }
    }
}

/// Draws datagrams over nodes, both as powers of ten.
pub(crate) fn draw(path: &Path, points: &[Point]) -> Result<(), Box<dyn Error>> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("Datagrams to everybody for one lookup", ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d((8.0..15_000.0).log_scale(), (0.8..20_000.0).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("nodes")
        .y_desc("datagrams (none is drawn as 0.8)")
        .draw()?;
    for (name, color) in CURVES {
        let of_curve = points.iter().filter(|point| point.curve == name);
        let line: Vec<(f64, f64)> = of_curve
            .map(|point| (point.nodes, point.datagrams.max(0.8)))
            .collect();
        chart
            .draw_series(LineSeries::new(line, color.stroke_width(2)).point_size(3))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()?;
    root.present()?;
    Ok(())
}
