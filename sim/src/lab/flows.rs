//! The flows of a scenario, between a client and a host far behind the server.
//!
//! Sockets are opened before the scenario's time begins; a TCP connects when its flow starts. What
//! is counted is what comes to the application at the receiving end, when it comes.

use super::{Clock, Host, echo};
use crate::packet::meter::FlowMeter;
use crate::scenario::{Direction, FlowSpec, Kind, Profile, Scenario};
use ropewalk_core::time::Duration;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// Which TCP the hosts have.
#[derive(Clone, Copy, Debug)]
pub struct Tcp {
    /// Its congestion control, by the kernel's name.
    pub congestion: &'static str,
    /// RFC 8684.
    pub multipath: bool,
}

/// Flow number N listens on this port and N.
const PORT: u16 = 6000;
/// How often a thread looks whether it is over.
const LOOK: Duration = Duration::from_millis(100);
/// How long the first datagram may take to open the way back through a NAT.
const HELLO: Duration = Duration::from_secs(10);
/// Bytes that TCP is given at once.
const CHUNK: usize = 1 << 16;

/// The open ends of all flows.
pub struct Ends {
    flows: Vec<(FlowSpec, Pair)>,
}

enum Pair {
    Tcp {
        near: Socket,
        far: Socket,
        to: SockAddr,
    },
    /// The sender is connected to where the receiver is.
    Udp {
        sender: Socket,
        receiver: Socket,
    },
    Ping {
        near: Socket,
        to: SockAddr,
    },
}

impl Ends {
    /// Opens the ends: on the client from `source`, on the far host at `target`.
    ///
    /// # Errors
    /// A socket could not be opened, a first datagram found no way, or a flow is none of the
    /// kernel's.
    pub fn open(
        scenario: &Scenario,
        tcp: Tcp,
        (client, source): (&impl Host, Ipv4Addr),
        (far, target): (&impl Host, Ipv4Addr),
    ) -> io::Result<Ends> {
        let mut flows = Vec::new();
        for (flow, port) in scenario.flows.iter().zip(PORT..) {
            let at = SockAddr::from(SocketAddrV4::new(target, port));
            let from = SockAddr::from(SocketAddrV4::new(source, 0));
            let pair = match flow.kind {
                Kind::Tcp { profile: Profile::Quic, .. } => {
                    return Err(io::Error::other(format!("{}: the kernel has no QUIC", flow.name)));
                }
                Kind::Tcp { .. } => Pair::Tcp {
                    near: client.run(|| stream(tcp, &from))?,
                    far: far.run(|| {
                        let socket = stream(tcp, &at)?;
                        socket.listen(1).map(|()| socket)
                    })?,
                    to: at,
                },
                Kind::Udp { .. } => {
                    let near = client.run(|| datagrams(&from))?;
                    let far = far.run(|| datagrams(&at))?;
                    greet(&near, &far, &at)?;
                    let (sender, receiver) =
                        if flow.direction == Direction::Up { (near, far) } else { (far, near) };
                    Pair::Udp { sender, receiver }
                }
                Kind::Ping { .. } => Pair::Ping {
                    near: client.run(|| {
                        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
                        socket.bind(&from)?;
                        socket.set_read_timeout(Some(LOOK)).map(|()| socket)
                    })?,
                    to: echo::target(target),
                },
            };
            flows.push((flow.clone(), pair));
        }
        Ok(Ends { flows })
    }

    /// Lets them flow by this clock.
    pub(super) fn begin(self, clock: Clock, end: Duration) -> Running {
        let over = Arc::new(AtomicBool::new(false));
        let mut running = Running { meters: Vec::new(), threads: Vec::new(), over };
        for ((flow, pair), id) in self.flows.into_iter().zip(1..) {
            let meter = Meter::default();
            let stop = flow.stop.map_or(end, |stop| stop.min(end));
            let part = Part { flow, clock, stop, meter: meter.clone(), over: Arc::clone(&running.over) };
            running.meters.push(meter);
            running.begin(part, pair, id);
        }
        running
    }
}

