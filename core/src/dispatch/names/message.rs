//! DNS messages: a question, and what an answer to it means.
//!
//! Who asks outside of a machine (a bond that looks for its server) reads answers with it too.
//!
//! Invariant: what does not fit the question (RFC 5452 section 9.1: its id, name, type and class)
//! is [`Answer::Stray`], whatever else it holds.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use simple_dns::rdata::RData;
use simple_dns::{
    CLASS, Name, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE, header_buffer,
};

/// Names that stand for another, one after another: a chain that is longer leads nowhere.
const MAX_CHAIN: usize = 16;
/// Addresses of an answer that are read.
const MAX_ADDRESSES: usize = 32;
/// Bytes of a header, of the shortest question, and of the shortest record behind it.
const HEADER: usize = 12;
const SHORTEST_QUESTION: usize = 5;
const SHORTEST_RECORD: usize = 11;
/// What begins with these bits is a pointer to the rest of a name, in the other 14 (RFC 1035
/// section 4.1.4).
const POINTER: u8 = 0xc0;
/// The most bytes of a name, and of one of its labels (RFC 1035 section 2.3.4).
const LONGEST_NAME: usize = 255;
const LONGEST_LABEL: usize = 63;
/// Steps for each byte of a message that its pointers may cost: each record can have the longest
/// name there is.
const STEPS: usize = 8;
/// RFC 2181 section 8: a time to live with the highest bit set means 0.
const MAX_TTL: u32 = i32::MAX as u32;

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// IPv6 addresses (AAAA).
    V6 = 0,
    /// IPv4 addresses (A).
    V4 = 1,
}

impl Kind {
    /// Both.
    pub const ALL: [Kind; 2] = [Kind::V6, Kind::V4];

    fn record(self) -> TYPE {
        match self {
            Kind::V4 => TYPE::A,
            Kind::V6 => TYPE::AAAA,
        }
    }
}

/// What a message says to a question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Nothing: it is no answer to it.
    Stray,
    /// It did not fit into a datagram (RFC 7766 section 5: ask over TCP).
    Truncated,
    /// The server cannot or will not say.
    Failed,
    /// There are addresses, for so many seconds.
    Found {
        /// Of the kind that was asked for; one at least.
        addresses: Vec<IpAddr>,
        /// Seconds.
        ttl: u32,
    },
    /// There are none.
    Nothing {
        /// For so many seconds, where that is known.
        ttl: Option<u32>,
        /// The name has nothing else either (RFC 2308 section 2.1).
        anything: bool,
    },
}

/// The question for a name; `None`: no message can hold the name (RFC 1035 section 2.3.4).
pub fn question(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    if name.split('.').any(str::is_empty) {
        return None;
    }
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new(name).ok()?;
    packet.questions.push(Question::new(name, kind.record().into(), CLASS::IN.into(), false));
    packet.build_bytes_vec().ok()
}

/// What `bytes` say to the question for `name`.
pub fn read(bytes: &[u8], id: u16, name: &str, kind: Kind) -> Answer {
    let Some(packet) = packet(bytes, id) else { return Answer::Stray };
    let failed = !matches!(packet.rcode(), RCODE::NoError | RCODE::NameError);
    let Ok(asked) = Name::new(name) else { return Answer::Stray };
    match &packet.questions[..] {
        [question] if fits(question, &asked, kind) => {}
        // A server that does not understand us need not repeat what we asked.
        [] if failed => return Answer::Failed,
        _ => return Answer::Stray,
    }
    if packet.has_flags(PacketFlag::TRUNCATION) {
        return Answer::Truncated;
    }
    if failed {
        return Answer::Failed;
    }
    let (addresses, ttl) = addresses(&packet, asked, kind);
    let is_known = !addresses.is_empty() || packet.rcode() == RCODE::NameError;
    // One that does not look further itself points elsewhere (RFC 1034 section 4.3.1).
    let is_lame = !packet.has_flags(PacketFlag::RECURSION_AVAILABLE)
        && !packet.has_flags(PacketFlag::AUTHORITATIVE_ANSWER);
    match (addresses.is_empty(), is_known) {
        (true, false) if is_lame => Answer::Failed,
        (true, _) => {
            Answer::Nothing { ttl: negative_ttl(&packet), anything: packet.rcode() == RCODE::NameError }
        }
        (false, _) => Answer::Found { addresses, ttl },
    }
}

