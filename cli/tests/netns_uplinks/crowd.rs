//! Many clients of the proxy in one thread, and the echoes that they speak with in another process.
//!
//! A client opens a tunnel and rests. By turns some of them send a pattern and compare what comes
//! back with it. One that has ended is replaced; one that does not move though it should is hung.

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use rustix::net::sockopt;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::ns::Ns;
use crate::common::{LONG, pattern, socks, wait_until};
use crate::hung;

/// What TCP may wait until it ends a connection whose bytes are not acknowledged: in the proxy
/// (`--user-timeout`, in seconds) and at the far side. An outage of seconds that hits its attempts
/// to send again makes it wait for longer than the outage, and two in a row for longer still.
pub(crate) const PATIENCE: &str = "30";
/// Beyond that: who has neither moved nor ended is hung.
const HANG: Duration = Duration::from_secs(45);
/// Tunnels that are opened at a time.
const OPENING: usize = 256;
/// Pieces that one tunnel moves before another has its turn: in one thread a fast one would keep
/// all others waiting.
const TURN: usize = 4;
/// Bytes moved in one call.
const PIECE: usize = 64 * 1024;
/// The pattern repeats after so many bytes, a prime, so that no buffer's size fits into it.
const PERIOD: usize = 1_048_573;
/// What the system keeps for a client or an echo, each way. They stand for programs on other hosts:
/// with buffers that grow to megabytes they fill the memory that this host has for all of TCP, and
/// then Linux drops what comes to any socket that holds more than an even share of it, here 64 KiB.
/// (Seen: a client's own timer that had backed off to 106 s, because its segments were dropped.)
const KEPT: usize = 128 * 1024;
/// Descriptors that are enough for all that is done here.
const MANY: u64 = 65_536;
/// The proxy's answers, with an IPv4 address in the second.
const ANSWERS: usize = 2 + 10;
/// What a tunnel says at rest.
const PING: usize = 4;

/// Lets this process have as many descriptors as it may: how many.
pub(crate) fn raise_descriptors() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    // Root may have more than it was given.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(MANY), maximum: Some(MANY) });
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    maximum.unwrap_or(u64::MAX)
}

fn keep_little(socket: &impl std::os::fd::AsFd) -> io::Result<()> {
    sockopt::set_socket_recv_buffer_size(socket, KEPT)?;
    Ok(sockopt::set_socket_send_buffer_size(socket, KEPT)?)
}

// ---- the far side ----

/// Servers that give back what they get, in a process of their own: one alone may not have all the
/// descriptors.
pub(crate) struct Echoes(Child);

struct Echo {
    stream: TcpStream,
    pending: VecDeque<u8>,
    ended: bool,
}

/// Several, so that one address has ports for all tunnels.
const PORTS: std::ops::Range<u16> = 7001..7005;

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 1], port))
}

