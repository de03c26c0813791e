//! A kept connection that the origin closed just as the next request went out.
//!
//! This is no fault of either side: the close and the request crossed. A client with its own
//! connection to the origin would see the same, and ask again. Here it has one to us, so:
//!
//! An origin may also have said 408 to the idle connection, which is then no answer to the request.
//!
//! ```text
//!   idempotent, without a body     sent once more, on a fresh connection
//!   anything else                  the client's connection ends without an answer, so that it decides itself
//! ```
//!
//! Sources: RFC 9110 section 9.2.2, RFC 9112 section 9.3.1.

use super::super::Cx;
use super::super::reply::ReplyFormat;
use super::{Forward, ForwardStep};
use crate::machine::Close;
use crate::machine::event::Refusal;
use alloc::vec::Vec;

impl Forward {
    /// The origin is gone, and no byte of the response has come. `None` where its connection was
    /// fresh: then it is the origin's answer to this request.
    pub(super) fn stale(&mut self, cx: &mut Cx) -> Option<ForwardStep> {
        if !self.kept || self.heard {
            return None;
        }
        self.drop_origin(Close::Graceful, cx);
        Some(match self.again.take() {
            Some(request) => ForwardStep::Reopen {
                destination: request.destination.clone(),
                format: ReplyFormat::Forward(request),
                early: core::mem::take(&mut self.waiting),
                client_ended: self.client_ended,
            },
            None => ForwardStep::Refuse { reply: Vec::new(), why: Some(Refusal::Stale) },
        })
    }
}
