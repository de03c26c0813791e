//! Version 1: one line of text, at most 107 bytes with its CRLF.
//!
//! ```text
//!   PROXY TCP4 192.0.2.1 198.51.100.2 5000 443 CR LF
//!   PROXY TCP6 2001:db8::1 2001:db8::2 5000 443 CR LF
//!   PROXY UNKNOWN anything at all CR LF
//! ```
//!
//! The shape of the line is ours: literals, single spaces, which bytes a field may hold and how
//! many of them. It is checked as the bytes come, so that a wrong byte is reported at once. The
//! values are read by `ppp`, once and when the line is whole; what its parser lets pass and should
//! not (`+80`) the shape has refused before, and what it takes for a beginning (`garbage CRLF`)
//! never reaches it.

use core::net::{IpAddr, SocketAddr};
use core::str::FromStr;

use ppp::v1::{Addresses, BinaryParseError, ParseError};

use super::{Header, Origin, PeerReason, Rules, Version, literal};
use crate::wire::{Malformed, Parsed, Unparsed};

/// The longest line with its CRLF, in bytes (proxy-protocol.txt section 2.1).
pub(crate) const MAX_LINE: usize = 107;

/// What a line begins with.
const PREFIX: &[u8] = b"PROXY ";

/// Where the word for protocol and family begins.
const WORD: usize = PREFIX.len();

/// Which addresses a line holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Tcp4,
    Tcp6,
}

/// A field of a line: where it begins and its bytes.
#[derive(Clone, Copy)]
struct Field<'a> {
    at: usize,
    text: &'a [u8],
}

impl Field<'_> {
    /// Its value, where it is one.
    fn value<T: FromStr>(&self) -> Option<T> {
        core::str::from_utf8(self.text).ok()?.parse().ok()
    }

    /// It is no such thing.
    fn wrong(&self, expected: &'static str) -> Malformed {
        // A port has at most five digits, so an error can hold its number; an address is not one
        // number.
        Malformed { expected, found: self.value(), at: self.at }
    }
}

/// Reads a line.
pub(crate) fn parse(bytes: &[u8], rules: &Rules) -> Parsed<Header> {
    // proxy-protocol.txt section 2.1: "PROXY", exactly one space, then TCP4, TCP6 or UNKNOWN.
    literal(bytes, 0, PREFIX, "\"PROXY \", the beginning of version 1")?;
    if bytes.get(WORD) == Some(&b'U') {
        return unknown(bytes);
    }
    literal(bytes, WORD, b"TCP", "TCP4, TCP6 or UNKNOWN")?;
    let family = match bytes.get(WORD + 3) {
        None => return Err(Unparsed::Incomplete),
        Some(b'4') => Family::Tcp4,
        Some(b'6') => Family::Tcp6,
        Some(&found) => {
            return Err(Malformed {
                expected: "TCP4, TCP6 or UNKNOWN",
                found: Some(found.into()),
                at: WORD + 3,
            }
            .into());
        }
    };
    literal(bytes, WORD + 4, b" ", "one space after the protocol")?;
    let (fields, used) = fields(bytes, WORD + 5, family, rules)?;
    let line = bytes.get(..used).ok_or(Unparsed::Incomplete)?;
    let origin = addresses(line, family, &fields, rules)?;
    Ok((Header { version: Version::V1, origin, tlvs: used..used }, used))
}

/// Reads a line that says UNKNOWN.
fn unknown(bytes: &[u8]) -> Parsed<Header> {
    const EXPECTED: &str = "a space or CRLF after UNKNOWN";
    literal(bytes, WORD, b"UNKNOWN", "TCP4, TCP6 or UNKNOWN")?;
    let at = WORD + b"UNKNOWN".len();
    match bytes.get(at) {
        None => return Err(Unparsed::Incomplete),
        // proxy-protocol.txt section 2.1: a single CR or LF does not end the line.
        Some(b'\r') => literal(bytes, at + 1, b"\n", "LF after CR")?,
        Some(b' ') => {}
        Some(&found) => return Err(Malformed { expected: EXPECTED, found: Some(found.into()), at }.into()),
    }
    // proxy-protocol.txt section 2.1: whatever comes before the CRLF must be ignored. So it may be
    // no text, and a single CR or LF in it is ignored like any other byte: it does not end the
    // line.
    let used = line_end(bytes, at)?;
    // proxy-protocol.txt section 2.1: for UNKNOWN the real connection's parameters are used.
    let origin = Origin::Peer(PeerReason::Unknown);
    Ok((Header { version: Version::V1, origin, tlvs: used..used }, used))
}

