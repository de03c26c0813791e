//! Whether the figures are what the scenario expects.

use super::Report;
use crate::packet::meter::{FlowMeter, quantile};
use crate::scenario::{Bound, Check, Expect, FlowSpec, Goodput, Kind, Subject};
use std::time::Duration;

/// One expectation, and what came of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// What was expected, of what and when.
    pub asked: String,
    /// What came.
    pub got: String,
    /// Whether it is as expected.
    pub met: bool,
    /// Why it is not, where that is known.
    pub missed: Option<String>,
}

const SECOND: Duration = Duration::from_secs(1);

pub(super) fn verdicts(report: &Report) -> Vec<Verdict> {
    report.scenario.expects.iter().map(|expect| verdict(report, expect)).collect()
}

pub(super) fn mbit(bits: u64) -> String {
    format!("{:.1} Mbit/s", bits as f64 / 1e6)
}

pub(super) fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

/// The flows that a figure is asked of.
fn chosen<'r>(
    report: &'r Report,
    expect: &Expect,
    fits: impl Fn(&Kind) -> bool,
) -> Vec<(&'r FlowSpec, &'r FlowMeter)> {
    let all = report.scenario.flows.iter().zip(&report.measured).enumerate();
    let wanted = all.filter(|(index, (flow, _))| match expect.subject {
        Subject::Flow(wanted) => wanted == *index,
        Subject::All | Subject::Link(..) => fits(&flow.kind),
    });
    wanted.map(|(_, pair)| pair).collect()
}

fn is_tcp(kind: &Kind) -> bool {
    matches!(kind, Kind::Tcp { .. })
}

/// The payload of some flows in a window, bits per second.
fn rate(flows: &[(&FlowSpec, &FlowMeter)], from: Duration, to: Duration) -> u64 {
    flows.iter().map(|(_, meter)| meter.delivered.rate(from, to)).sum()
}

/// The least of the seconds that lie in the window whole.
fn worst_second(flows: &[(&FlowSpec, &FlowMeter)], expect: &Expect) -> (Duration, u64) {
    let mut begin = expect.from;
    let mut worst = (begin, rate(flows, begin, (begin + SECOND).min(expect.to)));
    while begin + SECOND <= expect.to {
        let this = rate(flows, begin, begin + SECOND);
        if this < worst.1 {
            worst = (begin, this);
        }
        begin += SECOND / 10;
    }
    worst
}

/// The rate that a goodput means for a window.
fn wanted(
    report: &Report,
    expect: &Expect,
    goodput: Goodput,
    flows: &[(&FlowSpec, &FlowMeter)],
    at: (Duration, Duration),
) -> (u64, String) {
    match goodput {
        Goodput::Rate(rate) => (rate, format!("at least {}", mbit(rate))),
        Goodput::Ceiling(share) => {
            let direction = flows.first().map_or(report.direction, |(flow, _)| flow.direction);
            let ceiling = report.scenario.ceiling(direction, &expect.of, at.0, at.1);
            let names: Vec<&str> =
                expect.of.iter().map(|index| report.scenario.links[*index].name.as_str()).collect();
            let of = if names.is_empty() { String::new() } else { format!(" of {}", names.join(" and ")) };
            (share.of(ceiling), format!("at least {share} of the ceiling{of}, {}", mbit(ceiling)))
        }
    }
}

fn bound(report: &Report, bound: Bound) -> (Duration, String) {
    match bound.idle {
        false => (bound.time, format!("at most {}", ms(bound.time))),
        true => {
            let idle = report.scenario.idle_rtt();
            (
                idle + bound.time,
                format!("at most {} (idle {} + {})", ms(idle + bound.time), ms(idle), ms(bound.time)),
            )
        }
    }
}

fn share_of(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64 * 100.0
}

