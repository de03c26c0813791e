//! Which flow a packet belongs to, and what the flow asks of the bond.

use super::packet::{
    ACK, CWR, ECE, ESP, Fragment, ICMP, ICMPV6, PSH, Packet, TCP, UDP, UDP_HEADER, V4_HEADER, be16, be32,
};
use core::net::IpAddr;

/// Packets with equal keys are one flow.
///
/// The selector is what tells the flows of two hosts apart: both ports (source first), ESP's SPI,
/// the identifier of an ICMP echo, or zero. All fragments of a protocol between two hosts are one
/// flow, because later ones do not say more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FlowKey {
    // The selector differs most often, so it is compared first.
    selector: u32,
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
}

impl FlowKey {
    /// A number that spreads keys, for tables smaller than the number of flows. Multiplied by the
    /// golden ratio, as Fibonacci hashing does it; an attacker can aim at it, and then shares a
    /// queue with his target at worst.
    pub(crate) fn mix(&self) -> u32 {
        (self.selector ^ u32::from(self.protocol)).wrapping_mul(0x9e37_79b9) >> 8
    }
}

/// What kind of traffic a flow is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Tcp,
    Udp,
    /// IPsec (RFC 4303), by itself or in UDP port 4500 (RFC 3948).
    Esp,
    /// By its port 51820, or by the shape of its messages.
    WireGuard,
    Icmp,
    Other,
}

/// Whether the packets of a flow wait for each other at the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ordering {
    /// Always: TCP takes disorder for loss, ESP and WireGuard have a replay window and carry TCP.
    Always,
    /// While it has a backlog: then it is bulk (QUIC); a sparse flow (a game, a call) would rather
    /// have it now.
    WithBacklog,
    /// Never.
    Never,
}

/// What the bond wants to know of a packet's flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) key: FlowKey,
    pub(crate) class: Class,
    pub(crate) ordering: Ordering,
    /// A TCP segment that only acknowledges.
    pub(crate) pure_ack: bool,
}

impl Flow {
    pub(crate) fn of(packet: &Packet<'_>) -> Flow {
        let (class, selector) = classify(packet);
        let key = FlowKey {
            selector,
            source: packet.source(),
            destination: packet.destination(),
            protocol: packet.protocol(),
        };
        let ordering = match class {
            Class::Tcp | Class::Esp | Class::WireGuard => Ordering::Always,
            Class::Udp | Class::Other => Ordering::WithBacklog,
            Class::Icmp => Ordering::Never,
        };
        Flow { key, class, ordering, pure_ack: is_pure_ack(packet) }
    }

    /// Whether this packet waits for the one before it, given whether its flow has a backlog.
    pub(crate) fn is_ordered(&self, backlog: bool) -> bool {
        match self.ordering {
            Ordering::Always => true,
            Ordering::WithBacklog => backlog,
            Ordering::Never => false,
        }
    }
}

fn classify(packet: &Packet<'_>) -> (Class, u32) {
    let class = match packet.protocol() {
        TCP => Class::Tcp,
        UDP => Class::Udp,
        ESP => Class::Esp,
        ICMP | ICMPV6 => Class::Icmp,
        _ => Class::Other,
    };
    if packet.fragment() != Fragment::Whole {
        return (class, 0);
    }
    let Some(bytes) = packet.transport().filter(|bytes| bytes.len() >= UDP_HEADER) else { return (class, 0) };
    match class {
        Class::Tcp => (class, be32(bytes, 0)),
        Class::Udp => (classify_udp(bytes), be32(bytes, 0)),
        Class::Esp => (class, be32(bytes, 0)),
        // Echo and its reply have an identifier (RFC 792, RFC 4443 section 4).
        Class::Icmp if matches!(bytes[0], 0 | 8 | 128 | 129) => (class, u32::from(be16(bytes, 4))),
        _ => (class, 0),
    }
}

const WIREGUARD_PORT: u16 = 51820;
const IPSEC_NAT_PORT: u16 = 4500;

fn classify_udp(bytes: &[u8]) -> Class {
    let ports = [be16(bytes, 0), be16(bytes, 2)];
    if ports.contains(&WIREGUARD_PORT) || is_wireguard(&bytes[UDP_HEADER..]) {
        Class::WireGuard
    } else if ports.contains(&IPSEC_NAT_PORT) {
        Class::Esp
    } else {
        Class::Udp
    }
}

/// WireGuard's messages begin with their type and three zeros; a data message is padded to 16
/// bytes, the others have one length each (the protocol's paper, section 5.4).
fn is_wireguard(payload: &[u8]) -> bool {
    let len = payload.len();
    match payload {
        [1, 0, 0, 0, ..] => len == 148,
        [2, 0, 0, 0, ..] => len == 92,
        [3, 0, 0, 0, ..] => len == 64,
        [4, 0, 0, 0, ..] => len >= 32 && len.is_multiple_of(16),
        _ => false,
    }
}

fn is_pure_ack(packet: &Packet<'_>) -> bool {
    let Some(tcp) = packet.tcp() else { return false };
    // ECE and CWR ride along; PSH says nothing without data.
    tcp.payload() == 0 && tcp.flags() & !(ECE | CWR | PSH) == ACK
}

