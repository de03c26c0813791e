//! What comes from the origin: responses and their bodies, or a change of protocol.

use super::super::Cx;
use super::super::reply::ReplyFormat;
use super::{Forward, ForwardStep, Response, Tunnel, passed_on, take_bytes};
use crate::machine::event::{Event, Refusal};
use crate::machine::{Close, Fault};
use crate::record::Reading;
use crate::wire::Malformed;
use crate::wire::http::{self, Asked, Body, Framing, HeadEnd, HttpError, Named};
use alloc::vec::Vec;

impl Forward {
    /// What is made of the bytes that come next from the origin.
    pub(in super::super) fn reading(&self) -> Reading {
        match &self.response {
            Response::None => Reading::Nothing,
            // What goes on until the close is all data, also where no head was before it.
            Response::Body(body) if body.data_left() == u64::MAX => Reading::Nothing,
            Response::Head { .. } | Response::Body(_) => Reading::Response {
                head_request: self.head_request,
                version_10: self.version_10,
                upgrade: self.upgrade.clone(),
            },
        }
    }

    /// `len` bytes were read from the origin into the scratch buffer.
    pub(in super::super) fn target_read(&mut self, len: usize, cx: &mut Cx) -> ForwardStep {
        self.active = cx.now;
        self.received += len as u64;
        self.heard = true;
        match &mut self.response {
            // An origin that speaks unasked cannot be trusted with another request.
            Response::None => {
                self.drop_origin(Close::Reset, cx);
                ForwardStep::Open
            }
            Response::Head { seen, .. } => {
                seen.extend_from_slice(cx.buffers.peek(len));
                self.response_head(cx)
            }
            Response::Body(body) => {
                let (used, out, fault) = body.pass_some(cx.buffers.peek(len));
                if let Some(why) = fault {
                    let why = Refusal::BadResponse(why.behind(self.response_head));
                    // What came before the fault is the client's, if it sees that more is missing.
                    let rest = body.tells_its_end().then(|| out.bytes(cx.buffers.peek(len)).to_vec());
                    return ForwardStep::Spoiled { why, rest };
                }
                self.origin_stays &= used == len;
                self.to_client = passed_on(out, len, cx);
                self.mark(cx);
                self.finish_if_done(cx)
            }
        }
    }

    fn response_head(&mut self, cx: &mut Cx) -> ForwardStep {
        let mut out = Vec::new();
        let mut used = 0;
        let Response::Head { seen, end } = &mut self.response else { return ForwardStep::Open };
        if !end.is_worth_parsing(seen, self.limits.bytes) {
            self.mark(cx);
            return ForwardStep::Open;
        }
        let seen = core::mem::take(seen);
        let upgrade = core::mem::take(&mut self.upgrade);
        let asked = Asked { head: self.head_request, version_10: self.version_10, upgrade: &upgrade };
        loop {
            match http::parse_response(&seen[used..], &asked, self.limits) {
                Ok((head, took)) => {
                    used += took;
                    if head.interim {
                        // RFC 9110 section 15.2: a 1.0 client must not be sent a 1xx response.
                        if !self.version_10 {
                            out.extend(head.emit(false));
                        }
                        continue;
                    }
                    let again = self.again.take();
                    // RFC 9110 section 15.5.9: it was tired of waiting, and this request crossed
                    // with that.
                    if head.status == 408 && out.is_empty() && again.is_some() {
                        (self.again, self.heard) = (again, false);
                        if let Some(next) = self.stale(cx) {
                            return next;
                        }
                    }
                    if !head.switched.is_empty() {
                        out.extend(head.emit(false));
                        out.extend_from_slice(&seen[used..]);
                        return self.tunnel(out, cx);
                    }
                    self.origin_stays = head.keep_alive;
                    let request_whole = self.request.is_done();
                    self.client_stays &= head.body != Framing::UntilClose && request_whole;
                    out.extend(head.emit(!self.client_stays));
                    let mut body = Body::of_response(head.body, &head.named, self.version_10);
                    let (length, passed, fault) = body.pass_some(&seen[used..]);
                    out.extend_from_slice(passed.bytes(&seen[used..]));
                    if let Some(why) = fault {
                        let why = Refusal::BadResponse(why.behind(took));
                        return match body.tells_its_end() {
                            true => self.spoiled(why, out, cx),
                            // A client of HTTP/1.0, to which nothing has gone yet.
                            false => self.bad_gateway(why, Vec::new(), cx),
                        };
                    }
                    self.origin_stays &= used + length == seen.len();
                    self.response = Response::Body(body);
                    self.response_head = took;
                    break;
                }
                Err(HttpError::Incomplete) => {
                    // What was looked at of it counts from its own start.
                    let mut end = HeadEnd::default();
                    let seen = seen[used..].to_vec();
                    end.is_worth_parsing(&seen, self.limits.bytes);
                    self.response = Response::Head { seen, end };
                    self.upgrade = upgrade;
                    break;
                }
                // Where other requests wait, the client might take a part of it for their answers.
                Err(HttpError::Refused { why, .. }) if http::is_nameless(&why) && self.waiting.is_empty() => {
                    out.extend_from_slice(&seen[used..]);
                    (self.client_stays, self.origin_stays) = (false, false);
                    self.headless = true;
                    let body = Body::of_response(Framing::UntilClose, &Named::default(), false);
                    self.response = Response::Body(body);
                    break;
                }
                Err(HttpError::Refused { why, .. }) => {
                    return self.bad_gateway(Refusal::BadResponse(why), out, cx);
                }
                Err(HttpError::TooLarge(excess)) => {
                    return self.bad_gateway(Refusal::ResponseTooLarge(excess), out, cx);
                }
            }
        }
        if !out.is_empty() {
            let unsent = self.take_unsent(cx);
            self.to_client = Some(cx.buffers.own([unsent, out].concat().into_boxed_slice()));
        }
        self.mark(cx);
        self.finish_if_done(cx)
    }

