//! A third runtime, written by following `docs/porting.md`: the dispatch machine over poll(2), for
//! Unix.
//!
//! One thread has the sockets (the standard library's, non-blocking), some others look up names.
//! There are no uplinks, so that all connections leave unbound, no devices and no splice. When
//! standard input ends, it drains.
//!
//! ```text
//! cargo run -p ropewalk-core --example poll_proxy -- 127.0.0.1:1080
//! curl --socks5-hostname 127.0.0.1:1080 http://example.org/
//!
//! threads: names, stdin ──▶ channel, then a byte into the waker
//!                                         ▼
//! turn() ──▶ poll(waker, listener, streams with a wish) ──▶ ready(), resolved(), input() ──▶ turn() ..
//! ```
//!
//! Invariant: `want` holds what `Drive` does not believe possible, and nothing else. A fresh socket
//! wants both directions; later each one in which an operation found nothing more to do. What poll
//! reported is taken out.

use ropewalk_core::dispatch::{Config, Dispatch};
use ropewalk_core::drive::{Drive, Incoming, Io, Moved, TryError};
use ropewalk_core::errno::fault;
use ropewalk_core::machine::event::Event;
use ropewalk_core::machine::*;
use ropewalk_core::name::Name;
use ropewalk_core::time::{Duration, Instant};
use ropewalk_core::uplink::{Pool, PoolConfig};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

/// Threads that look up names, and how many names may wait for them.
const RESOLVERS: usize = 4;
const QUERIES: usize = 1024;

/// What other threads pass to the loop.
enum Message {
    Answer(QueryId, Result<Vec<IpAddr>, Fault>),
    Drain,
}

struct Socket {
    tcp: TcpStream,
    want: PollFlags,
}

impl Socket {
    /// The outcome of a read or write of at most `max` bytes. A short one has emptied (or filled)
    /// the socket, and poll reports all that comes later, an end included: trying again would be a
    /// wasted call.
    fn moved(&mut self, way: PollFlags, max: usize, len: Result<usize, TryError>) -> Result<Moved, TryError> {
        let more = matches!(len, Ok(len) if len == 0 || len == max);
        self.want |= if more { PollFlags::empty() } else { way };
        Ok(Moved { len: len?, more })
    }
}

struct Sockets {
    start: std::time::Instant,
    listener: Option<TcpListener>,
    accept_wanted: bool,
    streams: Vec<Option<Socket>>,
    queries: SyncSender<(QueryId, Name)>,
    waker: UnixStream,
    pool: Pool,
}

/// A system call, repeated when it is interrupted.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> Result<T, TryError> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(TryError::WouldBlock),
            result => return result.map_err(|error| TryError::Fault(fault(&error))),
        }
    }
}

impl Sockets {
    fn keep(&mut self, stream: StreamId, tcp: TcpStream) {
        // A relay passes on what it has: to hold back a small segment only costs time.
        let _ = tcp.set_nodelay(true);
        let index = stream.index() as usize;
        self.streams.resize_with(self.streams.len().max(index + 1), || None);
        self.streams[index] = Some(Socket { tcp, want: PollFlags::IN | PollFlags::OUT });
    }

    fn socket(&mut self, stream: StreamId) -> Result<&mut Socket, TryError> {
        let socket = self.streams.get_mut(stream.index() as usize).and_then(Option::as_mut);
        socket.ok_or(TryError::Fault(Fault::Other(0)))
    }

    fn with_pool<T>(&mut self, now: Instant, ask: impl FnOnce(&mut Pool) -> T) -> T {
        let answer = ask(&mut self.pool);
        while let Some(event) = self.pool.poll_event() {
            self.event(now, &event);
        }
        answer
    }