impl Echoes {
    /// Begins them in this place.
    pub(crate) fn new(far: &Ns) -> Self {
        let program = std::env::current_exe().expect("this test");
        let mut command = Command::new(program);
        command.args(["--exact", "crowd::gives_back_what_it_gets", "--ignored"]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let echoes = Echoes(far.run(|| command.spawn().expect("this test can be run")));
        let listens = |port| far.run(|| std::net::TcpStream::connect(address(port))).is_ok();
        wait_until("the echoes listen", LONG, || PORTS.clone().all(listens));
        echoes
    }
}

impl Drop for Echoes {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "the soak begins it as a process of its own"]
fn gives_back_what_it_gets() {
    raise_descriptors();
    let listener = |port| std::net::TcpListener::bind(address(port)).expect("a far side's namespace");
    serve(PORTS.map(listener).collect()).expect("an event loop");
}

fn serve(listeners: Vec<std::net::TcpListener>) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut doors = Vec::new();
    for (number, listener) in listeners.into_iter().enumerate() {
        // Connections inherit it.
        keep_little(&listener)?;
        rustix::net::listen(&listener, 4096)?;
        listener.set_nonblocking(true)?;
        let mut door = TcpListener::from_std(listener);
        poll.registry().register(&mut door, Token(number), Interest::READABLE)?;
        doors.push(door);
    }
    let mut all: BTreeMap<usize, Echo> = BTreeMap::new();
    let mut next = doors.len();
    let mut buf = vec![0; PIECE];
    // Those that had their turn and may have more.
    let mut more: BTreeSet<usize> = BTreeSet::new();
    loop {
        match poll.poll(&mut events, (!more.is_empty()).then_some(Duration::ZERO)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            let Token(token) = event.token();
            if let Some(door) = doors.get(token) {
                while let Ok((mut stream, _)) = door.accept() {
                    // A tunnel whose link was taken away says nothing any more.
                    sockopt::set_socket_keepalive(&stream, true)?;
                    sockopt::set_tcp_keepidle(&stream, Duration::from_secs(8))?;
                    sockopt::set_tcp_keepintvl(&stream, Duration::from_secs(2))?;
                    sockopt::set_tcp_keepcnt(&stream, 4)?;
                    sockopt::set_tcp_user_timeout(&stream, 30_000)?;
                    let both = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut stream, Token(next), both)?;
                    all.insert(next, Echo { stream, pending: VecDeque::new(), ended: false });
                    next += 1;
                }
            } else {
                more.insert(token);
            }
        }
        for token in std::mem::take(&mut more) {
            match all.get_mut(&token).map(|echo| echo.turn(&mut buf)) {
                Some(Turn::More) => drop(more.insert(token)),
                Some(Turn::Over) => drop(all.remove(&token)),
                Some(Turn::Waits) | None => {}
            }
        }
    }
}

/// What came of a turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Turn {
    /// It has had its turn, and there may be more to do.
    More,
    /// It waits for what comes, or for room.
    Waits,
    /// It has come to its end, of whatever kind.
    Over,
}

fn failed(error: &io::Error) -> Turn {
    if error.kind() == ErrorKind::WouldBlock { Turn::Waits } else { Turn::Over }
}

impl Echo {
    fn turn(&mut self, buf: &mut [u8]) -> Turn {
        for _ in 0..TURN {
            while !self.pending.is_empty() {
                match self.stream.write(self.pending.make_contiguous()) {
                    Ok(len) => drop(self.pending.drain(..len)),
                    Err(error) => return failed(&error),
                }
            }
            if self.ended {
                return Turn::Over;
            }
            match self.stream.read(buf) {
                Ok(0) => self.ended = true,
                Ok(len) => self.pending.extend(&buf[..len]),
                Err(error) => return failed(&error),
            }
        }
        Turn::More
    }
}

// ---- the clients ----

/// How many, and what they do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) connections: usize,
    /// So many of them are busy at a time.
    pub(crate) active: usize,
    /// Each, both ways, when its turn is.
    pub(crate) bytes: usize,
}

/// What came of it.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Told {
    /// Turns that were done to the last byte.
    pub(crate) moved: usize,
    /// Tunnels that ended and could be seen to.
    pub(crate) ended: usize,
    /// Of them, when all were asked at the end.
    pub(crate) ended_at_rest: usize,
    /// Tunnels that did not move though they should.
    pub(crate) hung: usize,
    /// Bytes that came back were not those that were sent.
    pub(crate) wrong: usize,
    /// Tunnels that answered at the end.
    pub(crate) answered: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// The proxy has not answered yet.
    Opening,
    Rest,
    Busy {
        sent: usize,
        got: usize,
        of: usize,
    },
}

struct Tunnel {
    stream: TcpStream,
    stage: Stage,
    /// Where its pattern begins.
    from: usize,
    /// What is still to be said to the proxy, and what it has said.
    unsaid: Vec<u8>,
    heard: Vec<u8>,
    moved_at: Instant,
}

impl Tunnel {
    /// The ports of the client's connection and of the proxy's (BND of its answer).
    fn ports(&self) -> [u16; 2] {
        let bound = self.heard.last_chunk().copied().map_or(0, u16::from_be_bytes);
        [self.stream.local_addr().map_or(0, |local| local.port()), bound]
    }
}

