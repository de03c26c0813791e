//! The tokio runtime, on turmoil's sockets and clock: what `ropewalk-mio` is on the kernel's.
//!
//! One task owns machine and sockets. An operation polls the socket once with a waker that puts the
//! stream into a list and wakes the task: so `try_read` never waits, and nothing is scanned.
//! Everything a protocol could ask is asked of the machine; here are only sockets.
//!
//! Time is tokio's, counted from the start of the loop. It stands still within a turn (turmoil
//! moves it only when every task waits), so a turn without end would hang the world instead of
//! being late.

use super::names::{Resolver, Table};
use super::net::Net;
use super::ready::{Ready, ReadyList};
use super::uplink;
use super::wire::Wire;
use ropewalk_core::drive::{Drive, Incoming, Io, Moved, TryError};
use ropewalk_core::errno::fault;
use ropewalk_core::machine::event::Event;
use ropewalk_core::machine::{
    Application, Assign, Assignment, Close, Fault, Input, ListenerId, QueryId, Report, StreamId, Via,
};
use ropewalk_core::name::Name;
use ropewalk_core::time::{Duration, Instant};
use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use turmoil::net::{TcpListener, TcpStream};

/// Operations between two looks at the list.
const FUEL: usize = 64;

/// What became of a worker.
#[derive(Debug)]
pub struct Ended<M> {
    /// The machine, so that its counters can be read.
    pub machine: M,
    /// How many turns it took.
    pub turns: u64,
}

/// One event loop around one machine.
pub struct Worker<M> {
    machine: M,
    drive: Drive,
    io: TurmoilIo,
    turns: u64,
}

