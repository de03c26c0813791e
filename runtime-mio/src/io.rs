//! What this runtime's sockets can do, for [`Drive`](ropewalk_core::drive::Drive).

use crate::datagram::Socket;
use crate::lasting::Lasting;
use crate::stream::{self, Stream};
use crate::worker::{Meaning, WAKER};
use mio::event::Event as Readiness;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
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
use ropewalk_sockets::Shared;
#[cfg(unix)]
use ropewalk_sockets::connect_local;
use ropewalk_sockets::{Binder, DatagramTable, Listeners, Resolver};
use std::net::SocketAddr;
use std::sync::Arc;

pub(crate) struct MioIo {
    registry: Registry,
    listeners: Vec<Option<(TcpListener, SocketAddr)>>,
    streams: Vec<Option<(u32, Stream)>>,
    lasting: Lasting,
    sockets: DatagramTable<Socket>,
    binder: Binder,
    #[cfg(all(unix, feature = "tun"))]
    tuns: crate::tun::Tuns,
    #[cfg(target_os = "linux")]
    pipes: ropewalk_sockets::Pipes,
    pub(crate) resolver: Resolver,
    shared: Arc<Shared>,
}

/// Both directions, and on Linux the mark of urgent data.
#[cfg(target_os = "linux")]
const ALL: Interest = Interest::READABLE.add(Interest::WRITABLE).add(Interest::PRIORITY);
#[cfg(not(target_os = "linux"))]
const ALL: Interest = Interest::READABLE.add(Interest::WRITABLE);

impl MioIo {
    pub(crate) fn new(
        registry: Registry,
        listeners: Listeners,
        resolver: Resolver,
        shared: Arc<Shared>,
    ) -> std::io::Result<Self> {
        let sockets = DatagramTable::new(listeners.datagrams, listeners.streams.len());
        let mut registered = Vec::new();
        for (index, listener) in listeners.streams.into_iter().enumerate() {
            listener.set_nonblocking(true)?;
            let bound = listener.local_addr()?;
            let mut listener = TcpListener::from_std(listener);
            registry.register(&mut listener, Token(index), Interest::READABLE)?;
            registered.push(Some((listener, bound)));
        }
        #[cfg(all(unix, feature = "tun"))]
        let tuns = crate::tun::Tuns::new(listeners.tuns, &registry, tun_token)?;
        Ok(MioIo {
            registry,
            listeners: registered,
            streams: Vec::new(),
            lasting: Lasting::default(),
            sockets,
            binder: Binder::new(shared.options()),
            #[cfg(all(unix, feature = "tun"))]
            tuns,
            #[cfg(target_os = "linux")]
            pipes: ropewalk_sockets::Pipes::default(),
            resolver,
            shared,
        })
    }

    /// Streams come behind the listeners. The token also names the tenant of the index: an event of
    /// the previous tenant may still be in the queue.
    fn token(&self, stream: StreamId) -> Token {
        Token(self.listeners.len() + stream.index() as usize + tenant(stream.generation()))
    }

    pub(crate) fn meaning(&mut self, event: &Readiness) -> Meaning {
        if event.token() == WAKER {
            return Meaning::Waker;
        }
        #[cfg(target_os = "linux")]
        if event.token() == crate::worker::ALARM {
            return Meaning::Alarm;
        }
        #[cfg(all(unix, feature = "tun"))]
        if event.token().0 >= TUNS {
            let (tun, failed) = (TunId((event.token().0 - TUNS) as u16), event.is_error());
            return Meaning::Tun {
                tun,
                readable: event.is_readable() || failed,
                writable: event.is_writable() || failed,
            };
        }
        let Token(at) = event.token();
        if at < self.listeners.len() {
            return Meaning::Listener(ListenerId(at as u16));
        }
        if at >= SOCKETS {
            let index = (at & INDEX) as u32;
            if self.sockets.generation(index).map(tenant) != Some(at & TENANT) {
                return Meaning::Stale;
            }
            let (failed, writable) = (event.is_error(), event.is_writable());
            if writable && let Some(socket) = self.sockets.get_mut(index) {
                socket.has_room(&self.registry);
            }
            return Meaning::Socket {
                index,
                readable: event.is_readable() || failed,
                writable: writable || failed,
            };
        }
        let index = (at & INDEX) - self.listeners.len();
        let stream = match self.streams.get_mut(index) {
            Some(Some((generation, stream))) if tenant(*generation) == at & TENANT => stream,
            _ => return Meaning::Stale,
        };
        let ended = event.is_read_closed() || event.is_error();
        #[cfg(target_os = "linux")]
        let urgent = event.is_priority();
        #[cfg(not(target_os = "linux"))]
        let urgent = false;
        stream.told(ended || urgent, event.is_writable() && !event.is_error() && !event.is_write_closed());
        Meaning::Stream {
            index: index as u32,
            readable: event.is_readable() || ended || urgent,
            writable: event.is_writable() || event.is_write_closed() || event.is_error(),
            failed: event.is_error(),
        }
    }

    /// What is to be done about connections that have lasted; when there is more to do.
    pub(crate) fn look_after_lasting(&mut self) -> Option<Instant> {
        if self.lasting.due().is_some() {
            self.lasting.look(self.shared.now(), &mut self.streams);
        }
        self.lasting.due()
    }

    fn keep(&mut self, id: StreamId, mut stream: Stream) -> std::io::Result<()> {
        let token = self.token(id);
        self.registry.register(stream.source(), token, ALL)?;
        let at = id.index() as usize;
        if self.streams.len() <= at {
            self.streams.resize_with(at + 1, || None);
        }
        self.streams[at] = Some((id.generation(), stream));
        Ok(())
    }

