//! Reads Prometheus' text format and panics where the real reader would refuse it, or where
//! `promtool check metrics` would complain.

use std::collections::BTreeMap;

/// Values by name and labels, as they are written.
pub(crate) struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Of a sample such as `ropewalk_uplink_up{uplink="lo"}`.
    pub(crate) fn get(&self, sample: &str) -> Option<f64> {
        self.0.get(sample).copied()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

#[track_caller]
pub(crate) fn read(text: &str) -> Metrics {
    assert!(text.ends_with('\n'), "the last line must end");
    let mut values = BTreeMap::new();
    let mut kinds: BTreeMap<String, String> = BTreeMap::new();
    // HELP and TYPE come once, before the samples of their name; those stand together.
    let mut current = String::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').expect("a name and a text");
            assert!(is_name(name) && !help.is_empty(), "{line}");
            assert!(!kinds.contains_key(name), "told twice: {line}");
            current = name.to_owned();
            continue;
        }
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a name and a kind");
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            assert_eq!(name, current, "TYPE follows HELP");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert_eq!(kinds.insert(name.to_owned(), kind.to_owned()), None, "told twice: {line}");
            continue;
        }
        let name = &line[..line.find(['{', ' ']).expect("a value")];
        assert!(is_name(name) && name.starts_with("ropewalk_"), "{line}");
        assert_eq!(name, current, "a sample stands under its name: {line}");
        assert!(kinds.contains_key(name), "a sample has a kind: {line}");
        let rest = match line[name.len()..].strip_prefix('{') {
            None => &line[name.len()..],
            Some(labels) => after_labels(labels),
        };
        let value = rest.strip_prefix(' ').expect("one space before the value");
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("expected a number: {line}"));
        let sample = line[..line.len() - rest.len()].to_owned();
        assert_eq!(values.insert(sample, value), None, "the same sample twice: {line}");
    }
    Metrics(values)
}

/// What stands behind `name="value",...}`.
fn after_labels(mut text: &str) -> &str {
    loop {
        let (name, rest) = text.split_once("=\"").expect("a label and a value in quotes");
        assert!(is_name(name), "{text}");
        let mut escaped = false;
        let end = rest.char_indices().find(|(_, c)| {
            let ends = *c == '"' && !escaped;
            assert!(!escaped || ['\\', '"', 'n'].contains(c), "an unknown escape: {rest}");
            escaped = *c == '\\' && !escaped;
            ends
        });
        let rest = &rest[end.expect("a closing quote").0 + 1..];
        if let Some(rest) = rest.strip_prefix('}') {
            return rest;
        }
        text = rest.strip_prefix(',').expect("a comma or the end of the labels");
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[test]
fn the_reader_reads_what_is_right_and_refuses_what_is_not() {
    let head = "# HELP ropewalk_a A text.\n# TYPE ropewalk_a gauge\n";
    let good = format!("{head}ropewalk_a{{x=\"a\\\"b\\\\\",y=\"\\n\"}} 1.5\nropewalk_a 2\n");
    let metrics = read(&good);
    assert_eq!(metrics.get("ropewalk_a"), Some(2.0));
    assert_eq!(metrics.get("ropewalk_a{x=\"a\\\"b\\\\\",y=\"\\n\"}"), Some(1.5));
    for bad in [
        "ropewalk_a 1\n".to_owned(),
        format!("{head}ropewalk_b 1\n"),
        format!("{head}ropewalk_a 1\nropewalk_a 1\n"),
        format!("{head}ropewalk_a{{x=\"\\t\"}} 1\n"),
        format!("{head}ropewalk_a{{x=\"a}} 1\n"),
        format!("{head}ropewalk_a one\n"),
        format!("{head}ropewalk_a 1"),
    ] {
        assert!(std::panic::catch_unwind(|| read(&bad)).is_err(), "{bad:?}");
    }
}