    /// The origin has taken up another protocol; the client is owed `reply` about it.
    fn tunnel(&mut self, reply: Vec<u8>, cx: &mut Cx) -> ForwardStep {
        let Some(target) = self.target.take() else { return ForwardStep::Break(Fault::Reset) };
        let mut owed = self.take_unsent(cx);
        owed.extend(reply);
        let mut early = take_bytes(&mut self.to_target, cx);
        self.sent += self.waiting.len() as u64;
        early.append(&mut self.waiting);
        let totals = self.totals();
        ForwardStep::Tunnel(Tunnel { target, reply: owed, early, totals, client_ended: self.client_ended })
    }

    /// The origin sends no more.
    pub(in super::super) fn target_ended(&mut self, cx: &mut Cx) -> ForwardStep {
        if self.is_whole_but_for_its_end() {
            // Nobody knows which fields are lost: nothing may follow that could be read by them.
            self.client_stays = false;
            let step = self.response_head(cx);
            if !matches!((&step, &self.response), (ForwardStep::Open, Response::Body(_))) {
                return step;
            }
        }
        self.origin_stays = false;
        match &mut self.response {
            Response::None => {
                self.drop_origin(Close::Graceful, cx);
                ForwardStep::Open
            }
            Response::Head { seen, .. } => {
                let expected = match seen.is_empty() {
                    true => "a response, not the end of the connection",
                    false => "the rest of a head, not the end of the connection",
                };
                let why = Refusal::BadResponse(Malformed { expected, found: None, at: seen.len() });
                let seen = core::mem::take(seen);
                if let Some(next) = self.stale(cx) {
                    return next;
                }
                // Nothing follows it that could be another answer: the client judges it itself, as
                // without us. (One of HTTP/1.0 was not given an interim response.)
                let is_something = !(seen.is_empty() && self.version_10);
                match self.heard && self.waiting.is_empty() && is_something {
                    true => self.spoiled(why, seen, cx),
                    false => self.bad_gateway(why, Vec::new(), cx),
                }
            }
            Response::Body(body) => {
                let Some(rest) = body.end() else {
                    // RFC 9112 section 8: where it is framed, the client sees that a part is
                    // missing, and what there is of it is the client's.
                    return match body.tells_its_end() {
                        true => ForwardStep::Cut { rest: self.take_unsent(cx), fault: Fault::Reset },
                        false => ForwardStep::Break(Fault::Reset),
                    };
                };
                if !rest.is_empty() {
                    let mut owed = self.take_unsent(cx);
                    owed.extend_from_slice(rest);
                    self.to_client = Some(cx.buffers.own(owed.into_boxed_slice()));
                }
                self.drop_origin(Close::Graceful, cx);
                self.mark(cx);
                self.finish_if_done(cx)
            }
        }
    }

