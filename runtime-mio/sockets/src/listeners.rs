//! Where a worker's clients come in.

use std::net::{TcpListener, UdpSocket};

/// The sockets of a worker's listeners, in the order of their ids: streams first.
#[derive(Default)]
pub struct Listeners {
    /// Those that connections come in on.
    pub streams: Vec<TcpListener>,
    /// Those that datagrams come in on.
    pub datagrams: Vec<UdpSocket>,
    /// TUN devices, in the order of their ids.
    #[cfg(all(unix, feature = "tun"))]
    pub tuns: Vec<crate::Tun>,
}

impl Listeners {
    /// Listeners, and no TUN devices.
    pub fn new(streams: Vec<TcpListener>, datagrams: Vec<UdpSocket>) -> Self {
        Listeners {
            streams,
            datagrams,
            #[cfg(all(unix, feature = "tun"))]
            tuns: Vec::new(),
        }
    }
}

impl From<Vec<TcpListener>> for Listeners {
    fn from(streams: Vec<TcpListener>) -> Self {
        Listeners::new(streams, Vec::new())
    }
}
