//! JSON (RFC 8259), written piece by piece: each function gives a value as text.

use std::fmt::Write as _;

pub(crate) fn object(members: &[(&str, String)]) -> String {
    let members: Vec<String> =
        members.iter().map(|(name, value)| format!("{}:{value}", string(name))).collect();
    format!("{{{}}}", members.join(","))
}

pub(crate) fn array(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

pub(crate) fn optional(value: Option<String>) -> String {
    value.unwrap_or_else(|| "null".to_string())
}

/// RFC 8259 section 7: quote, backslash and the controls must be escaped, all else may stand as it
/// is.
pub(crate) fn string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if u32::from(c) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_quotes_and_controls_is_escaped() {
        assert_eq!(string("a\"b\\c\nd\u{1f}é"), "\"a\\\"b\\\\c\\u000ad\\u001fé\"");
    }
}
