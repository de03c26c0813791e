//! The tables of `core/docs/bond.md`, as Markdown: run it to have them anew.
//!
//! ```text
//! cargo run --release -p ropewalk-sim --example figures -- targets 1 2 3
//! cargo run --release -p ropewalk-sim --example figures -- strategies 12
//! cargo run --release -p ropewalk-sim --example figures -- ways 12
//! cargo run --release -p ropewalk-sim --example figures -- parts 12
//! ```
//!
//! `targets`: what each scenario asks, and what it got with each seed. `strategies`: what a
//! download has from its third second on by each strategy, beside the best link. `ways`: what it
//! has over the whole run, beside the ceiling and the best link alone without a bond. `parts`: the
//! same, its longest gap and the 99th of 100 pings in ms, without a part of the bond. They run so
//! many seconds of each scenario at most, and only those that are named, if any are. One cell of
//! any: `ropewalk sim NAME --mode STRATEGY`, or `ropewalk sim NAME --set bond.without=PART`.

#![allow(missing_docs)]

#[path = "../tests/util/ways.rs"]
mod ways;

use ropewalk_sim::packet::{Inside, Options, run};
use ropewalk_sim::report::{Report, compare};
use ropewalk_sim::scenario::{MODES, Overrides, Scenario, catalog};
use std::time::Duration;

/// Where a part could show what it is for.
const SHOWN: &[&str] =
    &["s1", "s2", "s3", "s3-skew", "s4", "s4-5", "s5", "s6", "s7", "s8", "s9", "s10", "s14"];

/// Where strategies differ.
const WAYS: &[&str] = &["s1", "s2", "s3", "s4", "s6", "s8", "s9", "s10", "s14", "f2", "f2-up", "f8"];

/// A column, and the keys that make it.
const PARTS: &[(&str, &[&str])] = &[
    ("all", &[]),
    ("order", &["bond.without=order"]),
    ("hold 20 ms", &["bond.without=release", "bond.hold=20 ms"]),
    ("hold 50 ms", &["bond.without=release", "bond.hold=50 ms"]),
    ("hold 250 ms", &["bond.without=release"]),
    ("completion", &["bond.without=completion"]),
    ("ecf", &["bond.without=ecf"]),
    ("target", &["bond.without=target"]),
    ("repair", &["bond.without=repair"]),
    ("reinjection", &["bond.without=reinjection"]),
];

fn scenario(name: &str, set: &[&str]) -> Scenario {
    let overrides = Overrides::new(set.iter().copied()).expect("they are well formed");
    let builtin = catalog::find(name).unwrap_or_else(|| panic!("no scenario is called {name}"));
    builtin.read(&overrides).unwrap_or_else(|error| panic!("{error}"))
}

fn row(cells: impl IntoIterator<Item = String>) {
    let cells: Vec<String> = cells.into_iter().collect();
    println!("| {} |", cells.join(" | "));
}

fn head(cells: &[&str]) {
    row(cells.iter().map(|cell| (*cell).to_owned()));
    row(cells.iter().map(|_| "---".to_owned()));
}

fn targets(seeds: &[String]) {
    head(&["scenario", "asked", "got, a seed each", ""]);
    for builtin in catalog::BUILTIN {
        let runs = seeds.iter().map(|seed| {
            let one = scenario(builtin.name, &[&format!("seed={seed}")]);
            run(&one, Options::default()).expect("this build has the bond")
        });
        let runs: Vec<_> = runs.collect();
        for (place, verdict) in runs[0].verdicts.iter().enumerate() {
            let all = || runs.iter().map(|run| &run.verdicts[place]);
            let got: Vec<&str> = all().map(|verdict| verdict.got.as_str()).collect();
            let word = if all().all(|verdict| verdict.met) { "" } else { "missed" };
            row([builtin.name.to_owned(), verdict.asked.clone(), got.join("; "), word.to_owned()]);
        }
    }
}

