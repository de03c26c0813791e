//! A second implementation of the reading half of `docs/bond.md`, written from that text alone: it
//! opens every packet of a recording with the recorded keys, prints what is inside and checks what
//! the text promises.
//!
//! ```text
//! key c N HEX     the key that the client seals with, for cipher N; `key s`: the server's
//! tun c HEX       an inner packet that the client's TUN gave; `tun s`: the server's
//! c 0 HEX         a datagram that the client sent by path 0; `s 1 HEX`: the server by path 1
//! lost c 1 HEX    the same, and it did not arrive
//! ```

#[path = "bond_decode/layout.rs"]
mod layout;

use std::collections::{BTreeMap, HashMap};

use aes_gcm::Aes256Gcm;
use chacha20poly1305::ChaCha20Poly1305;
use layout::{FRAMES, Outcome, address, ensure, expand, fields, flow, number, open, unhex};

const SIDES: [&str; 2] = ["client", "server"];
const CLIENT: usize = 0;
const SERVER: usize = 1;
/// What an IPv4 and a UDP header take: the recording is of IPv4.
const HEADERS: u64 = 28;

/// What a recording holds: its datagrams as lines to read, and counts of frames and datagrams.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) lines: Vec<String>,
    pub(crate) counts: BTreeMap<String, usize>,
}

/// What one side has and sent.
#[derive(Default)]
struct Side {
    /// Each with the number of its cipher.
    keys: Vec<(u8, Vec<u8>)>,
    /// How many times an inner packet waits for a DATA packet with a new sequence.
    waiting: HashMap<Vec<u8>, usize>,
    /// By path and number: whether it was lost, its timestamp, its size as an IP packet.
    sent: BTreeMap<(u64, u64), (bool, u64, u64)>,
    /// One more than the largest number that the other side opened, by path.
    next: HashMap<u64, u64>,
    /// By sequence: distance and inner packet, and whether it arrived.
    carried: BTreeMap<u64, ((u64, Vec<u8>), bool)>,
    flows: HashMap<Vec<u8>, u64>,
    challenges: Vec<(u64, u64)>,
    /// The other side's indices: only the server's RESPONSE shows one unsealed.
    receivers: Vec<u64>,
}

#[derive(Default)]
struct Decoder {
    sides: [Side; 2],
    summary: Summary,
    // Of the datagram at hand: who sent it, by which path, its length, and whether it was lost.
    side: usize,
    path: u64,
    length: usize,
    lost: bool,
}

pub(crate) fn decode(text: &str) -> Outcome<Summary> {
    let mut decoder = Decoder::default();
    for (at, line) in text.lines().enumerate() {
        decoder.line(line).map_err(|why| format!("line {}: {why}", at + 1))?;
    }
    let waiting = decoder.sides.iter().flat_map(|side| side.waiting.values()).sum();
    decoder.summary.counts.insert("not carried".into(), waiting);
    Ok(decoder.summary)
}

impl Decoder {
    fn count(&mut self, what: &str) {
        *self.summary.counts.entry(what.into()).or_default() += 1;
    }

    fn line(&mut self, line: &str) -> Outcome<()> {
        let words: Vec<&str> = line.split(' ').collect();
        self.lost = words[0] == "lost";
        let who = words[usize::from(["key", "tun", "lost"].contains(&words[0]))..].first();
        self.side = ["c", "s"].iter().position(|side| Some(side) == who).ok_or("neither c nor s")?;
        let bytes = unhex(words[words.len() - 1])?;
        match words[..] {
            ["key", _, cipher @ ("0" | "1"), _] if bytes.len() == 32 => {
                self.sides[self.side].keys.push((u8::from(cipher == "1"), bytes));
            }
            ["tun", _, _] => {
                *self.sides[self.side].waiting.entry(bytes).or_default() += 1;
                self.count("inner packets");
            }
            [_, path, _] | ["lost", _, path, _] => {
                self.path = path.parse().ok().filter(|path| *path < 16).ok_or("no number of a path")?;
                self.length = bytes.len();
                let (inside, lost) = (self.datagram(&bytes)?, if self.lost { " LOST" } else { "" });
                let (at, side) = (self.summary.lines.len() + 1, SIDES[self.side]);
                self.summary.lines.push(format!("{at:4} {side} path {path}{lost} {inside}"));
            }
            _ => return Err("no line of a recording".into()),
        }
        Ok(())
    }

