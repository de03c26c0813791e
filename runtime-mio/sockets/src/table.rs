//! The datagram sockets of one worker, by the index of their ids: what is alike in every runtime.

use super::bind::Binder;
use super::datagram::{Buffers, bind_datagrams, open_datagrams};
use super::socket::Tried;
use ropewalk_core::drive::{Received, TransmitError, TryError};
use ropewalk_core::errno::fault;
use ropewalk_core::machine::{Fault, ListenerId, Rx, SocketId, Transmit, Via};
use std::net::{SocketAddr, UdpSocket};

/// A datagram socket in its runtime's hands: a [`Datagrams`](super::Datagrams) and whatever tells
/// of its readiness.
pub trait DatagramSocket {
    /// Receives what one call brings.
    ///
    /// # Errors
    /// As [`TryError`] says.
    fn receive(&self, buffers: &mut Buffers, sink: &mut dyn FnMut(&mut [Rx<'_>])) -> Tried<Received>;

    /// Sends what was held, then what `source` has, some of it.
    ///
    /// # Errors
    /// As [`TransmitError`] says.
    fn transmit(
        &mut self,
        buffers: &mut Buffers,
        source: &mut dyn FnMut(&mut [u8]) -> Option<Transmit>,
    ) -> Result<usize, TransmitError>;
}

/// The datagram sockets of one worker.
pub struct DatagramTable<S> {
    /// The sockets of listeners that the machine has not asked for yet.
    listeners: Vec<Option<UdpSocket>>,
    /// The id of the first of them.
    first: usize,
    sockets: Vec<Option<(u32, S)>>,
    buffers: Buffers,
}

impl<S: DatagramSocket> DatagramTable<S> {
    /// A table with `listeners`, whose ids begin with `first`.
    pub fn new(listeners: Vec<UdpSocket>, first: usize) -> Self {
        let listeners = listeners.into_iter().map(Some).collect();
        DatagramTable { listeners, first, sockets: Vec::new(), buffers: Buffers::default() }
    }

    /// The listener's socket is `id` from now on; `take` gives it into the runtime's hands.
    pub fn receive(
        &mut self,
        listener: ListenerId,
        id: SocketId,
        take: impl FnOnce(UdpSocket) -> std::io::Result<S>,
    ) {
        let at = usize::from(listener.0).checked_sub(self.first);
        let socket = at.and_then(|at| self.listeners.get_mut(at)).and_then(Option::take);
        match socket.map(take) {
            Some(Ok(socket)) => self.keep(id, socket),
            Some(Err(error)) => log::error!("cannot receive on listener {}: {error}", listener.0),
            None => log::error!("there is no datagram listener {}", listener.0),
        }
    }

    /// Opens a socket that speaks with `to` only; gives its own address.
    ///
    /// # Errors
    /// What is not available. Nothing is left behind then.
    pub fn open(
        &mut self,
        id: SocketId,
        binder: &mut Binder,
        to: SocketAddr,
        via: &Via,
        take: impl FnOnce(UdpSocket) -> std::io::Result<S>,
    ) -> Result<SocketAddr, Fault> {
        self.take_over(id, open_datagrams(binder, to, via)?, take)
    }

    /// Opens a socket at `local` that speaks with anybody, with `to` first; gives its own address.
    ///
    /// # Errors
    /// What is not available. Nothing is left behind then.
    pub fn bind(
        &mut self,
        id: SocketId,
        binder: &mut Binder,
        [local, to]: [SocketAddr; 2],
        via: &Via,
        take: impl FnOnce(UdpSocket) -> std::io::Result<S>,
    ) -> Result<SocketAddr, Fault> {
        self.take_over(id, bind_datagrams(binder, local, to, via)?, take)
    }

    fn take_over(
        &mut self,
        id: SocketId,
        socket: UdpSocket,
        take: impl FnOnce(UdpSocket) -> std::io::Result<S>,
    ) -> Result<SocketAddr, Fault> {
        let local = socket.local_addr().map_err(|error| fault(&error))?;
        let socket = take(socket).map_err(|error| fault(&error))?;
        self.keep(id, socket);
        Ok(local)
    }

    /// Closes a socket.
    pub fn close(&mut self, id: SocketId) {
        if let Some(slot) = self.sockets.get_mut(id.index() as usize) {
            *slot = None;
        }
    }

    /// As [`Io::try_receive`](ropewalk_core::drive::Io::try_receive).
    ///
    /// # Errors
    /// As [`TryError`] says.
    pub fn try_receive(&mut self, id: SocketId, sink: &mut dyn FnMut(&mut [Rx<'_>])) -> Tried<Received> {
        match self.sockets.get(id.index() as usize) {
            Some(Some((_, socket))) => socket.receive(&mut self.buffers, sink),
            _ => Err(TryError::WouldBlock),
        }
    }

    /// As [`Io::try_transmit`](ropewalk_core::drive::Io::try_transmit).
    ///
    /// # Errors
    /// As [`TransmitError`] says.
    pub fn try_transmit(
        &mut self,
        id: SocketId,
        source: &mut dyn FnMut(&mut [u8]) -> Option<Transmit>,
    ) -> Result<usize, TransmitError> {
        match self.sockets.get_mut(id.index() as usize) {
            Some(Some((_, socket))) => socket.transmit(&mut self.buffers, source),
            _ => Ok(0),
        }
    }

    /// The socket with this index, in its runtime's hands.
    pub fn get_mut(&mut self, index: u32) -> Option<&mut S> {
        self.sockets.get_mut(index as usize)?.as_mut().map(|(_, socket)| socket)
    }

    /// Which tenant of this index is open.
    pub fn generation(&self, index: u32) -> Option<u32> {
        let slot = self.sockets.get(index as usize).and_then(Option::as_ref);
        slot.map(|(generation, _)| *generation)
    }

    fn keep(&mut self, id: SocketId, socket: S) {
        let at = id.index() as usize;
        if self.sockets.len() <= at {
            self.sockets.resize_with(at + 1, || None);
        }
        self.sockets[at] = Some((id.generation(), socket));
    }
}