/// The first seconds of a scenario, with some keys set.
fn first(name: &str, most: &str, set: &[&str]) -> Scenario {
    let mut scenario = scenario(name, set);
    let most = Duration::from_secs(most.parse().expect("a number of seconds"));
    scenario.duration = scenario.duration.min(most);
    // An expectation may be of later.
    scenario.expects.clear();
    scenario
}

fn strategies(most: &str, only: &[String]) {
    head(&[&["scenario, flows", "best link, Mbit/s"], MODES].concat());
    for builtin in catalog::BUILTIN {
        let scenario = first(builtin.name, most, &[]);
        let best = ways::best_link(&scenario);
        let Some(best) = best.filter(|_| wanted(builtin.name, only)) else { continue };
        let name = format!("{}, {}", builtin.name, best.names(&scenario));
        let link = format!("{} {:.1}", scenario.links[best.link].name, best.ceiling as f64 / 1e6);
        let all = MODES.iter().map(|mode| ways::carried(&scenario, mode, &best));
        row([name, link].into_iter().chain(all.map(|figure| format!("{:.1}", figure as f64 / 1e6))));
    }
}

fn wanted(name: &str, only: &[String]) -> bool {
    only.is_empty() || only.iter().any(|wanted| wanted == name)
}

/// What the first flow with a goodput has, in Mbit/s.
fn goodput(report: &Report) -> f64 {
    report.flows.iter().find_map(|flow| flow.goodput).unwrap_or_default() as f64 / 1e6
}

/// What the links could carry of the first flow, in Mbit/s.
fn ceiling(scenario: &Scenario) -> String {
    let bits = scenario.ceiling(scenario.direction(), &[], Duration::ZERO, scenario.duration);
    format!("{:.1}", bits as f64 / 1e6)
}

fn ways(most: &str, only: &[String]) {
    head(&[&["scenario", "ceiling", "best link alone"], MODES].concat());
    for name in WAYS.iter().filter(|name| wanted(name, only)) {
        let scenario = first(name, most, &[]);
        let all = compare(&scenario, Inside::Model).expect("this build has the bond");
        let (alone, bonded) = all.ways.split_at(all.links);
        let best = alone.iter().map(|way| goodput(&way.report)).fold(0.0, f64::max);
        let figures = bonded.iter().map(|way| goodput(&way.report));
        let figures = [best].into_iter().chain(figures).map(|figure| format!("{figure:.1}"));
        row([(*name).to_owned(), ceiling(&scenario)].into_iter().chain(figures));
    }
}

fn parts(most: &str, only: &[String]) {
    let names: Vec<&str> = PARTS.iter().map(|(name, _)| *name).collect();
    head(&[&["scenario", "ceiling"], &names[..]].concat());
    for name in SHOWN.iter().filter(|name| wanted(name, only)) {
        let of = ceiling(&first(name, most, &[]));
        let cells = PARTS.iter().map(|(_, set)| {
            let one = first(name, most, set);
            let report = run(&one, Options::default()).expect("this build has the bond");
            let flow = report.flows.iter().position(|flow| flow.goodput.is_some()).expect("it has a flow");
            let goodput = goodput(&report);
            let gap = report.flows[flow].longest_gap.as_millis();
            let ping = report.flows.iter().filter_map(|flow| flow.ping_p99).max();
            format!("{goodput:.1}, {gap}, {}", ping.map_or(0, |ping| ping.as_millis()))
        });
        row([(*name).to_owned(), of].into_iter().chain(cells));
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("targets") if arguments.len() > 1 => targets(&arguments[1..]),
        Some("strategies") if arguments.len() > 1 => strategies(&arguments[1], &arguments[2..]),
        Some("ways") if arguments.len() > 1 => ways(&arguments[1], &arguments[2..]),
        Some("parts") if arguments.len() > 1 => parts(&arguments[1], &arguments[2..]),
        _ => eprintln!("expected targets SEED..., or strategies, ways or parts SECONDS [NAME...]"),
    }
}
