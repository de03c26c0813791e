//! One JSON object: a number for a figure without labels, an array of objects for one with labels.
//!
//! ```json
//! {"uptime_seconds": 12.5, "uplink_up": [{"uplink": "wlan0", "value": 1}]}
//! ```

use super::samples::{Family, Samples};
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
        [only] if only.labels.is_empty() => only.value.to_string(),
        samples => array(samples.iter().map(|sample| {
            let labels = sample.labels.iter().map(|(name, value)| (*name, string(value)));
            object(&labels.chain([("value", sample.value.to_string())]).collect::<Vec<_>>())
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_numbers_and_labels_are_strings() {
        let expected = [
            r#"{"plain_total":[{"value":7},{"value":18446744073709551615}],"part":0.25,"#,
            r#""odd":[{"name":"a\"b\\c\u000ad","other":"é","value":1}],"none":[]}"#,
        ];
        assert_eq!(render(&super::super::samples::odd()).trim_end(), expected.concat());
    }
}
