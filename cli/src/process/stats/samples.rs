//! Figures with names and labels, before they are written in one form or the other.

use std::fmt;
use std::time::Duration;

/// What a figure does over time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// It only grows, until the process ends.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// A number. None is a float: the smallest build has no code that writes those.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Value {
    Whole(u64),
    /// In millionths.
    Fraction(u64),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, millionths) = match self {
            Value::Whole(whole) => (*whole, 0),
            Value::Fraction(all) => (all / 1_000_000, all % 1_000_000),
        };
        match millionths {
            0 => write!(f, "{whole}"),
            some => write!(f, "{whole}.{}", format!("{some:06}").trim_end_matches('0')),
        }
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Value::Whole(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Whole(value.into())
    }
}

/// In seconds.
impl From<Duration> for Value {
    fn from(value: Duration) -> Self {
        Value::Fraction(u64::try_from(value.as_micros()).unwrap_or(u64::MAX))
    }
}

pub(super) struct Sample {
    pub(super) labels: Vec<(&'static str, String)>,
    pub(super) value: Value,
}

/// The samples of one name.
pub(crate) struct Family {
    /// Without the prefix `ropewalk_`.
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: Kind,
    pub(super) samples: Vec<Sample>,
}

impl Family {
    /// Adds the sample of these labels. No two may have the same; none is called `value`.
    pub(crate) fn add(&mut self, labels: &[(&'static str, &str)], value: impl Into<Value>) -> &mut Self {
        debug_assert!(labels.iter().all(|(name, _)| is_name(name) && *name != "value"), "{labels:?}");
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.samples.push(Sample { labels, value: value.into() });
        self
    }
}

/// All figures of one moment. Names are written without the prefix `ropewalk_`; those of counters
/// end in `_total`.
#[derive(Default)]
pub(crate) struct Samples {
    pub(super) families: Vec<Family>,
}

impl Samples {
    /// A counter without labels.
    pub(crate) fn counter(&mut self, name: &'static str, help: &'static str, value: impl Into<Value>) {
        self.counters(name, help).add(&[], value);
    }

    /// A gauge without labels.
    pub(crate) fn gauge(&mut self, name: &'static str, help: &'static str, value: impl Into<Value>) {
        self.gauges(name, help).add(&[], value);
    }

    /// A counter with labels, to be added.
    pub(crate) fn counters(&mut self, name: &'static str, help: &'static str) -> &mut Family {
        debug_assert!(name.ends_with("_total"), "{name}");
        self.family(name, help, Kind::Counter)
    }

    /// A gauge with labels, to be added.
    pub(crate) fn gauges(&mut self, name: &'static str, help: &'static str) -> &mut Family {
        debug_assert!(!name.ends_with("_total"), "{name}");
        self.family(name, help, Kind::Gauge)
    }

    fn family(&mut self, name: &'static str, help: &'static str, kind: Kind) -> &mut Family {
        debug_assert!(is_name(name), "{name}");
        // The samples of one name must stand together.
        let at = self.families.iter().position(|family| family.name == name);
        let at = at.unwrap_or_else(|| {
            self.families.push(Family { name, help, kind, samples: Vec::new() });
            self.families.len() - 1
        });
        &mut self.families[at]
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
pub(super) fn odd() -> Samples {
    let mut samples = Samples::default();
    samples.counter("plain_total", "A plain one.", 7_u64);
    samples.gauge("part", "A \\ and a\nline feed.", Value::Fraction(250_000));
    samples.gauges("odd", "Odd labels.").add(&[("name", "a\"b\\c\nd"), ("other", "é")], true);
    samples.counter("plain_total", "A plain one.", u64::MAX);
    samples.gauges("none", "Nothing there.");
    samples
}