    /// Waits, then tells `drive` whether connections may be there, and which stream may be able to
    /// do what.
    fn wait(&mut self, drive: &mut Drive, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut fds = vec![PollFd::new(&self.waker, PollFlags::IN)];
        let listener = self.listener.as_ref().filter(|_| self.accept_wanted);
        fds.extend(listener.map(|listener| PollFd::new(listener, PollFlags::IN)));
        let first = fds.len();
        let mut indices = Vec::new();
        for (index, socket) in (0..).zip(&self.streams) {
            // poll reports errors even where no event is requested: a socket without a wish must
            // stay out.
            if let Some(socket) = socket.as_ref().filter(|socket| !socket.want.is_empty()) {
                fds.push(PollFd::new(&socket.tcp, socket.want));
                indices.push(index);
            }
        }
        match poll(&mut fds, timeout.as_ref()) {
            Err(Errno::INTR) => return Ok(()),
            other => other?,
        };
        let told: Vec<_> = fds.iter().map(PollFd::revents).collect();
        while !told[0].is_empty() && matches!(self.waker.read(&mut [0; 256]), Ok(1..)) {}
        if first > 1 && !told[1].is_empty() {
            self.accept_wanted = false;
            drive.listener_ready(ListenerId(0));
        }
        for (index, told) in indices.into_iter().zip(&told[first..]).filter(|(_, told)| !told.is_empty()) {
            // An end or an error is for both directions.
            let ended = told.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL);
            let told = if ended { PollFlags::IN | PollFlags::OUT } else { *told };
            if let Some(socket) = &mut self.streams[index as usize] {
                socket.want -= told;
            }
            drive.ready(index, told.contains(PollFlags::IN), told.contains(PollFlags::OUT));
        }
        Ok(())
    }
}