/// A TCP socket bound to `address`.
fn stream(tcp: Tcp, address: &SockAddr) -> io::Result<Socket> {
    let protocol = if tcp.multipath { Protocol::MPTCP } else { Protocol::TCP };
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(protocol))?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_congestion(tcp.congestion.as_bytes())?;
    socket.bind(address)?;
    socket.set_read_timeout(Some(LOOK))?;
    socket.set_write_timeout(Some(LOOK))?;
    Ok(socket)
}

fn datagrams(address: &SockAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    socket.bind(address)?;
    socket.set_read_timeout(Some(LOOK)).map(|()| socket)
}

/// The client speaks first, so that the way back is open; then each is connected to the other.
fn greet(near: &Socket, far: &Socket, at: &SockAddr) -> io::Result<()> {
    near.connect(at)?;
    let begun = std::time::Instant::now();
    while begun.elapsed() < HELLO {
        let _ = near.send(&[]);
        if let Ok((_, from)) = far.recv_from(&mut [std::mem::MaybeUninit::uninit(); 16]) {
            return far.connect(&from);
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "expected a first datagram at the far host, none came"))
}

type Meter = Arc<Mutex<FlowMeter>>;

/// Flows under way.
pub(super) struct Running {
    meters: Vec<Meter>,
    threads: Vec<JoinHandle<()>>,
    over: Arc<AtomicBool>,
}

/// What each thread of a flow has.
#[derive(Clone)]
struct Part {
    flow: FlowSpec,
    clock: Clock,
    stop: Duration,
    meter: Meter,
    over: Arc<AtomicBool>,
}

impl Part {
    /// Whether it may still send.
    fn goes_on(&self) -> bool {
        self.clock.elapsed() < self.stop && !self.is_over()
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn meter(&self) -> std::sync::MutexGuard<'_, FlowMeter> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn begin(&mut self, part: Part, pair: Pair, id: u16) {
        let mut spawn = |name: &str, part: &Part, work: Box<dyn FnOnce(Part) + Send>| {
            let (part, name) = (part.clone(), format!("{} {name}", part.flow.name));
            let thread = thread::Builder::new().name(name).spawn(move || work(part));
            self.threads.push(thread.expect("the system has threads left"));
        };
        match pair {
            Pair::Tcp { near, far, to } => {
                let up = part.flow.direction == Direction::Up;
                let side = move |part: &Part, socket: Socket, sends: bool| match sends {
                    true => send_stream(part, socket),
                    false => receive_stream(part, socket),
                };
                spawn(
                    "far",
                    &part,
                    Box::new(move |part| {
                        if let Some(socket) = accept(&part, &far) {
                            side(&part, socket, !up);
                        }
                    }),
                );
                spawn(
                    "near",
                    &part,
                    Box::new(move |part| {
                        part.clock.sleep_until(part.flow.start);
                        if near.connect_timeout(&to, HELLO).is_ok() {
                            side(&part, near, up);
                        }
                    }),
                );
            }
            Pair::Udp { sender, receiver } => {
                spawn("sender", &part, Box::new(move |part| send_datagrams(&part, &sender)));
                spawn("receiver", &part, Box::new(move |part| receive_datagrams(&part, &receiver)));
            }
            Pair::Ping { near, to } => {
                let ear = near.try_clone().expect("the system has descriptors left");
                spawn("ping", &part, Box::new(move |part| ping(&part, &near, &to, id)));
                spawn("pong", &part, Box::new(move |part| pong(&part, &ear, id)));
            }
        }
    }

    /// Ends them all, some time after their stop: what was measured.
    pub(super) fn end(self) -> Vec<FlowMeter> {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a flow's thread does not panic");
        }
        let take = |meter: Meter| std::mem::take(&mut *meter.lock().unwrap_or_else(PoisonError::into_inner));
        self.meters.into_iter().map(take).collect()
    }
}

