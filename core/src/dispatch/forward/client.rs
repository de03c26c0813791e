//! What comes from the client: requests and their bodies.

use super::super::Cx;
use super::super::reply::ReplyFormat;
use super::{Forward, ForwardStep, Response, passed_on};
use crate::machine::Fault;
use crate::machine::event::Refusal;
use crate::wire::Malformed;
use crate::wire::http::{self, Body, HeadEnd};
use alloc::boxed::Box;
use alloc::vec::Vec;

impl Forward {
    /// Begins an exchange on the open connection to the origin.
    pub(super) fn begin(&mut self, request: http::Forward, early: Vec<u8>, cx: &mut Cx) -> ForwardStep {
        self.again = (self.kept && request.repeatable).then(|| Box::new(request.clone()));
        self.heard = false;
        self.client_stays = request.keep_alive && !cx.draining;
        self.head_request = request.head_request;
        self.version_10 = request.version_10;
        self.upgrade = request.upgrade;
        self.request = Body::of_request(request.body, &request.named);
        self.request_head = request.came;
        self.stopped_reading = false;
        self.response = Response::Head { seen: Vec::new(), end: HeadEnd::default() };
        let mut head = request.head;
        // A 1.0 client knows no chunks: an origin that is asked in 1.0 ought to send none (RFC 9112
        // section 6.1).
        if self.version_10
            && let Some(end) = head.windows(2).position(|pair| pair == b"\r\n")
            && end > 0
        {
            head[end - 1] = b'0';
        }
        match self.request.pass(&early) {
            Ok((used, out)) => {
                head.extend_from_slice(out.bytes(&early));
                self.waiting = early;
                self.waiting.drain(..used);
            }
            Err(why) => return self.refuse_request(why, cx),
        }
        self.sent += head.len() as u64;
        self.to_target = Some(cx.buffers.own(head.into_boxed_slice()));
        self.mark(cx);
        ForwardStep::Open
    }

    /// `len` bytes were read from the client into the scratch buffer.
    pub(in super::super) fn client_read(&mut self, len: usize, cx: &mut Cx) -> ForwardStep {
        if self.is_idle() {
            // A head that dribbles does not move the deadline of the idle connection.
            self.waiting.extend_from_slice(cx.buffers.peek(len));
            return self.next_request(cx);
        }
        self.active = cx.now;
        let (used, out) = match self.request.pass(cx.buffers.peek(len)) {
            Ok(passed) => passed,
            Err(why) => return self.refuse_request(why, cx),
        };
        if self.headless && used < len {
            // It has found an answer in what has no head, and asks on: what the origin says now it
            // would take for the answer to that, whoever is asked. (Firefox looks for a head behind
            // more bytes than we do.)
            return ForwardStep::Cut { rest: Vec::new(), fault: Fault::Malformed };
        }
        self.waiting.extend_from_slice(&cx.buffers.peek(len)[used..]);
        // Once its body is whole, what comes waits; before, there is room for it: see `wants`.
        if let Some(filled) = passed_on(out, len, cx) {
            self.sent += filled.bytes().len() as u64;
            self.to_target = Some(filled);
        }
        self.mark(cx);
        ForwardStep::Open
    }

    /// The client sends no more.
    pub(in super::super) fn client_ended(&mut self) -> ForwardStep {
        self.client_ended = true;
        if self.is_idle() {
            return ForwardStep::Refuse { reply: Vec::new(), why: None };
        }
        if !self.request.is_done() {
            // Its body is cut short: the origin must not take it for whole.
            return ForwardStep::Break(Fault::Reset);
        }
        ForwardStep::Open
    }

    /// A fault of its body.
    fn refuse_request(&mut self, why: Malformed, cx: &mut Cx) -> ForwardStep {
        let why = Refusal::Malformed(why.behind(self.request_head));
        // Where bytes of a response have left already, there is no place for another one.
        if !matches!(&self.response, Response::Head { .. }) {
            return ForwardStep::Break(Fault::Malformed);
        }
        let mut reply = self.take_unsent(cx);
        ReplyFormat::Connect.refused(&why, &mut reply);
        ForwardStep::Refuse { reply, why: Some(why) }
    }
}
