//! HTTP messages in absolute form, passed on to their origins, one exchange after another.
//!
//! ```text
//!   client ──head, body──▶ to_target ──▶ origin
//!   client ◀── to_client ◀──head, body── origin
//!      └─ the next request: same origin and still open: again; else the next Opening
//!      └─ 101: the protocol changes, what follows is a Relay's
//! ```
//!
//! Where a message ends is read from its framing (RFC 9112 section 6). What comes behind a request
//! waits until its response is through. A request is never repeated once bytes of it may have left,
//! with one exception: see `stale`.
//!
//! - `client`: what comes from the client. `origin`: what comes from the origin. `stale`: a kept
//!   connection that the origin closed.

mod client;
mod origin;
mod stale;

use super::Cx;
use super::handshake::{HttpStep, http_request};
use super::reply::ReplyFormat;
use crate::buffer::Filled;
use crate::machine::event::Refusal;
use crate::machine::{Close, Fault, StreamId, UplinkId};
use crate::name::Destination;
use crate::service::Side;
use crate::time::Instant;
use crate::wire::http::{self, Body, Framing, HeadEnd, HeadLimits, Named, Out};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Bytes behind a request that are read ahead: enough to see that the client has left.
const READ_AHEAD: usize = 16 * 1024;

#[derive(Debug)]
enum Response {
    /// No request is under way.
    None,
    /// The head so far.
    Head { seen: Vec<u8>, end: HeadEnd },
    /// The body.
    Body(Body),
}

#[derive(Debug)]
pub(super) struct Forward {
    client: StreamId,
    /// The open connection to an origin.
    target: Option<StreamId>,
    pub(super) uplink: Option<UplinkId>,
    /// Whose the last request is; `None` for the first, which the handshake has seen.
    pub(super) user: Option<Box<[u8]>>,
    origin: Destination,
    limits: HeadLimits,
    /// Client bytes that are not yet anybody's.
    waiting: Vec<u8>,
    waiting_end: HeadEnd,
    request: Body,
    /// Bytes of its head.
    request_head: usize,
    response: Response,
    /// Bytes of its head.
    response_head: usize,
    to_target: Option<Filled>,
    to_client: Option<Filled>,
    head_request: bool,
    version_10: bool,
    /// The protocols that the origin may change to.
    upgrade: Vec<u8>,
    client_stays: bool,
    origin_stays: bool,
    client_ended: bool,
    /// The origin takes no more of the request.
    stopped_reading: bool,
    /// The origin's connection has carried an exchange before this one.
    kept: bool,
    /// A byte of the response has come.
    heard: bool,
    /// The response has no head: it goes to the client as it came.
    headless: bool,
    /// The request, where it may be sent once more.
    again: Option<Box<http::Forward>>,
    /// When bytes moved last.
    pub(super) active: Instant,
    sent: u64,
    received: u64,
}

/// What is to become of it.
#[derive(Debug)]
pub(super) enum ForwardStep {
    /// It goes on.
    Open,
    /// The client wants to go there now; the old origin is closed.
    Reopen {
        /// The protocol in which the client is answered.
        format: ReplyFormat,
        /// There.
        destination: Destination,
        /// What came behind the head.
        early: Vec<u8>,
        /// The client sends no more than that.
        client_ended: bool,
    },
    /// From here on bytes go both ways as they come.
    Tunnel(Tunnel),
    /// Write this, then close.
    Refuse {
        /// The last bytes to the client; empty after a whole response.
        reply: Vec<u8>,
        /// Why, if it is not the orderly end.
        why: Option<Refusal>,
    },
    /// Reset the client: it was promised more than can be delivered.
    Break(Fault),
    /// The same, where the client can see that the message is not whole: write what is left of it,
    /// then close.
    Cut {
        /// What it is owed.
        rest: Vec<u8>,
        /// Why there is no more.
        fault: Fault,
    },
    /// The same, for what the origin sent is no HTTP.
    Spoiled {
        /// What is wrong.
        why: Refusal,
        /// What the client is owed, where it can see that the message is not whole.
        rest: Option<Vec<u8>>,
    },
}

/// A connection whose protocol has changed.
#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) target: StreamId,
    /// What the client is owed.
    pub(super) reply: Vec<u8>,
    /// What the origin is owed.
    pub(super) early: Vec<u8>,
    /// Bytes to the origin, with `early`, and from it.
    pub(super) totals: (u64, u64),
    pub(super) client_ended: bool,
}

