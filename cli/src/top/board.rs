//! What was told so far: totals become rates, rates become a history.

use serde_json::Value;
use std::collections::VecDeque;
use std::time::Instant;

/// Rates that are kept: as many as the widest graph shows.
const KEPT: usize = 240;

/// Bits a second.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Rate {
    pub(super) down: f64,
    pub(super) up: f64,
}

/// An uplink of `dispatch`, a path of a bond, or a service as a whole.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Row {
    pub(super) name: String,
    /// Whether it is thought well, where that is told.
    pub(super) up: Option<bool>,
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) open: Option<u64>,
    /// In some words.
    pub(super) notes: Vec<String>,
    /// The newest last.
    pub(super) rates: VecDeque<Rate>,
}

impl Row {
    pub(super) fn rate(&self) -> Rate {
        self.rates.back().copied().unwrap_or_default()
    }
}

/// All that is shown.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Board {
    pub(super) address: String,
    pub(super) version: String,
    pub(super) uptime: f64,
    pub(super) rows: Vec<Row>,
    /// Why the last look failed.
    pub(super) lost: Option<String>,
    at: Option<Instant>,
}

impl Board {
    pub(super) fn new(address: String) -> Self {
        Board { address, ..Board::default() }
    }

    /// Takes in what was told at `now`.
    pub(super) fn update(&mut self, now: Instant, stats: &Value) {
        let passed = self.at.replace(now).map(|before| now.saturating_duration_since(before).as_secs_f64());
        let before = std::mem::replace(&mut self.rows, rows(stats));
        for row in &mut self.rows {
            let Some(old) = before.iter().find(|old| old.name == row.name) else { continue };
            row.rates.clone_from(&old.rates);
            let Some(passed) = passed.filter(|passed| *passed > 0.0) else { continue };
            // A service that was started anew counts from nothing again.
            let per_second = |now: u64, before: u64| now.saturating_sub(before) as f64 * 8.0 / passed;
            let (down, up) = (per_second(row.received, old.received), per_second(row.sent, old.sent));
            row.rates.push_back(Rate { down, up });
            if row.rates.len() > KEPT {
                row.rates.pop_front();
            }
        }
        self.version = text(&stats["build_info"][0]["version"]);
        self.uptime = stats["uptime_seconds"].as_f64().unwrap_or_default();
        self.lost = None;
    }

    /// Nobody answers any more: what was told stays to be seen.
    pub(super) fn lost(&mut self, why: String) {
        self.lost = Some(why);
    }
}

fn text(value: &Value) -> String {
    // What is shown must not move the cursor.
    value.as_str().unwrap_or_default().chars().filter(|c| !c.is_control()).collect()
}

fn samples<'a>(stats: &'a Value, family: &str) -> impl Iterator<Item = &'a Value> {
    stats[family].as_array().into_iter().flatten()
}

fn rows(stats: &Value) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let uplink = |sample: &Value| text(&sample["uplink"]);
    let path = |sample: &Value| match sample["client"].is_string() {
        true => format!("{} by {}", text(&sample["client"]), text(&sample["link"])),
        false => text(&sample["link"]),
    };
    collect(&mut rows, stats, ["uplink_up", "uplink_bytes_total"], &uplink);
    for sample in samples(stats, "uplink_open_connections") {
        row(&mut rows, uplink(sample)).open = sample["value"].as_u64();
    }
    for sample in samples(stats, "uplink_weight") {
        note(&mut rows, uplink(sample), format!("weight {}", whole(sample)));
    }
    for sample in samples(stats, "uplink_attempts_failed_total").filter(|sample| whole(sample) > 0) {
        note(&mut rows, uplink(sample), format!("{} failed", whole(sample)));
    }
    let caps = |what| samples(stats, "uplink_cap_bytes").filter(move |sample| sample["what"] == what);
    for (used, cap) in caps("used").zip(caps("cap")) {
        let told = match whole(used) >= whole(cap) {
            true => "at its cap".to_owned(),
            false => format!("{:.0}% of its cap", 100.0 * fraction(used) / fraction(cap).max(1.0)),
        };
        note(&mut rows, uplink(cap), told);
    }
    collect(&mut rows, stats, ["path_up", "path_bytes_total"], &path);
    for sample in samples(stats, "path_rtt_seconds") {
        note(&mut rows, path(sample), format!("{:.1} ms", fraction(sample) * 1e3));
    }
    for sample in samples(stats, "path_loss").filter(|sample| fraction(sample) > 0.0) {
        note(&mut rows, path(sample), format!("{:.1}% lost", fraction(sample) * 100.0));
    }
    if rows.is_empty() {
        let service = |sample: &Value| text(&sample["service"]);
        collect(&mut rows, stats, ["", "bytes_total"], &service);
        for sample in samples(stats, "open_connections") {
            row(&mut rows, service(sample)).open = sample["value"].as_u64();
        }
    }
    rows
}