/// Whether it is worth to try again.
fn is_nothing_yet(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

/// Waits for the flow's connection as long as the flow may last.
fn accept(part: &Part, far: &Socket) -> Option<Socket> {
    while !part.is_over() {
        match far.accept() {
            Ok((socket, _)) => {
                let set = |socket: &Socket| {
                    socket.set_read_timeout(Some(LOOK))?;
                    socket.set_write_timeout(Some(LOOK))
                };
                return set(&socket).is_ok().then_some(socket);
            }
            Err(error) if is_nothing_yet(&error) => {}
            Err(_) => return None,
        }
    }
    None
}

fn send_stream(part: &Part, mut socket: Socket) {
    let Kind::Tcp { bytes, .. } = part.flow.kind else { return };
    let mut left = bytes.unwrap_or(u64::MAX);
    let zeros = [0; CHUNK];
    while left > 0 && part.goes_on() {
        let most = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        match socket.write(&zeros[..most]) {
            Ok(len) => left -= len as u64,
            Err(error) if is_nothing_yet(&error) => {}
            Err(_) => return,
        }
    }
    // The receiver goes when it has seen enough: what is under way is not cut off.
    while !part.is_over() {
        thread::sleep(LOOK);
    }
}

fn receive_stream(part: &Part, mut socket: Socket) {
    let mut buf = vec![0; 4 * CHUNK];
    while !part.is_over() {
        match socket.read(&mut buf) {
            Ok(0) => return,
            Ok(len) => {
                let now = part.clock.now();
                part.meter().deliver(now, len as u64);
            }
            Err(error) if is_nothing_yet(&error) => {}
            Err(_) => return,
        }
    }
}

/// When number `number` of something that comes every `interval` is due.
fn due(part: &Part, interval: Duration, number: u32) -> Duration {
    part.flow.start + interval * number
}

fn send_datagrams(part: &Part, socket: &Socket) {
    let Kind::Udp { rate, size } = part.flow.kind else { return };
    let interval = Duration::from_nanos(u64::from(size) * 8_000_000_000 / rate.max(1));
    let mut datagram = vec![0; usize::from(size) - 28];
    for number in 0.. {
        part.clock.sleep_until(due(part, interval, number));
        if !part.goes_on() {
            return;
        }
        datagram[..4].copy_from_slice(&u32::to_be_bytes(number));
        let now = part.clock.now();
        let mut meter = part.meter();
        meter.send(now);
        meter.sent += 1;
        drop(meter);
        let _ = socket.send(&datagram);
    }
}

fn receive_datagrams(part: &Part, mut socket: &Socket) {
    let mut buf = [0; 2048];
    while !part.is_over() {
        let Ok(len) = socket.read(&mut buf) else { continue };
        let (Some(number), now) = (buf[..len].first_chunk(), part.clock.now()) else { continue };
        let mut meter = part.meter();
        meter.came += 1;
        if meter.receive(u32::from_be_bytes(*number)) {
            meter.deliver(now, len as u64);
        }
    }
}

fn ping(part: &Part, socket: &Socket, to: &SockAddr, id: u16) {
    let Kind::Ping { interval, size } = part.flow.kind else { return };
    for number in 0.. {
        part.clock.sleep_until(due(part, interval, number));
        if !part.goes_on() {
            return;
        }
        let echo = echo::request(id, number, usize::from(size) - 20);
        let now = part.clock.now();
        let mut meter = part.meter();
        meter.send(now);
        meter.sent += 1;
        drop(meter);
        let _ = socket.send_to(&echo, to);
    }
}

fn pong(part: &Part, mut socket: &Socket, id: u16) {
    let mut buf = [0; 2048];
    while !part.is_over() {
        let Ok(len) = socket.read(&mut buf) else { continue };
        let (Some(number), now) = (echo::answer(&buf[..len], id), part.clock.now()) else { continue };
        let mut meter = part.meter();
        meter.came += 1;
        if meter.receive(number) {
            let (sent, _) = meter.datagrams[number as usize];
            meter.round_trips.push((sent, part.clock.elapsed() - sent));
            meter.deliver(now, (len - 20) as u64);
        }
    }
}
