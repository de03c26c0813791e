//! The driver that ships: mio's readiness, the machine's decisions.
//!
//! A [`Worker`] is one thread's event loop around one machine. Several workers share one [`Shared`]: the uplink pool
//! and whoever watches. Everything a protocol could ask is asked of the machine; here are only sockets.
//!
//! | file | is |
//! | --- | --- |
//! | `io` | the [`Io`](ropewalk_core::drive::Io) of this runtime |
//! | `stream` | TCP sockets: listen, accept, read, write |
//! | `bind` | sockets bound to a device and a source address; the route check |
//! | `resolve` | names, looked up off the loop |
//! | `splice` | bytes moved in the kernel, through pooled pipes |

#![forbid(unsafe_code)]

mod bind;
mod io;
mod resolve;
#[cfg(target_os = "linux")]
mod splice;
mod stream;

pub use stream::listen;

use crate::io::MioIo;
use crate::resolve::Resolver;
use mio::{Events, Poll, Token, Waker};
use ropewalk_core::drive::Drive;
use ropewalk_core::event::Event;
use ropewalk_core::machine::{Input, ListenerId, StreamMachine, UplinkId};
use ropewalk_core::time::Instant;
use ropewalk_core::uplink::Pool;
use std::collections::VecDeque;
use std::net::{IpAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Who is told what happens. Called from all workers, on their event loops: it must not wait.
pub trait Watch: Send + Sync {
    /// Something happened in a worker.
    fn event(&self, now: Instant, event: &Event);
}

impl<T: Watch + ?Sized> Watch for Arc<T> {
    fn event(&self, now: Instant, event: &Event) {
        (**self).event(now, event);
    }
}

/// What all workers of a process share.
pub struct Shared {
    epoch: std::time::Instant,
    pool: Mutex<Pool>,
    watch: Box<dyn Watch>,
}

impl Shared {
    /// Shares a pool and whoever watches. Time begins now.
    pub fn new(pool: Pool, watch: Box<dyn Watch>) -> Arc<Self> {
        Arc::new(Shared { epoch: std::time::Instant::now(), pool: Mutex::new(pool), watch })
    }

    /// The time since the beginning.
    pub fn now(&self) -> Instant {
        let nanos = self.epoch.elapsed().as_nanos();
        Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The uplink pool. Hold it for as short as can be: all workers ask it.
    pub fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is asked of a worker from outside.
enum Command {
    LocalAddresses(Vec<IpAddr>),
    UplinkGone(UplinkId),
    Drain,
    Stop,
}

struct Mailbox {
    commands: Mutex<VecDeque<Command>>,
    waker: Waker,
}

/// A hand on a running worker.
#[derive(Clone)]
pub struct Handle {
    mailbox: Arc<Mailbox>,
}

impl Handle {
    /// This host's own addresses have changed: these are all of them.
    pub fn local_addresses(&self, addresses: Vec<IpAddr>) {
        self.send(Command::LocalAddresses(addresses));
    }

    /// The interface of an uplink has vanished, and what is open through it with it.
    pub fn uplink_gone(&self, uplink: UplinkId) {
        self.send(Command::UplinkGone(uplink));
    }

    /// Takes no new connections; the worker's run ends when the open ones have ended.
    pub fn drain(&self) {
        self.send(Command::Drain);
    }

    /// Ends the worker's run now.
    pub fn stop(&self) {
        self.send(Command::Stop);
    }

    fn send(&self, command: Command) {
        self.mailbox.commands.lock().unwrap_or_else(PoisonError::into_inner).push_back(command);
        if let Err(error) = self.mailbox.waker.wake() {
            log::error!("cannot wake a worker: {error}");
        }
    }
}

/// One event loop around one machine.
pub struct Worker<M> {
    machine: M,
    drive: Drive,
    io: MioIo,
    poll: Poll,
    mailbox: Arc<Mailbox>,
}

/// Operations between two looks at the events.
const FUEL: usize = 512;
/// Events taken at a time.
const EVENTS: usize = 256;
const WAKER: Token = Token(usize::MAX - 1);

impl<M: StreamMachine> Worker<M> {
    /// A worker whose listeners have the ids 0, 1, 2 and so on.
    ///
    /// # Errors
    /// What the system says when it cannot give an event queue or register a listener with it.
    pub fn new(
        machine: M,
        listeners: Vec<TcpListener>,
        shared: Arc<Shared>,
    ) -> std::io::Result<(Self, Handle)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let mailbox = Arc::new(Mailbox { commands: Mutex::default(), waker });
        let wake = Arc::clone(&mailbox);
        let resolver = Resolver::new(Arc::new(move || {
            if let Err(error) = wake.waker.wake() {
                log::error!("cannot wake a worker: {error}");
            }
        }));
        let io = MioIo::new(poll.registry().try_clone()?, listeners, resolver, shared)?;
        let worker = Worker { machine, drive: Drive::new(), io, poll, mailbox: Arc::clone(&mailbox) };
        Ok((worker, Handle { mailbox }))
    }

    /// Runs until the machine has finished after a [`Handle::drain`], or until [`Handle::stop`]. Gives the machine
    /// back, so that its counters can be read.
    ///
    /// # Errors
    /// What the system says when waiting for events fails.
    pub fn run(mut self) -> std::io::Result<M> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            let turn = self.drive.turn(&mut self.machine, &mut self.io, FUEL);
            if turn.finished {
                return Ok(self.machine);
            }
            let wait = match turn.timeout {
                _ if turn.more => Some(Duration::ZERO),
                Some(at) => Some(at - ropewalk_core::drive::Io::now(&mut self.io)),
                None => None,
            };
            match self.poll.poll(&mut events, wait) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            for event in &events {
                match self.io.meaning(event) {
                    Meaning::Waker if self.mail() => return Ok(self.machine),
                    Meaning::Waker => {}
                    Meaning::Listener(listener) => self.drive.listener_ready(listener),
                    Meaning::Stream { index, readable, writable } => {
                        self.drive.ready(index, readable, writable)
                    }
                }
            }
        }
    }

    /// Takes what has come from other threads. True when the run is to end.
    fn mail(&mut self) -> bool {
        while let Some((query, answer)) = self.io.answer() {
            let answer = match &answer {
                Ok(addresses) => Ok(&addresses[..]),
                Err(fault) => Err(*fault),
            };
            self.drive.resolved(&mut self.machine, &mut self.io, query, answer);
        }
        loop {
            let command = self.mailbox.commands.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let input = match &command {
                Some(Command::LocalAddresses(addresses)) => Input::LocalAddresses { addresses },
                Some(Command::UplinkGone(uplink)) => Input::UplinkGone { uplink: *uplink },
                Some(Command::Drain) => Input::Drain,
                Some(Command::Stop) => return true,
                None => return false,
            };
            self.drive.input(&mut self.machine, &mut self.io, input);
        }
    }
}

/// What an event of the queue is about.
enum Meaning {
    Waker,
    Listener(ListenerId),
    Stream { index: u32, readable: bool, writable: bool },
}