impl<M: Application> Worker<M> {
    /// A worker on the host that runs this; its listeners have the ids 0, 1, 2 and so on.
    ///
    /// # Errors
    /// What turmoil says when it cannot bind a port.
    pub async fn new(machine: M, ports: &[u16], names: Table, net: &Net) -> std::io::Result<Self> {
        let ready = Arc::clone(net.ready());
        let mut listeners = Vec::new();
        for (index, port) in ports.iter().enumerate() {
            let id = ListenerId(index as u16);
            let socket = Rc::new(TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).await?);
            let waker = ready.waker(Ready::Listener(id));
            listeners.push(Some(Listener { socket, waker, accept: None }));
            ready.push(Ready::Listener(id));
        }
        let io = TurmoilIo {
            start: tokio::time::Instant::now(),
            listeners,
            streams: Vec::new(),
            resolver: Resolver::new(names),
            ready,
            net: net.clone(),
        };
        Ok(Worker { machine, drive: Drive::new(), io, turns: 0 })
    }

    /// Runs until the machine has finished after a [`Net::drain`], or until [`Net::stop`].
    pub async fn run(mut self) -> Ended<M> {
        loop {
            if self.look() {
                return self.end();
            }
            let turn = self.drive.turn(&mut self.machine, &mut self.io, FUEL);
            self.turns += 1;
            if turn.finished {
                return self.end();
            }
            if turn.more {
                tokio::task::yield_now().await;
                continue;
            }
            let at = [turn.timeout, self.io.resolver.next()].into_iter().flatten().min();
            let ready = poll_fn(|cx| self.io.ready.poll(cx));
            match at {
                None => ready.await,
                Some(at) => {
                    let at = self.io.start + Duration::from_nanos(at.as_nanos());
                    tokio::select! {
                        biased;
                        () = ready => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
            }
        }
    }

    /// Takes what has come. True when the run is to end.
    fn look(&mut self) -> bool {
        while let Some(ready) = self.io.ready.pop() {
            match ready {
                Ready::Stream { index, readable, writable } => {
                    self.io.end_owed(index);
                    self.drive.ready(index, readable, writable);
                }
                Ready::Listener(listener) => self.drive.listener_ready(listener),
                Ready::Drain => self.drive.input(&mut self.machine, &mut self.io, Input::Drain),
                Ready::Stop => return true,
            }
        }
        let now = self.io.now();
        while let Some((query, answer)) = self.io.resolver.answer(now) {
            let answer = match &answer {
                Ok(addresses) => Ok(&addresses[..]),
                Err(fault) => Err(*fault),
            };
            self.drive.resolved(&mut self.machine, &mut self.io, query, answer);
        }
        false
    }

    fn end(self) -> Ended<M> {
        Ended { machine: self.machine, turns: self.turns }
    }
}

type Accept = Pin<Box<dyn Future<Output = std::io::Result<(TcpStream, SocketAddr)>>>>;
type Connect = Pin<Box<dyn Future<Output = Result<(Wire, SocketAddr), Fault>>>>;

struct Listener {
    socket: Rc<TcpListener>,
    waker: Waker,
    /// Kept while it waits: the waker inside would go with it.
    accept: Option<Accept>,
}

enum State {
    Connecting(Connect),
    Open(Wire),
}

struct Stream {
    state: State,
    /// Our end was asked for and waits for room.
    ending: bool,
    both: Waker,
    read: Waker,
    write: Waker,
}

/// What turmoil's sockets can do, for [`Drive`].
struct TurmoilIo {
    start: tokio::time::Instant,
    listeners: Vec<Option<Listener>>,
    streams: Vec<Option<Stream>>,
    resolver: Resolver,
    ready: Arc<ReadyList>,
    net: Net,
}

impl TurmoilIo {
    fn keep(&mut self, id: StreamId, state: State) {
        let at = id.index() as usize;
        if self.streams.len() <= at {
            self.streams.resize_with(at + 1, || None);
        }
        let waker =
            |readable, writable| self.ready.waker(Ready::Stream { index: id.index(), readable, writable });
        let (both, read, write) = (waker(true, true), waker(true, false), waker(false, true));
        self.streams[at] = Some(Stream { state, ending: false, both, read, write });
    }

    fn end_owed(&mut self, index: u32) {
        let slot = self.streams.get_mut(index as usize).and_then(Option::as_mut);
        if let Some(Stream { state: State::Open(wire), ending, write, .. }) = slot
            && *ending
        {
            *ending = wire.poll_shutdown(&mut Context::from_waker(write)).is_pending();
        }
    }

    fn stream(&mut self, id: StreamId) -> Option<&mut Stream> {
        self.streams.get_mut(id.index() as usize)?.as_mut()
    }
}

fn tried(polled: Poll<std::io::Result<usize>>) -> Result<Moved, TryError> {
    match polled {
        Poll::Pending => Err(TryError::WouldBlock),
        Poll::Ready(Ok(len)) => Ok(Moved { len, more: true }),
        Poll::Ready(Err(error)) => Err(TryError::Fault(fault(&error))),
    }
}

/// Leaves by the assigned uplink, or not at all.
async fn connect(to: SocketAddr, via: Via, net: Net) -> Result<(Wire, SocketAddr), Fault> {
    match net.way(&via)? {
        Some(relay) => uplink::connect(relay, to, &net).await,
        None => match Wire::connect(to, &net).await {
            Ok(wire) => {
                let local = wire.local();
                Ok((wire, local))
            }
            Err(_) => Err(net.why_not(net.proxy().ip(), to.ip())),
        },
    }
}

impl Io for TurmoilIo {
    fn now(&mut self) -> Instant {
        let nanos = self.start.elapsed().as_nanos();
        Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn try_accept(&mut self, listener: ListenerId, id: StreamId) -> Result<Incoming, TryError> {
        let slot = self.listeners.get_mut(usize::from(listener.0)).and_then(Option::as_mut);
        let Listener { socket, waker, accept } = slot.ok_or(TryError::WouldBlock)?;
        let pending = accept.get_or_insert_with(|| {
            let socket = Rc::clone(socket);
            Box::pin(async move { socket.accept().await })
        });
        let Poll::Ready(result) = pending.as_mut().poll(&mut Context::from_waker(waker)) else {
            return Err(TryError::WouldBlock);
        };
        *accept = None;
        let wire = result.and_then(|(stream, _)| Wire::new(stream, &self.net));
        let wire = wire.map_err(|error| TryError::Fault(fault(&error)))?;
        let incoming = Incoming { peer: wire.peer(), local: wire.local() };
        self.keep(id, State::Open(wire));
        Ok(incoming)
    }

    fn unlisten(&mut self, listener: ListenerId) {
        if let Some(slot) = self.listeners.get_mut(usize::from(listener.0)) {
            *slot = None;
        }
    }

    fn connect(&mut self, id: StreamId, to: SocketAddr, via: &Via) -> Result<(), Fault> {
        // What is known at once is said at once.
        self.net.way(via)?;
        self.keep(id, State::Connecting(Box::pin(connect(to, *via, self.net.clone()))));
        self.ready.push(Ready::Stream { index: id.index(), readable: true, writable: true });
        Ok(())
    }

    fn finish_connect(&mut self, id: StreamId) -> Result<SocketAddr, TryError> {
        let gone = TryError::Fault(Fault::Reset);
        let Stream { state, both, .. } = self.stream(id).ok_or(gone)?;
        let State::Connecting(connect) = state else { return Err(gone) };
        match connect.as_mut().poll(&mut Context::from_waker(both)) {
            Poll::Pending => Err(TryError::WouldBlock),
            Poll::Ready(Ok((wire, local))) => {
                *state = State::Open(wire);
                Ok(local)
            }
            Poll::Ready(Err(fault)) => {
                self.streams[id.index() as usize] = None;
                Err(TryError::Fault(fault))
            }
        }
    }

    fn try_read(&mut self, id: StreamId, buf: &mut [u8]) -> Result<Moved, TryError> {
        match self.stream(id) {
            Some(Stream { state: State::Open(wire), read, .. }) => {
                tried(wire.poll_read(&mut Context::from_waker(read), buf))
            }
            _ => Err(TryError::Fault(Fault::Reset)),
        }
    }

    fn try_write(&mut self, id: StreamId, buf: &[u8]) -> Result<Moved, TryError> {
        match self.stream(id) {
            Some(Stream { state: State::Open(wire), write, .. }) => {
                tried(wire.poll_write(&mut Context::from_waker(write), buf))
            }
            _ => Err(TryError::Fault(Fault::Reset)),
        }
    }

    fn shutdown(&mut self, id: StreamId) {
        if let Some(stream) = self.stream(id) {
            stream.ending = true;
            self.end_owed(id.index());
        }
    }

    fn close(&mut self, id: StreamId, how: Close) {
        let slot = self.streams.get_mut(id.index() as usize);
        match slot.and_then(Option::take).map(|stream| stream.state) {
            // One that has just ended well is closed; turmoil would leave the other side waiting
            // for ever.
            Some(State::Connecting(mut connect)) => {
                let ended = connect.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                if let Poll::Ready(Ok((wire, _))) = ended {
                    wire.reset();
                }
            }
            Some(State::Open(wire)) if how == Close::Reset => wire.reset(),
            Some(State::Open(_)) | None => {}
        }
    }

    fn resolve(&mut self, query: QueryId, name: &Name) -> Result<(), Fault> {
        let now = self.now();
        self.resolver.ask(now, query, name.as_str());
        Ok(())
    }

    fn cancel_resolve(&mut self, query: QueryId) {
        self.resolver.cancel(query);
    }

    fn assign(&mut self, now: Instant, assign: &Assign) -> Option<Assignment> {
        self.net.with_pool(now, |pool| pool.assign(now, assign))
    }

    fn report(&mut self, now: Instant, report: &Report) {
        self.net.with_pool(now, |pool| pool.report(now, report));
    }

    fn event(&mut self, now: Instant, event: &Event) {
        self.net.event(now, event.clone());
    }
}
