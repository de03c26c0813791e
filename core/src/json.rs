//! JSON (RFC 8259), written piece by piece: each function gives a value as text.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt::Write as _;

/// An object with these members, whose values are JSON already.
pub fn object(members: &[(&str, String)]) -> String {
    let members: Vec<String> =
        members.iter().map(|(name, value)| format!("{}:{value}", string(name))).collect();
    format!("{{{}}}", members.join(","))
}

/// The same without the members that have no value.
pub fn sparse_object(members: &[(&str, Option<String>)]) -> String {
    let present = members.iter().filter_map(|(name, value)| Some((*name, value.clone()?)));
    object(&present.collect::<Vec<_>>())
}

/// An array of these items, which are JSON already.
pub fn array(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

/// `null` where there is no value.
pub fn optional(value: Option<String>) -> String {
    value.unwrap_or_else(|| "null".to_string())
}

/// A string. RFC 8259 section 7: quote, backslash and the controls must be escaped, all else may
/// stand as it is.
pub fn string(text: &str) -> String {
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
