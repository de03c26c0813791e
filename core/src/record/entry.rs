//! Entries that leave something out: written, and read back.

use super::MAGIC;
use super::codec::{Entry, Reader, Writer};
use super::replay::FILLER;
use crate::machine::{Rx, SocketId, StreamId};
use crate::time::Instant;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

pub(super) const KEPT: u8 = 40;
pub(super) const TAKEN: u8 = 41;
pub(super) const PUT: u8 = 42;
pub(super) const CUT_DATAGRAMS: u8 = 43;
pub(super) const SENT: u8 = 44;
pub(super) const CONFIGURED: u8 = 45;

pub(super) const ASKED: u8 = 46;

/// The most that one call may have received, in bytes: a damaged entry must not take memory.
const MAX_RECEIVED: usize = 16 << 20;

impl Writer {
    /// These bytes of `stream`, from its byte `from` on, were kept.
    pub(super) fn kept(&mut self, stream: StreamId, from: u64, bytes: &[u8]) {
        self.raw(&[KEPT]);
        self.id(stream.index(), stream.generation());
        self.number(from);
        self.number(bytes.len() as u64);
        self.raw(bytes);
    }

    /// The driver asked for the `read_buf` of a stream when that changes something.
    pub(super) fn asked(&mut self, stream: StreamId) {
        self.raw(&[ASKED]);
        self.id(stream.index(), stream.generation());
    }

    /// `len` bytes were read.
    pub(super) fn taken(&mut self, now: Instant, stream: StreamId, len: usize) {
        self.tag(TAKEN, now);
        self.id(stream.index(), stream.generation());
        self.number(len as u64);
    }

    /// `len` of the bytes that were offered were written.
    pub(super) fn put(&mut self, now: Instant, stream: StreamId, len: usize, offered: usize) {
        self.tag(PUT, now);
        self.id(stream.index(), stream.generation());
        self.number(len as u64);
        self.number(offered as u64);
    }

    /// Datagrams, of each of which the first `kept` bytes are kept.
    pub(super) fn cut_datagrams(
        &mut self,
        now: Instant,
        socket: SocketId,
        rx: &[Rx<'_>],
        kept: impl Fn(SocketAddr, &[u8]) -> usize,
    ) {
        self.tag(CUT_DATAGRAMS, now);
        self.socket(socket);
        self.number(rx.len() as u64);
        for rx in rx {
            self.batch(rx);
            for datagram in rx.datagrams() {
                let kept = datagram.get(..kept(rx.from, datagram)).unwrap_or(datagram);
                self.number(kept.len() as u64);
                self.raw(kept);
            }
        }
    }

    /// A datagram was sent; its bytes are not compared.
    pub(super) fn sent(&mut self, now: Instant, socket: SocketId, room: usize, print: u64) {
        self.tag(SENT, now);
        self.socket(socket);
        self.number(room as u64);
        self.raw(&print.to_be_bytes());
    }

    /// The machine has this configuration from now on.
    pub(super) fn configured(&mut self, now: Instant, configuration: &[u8]) {
        self.tag(CONFIGURED, now);
        self.number(configuration.len() as u64);
        self.raw(configuration);
    }
}

/// What was received in one go, of which a part was left out.
#[derive(Debug)]
pub(super) struct CutGroup {
    data: Vec<u8>,
    stride: usize,
    from: SocketAddr,
    to: Option<IpAddr>,
    interface: Option<u32>,
    ecn: u8,
}

impl CutGroup {
    /// As a driver gives it.
    pub(super) fn rx(&mut self) -> Rx<'_> {
        let CutGroup { ref mut data, stride, from, to, interface, ecn } = *self;
        Rx { data, stride, from, to, interface, ecn }
    }
}

impl<'a> Reader<'a> {
    pub(super) fn kept(&mut self) -> Option<Entry<'a>> {
        let (index, generation) = self.id()?;
        let from = self.number()?;
        let len = self.len()?;
        Some(Entry::Kept(StreamId::from_parts(index, generation), from, self.raw(len)?))
    }

    pub(super) fn cut_groups(&mut self) -> Option<Vec<CutGroup>> {
        let (count, mut room) = (self.len()?, MAX_RECEIVED);
        (0..count).map(|_| self.cut_group(&mut room)).collect()
    }

    fn cut_group(&mut self, room: &mut usize) -> Option<CutGroup> {
        let stride = self.len()?;
        let from = self.address()?;
        let to = self.option(Reader::ip)?;
        let interface = self.option(|r| u32::try_from(r.number()?).ok())?;
        let ecn = self.byte()?;
        let len = self.len()?;
        *room = room.checked_sub(len)?;
        let mut data = alloc::vec![FILLER; len];
        // As `Rx::datagrams` has it: an empty one is a datagram.
        let empty: [&mut [u8]; 1] = [&mut []];
        let (pieces, none) = match len {
            0 => (None, Some(empty)),
            _ => (Some(data.chunks_mut(stride.max(1))), None),
        };
        for datagram in pieces.into_iter().flatten().chain(none.into_iter().flatten()) {
            let kept = self.len()?;
            datagram.get_mut(..kept)?.copy_from_slice(self.raw(kept)?);
        }
        Some(CutGroup { data, stride, from, to, interface, ecn })
    }
}

/// The configuration that a recording begins with.
pub(super) fn first_configuration(recording: &[u8]) -> Option<&[u8]> {
    match Reader::new(recording, MAGIC)?.next() {
        Ok(Some(Entry::Configured(_, configuration))) => Some(configuration),
        _ => None,
    }
}
