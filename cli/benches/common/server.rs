//! The server behind the proxies: one thread, one event loop, the same for every rival.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token, Waker};
use socket2::{Domain, Socket, Type};

use crate::common::session::{BLOCK, Session, Turn};

/// Ports the server listens on; see [`crate::common::route::Route`] for why there are several.
const PORTS: usize = 16;
const BACKLOG: i32 = 1024;
const WAKER: Token = Token(PORTS);
const FIRST_SESSION: usize = PORTS + 1;

/// What the client reads of the server while it runs.
#[derive(Default)]
struct Shared {
    received: AtomicU64,
    open: AtomicUsize,
    stop: AtomicBool,
    last_peer: Mutex<Option<SocketAddr>>,
}

/// The running server; it ends when this is dropped.
pub(crate) struct Server {
    targets: Vec<SocketAddrV4>,
    shared: Arc<Shared>,
    waker: Waker,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Server {
    /// Starts the server on free ports of 127.0.0.1.
    pub(crate) fn start() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let mut listeners = Vec::new();
        let mut targets = Vec::new();
        for port in 0..PORTS {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
            socket.listen(BACKLOG)?;
            socket.set_nonblocking(true)?;
            let mut listener = TcpListener::from_std(socket.into());
            poll.registry().register(&mut listener, Token(port), Interest::READABLE)?;
            targets.push(SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.local_addr()?.port()));
            listeners.push(listener);
        }
        let shared = Arc::new(Shared::default());
        let state =
            State { poll, listeners, sessions: Vec::new(), free: Vec::new(), shared: Arc::clone(&shared) };
        let thread = thread::Builder::new().name("server".into()).spawn(move || state.run())?;
        Ok(Self { targets, shared, waker, thread: Some(thread) })
    }

    /// The addresses it listens on.
    pub(crate) fn targets(&self) -> &[SocketAddrV4] {
        &self.targets
    }

    /// Bytes received so far over all connections.
    pub(crate) fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }

    /// The client's address as the server saw it in the latest connection since this was last
    /// asked.
    pub(crate) fn take_last_peer(&self) -> Option<SocketAddr> {
        self.shared.last_peer.lock().ok().and_then(|mut peer| peer.take())
    }

    /// Waits until the connections of the last measurement are gone, so that none of their bytes
    /// count in the next.
    pub(crate) fn wait_until_empty(&self) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let open = self.shared.open.load(Ordering::Acquire);
            if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
                return Err("the server thread has ended".into());
            }
            if open == 0 {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("waited 10 s for {open} connections to end at the server"));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        let woken = self.waker.wake();
        if let Some(thread) = self.thread.take().filter(|_| woken.is_ok()) {
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(e)) => eprintln!("the server ended early: {e}"),
                Err(_) => eprintln!("the server thread panicked"),
            }
        }
    }
}

struct State {
    poll: Poll,
    listeners: Vec<TcpListener>,
    sessions: Vec<Option<Session>>,
    free: Vec<usize>,
    shared: Arc<Shared>,
}

impl State {
    fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut scratch = vec![0; BLOCK];
        let payload = vec![b'd'; BLOCK];
        let mut queue = Vec::new();
        let mut turns = Vec::new();
        while !self.shared.stop.load(Ordering::Acquire) {
            let timeout = if queue.is_empty() { Duration::from_secs(1) } else { Duration::ZERO };
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            for event in &events {
                match event.token() {
                    WAKER => {}
                    Token(port) if port < PORTS => self.accept(port)?,
                    Token(token) => {
                        let index = token - FIRST_SESSION;
                        if let Some(Some(session)) = self.sessions.get_mut(index) {
                            session.handle_event(event);
                            if !session.queued {
                                session.queued = true;
                                queue.push(index);
                            }
                        }
                    }
                }
            }
            std::mem::swap(&mut queue, &mut turns);
            for index in turns.drain(..) {
                let Some(session) = &mut self.sessions[index] else {
                    continue;
                };
                match session.turn(&mut scratch, &payload, &self.shared.received) {
                    Ok(Turn::Again) => queue.push(index),
                    Ok(Turn::Wait) => session.queued = false,
                    // A reset is how most measurements end: the client just stops.
                    Ok(Turn::Close) | Err(_) => self.close(index),
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self, port: usize) -> io::Result<()> {
        loop {
            let (stream, peer) = match self.listeners[port].accept() {
                Ok(accepted) => accepted,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {
                    continue;
                }
                Err(e) => return Err(e),
            };
            if let Ok(mut last) = self.shared.last_peer.lock() {
                *last = Some(peer);
            }
            // Fails only if the peer is gone already, which the first read will tell.
            let _ = stream.set_nodelay(true);
            let index = self.free.pop().unwrap_or_else(|| {
                self.sessions.push(None);
                self.sessions.len() - 1
            });
            let session = self.sessions[index].insert(Session::new(stream));
            self.shared.open.fetch_add(1, Ordering::Release);
            let both = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(session.stream(), Token(FIRST_SESSION + index), both)?;
        }
    }

    fn close(&mut self, index: usize) {
        // Dropping the stream also takes it out of the poll.
        self.sessions[index] = None;
        self.free.push(index);
        self.shared.open.fetch_sub(1, Ordering::Release);
    }
}
