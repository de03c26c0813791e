//! Keep-alive for what connections out have lasted.
//!
//! It takes four system calls a connection, and most end before it could do anything: a minute of
//! silence. So none has it at first. A second later all that are open then are given it, so many in
//! a turn that others do not wait.

use crate::stream::Stream;
use ropewalk_core::time::{Duration, Instant};

/// How old the oldest is by then.
const LASTING: Duration = Duration::from_secs(1);
/// How many are given it in a turn.
const SHARE: usize = 64;

/// When those that have none are looked for.
#[derive(Default)]
pub(crate) struct Lasting {
    due: Option<Instant>,
    /// The first that was not looked at.
    from: usize,
}

impl Lasting {
    /// One has begun.
    pub(crate) fn begun(&mut self, now: impl FnOnce() -> Instant) {
        self.due.get_or_insert_with(|| now() + LASTING);
    }

    /// When [`Lasting::look`] is wanted.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Gives keep-alive to those that have none, or to some of them.
    pub(crate) fn look(&mut self, now: Instant, streams: &mut [Option<(u32, Stream)>]) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        let began = std::mem::take(&mut self.from);
        let mut left = SHARE;
        for (index, slot) in streams.iter_mut().enumerate().skip(began) {
            if slot.as_mut().is_some_and(|(_, stream)| stream.keep_alive()) {
                left -= 1;
            }
            if left == 0 {
                self.from = index + 1;
                return;
            }
        }
        // Others may have begun meanwhile, where it has looked already.
        self.due = (began > 0).then(|| now + LASTING);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use mio::net::TcpStream;
    use rustix::net::sockopt::{socket_keepalive, tcp_keepidle};
    use std::net::{Ipv4Addr, TcpListener};

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn what_has_lasted_is_kept_alive_a_share_at_a_time() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
        let address = listener.local_addr().expect("it is bound");
        let connect = || Some((0, Stream::begun(TcpStream::connect(address).expect("it listens"))));
        let has = |slot: &Option<(u32, Stream)>| {
            slot.as_ref().is_some_and(|(_, stream)| socket_keepalive(stream.socket()).expect("a socket"))
        };
        let mut lasting = Lasting::default();
        let mut streams = vec![None];
        streams.extend((0..2 * SHARE).map(|_| connect()));
        lasting.begun(|| at(0));
        lasting.begun(|| at(5));
        assert_eq!(lasting.due(), Some(at(1)));
        lasting.look(Instant::ZERO, &mut streams);
        assert!(!streams.iter().any(has), "none is a second old");
        lasting.look(at(1), &mut streams);
        assert_eq!((streams.iter().filter(|slot| has(slot)).count(), lasting.due()), (SHARE, Some(at(1))));
        // One that begins behind its back is not forgotten.
        streams[0] = connect();
        for second in 1..=3 {
            lasting.look(at(second), &mut streams);
        }
        assert!(streams.iter().all(has));
        assert_eq!(lasting.due(), None, "there is nothing more to look for");
        let (_, stream) = streams[0].as_ref().expect("it was put there");
        assert_eq!(tcp_keepidle(stream.socket()).expect("a socket"), std::time::Duration::from_secs(60));
    }
}
