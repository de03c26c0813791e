//! What is printed: what each scenario asks, and what came of it by each way.

use std::fmt;

use ropewalk_sim::report::Report;
use ropewalk_sim::scenario::Scenario;

/// The figures of one scenario.
pub(crate) struct Table {
    title: String,
    /// What is asked, in the scenario's order.
    asked: Vec<String>,
    /// A column for each way: what came, for each of them and each run.
    ways: Vec<(String, Vec<Vec<String>>)>,
    faults: Vec<String>,
}

impl Table {
    /// Without figures yet.
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let title = format!("{}: {}", scenario.name, scenario.title);
        Table { title, asked: Vec::new(), ways: Vec::new(), faults: Vec::new() }
    }

    /// What one run of a way gave.
    pub(crate) fn add(&mut self, way: &str, outcome: &Result<Report, String>) {
        let report = match outcome {
            Ok(report) => report,
            Err(error) => return self.faults.push(format!("{way}: {error}")),
        };
        for verdict in &report.verdicts {
            if !self.asked.contains(&verdict.asked) {
                self.asked.push(verdict.asked.clone());
            }
        }
        if self.ways.last().is_none_or(|(last, _)| last != way) {
            self.ways.push((way.to_owned(), Vec::new()));
        }
        let (_, column) = self.ways.last_mut().expect("one was just pushed");
        column.resize(self.asked.len(), Vec::new());
        for verdict in &report.verdicts {
            let row = self.asked.iter().position(|asked| *asked == verdict.asked);
            let mark = if verdict.met { "" } else { " *" };
            column[row.expect("it was just pushed")].push(format!("{}{mark}", verdict.got));
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.title)?;
        let names: Vec<&str> = self.ways.iter().map(|(way, _)| way.as_str()).collect();
        writeln!(f, "| asked (* missed) | {} |", names.join(" | "))?;
        writeln!(f, "| --- |{}", " --- |".repeat(names.len()))?;
        for (row, asked) in self.asked.iter().enumerate() {
            let cells =
                self.ways.iter().map(|(_, column)| column.get(row).map_or("-".into(), |got| got.join("; ")));
            writeln!(f, "| {asked} | {} |", cells.collect::<Vec<_>>().join(" | "))?;
        }
        self.faults.iter().try_for_each(|fault| writeln!(f, "failed: {fault}"))
    }
}