    fn datagram(&mut self, bytes: &[u8]) -> Outcome<String> {
        let kind = match (bytes.first(), self.side, bytes.len()) {
            (Some(0x42), CLIENT, 215) => "INIT",
            (Some(0x44), SERVER, 86) => "RESPONSE",
            (Some(0x46), SERVER, 57) => "COOKIE",
            (Some(0x48 | 0x49), _, 26..) => "TRANSPORT",
            (first, side, length) => {
                return Err(format!("{length} bytes, first {first:?}, of {}", SIDES[side]));
            }
        };
        self.count(kind);
        match kind {
            "TRANSPORT" => return self.transport(bytes),
            "RESPONSE" => self.sides[SERVER].receivers.push(number(&mut &bytes[1..], 4)?),
            _ => {}
        }
        Ok(kind.into())
    }

    fn transport(&mut self, bytes: &[u8]) -> Outcome<String> {
        let header = &mut &bytes[1..10];
        let (receiver, path, low) = (number(header, 4)?, number(header, 1)?, number(header, 4)?);
        ensure(path == self.path, "its header says another path than it went by")?;
        let side = &mut self.sides[self.side];
        ensure(self.side == CLIENT || side.receivers.contains(&receiver), "no INIT had this index")?;
        let next = side.next.entry(path).or_default();
        let at = expand(low, *next);
        let nonce = [&[0; 4], &(path << 56 | at).to_be_bytes()[..]].concat();
        let open = |(cipher, key): &(u8, Vec<u8>)| match cipher {
            0 => open::<Aes256Gcm>(key, &nonce, bytes),
            _ => open::<ChaCha20Poly1305>(key, &nonce, bytes),
        };
        let plain = side.keys.iter().rev().find_map(open).ok_or(format!("packet {at} does not open"))?;
        *next = if self.lost { *next } else { (at + 1).max(*next) };
        let f = &mut &plain[..];
        let kind = number(f, 1)?;
        ensure(kind == 1 || kind == 2, "a plaintext that is neither DATA nor control")?;
        let order = if kind == 1 { (number(f, 4)?, number(f, 2)?) } else { (0, 0) };
        let timestamp = number(f, 3)?;
        let sent = (self.lost, timestamp, bytes.len() as u64 + HEADERS);
        ensure(side.sent.insert((path, at), sent).is_none(), "a number that was sent before")?;
        let inside = if kind == 1 { self.data(order, f) } else { self.control(plain.len(), f) };
        Ok(format!("#{at} at {timestamp} us: {}", inside?))
    }

    fn data(&mut self, (sequence, distance): (u64, u64), inner: &[u8]) -> Outcome<String> {
        ensure(!inner.is_empty(), "DATA without an inner packet")?;
        self.count(&format!("DATA on path {}", self.path));
        self.count(if self.lost { "DATA lost" } else { "DATA arrived" });
        let (side, content) = (&mut self.sides[self.side], (distance, inner.to_vec()));
        let text = format!("DATA sequence {sequence} distance {distance} length {}", inner.len());
        if let Some((before, arrived)) = side.carried.get_mut(&sequence) {
            // A TCP segment may be sent again without its payload: addresses, ports and sequence
            // stay.
            let trimmed = inner.len() < before.1.len()
                && inner.get(9) == Some(&6)
                && inner.get(12..28) == before.1.get(12..28);
            ensure(*before == content || trimmed, "a copy of a sequence that differs from it")?;
            let repairs = !self.lost && !std::mem::replace(arrived, *arrived || !self.lost);
            self.count(if repairs { "repaired" } else { "other copies" });
            return Ok(text + if repairs { " (a repair)" } else { " (a copy)" });
        }
        ensure(sequence == side.carried.len() as u64, "a sequence that is not the next one")?;
        let waiting = side.waiting.get_mut(inner).filter(|waiting| **waiting > 0);
        *waiting.ok_or("no `tun` line gave the inner packet")? -= 1;
        let back = side.flows.insert(flow(inner), sequence).map_or(0, |previous| sequence - previous);
        ensure(distance == back || distance == 0, format!("distance {distance}, the flow's is {back}"))?;
        side.carried.insert(sequence, (content, !self.lost));
        self.count(if distance > 0 { "DATA with a distance" } else { "DATA without a distance" });
        Ok(text)
    }