    /// Whether the head that has come is one if it ends here, as browsers take it where an origin
    /// closes in the middle of a head; then what is missing of its end is added, and no byte more:
    /// it would be the body's.
    fn is_whole_but_for_its_end(&mut self) -> bool {
        let asked = Asked { head: self.head_request, version_10: self.version_10, upgrade: &[] };
        let Response::Head { seen, .. } = &mut self.response else { return false };
        let len = seen.len();
        // The line's end, and the empty line: what is whole by the first of them takes no second.
        for _ in 0..2 {
            seen.push(b'\n');
            match http::parse_response(seen, &asked, self.limits) {
                Ok((head, _)) if len > 0 && !head.interim => return true,
                Err(HttpError::Incomplete) => {}
                _ => break,
            }
        }
        seen.truncate(len);
        false
    }

    /// The connection to the origin failed.
    pub(in super::super) fn target_failed(&mut self, fault: Fault, cx: &mut Cx) -> ForwardStep {
        self.tell_of_silence(fault, cx);
        self.drop_origin(Close::Reset, cx);
        match &self.response {
            Response::None => ForwardStep::Open,
            Response::Head { .. } => {
                if let Some(next) = self.stale(cx) {
                    return next;
                }
                let why = Refusal::Unreachable(fault);
                let mut reply = self.take_unsent(cx);
                ReplyFormat::Connect.refused(&why, &mut reply);
                ForwardStep::Refuse { reply, why: Some(why) }
            }
            // The response came whole: its end does not matter to the client.
            Response::Body(body) if body.is_done() => {
                self.origin_stays = false;
                self.finish_if_done(cx)
            }
            Response::Body(_) => ForwardStep::Break(fault),
        }
    }

    /// Nothing has moved for too long: the origin is silent, or one of the two stalls its body.
    pub(in super::super) fn timed_out(&mut self, cx: &mut Cx) -> ForwardStep {
        if !(self.awaits_response() && matches!(self.response, Response::Head { .. })) {
            return ForwardStep::Break(Fault::TimedOut);
        }
        self.drop_origin(Close::Reset, cx);
        let why = Refusal::Unreachable(Fault::TimedOut);
        let mut reply = self.take_unsent(cx);
        ReplyFormat::Connect.refused(&why, &mut reply);
        ForwardStep::Refuse { reply, why: Some(why) }
    }

    /// Nothing can be written to the origin any more; its answer may still be there. The request is
    /// cut short, so it is the last.
    pub(in super::super) fn target_write_failed(&mut self, fault: Fault, cx: &mut Cx) {
        self.tell_of_silence(fault, cx);
        self.client_stays = false;
        self.origin_stays = false;
        if let Some(filled) = self.to_target.take() {
            cx.return_buffer(filled);
        }
        self.stopped_reading = true;
        self.mark(cx);
    }

    /// What was sent by an uplink was not acknowledged in time.
    fn tell_of_silence(&self, fault: Fault, cx: &mut Cx) {
        if let (Fault::TimedOut, Some(uplink)) = (fault, self.uplink)
            && self.sent > 0
        {
            cx.event(Event::Unacknowledged { uplink });
        }
    }

    /// What the origin said is no HTTP; `out` of it is the client's, and shows that a part is
    /// missing.
    fn spoiled(&mut self, why: Refusal, out: Vec<u8>, cx: &mut Cx) -> ForwardStep {
        let rest = [self.take_unsent(cx), out].concat();
        ForwardStep::Spoiled { why, rest: Some(rest) }
    }

    /// `out` is owed to the client before that.
    fn bad_gateway(&mut self, why: Refusal, out: Vec<u8>, cx: &mut Cx) -> ForwardStep {
        let mut reply = self.take_unsent(cx);
        reply.extend(out);
        http::emit_error(502, &alloc::format!("from the origin: {why}"), &mut reply);
        ForwardStep::Refuse { reply, why: Some(why) }
    }
}
