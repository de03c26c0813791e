//! What this runtime's sockets can do, for [`Drive`](ropewalk_core::drive::Drive).

use crate::datagram::Socket;
use crate::stream::{Listener, Stream};
use crate::wake::Mailbox;
use ropewalk_core::drive::{Incoming, Io, Moved, Received, TransmitError, TryError};
#[cfg(target_os = "linux")]
use ropewalk_core::drive::{SpliceError, SpliceMoved};
use ropewalk_core::errno::fault;
#[cfg(unix)]
use ropewalk_core::machine::LocalPath;
use ropewalk_core::machine::event::Event;
use ropewalk_core::machine::{
    Assign, Assignment, Close, Fault, ListenerId, QueryId, Report, Rx, SocketId, StreamId, Transmit, Via,
};
#[cfg(all(unix, feature = "tun"))]
use ropewalk_core::machine::{Offload, TunConfiguration, TunId};
use ropewalk_core::name::Name;
use ropewalk_core::time::Instant;
use ropewalk_sockets::{self as sockets, Binder, DatagramTable, Resolver};
use ropewalk_sockets::{Listeners, Shared};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

pub(crate) struct AsyncIo {
    listeners: Vec<Option<Listener>>,
    streams: Vec<Option<Stream>>,
    sockets: DatagramTable<Socket>,
    mailbox: Arc<Mailbox>,
    binder: Binder,
    #[cfg(all(unix, feature = "tun"))]
    tuns: crate::tun::Tuns,
    #[cfg(target_os = "linux")]
    pipes: sockets::Pipes,
    pub(crate) resolver: Resolver,
    pub(crate) shared: Arc<Shared>,
}

impl AsyncIo {
    pub(crate) fn new(
        listeners: Listeners,
        resolver: Resolver,
        shared: Arc<Shared>,
        mailbox: Arc<Mailbox>,
    ) -> std::io::Result<Self> {
        let sockets = DatagramTable::new(listeners.datagrams, listeners.streams.len());
        let registered = listeners
            .streams
            .into_iter()
            .zip(0..)
            .map(|(listener, index)| Listener::new(listener, ListenerId(index), &mailbox).map(Some));
        #[cfg(all(unix, feature = "tun"))]
        let tuns = crate::tun::Tuns::new(listeners.tuns, &mailbox)?;
        Ok(AsyncIo {
            listeners: registered.collect::<std::io::Result<_>>()?,
            streams: Vec::new(),
            sockets,
            mailbox,
            binder: Binder::new(shared.options()),
            #[cfg(all(unix, feature = "tun"))]
            tuns,
            #[cfg(target_os = "linux")]
            pipes: sockets::Pipes::default(),
            resolver,
            shared,
        })
    }

    fn keep(&mut self, id: StreamId, socket: TcpStream) -> Result<&Stream, Fault> {
        let stream = Stream::new(socket, id.index(), &self.mailbox).map_err(|error| fault(&error))?;
        let at = id.index() as usize;
        if self.streams.len() <= at {
            self.streams.resize_with(at + 1, || None);
        }
        Ok(self.streams[at].insert(stream))
    }

    /// Keeps a socket that connects, and registers for its completion.
    fn begin(&mut self, id: StreamId, socket: TcpStream) -> Result<(), Fault> {
        let armed = self.keep(id, socket)?.arm_write();
        if armed.is_err() {
            self.streams[id.index() as usize] = None;
        }
        armed
    }

    fn stream(&self, id: StreamId) -> Result<&Stream, TryError> {
        open(&self.streams, id).ok_or(TryError::Fault(Fault::Reset))
    }
}

fn open(streams: &[Option<Stream>], id: StreamId) -> Option<&Stream> {
    streams.get(id.index() as usize).and_then(Option::as_ref)
}

impl Io for AsyncIo {
    fn now(&mut self) -> Instant {
        self.shared.now()
    }

    fn try_accept(&mut self, listener: ListenerId, id: StreamId) -> Result<Incoming, TryError> {
        let slot = self.listeners.get(usize::from(listener.0)).and_then(Option::as_ref);
        let (socket, incoming) = slot.ok_or(TryError::WouldBlock)?.accept()?;
        self.keep(id, socket).map_err(TryError::Fault)?;
        Ok(incoming)
    }

    fn unlisten(&mut self, listener: ListenerId) {
        if let Some(slot) = self.listeners.get_mut(usize::from(listener.0)) {
            *slot = None;
        }
    }

    fn connect(&mut self, id: StreamId, to: SocketAddr, via: &Via) -> Result<(), Fault> {
        let socket = self.binder.connect(to, via)?;
        sockets::keep_alive(&socket);
        self.begin(id, socket)
    }

    #[cfg(unix)]
    fn connect_local(&mut self, id: StreamId, path: &LocalPath) -> Result<(), Fault> {
        self.begin(id, sockets::connect_local(path)?)
    }

    fn finish_connect(&mut self, id: StreamId) -> Result<SocketAddr, TryError> {
        let result = self.stream(id)?.finish_connect();
        if let Err(TryError::Fault(_)) = result {
            self.streams[id.index() as usize] = None;
        }
        result
    }

