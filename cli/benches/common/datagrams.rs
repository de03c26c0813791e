//! The client side over UDP: 50 clients behind one socket of one balancer, each datagram with a
//! PROXY header; or one client of a SOCKS5 proxy, each datagram with the header of RFC 1928.
//!
//! A fixed number of datagrams is on the way at a time, and each that comes back lets the next go:
//! the rate is the highest at which next to nothing is lost, which is the one to compare processor
//! time at.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::batch::Batch;
use super::echo::{BUFFER, Echo, passes};
use super::figures::Outcome;
use super::load::{STALLED, WARM_UP};
use super::pattern::Pattern;
use super::proc;
use super::route::{self, Route};

/// Clients behind the balancer.
const CLIENTS: usize = 50;
/// Datagrams on the way at a time: fewer than the smallest receive buffer on it holds of 1,200
/// bytes.
const UNDER_WAY: usize = 128;
/// A datagram that took longer is lost.
const LOST: Duration = Duration::from_millis(100);
/// How long to wait for an answer before the lost ones are looked for.
const LOOK: Duration = Duration::from_millis(20);
/// From this part of loss on a figure is remarked upon.
const TOO_MANY: f64 = 0.01;

/// proxy-protocol.txt section 2.2: the signature, version 2 with PROXY, AF_INET with DGRAM, 12
/// bytes of addresses.
const HEADER: [u8; 16] = *b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c";

/// RFC 1928 section 7: the header of a datagram for or from an IPv4 address.
const SOCKS_HEADER: usize = 10;

/// The socket that all leave by.
struct Lane {
    socket: UdpSocket,
    /// Bytes that stand before each answer.
    before: usize,
    /// The connection that an association lives by.
    _association: Option<TcpStream>,
}

impl Lane {
    fn open(route: &Route) -> io::Result<Self> {
        let (entry, association) = match route {
            Route::Plain(_) | Route::Header { .. } => (route.entry(0), None),
            Route::Socks { proxy, .. } => {
                let (stream, relay) = route::associate(*proxy)?;
                (relay, Some(stream))
            }
        };
        let before = if association.is_some() { SOCKS_HEADER } else { 0 };
        Ok(Self { socket: connect(entry)?, before, _association: association })
    }
}

/// One datagram at a time of one client.
struct Slot {
    header: Vec<u8>,
    /// Distinguishes this datagram from earlier ones of the slot.
    turn: u64,
    sent: Instant,
}

impl Slot {
    fn new(route: &Route, index: usize) -> Self {
        let mut header = Vec::new();
        if let Some(client) = route.client(index % CLIENTS) {
            let proxy = route.entry(0);
            header.extend(HEADER);
            header.extend(client.ip().octets());
            header.extend(proxy.ip().octets());
            header.extend(client.port().to_be_bytes());
            header.extend(proxy.port().to_be_bytes());
        }
        if let Some(request) = route.request(index) {
            // The address stands at the same place as in a request.
            header.extend([0, 0, 0]);
            header.extend(&request[3..]);
        }
        Self { header, turn: 0, sent: Instant::now() }
    }

    /// The next datagram of the slot, as it goes out: header, slot, turn, and filling up to `size`
    /// bytes.
    fn next(&mut self, index: usize, size: usize) -> Vec<u8> {
        self.turn += 1;
        self.sent = Instant::now();
        let mut datagram = self.header.clone();
        datagram.extend((index as u64).to_le_bytes());
        datagram.extend(self.turn.to_le_bytes());
        datagram.resize(self.header.len() + size, b'P');
        datagram
    }
}

/// The slot and the turn of an answer.
fn read(answer: &[u8]) -> Option<(usize, u64)> {
    let (slot, rest) = answer.split_first_chunk::<8>()?;
    let (turn, _) = rest.split_first_chunk::<8>()?;
    Some((usize::try_from(u64::from_le_bytes(*slot)).ok()?, u64::from_le_bytes(*turn)))
}

fn connect(to: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    SockRef::from(&socket).set_recv_buffer_size(BUFFER)?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(LOOK))?;
    Ok(socket)
}