    fn stream(&mut self, id: StreamId) -> Result<&mut Stream, TryError> {
        let slot = self.streams.get_mut(id.index() as usize);
        slot.and_then(Option::as_mut).map(|(_, stream)| stream).ok_or(TryError::Fault(Fault::Reset))
    }
}

/// Tokens of datagram sockets begin here, far behind those of listeners and streams.
const SOCKETS: usize = 1 << (usize::BITS - 2);

fn socket_token(id: SocketId) -> Token {
    Token(SOCKETS + id.index() as usize + tenant(id.generation()))
}

/// The bits of a token that are an index; above them, and below [`SOCKETS`], stands the tenant.
const INDEX: usize = (1 << (usize::BITS / 2)) - 1;
const TENANT: usize = (SOCKETS - 1) & !INDEX & !(1 << (usize::BITS - 3));

/// The bits of a token that distinguish a tenant of an index from earlier ones: as many as there is
/// room for.
fn tenant(generation: u32) -> usize {
    ((generation as usize) << (usize::BITS / 2)) & TENANT
}

/// Tokens of TUN devices begin here, behind those of datagram sockets.
#[cfg(all(unix, feature = "tun"))]
const TUNS: usize = 1 << (usize::BITS - 1);

#[cfg(all(unix, feature = "tun"))]
fn tun_token(tun: TunId) -> Token {
    Token(TUNS + usize::from(tun.0))
}

impl Io for MioIo {
    fn now(&mut self) -> Instant {
        self.shared.now()
    }

    fn try_accept(&mut self, listener: ListenerId, id: StreamId) -> Result<Incoming, TryError> {
        let slot = self.listeners.get(usize::from(listener.0)).and_then(Option::as_ref);
        let (socket, bound) = slot.ok_or(TryError::WouldBlock)?;
        let (stream, incoming) = stream::accept(socket, *bound)?;
        self.keep(id, stream).map_err(|error| TryError::Fault(fault(&error)))?;
        Ok(incoming)
    }

    fn unlisten(&mut self, listener: ListenerId) {
        if let Some(slot) = self.listeners.get_mut(usize::from(listener.0)) {
            *slot = None;
        }
    }

    fn connect(&mut self, id: StreamId, to: SocketAddr, via: &Via) -> Result<(), Fault> {
        let stream = Stream::begun(TcpStream::from_std(self.binder.connect(to, via)?));
        self.lasting.begun(|| self.shared.now());
        self.keep(id, stream).map_err(|error| fault(&error))
    }

    #[cfg(unix)]
    fn connect_local(&mut self, id: StreamId, path: &LocalPath) -> Result<(), Fault> {
        let stream = Stream::from(TcpStream::from_std(connect_local(path)?));
        self.keep(id, stream).map_err(|error| fault(&error))
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
        let slot = |id: StreamId| self.streams.get(id.index() as usize).and_then(Option::as_ref);
        let (Some((_, source)), Some((_, sink))) = (slot(from), slot(to)) else {
            return Err(SpliceError::Unavailable);
        };
        self.pipes.splice(from.index(), source.socket(), sink.socket(), max)
    }

    #[cfg(target_os = "linux")]
    fn memory(&mut self, id: StreamId) -> ropewalk_core::drive::Memory {
        self.stream(id)
            .map_or_else(|_| Default::default(), |stream| ropewalk_sockets::memory(stream.socket()))
    }

    fn shutdown(&mut self, id: StreamId) {
        if let Ok(stream) = self.stream(id) {
            stream.shutdown();
        }
    }

    fn close(&mut self, id: StreamId, how: Close) {
        #[cfg(target_os = "linux")]
        self.pipes.drop_of(id.index());
        let slot = self.streams.get_mut(id.index() as usize);
        if let Some((_, stream)) = slot.and_then(Option::take) {
            stream.close(how);
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
        let (registry, token) = (&self.registry, socket_token(id));
        self.sockets.receive(listener, id, |socket| Socket::new(socket, None, fragments, registry, token));
    }

    fn open_socket(
        &mut self,
        id: SocketId,
        to: SocketAddr,
        via: &Via,
        fragments: bool,
    ) -> Result<SocketAddr, Fault> {
        let (registry, token) = (&self.registry, socket_token(id));
        let take = |socket| Socket::new(socket, Some(to), fragments, registry, token);
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
        let (registry, token) = (&self.registry, socket_token(id));
        let take = |socket| Socket::new(socket, None, fragments, registry, token);
        self.sockets.bind(id, &mut self.binder, [local, to], via, take)
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
        let result = self.sockets.try_transmit(id, source);
        if let Err(TransmitError::WouldBlock) = result
            && let Some(socket) = self.sockets.get_mut(id.index())
        {
            socket.wait_for_room(&self.registry);
        }
        result
    }

    #[cfg(all(unix, feature = "tun"))]
    fn try_take(&mut self, tun: TunId, buf: &mut [u8]) -> Result<(usize, Offload), TryError> {
        self.tuns.try_take(tun, buf)
    }

    #[cfg(all(unix, feature = "tun"))]
    fn try_give(&mut self, tun: TunId, packet: &[u8], offload: Offload) -> Result<(), TryError> {
        self.tuns.try_give(tun, packet, offload)
    }

    #[cfg(all(unix, feature = "tun"))]
    fn configure(&mut self, tun: TunId, configuration: &TunConfiguration) -> Result<(), Fault> {
        self.tuns.configure(tun, configuration)
    }

    #[cfg(feature = "entropy")]
    fn entropy(&mut self, bytes: &mut [u8; 32]) -> bool {
        ropewalk_sockets::entropy(bytes)
    }
}