/// The offset after the first CRLF, searched from `from` on.
fn line_end(bytes: &[u8], from: usize) -> Result<usize, Unparsed> {
    // proxy-protocol.txt section 2.1: no CRLF in the first 107 characters makes the line invalid.
    let line = bytes.get(..MAX_LINE).unwrap_or(bytes);
    let rest = line.get(from..).ok_or(Unparsed::Incomplete)?;
    if let Some(crlf) = rest.windows(2).position(|pair| pair == b"\r\n") {
        return Ok(from + crlf + 2);
    }
    // The last two of them must be CRLF if none was before.
    literal(line, MAX_LINE - 2, b"\r\n", "CRLF within 107 bytes")?;
    Err(Unparsed::Incomplete)
}

/// The four fields of a well-formed line, and the offset after the CRLF.
fn fields<'a>(bytes: &'a [u8], at: usize, family: Family, rules: &Rules) -> Parsed<[Field<'a>; 4]> {
    let (source, at) = field(bytes, at, Kind::Address(family), b' ')?;
    // What an IPv6 address may hold an IPv4 address may too.
    let other = if rules.mixed_families { Family::Tcp6 } else { family };
    let (destination, at) = field(bytes, at, Kind::Address(other), b' ')?;
    let (source_port, at) = field(bytes, at, Kind::Port, b' ')?;
    // proxy-protocol.txt section 2.1: the line ends in CRLF, neither in a single CR nor in a single
    // LF.
    let (destination_port, at) = field(bytes, at, Kind::Port, b'\r')?;
    literal(bytes, at, b"\n", "LF after CR")?;
    Ok(([source, destination, source_port, destination_port], at + 1))
}

/// What a field holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Address(Family),
    Port,
}

impl Kind {
    /// Whether a field of this kind may hold the byte.
    fn may_hold(self, byte: u8) -> bool {
        match self {
            // proxy-protocol.txt section 2.1: decimal numbers and dots; the family dictates the
            // format, so an IPv6 address under TCP4 ends here.
            Kind::Address(Family::Tcp4) => byte.is_ascii_digit() || byte == b'.',
            // proxy-protocol.txt section 2.1: hexadecimal digits, upper or lower case, and colons.
            // Dots, because inet_ntop writes the addresses of an IPv4 client on an IPv6 socket as
            // ::ffff:192.0.2.1.
            Kind::Address(Family::Tcp6) => byte.is_ascii_hexdigit() || byte == b':' || byte == b'.',
            // proxy-protocol.txt section 2.1: a decimal integer. No sign, which Rust's integers
            // would take.
            Kind::Port => byte.is_ascii_digit(),
        }
    }

    /// The longest such field, in bytes, from the line lengths of section 2.1.
    fn max(self) -> usize {
        match self {
            Kind::Address(Family::Tcp4) => "255.255.255.255".len(),
            Kind::Address(Family::Tcp6) => "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".len(),
            Kind::Port => "65535".len(),
        }
    }

    /// What is expected of it.
    fn expected(self) -> &'static str {
        match self {
            Kind::Address(Family::Tcp4) => "an IPv4 address of at most 15 characters and one space",
            Kind::Address(Family::Tcp6) => "an IPv6 address of at most 39 characters and one space",
            Kind::Port => "a port of at most 5 digits and one space or CRLF",
        }
    }
}