/// Loads the way with datagrams of `size` bytes behind the header for the warm-up and `window`.
pub(crate) fn run(
    window: Duration,
    route: &Route,
    size: usize,
    proxy: Option<u32>,
) -> Result<Outcome, String> {
    let failed = |e: io::Error| format!("the client's socket: {e}");
    let cpu = || proxy.map_or(0.0, proc::cpu_seconds);
    let Lane { socket, before, _association } = Lane::open(route).map_err(failed)?;
    let mut slots: Vec<_> = (0..UNDER_WAY).map(|index| Slot::new(route, index)).collect();
    let mut batch = Batch::new();
    let mut outgoing: Vec<_> =
        slots.iter_mut().enumerate().map(|(index, slot)| slot.next(index, size)).collect();
    let (mut echoed, mut lost) = (0_u64, 0_u64);
    let mut moved = Instant::now();
    let mut looked = moved;
    let mut mark = moved + WARM_UP;
    let mut first = None;
    loop {
        match batch.send(&socket, &outgoing) {
            Err(e) if !passes(&e) => return Err(failed(e)),
            _ => outgoing.clear(),
        }
        let received = batch.receive(&socket);
        let now = Instant::now();
        match received {
            Ok(()) => {
                for (answer, _) in batch.came() {
                    let answer = answer.get(before..).unwrap_or_default();
                    let Some((index, turn)) = read(answer).filter(|_| answer.len() == size) else {
                        return Err(format!("expected {size} bytes back, got other {}", answer.len()));
                    };
                    // An answer that was given up meanwhile has another turn.
                    if let Some(slot) = slots.get_mut(index).filter(|slot| slot.turn == turn) {
                        echoed += 1;
                        moved = now;
                        outgoing.push(slot.next(index, size));
                    }
                }
            }
            Err(e) if passes(&e) => {}
            Err(e) => return Err(failed(e)),
        }
        if now - looked > LOOK {
            looked = now;
            for (index, slot) in slots.iter_mut().enumerate().filter(|(_, slot)| now - slot.sent > LOST) {
                lost += 1;
                outgoing.push(slot.next(index, size));
            }
        }
        if now - moved > STALLED {
            return Err(format!("no datagram came back for {STALLED:?}, {echoed} before"));
        }
        if now < mark {
            continue;
        }
        let Some((cpu_then, then, echoed_then, lost_then)) = first else {
            first = Some((cpu(), Instant::now(), echoed, lost));
            mark = Instant::now() + window;
            continue;
        };
        let seconds = now.duration_since(then).as_secs_f64();
        return Ok(outcome(seconds, echoed - echoed_then, lost - lost_then, cpu() - cpu_then));
    }
}

fn outcome(seconds: f64, echoed: u64, lost: u64, cpu: f64) -> Outcome {
    let (echoed, lost) = (echoed as f64, lost as f64);
    let part = lost / (echoed + lost).max(1.0);
    let mut outcome = Outcome::of(&[
        ("echoes/s", echoed / seconds),
        ("cpu us each", cpu * 1e6 / echoed.max(1.0)),
        ("lost %", part * 100.0),
    ]);
    if part >= TOO_MANY {
        outcome.remark = Some(format!("too many lost to compare by: {lost} of {}", echoed + lost));
    }
    outcome
}

/// One datagram of each client there and back, byte for byte, and the server must have seen the
/// clients.
pub(crate) fn check(route: &Route, echo: &Echo) -> Result<Outcome, String> {
    const SIZE: usize = 1200;
    let failed = |e: io::Error| format!("the client's socket: {e}");
    let Lane { socket, before, _association } = Lane::open(route).map_err(failed)?;
    socket.set_read_timeout(Some(STALLED)).map_err(failed)?;
    let mut wrong = Vec::new();
    let mut named = BTreeSet::new();
    let mut answer = [0; 2 * SIZE];
    for index in 0..CLIENTS {
        let mut datagram = Slot::new(route, index).header;
        let header = datagram.len();
        datagram.resize(header + SIZE, 0);
        Pattern::new(index as u64).fill(&mut datagram[header..]);
        socket.send(&datagram).map_err(failed)?;
        let length = socket.recv(&mut answer).map_err(|e| format!("client {index} got no answer: {e}"))?;
        if answer[before..length.max(before)] != datagram[header..] {
            wrong.push(format!("client {index} got other {length} bytes back"));
        }
        named.extend(route.client(index));
    }
    let seen = echo.peers();
    if !named.is_empty() && seen != named {
        wrong.push(format!(
            "the headers named {:?} and others, the server saw {:?}",
            named.first(),
            seen.first()
        ));
    }
    let mut outcome = Outcome::of(&[("wrong", wrong.len() as f64)]);
    outcome.remark = Some(match wrong.first() {
        None if named.is_empty() => format!("{CLIENTS} came back whole"),
        None => format!("{CLIENTS} came back whole; the server saw each client's address and port"),
        Some(first) => first.clone(),
    });
    Ok(outcome)
}
