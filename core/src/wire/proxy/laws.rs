//! What holds for any bytes at all; the tests and the fuzzer ask for it alike.

use alloc::string::ToString;
use alloc::vec::Vec;

use super::*;

/// Panics where a law of the parser does not hold for an input of the fuzzer: its first byte
/// chooses the rules.
pub(crate) fn hold_for_input(input: &[u8]) {
    let Some((choice, bytes)) = input.split_first() else { return };
    let mut rules = Rules::new(if choice & 1 == 0 { Transport::Stream } else { Transport::Datagram });
    if choice & 2 != 0 {
        rules.max_length = 64;
    }
    rules.mixed_families = choice & 4 != 0;
    hold(bytes, &rules);
}

/// Panics where a law of the parser does not hold for these bytes.
pub(crate) fn hold(bytes: &[u8], rules: &Rules) {
    let whole = parse(bytes, rules);
    // However the bytes are split, an early verdict is the final one.
    for end in ends(bytes.len(), &whole) {
        let early = parse(&bytes[..end], rules);
        let settled = match &whole {
            Ok((_, used)) if end < *used => false,
            Ok(_) => true,
            Err(_) => early != Err(Unparsed::Incomplete),
        };
        if settled {
            assert_eq!(early, whole, "the first {end} bytes of {bytes:02x?}");
        } else {
            assert_eq!(early, Err(Unparsed::Incomplete), "the first {end} bytes of {bytes:02x?}");
        }
    }
    if whole != Err(Unparsed::Incomplete) {
        let followed: Vec<u8> = bytes.iter().copied().chain(*b"\r\nPROXY \0").collect();
        assert_eq!(parse(&followed, rules), whole, "followed by others, {bytes:02x?}");
    }
    let (header, used) = match whole {
        Ok(parsed) => parsed,
        Err(Unparsed::Incomplete) => {
            assert!(bytes.len() < v2::FIXED + rules.max_length.max(v1::MAX_LINE), "a header has an end");
            return;
        }
        Err(Unparsed::Malformed(why)) => {
            assert!(why.at < bytes.len(), "{why} is outside of {bytes:02x?}");
            return;
        }
    };
    assert!(used <= bytes.len() && header.tlvs.start <= used && header.tlvs.end == used, "{header:?}");
    let shown = header.tlvs(bytes).to_string();
    assert!(!shown.contains(char::is_control), "{shown:?}");
    let listed: usize = header.tlvs(bytes).map(|tlv| 3 + tlv.value.len()).sum();
    assert_eq!(listed, header.tlvs.len(), "the TLVs of {bytes:02x?}");
    said_again(&header, rules);
}

/// What was understood can be said, and is understood the same.
fn said_again(header: &Header, rules: &Rules) {
    let Origin::Proxied { source, destination } = header.origin else { return };
    assert_eq!((canonical(source), canonical(destination)), (source, destination), "{header:?}");
    let mut again = Vec::new();
    match header.version {
        Version::V1 => emit::v1(source, destination, &mut again),
        Version::V2 => emit::v2(source, destination, rules.transport, &[], true, &mut again),
        Version::Simple => again.extend_from_slice(&emit::simple(source, destination)),
    }
    let max_length = rules.max_length.max(MAX_LENGTH);
    let (parsed, used) = parse(&again, &Rules { max_length, ..*rules }).expect("it was just written");
    assert_eq!((parsed.version, parsed.origin, used), (header.version, header.origin, again.len()));
}

/// Where to cut: everywhere near the beginning and near the end of the header, and here and there
/// between.
fn ends(len: usize, whole: &Parsed<Header>) -> impl Iterator<Item = usize> {
    let used = whole.as_ref().map_or(len, |(_, used)| *used);
    (0..len).filter(move |end| *end < 300 || end.abs_diff(used) < 8 || end % 97 == 0)
}
