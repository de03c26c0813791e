//! The tables, and the same as JSON.

use std::fmt::Write as _;

use crate::common::contest::{Rival, Workload};
use crate::common::figures::Outcome;
use crate::common::median::median;
use crate::common::stats::{disturbed, range};

/// One rival's outcome in one round of one workload.
pub(crate) struct Entry<W: Workload> {
    pub(crate) workload: W,
    pub(crate) round: usize,
    pub(crate) rival: W::Rival,
    pub(crate) outcome: Result<Outcome, String>,
}

impl<W: Workload> Entry<W> {
    fn figure(&self, index: usize) -> Option<f64> {
        self.outcome.as_ref().ok()?.figures.get(index).map(|figure| figure.value)
    }

    /// Whether the figure is a cost of the proxy's.
    fn is_cost(&self, index: usize) -> bool {
        self.outcome
            .as_ref()
            .ok()
            .and_then(|outcome| outcome.figures.get(index))
            .is_some_and(|f| f.name.starts_with("cpu"))
    }
}

/// All entries of one workload.
struct Table<'a, W: Workload> {
    workload: W,
    entries: Vec<&'a Entry<W>>,
    disturbed: Vec<bool>,
}

impl<'a, W: Workload> Table<'a, W> {
    fn new(workload: W, entries: &'a [Entry<W>]) -> Option<Self> {
        let entries: Vec<_> = entries.iter().filter(|entry| entry.workload == workload).collect();
        let rounds = entries.iter().map(|entry| entry.round + 1).max()?;
        let mut table = Self { workload, entries, disturbed: vec![false; rounds] };
        let direct: Vec<_> = (0..rounds).map(|round| table.direct(round)).collect();
        table.disturbed = disturbed(&direct);
        Some(table)
    }

    fn direct(&self, round: usize) -> Option<f64> {
        if !self.workload.is_rate() {
            return None;
        }
        self.entries.iter().find(|entry| entry.round == round && entry.rival == W::Rival::DIRECT)?.figure(0)
    }

    fn of(&self, rival: W::Rival) -> impl Iterator<Item = &'a Entry<W>> {
        self.entries.iter().copied().filter(move |entry| entry.rival == rival)
    }

    /// Of the undisturbed rounds, if there are any.
    fn values(&self, rival: W::Rival, figure: impl Fn(&Entry<W>) -> Option<f64>) -> Vec<f64> {
        let calm = self.of(rival).filter(|entry| !self.disturbed[entry.round]).filter_map(&figure);
        let calm: Vec<f64> = calm.collect();
        if calm.is_empty() { self.of(rival).filter_map(figure).collect() } else { calm }
    }

    fn print(&self, out: &mut String) {
        let workload = self.workload;
        let rounds = self.disturbed.iter().enumerate().filter(|(_, disturbed)| **disturbed);
        let rounds: Vec<_> = rounds.map(|(round, _)| (round + 1).to_string()).collect();
        let _ = write!(out, "\n{}: {}; {} round(s)", workload.name(), workload.title(), self.disturbed.len());
        if rounds.is_empty() {
            out.push('\n');
        } else if rounds.len() == self.disturbed.len() {
            out.push_str(", all disturbed: no figure here to rely on\n");
        } else {
            let _ = writeln!(out, ", disturbed and apart: {}", rounds.join(", "));
        }
        let names: Vec<_> = self
            .entries
            .iter()
            .filter_map(|entry| entry.outcome.as_ref().ok())
            .map(|outcome| outcome.figures.iter().map(|figure| figure.name).collect::<Vec<_>>())
            .max_by_key(Vec::len)
            .unwrap_or_default();
        let _ = write!(out, "  {:<15}", "");
        for (index, name) in names.iter().enumerate() {
            let _ = write!(out, "{name:>13}");
            if index == 0 && workload.is_rate() {
                let _ = write!(out, "{:>10}{:>19}", "of direct", "min..max");
            }
        }
        out.push('\n');
        for rival in W::Rival::ALL.iter().copied() {
            if self.of(rival).next().is_some() {
                self.print_rival(rival, names.len(), out);
            }
        }
    }

    fn print_rival(&self, rival: W::Rival, columns: usize, out: &mut String) {
        let workload = self.workload;
        let _ = write!(out, "  {:<15}", rival.name());
        for index in 0..columns {
            let values = self.values(rival, |entry| entry.figure(index));
            // The direct way has no proxy, so no cost.
            let cost = rival == W::Rival::DIRECT && self.of(rival).any(|entry| entry.is_cost(index));
            let shown = median(&values).filter(|_| !cost).map_or("-".into(), number);
            let _ = write!(out, "{shown:>13}");
            if index == 0 && workload.is_rate() {
                let ratios = self.values(rival, |entry| Some(entry.figure(0)? / self.direct(entry.round)?));
                let ratio = median(&ratios).map_or("-".into(), |ratio| format!("{ratio:.3}"));
                let span = range(&values)
                    .map_or("-".into(), |(low, high)| format!("{}..{}", number(low), number(high)));
                let _ = write!(out, "{ratio:>10}{span:>19}");
            }
        }
        out.push('\n');
        for entry in self.of(rival) {
            match &entry.outcome {
                Err(e) => {
                    let _ = writeln!(out, "    round {} failed: {e}", entry.round + 1);
                }
                Ok(outcome) => {
                    if let Some(remark) = &outcome.remark {
                        let _ = writeln!(out, "    round {}: {remark}", entry.round + 1);
                    }
                }
            }
            if let Some(figure) = entry.figure(0).filter(|_| self.disturbed[entry.round]) {
                let _ = writeln!(out, "    round {} (disturbed): {}", entry.round + 1, number(figure));
            }
        }
    }
}