impl Forward {
    pub(super) fn new(
        client: StreamId,
        target: StreamId,
        uplink: Option<UplinkId>,
        request: http::Forward,
        early: Vec<u8>,
        cx: &mut Cx,
    ) -> (Self, ForwardStep) {
        let mut forward = Forward {
            client,
            target: Some(target),
            uplink,
            user: None,
            origin: request.destination.clone(),
            limits: cx.config.heads(),
            waiting: Vec::new(),
            waiting_end: HeadEnd::default(),
            request: Body::of_request(Framing::None, &Named::default()),
            request_head: 0,
            response: Response::None,
            response_head: 0,
            to_target: None,
            to_client: None,
            head_request: false,
            version_10: false,
            upgrade: Vec::new(),
            client_stays: true,
            origin_stays: true,
            client_ended: false,
            stopped_reading: false,
            kept: false,
            heard: false,
            headless: false,
            again: None,
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

    /// The request is through, the response is not.
    pub(super) fn awaits_response(&self) -> bool {
        self.request.is_done() && !self.is_idle()
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
        let room = |most: usize| most.saturating_sub(self.waiting.len());
        match side {
            Side::Client if self.client_ended || self.stopped_reading => 0,
            // One byte more than a head may have, so that the head is seen to be too large.
            Side::Client if self.is_idle() => room(self.limits.bytes.saturating_add(1)),
            Side::Client if self.request.is_done() => room(READ_AHEAD),
            Side::Client => all(self.to_target.is_none()),
            Side::Target => all(self.to_client.is_none()),
        }
    }

    /// Bytes of `side` that are kept already and to which the next read is added; `None`: a read is
    /// passed on at once.
    pub(super) fn keeps(&self, side: Side) -> Option<usize> {
        match (side, &self.response) {
            (Side::Client, _) if self.request.is_done() => Some(self.waiting.len()),
            (Side::Target, Response::Head { seen, .. }) => Some(seen.len()),
            (Side::Client | Side::Target, _) => None,
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

    fn mark(&self, cx: &mut Cx) {
        cx.mark_dirty(self.client);
        if let Some(target) = self.target {
            cx.mark_dirty(target);
        }
    }

    /// `len` bytes were written to `side`.
    pub(super) fn written(&mut self, side: Side, len: usize, cx: &mut Cx) -> ForwardStep {
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
                cx.return_buffer(filled);
                self.mark(cx);
            }
        }
        self.finish_if_done(cx)
    }

    /// The response is through: the next request, or the end.
    fn finish_if_done(&mut self, cx: &mut Cx) -> ForwardStep {
        let through =
            matches!(&self.response, Response::Body(body) if body.is_done()) && self.to_client.is_none();
        if !through {
            return ForwardStep::Open;
        }
        if !self.client_stays || !self.request.is_done() {
            return ForwardStep::Refuse { reply: Vec::new(), why: None };
        }
        self.response = Response::None;
        if !self.origin_stays || self.to_target.is_some() {
            self.drop_origin(Close::Graceful, cx);
        }
        self.mark(cx);
        self.next_request(cx)
    }

    fn next_request(&mut self, cx: &mut Cx) -> ForwardStep {
        if self.waiting.is_empty() && !self.client_ended {
            return ForwardStep::Open;
        }
        let is_worth_parsing = self.waiting_end.is_worth_parsing(&self.waiting, self.limits.bytes);
        let step = match is_worth_parsing {
            true => http_request(&cx.config, &self.waiting),
            false => HttpStep::More,
        };
        match step {
            // Nothing more comes, or not enough: what is there is all there will be.
            HttpStep::More if self.client_ended => ForwardStep::Refuse { reply: Vec::new(), why: None },
            HttpStep::More => {
                cx.mark_dirty(self.client);
                ForwardStep::Open
            }
            HttpStep::Answer { reply } => ForwardStep::Refuse { reply, why: None },
            HttpStep::Refuse { reply, why } => ForwardStep::Refuse { reply, why: Some(why) },
            HttpStep::Open { format, destination, user, used } => {
                self.user = user;
                self.waiting_end = HeadEnd::default();
                let mut early = core::mem::take(&mut self.waiting);
                early.drain(..used);
                match format {
                    ReplyFormat::Forward(request) if self.target.is_some() && destination == self.origin => {
                        self.kept = true;
                        self.begin(*request, early, cx)
                    }
                    format => {
                        ForwardStep::Reopen { format, destination, early, client_ended: self.client_ended }
                    }
                }
            }
        }
    }

    fn drop_origin(&mut self, how: Close, cx: &mut Cx) {
        if let Some(target) = self.target.take() {
            cx.close(target, how);
        }
        if let Some(filled) = self.to_target.take() {
            cx.return_buffer(filled);
        }
    }

    /// What is owed to the client already (interim responses): a reply of ours comes behind it.
    fn take_unsent(&mut self, cx: &mut Cx) -> Vec<u8> {
        take_bytes(&mut self.to_client, cx)
    }

    /// Gives the buffers back.
    pub(super) fn release(self, cx: &mut Cx) {
        for held in [self.to_target, self.to_client].into_iter().flatten() {
            cx.return_buffer(held);
        }
    }
}

/// The bytes of a buffer, which is given back.
fn take_bytes(held: &mut Option<Filled>, cx: &mut Cx) -> Vec<u8> {
    let Some(filled) = held.take() else { return Vec::new() };
    let bytes = filled.bytes().to_vec();
    cx.return_buffer(filled);
    bytes
}

/// What goes on in place of the `len` bytes that were read into the scratch buffer; `None`:
/// nothing.
fn passed_on(out: Out, len: usize, cx: &mut Cx) -> Option<Filled> {
    match out {
        Out::Same(0) => None,
        Out::Same(same) => {
            let mut filled = cx.buffers.take(len);
            filled.truncate(same);
            Some(filled)
        }
        Out::Rewritten(bytes) if bytes.is_empty() => None,
        Out::Rewritten(bytes) => Some(cx.buffers.own(bytes.into_boxed_slice())),
    }
}
