//! The socket half: which path a datagram belongs to, and which one sends next.

use super::Client;
use crate::bond::inner;
use crate::bond::wire::PacketType;
use crate::machine::{DatagramMachine, Rx, SocketId, Transmit};
use crate::time::Instant;

impl Client {
    /// Whether it was authentic.
    pub(super) fn handle_datagram(
        &mut self,
        now: Instant,
        index: usize,
        datagram: &mut [u8],
        ecn: u8,
    ) -> bool {
        let path = self.ways[index].path;
        let Some(kind) = datagram.first().and_then(|first| PacketType::of(*first).ok()) else {
            return false;
        };
        match kind {
            // A client is not asked.
            PacketType::Init => return false,
            PacketType::Cookie => return self.initiator.handle_cookie(now, path, datagram),
            PacketType::Response => return self.handle_response(now, path, datagram),
            PacketType::Transport => {
                let headers = self.peer.slot(path).map_or(28, |slot| slot.remote.headers());
                let ours = &self.addresses;
                let accept = |packet: &[u8]| inner::destination(packet).is_some_and(|to| ours.contains(&to));
                let Ok(arrival) = self.peer.receive(now, datagram, headers, ecn, accept, &mut self.give)
                else {
                    return false;
                };
                self.heard = now;
                if arrival.confirms {
                    self.initiator.confirmed();
                }
                // Its questions may have been given up while the link was silent.
                if self.peer.slot(path).is_some_and(|slot| !slot.validated) {
                    self.challenge(now, path);
                }
            }
        }
        true
    }
}

impl DatagramMachine for Client {
    fn poll_dirty_socket(&mut self) -> Option<SocketId> {
        if let Some(socket) = self.dirty.pop_front() {
            return Some(socket);
        }
        let id = self.peer.poll_dirty()?;
        self.peer.slot(id).map(|slot| slot.remote.socket)
    }

    fn handle_datagrams(&mut self, now: Instant, socket: SocketId, rx: &mut [Rx<'_>]) {
        let Some(index) = self.way_of(socket) else { return };
        let mut heard = false;
        for rx in rx {
            let (stride, ecn) = (rx.stride.max(1), rx.ecn);
            for datagram in rx.data.chunks_mut(stride) {
                heard |= self.handle_datagram(now, index, datagram, ecn);
            }
        }
        // Only what was authentic is an event.
        if !heard {
            return;
        }
        self.peer.finish_batch(now, &mut self.give);
        self.settle(now);
    }

    fn poll_transmit(&mut self, now: Instant, socket: SocketId, buf: &mut [u8]) -> Option<Transmit> {
        let index = self.way_of(socket)?;
        let id = self.ways[index].path;
        if let Some(message) = self.initiator.poll_transmit(now, id) {
            buf.get_mut(..message.len())?.copy_from_slice(&message);
            return Some(Transmit { len: message.len(), ..Transmit::default() });
        }
        self.peer.poll_transmit(now, id, buf)
    }
}
