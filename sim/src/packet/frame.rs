//! What goes over a link: an IP packet of a host, or a datagram of the tunnel.

use crate::link::Payload;
use std::net::SocketAddr;

/// A datagram between the two machines.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Datagram {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    /// 0 to 3.
    pub(super) ecn: u8,
    pub(super) data: Vec<u8>,
}

/// One IP packet on a link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Frame {
    /// A host's, as it is: a world without a tunnel.
    Plain(Vec<u8>),
    /// The tunnel's.
    Outer(Datagram),
}

impl Frame {
    /// The bytes that distinguish one frame from another.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Frame::Plain(packet) => packet,
            Frame::Outer(datagram) => &datagram.data,
        }
    }
}

/// IPv4 and UDP.
pub(super) const UDP_IP: usize = 28;

impl Payload for Frame {
    fn size(&self) -> usize {
        match self {
            Frame::Plain(packet) => packet.len(),
            Frame::Outer(datagram) => datagram.data.len() + UDP_IP,
        }
    }

    fn mark(&mut self) -> bool {
        match self {
            Frame::Plain(packet) => packet.mark(),
            // RFC 3168 section 5: only a packet of an ECN-capable transport is marked.
            Frame::Outer(datagram) => {
                let capable = datagram.ecn != 0;
                if capable {
                    datagram.ecn = 3;
                }
                capable
            }
        }
    }
}
