//! HTTP messages in absolute form, passed on to their origins, one exchange after another.
//!
//! ```text
//!   client ──head, body──▶ to_target ──▶ origin
//!   client ◀── to_client ◀──head, body── origin
//!      └─ the next request: same origin and still open: again; else the next Opening
//! ```
//!
//! Where a message ends is read from its framing (RFC 9112 section 6). A request is never repeated once bytes of it
//! may have left. What comes behind a request waits until its response is through.

use super::Cx;
use super::handshake::{HttpStep, http_request};
use super::reply::Plea;
use crate::buffer::Filled;
use crate::machine::event::Refusal;
use crate::machine::{Close, Fault, StreamId, UplinkId};
use crate::name::Destination;
use crate::service::Side;
use crate::time::Instant;
use crate::wire::Malformed;
use crate::wire::http::{self, Body, Framing, HttpError};
use alloc::vec::Vec;

/// Bytes behind a request that are read ahead: enough to see that the client has left, and for the longest head.
const MAX_WAITING: usize = 2 * http::MAX_HEAD;

#[derive(Debug)]
enum Response {
    /// No request is under way.
    None,
    /// The head so far.
    Head(Vec<u8>),
    /// The body.
    Body(Body),
}

#[derive(Debug)]
pub(super) struct Forward {
    client: StreamId,
    /// The open connection to an origin.
    target: Option<StreamId>,
    pub(super) uplink: Option<UplinkId>,
    origin: Destination,
    /// Client bytes that are not yet anybody's.
    waiting: Vec<u8>,
    request: Body,
    response: Response,
    to_target: Option<Filled>,
    to_client: Option<Filled>,
    head_request: bool,
    version_10: bool,
    client_stays: bool,
    origin_stays: bool,
    client_ended: bool,
    /// The origin takes no more of the request.
    deaf: bool,
    /// When bytes moved last.
    pub(super) active: Instant,
    sent: u64,
    received: u64,
}

/// What is to become of it.
#[derive(Debug)]
pub(super) enum Next {
    /// It goes on.
    Open,
    /// The client wants to go there now; the old origin is closed.
    Reopen {
        /// In these words.
        plea: Plea,
        /// There.
        destination: Destination,
        /// What came behind the head.
        early: Vec<u8>,
        /// The client sends no more than that.
        client_ended: bool,
    },
    /// Write this, then close.
    Refuse {
        /// The last words; empty after a whole response.
        reply: Vec<u8>,
        /// Why, if it is not the orderly end.
        why: Option<Refusal>,
    },
    /// Reset the client: it was promised more than can be delivered.
    Break(Fault),
}

impl Forward {
    pub(super) fn new(
        client: StreamId,
        target: StreamId,
        uplink: Option<UplinkId>,
        request: http::Forward,
        early: Vec<u8>,
        cx: &mut Cx,
    ) -> (Self, Next) {
        let mut forward = Forward {
            client,
            target: Some(target),
            uplink,
            origin: request.destination.clone(),
            waiting: Vec::new(),
            request: Body::new(Framing::None),
            response: Response::None,
            to_target: None,
            to_client: None,
            head_request: false,
            version_10: false,
            client_stays: true,
            origin_stays: true,
            client_ended: false,
            deaf: false,
            active: cx.now,
            sent: 0,
            received: 0,
        };
        let next = forward.begin(request, early, cx);
        (forward, next)
    }

    pub(super) fn target(&self) -> Option<StreamId> {
        self.target
    }

    /// The client sends no more; it may have left.
    pub(super) fn has_client_ended(&self) -> bool {
        self.client_ended
    }

    pub(super) fn is_idle(&self) -> bool {
        matches!(self.response, Response::None)
    }

    pub(super) fn totals(&self) -> (u64, u64) {
        (self.sent, self.received)
    }

