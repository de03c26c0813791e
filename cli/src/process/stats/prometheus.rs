//! Prometheus' text format, version 0.0.4.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>

use super::samples::{Kind, Samples};
use std::fmt::Write as _;

pub(super) fn render(samples: &Samples) -> String {
    let mut out = String::new();
    for family in samples.families.iter().filter(|family| !family.samples.is_empty()) {
        let name = family.name;
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        // "HELP lines may contain any sequence of UTF-8 characters, but the backslash and the line
        // feed have to be escaped."
        let help = family.help.replace('\\', r"\\").replace('\n', r"\n");
        let _ = writeln!(out, "# HELP ropewalk_{name} {help}\n# TYPE ropewalk_{name} {kind}");
        for sample in &family.samples {
            let _ = write!(out, "ropewalk_{name}");
            for (nth, (label, value)) in sample.labels.iter().enumerate() {
                let before = if nth == 0 { '{' } else { ',' };
                let _ = write!(out, "{before}{label}=\"{}\"", escaped(value));
            }
            let after = if sample.labels.is_empty() { "" } else { "}" };
            let _ = writeln!(out, "{after} {}", sample.value);
        }
    }
    out
}

/// "The backslash, double-quote and line feed characters have to be escaped."
fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_kinds_and_labels_are_written_as_prometheus_reads_them() {
        let expected = r#"# HELP ropewalk_plain_total A plain one.
# TYPE ropewalk_plain_total counter
ropewalk_plain_total 7
ropewalk_plain_total 18446744073709551615
# HELP ropewalk_part A \\ and a\nline feed.
# TYPE ropewalk_part gauge
ropewalk_part 0.25
# HELP ropewalk_odd Odd labels.
# TYPE ropewalk_odd gauge
ropewalk_odd{name="a\"b\\c\nd",other="é"} 1
"#;
        assert_eq!(render(&super::super::samples::odd()), expected);
    }
}
