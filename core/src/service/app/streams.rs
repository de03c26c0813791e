//! What of a stream may be moved now: its buffers, and whether the kernel moves it.

use super::Service;
use crate::machine::{SocketId, Splice, StreamId};
use crate::record::Reading;
use crate::service::Connection;

impl<C: Connection> Service<C> {
    pub(crate) fn poll_dirty(&mut self) -> Option<StreamId> {
        self.cx.poll_dirty()
    }

    pub(crate) fn read_buf(&mut self, stream: StreamId) -> &mut [u8] {
        let Some((id, side)) = self.side(stream) else { return &mut [] };
        let Some(conn) = self.conn(id) else { return &mut [] };
        let (mut wants, keeps, uplink) = (conn.wants_of(side, stream), conn.keeps(side), conn.uplink());
        if let Some(kept) = keeps
            && wants > 0
        {
            wants = wants.min(self.cx.room(stream, kept));
        }
        if let Some(uplink) = uplink
            && wants > 0
        {
            wants = wants.min(self.cx.rate_room(stream, uplink, side));
        }
        if wants == 0 {
            return &mut [];
        }
        let scratch = self.cx.scratch();
        let len = wants.min(scratch.len());
        &mut scratch[..len]
    }

    pub(crate) fn write_buf(&self, stream: StreamId) -> &[u8] {
        self.side(stream)
            .and_then(|(id, side)| self.conn(id).map(|conn| conn.write_buf_of(side, stream)))
            .unwrap_or(&[])
    }

    /// See [`Connection::reading`].
    pub(crate) fn reading(&self, stream: StreamId) -> Reading {
        let Some((id, side)) = self.side(stream) else { return Reading::Nothing };
        self.conn(id).map_or(Reading::Nothing, |conn| conn.reading(side, stream))
    }

    /// See [`Discreet::is_pressed`](crate::record::Discreet::is_pressed).
    pub(crate) fn is_pressed(&self) -> bool {
        self.cx.is_pressed()
    }

    /// See [`Discreet::held`](crate::record::Discreet::held).
    pub(crate) fn held(&self) -> usize {
        self.cx.held()
    }

    /// See [`Connection::reads_of`].
    pub(crate) fn reads_of(&self, socket: SocketId, datagram: &[u8]) -> usize {
        let conn = self.cx.sockets.owner(socket).and_then(|id| self.conn(*id));
        conn.map_or(0, |conn| conn.reads_of(socket, datagram))
    }

    pub(crate) fn splice(&self, from: StreamId) -> Option<Splice> {
        let (id, side) = self.side(from)?;
        let conn = self.conn(id)?;
        let mut splice = conn.splice(side)?;
        // What the kernel moves cannot be counted before it has moved: once the uplink has a rate,
        // what is in the pipe goes on, and no more comes in.
        if self.cx.has_rate(conn.uplink()) {
            splice.max = 0;
        }
        Some(splice)
    }

    #[cfg_attr(not(feature = "dispatch"), expect(dead_code, reason = "clients of unwrap are balancers"))]
    pub(crate) fn hears_faults(&self, stream: StreamId) -> bool {
        self.side(stream).is_some_and(|(id, side)| self.conn(id).is_some_and(|conn| conn.hears_faults(side)))
    }

    pub(crate) fn refuse_splice(&mut self, from: StreamId) {
        self.on_stream(from, C::refuse_splice);
    }
}
