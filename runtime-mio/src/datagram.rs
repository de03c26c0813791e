//! Datagram sockets held in mio's types.

use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};
use ropewalk_core::drive::{Received, TransmitError};
use ropewalk_core::machine::{Rx, Transmit};
use ropewalk_sockets::{Buffers, DatagramSocket, Datagrams, Tried};
use std::io::Result;
use std::net::SocketAddr;

/// One datagram socket.
pub(crate) struct Socket {
    datagrams: Datagrams<UdpSocket>,
}

impl Socket {
    /// Takes over a socket; its readiness comes as `token`.
    pub(crate) fn new(
        socket: std::net::UdpSocket,
        peer: Option<SocketAddr>,
        fragments: bool,
        registry: &Registry,
        token: Token,
    ) -> Result<Self> {
        let mut datagrams = Datagrams::new(UdpSocket::from_std(socket), peer, fragments)?;
        registry.register(datagrams.get_mut(), token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Socket { datagrams })
    }
}

impl DatagramSocket for Socket {
    fn receive(&self, buffers: &mut Buffers, sink: &mut dyn FnMut(&mut [Rx<'_>])) -> Tried<Received> {
        // mio has to see what would block: Windows makes a new event of it.
        self.datagrams.receive(buffers, |socket, call| socket.try_io(call), sink)
    }

    fn transmit(
        &mut self,
        buffers: &mut Buffers,
        source: &mut dyn FnMut(&mut [u8]) -> Option<Transmit>,
    ) -> std::result::Result<usize, TransmitError> {
        self.datagrams.transmit(buffers, |socket, call| socket.try_io(call), source)
    }
}
