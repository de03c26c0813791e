//! What a broken driver would do to datagrams.

use super::{Faulty, Kind};
use ropewalk_core::machine::{Application, Rx, SocketId, Transmit};
use ropewalk_core::time::Instant;
use std::net::SocketAddr;
use std::time::Duration;

/// What the faults remember.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) closed: Option<SocketId>,
    to: Option<SocketAddr>,
    from: Option<SocketAddr>,
}

/// What the layer does otherwise with datagrams.
impl<M: Application> Faulty<M> {
    pub(super) fn next_dirty_socket(&mut self) -> Option<SocketId> {
        loop {
            let dirty = self.machine.poll_dirty_socket()?;
            if self.kind != Kind::LoseDirtySocket || !self.each(2) {
                return Some(dirty);
            }
        }
    }

    pub(super) fn take_datagrams(&mut self, now: Instant, socket: SocketId, rx: &mut [Rx<'_>]) {
        self.now = now;
        let mut socket = socket;
        match self.kind {
            Kind::MergeReceived => rx.iter_mut().for_each(|rx| rx.stride = rx.data.len()),
            Kind::NoTo => rx.iter_mut().for_each(|rx| rx.to = None),
            Kind::NoEcnReceived => rx.iter_mut().for_each(|rx| rx.ecn = 0),
            Kind::TurnRound => rx.reverse(),
            Kind::WrongSender => {
                for rx in rx.iter_mut() {
                    if let Some(from) = self.sockets.from.replace(rx.from) {
                        rx.from = from;
                    }
                }
            }
            Kind::DropEmpty => {
                for rx in rx.iter_mut().filter(|rx| !rx.data.is_empty()) {
                    self.machine.handle_datagrams(now, socket, std::slice::from_mut(rx));
                }
                return;
            }
            Kind::GiveTwice => self.machine.handle_datagrams(now, socket, rx),
            Kind::ReceiveClosed => socket = self.sockets.closed.take().unwrap_or(socket),
            _ => {}
        }
        self.machine.handle_datagrams(now, socket, rx);
    }

    pub(super) fn next_transmit(
        &mut self,
        now: Instant,
        socket: SocketId,
        buf: &mut [u8],
    ) -> Option<Transmit> {
        let mut transmit = self.machine.poll_transmit(now, socket, buf)?;
        if self.kind == Kind::BlockSend && self.each(64) {
            std::thread::sleep(Duration::from_millis(20));
        }
        match self.kind {
            Kind::MergeSent => transmit.segment = None,
            Kind::CutSent => {
                if let Some(segment) = transmit.segment {
                    transmit.len -= (transmit.len - 1) % segment + 1;
                }
            }
            Kind::CutLarge if transmit.segment.is_none() => transmit.len = transmit.len.min(1472),
            Kind::WrongAddress => {
                if let (Some(to), Some(before)) =
                    (transmit.to, std::mem::replace(&mut self.sockets.to, transmit.to))
                {
                    transmit.to = (to != before).then_some(before).or(Some(to));
                }
            }
            Kind::NoFrom => transmit.from = None,
            Kind::NoEcnSent => transmit.ecn = 0,
            _ => {}
        }
        Some(transmit)
    }
}