    /// At most how many bytes to read from `side` now.
    pub(super) fn wants(&self, side: Side) -> usize {
        let all = |wants: bool| if wants { usize::MAX } else { 0 };
        match side {
            Side::Client if self.client_ended || self.deaf => 0,
            Side::Client if self.request.is_done() => MAX_WAITING.saturating_sub(self.waiting.len()),
            Side::Client => all(self.to_target.is_none()),
            Side::Target => all(self.to_client.is_none()),
        }
    }

    /// This exchange is the connection's last.
    pub(super) fn drain(&mut self) {
        self.client_stays = false;
    }

    pub(super) fn write_buf(&self, side: Side) -> &[u8] {
        let held = match side {
            Side::Client => &self.to_client,
            Side::Target => &self.to_target,
        };
        held.as_ref().map_or(&[], Filled::bytes)
    }

    /// Begins an exchange on the open connection to the origin.
    fn begin(&mut self, request: http::Forward, early: Vec<u8>, cx: &mut Cx) -> Next {
        self.client_stays = request.keep_alive && !cx.draining;
        self.head_request = request.head_request;
        self.version_10 = request.version_10;
        self.request = Body::new(request.body);
        self.deaf = false;
        self.response = Response::Head(Vec::new());
        let mut head = request.head;
        // A 1.0 client knows no chunks: an origin that is asked in 1.0 sends none (RFC 9112 section 6.1).
        if self.version_10
            && let Some(end) = head.windows(2).position(|pair| pair == b"\r\n")
            && end > 0
        {
            head[end - 1] = b'0';
        }
        match self.request.advance(&early) {
            Ok(used) => {
                head.extend_from_slice(&early[..used]);
                self.waiting = early;
                self.waiting.drain(..used);
            }
            Err(why) => return self.refuse_request(why, cx),
        }
        self.sent += head.len() as u64;
        self.to_target = Some(cx.buffers.copy(&head));
        self.mark(cx);
        Next::Open
    }

    fn mark(&self, cx: &mut Cx) {
        cx.mark(self.client);
        if let Some(target) = self.target {
            cx.mark(target);
        }
    }

    /// `len` bytes were read from the client into the scratch buffer.
    pub(super) fn client_read(&mut self, len: usize, cx: &mut Cx) -> Next {
        if self.is_idle() {
            // A head that dribbles does not move the deadline of the idle connection.
            self.waiting.extend_from_slice(cx.buffers.peek(len));
            return self.next_request(cx);
        }
        self.active = cx.now;
        let used = match self.request.advance(cx.buffers.peek(len)) {
            Ok(used) => used,
            Err(why) => return self.refuse_request(why, cx),
        };
        self.waiting.extend_from_slice(&cx.buffers.peek(len)[used..]);
        if used > 0 {
            let mut filled = cx.buffers.take(len);
            filled.truncate(used);
            self.sent += used as u64;
            self.to_target = Some(filled);
        }
        self.mark(cx);
        Next::Open
    }

    /// The client sends no more.
    pub(super) fn client_ended(&mut self) -> Next {
        self.client_ended = true;
        if self.is_idle() {
            return Next::Refuse { reply: Vec::new(), why: None };
        }
        if !self.request.is_done() {
            // Its body is cut short: the origin must not take it for whole.
            return Next::Break(Fault::Reset);
        }
        Next::Open
    }

    /// `len` bytes were read from the origin into the scratch buffer.
    pub(super) fn target_read(&mut self, len: usize, cx: &mut Cx) -> Next {
        self.active = cx.now;
        self.received += len as u64;
        match &mut self.response {
            // An origin that speaks unasked cannot be trusted with another request.
            Response::None => {
                self.drop_origin(Close::Reset, cx);
                Next::Open
            }
            Response::Head(seen) => {
                seen.extend_from_slice(cx.buffers.peek(len));
                self.response_head(cx)
            }
            Response::Body(body) => match body.advance(cx.buffers.peek(len)) {
                Ok(used) => {
                    self.origin_stays &= used == len;
                    if used > 0 {
                        let mut filled = cx.buffers.take(len);
                        filled.truncate(used);
                        self.to_client = Some(filled);
                    }
                    self.mark(cx);
                    self.finish_if_done(cx)
                }
                Err(_) => Next::Break(Fault::Reset),
            },
        }
    }

