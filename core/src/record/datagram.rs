//! The datagram half of a recording: what was received, and the fingerprint of what was sent.

use super::codec::{Reader, Writer};
use crate::machine::{Rx, SocketId};
use crate::time::Instant;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

pub(super) const DATAGRAMS: u8 = 5;
pub(super) const TRANSMIT: u8 = 6;

/// What was received in one go, read back.
#[derive(Debug)]
pub(super) struct Group<'a> {
    data: &'a [u8],
    stride: usize,
    from: SocketAddr,
    to: Option<IpAddr>,
    interface: Option<u32>,
    ecn: u8,
}

impl Group<'_> {
    /// As a driver gives it: the bytes are copied to `data`, where the machine may change them.
    pub(super) fn rx<'d>(&self, data: &'d mut Vec<u8>) -> Rx<'d> {
        data.extend_from_slice(self.data);
        let Group { stride, from, to, interface, ecn, .. } = *self;
        Rx { data, stride, from, to, interface, ecn }
    }
}

impl Writer {
    pub(super) fn socket(&mut self, socket: SocketId) {
        self.id(socket.index(), socket.generation());
    }

    pub(super) fn datagrams(&mut self, now: Instant, socket: SocketId, rx: &[Rx<'_>]) {
        self.tag(DATAGRAMS, now);
        self.socket(socket);
        self.number(rx.len() as u64);
        for rx in rx {
            self.batch(rx);
            self.raw(rx.data);
        }
    }

    /// All of `rx` but its bytes.
    pub(super) fn batch(&mut self, rx: &Rx<'_>) {
        self.number(rx.stride as u64);
        self.address(rx.from);
        self.option(rx.to, Writer::ip);
        self.option(rx.interface, |w, interface| w.number(interface.into()));
        self.raw(&[rx.ecn]);
        self.number(rx.data.len() as u64);
    }

    pub(super) fn transmit(&mut self, now: Instant, socket: SocketId, room: usize, print: u64) {
        self.tag(TRANSMIT, now);
        self.socket(socket);
        self.number(room as u64);
        self.raw(&print.to_be_bytes());
    }
}

impl<'a> Reader<'a> {
    pub(super) fn socket(&mut self) -> Option<SocketId> {
        let (index, generation) = self.id()?;
        Some(SocketId::from_parts(index, generation))
    }

    pub(super) fn groups(&mut self) -> Option<Vec<Group<'a>>> {
        let count = self.len()?;
        // Not believed before they are there: a damaged count must not take memory.
        (0..count).map(|_| self.group()).collect()
    }

    fn group(&mut self) -> Option<Group<'a>> {
        let stride = self.len()?;
        let from = self.address()?;
        let to = self.option(Reader::ip)?;
        let interface = self.option(|r| u32::try_from(r.number()?).ok())?;
        let ecn = self.byte()?;
        let len = self.len()?;
        Some(Group { data: self.raw(len)?, stride, from, to, interface, ecn })
    }
}
