//! Attempts through uplinks that are proxies.
//!
//! ```text
//!  name ─▶ ask the pool ─▶ a proxy: connect, tell it the name ─▶ [`Introduction`] ─▶ its answer
//! ```
//!
//! The name is the first candidate; only proxies take it as it is, and only other uplinks take its
//! addresses (`names`).

use super::{Candidate, Opening, Reached, Talk};
use crate::dispatch::Cx;
use crate::dispatch::reply::ReplyFormat;
use crate::dispatch::upstream::{Introduced, Introduction};
use crate::machine::event::Refusal;
use crate::machine::{Close, ConnId, Fault, Report, StreamId};
use crate::name::Destination;
use crate::record::Reading;
use alloc::boxed::Box;
use core::net::SocketAddr;

impl Candidate {
    /// The destination itself has said no.
    pub(super) fn refuse(&mut self) {
        self.dead = true;
        self.refused = true;
    }
}

impl Opening {
    /// The destination has refused, at one of its addresses or by its name: the name is not tried
    /// any more, or no address is.
    pub(super) fn refused_by_name(&mut self, candidate: usize) {
        let (name, addresses) = self.candidates.split_at_mut(1);
        match candidate {
            0 => addresses.iter_mut().for_each(Candidate::refuse),
            _ => name.iter_mut().for_each(Candidate::refuse),
        }
    }

    /// The attempt at this place is connected. If it leads to a proxy, begins to write the
    /// destination to it: true.
    pub(super) fn introduce(&mut self, at: usize, local: SocketAddr, cx: &mut Cx) -> bool {
        let attempt = &mut self.attempts[at];
        let Some(upstream) = &attempt.upstream else { return false };
        let address = self.candidates[attempt.candidate].to.map(Destination::from);
        let Some(destination) = address.or_else(|| self.by_name.clone()) else { return false };
        let introduction = Introduction::new(upstream, destination);
        attempt.talk = Some(Box::new(Talk { introduction, local }));
        cx.mark_dirty(attempt.stream);
        true
    }

    fn talk(&self, stream: StreamId) -> Option<&Talk> {
        let attempt = self.attempts.iter().find(|attempt| attempt.stream == stream)?;
        attempt.talk.as_deref()
    }

    fn talk_mut(&mut self, stream: StreamId) -> Option<&mut Talk> {
        let attempt = self.attempts.iter_mut().find(|attempt| attempt.stream == stream)?;
        attempt.talk.as_deref_mut()
    }

    /// There is no handshake: all that the client sends is for the target.
    pub(in crate::dispatch) fn is_raw(&self) -> bool {
        matches!(self.format, ReplyFormat::Raw)
    }

    /// What is made of the bytes of this attempt.
    pub(in crate::dispatch) fn reading_of(&self, stream: StreamId) -> Reading {
        self.talk(stream).map_or(Reading::Nothing, |talk| talk.introduction.reading())
    }

    /// How much to read from the proxy.
    pub(in crate::dispatch) fn wants_of(&self, stream: StreamId) -> usize {
        self.talk(stream).map_or(0, |talk| talk.introduction.wants())
    }

    /// What is to be written to the proxy.
    pub(in crate::dispatch) fn write_buf_of(&self, stream: StreamId) -> &[u8] {
        self.talk(stream).map_or(&[], |talk| talk.introduction.write_buf())
    }

    pub(in crate::dispatch) fn told(&mut self, stream: StreamId, len: usize) {
        if let Some(talk) = self.talk_mut(stream) {
            talk.introduction.written(len);
        }
    }

    /// The proxy has sent `len` bytes.
    pub(in crate::dispatch) fn heard(
        &mut self,
        stream: StreamId,
        len: usize,
        conn: ConnId,
        cx: &mut Cx,
    ) -> Result<Reached, Refusal> {
        let Some(talk) = self.talk_mut(stream) else { return Ok(Reached::Unwanted) };
        let outcome = talk.introduction.read(cx.buffers.peek(len));
        self.introduced(stream, outcome, conn, cx)
    }

    /// The proxy has ended the connection, or it has failed.
    pub(in crate::dispatch) fn hung_up(
        &mut self,
        stream: StreamId,
        conn: ConnId,
        cx: &mut Cx,
    ) -> Result<Reached, Refusal> {
        let Some(talk) = self.talk(stream) else { return Ok(Reached::Unwanted) };
        let outcome = talk.introduction.ended();
        self.introduced(stream, outcome, conn, cx)
    }

    fn introduced(
        &mut self,
        stream: StreamId,
        outcome: Introduced,
        conn: ConnId,
        cx: &mut Cx,
    ) -> Result<Reached, Refusal> {
        let (fault, told) = match outcome {
            Introduced::More => {
                cx.mark_dirty(stream);
                return Ok(Reached::Proxy);
            }
            // An origin answers only what it was asked: this is no HTTP.
            Introduced::Done(heard)
                if !heard.is_empty() && matches!(self.format, ReplyFormat::Forward(_)) =>
            {
                (Fault::Malformed, true)
            }
            Introduced::Done(heard) => {
                let at = self.attempts.iter().position(|attempt| attempt.stream == stream);
                let Some((at, local)) = at.zip(self.talk(stream).map(|talk| talk.local)) else {
                    return Ok(Reached::Unwanted);
                };
                return Ok(Reached::Target(self.win(at, local, heard, conn, cx)));
            }
            Introduced::Refused(fault) => (fault, true),
            Introduced::Broken(fault) => (fault, false),
        };
        cx.close(stream, Close::Reset);
        self.failed(conn, stream, fault, told, cx).map(|()| Reached::Proxy)
    }

    /// At the deadline: a proxy that was not reached, or has not even let us ask, failed.
    pub(super) fn blame_mute_proxies(&self, cx: &mut Cx) {
        for attempt in &self.attempts {
            let asked = attempt.talk.as_ref().is_some_and(|talk| talk.introduction.is_asked());
            if let Some(uplink) = attempt.uplink.filter(|_| attempt.upstream.is_some())
                && !asked
            {
                cx.report(Report::Failed { uplink, fault: Fault::TimedOut });
            }
        }
    }
}
