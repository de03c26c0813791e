//! How the bond's packets are laid out, and what takes them apart.

use chacha20poly1305::aead::generic_array::typenum::{U12, U16};
use chacha20poly1305::aead::{AeadInPlace, KeyInit};

pub(super) type Outcome<T> = Result<T, String>;

const ACK: &str = "path:1 largest:4 delay:2 echo:3 one-way:3 CE:2 bytes:4 count:1 first:2 * gap:2 length:2";
const MODE: &str = "serial:4 \
                    strategy:1:aggregate:weighted:lowest-latency:active-backup:redundant:adaptive:flow \
                    parameter:4 skew:4";

/// The frames of control packets: type, name, who sends it, and its fields: name, bytes, what the
/// values are called. What follows a `*` comes as often as the field *count* says.
pub(super) const FRAMES: [(u64, &str, &str, &str); 13] = [
    (3, "ACK", "cs", ACK),
    (4, "NACK", "cs", "count:1 * sequence:4 length:2"),
    (5, "PING", "cs", ""),
    (6, "PATH_CHALLENGE", "cs", "token:8"),
    (7, "PATH_RESPONSE", "cs", "token:8"),
    (8, "PATH_STATUS", "c", "serial:4 path:1 state:1:available:standby:draining:gone weight:2"),
    (9, "MTU_PROBE", "cs", "size:2"),
    (10, "CONFIG", "s", "epoch:4 MTU:2 count:1"),
    (11, "CONFIG_REQUEST", "c", "epoch:4 flags:1 MTU:2"),
    (12, "CONFIG_ACK", "c", "epoch:4"),
    (13, "REKEY", "s", ""),
    (14, "CLOSE", "cs", "reason:1:shutdown:idle:replaced:revoked:full:protocol"),
    (15, "MODE", "c", MODE),
];

/// Reads the fields of a layout: their values, and their names with the values as text. Gives the
/// value of *count*.
pub(super) fn fields(layout: &str, f: &mut &[u8], text: &mut String, values: &mut Vec<u64>) -> Outcome<u64> {
    let mut count = 0;
    for field in layout.split_whitespace() {
        let parts: Vec<&str> = field.split(':').collect();
        let value = number(f, parts[1].parse().map_err(|_| "a layout without a width")?)?;
        let (name, names) = (parts[0], &parts[2..]);
        let called = names.get(usize::try_from(value).unwrap_or(usize::MAX));
        ensure(names.is_empty() || called.is_some(), format!("{name} {value} has no meaning"))?;
        *text += &match called {
            Some(called) => format!(" {name} {called}"),
            None => format!(" {name} {value}"),
        };
        values.push(value);
        count = if name == "count" { value } else { count };
    }
    Ok(count)
}

/// Takes a number of so many bytes from the begin.
pub(super) fn number(bytes: &mut &[u8], length: usize) -> Outcome<u64> {
    let (head, rest) = bytes.split_at_checked(length).ok_or("it ends within a field")?;
    *bytes = rest;
    Ok(head.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

pub(super) fn address(f: &mut &[u8]) -> Outcome<String> {
    let (purpose, family, prefix) = (number(f, 1)?, number(f, 1)?, number(f, 1)?);
    let purpose = ["client", "server", "resolver"].get(purpose as usize).ok_or("an address for nothing")?;
    let address: std::net::IpAddr = match family {
        4 => (number(f, 4)? as u32).to_be_bytes().into(),
        6 => (u128::from(number(f, 8)?) << 64 | u128::from(number(f, 8)?)).to_be_bytes().into(),
        _ => return Err(format!("an address of family {family}")),
    };
    Ok(format!(" {purpose} {address}/{prefix}"))
}

/// What tells flows apart: the addresses, the protocol, and the ports of TCP and UDP.
pub(super) fn flow(inner: &[u8]) -> Vec<u8> {
    let part = |from, to| inner.get(from..to).unwrap_or(&[]);
    let v4 = inner[0] >> 4 == 4;
    let (addresses, protocol) = if v4 { (part(12, 20), part(9, 10)) } else { (part(8, 40), part(6, 7)) };
    let start = if v4 { usize::from(inner[0] & 15) * 4 } else { 40 };
    let ports = if matches!(protocol, [6 | 17]) { part(start, start + 4) } else { &[] };
    [addresses, protocol, ports].concat()
}

/// The number nearest to `next` whose low 32 bits are `low`.
pub(super) fn expand(low: u64, next: u64) -> u64 {
    let near = next >> 32 << 32 | low;
    let candidates = [near.checked_sub(1 << 32), Some(near), Some(near + (1 << 32))];
    let nearest = candidates.into_iter().flatten().filter(|number| number >> 56 == 0);
    nearest.min_by_key(|number| number.abs_diff(next)).unwrap_or(near)
}

pub(super) fn open<A>(key: &[u8], nonce: &[u8], packet: &[u8]) -> Option<Vec<u8>>
where
    A: AeadInPlace<NonceSize = U12, TagSize = U16> + KeyInit,
{
    let ((header, sealed), end) = (packet.split_at(10), packet.len() - 26);
    let mut plain = sealed[..end].to_vec();
    let cipher = A::new_from_slice(key).ok()?;
    cipher.decrypt_in_place_detached(nonce.into(), header, &mut plain, sealed[end..].into()).ok()?;
    Some(plain)
}

pub(super) fn ensure(right: bool, why: impl Into<String>) -> Outcome<()> {
    if right { Ok(()) } else { Err(why.into()) }
}

pub(super) fn unhex(text: &str) -> Outcome<Vec<u8>> {
    ensure(text.len().is_multiple_of(2) && text.is_ascii(), "no bytes in hexadecimal digits")?;
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).map_err(|why| why.to_string());
    (0..text.len()).step_by(2).map(byte).collect()
}
