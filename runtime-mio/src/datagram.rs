//! Datagram sockets held in mio's types.
//!
//! A socket asks for room to write only while it waits for it. The system tells of room whenever a
//! datagram has left, and a busy worker would take a turn for nothing after each call.

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
    token: Token,
    /// It is registered for room to write.
    waits: bool,
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
        registry.register(datagrams.get_mut(), token, Interest::READABLE)?;
        Ok(Socket { datagrams, token, waits: false })
    }

    /// What it was to send would block. Room that is there by now is an event too.
    pub(crate) fn wait_for_room(&mut self, registry: &Registry) {
        if !self.waits {
            self.waits = self.register(registry, Interest::READABLE | Interest::WRITABLE);
        }
    }

    /// There is room: no event for more is wanted.
    pub(crate) fn has_room(&mut self, registry: &Registry) {
        if self.waits {
            self.waits = !self.register(registry, Interest::READABLE);
        }
    }

    fn register(&mut self, registry: &Registry, interest: Interest) -> bool {
        let result = registry.reregister(self.datagrams.get_mut(), self.token, interest);
        if let Err(error) = &result {
            log::error!("cannot ask for a socket's readiness: {error}");
        }
        result.is_ok()
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

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll};
    use std::net::Ipv4Addr;
    use std::time::Duration;

    /// Whether the socket waits for an event that says there is room.
    fn hears_of_room(socket: &Socket, poll: &mut Poll, to: SocketAddr) -> bool {
        socket.datagrams.get().send_to(b"one", to).expect("loopback is there");
        let mut events = Events::with_capacity(8);
        poll.poll(&mut events, Some(Duration::ZERO)).expect("it does not wait");
        events.iter().any(mio::event::Event::is_writable)
    }

    #[test]
    fn a_socket_is_told_of_room_only_while_it_waits_for_it() {
        let bind = || std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let (ours, peer) = (bind(), bind());
        ours.set_nonblocking(true).expect("a socket option");
        let to = peer.local_addr().expect("it is bound");
        let mut poll = Poll::new().expect("an event queue");
        let registry = poll.registry().try_clone().expect("a descriptor");
        let mut socket = Socket::new(ours, None, true, &registry, Token(7)).expect("the options are there");
        assert!(!hears_of_room(&socket, &mut poll, to));
        socket.wait_for_room(&registry);
        assert!(hears_of_room(&socket, &mut poll, to), "room that is there is told at once");
        socket.has_room(&registry);
        assert!(!hears_of_room(&socket, &mut poll, to));
        socket.wait_for_room(&registry);
        assert!(hears_of_room(&socket, &mut poll, to), "each time it waits");
    }
}
