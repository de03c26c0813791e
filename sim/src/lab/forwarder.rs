//! Carries frames between the two ends of each link, as late and as lossy as the model says.
//!
//! ```text
//!   client's device ── packet socket ── push ──▶ Link (up) ──▶ poll ── packet socket ── server's device
//!                                     ◀── poll ◀── Link (down) ◀── push ──
//! ```
//!
//! The model reckons when a packet has arrived to the nanosecond; a thread that wakes late hands
//! it on late, and nothing else changes: rate, order and queue do not depend on when the thread
//! runs, but for the time at which a frame enters.

use super::Clock;
use super::wire::{ETHERNET, Frame};
use crate::link::{Link, Payload, Rng};
use crate::packet::meter::LinkMeter;
use crate::packet::shape;
use crate::scenario::{Direction, Event, Scenario, Shape};
use ropewalk_core::time::{Duration, Instant};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::io;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

/// The two ends of a link.
pub struct Wire {
    /// Towards the client.
    pub client: OwnedFd,
    /// Towards the server.
    pub server: OwnedFd,
}

impl Wire {
    /// Where a packet of this direction comes in, and where it goes out.
    fn ends(&self, direction: Direction) -> (&OwnedFd, &OwnedFd) {
        match direction {
            Direction::Up => (&self.client, &self.server),
            Direction::Down => (&self.server, &self.client),
        }
    }
}

/// How long it may sleep: it looks for orders then.
const NAP: Duration = Duration::from_millis(20);
/// Frames taken from one socket before the others have their turn.
const BATCH: usize = 64;

/// One thread that is all links of a scenario.
pub struct Forwarder {
    orders: mpsc::Sender<Order>,
    thread: JoinHandle<Vec<[LinkMeter; 2]>>,
    fault: Arc<Mutex<Option<String>>>,
}

enum Order {
    /// The scenario's time begins.
    Begin(Clock),
    End,
}

impl Forwarder {
    /// Carries from now on; the scenario's events wait for its begin.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn start(scenario: &Scenario, wires: Vec<Wire>) -> io::Result<Forwarder> {
        assert_eq!(scenario.links.len(), wires.len(), "a wire for each link");
        let (orders, inbox) = mpsc::channel();
        let mut seeds = Rng::new(scenario.seed);
        let lines = scenario.links.iter().zip(wires).map(|(spec, wire)| {
            let shapes = [spec.down, spec.up];
            let mut links =
                Direction::BOTH.map(|way| Link::new(shape::config(spec.shape(way)), seeds.bits()));
            if !spec.present {
                links.iter_mut().for_each(|link| link.change(Instant::ZERO, crate::link::LinkChange::Down));
            }
            Line { wire, links, shapes, mtu: usize::from(spec.mtu), meters: Default::default() }
        });
        let (lines, events) = (lines.collect(), scenario.events.clone());
        let fault = Arc::new(Mutex::new(None));
        let told = Arc::clone(&fault);
        let work = move || {
            // Without it a wait of some microseconds takes fifty more (prctl(2)).
            let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
            let mut loom = Loom {
                origin: std::time::Instant::now(),
                clock: None,
                lines,
                events,
                next: 0,
                buffer: vec![0; 1 << 16],
            };
            if let Err(error) = loom.run(&inbox) {
                *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
            }
            loom.finish()
        };
        let thread = std::thread::Builder::new().name("links".into()).spawn(work)?;
        Ok(Forwarder { orders, thread, fault })
    }

    /// The scenario's time begins: events happen by this clock, and figures count.
    pub(super) fn begin(&self, clock: Clock) {
        let _ = self.orders.send(Order::Begin(clock));
    }

    /// Ends it: what each direction of each link carried.
    pub(super) fn end(self) -> Result<Vec<[LinkMeter; 2]>, String> {
        let _ = self.orders.send(Order::End);
        let meters = self.thread.join().map_err(|_| "the links' thread has panicked".to_owned())?;
        match self.fault.lock().unwrap_or_else(PoisonError::into_inner).take() {
            None => Ok(meters),
            Some(fault) => Err(format!("the links' thread: {fault}")),
        }
    }
}

struct Line {
    wire: Wire,
    links: [Link<Frame>; 2],
    shapes: [Shape; 2],
    mtu: usize,
    meters: [LinkMeter; 2],
}

struct Loom {
    /// The links' time zero.
    origin: std::time::Instant,
    /// The scenario's, once it has begun.
    clock: Option<Clock>,
    lines: Vec<Line>,
    events: Vec<Event>,
    next: usize,
    buffer: Vec<u8>,
}

impl Loom {
    fn now(&self) -> Instant {
        Instant::ZERO + self.origin.elapsed()
    }

