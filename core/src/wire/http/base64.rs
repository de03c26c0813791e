//! Base64 with the standard alphabet (RFC 4648 section 4), strict, for the credentials of RFC 7617.
//!
//! ```text
//!   aaaaaa aabbbb bbbbcc cccccc    four characters, three bytes
//!   aaaaaa aabbbb bbbb00 =         the last two bytes
//!   aaaaaa aa0000 =      =         the last byte
//! ```
//!
//! Strict: one value has one spelling. No white space, padding to the full four, unused bits zero.

use alloc::vec::Vec;

/// The bytes that `text` spells, `None` if it is not the one spelling of any.
pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    // RFC 4648 section 3.2: padding is part of the encoding.
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let mut groups = text.chunks_exact(4).peekable();
    while let Some(group) = groups.next() {
        let padding = match group {
            [_, _, b'=', b'='] => 2,
            [_, _, _, b'='] => 1,
            _ => 0,
        };
        if padding > 0 && groups.peek().is_some() {
            return None;
        }
        let mut bits = 0u32;
        for character in &group[..4 - padding] {
            bits = bits << 6 | sextet(*character)?;
        }
        bits <<= 6 * padding;
        let bytes = bits.to_be_bytes();
        let (kept, unused) = bytes[1..].split_at(3 - padding);
        // RFC 4648 section 3.5: bits that spell nothing are zero.
        if unused.iter().any(|b| *b != 0) {
            return None;
        }
        out.extend_from_slice(kept);
    }
    Some(out)
}

fn sextet(character: u8) -> Option<u32> {
    // RFC 4648 section 3.3: a character outside the alphabet is refused, not skipped.
    let value = match character {
        b'A'..=b'Z' => character - b'A',
        b'a'..=b'z' => character - b'a' + 26,
        b'0'..=b'9' => character - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(value.into())
}

/// The spelling of `bytes`.
pub(crate) fn encode(bytes: &[u8]) -> alloc::string::String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = alloc::string::String::new();
    for group in bytes.chunks(3) {
        let mut padded = [0; 4];
        padded[1..=group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes(padded);
        for place in 0..4 {
            let sextet = bits >> (18 - 6 * place) & 63;
            out.push(if place > group.len() { '=' } else { ALPHABET[sextet as usize].into() });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_the_rfc_decode() {
        // RFC 4648 section 10.
        let pairs: [(&[u8], &[u8]); 7] = [
            (b"", b""),
            (b"f", b"Zg=="),
            (b"fo", b"Zm8="),
            (b"foo", b"Zm9v"),
            (b"foob", b"Zm9vYg=="),
            (b"fooba", b"Zm9vYmE="),
            (b"foobar", b"Zm9vYmFy"),
        ];
        for (bytes, text) in pairs {
            assert_eq!(decode(text).as_deref(), Some(bytes));
            assert_eq!(encode(bytes).as_bytes(), text);
        }
        assert_eq!(decode(b"+/+/"), Some([0xfb, 0xff, 0xbf].into()));
    }

    #[test]
    fn a_second_spelling_is_refused() {
        let wrong: [&[u8]; 12] = [
            b"Zg",
            b"Zg=",
            b"Zh==",
            b"Zm9=",
            b"Zm8=Zm8=",
            b"Zg==Zm9v",
            b"====",
            b"Z===",
            b"Zm 8",
            b"Zm9v\n",
            b"Zm-_",
            b"=m9v",
        ];
        for text in wrong {
            assert_eq!(decode(text), None, "{}", text.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_itself(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(decode(encode(&bytes).as_bytes()), Some(bytes));
        }

        #[test]
        fn whatever_decodes_has_that_one_spelling(text in "[A-Za-f0-9+/=]{0,3}[A-Z=]{0,2}[a-z=]{0,3}") {
            let text: Vec<u8> = text.into();
            if let Some(bytes) = decode(&text) {
                prop_assert_eq!(encode(&bytes).into_bytes(), text);
            }
        }
    }
}
