//! One TCP connection between a person and the proxy, as the two ends see it.

use super::person::{Act, End, Got, Person};
use ropewalk_core::machine::{Fault, StreamId};
use ropewalk_core::time::Instant;
use std::collections::VecDeque;
use std::net::SocketAddr;

/// How far a connection is, seen from the proxy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// Not accepted yet, or the handshake goes on.
    Pending,
    /// The connect has failed, and the proxy does not know yet.
    Failed(Fault),
    Open,
    /// The proxy has closed it.
    Closed,
}

#[derive(Debug)]
pub(crate) struct Sock {
    pub(crate) person: Person,
    pub(crate) got: Got,
    pub(crate) stream: Option<StreamId>,
    pub(crate) stage: Stage,
    /// The person's address.
    pub(crate) peer: SocketAddr,
    /// The proxy's address on this connection.
    pub(crate) local: SocketAddr,

    /// Arrived at the proxy and not read by it.
    pub(crate) inbox: VecDeque<u8>,
    /// On its way to the proxy.
    pub(crate) in_flight: usize,
    pub(crate) in_fin: bool,
    pub(crate) in_rst: bool,

    /// Written by the proxy and not read by the person.
    pub(crate) outbox: VecDeque<u8>,
    pub(crate) out_fin: bool,
    pub(crate) out_rst: bool,
    /// A write of the proxy would have blocked; it waits for an edge.
    pub(crate) write_blocked: bool,
    /// The proxy wrote in all.
    pub(crate) proxy_wrote: usize,
    /// The proxy read in all.
    pub(crate) proxy_read: usize,

    /// The person's half has ended.
    pub(crate) fin_sent: bool,
    /// The person has reset or closed: it takes nothing more.
    pub(crate) stopped_reading: bool,
    pub(crate) send_blocked: bool,
    pub(crate) wake_at: Option<Instant>,
    pub(crate) sipping: bool,
    pub(crate) noticed: bool,
    /// Where the next awaited text may begin, and what has been echoed.
    pub(crate) cursor: usize,
    /// Bytes of the current Send that have left.
    pub(crate) progress: usize,
}

impl Sock {
    pub(crate) fn new(person: Person, peer: SocketAddr, local: SocketAddr) -> Self {
        Sock {
            person,
            got: Got::new(),
            stream: None,
            stage: Stage::Pending,
            peer,
            local,
            inbox: VecDeque::new(),
            in_flight: 0,
            in_fin: false,
            in_rst: false,
            outbox: VecDeque::new(),
            out_fin: false,
            out_rst: false,
            write_blocked: false,
            proxy_wrote: 0,
            proxy_read: 0,
            fin_sent: false,
            stopped_reading: false,
            send_blocked: false,
            wake_at: None,
            sipping: false,
            noticed: false,
            cursor: 0,
            progress: 0,
        }
    }

    /// Bytes the person may send now.
    pub(crate) fn send_room(&self) -> usize {
        self.person.inbox.saturating_sub(self.inbox.len() + self.in_flight)
    }

    /// Bytes the proxy may write now.
    pub(crate) fn write_room(&self) -> usize {
        self.person.window.saturating_sub(self.outbox.len())
    }

    /// The person takes up to `len` bytes of what the proxy wrote, and the end behind them.
    pub(crate) fn take(&mut self, now: Instant, len: usize) {
        let len = len.min(self.outbox.len());
        if len > 0 {
            self.got.bytes.extend(self.outbox.drain(..len));
            self.got.times.push((now, self.got.bytes.len()));
        }
        self.got.reset |= self.outbox.is_empty() && self.out_rst;
        if self.outbox.is_empty() && self.got.end == End::Open && (self.out_fin || self.out_rst) {
            self.got.end = if self.out_rst { End::Reset } else { End::Fin };
            self.got.ended_at = Some(now);
            if self.out_rst {
                self.stopped_reading = true;
            }
        } else if self.outbox.is_empty() && self.got.end == End::Fin && self.out_rst && !self.stopped_reading
        {
            // A reset behind a FIN: our own half is dead too.
            self.stopped_reading = true;
        }
    }

    /// A reset that overtakes what was not read yet, as a close with unread bytes makes it.
    pub(crate) fn lose_all(&mut self) {
        self.outbox.clear();
        self.out_rst = true;
    }

    pub(crate) fn act(&self) -> Option<&Act> {
        self.person.script.front()
    }

    pub(crate) fn next_act(&mut self) {
        self.person.script.pop_front();
        self.progress = 0;
    }

    /// Whether the awaited text is there; moves behind it.
    pub(crate) fn find(&mut self, text: &[u8]) -> bool {
        let rest = &self.got.bytes[self.cursor..];
        match rest.windows(text.len().max(1)).position(|window| window == text) {
            Some(at) => {
                self.cursor += at + text.len();
                true
            }
            None => false,
        }
    }
}
