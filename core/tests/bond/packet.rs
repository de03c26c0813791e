//! Inner packets that say whose they are, and what becomes of them.

use super::lab::inside;
use ropewalk_core::machine::Offload;
use std::net::Ipv4Addr;

/// Whom the clients speak with: a host in the internet.
pub(crate) const TARGET: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

/// Which way a packet goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Way {
    Up,
    Down,
}

/// What kind of flow it is of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    /// Ordered, may come as a superpacket.
    Tcp,
    /// Ordered always.
    WireGuard,
    /// Ordered while it is bulk, may come as a superpacket.
    Udp,
}

/// A flow of one client.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Flow {
    pub(crate) client: usize,
    pub(crate) way: Way,
    pub(crate) kind: Kind,
    pub(crate) id: u8,
}

/// The least payload: number, flow, and a byte that follows from them.
pub(crate) const LEAST: usize = 8;

impl Flow {
    fn headers(self) -> usize {
        if self.kind == Kind::Tcp { 40 } else { 28 }
    }

    /// Packets from `number` on, `count` of them with `size` bytes each, under one header. `seq` is
    /// the first byte's place in a TCP flow.
    pub(crate) fn packet(
        self,
        number: u32,
        count: u32,
        size: usize,
        seq: u32,
        offload: bool,
    ) -> (Vec<u8>, Offload) {
        let header = self.headers();
        let mut packet = vec![0; header + size * count as usize];
        let len = packet.len();
        let (from, to) = match self.way {
            Way::Up => (inside(self.client), TARGET),
            Way::Down => (TARGET, inside(self.client)),
        };
        packet[..10].copy_from_slice(&[0x45, 0, (len >> 8) as u8, len as u8, 0, 0, 0x40, 0, 64, 17]);
        packet[12..16].copy_from_slice(&from.octets());
        packet[16..20].copy_from_slice(&to.octets());
        let port = if self.kind == Kind::WireGuard { 51_820 } else { 9_000u16 };
        packet[20..22].copy_from_slice(&(30_000 + u16::from(self.id)).to_be_bytes());
        packet[22..24].copy_from_slice(&port.to_be_bytes());
        if self.kind == Kind::Tcp {
            packet[9] = 6;
            packet[24..28].copy_from_slice(&seq.to_be_bytes());
            packet[32..36].copy_from_slice(&[5 << 4, 0x10, 0xff, 0xff]);
        } else {
            packet[24..26].copy_from_slice(&((len - 20) as u16).to_be_bytes());
        }
        let sum =
            packet[..20].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum::<u32>();
        let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        for (number, piece) in (number..).zip(packet[header..].chunks_mut(size)) {
            piece.fill(number as u8);
            piece[..4].copy_from_slice(&number.to_be_bytes());
            piece[4..7].copy_from_slice(&[self.way as u8, self.kind as u8, self.id]);
        }
        let (v6, header, size) = (false, header as u16, size as u16);
        let offload = match (offload, self.kind, count) {
            (false, ..) => Offload::None,
            (true, Kind::Tcp, 2..) => Offload::Tcp { header, size, v6 },
            (true, _, 2..) => Offload::Udp { header, size },
            (true, Kind::Tcp, _) => Offload::Checksum { start: 20, offset: 16 },
            (true, ..) => Offload::Checksum { start: 20, offset: 6 },
        };
        (packet, offload)
    }
}

/// What came out of a TUN under one header.
#[derive(Debug)]
pub(crate) enum Came {
    /// Packets of a flow, by their numbers.
    Packets(Flow, Vec<u32>),
    /// A TCP segment without its payload: its sender is told of a congestion. Where its first byte
    /// belongs.
    Header(Flow, u32),
    /// The bond's own word to a host: its packet of this flow is too big.
    TooBig(Flow),
}

impl Came {
    /// The flow and the numbers of whole packets.
    ///
    /// # Panics
    /// It is something else.
    pub(crate) fn packets(self) -> (Flow, Vec<u32>) {
        match self {
            Came::Packets(flow, numbers) => (flow, numbers),
            other => panic!("expected packets, got {other:?}"),
        }
    }
}

/// The headers of one of our packets.
///
/// # Panics
/// It is none of ours.
fn flow_of(packet: &[u8]) -> Flow {
    assert_eq!(packet[0], 0x45, "an IPv4 header without options: {packet:02x?}");
    let address = |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
    let (from, to) = (address(12), address(16));
    let (way, inner) = if to == TARGET { (Way::Up, from) } else { (Way::Down, to) };
    assert!(from == TARGET || to == TARGET, "from {from} to {to}");
    let [.., high, low] = inner.octets();
    let client = usize::from(high) * 250 + usize::from(low) - 2;
    let kind = match (packet[9], u16::from_be_bytes([packet[22], packet[23]])) {
        (6, _) => Kind::Tcp,
        (_, 51_820) => Kind::WireGuard,
        _ => Kind::Udp,
    };
    let id = (u16::from_be_bytes([packet[20], packet[21]]) - 30_000) as u8;
    Flow { client, way, kind, id }
}

/// An ICMPv4 error of type 3, code 4 (RFC 1191): the flow that it speaks of.
fn read_too_big(packet: &[u8]) -> Flow {
    assert_eq!(packet[20..22], [3, 4], "the bond says nothing else: {packet:02x?}");
    let mtu = u16::from_be_bytes([packet[26], packet[27]]);
    let quoted = &packet[28..];
    let len = u16::from_be_bytes([quoted[2], quoted[3]]);
    assert!(len > mtu, "{len} bytes are not too many for {mtu}");
    assert_eq!(packet[16..20], quoted[12..16], "it is told to the one that sent it");
    flow_of(quoted)
}

/// Reads what came out of a TUN.
///
/// # Panics
/// It is none of ours, or something was changed in it.
pub(crate) fn read(packet: &[u8], offload: Offload) -> Came {
    if packet[9] == 1 {
        return Came::TooBig(read_too_big(packet));
    }
    let flow = flow_of(packet);
    let Flow { way, kind, id, .. } = flow;
    let payload = &packet[flow.headers()..];
    if kind == Kind::Tcp && payload.is_empty() {
        return Came::Header(flow, u32::from_be_bytes(packet[24..28].try_into().expect("four bytes")));
    }
    let step = match offload {
        Offload::Tcp { header, size, .. } | Offload::Udp { header, size } => {
            assert_eq!(usize::from(header), flow.headers());
            usize::from(size)
        }
        Offload::None | Offload::Checksum { .. } => payload.len(),
    };
    let numbers = payload.chunks(step).map(|piece| {
        let number = u32::from_be_bytes(piece[..4].try_into().expect("four bytes"));
        assert_eq!(piece[4..7], [way as u8, kind as u8, id], "a piece of another flow in {flow:?}");
        assert!(
            piece[7..].iter().all(|byte| *byte == number as u8),
            "packet {number} of {flow:?} was changed"
        );
        number
    });
    Came::Packets(flow, numbers.collect())
}
