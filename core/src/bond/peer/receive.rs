//! Packets from the network: opened, their frames obeyed, their packets put in order.

use super::give::Give;
use super::{Peer, order, path};
use crate::bond::inner::{Ecn, Packet, decapsulate};
use crate::bond::path::{Ack, Arrived, RawDelay};
use crate::bond::session::{OpenError, Role};
use crate::bond::wire::{self, CloseReason, Config, ConfigRequest, Frame, PathId, Plaintext, Timestamp};
use crate::bond::wire::{PathStatus, Wish};
use crate::time::Instant;

/// A datagram that was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bond) struct Arrival {
    /// The path it came by.
    pub(in crate::bond) path: PathId,
    /// It is the newest of its path: its address is where the peer is now.
    pub(in crate::bond) newest: bool,
    /// It is the first of its session.
    pub(in crate::bond) confirms: bool,
}

/// What the owner of an association has to deal with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::bond) enum News {
    /// A path is thought of differently.
    Path(PathId, path::State),
    /// The tunnel's MTU has changed.
    Mtu,
    /// The address of a path has answered a challenge.
    Response(PathId, [u8; 8]),
    /// The server's configuration.
    Config(Config),
    /// The client asks for one.
    ConfigRequest(ConfigRequest),
    /// The client has it.
    ConfigAck(u32),
    /// The server asks for new keys.
    Rekey,
    /// The client says this of a path.
    Status(PathStatus),
    /// The client wants this.
    Wish(Wish),
    /// The peer ends the association.
    Closed(CloseReason),
}

impl Peer {
    /// Opens a datagram of `len` IP bytes in place and obeys it.
    ///
    /// # Errors
    /// It was not sealed for us, or was opened before: it changed nothing.
    pub(in crate::bond) fn receive(
        &mut self,
        now: Instant,
        datagram: &mut [u8],
        headers: u32,
        ecn: u8,
        mut accept: impl FnMut(&[u8]) -> bool,
        give: &mut Give,
    ) -> Result<Arrival, OpenError> {
        let bytes = datagram.len() as u32 + headers;
        let opened = self.keys.open(now, datagram)?;
        let plain = datagram.get_mut(opened.plain.clone()).unwrap_or_default();
        let Ok(text) = Plaintext::parse(plain) else {
            // The peer has our keys and sends nonsense: its next version may know more frames.
            self.drops.malformed += 1;
            return Ok(Arrival { path: opened.path, newest: false, confirms: opened.confirms });
        };
        let outer = Ecn::from_bits(ecn);
        let (timestamp, eliciting) = match &text {
            Plaintext::Data(data) => (data.timestamp, true),
            Plaintext::Control { timestamp, frames } => {
                (*timestamp, frames.clone().any(|frame| frame.is_ack_eliciting()))
            }
        };
        let newest = self.arrived(now, &opened, timestamp, bytes, outer == Ecn::Ce, eliciting);
        match text {
            Plaintext::Data(data) => {
                if let Some(slot) = &mut self.slots[opened.path.index()] {
                    slot.carried = true;
                }
                let (sequence, distance) = (data.sequence, data.distance);
                let start = plain.len() - data.packet.len();
                let packet = &mut plain[start..];
                if !accept(packet) {
                    self.drops.foreign += 1;
                } else if let Some(packet) = decapsulate(outer, packet) {
                    self.put_in_order(now, opened.path.get(), (sequence, distance), &packet, give);
                } else {
                    self.drops.malformed += 1;
                }
            }
            Plaintext::Control { frames, .. } => frames.for_each(|frame| self.frame(now, opened.path, frame)),
        }
        Ok(Arrival { path: opened.path, newest, confirms: opened.confirms })
    }

    /// A packet of the peer's TUN: to ours, or to those that wait for their order.
    fn put_in_order(
        &mut self,
        now: Instant,
        path: u8,
        (sequence, distance): (u32, u16),
        packet: &Packet<'_>,
        give: &mut Give,
    ) {
        if self.reorder.pass(now, path, sequence, distance) {
            // The usual case goes from the datagram to the TUN's queue, and is copied nowhere else.
            self.drops.tun_full += u64::from(!give.push(packet));
            return;
        }
        let mut held = self.spare.pop().unwrap_or_default();
        held.clear();
        held.extend_from_slice(packet.bytes());
        let taken = self.reorder.push(now, path, sequence, distance, packet.bytes().len(), held);
        self.drops.tun_full += u64::from(taken == Err(order::Refused::Full));
    }

    /// As [`Peer::receive`], for a path that is not known: it begins with this packet, if that is
    /// valid.
    ///
    /// # Errors
    /// As there.
    pub(in crate::bond) fn receive_first(
        &mut self,
        now: Instant,
        datagram: &mut [u8],
        remote: super::Remote,
        ecn: u8,
        accept: impl FnMut(&[u8]) -> bool,
        give: &mut Give,
    ) -> Result<Arrival, OpenError> {
        let header = wire::Header::parse(datagram).map_err(OpenError::Malformed)?;
        self.add_path(now, header.path, remote, 1);
        let result = self.receive(now, datagram, remote.headers(), ecn, accept, give);
        if result.is_err() {
            // It changed nothing.
            self.slots[header.path.index()] = None;
        }
        result
    }

    /// Whether a status or wish is newer than all before.
    fn is_newer(&mut self, serial: u32) -> bool {
        let newer = serial > self.told;
        self.told = self.told.max(serial);
        newer
    }