/// Health and bytes.
fn collect(rows: &mut Vec<Row>, stats: &Value, [up, bytes]: [&str; 2], name: &dyn Fn(&Value) -> String) {
    for sample in samples(stats, up) {
        row(rows, name(sample)).up = Some(whole(sample) == 1);
    }
    for sample in samples(stats, bytes) {
        let row = row(rows, name(sample));
        match sample["direction"].as_str() {
            Some("received") => row.received = whole(sample),
            _ => row.sent = whole(sample),
        }
    }
}

fn whole(sample: &Value) -> u64 {
    sample["value"].as_u64().unwrap_or_default()
}

fn fraction(sample: &Value) -> f64 {
    sample["value"].as_f64().unwrap_or_default()
}

fn note(rows: &mut Vec<Row>, name: String, note: String) {
    row(rows, name).notes.push(note);
}

fn row(rows: &mut Vec<Row>, name: String) -> &mut Row {
    let at = rows.iter().position(|row| row.name == name).unwrap_or_else(|| {
        rows.push(Row { name, ..Row::default() });
        rows.len() - 1
    });
    &mut rows[at]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::Duration;

    #[test]
    fn totals_become_rates_and_a_service_that_begins_anew_has_none_below_nothing() {
        let told = |received: u64| {
            json!({"uptime_seconds": 5.0, "uplink_up": [{"uplink": "a\u{1b}[2J", "value": 1}],
                   "uplink_bytes_total": [
                       {"uplink": "a\u{1b}[2J", "direction": "received", "value": received}]})
        };
        let (mut board, begin) = (Board::new("x".into()), Instant::now());
        for (second, received) in [(0, 1000), (1, 2000), (3, 6000), (4, 10)] {
            board.update(begin + Duration::from_secs(second), &told(received));
        }
        // What could move the cursor is taken out of a name.
        assert_eq!(board.rows[0].name, "a[2J");
        let down: Vec<f64> = board.rows[0].rates.iter().map(|rate| rate.down).collect();
        assert_eq!(down, [8000.0, 16_000.0, 0.0]);
    }

    #[test]
    fn a_metered_uplink_says_how_much_of_its_cap_it_has_carried() {
        let of = |used: u64| {
            let told = |what: &str, value: u64| json!({"uplink": "usb0", "what": what, "value": value});
            rows(&json!({"uplink_cap_bytes": [told("used", used), told("cap", 50_000)]}))[0].notes.clone()
        };
        assert_eq!(of(49_700), ["99% of its cap"]);
        assert_eq!((of(50_000), of(0)), (vec!["at its cap".to_owned()], vec!["0% of its cap".to_owned()]));
    }

    #[test]
    fn paths_of_a_bond_and_a_service_without_links_have_rows_too() {
        let path = json!({"path_up": [{"client": "ann", "link": "up1", "value": 0}],
                          "path_rtt_seconds": [{"client": "ann", "link": "up1", "value": 0.0204}]});
        let row = &rows(&path)[0];
        assert_eq!(
            (row.name.as_str(), row.up, &row.notes[..]),
            ("ann by up1", Some(false), &["20.4 ms".to_owned()][..])
        );
        let unwrap = json!({"bytes_total": [{"service": "unwrap", "direction": "sent", "value": 7}],
                            "open_connections": [{"service": "unwrap", "value": 3}]});
        let row = &rows(&unwrap)[0];
        assert_eq!((row.name.as_str(), row.sent, row.open, row.up), ("unwrap", 7, Some(3), None));
        assert_eq!(rows(&json!({"uplink_up": "x", "bytes_total": 3})), []);
    }
}