/// The message, where it may be an answer. The parser makes room for as many records as the header
/// claims: none that claims more than fit is given to it.
fn packet(bytes: &[u8], id: u16) -> Option<Packet<'_>> {
    let counts = [
        (header_buffer::questions(bytes).ok()?, SHORTEST_QUESTION),
        (header_buffer::answers(bytes).ok()?, SHORTEST_RECORD),
        (header_buffer::name_servers(bytes).ok()?, SHORTEST_RECORD),
        (header_buffer::additional_records(bytes).ok()?, SHORTEST_RECORD),
    ];
    let least: usize = counts.iter().map(|(count, shortest)| usize::from(*count) * shortest).sum();
    let answers = header_buffer::id(bytes).ok()? == id
        && header_buffer::has_flags(bytes, PacketFlag::RESPONSE).ok()?
        && header_buffer::opcode(bytes).ok()? == OPCODE::StandardQuery;
    if !answers || HEADER + least > bytes.len() || !is_cheap(bytes) {
        return None;
    }
    Packet::parse(bytes).ok()
}

/// Whether the names of a message are read in bounded time. The parser follows pointers to pointers
/// as far as they lead back, for each record anew: a message can hold a long chain and many records
/// at its end.
///
/// Each name has its own place in the message and ends at a pointer at most: so what all pointers
/// cost bounds it, wherever names are. Bytes that only look like one cost a step or two.
fn is_cheap(bytes: &[u8]) -> bool {
    let mut left = bytes.len() * STEPS;
    for start in (HEADER..bytes.len()).filter(|start| bytes[*start] >= POINTER) {
        let (mut at, mut len) = (start, 0);
        // As the parser does: back by pointers, and on by labels until the name is too long.
        while let Some(first) = bytes.get(at) {
            match left.checked_sub(1) {
                Some(fewer) => left = fewer,
                None => return false,
            }
            let label = usize::from(*first);
            at = match bytes.get(at + 1) {
                Some(low) if *first >= POINTER => {
                    let to = usize::from(u16::from_be_bytes([*first & !POINTER, *low]));
                    if to >= at {
                        break;
                    }
                    to
                }
                Some(_) if (1..=LONGEST_LABEL).contains(&label) && len + 1 + label < LONGEST_NAME => {
                    len += 1 + label;
                    at + 1 + label
                }
                _ => break,
            };
        }
    }
    true
}

fn fits(question: &Question<'_>, name: &Name<'_>, kind: Kind) -> bool {
    let (qtype, qclass) = (QTYPE::TYPE(kind.record()), QCLASS::CLASS(CLASS::IN));
    question.qname == *name && question.qtype == qtype && question.qclass == qclass
}

/// The addresses at the end of the chain that begins with `name`, and how long all of it holds.
fn addresses<'a>(packet: &Packet<'a>, name: Name<'a>, kind: Kind) -> (Vec<IpAddr>, u32) {
    let (mut name, mut ttl, mut found) = (name, u32::MAX, Vec::new());
    for _ in 0..MAX_CHAIN {
        let mut next = None;
        for record in packet.answers.iter().filter(|r| r.name == name && r.class == CLASS::IN) {
            let address = match (&record.rdata, kind) {
                (RData::A(a), Kind::V4) => IpAddr::V4(Ipv4Addr::from(a.address)),
                (RData::AAAA(aaaa), Kind::V6) => IpAddr::V6(Ipv6Addr::from(aaaa.address)),
                (RData::CNAME(target), _) => {
                    next = next.or(Some((target.0.clone(), record.ttl)));
                    continue;
                }
                _ => continue,
            };
            ttl = ttl.min(seconds(record.ttl));
            if found.len() < MAX_ADDRESSES {
                found.push(address);
            }
        }
        match next {
            Some((target, its)) if found.is_empty() => {
                ttl = ttl.min(seconds(its));
                name = target;
            }
            _ => break,
        }
    }
    (found, ttl)
}

fn seconds(ttl: u32) -> u32 {
    if ttl > MAX_TTL { 0 } else { ttl }
}

/// RFC 2308 section 5: the lesser of the record's own time and the minimum that it tells.
fn negative_ttl(packet: &Packet<'_>) -> Option<u32> {
    packet.name_servers.iter().find_map(|record| match &record.rdata {
        RData::SOA(soa) => Some(seconds(record.ttl).min(seconds(soa.minimum))),
        _ => None,
    })
}

/// What holds of any bytes that come as an answer: nothing breaks, and nothing is believed that
/// does not repeat the question.
///
/// # Panics
/// If it does not hold.
#[cfg(feature = "laws")]
#[doc(hidden)]
pub fn assert_laws(bytes: &[u8]) {
    let name = "host.example";
    let id = bytes.first_chunk().map_or(7, |id| u16::from_be_bytes(*id));
    for kind in Kind::ALL {
        assert_eq!(read(bytes, id.wrapping_add(1), name, kind), Answer::Stray, "another id");
        let answer = read(bytes, id, name, kind);
        if let Answer::Found { addresses, ttl } = &answer {
            assert!(!addresses.is_empty() && addresses.len() <= MAX_ADDRESSES && *ttl <= MAX_TTL);
            assert!(addresses.iter().all(|ip| ip.is_ipv6() == (kind == Kind::V6)));
            assert_eq!(read(bytes, id, "other.example", kind), Answer::Stray, "another name");
        }
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