impl Io for Sockets {
    fn now(&mut self) -> Instant {
        Instant::from_nanos(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
    fn try_accept(&mut self, _: ListenerId, stream: StreamId) -> Result<Incoming, TryError> {
        loop {
            let Some(listener) = &self.listener else { return Err(TryError::WouldBlock) };
            let accepted = retry(|| listener.accept());
            self.accept_wanted |= matches!(accepted, Err(TryError::WouldBlock));
            let (tcp, peer) = match accepted {
                Err(TryError::Fault(Fault::Reset)) => continue,
                accepted => accepted?,
            };
            if let Ok(local) = tcp.set_nonblocking(true).and_then(|()| tcp.local_addr()) {
                self.keep(stream, tcp);
                return Ok(Incoming { peer, local });
            }
        }
    }
    fn unlisten(&mut self, _: ListenerId) {
        self.listener = None;
    }
    fn connect(&mut self, stream: StreamId, to: SocketAddr, via: &Via) -> Result<(), Fault> {
        if via.device.is_some() {
            return Err(Fault::Unsupported);
        }
        let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let begin = || {
            let tcp = TcpStream::from(socket(family, SocketType::STREAM, None)?);
            tcp.set_nonblocking(true)?;
            if let Some(source) = via.source {
                bind(&tcp, &SocketAddr::new(source, 0))?;
            }
            match connect(&tcp, &to) {
                // An interrupted connect goes on.
                Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(tcp),
                Err(error) => Err(io::Error::from(error)),
            }
        };
        let tcp = begin().map_err(|error| fault(&error))?;
        self.keep(stream, tcp);
        Ok(())
    }
    fn finish_connect(&mut self, stream: StreamId) -> Result<SocketAddr, TryError> {
        let socket = self.socket(stream)?;
        let ended = match socket.tcp.take_error() {
            Ok(None) if socket.tcp.peer_addr().is_ok() => socket.tcp.local_addr(),
            Ok(None) => {
                socket.want |= PollFlags::OUT;
                return Err(TryError::WouldBlock);
            }
            Ok(Some(error)) | Err(error) => Err(error),
        };
        ended.map_err(|error| {
            self.close(stream, Close::Graceful);
            TryError::Fault(fault(&error))
        })
    }
    fn try_read(&mut self, stream: StreamId, buf: &mut [u8]) -> Result<Moved, TryError> {
        let socket = self.socket(stream)?;
        let len = retry(|| socket.tcp.read(buf));
        socket.moved(PollFlags::IN, buf.len(), len)
    }
    fn try_write(&mut self, stream: StreamId, buf: &[u8]) -> Result<Moved, TryError> {
        let socket = self.socket(stream)?;
        let len = retry(|| socket.tcp.write(buf));
        socket.moved(PollFlags::OUT, buf.len(), len)
    }
    fn shutdown(&mut self, stream: StreamId) {
        // What fails here fails the next read or write too.
        let _ = self.socket(stream).map(|socket| socket.tcp.shutdown(Shutdown::Write));
    }
    fn close(&mut self, stream: StreamId, how: Close) {
        let slot = self.streams.get_mut(stream.index() as usize);
        if let Some(Socket { tcp, .. }) = slot.and_then(Option::take).filter(|_| how == Close::Reset) {
            let _ = sockopt::set_socket_linger(&tcp, Some(Duration::ZERO));
        }
    }
    fn resolve(&mut self, query: QueryId, name: &Name) -> Result<(), Fault> {
        self.queries.try_send((query, name.clone())).map_err(|_| Fault::NameUnavailable)
    }
    fn cancel_resolve(&mut self, _: QueryId) {}

    fn assign(&mut self, now: Instant, assign: &Assign) -> Option<Assignment> {
        self.with_pool(now, |pool| pool.assign(now, assign))
    }
    fn report(&mut self, now: Instant, report: &Report) {
        self.with_pool(now, |pool| pool.report(now, report));
    }
    fn event(&mut self, now: Instant, event: &Event) {
        eprintln!("{now:?} {event:?}");
    }
}

/// Looks up names until the program ends.
fn look_up(queries: &Mutex<Receiver<(QueryId, Name)>>, tell: impl Fn(Message)) {
    let next = || queries.lock().ok()?.recv().ok();
    while let Some((query, name)) = next() {
        // The standard library does not distinguish a missing name from a server that does not
        // answer.
        let answer = (name.as_str(), 0).to_socket_addrs().map_err(|_| Fault::NameNotFound);
        tell(Message::Answer(query, answer.map(|addresses| addresses.map(|a| a.ip()).collect())));
    }
}

/// Serves `listener` until `stop` has ended and then the last connection.
pub(crate) fn serve(listener: TcpListener, mut stop: impl Read + Send + 'static) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let (queries, asked) = sync_channel(QUERIES);
    let (sender, messages) = channel();
    let (waker, wake) = UnixStream::pair()?;
    waker.set_nonblocking(true)?;
    wake.set_nonblocking(true)?;
    let (asked, wake) = (Arc::new(Mutex::new(asked)), Arc::new(wake));
    let tell = move |message| {
        // A full waker is about to wake the loop anyway; after the loop's end the wake is not
        // needed.
        let _ = sender.send(message).map(|()| (&*wake).write(&[0]));
    };
    for _ in 0..RESOLVERS {
        let (asked, tell) = (asked.clone(), tell.clone());
        thread::spawn(move || look_up(&asked, tell));
    }
    thread::spawn(move || {
        let _ = io::copy(&mut stop, &mut io::sink());
        tell(Message::Drain);
    });

    let (listeners, local_addresses) = (vec![address], vec![address.ip()]);
    let config = Config { listeners, local_addresses, ..Config::default() };
    let mut machine = Dispatch::new(config).map_err(io::Error::other)?;
    let pool = Pool::new(PoolConfig::default()).map_err(io::Error::other)?;
    let (start, listener, streams) = (std::time::Instant::now(), Some(listener), Vec::new());
    let mut io = Sockets { start, listener, accept_wanted: true, streams, queries, waker, pool };
    let mut drive = Drive::new();
    loop {
        let turn = drive.turn(&mut machine, &mut io, 512);
        if turn.finished {
            return Ok(());
        }
        let timeout = if turn.more { Some(Duration::ZERO) } else { turn.timeout.map(|at| at - io.now()) };
        io.wait(&mut drive, timeout)?;
        for message in messages.try_iter() {
            match message {
                Message::Drain => drive.input(&mut machine, &mut io, Input::Drain),
                Message::Answer(query, answer) => {
                    drive.resolved(&mut machine, &mut io, query, answer.as_deref().map_err(|fault| *fault));
                }
            }
        }
    }
}
