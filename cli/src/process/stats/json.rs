//! One JSON object: a number for a figure without labels, an array of objects for one with labels.
//!
//! ```json
//! {"uptime_seconds": 12.5, "uplink_up": [{"uplink": "wlan0", "value": 1}]}
//! ```

use super::samples::{Family, Samples, Value};
use ropewalk_core::json::{array, object, string};

pub(super) fn render(samples: &Samples) -> String {
    let members: Vec<(&str, String)> =
        samples.families.iter().map(|family| (family.name, content(family))).collect();
    let mut text = object(&members);
    text.push('\n');
    text
}

fn content(family: &Family) -> String {
    match family.samples.as_slice() {
        [only] if only.labels.is_empty() => number(only.value),
        samples => array(samples.iter().map(|sample| {
            let labels = sample.labels.iter().map(|(name, value)| (*name, string(value)));
            object(&labels.chain([("value", number(sample.value))]).collect::<Vec<_>>())
        })),
    }
}

fn number(value: Value) -> String {
    match value {
        Value::Whole(value) => value.to_string(),
        // RFC 8259 section 6 has no infinity and no NaN.
        Value::Fraction(value) if value.is_finite() => value.to_string(),
        Value::Fraction(_) => "null".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_numbers_and_labels_are_strings() {
        let expected = r#"{"plain_total":[{"value":7},{"value":18446744073709551615}],"part":0.25,"odd":[{"name":"a\"b\\c\u000ad","other":"é","value":1}],"none":[]}"#;
        assert_eq!(render(&super::super::samples::odd()).trim_end(), expected);
    }
}
