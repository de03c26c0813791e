//! A last reply: written, then our half is ended, then what the client still sends is read and
//! dropped: as long as bytes come, and not for longer than half a minute. A close with unread bytes
//! would make a reset of it, and the reply could be lost on the way.

use super::Cx;
use crate::machine::{Output, StreamId};
use crate::time::{Duration, Instant};
use alloc::vec::Vec;

/// How long bytes are read and dropped, however many come.
const LONGEST_READING: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Closing {
    reply: Vec<u8>,
    sent: usize,
    shut: bool,
    /// Nothing is said before [`Closing::speak`].
    held: bool,
    began: Instant,
    /// When the next thing is done: it speaks, or it ends.
    until: Instant,
}

impl Closing {
    pub(super) fn new(client: StreamId, reply: Vec<u8>, cx: &mut Cx) -> Self {
        let until = cx.now + cx.config.linger;
        let mut closing = Closing { reply, sent: 0, shut: false, held: false, began: cx.now, until };
        closing.end_when_sent(client, cx);
        cx.mark_dirty(client);
        closing
    }

    /// A reply that is held back for a while, so that guessing passwords is slow.
    pub(super) fn held(reply: Vec<u8>, cx: &Cx) -> Self {
        let until = cx.now + cx.config.auth_delay;
        Closing { reply, sent: 0, shut: false, held: true, began: cx.now, until }
    }

    /// Lets the reply leave. False: it has left already.
    pub(super) fn speak(&mut self, client: StreamId, cx: &mut Cx) -> bool {
        if !core::mem::take(&mut self.held) {
            return false;
        }
        self.until = cx.now + cx.config.linger;
        self.end_when_sent(client, cx);
        cx.mark_dirty(client);
        true
    }

    pub(super) fn write_buf(&self) -> &[u8] {
        if self.held { &[] } else { &self.reply[self.sent..] }
    }

    pub(super) fn wants_read(&self) -> bool {
        self.shut
    }

    /// The client still sends, and may go on to.
    pub(super) fn read(&mut self, cx: &Cx) {
        self.until = (cx.now + cx.config.linger).min(self.began + LONGEST_READING);
    }

    /// When it has waited long enough.
    pub(super) fn until(&self) -> Instant {
        self.until
    }

    pub(super) fn written(&mut self, client: StreamId, len: usize, cx: &mut Cx) {
        self.sent = (self.sent + len).min(self.reply.len());
        self.end_when_sent(client, cx);
    }

    fn end_when_sent(&mut self, client: StreamId, cx: &mut Cx) {
        if self.sent == self.reply.len() && !self.shut {
            self.shut = true;
            cx.push_output(Output::Shutdown { stream: client });
            cx.mark_dirty(client);
        }
    }
}