    fn response_head(&mut self, cx: &mut Cx) -> Next {
        let mut out = Vec::new();
        let mut used = 0;
        let Response::Head(seen) = &mut self.response else { return Next::Open };
        let seen = core::mem::take(seen);
        loop {
            match http::parse_response(&seen[used..], self.head_request) {
                Ok((head, took)) => {
                    used += took;
                    if head.interim {
                        // RFC 9110 section 15.2: a 1.0 client must not be sent a 1xx response.
                        if !self.version_10 {
                            out.extend(head.emit(false));
                        }
                        continue;
                    }
                    if self.version_10 && head.body == Framing::Chunked {
                        return self.bad_gateway(
                            "a response without chunks to a request in HTTP/1.0",
                            None,
                            out,
                            cx,
                        );
                    }
                    self.origin_stays = head.keep_alive;
                    let request_whole = self.request.is_done();
                    self.client_stays &= head.body != Framing::UntilClose && request_whole;
                    let interim = out.clone();
                    out.extend(head.emit(!self.client_stays));
                    let mut body = Body::new(head.body);
                    match body.advance(&seen[used..]) {
                        Ok(length) => {
                            out.extend_from_slice(&seen[used..used + length]);
                            self.origin_stays &= used + length == seen.len();
                        }
                        Err(why) => return self.bad_gateway(why.expected, why.found, interim, cx),
                    }
                    self.response = Response::Body(body);
                    break;
                }
                Err(HttpError::Incomplete) => {
                    self.response = Response::Head(seen[used..].to_vec());
                    break;
                }
                Err(HttpError::Refused { why, .. }) => {
                    return self.bad_gateway(why.expected, why.found, out, cx);
                }
            }
        }
        if !out.is_empty() {
            self.to_client = Some(cx.buffers.copy(&out));
        }
        self.mark(cx);
        self.finish_if_done(cx)
    }

    /// The origin sends no more.
    pub(super) fn target_ended(&mut self, cx: &mut Cx) -> Next {
        self.origin_stays = false;
        match &self.response {
            Response::None => {
                self.drop_origin(Close::Graceful, cx);
                Next::Open
            }
            Response::Head(_) => {
                self.bad_gateway("a response, got the end of the origin's connection", None, Vec::new(), cx)
            }
            Response::Body(body) if body.may_end_at_eof() => {
                self.response = Response::Body(Body::new(Framing::None));
                self.drop_origin(Close::Graceful, cx);
                self.finish_if_done(cx)
            }
            Response::Body(_) => Next::Break(Fault::Reset),
        }
    }

    /// The connection to the origin failed.
    pub(super) fn target_failed(&mut self, fault: Fault, cx: &mut Cx) -> Next {
        self.drop_origin(Close::Reset, cx);
        match &self.response {
            Response::None => Next::Open,
            Response::Head(_) => {
                let why = Refusal::Unreachable(fault);
                let mut reply = self.take_unsent(cx);
                Plea::Connect.refused(&why, &mut reply);
                Next::Refuse { reply, why: Some(why) }
            }
            // The response came whole: its end does not matter to the client.
            Response::Body(body) if body.is_done() => {
                self.origin_stays = false;
                self.finish_if_done(cx)
            }
            Response::Body(_) => Next::Break(fault),
        }
    }

    /// Nothing can be written to the origin any more; its answer may still be there. The request is cut short, so it is
    /// the last.
    pub(super) fn target_write_failed(&mut self, cx: &mut Cx) {
        self.client_stays = false;
        self.origin_stays = false;
        if let Some(filled) = self.to_target.take() {
            cx.give(filled);
        }
        self.deaf = true;
        self.mark(cx);
    }