impl Packet<'_> {
    /// Whether its source may be answered, and its destination is one host: neither is unspecified,
    /// loopback, multicast or broadcast. RFC 1122 section 3.2.2, RFC 4443 section 2.4 (e).
    pub(super) fn is_between_hosts(&self) -> bool {
        let one_host = |address: IpAddr| {
            let many = matches!(address, IpAddr::V4(v4) if v4.is_broadcast()) || address.is_multicast();
            !many && !address.is_unspecified() && !address.is_loopback()
        };
        one_host(self.source()) && one_host(self.destination())
    }

    /// Whether this is an ICMP message that reports an error, or might be one.
    pub(super) fn is_icmp_error(&self) -> bool {
        let kind = self.transport().and_then(|bytes| bytes.first()).copied();
        match self.protocol() {
            // RFC 1122 section 3.2.2 tells errors from queries; what is neither counts as an error
            // here.
            ICMP => !matches!(kind, Some(0 | 8 | 9 | 10 | 13..=18)),
            // RFC 4443 section 2.1: the high bit tells messages from errors. Redirects are like
            // errors.
            ICMPV6 => !matches!(kind, Some(128..=136 | 138..)),
            _ => false,
        }
    }

    /// Bytes of the shortest header of its version of IP.
    pub(super) fn base_header(&self) -> usize {
        if self.is_v6() { super::packet::V6_HEADER } else { V4_HEADER }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Build;
    use super::*;
    use alloc::vec;

    fn flow(bytes: &[u8]) -> Flow {
        Flow::of(&Packet::parse(bytes).expect("a packet"))
    }

    #[test]
    fn ports_tell_flows_apart() {
        let one = flow(&Build::default().tcp(b"a"));
        let again = flow(&Build { seq: 5, ..Build::default() }.tcp(b"bc"));
        let other = flow(&Build { ports: (40_001, 443), ..Build::default() }.tcp(b"a"));
        let udp = flow(&Build::default().udp(b"a"));
        assert_eq!(one.key, again.key);
        assert_ne!(one.key, other.key);
        assert_ne!(one.key, udp.key);
        assert!(one.is_ordered(false));
        assert!(udp.is_ordered(true) && !udp.is_ordered(false));
    }

    #[test]
    fn fragments_of_one_protocol_are_one_flow() {
        let mut first = Build::default().udp(&[1; 24]);
        first[6] = 0x20;
        let mut later = Build { ports: (1, 2), ..Build::default() }.udp(&[2; 24]);
        later[7] = 4;
        assert_eq!(flow(&first).key, flow(&later).key);
        assert_ne!(flow(&first).key, flow(&Build::default().udp(&[1; 24])).key);
    }

    #[test]
    fn tunnels_are_known_by_port_and_by_shape() {
        let mut data = vec![0; 96];
        data[0] = 4;
        assert_eq!(flow(&Build::default().udp(&data)).class, Class::WireGuard);
        assert_eq!(flow(&Build::default().udp(&data[..95])).class, Class::Udp);
        assert_eq!(flow(&Build { ports: (9, 51820), ..Build::default() }.udp(b"x")).class, Class::WireGuard);
        assert_eq!(flow(&Build { ports: (4500, 9), ..Build::default() }.udp(b"x")).class, Class::Esp);
        let (one, two) = ([0, 0, 0, 1, 0, 0, 0, 9], [0, 0, 0, 2, 0, 0, 0, 9]);
        let esp = flow(&Build::default().ip(ESP, &one));
        assert_eq!((esp.class, esp.ordering), (Class::Esp, Ordering::Always));
        assert_ne!(esp.key, flow(&Build::default().ip(ESP, &two)).key);
    }

    #[test]
    fn an_echo_is_a_flow_by_its_identifier() {
        for (v6, protocol, kind) in [(false, ICMP, 8), (true, ICMPV6, 128)] {
            let build = Build { v6, ..Build::default() };
            let one = flow(&build.ip(protocol, &[kind, 0, 0, 0, 0, 1, 0, 1]));
            let next = flow(&build.ip(protocol, &[kind, 0, 0, 0, 0, 1, 0, 2]));
            let other = flow(&build.ip(protocol, &[kind, 0, 0, 0, 0, 2, 0, 1]));
            assert_eq!(one.key, next.key);
            assert_ne!(one.key, other.key);
            assert_eq!((one.class, one.ordering), (Class::Icmp, Ordering::Never));
        }
    }

    #[test]
    fn an_acknowledgement_with_data_is_no_pure_one() {
        assert!(flow(&Build::default().tcp(b"")).pure_ack);
        assert!(flow(&Build { flags: ACK | ECE, ..Build::default() }.tcp(b"")).pure_ack);
        assert!(!flow(&Build::default().tcp(b"x")).pure_ack);
        assert!(!flow(&Build { flags: ACK | 1, ..Build::default() }.tcp(b"")).pure_ack);
    }

    #[test]
    fn ports_lie_behind_extension_headers() {
        let plain = Build { v6: true, ..Build::default() }.tcp(b"x");
        let mut long = plain[..40].to_vec();
        long[6] = 0; // Hop-by-hop options, then destination options, then TCP.
        long.extend([60, 0, 1, 4, 0, 0, 0, 0]);
        long.extend([6, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        long.extend(&plain[40..]);
        let payload = (long.len() - 40) as u16;
        long[4..6].copy_from_slice(&payload.to_be_bytes());
        assert_eq!(flow(&long), flow(&plain));
    }
}
