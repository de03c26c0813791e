//! The TUN half of a recording: the packets that were taken, and the fingerprints of those that
//! were given.

use super::codec::{Entry, Reader, Writer};
use crate::machine::{Fault, Offload, TunId};
use crate::time::Instant;

pub(super) const PACKET: u8 = 7;
pub(super) const GIVEN: u8 = 8;

impl Writer {
    fn offload(&mut self, offload: Offload) {
        let (kind, a, b) = match offload {
            Offload::None => return self.raw(&[0]),
            Offload::Checksum { start, offset } => (1, start, offset),
            Offload::Tcp { header, size, v6: false } => (2, header, size),
            Offload::Tcp { header, size, v6: true } => (3, header, size),
            Offload::Udp { header, size } => (4, header, size),
        };
        self.raw(&[kind]);
        self.number(a.into());
        self.number(b.into());
    }

    pub(super) fn packet(&mut self, now: Instant, tun: TunId, packet: &[u8], offload: Offload) {
        self.tag(PACKET, now);
        self.number(tun.0.into());
        self.offload(offload);
        self.number(packet.len() as u64);
        self.raw(packet);
    }

    pub(super) fn given(&mut self, now: Instant, tun: TunId, print: u64, result: Result<(), Fault>) {
        self.tag(GIVEN, now);
        self.number(tun.0.into());
        self.raw(&print.to_be_bytes());
        self.option(result.err(), Writer::fault);
    }
}

impl<'a> Reader<'a> {
    pub(super) fn tun(&mut self) -> Option<TunId> {
        u16::try_from(self.number()?).ok().map(TunId)
    }

    fn offload(&mut self) -> Option<Offload> {
        let kind = self.byte()?;
        if kind == 0 {
            return Some(Offload::None);
        }
        let (a, b) = (u16::try_from(self.number()?).ok()?, u16::try_from(self.number()?).ok()?);
        Some(match kind {
            1 => Offload::Checksum { start: a, offset: b },
            2 => Offload::Tcp { header: a, size: b, v6: false },
            3 => Offload::Tcp { header: a, size: b, v6: true },
            4 => Offload::Udp { header: a, size: b },
            _ => return None,
        })
    }

    pub(super) fn packet(&mut self, now: Instant) -> Option<Entry<'a>> {
        let (tun, offload) = (self.tun()?, self.offload()?);
        let len = self.len()?;
        Some(Entry::Packet(now, tun, self.raw(len)?, offload))
    }

    pub(super) fn given(&mut self, now: Instant) -> Option<Entry<'a>> {
        let (tun, print) = (self.tun()?, self.print()?);
        let fault = self.option(Reader::fault)?;
        Some(Entry::Given(now, tun, print, fault.map_or(Ok(()), Err)))
    }
}
