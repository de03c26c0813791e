//! Waits that mio cannot make: it rounds them up to whole milliseconds, and a pacer wants
//! microseconds.

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

/// A timer of the system that is one more source of events.
pub(crate) struct Alarm {
    timer: Option<OwnedFd>,
}

/// Waits under this use the timer; over it a millisecond more does no harm.
const FINE: Duration = Duration::from_millis(10);

impl Alarm {
    /// Without a timer (a system that has none left) waits are mio's own.
    pub(crate) fn new(registry: &Registry, token: Token) -> Self {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).map_err(std::io::Error::from);
        let timer = timer.and_then(|timer| {
            registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
            Ok(timer)
        });
        if let Err(error) = &timer {
            log::warn!("no timer of the system, waits are whole milliseconds: {error}");
        }
        Alarm { timer: timer.ok() }
    }

    /// How long mio may wait, if the wait is `wait`: a short one is the timer's.
    pub(crate) fn set(&self, wait: Duration) -> Option<Duration> {
        let Some(timer) = self.timer.as_ref().filter(|_| !wait.is_zero() && wait < FINE) else {
            return Some(wait);
        };
        let at = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() };
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let spec = Itimerspec { it_interval: never, it_value: at };
        // Setting it anew also takes back what it has said; an event that comes late is a turn for
        // nothing.
        match timerfd_settime(timer, TimerfdTimerFlags::empty(), &spec) {
            Ok(_) => None,
            Err(_) => Some(wait),
        }
    }
}