    fn try_read(&mut self, id: StreamId, buf: &mut [u8]) -> Result<Moved, TryError> {
        self.stream(id)?.read(buf)
    }

    fn try_write(&mut self, id: StreamId, buf: &[u8]) -> Result<Moved, TryError> {
        self.stream(id)?.write(buf)
    }

    #[cfg(target_os = "linux")]
    fn try_splice(&mut self, from: StreamId, to: StreamId, max: usize) -> Result<SpliceMoved, SpliceError> {
        let (Some(source), Some(sink)) = (open(&self.streams, from), open(&self.streams, to)) else {
            return Err(SpliceError::Unavailable);
        };
        let moved = self.pipes.splice(from.index(), source.socket(), sink.socket(), max)?;
        if moved.from_blocked {
            source.arm_read().map_err(SpliceError::From)?;
        }
        if moved.to_blocked {
            sink.arm_write().map_err(SpliceError::To)?;
        }
        Ok(moved)
    }

    #[cfg(target_os = "linux")]
    fn memory(&mut self, id: StreamId) -> ropewalk_core::drive::Memory {
        open(&self.streams, id).map_or_else(Default::default, |stream| sockets::memory(stream.socket()))
    }

    fn shutdown(&mut self, id: StreamId) {
        if let Some(stream) = open(&self.streams, id) {
            sockets::shutdown(stream.socket());
        }
    }

    fn close(&mut self, id: StreamId, how: Close) {
        #[cfg(target_os = "linux")]
        self.pipes.drop_of(id.index());
        if let Some(stream) = self.streams.get_mut(id.index() as usize).and_then(Option::take) {
            sockets::before_close(stream.socket(), how);
        }
    }

    fn resolve(&mut self, query: QueryId, name: &Name) -> Result<(), Fault> {
        self.resolver.ask(query, name)
    }

    fn cancel_resolve(&mut self, query: QueryId) {
        self.resolver.cancel(query);
    }

    fn assign(&mut self, now: Instant, assign: &Assign) -> Option<Assignment> {
        self.shared.with_pool(now, |pool| pool.assign(now, assign))
    }

    fn report(&mut self, now: Instant, report: &Report) {
        self.shared.with_pool(now, |pool| pool.report(now, report));
    }

    fn event(&mut self, now: Instant, event: &Event) {
        self.shared.tell(now, event);
    }

    fn receive(&mut self, listener: ListenerId, id: SocketId, fragments: bool) {
        let mailbox = &self.mailbox;
        self.sockets
            .receive(listener, id, |socket| Socket::new(socket, None, fragments, id.index(), mailbox));
    }

    fn open_socket(
        &mut self,
        id: SocketId,
        to: SocketAddr,
        via: &Via,
        fragments: bool,
    ) -> Result<SocketAddr, Fault> {
        let mailbox = &self.mailbox;
        let take = |socket| Socket::new(socket, Some(to), fragments, id.index(), mailbox);
        self.sockets.open(id, &mut self.binder, to, via, take)
    }

    fn bind_socket(
        &mut self,
        id: SocketId,
        local: SocketAddr,
        to: SocketAddr,
        via: &Via,
        fragments: bool,
    ) -> Result<SocketAddr, Fault> {
        let mailbox = &self.mailbox;
        let take = |socket| Socket::new(socket, None, fragments, id.index(), mailbox);
        self.sockets.bind(id, &mut self.binder, [local, to], via, take)
    }

    #[cfg(feature = "entropy")]
    fn entropy(&mut self, bytes: &mut [u8; 32]) -> bool {
        ropewalk_sockets::entropy(bytes)
    }

    fn close_socket(&mut self, id: SocketId) {
        self.sockets.close(id);
    }

    fn try_receive(
        &mut self,
        id: SocketId,
        sink: &mut dyn FnMut(&mut [Rx<'_>]),
    ) -> Result<Received, TryError> {
        self.sockets.try_receive(id, sink)
    }

    fn try_transmit(
        &mut self,
        id: SocketId,
        source: &mut dyn FnMut(&mut [u8]) -> Option<Transmit>,
    ) -> Result<usize, TransmitError> {
        self.sockets.try_transmit(id, source)
    }

    #[cfg(all(unix, feature = "tun"))]
    fn try_take(&mut self, tun: TunId, buf: &mut [u8]) -> Result<(usize, Offload), TryError> {
        self.tuns.device(tun).map_err(TryError::Fault)?.try_take(buf)
    }

    #[cfg(all(unix, feature = "tun"))]
    fn try_give(&mut self, tun: TunId, packet: &[u8], offload: Offload) -> Result<(), TryError> {
        self.tuns.device(tun).map_err(TryError::Fault)?.try_give(packet, offload)
    }

    #[cfg(all(unix, feature = "tun"))]
    fn configure(&mut self, tun: TunId, to: &TunConfiguration) -> Result<(), Fault> {
        self.tuns.device(tun)?.configure(to)
    }
}
