//! The client side of the connection-rate workload: 64 at a time, each connects, shakes hands,
//! sends a message, gets it back and closes.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token};
use socket2::{Domain, Socket, Type};

use crate::common::load::{STALLED, WARM_UP};
use crate::common::proc;
use crate::common::route::{CHOICE, GREETING, REPLY_HEAD, Route, reply_length};

/// Connections at a time.
const AT_A_TIME: usize = 64;
/// A window ends early after this many: the proxy's own side has about 28,000 ports to each of the
/// server's ports.
const MOST: u64 = 200_000;
/// The longest reply and message.
const ROOM: usize = 64;
/// Failures after which a measurement is given up.
const TOO_MANY_FAILURES: u64 = 100;
/// The client's addresses: as many as this, each with its own ports.
const SOURCES: usize = 1000;

/// What was counted within the window.
pub(crate) struct Measured {
    pub(crate) seconds: f64,
    pub(crate) done: u64,
    pub(crate) failed: u64,
    /// The proxy's processor time in seconds; 0 without a proxy.
    pub(crate) cpu: f64,
}

/// What a connection waits for.
#[derive(Debug)]
enum Stage {
    Connect,
    Choice,
    Reply,
    Echo,
}

struct Attempt {
    stream: TcpStream,
    stage: Stage,
    preface: Option<String>,
    request: Option<[u8; 10]>,
    message: &'static [u8],
    buffer: [u8; ROOM],
    filled: usize,
}

/// 127.0.1.1 and on, so that no address runs out of ports while old connections are in TIME-WAIT.
fn source(turn: usize) -> SocketAddr {
    let index = turn % SOURCES;
    let low = |number: usize| u8::try_from(number).unwrap_or(1);
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(127, 0, low(1 + index / 250), low(1 + index % 250)), 0))
}

impl Attempt {
    fn begin(
        route: &Route,
        turn: usize,
        message: &'static [u8],
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.bind(&source(turn).into())?;
        match socket.connect(&SocketAddr::V4(route.entry(turn)).into()) {
            // EINPROGRESS has no ErrorKind of its own; SO_ERROR shows a real failure later.
            Err(e) if !matches!(e.kind(), ErrorKind::AddrNotAvailable | ErrorKind::ConnectionRefused) => {}
            connected => connected?,
        }
        let mut stream = TcpStream::from_std(socket.into());
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        let request = route.request(turn);
        let preface = route.preface(turn);
        let stage = Stage::Connect;
        Ok(Self { stream, stage, preface, request, message, buffer: [0; ROOM], filled: 0 })
    }

    /// Goes as far as it can; whether the connection is done.
    fn advance(&mut self) -> io::Result<bool> {
        loop {
            let wanted = match self.stage {
                Stage::Connect => {
                    if let Some(e) = self.stream.take_error()? {
                        return Err(e);
                    }
                    match self.stream.peer_addr() {
                        Err(e) if e.kind() == ErrorKind::NotConnected => return Ok(false),
                        connected => connected?,
                    };
                    self.stage = if self.request.is_some() { Stage::Choice } else { Stage::Echo };
                    let first: &[u8] = if self.request.is_some() { &GREETING } else { self.message };
                    match self.preface.take() {
                        None => self.send(first)?,
                        // In one segment, as senders of headers do.
                        Some(preface) => self.send(&[preface.as_bytes(), first].concat())?,
                    }
                    continue;
                }
                Stage::Choice => CHOICE.len(),
                Stage::Reply if self.filled < REPLY_HEAD => REPLY_HEAD,
                Stage::Reply => reply_length(&self.buffer[..REPLY_HEAD])?,
                Stage::Echo => self.message.len(),
            };
            if self.filled < wanted {
                match self.stream.read(&mut self.buffer[self.filled..wanted]) {
                    Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                    Ok(count) => self.filled += count,
                    Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                    Err(e) if e.kind() == ErrorKind::Interrupted => {}
                    Err(e) => return Err(e),
                }
                continue;
            }
            match self.stage {
                Stage::Choice => {
                    if self.buffer[..wanted] != CHOICE {
                        return Err(io::Error::other("the proxy wants authentication"));
                    }
                    self.stage = Stage::Reply;
                    if let Some(request) = self.request {
                        self.send(&request)?;
                    }
                }
                Stage::Reply => {
                    self.stage = Stage::Echo;
                    self.send(self.message)?;
                }
                Stage::Connect | Stage::Echo => {
                    return if self.buffer[..wanted] == *self.message {
                        Ok(true)
                    } else {
                        Err(io::Error::other("a wrong echo"))
                    };
                }
            }
            self.filled = 0;
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        // A few bytes on a socket that has nothing queued.
        if self.stream.write(bytes)? == bytes.len() { Ok(()) } else { Err(ErrorKind::WriteZero.into()) }
    }
}

/// Opens connections through `route` for the warm-up and `window`, with `message` on each, which
/// must begin with the `P` that asks for an echo; `proxy` is the proxy's process.
pub(crate) fn run(
    window: Duration,
    route: &Route,
    message: &'static [u8],
    proxy: Option<u32>,
) -> Result<Measured, String> {
    let failed = |e: io::Error| format!("the client's event loop: {e}");
    let cpu = || proxy.map_or(0.0, proc::cpu_seconds);
    let mut poll = Poll::new().map_err(failed)?;
    let mut events = Events::with_capacity(2 * AT_A_TIME);
    let mut turn = 0;
    let mut begin = |poll: &Poll, slot: usize| {
        turn += 1;
        Attempt::begin(route, turn, message, poll.registry(), Token(slot))
            .map_err(|e| format!("beginning to connect: {e}"))
    };
    let mut attempts = Vec::new();
    for slot in 0..AT_A_TIME {
        attempts.push(begin(&poll, slot)?);
    }
    let (mut done, mut lost, mut cause) = (0, 0, String::new());
    let mut mark = Instant::now() + WARM_UP;
    let mut first: Option<(f64, Instant, u64, u64)> = None;
    let mut moved = Instant::now();
    loop {
        let now = Instant::now();
        if let Some((cpu_then, then, done_then, lost_then)) = first
            && (now >= mark || done - done_then >= MOST)
        {
            if done == done_then {
                return Err(format!(
                    "no connection got done in the window, the first awaits {:?} ({lost} failed; {cause})",
                    attempts[0].stage
                ));
            }
            return Ok(Measured {
                seconds: (now - then).as_secs_f64(),
                done: done - done_then,
                failed: lost - lost_then,
                cpu: cpu() - cpu_then,
            });
        }
        if first.is_none() && now >= mark {
            first = Some((cpu(), Instant::now(), done, lost));
            mark = Instant::now() + window;
        }
        if now - moved > STALLED {
            return Err(format!(
                "no connection got done for {STALLED:?}, {done} before ({lost} failed; {cause})"
            ));
        }
        match poll.poll(&mut events, Some(Duration::from_millis(20))) {
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            polled => polled.map_err(failed)?,
        }
        for event in &events {
            let slot = event.token().0;
            match attempts[slot].advance() {
                Ok(false) => continue,
                Ok(true) => {
                    done += 1;
                    moved = now;
                }
                Err(e) => {
                    lost += 1;
                    cause = e.to_string();
                    if lost > TOO_MANY_FAILURES {
                        return Err(format!("{lost} connections failed, {done} got done; the last: {cause}"));
                    }
                }
            }
            attempts[slot] = begin(&poll, slot)?;
        }
    }
}
