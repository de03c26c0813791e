//! One event loop around one machine.

use crate::io::MioIo;
use mio::{Events, Poll, Token, Waker};
use ropewalk_core::drive::Drive;
use ropewalk_core::machine::{Application, ListenerId};
use ropewalk_core::time::Instant;
use ropewalk_sockets::{Handle, Inbox, Shared, Wake};
use ropewalk_sockets::{Listeners, Resolver};
use std::sync::Arc;
use std::time::Duration;

/// One event loop around one machine.
pub struct Worker<M> {
    machine: M,
    drive: Drive,
    io: MioIo,
    poll: Poll,
    inbox: Arc<Inbox>,
    #[cfg(target_os = "linux")]
    alarm: crate::alarm::Alarm,
}

/// Operations between two looks at the events.
const FUEL: usize = 64;
/// Events taken at a time.
const EVENTS: usize = 256;
pub(crate) const WAKER: Token = Token(usize::MAX - 1);
#[cfg(target_os = "linux")]
pub(crate) const ALARM: Token = Token(usize::MAX - 2);

impl<M: Application + 'static> Worker<M> {
    /// A worker whose listeners have the ids 0, 1, 2 and so on: those of streams, then those of
    /// datagrams.
    ///
    /// # Errors
    /// What the system says when it cannot give an event queue or register a listener with it.
    pub fn new(
        machine: M,
        listeners: impl Into<Listeners>,
        shared: Arc<Shared>,
    ) -> std::io::Result<(Self, Handle)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let wake: Wake = Arc::new(move || {
            if let Err(error) = waker.wake() {
                log::error!("cannot wake a worker: {error}");
            }
        });
        let inbox = Inbox::new(Arc::clone(&wake));
        #[cfg(target_os = "linux")]
        let alarm = crate::alarm::Alarm::new(poll.registry(), ALARM);
        let io = MioIo::new(poll.registry().try_clone()?, listeners.into(), Resolver::new(wake), shared)?;
        let worker = Worker {
            machine,
            drive: Drive::new(),
            io,
            poll,
            inbox: Arc::clone(&inbox),
            #[cfg(target_os = "linux")]
            alarm,
        };
        Ok((worker, Handle::new(inbox)))
    }

    /// Runs until the machine has finished after a [`Handle::drain`], or until [`Handle::stop`].
    /// Gives the machine back, so that its counters can be read.
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
            let timeout = turn.timeout.into_iter().chain(self.io.look_after_lasting()).min();
            let wait = match timeout {
                _ if turn.more => Some(Duration::ZERO),
                Some(at) => self.until(at),
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
                    // The turn that comes looks at the machine's timers.
                    #[cfg(target_os = "linux")]
                    Meaning::Alarm => self.alarm.heard(),
                    #[cfg(all(unix, feature = "tun"))]
                    Meaning::Tun { tun, readable, writable } => self.drive.tun_ready(tun, readable, writable),
                    Meaning::Stale => {}
                    Meaning::Listener(listener) => self.drive.listener_ready(listener),
                    Meaning::Stream { index, failed: true, .. } => self.drive.failed(index),
                    Meaning::Stream { index, readable, writable, .. } => {
                        self.drive.ready(index, readable, writable);
                    }
                    Meaning::Socket { index, readable, writable } => {
                        self.drive.socket_ready(index, readable, writable);
                    }
                }
            }
        }
    }

    /// How long mio may wait for `at`. Where the alarm is set, it wakes us.
    fn until(&mut self, at: Instant) -> Option<Duration> {
        let now = ropewalk_core::drive::Io::now(&mut self.io);
        #[cfg(target_os = "linux")]
        return self.alarm.set(now, at);
        #[cfg(not(target_os = "linux"))]
        Some(at - now)
    }

    /// Takes what has come from other threads. True when the run is to end.
    fn mail(&mut self) -> bool {
        while let Some((query, answer)) = self.io.resolver.answer() {
            let answer = answer.as_deref().map_err(|fault| *fault);
            self.drive.resolved(&mut self.machine, &mut self.io, query, answer);
        }
        self.inbox.deliver(&mut self.drive, &mut self.machine, &mut self.io)
    }
}

/// What an event of the queue is about.
pub(crate) enum Meaning {
    Waker,
    #[cfg(target_os = "linux")]
    Alarm,
    #[cfg(all(unix, feature = "tun"))]
    Tun {
        tun: ropewalk_core::machine::TunId,
        readable: bool,
        writable: bool,
    },
    Listener(ListenerId),
    /// Of a socket that is closed.
    Stale,
    Stream {
        index: u32,
        readable: bool,
        writable: bool,
        failed: bool,
    },
    Socket {
        index: u32,
        readable: bool,
        writable: bool,
    },
}