    /// `len` bytes were written to `side`.
    pub(super) fn written(&mut self, side: Side, len: usize, cx: &mut Cx) -> Next {
        self.active = cx.now;
        let held = match side {
            Side::Client => &mut self.to_client,
            Side::Target => &mut self.to_target,
        };
        if let Some(filled) = held {
            filled.consume(len);
            if filled.is_empty()
                && let Some(filled) = held.take()
            {
                cx.give(filled);
                self.mark(cx);
            }
        }
        self.finish_if_done(cx)
    }

    /// The response is through: the next request, or the end.
    fn finish_if_done(&mut self, cx: &mut Cx) -> Next {
        let through =
            matches!(&self.response, Response::Body(body) if body.is_done()) && self.to_client.is_none();
        if !through {
            return Next::Open;
        }
        if !self.client_stays || !self.request.is_done() {
            return Next::Refuse { reply: Vec::new(), why: None };
        }
        self.response = Response::None;
        if !self.origin_stays || self.to_target.is_some() {
            self.drop_origin(Close::Graceful, cx);
        }
        self.mark(cx);
        self.next_request(cx)
    }

    fn next_request(&mut self, cx: &mut Cx) -> Next {
        if self.waiting.is_empty() && !self.client_ended {
            return Next::Open;
        }
        match http_request(&cx.config, &self.waiting) {
            // Nothing more comes, or not enough: what is there is all there will be.
            HttpStep::More if self.client_ended => Next::Refuse { reply: Vec::new(), why: None },
            HttpStep::More => {
                cx.mark(self.client);
                Next::Open
            }
            HttpStep::Refuse { reply, why } => Next::Refuse { reply, why: Some(why) },
            HttpStep::Open { plea, destination, used } => {
                let mut early = core::mem::take(&mut self.waiting);
                early.drain(..used);
                match plea {
                    Plea::Forward(request) if self.target.is_some() && destination == self.origin => {
                        self.begin(*request, early, cx)
                    }
                    plea => Next::Reopen { plea, destination, early, client_ended: self.client_ended },
                }
            }
        }
    }

    fn drop_origin(&mut self, how: Close, cx: &mut Cx) {
        if let Some(target) = self.target.take() {
            cx.close(target, how);
        }
        if let Some(filled) = self.to_target.take() {
            cx.give(filled);
        }
    }

    /// What is owed to the client already (interim responses): a reply of ours comes behind it.
    fn take_unsent(&mut self, cx: &mut Cx) -> Vec<u8> {
        let Some(filled) = self.to_client.take() else { return Vec::new() };
        let unsent = filled.bytes().to_vec();
        cx.give(filled);
        unsent
    }

    fn refuse_request(&mut self, why: Malformed, cx: &mut Cx) -> Next {
        let why = Refusal::Malformed(why);
        // Where bytes of a response have left already, there is no place for another one.
        if !matches!(&self.response, Response::Head(_)) {
            return Next::Break(Fault::Reset);
        }
        let mut reply = self.take_unsent(cx);
        Plea::Connect.refused(&why, &mut reply);
        Next::Refuse { reply, why: Some(why) }
    }

    /// `out` is owed to the client before that.
    fn bad_gateway(&mut self, expected: &'static str, found: Option<u32>, out: Vec<u8>, cx: &mut Cx) -> Next {
        let why = Refusal::Malformed(Malformed { expected, found, at: 0 });
        let mut reply = self.take_unsent(cx);
        reply.extend(out);
        http::emit_error(502, &alloc::format!("from the origin: {why}"), &mut reply);
        Next::Refuse { reply, why: Some(why) }
    }

    /// Gives the buffers back.
    pub(super) fn release(self, cx: &mut Cx) {
        for held in [self.to_target, self.to_client].into_iter().flatten() {
            cx.give(held);
        }
    }
}