/// Three digits that matter, or all before the point; a whole number as such.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || size.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Every workload's table.
pub(crate) fn tables<W: Workload>(entries: &[Entry<W>]) -> String {
    let mut out = String::new();
    for table in W::ALL.iter().copied().filter_map(|workload| Table::new(workload, entries)) {
        table.print(&mut out);
    }
    out
}

fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for symbol in text.chars() {
        match symbol {
            '"' | '\\' => out.extend(['\\', symbol]),
            symbol if symbol.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(symbol));
            }
            symbol => out.push(symbol),
        }
    }
    out.push('"');
    out
}

/// Every figure of every round; `head` is the run's head line.
pub(crate) fn json<W: Workload>(head: &str, entries: &[Entry<W>]) -> String {
    let mut out = format!("{{\"head\": {}, \"entries\": [", quoted(head));
    let tables: Vec<_> =
        W::ALL.iter().copied().filter_map(|workload| Table::new(workload, entries)).collect();
    let mut comma = "";
    for (table, entry) in
        tables.iter().flat_map(|table| table.entries.iter().map(move |entry| (table, entry)))
    {
        let (workload, rival) = (quoted(entry.workload.name()), quoted(entry.rival.name()));
        let (round, disturbed) = (entry.round + 1, table.disturbed[entry.round]);
        let _ = write!(
            out,
            "{comma}\n  {{\"workload\": {workload}, \"rival\": {rival}, \"round\": {round}, \
             \"disturbed\": {disturbed}"
        );
        match &entry.outcome {
            Ok(outcome) => {
                for figure in &outcome.figures {
                    let _ = write!(out, ", {}: {}", quoted(figure.name), figure.value);
                }
                if let Some(remark) = &outcome.remark {
                    let _ = write!(out, ", \"remark\": {}", quoted(remark));
                }
            }
            Err(e) => {
                let _ = write!(out, ", \"failed\": {}", quoted(e));
            }
        }
        out.push('}');
        comma = ",";
    }
    out.push_str("\n]}\n");
    out
}
