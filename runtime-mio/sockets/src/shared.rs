//! What all workers of a process share, and what each can be asked from outside.

use crate::bind::SocketOptions;
use ropewalk_core::drive::{Drive, Io};
use ropewalk_core::machine::event::Event;
use ropewalk_core::machine::{Application, Input, UplinkId};
use ropewalk_core::time::Instant;
use ropewalk_core::uplink::Pool;
use std::any::Any;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Receives the events of all workers. Called from all of them, on their event loops: it must not
/// wait.
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
    options: SocketOptions,
}

impl Shared {
    /// Shares a pool and a watcher. Time begins now.
    pub fn new(pool: Pool, watch: Box<dyn Watch>) -> Arc<Self> {
        Shared::with_options(pool, watch, SocketOptions::default())
    }

    /// The same, with options for all sockets.
    pub fn with_options(pool: Pool, watch: Box<dyn Watch>, options: SocketOptions) -> Arc<Self> {
        Arc::new(Shared { epoch: std::time::Instant::now(), pool: Mutex::new(pool), watch, options })
    }

    /// What is set of all sockets.
    pub fn options(&self) -> SocketOptions {
        self.options
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

    /// A machine's time on the system's clock; `None` where that ends before.
    pub fn at(&self, time: Instant) -> Option<std::time::Instant> {
        self.epoch.checked_add(Duration::from_nanos(time.as_nanos()))
    }

    /// Passes an event to the watcher.
    pub fn tell(&self, now: Instant, event: &Event) {
        self.watch.event(now, event);
    }

    /// Runs `f` on the pool, then publishes the events that it queued.
    pub fn with_pool<T>(&self, now: Instant, f: impl FnOnce(&mut Pool) -> T) -> T {
        let mut pool = self.pool();
        let result = f(&mut pool);
        let news: Vec<Event> = std::iter::from_fn(|| pool.poll_event()).collect();
        drop(pool);
        news.iter().for_each(|event| self.tell(now, event));
        result
    }
}

/// Wakes a worker, from any thread.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Work on a machine, whose kind the caller knows.
type Call = Box<dyn FnOnce(Instant, &mut dyn Any) + Send>;

/// What is asked of a worker from outside.
enum Command {
    LocalAddresses(Vec<IpAddr>),
    UplinkGone(UplinkId),
    Measure(u64),
    Call(Call),
    Drain,
    Stop,
}

/// Where a worker finds what it is asked for.
pub struct Inbox {
    commands: Mutex<VecDeque<Command>>,
    wake: Wake,
}

impl Inbox {
    /// `wake` is called after each command. An inbox keeps it for as long as there is a [`Handle`].
    pub fn new(wake: Wake) -> Arc<Self> {
        Arc::new(Inbox { commands: Mutex::default(), wake })
    }

    /// Passes all requests to the machine. True when the run is to end.
    pub fn deliver<M: Application + 'static, I: Io>(
        &self,
        drive: &mut Drive,
        machine: &mut M,
        io: &mut I,
    ) -> bool {
        loop {
            let command = self.lock().pop_front();
            let input = match command {
                Some(Command::Call(work)) => {
                    drive.call(machine, io, |now, machine| work(now, machine));
                    continue;
                }
                Some(Command::Measure(limit)) => {
                    drive.measure(machine, io, limit);
                    continue;
                }
                Some(Command::LocalAddresses(ref addresses)) => Input::LocalAddresses { addresses },
                Some(Command::UplinkGone(uplink)) => Input::UplinkGone { uplink },
                Some(Command::Drain) => Input::Drain,
                Some(Command::Stop) => return true,
                None => return false,
            };
            drive.input(machine, io, input);
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Command>> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks something of a running worker, from any thread. The same for every runtime.
#[derive(Clone)]
pub struct Handle {
    inbox: Arc<Inbox>,
}

impl Handle {
    /// For the worker that looks into `inbox`.
    pub fn new(inbox: Arc<Inbox>) -> Self {
        Handle { inbox }
    }

    /// This host's own addresses have changed: these are all of them.
    pub fn local_addresses(&self, addresses: Vec<IpAddr>) {
        self.send(Command::LocalAddresses(addresses));
    }

    /// The interface of an uplink has vanished, and what is open through it with it.
    pub fn uplink_gone(&self, uplink: UplinkId) {
        self.send(Command::UplinkGone(uplink));
    }

    /// The system may keep more for the worker's streams than `limit` bytes: it looks, and its
    /// machine does what is to be done.
    pub fn measure_memory(&self, limit: u64) {
        self.send(Command::Measure(limit));
    }

    /// Has the worker's thread do `work` on its machine, soon. Nothing happens if that is no `M`,
    /// or if the worker has ended: `work` is then dropped.
    pub fn call<M: 'static>(&self, work: impl FnOnce(Instant, &mut M) + Send + 'static) {
        self.send(Command::Call(Box::new(move |now, machine| {
            if let Some(machine) = machine.downcast_mut() {
                work(now, machine);
            }
        })));
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
        self.inbox.lock().push_back(command);
        (self.inbox.wake)();
    }
}
