//! Headers as senders write them: the other side of the parser, for tests, simulators and senders.

use alloc::format;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::crc32c::crc32c;
use super::tlv::{Tlv, kind};
use super::{Transport, canonical, spp, v2};

/// Both ends in one family: IPv4 where both are, IPv6 (with IPv4 mapped) else.
enum Ends {
    V4([[u8; 4]; 2]),
    V6([[u8; 16]; 2]),
}

impl Ends {
    fn of(source: SocketAddr, destination: SocketAddr) -> Self {
        match (canonical(source).ip(), canonical(destination).ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                Ends::V4([source.octets(), destination.octets()])
            }
            (source, destination) => Ends::V6([mapped(source).octets(), mapped(destination).octets()]),
        }
    }
}

/// The address in IPv6, an IPv4 address mapped.
fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// Appends a line of version 1.
pub(crate) fn v1(source: SocketAddr, destination: SocketAddr, out: &mut Vec<u8>) {
    let ports = (source.port(), destination.port());
    // proxy-protocol.txt section 2.1: TCP4 or TCP6, both addresses of that family, then both ports.
    let line = match (canonical(source).ip(), canonical(destination).ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            format!("PROXY TCP4 {source} {destination} {} {}\r\n", ports.0, ports.1)
        }
        (source, destination) => {
            let (source, destination) = (mapped(source), mapped(destination));
            format!("PROXY TCP6 {source} {destination} {} {}\r\n", ports.0, ports.1)
        }
    };
    out.extend_from_slice(line.as_bytes());
}

/// Appends the short line of version 1 for a connection whose addresses have no form in it.
pub(crate) fn v1_unknown(out: &mut Vec<u8>) {
    out.extend_from_slice(b"PROXY UNKNOWN\r\n");
}

/// Appends a header of version 2 that says PROXY.
pub(crate) fn v2(
    source: SocketAddr,
    destination: SocketAddr,
    transport: Transport,
    tlvs: &[Tlv<'_>],
    crc: bool,
    out: &mut Vec<u8>,
) {
    let transport = match transport {
        Transport::Stream => 1,
        Transport::Datagram => 2,
    };
    let start = out.len();
    let ends = Ends::of(source, destination);
    let family = match ends {
        Ends::V4(_) => 0x10,
        Ends::V6(_) => 0x20,
    };
    // proxy-protocol.txt section 2.2: version 2 and PROXY, family and transport.
    v2_fixed(0x21, family | transport, out);
    // proxy-protocol.txt section 2.2: source and destination address, source and destination port.
    match ends {
        Ends::V4(ips) => out.extend_from_slice(ips.as_flattened()),
        Ends::V6(ips) => out.extend_from_slice(ips.as_flattened()),
    }
    out.extend_from_slice(&source.port().to_be_bytes());
    out.extend_from_slice(&destination.port().to_be_bytes());
    v2_rest(tlvs, crc, start, out);
}

/// Appends a header of version 2 that says LOCAL.
pub(crate) fn v2_local(tlvs: &[Tlv<'_>], out: &mut Vec<u8>) {
    let start = out.len();
    // proxy-protocol.txt section 2.2: LOCAL should go with AF_UNSPEC and UNSPEC, and with no
    // address.
    v2_fixed(0x20, 0, out);
    v2_rest(tlvs, false, start, out);
}

/// Appends the 16 bytes, the length open.
fn v2_fixed(command: u8, family: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(&v2::SIGNATURE);
    out.extend_from_slice(&[command, family, 0, 0]);
}

/// Appends TLVs and, where asked for, the checksum; fills the length of the header that begins at
/// `start`.
fn v2_rest(tlvs: &[Tlv<'_>], crc: bool, start: usize, out: &mut Vec<u8>) {
    for tlv in tlvs {
        append(*tlv, out);
    }
    if crc {
        // proxy-protocol.txt section 2.2.3: zeroes first, for the sum is over the whole header.
        append(Tlv::new(kind::CRC32C, &[0; 4]), out);
    }
    let header = &mut out[start..];
    let length =
        u16::try_from(header.len() - v2::FIXED).expect("addresses and TLVs take at most 65,535 bytes");
    header[v2::FIXED - 2..v2::FIXED].copy_from_slice(&length.to_be_bytes());
    if crc {
        let sum = crc32c(&[header]);
        let field = header.len() - 4;
        header[field..].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Appends a TLV.
fn append(tlv: Tlv<'_>, out: &mut Vec<u8>) {
    let length = u16::try_from(tlv.value.len()).expect("a TLV takes at most 65,535 bytes");
    out.push(tlv.kind);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(tlv.value);
}

/// Appends the value of an SSL TLV.
pub(crate) fn ssl(client: u8, verify: u32, tlvs: &[Tlv<'_>], out: &mut Vec<u8>) {
    out.push(client);
    out.extend_from_slice(&verify.to_be_bytes());
    for tlv in tlvs {
        append(*tlv, out);
    }
}

/// A header of the Simple Proxy Protocol.
pub(crate) fn simple(client: SocketAddr, proxy: SocketAddr) -> [u8; spp::LENGTH] {
    let (client_ip, proxy_ip) = (mapped(client.ip()).octets(), mapped(proxy.ip()).octets());
    let (client_port, proxy_port) = (client.port().to_be_bytes(), proxy.port().to_be_bytes());
    let mut header = [0; spp::LENGTH];
    let fields = [&spp::MAGIC[..], &client_ip, &proxy_ip, &client_port, &proxy_port];
    for (place, byte) in header.iter_mut().zip(fields.into_iter().flatten()) {
        *place = *byte;
    }
    header
}
