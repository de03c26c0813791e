//! The report for a program: one JSON object (RFC 8259).

use super::Report;
use ropewalk_core::json::{array, sparse_object, string};
use std::time::Duration;

fn mbit(bits: u64) -> String {
    format!("{:.3}", bits as f64 / 1e6)
}

fn ms(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64() * 1e3)
}

fn seconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64())
}

impl Report {
    /// One object: `scenario`, `seed`, `hash`, `virtual_s`, `wall_s`, `ceiling_mbit_s`, `flows`,
    /// `links`, `events`. A figure that does not apply is left out.
    pub fn to_json(&self) -> String {
        let flows = self.flows.iter().map(|flow| {
            sparse_object(&[
                ("name", Some(string(&flow.name))),
                ("goodput_mbit_s", flow.goodput.map(mbit)),
                ("longest_gap_ms", Some(ms(flow.longest_gap))),
                ("lost", Some(flow.lost.to_string())),
                ("ping_p50_ms", flow.ping_p50.map(ms)),
                ("ping_p99_ms", flow.ping_p99.map(ms)),
            ])
        });
        let links = self.links.iter().map(|link| {
            sparse_object(&[
                ("name", Some(string(&link.name))),
                ("rate_mbit_s", Some(mbit(link.rate))),
                ("carried_mbit_s", Some(mbit(link.carried))),
                ("dropped", Some(link.dropped.to_string())),
                ("lost", Some(link.lost.to_string())),
                ("queue_p99_ms", link.queue_p99.map(ms)),
            ])
        });
        let events = self
            .events
            .iter()
            .map(|(at, text)| sparse_object(&[("at_s", Some(seconds(*at))), ("event", Some(string(text)))]));
        sparse_object(&[
            ("scenario", Some(string(&self.scenario.name))),
            ("seed", Some(self.scenario.seed.to_string())),
            ("hash", Some(string(&format!("{:016x}", self.hash)))),
            ("virtual_s", Some(seconds(self.scenario.duration))),
            ("wall_s", Some(seconds(self.wall))),
            ("ceiling_mbit_s", Some(mbit(self.ceiling))),
            ("flows", Some(array(flows))),
            ("links", Some(array(links))),
            ("events", Some(array(events))),
        ])
    }
}