    /// Tells the path. Whether the packet is the newest of its path.
    fn arrived(
        &mut self,
        now: Instant,
        opened: &crate::bond::session::Opened,
        timestamp: Timestamp,
        bytes: u32,
        ce: bool,
        eliciting: bool,
    ) -> bool {
        let Some(slot) = &mut self.slots[opened.path.index()] else { return true };
        let newest = slot.path.received().largest().is_none_or(|largest| opened.number > largest);
        let arrived = Arrived { number: opened.number, timestamp: timestamp.bits(), bytes, ce, eliciting };
        slot.path.handle_received(now, &arrived);
        newest
    }

    fn frame(&mut self, now: Instant, by: PathId, frame: Frame) {
        match frame {
            Frame::Ack(ack) => {
                let of = ack.path.index();
                let ack = from_wire(&ack);
                if let Some(slot) = &mut self.slots[of]
                    && of == by.index()
                {
                    slot.path.handle_own_way(now, &ack);
                }
                self.path_event(now, of, |path, sink| path.handle_ack(now, &ack, &mut |event| sink(event)));
            }
            // Repairs follow acknowledgements; a NACK asks for nothing that they do not say.
            Frame::Nack(_) | Frame::Ping | Frame::MtuProbe(_) => {}
            Frame::PathChallenge(token) => {
                if let Some(slot) = &mut self.slots[by.index()] {
                    slot.push_control(Frame::PathResponse(token));
                }
            }
            Frame::PathResponse(token) => {
                let asked = self.slots[by.index()].as_ref().and_then(|slot| slot.challenge);
                if asked.is_some_and(|challenge| challenge.token == token) {
                    self.note(News::Response(by, token));
                }
            }
            Frame::Close(reason) => self.note(News::Closed(reason)),
            frame => match self.keys.role() {
                Role::Responder => self.frame_of_client(frame),
                Role::Initiator => self.frame_of_server(frame),
            },
        }
    }

    /// A frame that only a client sends; any other is ignored.
    fn frame_of_client(&mut self, frame: Frame) {
        match frame {
            Frame::PathStatus(status) if self.is_newer(status.serial) => self.note(News::Status(status)),
            Frame::Mode(wish) if self.is_newer(wish.serial) => self.note(News::Wish(wish)),
            Frame::ConfigRequest(request) => self.note(News::ConfigRequest(request)),
            Frame::ConfigAck(epoch) => self.note(News::ConfigAck(epoch)),
            _ => {}
        }
    }

    /// A frame that only a server sends; any other is ignored.
    fn frame_of_server(&mut self, frame: Frame) {
        match frame {
            Frame::Config(config) => self.note(News::Config(config)),
            Frame::Rekey => self.note(News::Rekey),
            _ => {}
        }
    }

    /// News for the owner, in place of older news of its kind: a packet has room for a hundred
    /// frames, each of which costs as much as many packets.
    fn note(&mut self, news: News) {
        let same = |queued: &&mut News| match (&**queued, &news) {
            (News::Status(queued), News::Status(status)) => queued.path == status.path,
            (News::Response(queued, _), News::Response(by, _)) => queued == by,
            (News::Path(..), _) => false,
            (queued, news) => core::mem::discriminant(queued) == core::mem::discriminant(news),
        };
        match self.news.iter_mut().find(same) {
            Some(queued) => *queued = news,
            None => self.news.push_back(news),
        }
    }

    /// The batch has ended: delivers, acknowledges, and uses what the acknowledgements have freed.
    pub(in crate::bond) fn finish_batch(&mut self, now: Instant, give: &mut Give) {
        self.fit(now);
        self.watch(now);
        self.suit(now);
        self.deliver(give);
        self.acknowledge(now);
        self.pump(now);
    }

    /// Hands on what is in order.
    pub(super) fn deliver(&mut self, give: &mut Give) {
        while let Some(packet) = self.reorder.poll() {
            // It was a packet when it was held.
            let view = Packet::parse(&packet);
            self.drops.tun_full += u64::from(!view.is_ok_and(|view| give.push(&view)));
            if self.spare.len() < 64 {
                self.spare.push(packet);
            }
        }
        give.finish();
    }
}

/// An acknowledgement as it is written.
pub(super) fn to_wire(path: PathId, ack: &Ack) -> wire::Ack {
    let mut out = wire::Ack::new(path, ack.largest);
    out.delay = ack.delay;
    out.echo = Timestamp::from_bits(ack.echo);
    out.one_way = ack.raw_delay.0;
    out.ce = ack.ce;
    out.bytes = ack.received;
    out.first = ack.first;
    for (gap, len) in &ack.more[..usize::from(ack.more_len)] {
        out.push_range(*gap, *len);
    }
    out
}

/// An acknowledgement as it was read.
fn from_wire(ack: &wire::Ack) -> Ack {
    let mut out = Ack {
        largest: ack.largest,
        delay: ack.delay,
        echo: ack.echo.bits(),
        raw_delay: RawDelay(ack.one_way),
        ce: ack.ce,
        received: ack.bytes,
        first: ack.first,
        ..Ack::default()
    };
    for (at, range) in ack.ranges().iter().take(out.more.len()).enumerate() {
        out.more[at] = (range.gap, range.len);
        out.more_len = at as u8 + 1;
    }
    out
}
