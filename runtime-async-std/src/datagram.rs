//! Datagram sockets held in [`Async`], armed a direction at a time, as streams are.

use crate::stream::arm;
use crate::wake::{Mailbox, Ready};
use async_io::Async;
use ropewalk_core::drive::{Received, TransmitError, TryError};
use ropewalk_core::errno::fault;
use ropewalk_core::machine::{Rx, Transmit};
use ropewalk_sockets::{Buffers, DatagramSocket, Datagrams, Tried};
use std::io::Result;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::task::Waker;

/// One datagram socket.
pub(crate) struct Socket {
    datagrams: Datagrams<Async<UdpSocket>>,
    readable: Waker,
    writable: Waker,
}

impl Socket {
    /// Takes over a socket; what becomes possible is said to `mailbox` of socket number `index`.
    pub(crate) fn new(
        socket: UdpSocket,
        peer: Option<SocketAddr>,
        fragments: bool,
        index: u32,
        mailbox: &Arc<Mailbox>,
    ) -> Result<Self> {
        let readable = Mailbox::waker(mailbox, Ready::SocketReadable(index));
        let writable = Mailbox::waker(mailbox, Ready::SocketWritable(index));
        Ok(Socket { datagrams: Datagrams::new(Async::new(socket)?, peer, fragments)?, readable, writable })
    }

    fn arm_read(&self) -> Result<()> {
        arm(&self.readable, |cx| self.datagrams.get().poll_readable(cx))
    }
}

impl DatagramSocket for Socket {
    fn receive(&self, buffers: &mut Buffers, sink: &mut dyn FnMut(&mut [Rx<'_>])) -> Tried<Received> {
        let received = self.datagrams.receive(buffers, |_, call| call(), sink);
        match received {
            Ok(Received { more: true, .. }) | Err(TryError::Fault(_)) => received,
            // Where arming fails the next try is made, would block, and tells.
            Ok(Received { count, more: false }) => Ok(Received { count, more: self.arm_read().is_err() }),
            Err(TryError::WouldBlock) => {
                self.arm_read().map_err(|error| TryError::Fault(fault(&error)))?;
                received
            }
        }
    }

    fn transmit(
        &mut self,
        buffers: &mut Buffers,
        source: &mut dyn FnMut(&mut [u8]) -> Option<Transmit>,
    ) -> std::result::Result<usize, TransmitError> {
        let sent = self.datagrams.transmit(buffers, |_, call| call(), source);
        if let Err(TransmitError::WouldBlock) = sent {
            // Where arming fails the socket is dead, and what waits on it goes with its flow.
            let _ = arm(&self.writable, |cx| self.datagrams.get().poll_writable(cx));
        }
        sent
    }
}