fn verdict(report: &Report, expect: &Expect) -> Verdict {
    let (from, to) = (expect.from, expect.to);
    let (what, asked, got, met) = match expect.check {
        Check::Goodput(goodput) => {
            let flows = chosen(report, expect, is_tcp);
            let (least, asked) = wanted(report, expect, goodput, &flows, (from, to));
            let got = rate(&flows, from, to);
            let ceiling = match goodput {
                Goodput::Ceiling(share) => least as f64 / f64::from(share.0.max(1)) * 1e6,
                Goodput::Rate(rate) => rate as f64,
            };
            let text = format!("{} = {:.1}%", mbit(got), got as f64 / ceiling.max(1.0) * 100.0);
            ("goodput", asked, text, got >= least)
        }
        Check::WorstSecond(goodput) => {
            let flows = chosen(report, expect, is_tcp);
            let (at, got) = worst_second(&flows, expect);
            let (least, asked) = wanted(report, expect, goodput, &flows, (at, at + SECOND));
            ("worst second", asked, format!("{} from {}", mbit(got), seconds(at)), got >= least)
        }
        Check::Steady(share) => {
            let flows = chosen(report, expect, is_tcp);
            let (at, got) = worst_second(&flows, expect);
            let mean = rate(&flows, from, to);
            let asked = format!("at least {share} of the mean, {}", mbit(mean));
            ("worst second", asked, format!("{} from {}", mbit(got), seconds(at)), got >= share.of(mean))
        }
        Check::LongestGap(most) => {
            let flows = chosen(report, expect, |kind| !matches!(kind, Kind::Ping { .. }));
            let got = flows.iter().map(|(_, meter)| meter.longest_gap(from, to)).max().unwrap_or_default();
            ("longest gap", format!("at most {}", ms(most)), ms(got), got <= most)
        }
        Check::Lost(most) => {
            let flows = chosen(report, expect, |kind| !is_tcp(kind));
            let sums = flows.iter().map(|(flow, meter)| match flow.kind {
                Kind::Tcp { .. } => (meter.sent, meter.sent.saturating_sub(meter.came)),
                Kind::Udp { .. } | Kind::Ping { .. } => meter.lost(from, to),
            });
            let (sent, lost) = sums.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            let got = format!("{lost} of {sent}, {:.2}%", share_of(lost, sent));
            // Nothing sent is nothing shown.
            let met = sent > 0 && u128::from(lost) * 1_000_000 <= u128::from(sent) * u128::from(most.0);
            ("lost", format!("at most {most}"), got, met)
        }
        Check::PingP50(most) => ping(report, expect, most, 50),
        Check::PingP99(most) => ping(report, expect, most, 99),
        Check::QueueP99(most) => {
            let waits =
                report.link(expect.subject).and_then(|meter| quantile(&meter.waits, from, to, 99, 100));
            let got = waits.map_or_else(|| "nothing was sent".to_owned(), ms);
            ("queue p99", format!("at most {}", ms(most)), got, waits.is_none_or(|wait| wait <= most))
        }
        Check::Carried(least) => {
            let got = report.link(expect.subject).map_or(0, |meter| meter.carried.rate(from, to));
            ("carried", format!("at least {}", mbit(least)), mbit(got), got >= least)
        }
        Check::CarriedAtMost(most) => {
            let got = report.link(expect.subject).map_or(0, |meter| meter.carried.rate(from, to));
            ("carried", format!("at most {}", mbit(most)), mbit(got), got <= most)
        }
        Check::Changes(most) => {
            let got = report.changes(expect.subject, from, to);
            ("changes of state", format!("at most {most}"), got.to_string(), got <= most)
        }
    };
    let subject = match expect.subject {
        Subject::All => String::new(),
        Subject::Flow(index) => format!("{} ", report.scenario.flows[index].name),
        Subject::Link(index, direction) => {
            format!("{} {} ", report.scenario.links[index].name, direction.as_str())
        }
    };
    let window = match (from.is_zero(), to == report.scenario.duration) {
        (true, true) => String::new(),
        (false, true) => format!(" from {} on", seconds(from)),
        (true, false) => format!(" until {}", seconds(to)),
        (false, false) => format!(" from {} to {}", seconds(from), seconds(to)),
    };
    Verdict { asked: format!("{subject}{what}{window}: {asked}"), got, met, missed: expect.missed.clone() }
}

fn ping(report: &Report, expect: &Expect, most: Bound, of: usize) -> (&'static str, String, String, bool) {
    let flows = chosen(report, expect, |kind| matches!(kind, Kind::Ping { .. }));
    let (most, asked) = bound(report, most);
    let times =
        flows.iter().filter_map(|(_, meter)| quantile(&meter.round_trips, expect.from, expect.to, of, 100));
    let got = times.max();
    let text = got.map_or_else(|| "no answer".to_owned(), ms);
    let what = if of == 50 { "ping p50" } else { "ping p99" };
    (what, asked, text, got.is_some_and(|got| got <= most))
}

impl Report {
    fn link(&self, subject: Subject) -> Option<&crate::packet::meter::LinkMeter> {
        match subject {
            Subject::Link(index, direction) => Some(&self.measured_links[index][direction as usize]),
            Subject::All | Subject::Flow(_) => None,
        }
    }

    /// How often one side of the bond took a link out of use: the side that did so more often.
    fn changes(&self, subject: Subject, from: Duration, to: Duration) -> u64 {
        let Subject::Link(wanted, _) = subject else { return 0 };
        let of_side = |states: &[(Duration, usize, bool)]| {
            let mut live = false;
            let mut count = 0;
            for (at, _, now_live) in states.iter().filter(|(_, link, _)| *link == wanted) {
                count += u64::from(live && !now_live && (from..to).contains(at));
                live = *now_live;
            }
            count
        };
        self.states.iter().map(|states| of_side(states)).max().unwrap_or(0)
    }
}
