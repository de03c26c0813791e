//! The client side of the bulk, flood and round-trip workloads: one thread, one event loop.
//!
//! Bytes and round trips count only in the window after the warm-up, bytes at the end that receives
//! them.

use std::io::{self, ErrorKind, Write};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use crate::common::link::{Buffers, Kind, Link, Tally};
use crate::common::proc;
use crate::common::route::Route;
use crate::common::server::Server;
use crate::common::session::Turn;

/// Load before anything counts.
pub(crate) const WARM_UP: Duration = Duration::from_millis(200);
/// How long nothing may move before a measurement is given up.
pub(crate) const STALLED: Duration = Duration::from_secs(5);
/// What was counted within the window.
pub(crate) struct Measured {
    /// The window's length as it turned out.
    pub(crate) seconds: f64,
    /// Bytes the server received.
    pub(crate) up: u64,
    /// Bytes the client received.
    pub(crate) down: u64,
    /// Nanoseconds of each round trip, sorted.
    pub(crate) trips: Vec<u32>,
    /// The proxy's processor time in seconds; 0 without a proxy.
    pub(crate) cpu: f64,
}

/// Counters at one moment.
struct Sample {
    cpu: f64,
    at: Instant,
    up: u64,
    down: u64,
}

impl Sample {
    fn take(tally: &Tally, server: &Server, proxy: Option<u32>) -> Self {
        // Before the clock is read: looking through /proc takes a while.
        let cpu = proxy.map_or(0.0, proc::cpu_seconds);
        Self { cpu, at: Instant::now(), up: server.received(), down: tally.received }
    }
}

/// Loads `connections` connections through `route` for the warm-up and `window`; `proxy` is the
/// proxy's process.
pub(crate) fn run(
    kind: Kind,
    connections: usize,
    window: Duration,
    route: &Route,
    server: &Server,
    proxy: Option<u32>,
) -> Result<Measured, String> {
    let mut streams = route.open_many(connections)?;
    if kind == Kind::Down {
        for stream in &mut streams {
            stream.write_all(b"D").map_err(|e| format!("asking for bulk data: {e}"))?;
        }
    }
    drive(kind, streams, window, server, proxy)
}

fn drive(
    kind: Kind,
    streams: Vec<std::net::TcpStream>,
    window: Duration,
    server: &Server,
    proxy: Option<u32>,
) -> Result<Measured, String> {
    let failed = |e: io::Error| format!("the client's event loop: {e}");
    let mut poll = Poll::new().map_err(failed)?;
    let mut events = Events::with_capacity(256);
    let mut links = Vec::new();
    for (index, stream) in streams.into_iter().enumerate() {
        let mut link = Link::new(stream).map_err(failed)?;
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(link.stream(), Token(index), both).map_err(failed)?;
        links.push(link);
    }
    let mut buffers = Buffers::new();
    let mut tally = Tally::default();
    let (mut queue, mut turns) = (Vec::new(), Vec::new());
    let mut mark = Instant::now() + WARM_UP;
    let mut first = None;
    let mut watch = (Instant::now(), 0);
    loop {
        let now = Instant::now();
        if now >= mark {
            let sample = Sample::take(&tally, server, proxy);
            let Some(first) = &first else {
                first = Some(sample);
                tally.recording = true;
                mark = Instant::now() + window;
                continue;
            };
            return between(first, &sample, tally.trips);
        }
        let moved = tally.sent + tally.received + server.received();
        if moved != watch.1 {
            watch = (now, moved);
        } else if now - watch.0 > STALLED {
            return Err(format!("no byte moved for {STALLED:?} on {} connections", links.len()));
        }
        let timeout =
            if queue.is_empty() { (mark - now).min(Duration::from_millis(100)) } else { Duration::ZERO };
        match poll.poll(&mut events, Some(timeout)) {
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            polled => polled.map_err(failed)?,
        }
        for event in &events {
            let link = &mut links[event.token().0];
            link.handle_event(event);
            if !link.queued {
                link.queued = true;
                queue.push(event.token().0);
            }
        }
        std::mem::swap(&mut queue, &mut turns);
        for index in turns.drain(..) {
            let link = &mut links[index];
            match link.turn(kind, &mut buffers, &mut tally) {
                Ok(Turn::Again) => queue.push(index),
                Ok(Turn::Wait | Turn::Close) => link.queued = false,
                Err(e) => {
                    return Err(format!("connection {} of {} under load: {e}", index + 1, links.len()));
                }
            }
        }
    }
}

fn between(first: &Sample, last: &Sample, mut trips: Vec<u32>) -> Result<Measured, String> {
    let (up, down) = (last.up - first.up, last.down - first.down);
    if up + down == 0 {
        return Err("no byte arrived in the window".into());
    }
    trips.sort_unstable();
    let seconds = (last.at - first.at).as_secs_f64();
    Ok(Measured { seconds, up, down, trips, cpu: last.cpu - first.cpu })
}