    fn control(&mut self, length: usize, f: &mut &[u8]) -> Outcome<String> {
        ensure(length >= 32, "a control packet of less than 32 bytes")?;
        let mut frames = Vec::new();
        while f.first().is_some_and(|kind| *kind != 0) {
            frames.push(self.frame(f)?);
        }
        ensure(!frames.is_empty(), "a control packet without a frame")?;
        ensure(f.iter().all(|byte| *byte == 0), "padding that is not zeros")?;
        Ok(format!("{}, {} zeros", frames.join(", "), f.len()))
    }

    fn frame(&mut self, f: &mut &[u8]) -> Outcome<String> {
        let kind = number(f, 1)?;
        let frame = FRAMES.iter().find(|frame| frame.0 == kind);
        let (_, name, from, layout) = *frame.ok_or(format!("a frame of the unknown type {kind}"))?;
        ensure(from.contains(&SIDES[self.side][..1]), format!("{name} from the {}", SIDES[self.side]))?;
        self.count(name);
        let (mut text, mut values) = (name.to_owned(), Vec::new());
        let (once, often) = layout.split_once(" * ").unwrap_or((layout, ""));
        let count = fields(once, f, &mut text, &mut values)?;
        (0..count).try_for_each(|_| fields(often, f, &mut text, &mut values).map(drop))?;
        let right = match (name, &values[..]) {
            ("NACK", [count, ..]) => (1..=16).contains(count),
            ("PATH_RESPONSE", [token]) => self.sides[1 - self.side].challenges.contains(&(self.path, *token)),
            ("MTU_PROBE", [size]) => *size == self.length as u64,
            ("CONFIG_ACK", [epoch]) => *epoch > 0,
            ("MODE", [_, 4, copies, _]) => (1..=255).contains(copies),
            ("MODE", [_, 0..=2 | 5.., parameter, _]) => *parameter == 0,
            _ => count <= if name == "ACK" { 3 } else { 8 },
        };
        ensure(right, format!("{text}: a value that may not be"))?;
        match (name, &values[..]) {
            ("ACK", values) => text += &self.acknowledged(values)?,
            ("PATH_CHALLENGE", [token]) => self.sides[self.side].challenges.push((self.path, *token)),
            ("CONFIG", _) => text += &(0..count).map(|_| address(f)).collect::<Outcome<String>>()?,
            _ => {}
        }
        Ok(text)
    }

    fn acknowledged(&self, values: &[u64]) -> Outcome<String> {
        let [path, low, _, echo, _, _, bytes, _, first, ref gaps @ ..] = *values else {
            return Ok("".into());
        };
        let peer = &self.sides[1 - self.side];
        let largest = expand(low, peer.next.get(&path).copied().unwrap_or(0));
        let below = |number: u64, by| number.checked_sub(by).ok_or("ACK below number 0");
        let mut ranges = vec![(below(largest, first)?, largest)];
        for gap in gaps.chunks(2) {
            ensure(gap[0] > 0 && gap[1] > 0, "an empty range in an ACK")?;
            let high = below(ranges[ranges.len() - 1].0, gap[0] + 1)?;
            ranges.push((below(high, gap[1] - 1)?, high));
        }
        let (mut least, arrived) = (0, peer.sent.range((path, 0)..(path + 1, 0)).filter(|(_, sent)| !sent.0));
        for at in ranges.iter().flat_map(|(low, high)| *low..=*high) {
            let sent = peer.sent.get(&(path, at)).ok_or(format!("ACK of {at}, which was not sent"))?;
            ensure(!sent.0, format!("ACK of {at}, which did not arrive"))?;
            ensure(at != largest || sent.1 == echo, format!("ACK of {at}, which was not sealed at {echo}"))?;
            least += sent.2;
        }
        let most = arrived.map(|(_, sent)| sent.2).sum();
        ensure((least..=most).contains(&bytes), format!("ACK of {bytes} bytes, not {least} to {most}"))?;
        Ok(ranges.iter().map(|(low, high)| format!(" [{low}..{high}]")).collect())
    }
}

fn main() -> Outcome<()> {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/bond-recording.txt").to_owned();
    let name = std::env::args().nth(1).unwrap_or(shipped);
    let text = std::fs::read_to_string(&name).map_err(|why| format!("{name}: {why}"))?;
    let summary = decode(&text).map_err(|why| format!("{name}: {why}"))?;
    println!("{}\n{:?}", summary.lines.join("\n"), summary.counts);
    Ok(())
}