pub(crate) struct Crowd<'a> {
    poll: Poll,
    proxy: SocketAddr,
    targets: Vec<SocketAddr>,
    plan: Plan,
    /// Twice, so that each piece is in one part.
    pattern: Vec<u8>,
    tunnels: BTreeMap<usize, Tunnel>,
    resting: VecDeque<usize>,
    opening: BTreeSet<usize>,
    busy: BTreeSet<usize>,
    /// Those that had their turn and may have more.
    more: BTreeSet<usize>,
    next: usize,
    told: Told,
    far: &'a Ns,
}

impl<'a> Crowd<'a> {
    /// Opens all tunnels to the echoes in `far`.
    pub(crate) fn new(proxy: SocketAddr, far: &'a Ns, plan: Plan) -> Self {
        let once = pattern(0, PERIOD);
        let mut crowd = Crowd {
            poll: Poll::new().expect("a descriptor"),
            proxy,
            targets: PORTS.map(address).collect(),
            plan,
            pattern: [&once[..], &once[..]].concat(),
            tunnels: BTreeMap::new(),
            resting: VecDeque::new(),
            opening: BTreeSet::new(),
            busy: BTreeSet::new(),
            more: BTreeSet::new(),
            next: 0,
            told: Told::default(),
            far,
        };
        let until = Instant::now() + HANG * 6;
        while crowd.resting.len() < plan.connections {
            assert!(Instant::now() < until, "the tunnels do not open: {} do", crowd.resting.len());
            crowd.open();
            crowd.turn();
        }
        crowd
    }

    /// Has some of them busy until then, and each that ended replaced.
    pub(crate) fn work(&mut self, until: Instant) {
        while Instant::now() < until {
            self.open();
            while self.busy.len() < self.plan.active
                && let Some(token) = self.resting.pop_front()
            {
                self.begin(token, self.plan.bytes);
            }
            self.turn();
        }
        // What is under way comes to its end, and all are there once more.
        while !self.busy.is_empty() || self.resting.len() < self.plan.connections {
            self.open();
            self.turn();
        }
    }

    /// Asks each for a last word, closes them all, and tells what came of it.
    pub(crate) fn rest(mut self, patience: Duration) -> Told {
        let until = Instant::now() + patience;
        let before = self.told;
        // Who has answered rests again: each is asked once.
        for token in std::mem::take(&mut self.resting) {
            self.begin(token, PING);
            while self.busy.len() >= OPENING {
                self.turn();
            }
        }
        while !self.busy.is_empty() {
            assert!(Instant::now() < until, "tunnels at rest do not answer: {:?}", self.told);
            self.turn();
        }
        let Told { moved, ended, .. } = self.told;
        let (answered, ended_at_rest) = (moved - before.moved, ended - before.ended);
        Told { answered, ended_at_rest, moved: before.moved, ..self.told }
    }

