//! What a driver asks of its sockets, answered by the [`World`] without waiting.

use super::World;
use crate::util::person::Person;
use crate::util::place::{Answer, Attempt, Behave, Ev, SpliceMode};
use crate::util::sock::{Sock, Stage};
use ropewalk_core::drive::{Incoming, Io, Memory, Moved, SpliceError, SpliceMoved, TryError};
#[cfg(feature = "names")]
use ropewalk_core::drive::{Received, TransmitError};
use ropewalk_core::machine::event::Event;
use ropewalk_core::machine::{Assign, Assignment, Close, Fault, ListenerId, QueryId, Report, StreamId, Via};
#[cfg(feature = "names")]
use ropewalk_core::machine::{Rx, SocketId, Transmit};
use ropewalk_core::name::Name;
use ropewalk_core::time::{Duration, Instant};
use std::collections::VecDeque;
use std::net::SocketAddr;

impl Io for World {
    fn now(&mut self) -> Instant {
        self.now
    }

    fn try_accept(&mut self, listener: ListenerId, stream: StreamId) -> Result<Incoming, TryError> {
        self.operations += 1;
        assert!(!self.unlistened.contains(&listener), "accept on a closed listener");
        if self.by_index.len() >= self.fd_limit {
            self.in_vain += 1;
            return Err(TryError::Fault(Fault::NoDescriptors));
        }
        let Some(sock) = self.backlog.entry(listener).or_default().pop_front() else { return self.vain() };
        let taken = self.by_index.insert(stream.index(), sock);
        assert_eq!(taken, None, "a slot that is in use was given to a new client");
        let entry = &mut self.socks[sock];
        entry.stream = Some(stream);
        entry.stage = Stage::Open;
        self.accepted.push(sock);
        Ok(Incoming { peer: entry.peer, local: entry.local })
    }

    fn unlisten(&mut self, listener: ListenerId) {
        self.unlistened.insert(listener);
        for sock in self.backlog.remove(&listener).unwrap_or_default() {
            self.socks[sock].lose_all();
            self.socks[sock].stage = Stage::Closed;
            self.notice(sock);
        }
    }

    fn connect(&mut self, stream: StreamId, to: SocketAddr, via: &Via) -> Result<(), Fault> {
        self.operations += 1;
        let (behave, answers) = self.fate(to, via);
        let attempt = Attempt { at: self.now, to, via: *via, stream, closed: None };
        self.attempts.push(attempt);
        if self.by_index.len() >= self.fd_limit {
            return Err(Fault::NoDescriptors);
        }
        if let Behave::FailNow(fault) = behave {
            return Err(fault);
        }
        let local = self.source(to, via);
        let person = match (behave, self.targets.get_mut(&to)) {
            (Behave::Listen, Some(target)) => target.first.pop_front().unwrap_or_else(|| target.rest.clone()),
            _ => Person::new([]),
        };
        let sock = self.socks.len();
        let mut entry = Sock::new(person, to, local);
        entry.stream = Some(stream);
        self.socks.push(entry);
        let taken = self.by_index.insert(stream.index(), sock);
        assert_eq!(taken, None, "a slot that is in use was given to a connect");
        match behave {
            Behave::Listen => self.after(answers, Ev::ConnectDone(sock, None)),
            Behave::Refuse => self.after(answers, Ev::ConnectDone(sock, Some(Fault::Refused))),
            Behave::Fail(fault, after) => self.after(after, Ev::ConnectDone(sock, Some(fault))),
            Behave::Silent | Behave::FailNow(_) => {}
        }
        Ok(())
    }

    fn finish_connect(&mut self, stream: StreamId) -> Result<SocketAddr, TryError> {
        self.operations += 1;
        let sock = self.of(stream);
        match self.socks[sock].stage {
            Stage::Pending => self.vain(),
            Stage::Failed(fault) => {
                self.by_index.remove(&stream.index());
                self.socks[sock].stream = None;
                self.socks[sock].stage = Stage::Closed;
                Err(TryError::Fault(fault))
            }
            Stage::Open => Ok(self.socks[sock].local),
            Stage::Closed => unreachable!("closed sockets have no stream"),
        }
    }

