//! How one end of a connection behaves: addresses, the profile, and what it has to send.

use ropewalk_core::time::Instant;
use std::net::SocketAddrV4;

/// How the sender finds losses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// As Linux: RACK with a reordering window that adapts, undo by DSACK and timestamps.
    #[default]
    Kernel,
    /// As QUIC (RFC 9002 section 6.1): lost after three packets sent later, or 9/8 of a round trip;
    /// nothing is undone.
    Quic,
}

/// What an end has to send: zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The first byte is there at this time.
    pub start: Instant,
    /// Nothing is sent for the first time at or after this; the end of time where none.
    pub stop: Option<Instant>,
    /// A number of bytes; `None`: without end.
    pub bytes: Option<u64>,
}

impl Source {
    /// Without end, from the beginning.
    pub const ENDLESS: Source = Source { start: Instant::ZERO, stop: None, bytes: None };
}

/// One end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct TcpConfig {
    /// This end.
    pub local: SocketAddrV4,
    /// The other end.
    pub remote: SocketAddrV4,
    /// What the MSS option of the SYN says: the MTU less 40 bytes. Timestamps take 12 more from
    /// each segment.
    pub mss: u16,
    /// How losses are found.
    pub profile: Profile,
    /// Whether it asks for and speaks ECN (RFC 3168).
    pub ecn: bool,
    /// Whether segments leave at the pacing rate instead of when an ACK opens the window. Linux
    /// paces where a pacing qdisc or the congestion control asks for it; CUBIC does not.
    pub paced: bool,
    /// When a client opens the connection.
    pub open: Instant,
    /// What this end sends.
    pub source: Option<Source>,
    /// The initial sequence number. A simulation needs no secret one.
    pub isn: u32,
    /// Bytes that the socket's send buffer lets be outstanding (the third number of Linux's
    /// `tcp_wmem`).
    pub send_buffer: u64,
    /// Bytes up to which the receive window grows (the third number of Linux's `tcp_rmem`, half of
    /// it as window).
    pub receive_window: u64,
}

impl TcpConfig {
    /// An end as Linux has it by default, for an MTU of 1500, that sends nothing.
    pub fn new(local: SocketAddrV4, remote: SocketAddrV4) -> Self {
        TcpConfig {
            local,
            remote,
            mss: 1460,
            profile: Profile::Kernel,
            ecn: false,
            paced: false,
            open: Instant::ZERO,
            source: None,
            isn: 1,
            send_buffer: 4 << 20,
            receive_window: 16 << 20,
        }
    }

    /// The same with something to send.
    pub fn sends(self, source: Source) -> Self {
        TcpConfig { source: Some(source), ..self }
    }

    /// The same with another profile.
    pub fn profile(self, profile: Profile) -> Self {
        TcpConfig { profile, ..self }
    }
}
