//! Packets for the tests of this module and its neighbours.

use super::checksum::{fold, pseudo_of, sum, write_v4_header};
use super::packet::{ACK, Packet};
use super::prepare::{complete, put_partial};
use alloc::vec::Vec;

/// What a test packet says; the rest is as usual hosts send it.
#[derive(Clone, Debug)]
pub(crate) struct Build {
    pub(crate) v6: bool,
    pub(crate) ports: (u16, u16),
    pub(crate) ecn: u8,
    pub(crate) id: u16,
    pub(crate) dont_fragment: bool,
    pub(crate) ttl: u8,
    pub(crate) seq: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    /// Options of TCP; a multiple of four bytes.
    pub(crate) options: Vec<u8>,
    /// Whether the checksum holds the pseudo-header alone.
    pub(crate) partial: bool,
}

impl Default for Build {
    fn default() -> Self {
        Build {
            v6: false,
            ports: (40_000, 443),
            ecn: 0,
            id: 7,
            dont_fragment: true,
            ttl: 64,
            seq: 1000,
            flags: ACK,
            window: 500,
            options: Vec::new(),
            partial: false,
        }
    }
}

impl Build {
    pub(crate) fn tcp(&self, payload: &[u8]) -> Vec<u8> {
        let mut bytes = self.ports();
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(9u32.to_be_bytes());
        bytes.push((((20 + self.options.len()) / 4) << 4) as u8);
        bytes.push(self.flags);
        bytes.extend(self.window.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(&self.options);
        bytes.extend(payload);
        self.ip(super::packet::TCP, &bytes)
    }

    pub(crate) fn udp(&self, payload: &[u8]) -> Vec<u8> {
        let mut bytes = self.ports();
        bytes.extend((8 + payload.len() as u16).to_be_bytes());
        bytes.extend([0; 2]);
        bytes.extend(payload);
        self.ip(super::packet::UDP, &bytes)
    }

    fn ports(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.ports.0.to_be_bytes());
        bytes.extend(self.ports.1.to_be_bytes());
        bytes
    }

    /// `transport` under an IP header, from host 1 to host 2, with its checksums.
    pub(crate) fn ip(&self, protocol: u8, transport: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.v6 {
            bytes.extend([0x60, self.ecn << 4, 0, 1]);
            bytes.extend((transport.len() as u16).to_be_bytes());
            bytes.extend([protocol, self.ttl]);
            for host in [1, 2] {
                bytes.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]);
            }
        } else {
            bytes.extend([0x45, self.ecn]);
            bytes.extend((20 + transport.len() as u16).to_be_bytes());
            bytes.extend(self.id.to_be_bytes());
            bytes.extend([if self.dont_fragment { 0x40 } else { 0 }, 0, self.ttl, protocol, 0, 0]);
            bytes.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        }
        bytes.extend(transport);
        if !self.v6 {
            write_v4_header(&mut bytes, 20);
        }
        put_partial(&mut bytes);
        if !self.partial {
            complete(&mut bytes);
        }
        bytes
    }
}

/// Fails where the checksum of the IPv4 header, or of TCP, UDP or ICMP, is not right.
pub(crate) fn assert_sums_right(packet: &[u8]) {
    let view = Packet::parse(packet).expect("a packet");
    let layout = view.layout();
    if !layout.v6 {
        assert_eq!(fold(sum(&packet[..layout.transport])), 0xffff, "header checksum");
    }
    let pseudo = if layout.protocol == super::packet::ICMP { 0 } else { pseudo_of(&view) };
    assert_eq!(fold(pseudo + sum(&packet[layout.transport..])), 0xffff, "transport checksum");
}
