//! Waits that mio cannot make: it rounds them up to whole milliseconds, and a pacer wants
//! microseconds.

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use ropewalk_core::time::Instant;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

/// A timer of the system that is one more source of events.
pub(crate) struct Alarm {
    timer: Option<OwnedFd>,
    /// When it goes off, if it was set and was not heard since.
    armed: Option<Instant>,
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
        Alarm { timer: timer.ok(), armed: None }
    }

    /// It went off.
    pub(crate) fn heard(&mut self) {
        self.armed = None;
    }

    /// How long mio may wait, if the machine waits until `at`: a short wait is the timer's. One
    /// that goes off earlier is left as it is: to set it costs more than a turn for nothing, and a
    /// busy machine waits for something else each time.
    pub(crate) fn set(&mut self, now: Instant, at: Instant) -> Option<Duration> {
        let wait = at - now;
        let Some(timer) = self.timer.as_ref().filter(|_| !wait.is_zero() && wait < FINE) else {
            return Some(wait);
        };
        if self.armed.is_some_and(|armed| now < armed && armed <= at) {
            return None;
        }
        let value = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() };
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let spec = Itimerspec { it_interval: never, it_value: value };
        // Setting it anew also takes back what it has said; an event that comes late is a turn for
        // nothing.
        match timerfd_settime(timer, TimerfdTimerFlags::empty(), &spec) {
            Ok(_) => {
                self.armed = Some(at);
                None
            }
            Err(_) => {
                self.armed = None;
                Some(wait)
            }
        }
    }
}