    fn open(&mut self) {
        while self.tunnels.len() < self.plan.connections && self.opening.len() < OPENING {
            let token = self.next;
            self.next += 1;
            let mut stream = TcpStream::connect(self.proxy).expect("a descriptor and a port");
            keep_little(&stream).expect("a socket");
            let both = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, Token(token), both).expect("it is new");
            let unsaid = socks::hello(self.targets[token % self.targets.len()]);
            let (from, moved_at) = (token.wrapping_mul(7919) % PERIOD, Instant::now());
            let (stage, heard) = (Stage::Opening, Vec::new());
            self.tunnels.insert(token, Tunnel { stream, stage, from, unsaid, heard, moved_at });
            self.opening.insert(token);
        }
    }

    fn begin(&mut self, token: usize, of: usize) {
        let Some(tunnel) = self.tunnels.get_mut(&token) else { return };
        tunnel.stage = Stage::Busy { sent: 0, got: 0, of };
        tunnel.moved_at = Instant::now();
        self.busy.insert(token);
        self.advance(token);
    }

    /// Waits a little for what comes, and takes it.
    fn turn(&mut self) {
        let mut events = Events::with_capacity(1024);
        let patience = if self.more.is_empty() { Duration::from_millis(50) } else { Duration::ZERO };
        match self.poll.poll(&mut events, Some(patience)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => other.expect("an event loop"),
        }
        let mut tokens = std::mem::take(&mut self.more);
        tokens.extend(events.iter().map(|event| event.token().0));
        tokens.into_iter().for_each(|token| self.advance(token));
        let now = Instant::now();
        let late =
            |token: &&usize| self.tunnels.get(token).is_some_and(|tunnel| tunnel.moved_at + HANG < now);
        let hung: Vec<usize> = self.busy.iter().chain(&self.opening).filter(late).copied().collect();
        for token in hung {
            let tunnel = &self.tunnels[&token];
            eprintln!("tunnel {token} has not moved for {HANG:?}: {:?}", tunnel.stage);
            eprintln!("{}", hung::look(self.far, tunnel.ports()));
            self.told.hung += 1;
            self.remove(token);
        }
    }

    fn remove(&mut self, token: usize) {
        self.busy.remove(&token);
        self.opening.remove(&token);
        self.tunnels.remove(&token);
        self.resting.retain(|other| *other != token);
    }

    fn advance(&mut self, token: usize) {
        let Some(tunnel) = self.tunnels.get_mut(&token) else { return };
        match tunnel.advance(&self.pattern) {
            Ok(Turn::Waits) => {}
            Ok(Turn::More) => drop(self.more.insert(token)),
            Ok(Turn::Over) => {
                if self.busy.remove(&token) {
                    self.told.moved += 1;
                }
                self.opening.remove(&token);
                self.resting.push_back(token);
            }
            Err(error) => {
                self.told.wrong += usize::from(error.kind() == ErrorKind::InvalidData);
                self.told.ended += 1;
                self.remove(token);
            }
        }
    }
}

impl Tunnel {
    /// Over: what it had to do is done, and it rests.
    fn advance(&mut self, pattern: &[u8]) -> io::Result<Turn> {
        let mut buf = [0; PIECE];
        for _ in 0..TURN {
            let wrote = self.write(pattern)?;
            let read = match self.stream.read(&mut buf) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(len) => len,
                Err(error) if waits(&error) => 0,
                Err(error) => return Err(error),
            };
            if wrote + read > 0 {
                self.moved_at = Instant::now();
            }
            match &mut self.stage {
                Stage::Opening => {
                    self.heard.extend(&buf[..read]);
                    if self.heard.len() >= ANSWERS {
                        let granted = self.heard.len() == ANSWERS && self.heard.starts_with(&[5, 0, 5, 0]);
                        self.stage = Stage::Rest;
                        return if granted {
                            Ok(Turn::Over)
                        } else {
                            Err(ErrorKind::ConnectionRefused.into())
                        };
                    }
                }
                Stage::Busy { got, of, .. } => {
                    let at = (self.from + *got) % PERIOD;
                    if buf[..read] != pattern[at..at + read] || *got + read > *of {
                        return Err(ErrorKind::InvalidData.into());
                    }
                    *got += read;
                    if *got == *of {
                        self.stage = Stage::Rest;
                        return Ok(Turn::Over);
                    }
                }
                // Nobody has asked it anything.
                Stage::Rest if read > 0 => return Err(ErrorKind::InvalidData.into()),
                Stage::Rest => {}
            }
            if wrote + read == 0 {
                return Ok(Turn::Waits);
            }
        }
        Ok(Turn::More)
    }

    fn write(&mut self, pattern: &[u8]) -> io::Result<usize> {
        let at_most = match self.stage {
            Stage::Busy { sent, of, .. } => {
                let at = (self.from + sent) % PERIOD;
                &pattern[at..at + PIECE.min(of - sent)]
            }
            Stage::Opening => &self.unsaid,
            Stage::Rest => return Ok(0),
        };
        if at_most.is_empty() {
            return Ok(0);
        }
        let len = match self.stream.write(at_most) {
            Ok(len) => len,
            Err(error) if waits(&error) => return Ok(0),
            Err(error) => return Err(error),
        };
        match &mut self.stage {
            Stage::Busy { sent, .. } => *sent += len,
            _ => drop(self.unsaid.drain(..len)),
        }
        Ok(len)
    }
}

/// It has nothing more, or is not connected yet.
fn waits(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected)
}
