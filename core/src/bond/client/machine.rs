//! The machine: links, time, the farewell.

use super::Client;
use super::news::ASK_AGAIN;
use crate::bond::peer::Slot;
use crate::bond::wire::{CloseReason, Frame};
use crate::machine::{Input, Machine, Output, StreamMachine};
use crate::time::{Duration, Instant};

/// A socket that takes nothing holds up the farewell for this long, and no longer.
pub(in crate::bond) const FAREWELL: Duration = Duration::from_secs(1);

impl Machine for Client {
    fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Opened { socket, local } => {
                match self.way_of(socket) {
                    Some(index) => self.opened(now, index, local.ip()),
                    // Its uplink went, or moved, before it was open: only this closes it.
                    None => self.outputs.push_back(Output::CloseSocket { socket }),
                }
            }
            Input::OpenFailed { socket, .. } => {
                if let Some(index) = self.way_of(socket) {
                    self.reopen_later(now, index);
                }
            }
            Input::SendFailed { socket, fault, .. } => {
                if let Some(index) = self.way_of(socket) {
                    self.send_failed(now, index, fault);
                }
            }
            // No server listens there, or a router says so: the probes will show whether it stays
            // so.
            Input::SocketFailed { .. } => {}
            Input::UplinkGone { uplink } => {
                if let Some(index) = self.index_of(uplink) {
                    self.ways[index].gone = true;
                    self.close(index);
                    self.ways[index].reopen = None;
                    self.peer.handle_link(now, self.ways[index].path, false);
                    self.announce(now);
                }
            }
            Input::UplinkBack { uplink, via } => {
                if let Some(index) = self.index_of(uplink) {
                    self.ways[index].gone = false;
                    self.ways[index].uplink.via = via;
                    self.close(index);
                    self.open(index);
                    self.announce(now);
                }
            }
            Input::Entropy { bytes } => {
                self.rng.mix(bytes);
                self.initiator.mix(bytes);
            }
            Input::ConfigureFailed { .. } => {
                // It is asked for again: what was in the way may be gone by then.
                self.epoch = 0;
                self.ask_config = Some(now + ASK_AGAIN * 10);
            }
            Input::Drain => {
                self.drained = true;
                self.farewell = Some(now + FAREWELL);
                self.peer.send_frame(Frame::Close(CloseReason::Shutdown));
            }
            // A bond has no streams, asks for no names and no uplinks.
            Input::Accepted { .. }
            | Input::AcceptFailed { .. }
            | Input::Connected { .. }
            | Input::ConnectFailed { .. }
            | Input::SocketMemory { .. }
            | Input::Assigned { .. }
            | Input::Resolved { .. }
            | Input::ResolveFailed { .. }
            | Input::Read { .. }
            | Input::ReadClosed { .. }
            | Input::Written { .. }
            | Input::Spliced { .. }
            | Input::Failed { .. }
            | Input::WriteFailed { .. }
            | Input::LocalAddresses { .. } => {}
        }
        self.settle(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        for index in 0..self.ways.len() {
            if self.ways[index].reopen.is_some_and(|at| at <= now) {
                self.open(index);
            }
        }
        if self.farewell.is_some_and(|at| at <= now) {
            self.farewell = None;
        }
        self.peer.handle_timeout(now, &mut self.give);
        self.settle(now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        if let Some(now) = self.taken.take() {
            self.peer.pump_fed(now);
            self.settle(now);
        }
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        // The farewell has left, or there is no server for it, or no way to it.
        let open = |slot: &Slot| self.ways.get(slot.id.index()).is_some_and(|way| way.open);
        let waits = self.peer.slots().any(|slot| slot.wants_to_send() && slot.validated && open(slot));
        let done = self.drained && (!waits || self.farewell.is_none());
        if done && !core::mem::replace(&mut self.finished, true) {
            (0..self.ways.len()).for_each(|index| self.close(index));
            self.ways.iter_mut().for_each(|way| way.socket = None);
            self.outputs.push_back(Output::Finished);
        }
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let reopen = self.ways.iter().filter_map(|way| way.reopen);
        let own = [
            self.initiator.poll_timeout(),
            self.ask_config.filter(|_| self.established),
            self.farewell.filter(|_| self.ways.iter().any(|way| way.socket.is_some())),
            self.wishes.poll_timeout().filter(|_| self.established),
            self.forgotten_at(),
            self.renew_by(),
            self.peer.poll_timeout(),
        ];
        reopen.chain(own.into_iter().flatten()).min()
    }
}

impl StreamMachine for Client {}
