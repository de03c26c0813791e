//! One task around one machine.

use crate::io::AsyncIo;
use crate::wake::{Mailbox, Ready};
use async_io::Timer;
use ropewalk_core::drive::Drive;
use ropewalk_core::machine::{Application, ListenerId};
use ropewalk_core::time::Instant;
use ropewalk_sockets::Resolver;
use ropewalk_sockets::{Handle, Inbox, Listeners, Shared, Wake};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// One task around one machine.
pub struct Worker<M> {
    machine: M,
    drive: Drive,
    io: AsyncIo,
    mailbox: Arc<Mailbox>,
    inbox: Arc<Inbox>,
    /// What the mailbox had, its memory used again and again.
    ready: Vec<Ready>,
    alarm: Alarm,
}

/// Operations between two looks at the reactor.
const FUEL: usize = 64;

impl<M: Application + 'static> Worker<M> {
    /// A worker whose listeners have the ids 0, 1, 2 and so on: those of streams, then those of
    /// datagrams.
    ///
    /// # Errors
    /// What the system says when it cannot register a listener with the reactor.
    pub fn new(
        machine: M,
        listeners: impl Into<Listeners>,
        shared: Arc<Shared>,
    ) -> std::io::Result<(Self, Handle)> {
        let mailbox = Arc::new(Mailbox::default());
        let wake = Arc::clone(&mailbox);
        let wake: Wake = Arc::new(move || wake.nudge());
        let inbox = Inbox::new(Arc::clone(&wake));
        let mut drive = Drive::new();
        let listeners = listeners.into();
        for index in 0..listeners.streams.len() {
            // Not known to be ready: the first accept will tell, and arm.
            drive.listener_ready(ListenerId(index as u16));
        }
        let alarm = Alarm { timer: Timer::never(), armed: None };
        let io = AsyncIo::new(listeners, Resolver::new(wake), shared, Arc::clone(&mailbox))?;
        let ready = Vec::new();
        let worker = Worker { machine, drive, io, mailbox, inbox: Arc::clone(&inbox), ready, alarm };
        Ok((worker, Handle::new(inbox)))
    }

    /// Runs until the machine has finished after a [`Handle::drain`], or until [`Handle::stop`].
    /// Gives the machine back, so that its counters can be read. Call it from a thread of its own,
    /// not from inside a task.
    ///
    /// # Errors
    /// None today: async-io keeps to itself what the system says while it waits.
    pub fn run(mut self) -> std::io::Result<M> {
        async_std::task::block_on(poll_fn(|cx| self.poll(cx)));
        Ok(self.machine)
    }

    /// Ready when the run has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.mail(cx.waker()) {
                return Poll::Ready(());
            }
            let turn = self.drive.turn(&mut self.machine, &mut self.io, FUEL);
            if turn.finished {
                return Poll::Ready(());
            }
            if turn.more {
                // `block_on` looks at the reactor without waiting, then polls us again.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if self.alarm.poll(turn.timeout, &self.io.shared, cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Takes what the reactor and other threads have left. True when the run is to end.
    fn mail(&mut self, owner: &Waker) -> bool {
        // First of all: what comes from now on wakes.
        self.mailbox.take(owner, &mut self.ready);
        for ready in self.ready.drain(..) {
            match ready {
                Ready::Listener(listener) => self.drive.listener_ready(listener),
                Ready::Readable(index) => self.drive.ready(index, true, false),
                Ready::Writable(index) => self.drive.ready(index, false, true),
                Ready::SocketReadable(index) => self.drive.socket_ready(index, true, false),
                Ready::SocketWritable(index) => self.drive.socket_ready(index, false, true),
                #[cfg(all(unix, feature = "tun"))]
                Ready::TunReadable(tun) => self.drive.tun_ready(tun, true, false),
                #[cfg(all(unix, feature = "tun"))]
                Ready::TunWritable(tun) => self.drive.tun_ready(tun, false, true),
            }
        }
        while let Some((query, answer)) = self.io.resolver.answer() {
            let answer = answer.as_deref().map_err(|fault| *fault);
            self.drive.resolved(&mut self.machine, &mut self.io, query, answer);
        }
        self.inbox.deliver(&mut self.drive, &mut self.machine, &mut self.io)
    }
}

/// The one timer of a worker. To set it interrupts the reactor, and the machine's next time moves
/// with every connection: so it is left where it is as long as it rings early enough.
struct Alarm {
    timer: Timer,
    armed: Option<Instant>,
}

impl Alarm {
    /// Ready when the machine may want a turn; otherwise the owner is woken for `wanted` at the
    /// latest.
    fn poll(&mut self, wanted: Option<Instant>, shared: &Shared, cx: &mut Context<'_>) -> Poll<()> {
        let Some(wanted) = wanted else { return Poll::Pending };
        if self.armed.is_none_or(|armed| wanted < armed) {
            let Some(at) = shared.at(wanted) else { return Poll::Pending };
            self.timer.set_at(at);
            self.armed = Some(wanted);
        }
        Pin::new(&mut self.timer).poll(cx).map(|_| self.armed = None)
    }
}