/// A field that begins at `at` and ends before `end`; also the offset after that.
fn field(bytes: &[u8], at: usize, kind: Kind, end: u8) -> Parsed<Field<'_>> {
    let rest = bytes.get(at..).ok_or(Unparsed::Incomplete)?;
    for (len, &byte) in rest.iter().enumerate() {
        // proxy-protocol.txt section 2.1: exactly one space between fields, so none of them is
        // empty.
        if byte == end && len > 0 {
            return Ok((Field { at, text: rest.get(..len).unwrap_or_default() }, at + len + 1));
        }
        if len == kind.max() || !kind.may_hold(byte) {
            return Err(
                Malformed { expected: kind.expected(), found: Some(byte.into()), at: at + len }.into()
            );
        }
        // proxy-protocol.txt section 2.1: no heading zeroes in front of numbers.
        if kind == Kind::Port && len == 1 && rest.first() == Some(&b'0') {
            let expected = "a port without a leading zero";
            return Err(Malformed { expected, found: Some(b'0'.into()), at }.into());
        }
    }
    Err(Unparsed::Incomplete)
}

/// The addresses of a whole line.
fn addresses(
    line: &[u8],
    family: Family,
    fields: &[Field<'_>; 4],
    rules: &Rules,
) -> Result<Origin, Malformed> {
    let [source, destination, source_port, destination_port] = fields;
    if rules.mixed_families && destination.text.contains(&b':') != (family == Family::Tcp6) {
        return mixed(family, fields);
    }
    // proxy-protocol.txt section 2.1: addresses are not decoded before the CRLF is there.
    let addresses = ppp::v1::Header::try_from(line).map(|header| header.addresses);
    let (source_expected, destination_expected) = match family {
        Family::Tcp4 => ("an IPv4 source address", "an IPv4 destination address"),
        Family::Tcp6 => ("an IPv6 source address", "an IPv6 destination address"),
    };
    match addresses {
        Ok(Addresses::Tcp4(v4)) => Ok(Origin::proxied(
            SocketAddr::from((v4.source_address, v4.source_port)),
            SocketAddr::from((v4.destination_address, v4.destination_port)),
        )),
        Ok(Addresses::Tcp6(v6)) => Ok(Origin::proxied(
            SocketAddr::from((v6.source_address, v6.source_port)),
            SocketAddr::from((v6.destination_address, v6.destination_port)),
        )),
        // proxy-protocol.txt section 2.1: four decimal numbers of 0 to 255, or 128 bits, as the
        // family dictates.
        Err(BinaryParseError::Parse(ParseError::InvalidSourceAddress(_))) => {
            Err(source.wrong(source_expected))
        }
        Err(BinaryParseError::Parse(ParseError::InvalidDestinationAddress(_))) => {
            Err(destination.wrong(destination_expected))
        }
        // proxy-protocol.txt section 2.1: ports are 0 to 65535.
        Err(BinaryParseError::Parse(ParseError::InvalidSourcePort(_))) => {
            Err(source_port.wrong("a source port of 0 to 65535"))
        }
        Err(BinaryParseError::Parse(ParseError::InvalidDestinationPort(_))) => {
            Err(destination_port.wrong("a destination port of 0 to 65535"))
        }
        // The shape leaves no other case; but a complete line must never be reported as incomplete.
        Ok(Addresses::Unknown) | Err(_) => {
            Err(Malformed { expected: "a line of version 1", found: None, at: 0 })
        }
    }
}

/// The addresses of a line whose word goes by its source alone, which is not in the specification:
/// `PROXY TCP6 <IPv6> <IPv4> <port> <port>`, `PROXY TCP4 <IPv4> <IPv6> <port> <port>`.
fn mixed(family: Family, fields: &[Field<'_>; 4]) -> Result<Origin, Malformed> {
    let [source, destination, source_port, destination_port] = fields;
    let source: IpAddr = match family {
        Family::Tcp4 => {
            source.value().map(IpAddr::V4).ok_or_else(|| source.wrong("an IPv4 source address"))?
        }
        Family::Tcp6 => {
            source.value().map(IpAddr::V6).ok_or_else(|| source.wrong("an IPv6 source address"))?
        }
    };
    let destination: IpAddr =
        destination.value().ok_or_else(|| destination.wrong("an IPv6 or IPv4 destination address"))?;
    let source_port: u16 =
        source_port.value().ok_or_else(|| source_port.wrong("a source port of 0 to 65535"))?;
    let destination_port: u16 =
        destination_port.value().ok_or_else(|| destination_port.wrong("a destination port of 0 to 65535"))?;
    Ok(Origin::proxied((source, source_port).into(), (destination, destination_port).into()))
}

#[cfg(test)]
mod tests;