    fn try_read(&mut self, stream: StreamId, buf: &mut [u8]) -> Result<Moved, TryError> {
        self.operations += 1;
        let sock = self.of(stream);
        let exact = self.exact_more;
        let entry = &mut self.socks[sock];
        assert_eq!(entry.stage, Stage::Open, "a read before the connection stands");
        if entry.inbox.is_empty() {
            // As on Linux: what arrived before a reset can be read, then the read fails.
            return match (entry.in_rst, entry.in_fin) {
                (true, _) => Err(TryError::Fault(Fault::Reset)),
                (false, true) => Ok(Moved { len: 0, more: false }),
                (false, false) => self.vain(),
            };
        }
        let len = entry.inbox.len().min(buf.len());
        for (slot, byte) in buf.iter_mut().zip(entry.inbox.drain(..len)) {
            *slot = byte;
        }
        let more = !exact || !entry.inbox.is_empty() || entry.in_fin || entry.in_rst;
        self.made_room(sock, len);
        Ok(Moved { len, more })
    }

    fn try_write(&mut self, stream: StreamId, buf: &[u8]) -> Result<Moved, TryError> {
        self.operations += 1;
        assert!(!buf.is_empty(), "a write of nothing");
        let sock = self.of(stream);
        assert_eq!(self.socks[sock].stage, Stage::Open, "a write before the connection stands");
        if self.socks[sock].in_rst {
            return Err(TryError::Fault(Fault::Reset));
        }
        if self.socks[sock].write_room() == 0 {
            self.socks[sock].write_blocked = true;
            return self.vain();
        }
        let len = self.put(sock, buf);
        Ok(Moved { len, more: len == buf.len() })
    }

    fn try_splice(&mut self, from: StreamId, to: StreamId, max: usize) -> Result<SpliceMoved, SpliceError> {
        self.operations += 1;
        let (source, sink) = (self.of(from), self.of(to));
        let (size, moody) = match self.splice {
            SpliceMode::Never => return Err(SpliceError::Unavailable),
            SpliceMode::Pipe(size) => (size, false),
            SpliceMode::Moody(size) => (size, true),
        };
        let held = self.pipes.get(&source).map_or(0, VecDeque::len);
        if moody && held == 0 && self.rng.one_in(6) {
            return Err(SpliceError::Unavailable);
        }
        self.splice_calls += 1;
        if self.socks[sink].in_rst {
            return Err(SpliceError::To(Fault::Reset));
        }
        let mut moved = SpliceMoved::default();
        let mut some = |most: usize| if moody { 1 + self.rng.below(most.max(1)) } else { most };
        let (give_first, take, give_then) = (some(size), some(max.min(size)), some(size));
        self.give(source, sink, &mut moved, give_first);
        if self.pipes[&source].is_empty() {
            let entry = &mut self.socks[source];
            let len = entry.inbox.len().min(take);
            if len == 0 && entry.in_rst {
                return match moved.given {
                    0 => Err(SpliceError::From(Fault::Reset)),
                    _ => Ok(moved),
                };
            }
            moved.eof = len == 0 && entry.in_fin;
            let bytes: Vec<u8> = entry.inbox.drain(..len).collect();
            moved.taken = len;
            moved.from_blocked = len == 0 && !moved.eof;
            if let Some(pipe) = self.pipes.get_mut(&source) {
                pipe.extend(bytes);
            }
            self.made_room(source, len);
            self.give(source, sink, &mut moved, give_then);
        }
        moved.held = self.pipes[&source].len();
        self.spliced += moved.given;
        if moved.taken == 0 && moved.given == 0 && !moved.eof {
            self.in_vain += 1;
        }
        Ok(moved)
    }

