//! Where a worker's clients come in.

use std::net::{TcpListener, UdpSocket};

/// The sockets of a worker's listeners, in the order of their ids: streams first.
#[derive(Debug, Default)]
pub struct Listeners {
    /// Those that connections come in on.
    pub streams: Vec<TcpListener>,
    /// Those that datagrams come in on.
    pub datagrams: Vec<UdpSocket>,
}

impl From<Vec<TcpListener>> for Listeners {
    fn from(streams: Vec<TcpListener>) -> Self {
        Listeners { streams, ..Listeners::default() }
    }
}
