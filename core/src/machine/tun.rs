//! The TUN half of the contract: packets that this host's system sends into a TUN device, and
//! packets that the machine gives to the system through it.
//!
//! ```text
//!  system ──▶ TUN ──try_take──▶ take_buf, handle_packet      one packet, or one superpacket
//!  system ◀── TUN ◀──try_give── give_buf, handle_given       the same
//! ```
//!
//! A TUN has no call that moves several packets. Where the system offloads segmentation, one read
//! is one superpacket of up to 64 KiB: the segments of one flow under one header. [`Offload`] says
//! which, in the words of the virtio header (`struct virtio_net_hdr`, VIRTIO 1.2 section 5.1.6),
//! which the runtime reads and writes.
//!
//! Invariants
//! - A packet is lent: it lies in a buffer of the machine until the machine gives the buffer away
//!   again.
//! - An empty [`TunMachine::take_buf`] is back-pressure: the packets wait in the system's queue,
//!   which drops what is over it.
//! - Numbers of an [`Offload`] that a driver gives have been held against the packet's length
//!   ([`Offload::fits`]).

use super::Machine;
use super::{Fault, TunId};
use crate::time::Instant;
use alloc::vec::Vec;
use core::net::IpAddr;

/// What is left for the receiver to do with a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Offload {
    /// Nothing: the packet is as it goes over a wire.
    #[default]
    None,
    /// Its checksum: at `start + offset` lies the sum of the pseudo header; the checksum from
    /// `start` to the end belongs there.
    Checksum {
        /// Where the sum begins, in bytes from the packet's first.
        start: u16,
        /// Where it is written, in bytes from `start`.
        offset: u16,
    },
    /// Cutting into TCP segments, with their checksums: the length in the IP header is not to be
    /// believed.
    Tcp {
        /// Bytes of the IP and the TCP header.
        header: u16,
        /// Bytes of payload in each segment; the last may have fewer.
        size: u16,
        /// IPv6.
        v6: bool,
    },
    /// Cutting into UDP datagrams, with their checksums.
    Udp {
        /// Bytes of the IP and the UDP header.
        header: u16,
        /// Bytes of payload in each datagram; the last may have fewer.
        size: u16,
    },
}

impl Offload {
    /// Whether a packet of `len` bytes can be what this says it is.
    ///
    /// ```
    /// use ropewalk_core::machine::Offload;
    /// assert!(Offload::Tcp { header: 40, size: 1400, v6: false }.fits(4240));
    /// assert!(!Offload::Tcp { header: 40, size: 0, v6: false }.fits(4240));
    /// assert!(!Offload::Checksum { start: 20, offset: 16 }.fits(37));
    /// ```
    pub fn fits(self, len: usize) -> bool {
        match self {
            Offload::None => true,
            // The checksum is two bytes.
            Offload::Checksum { start, offset } => usize::from(start) + usize::from(offset) + 2 <= len,
            Offload::Tcp { header, size, v6 } => {
                let least = if v6 { 60 } else { 40 };
                size > 0 && usize::from(header) >= least && usize::from(header) < len
            }
            Offload::Udp { header, size } => size > 0 && header >= 28 && usize::from(header) < len,
        }
    }
}

/// What a TUN device is to be set to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TunConfiguration {
    /// Its addresses, with the length of their network in bits.
    pub addresses: Vec<(IpAddr, u8)>,
    /// The largest packet it takes, in bytes.
    pub mtu: u16,
}

/// A machine that moves packets of TUN devices. One that has none says so: `impl TunMachine for
/// Mine {}`.
pub trait TunMachine: Machine {
    /// A TUN device whose wishes (take, give) may have changed since it was last listed, each once.
    fn poll_dirty_tun(&mut self) -> Option<TunId> {
        None
    }

    /// Where to put the next packet of `tun`, which may be a superpacket of 64 KiB; empty: take
    /// none now. The driver passes what it took to [`TunMachine::handle_packet`] before any other
    /// call that takes `&mut self`.
    fn take_buf(&mut self, tun: TunId) -> &mut [u8] {
        let _ = tun;
        &mut []
    }

    /// The first `len` > 0 bytes of `take_buf` are one packet.
    fn handle_packet(&mut self, now: Instant, tun: TunId, len: usize, offload: Offload) {
        let _ = (now, tun, len, offload);
    }

    /// What to give to `tun` next: one packet or one superpacket, whole. `None`: nothing.
    fn give_buf(&self, tun: TunId) -> Option<(&[u8], Offload)> {
        let _ = tun;
        None
    }

    /// What `give_buf` gave was taken by the system, or is lost for this reason.
    fn handle_given(&mut self, now: Instant, tun: TunId, result: Result<(), Fault>) {
        let _ = (now, tun, result);
    }
}
