//! Tables and plots from what was kept.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::{
    book::{Results, markdown},
    finding::Finding,
    options::Options,
    plot,
    table::{head, row},
};

/// Settings of the report.
#[derive(Debug, Clone, Args)]
pub(crate) struct Report {
    /// Where plots go.
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/plots"))]
    plots: PathBuf,
    /// Replace what is between `<!-- NAME -->` and `<!-- /NAME -->` in this file, for each benchmark's name, instead of printing.
    #[arg(long, value_name = "FILE")]
    into: Option<PathBuf>,
}

impl Report {
    pub(crate) fn run(&self, options: &Options) -> Result<()> {
        let mut kept = Vec::new();
        let directory = options.results();
        let entries = fs::read_dir(&directory)
            .with_context(|| format!("no results in {}", directory.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                kept.push(Results::read(&path)?);
            }
        }
        kept.sort_by(|one, other| one.bench.cmp(&other.bench));
        let into = self.into.as_deref();
        let mut page = into.map(fs::read_to_string).transpose()?;
        for results in kept.iter().filter(|results| options.wants(&results.bench)) {
            let text = render(results);
            match &mut page {
                Some(page) => *page = replace(page, &results.bench, &text)?,
                None => println!("## {}\n\n{text}", results.bench),
            }
            self.draw(results)?;
        }
        if let (Some(path), Some(page)) = (into, page) {
            fs::write(path, page)?;
        }
        Ok(())
    }

    fn draw(&self, results: &Results) -> Result<()> {
        for (name, shown) in &results.plots {
            fs::create_dir_all(&self.plots)?;
            let path: &Path = &self.plots.join(format!("{name}.svg"));
            plot::draw(shown, path)?;
            eprintln!("drawn: {}", path.display());
        }
        Ok(())
    }
}

fn render(results: &Results) -> String {
    let mut parts = vec![format!("{}. {}.", results.time, results.machine)];
    parts.extend(results.facts.iter().cloned());
    let mut lines = vec![head(&Finding::HEAD)];
    lines.extend(results.findings.iter().map(|finding| row(&finding.cells())));
    parts.push(lines.join("\n"));
    for (title, rows) in &results.tables {
        parts.push(format!("{title}:"));
        parts.push(markdown(rows));
    }
    for (name, plot) in &results.plots {
        parts.push(format!("![{}](docs/plots/{name}.svg)", plot.title));
    }
    parts.join("\n\n") + "\n"
}

fn replace(page: &str, name: &str, text: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let at = page
        .find(&begin)
        .with_context(|| format!("no line {begin}"))?
        + begin.len();
    let until = page.find(&end).with_context(|| format!("no line {end}"))?;
    ensure!(at <= until, "{end} comes before {begin}");
    Ok(format!("{}\n{text}\n{}", &page[..at], &page[until..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let page = "before\n<!-- pair -->\nold\n<!-- /pair -->\nafter\n";
        let replaced = replace(page, "pair", "new").unwrap();
        assert_eq!(
            replaced,
            "before\n<!-- pair -->\n\nnew\n<!-- /pair -->\nafter\n"
        );
        assert!(replace(page, "swarm", "new").is_err());
    }
}
