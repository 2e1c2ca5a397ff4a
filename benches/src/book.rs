//! Results of one benchmark: printed as they come, kept as JSON.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    finding::Finding,
    measure::Figures,
    options::Options,
    supervise,
    table::{head, row},
};

/// What is kept of a benchmark.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Results {
    /// Its name.
    pub(crate) bench: String,
    /// When it was run.
    pub(crate) time: String,
    /// Where.
    pub(crate) machine: Figures,
    /// What else has to be known, a sentence each.
    pub(crate) facts: Vec<String>,
    /// The table.
    pub(crate) findings: Vec<Finding>,
    /// Further tables by their titles: the head first.
    pub(crate) tables: BTreeMap<String, Vec<Vec<String>>>,
    /// Points of plots by the plot's name.
    pub(crate) plots: BTreeMap<String, Plot>,
}

/// What a plot shows.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Plot {
    pub(crate) title: String,
    pub(crate) x: String,
    pub(crate) y: String,
    /// Names of lines, and their points.
    pub(crate) lines: Vec<(String, Vec<(f64, f64)>)>,
}

/// A benchmark's results while it runs.
#[derive(Debug)]
pub(crate) struct Book<'a> {
    options: &'a Options,
    pub(crate) results: Results,
}

impl<'a> Book<'a> {
    /// Measures the machine, and begins the table.
    pub(crate) fn open(bench: &str, options: &'a Options) -> Result<Self> {
        supervise::die_with_supervisor()?;
        let book = Self {
            options,
            results: Results {
                bench: bench.to_owned(),
                time: Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
                machine: Figures::measure()?,
                facts: Vec::new(),
                findings: Vec::new(),
                tables: BTreeMap::new(),
                plots: BTreeMap::new(),
            },
        };
        book.say(&format!("{bench}: {}\n", book.results.machine));
        book.say(&head(&Finding::HEAD));
        Ok(book)
    }

    /// What the machine can do.
    pub(crate) fn machine(&self) -> &Figures {
        &self.results.machine
    }

    /// Prints and keeps findings.
    pub(crate) fn add(&mut self, findings: impl IntoIterator<Item = Finding>) {
        for finding in findings {
            self.say(&row(&finding.cells()));
            self.results.findings.push(finding);
        }
    }

    /// Says something about the conditions.
    pub(crate) fn fact(&mut self, fact: impl Into<String>) {
        let fact = fact.into();
        eprintln!("{fact}");
        self.results.facts.push(fact);
    }

    /// Keeps a further table, its head first.
    pub(crate) fn table(&mut self, title: &str, rows: Vec<Vec<String>>) {
        self.results.tables.insert(title.to_owned(), rows);
    }

    /// Keeps a plot.
    pub(crate) fn plot(&mut self, name: &str, plot: Plot) {
        self.results.plots.insert(name.to_owned(), plot);
    }

    /// Writes everything down, but for a quick run; what a run of some works left out stays as it was.
    pub(crate) fn close(mut self) -> Result<()> {
        for (title, rows) in &self.results.tables {
            self.say(&format!("\n{title}\n"));
            self.say(&markdown(rows));
        }
        for fact in &self.results.facts {
            self.say(&format!("\n{fact}"));
        }
        self.say("");
        if self.options.json {
            println!("{}", serde_json::to_string(&self.results)?);
        }
        if self.options.counts() {
            let directory = self.options.results();
            fs::create_dir_all(&directory)?;
            let path = directory.join(format!("{}.json", self.results.bench));
            if self.options.is_partial() && path.exists() {
                self.results.take_in(Results::read(&path)?);
            }
            let text = serde_json::to_string_pretty(&self.results)?;
            fs::write(&path, text + "\n")
                .with_context(|| format!("cannot write {}", path.display()))?;
            eprintln!("kept in {}", path.display());
        }
        Ok(())
    }

    fn say(&self, line: &str) {
        if self.options.json {
            eprintln!("{line}");
        } else {
            println!("{line}");
        }
    }
}

impl Results {
    /// Keeps of an earlier run what this one left out.
    fn take_in(&mut self, earlier: Self) {
        let is_left_out = |finding: &Finding| {
            let mut now = self.findings.iter();
            !now.any(|one| (&one.work, &one.beside) == (&finding.work, &finding.beside))
        };
        let kept: Vec<Finding> = earlier.findings.into_iter().filter(is_left_out).collect();
        if kept.is_empty() {
            return;
        }
        let when = format!("Some of it was measured at {}.", earlier.time);
        let facts = earlier.facts.into_iter().chain([when]);
        let new: Vec<String> = facts.filter(|fact| !self.facts.contains(fact)).collect();
        self.facts.extend(new);
        self.findings.extend(kept);
        self.findings.sort_by_key(|finding| finding.row);
        for (title, rows) in earlier.tables {
            self.tables.entry(title).or_insert(rows);
        }
        for (name, plot) in earlier.plots {
            self.plots.entry(name).or_insert(plot);
        }
    }

    /// Reads what was kept.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)?;
        serde_json::from_str(&text).with_context(|| format!("{} is not ours", path.display()))
    }
}

/// A table whose first row is its head.
pub(crate) fn markdown(rows: &[Vec<String>]) -> String {
    let mut lines = Vec::new();
    for (number, cells) in rows.iter().enumerate() {
        if number == 0 {
            let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
            lines.push(head(&cells));
        } else {
            lines.push(row(cells));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(time: &str, works: &[(&str, f64)]) -> Results {
        let findings = works
            .iter()
            .map(|(work, value)| Finding::figure(None, work, *value, "s"));
        Results {
            bench: "b".to_owned(),
            time: time.to_owned(),
            machine: Figures::default(),
            facts: vec!["cubic".to_owned()],
            findings: findings.collect(),
            tables: BTreeMap::new(),
            plots: BTreeMap::new(),
        }
    }

    #[test]
    fn a_run_of_some_works_keeps_the_others() {
        let mut now = results("today", &[("a", 2.0)]);
        now.take_in(results("yesterday", &[("a", 1.0), ("b", 1.0)]));
        let kept: Vec<_> = now
            .findings
            .iter()
            .map(|one| (&*one.work, one.ours))
            .collect();
        assert_eq!(kept, [("a", 2.0), ("b", 1.0)]);
        assert_eq!(
            now.facts,
            ["cubic", "Some of it was measured at yesterday."]
        );
        now.take_in(results("the day before", &[("b", 0.0)]));
        assert_eq!(now.facts.len(), 2, "nothing of that is left");
    }
}