    fn run(&mut self, inbox: &mpsc::Receiver<Order>) -> io::Result<()> {
        loop {
            match inbox.try_recv() {
                Ok(Order::Begin(clock)) => self.clock = Some(clock),
                Ok(Order::End) | Err(mpsc::TryRecvError::Disconnected) => return Ok(()),
                Err(mpsc::TryRecvError::Empty) => {}
            }
            let now = self.now();
            self.happen(now);
            self.deliver(now);
            let links = self.lines.iter().flat_map(|line| &line.links);
            let due = links.filter_map(Link::next).min().map_or(NAP, |at| (at - now).min(NAP));
            let due = self.until_event().map_or(due, |event| due.min(event));
            let ready = self.wait(due)?;
            let now = self.now();
            for (index, ready) in ready.into_iter().enumerate() {
                if ready {
                    self.take(index / 2, Direction::BOTH[index % 2], now)?;
                }
            }
        }
    }

    /// How long until the next event.
    fn until_event(&self) -> Option<Duration> {
        let event = self.events.get(self.next)?;
        Some(event.at.saturating_sub(self.clock.as_ref()?.elapsed()))
    }

    /// What is due happens.
    fn happen(&mut self, now: Instant) {
        while self.until_event().is_some_and(|wait| wait.is_zero()) {
            let event = self.events[self.next];
            self.next += 1;
            let line = &mut self.lines[event.link];
            for way in Direction::BOTH.into_iter().filter(|way| event.which.covers(*way)) {
                if let Some(change) = shape::changed(&mut line.shapes[way as usize], event.change) {
                    line.links[way as usize].change(now, change);
                }
            }
        }
    }

    /// Hands on what has arrived.
    fn deliver(&mut self, now: Instant) {
        for line in &mut self.lines {
            for way in Direction::BOTH {
                while let Some(frame) = line.links[way as usize].poll(now) {
                    if let Some(clock) = &self.clock {
                        line.meters[way as usize].carried.add(clock.now(), frame.size() as u64);
                    }
                    // A device that is down takes nothing, as a cable that was pulled.
                    let _ = send(line.wire.ends(way).1, &frame.0, SendFlags::empty());
                }
            }
        }
    }

    /// Waits at most so long: which directions have something, in order of links and directions.
    fn wait(&self, most: Duration) -> io::Result<Vec<bool>> {
        let ends = self.lines.iter().flat_map(|line| Direction::BOTH.map(|way| line.wire.ends(way).0));
        let mut polled: Vec<PollFd<'_>> = ends.map(|end| PollFd::new(end, PollFlags::IN)).collect();
        let most = Timespec { tv_sec: most.as_secs() as i64, tv_nsec: most.subsec_nanos().into() };
        match poll(&mut polled, Some(&most)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(polled.iter().map(|one| !one.revents().is_empty()).collect())
    }

    /// Takes what a host has sent.
    fn take(&mut self, index: usize, way: Direction, now: Instant) -> io::Result<()> {
        let line = &mut self.lines[index];
        let (from, to) = line.wire.ends(way);
        for _ in 0..BATCH {
            let len = match recv(from, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((len, _)) => len,
                Err(rustix::io::Errno::AGAIN) => break,
                // Said once after a device went down; it goes on when it is up.
                Err(rustix::io::Errno::NETDOWN) => continue,
                Err(error) => return Err(error.into()),
            };
            let mut frame = Frame(self.buffer[..len].to_vec());
            if !frame.is_ip() {
                let _ = send(to, &frame.0, SendFlags::empty());
                continue;
            }
            let meter = &mut line.meters[way as usize];
            if len > line.mtu + ETHERNET {
                meter.given += u64::from(self.clock.is_some());
                meter.dropped += u64::from(self.clock.is_some());
                continue;
            }
            frame.finish_checksum();
            let link = &mut line.links[way as usize];
            let before = link.counters().dropped();
            link.push(now, frame);
            let dropped = link.counters().dropped() > before;
            if let Some(clock) = self.clock.filter(|_| !dropped) {
                meter.waits.push((clock.elapsed(), link.queue_delay()));
            }
        }
        Ok(())
    }

    fn finish(self) -> Vec<[LinkMeter; 2]> {
        let sum = |line: Line| {
            let Line { links, mut meters, .. } = line;
            for (link, meter) in links.iter().zip(&mut meters) {
                let counters = link.counters();
                meter.given += counters.pushed.packets;
                meter.dropped += counters.dropped();
                meter.lost += counters.lost.packets;
            }
            meters
        };
        self.lines.into_iter().map(sum).collect()
    }
}
