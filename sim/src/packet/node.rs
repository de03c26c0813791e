//! A machine, its driver and its sockets.

use super::io::SimIo;
use ropewalk_core::drive::{Drive, Turn};
use ropewalk_core::machine::{Application, Input, TunId};
use ropewalk_core::time::{Duration, Instant};

/// A turn's fuel, as the shipped driver's.
const FUEL: usize = 64;
/// Turns in a row without a wait: more is a machine that never comes to rest.
const RESTLESS: u32 = 100_000;

/// One of the two ends of the tunnel, whatever machine it is.
pub(super) trait Node {
    fn io(&mut self) -> &mut SimIo;
    /// A datagram waits at a socket.
    fn socket_ready(&mut self, index: u32);
    /// A socket that had refused takes more.
    fn socket_writable(&mut self, index: u32);
    /// A packet waits in the TUN device.
    fn tun_ready(&mut self);
    /// The system reports something.
    fn input(&mut self, now: Instant, input: Input<'_>);
    /// Takes turns until nothing is left to do at `now`. When the next one is wanted.
    fn turn(&mut self, now: Instant) -> Option<Instant>;
}

/// A machine, its driver and its sockets.
pub(super) struct Driven<M> {
    machine: M,
    drive: Drive,
    io: SimIo,
    granularity: Duration,
}

impl<M: Application> Driven<M> {
    /// Timers fire at multiples of `granularity`; zero: exactly.
    pub(super) fn new(machine: M, io: SimIo, granularity: Duration) -> Self {
        Driven { machine, drive: Drive::new(), io, granularity }
    }
}

impl<M: Application> Node for Driven<M> {
    fn io(&mut self) -> &mut SimIo {
        &mut self.io
    }

    fn socket_ready(&mut self, index: u32) {
        self.drive.socket_ready(index, true, false);
    }

    fn socket_writable(&mut self, index: u32) {
        self.drive.socket_ready(index, false, true);
    }

    fn tun_ready(&mut self) {
        self.drive.tun_ready(TunId(0), true, false);
    }

    fn input(&mut self, now: Instant, input: Input<'_>) {
        self.io.now = now;
        self.drive.input(&mut self.machine, &mut self.io, input);
    }

    fn turn(&mut self, now: Instant) -> Option<Instant> {
        self.io.now = now;
        for _ in 0..RESTLESS {
            let Turn { more, timeout, finished: _ } = self.drive.turn(&mut self.machine, &mut self.io, FUEL);
            if more {
                continue;
            }
            return timeout.map(|at| {
                let step = self.granularity.as_nanos() as u64;
                if step == 0 {
                    at
                } else {
                    Instant::from_nanos(at.as_nanos().div_ceil(step).saturating_mul(step))
                }
            });
        }
        panic!("the machine has not come to rest at {now:?} after {RESTLESS} turns");
    }
}