    /// What has come and was not read, what was written and was not taken.
    fn memory(&mut self, stream: StreamId) -> Memory {
        let sock = &self.socks[self.of(stream)];
        let bytes = u32::try_from(sock.inbox.len() + sock.outbox.len()).unwrap_or(u32::MAX);
        let taken = (sock.proxy_wrote - sock.outbox.len()) as u64;
        Memory { bytes, acknowledged: (!sock.outbox.is_empty()).then_some(taken) }
    }

    fn shutdown(&mut self, stream: StreamId) {
        let sock = self.of(stream);
        assert!(!self.socks[sock].out_fin, "our half is ended twice");
        self.socks[sock].out_fin = true;
        self.notice(sock);
    }

    fn close(&mut self, stream: StreamId, how: Close) {
        let sock = self.of(stream);
        self.by_index.remove(&stream.index());
        self.pipes.remove(&sock);
        for attempt in self.attempts.iter_mut().filter(|attempt| attempt.stream == stream) {
            attempt.closed = Some((self.now, how));
        }
        let entry = &mut self.socks[sock];
        entry.stream = None;
        entry.stage = Stage::Closed;
        match how {
            Close::Reset => entry.out_rst = true,
            // A close with unread bytes makes a reset, which overtakes them.
            Close::Graceful if !entry.inbox.is_empty() => entry.lose_all(),
            Close::Graceful => entry.out_fin = true,
        }
        self.notice(sock);
    }

    fn resolve(&mut self, query: QueryId, name: &Name) -> Result<(), Fault> {
        let name = name.as_str().to_owned();
        self.asked_names.push(name.clone());
        let unknown = Answer { after: Duration::from_millis(10), result: Err(Fault::NameNotFound) };
        let answer = match self.names.get_mut(&name) {
            Some(answers) if answers.len() > 1 => answers.pop_front().unwrap_or(unknown),
            Some(answers) => answers.front().cloned().unwrap_or(unknown),
            None => unknown,
        };
        assert_eq!(self.queries.insert(query, name), None, "a query's id in use was given to another");
        self.after(answer.after, Ev::Answer(query, answer.result));
        Ok(())
    }

    fn cancel_resolve(&mut self, query: QueryId) {
        assert!(self.queries.remove(&query).is_some(), "a query that nobody waits for was cancelled");
        self.cancelled += 1;
    }

    #[cfg(feature = "names")]
    fn open_socket(&mut self, id: SocketId, to: SocketAddr, via: &Via, _: bool) -> Result<SocketAddr, Fault> {
        self.asker_opens(id, to, via)
    }

    #[cfg(feature = "names")]
    fn close_socket(&mut self, id: SocketId) {
        self.asker_closes(id);
    }

    #[cfg(feature = "names")]
    fn try_receive(
        &mut self,
        id: SocketId,
        sink: &mut dyn FnMut(&mut [Rx<'_>]),
    ) -> Result<Received, TryError> {
        self.asker_receives(id, sink)
    }

    #[cfg(feature = "names")]
    fn try_transmit(
        &mut self,
        id: SocketId,
        source: &mut dyn FnMut(&mut [u8]) -> Option<Transmit>,
    ) -> Result<usize, TransmitError> {
        self.asker_sends(id, source)
    }

    /// Always the same numbers: who writes a test's answers knows them.
    #[cfg(feature = "names")]
    fn entropy(&mut self, bytes: &mut [u8; 32]) -> bool {
        bytes.iter_mut().zip(1..).for_each(|(byte, n)| *byte = n);
        true
    }

    fn assign(&mut self, now: Instant, assign: &Assign) -> Option<Assignment> {
        self.pool.assign(now, assign)
    }

    fn report(&mut self, now: Instant, report: &Report) {
        self.reports.push(*report);
        self.pool.report(now, report);
        while let Some(event) = self.pool.poll_event() {
            self.events.push((now, event));
        }
    }

    fn event(&mut self, now: Instant, event: &Event) {
        self.events.push((now, event.clone()));
    }
}
