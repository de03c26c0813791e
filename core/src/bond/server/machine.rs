//! The machine: time, links, the farewell.

use super::{Server, socket};
use crate::bond::client::FAREWELL;
use crate::bond::wire::{CloseReason, Frame};
use crate::machine::{Fault, Input, Machine, Output, StreamMachine};
use crate::time::{Duration, Instant};

/// An association ends after this time without a packet: six idle pings of each path were missed.
const IDLE: Duration = Duration::from_secs(180);

impl Machine for Server {
    fn handle_input(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Entropy { bytes } => {
                self.rng.mix(bytes);
                self.responder.mix(bytes);
            }
            Input::SendFailed { id, fault: Fault::TooLarge, .. } => {
                let Some((client, path)) = socket::owner(id) else { return };
                let live = self.sessions.get_mut(&client).and_then(|session| session.live.as_mut());
                if let Some(peer) = live {
                    peer.handle_too_large(now, path);
                    self.settle(now, client);
                }
            }
            Input::Drain => {
                self.drained = true;
                self.farewell = Some(now + FAREWELL);
                self.each(|server, client| {
                    let live = server.sessions.get_mut(&client).and_then(|session| session.live.as_mut());
                    if let Some(peer) = live {
                        peer.send_frame(Frame::Close(CloseReason::Shutdown));
                    }
                    server.settle(now, client);
                });
            }
            // A lost datagram is repaired; a refused one is its client's affair.
            Input::SendFailed { .. } | Input::SocketFailed { .. } => {}
            // The caller sets the device's addresses.
            Input::ConfigureFailed { .. } => {}
            // A server has one socket and no uplinks; a bond has no streams and asks for no names.
            Input::Opened { .. }
            | Input::OpenFailed { .. }
            | Input::UplinkGone { .. }
            | Input::UplinkBack { .. }
            | Input::Accepted { .. }
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
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.farewell.take_if(|at| *at <= now).is_some() {
            self.busy.clear();
            return;
        }
        self.each(|server, client| {
            let Some(session) = server.sessions.get_mut(&client) else { return };
            if now - session.heard >= IDLE {
                server.end(client);
                return;
            }
            let Some(peer) = session.live.as_mut() else { return };
            if peer.poll_timeout().is_some_and(|at| at <= now) {
                peer.handle_timeout(now, &mut server.give);
                while let Some(index) = peer.keys.poll_retired() {
                    server.responder.release(index);
                }
                server.settle(now, client);
            }
        });
    }

    fn poll_output(&mut self) -> Option<Output> {
        while let Some(client) = self.taken.1.pop() {
            let now = self.taken.0;
            let live = self.sessions.get_mut(&client).and_then(|session| session.live.as_mut());
            if let Some(peer) = live {
                peer.pump_fed(now);
                self.settle(now, client);
            }
        }
        if self.drained && self.outputs.is_empty() && self.busy.is_empty() {
            (self.drained, self.farewell) = (false, None);
            self.outputs.extend([Output::CloseSocket { socket: self.socket }, Output::Finished]);
        }
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let live = self.sessions.values().filter_map(|session| Some((session.live.as_ref()?, session.heard)));
        let live = live.flat_map(|(peer, heard)| [peer.poll_timeout(), Some(heard + IDLE)]);
        live.flatten().chain(self.farewell).min()
    }
}

impl StreamMachine for Server {}
