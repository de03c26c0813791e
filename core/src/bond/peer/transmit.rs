//! Packets written and sealed, control before data.

use super::{Peer, RUN, Slot, path};
use crate::bond::inner::{Ecn, Sums};
use crate::bond::path::SentInfo;
use crate::bond::session::Role;
use crate::bond::wire::{
    DATA_OFFSET, DATA_PREFIX, Data, Frame, HEADER, MAX_PATHS, OVERHEAD, PacketWriter, PathId, TAG, Timestamp,
};
use crate::machine::Transmit;
use crate::time::{Duration, Instant};

/// Bytes that leave in one call at most: UDP's length field has two bytes, and counts its own
/// header and what IPv4 puts before it.
const RUN_BYTES: usize = 65_507;

/// Room for a control packet of the least length, bytes of the IP packet.
const SMALLEST: u64 = 128;

/// A challenge waits no longer for its answer. The probe time-out of a path that has died may be
/// seconds, and says nothing of the address that is asked: with sixteen of it, a client whose NAT
/// forgot it while a link was dead was not answered by that link for a minute.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

impl Peer {
    /// A path that has something to send and was not given out since; of several the one with the
    /// oldest packet.
    pub(in crate::bond) fn poll_dirty(&mut self) -> Option<PathId> {
        let copies = &self.copies;
        let ready = self.slots.iter_mut().flatten().filter(|slot| !slot.dirty && slot.wants_to_send());
        let age = |slot: &Slot| slot.stage.front().map(|(sequence, _)| copies.place(*sequence));
        let slot = ready.min_by_key(|slot| age(slot))?;
        slot.dirty = true;
        Some(slot.id)
    }

    /// A path that got packets while another one was polled, and was not given out since.
    pub(in crate::bond) fn poll_staged(&mut self) -> Option<PathId> {
        let mut slots = self.slots.iter_mut().flatten();
        let slot = slots.find(|slot| !slot.dirty && !slot.stage.is_empty())?;
        slot.dirty = true;
        Some(slot.id)
    }

    /// Whether another path has older packets and is named next. What leaves first arrives first
    /// where paths are alike, and each packet that comes before its turn is kept at the other end.
    /// One that was named already may have a socket that takes nothing: it is not waited for.
    fn is_behind(&self, id: PathId) -> bool {
        // The paths of a server have one socket, and their turns there.
        if self.keys.role() == Role::Responder {
            return false;
        }
        let front = |slot: &Slot| slot.stage.front().map(|(sequence, _)| self.copies.place(*sequence));
        let Some(own) = self.slot(id).and_then(front) else { return false };
        let others = self.slots().filter(|slot| !slot.dirty && slot.id != id);
        others.filter_map(front).any(|other| other < own)
    }

    /// Writes what is to be sent next on `id` to `buf`.
    pub(in crate::bond) fn poll_transmit(
        &mut self,
        now: Instant,
        id: PathId,
        buf: &mut [u8],
    ) -> Option<Transmit> {
        let asked = self.ask(now, id, buf);
        if asked.is_some() {
            self.slots[id.index()].as_mut()?.waiting = None;
            return asked;
        }
        let sent = self.control(now, id, buf).or_else(|| self.data(now, id, buf)).or_else(|| {
            // What was staged has left: there may be more for this path now.
            self.pump(now);
            self.data(now, id, buf)
        });
        let slot = self.slots[id.index()].as_mut()?;
        slot.waiting = None;
        match sent {
            Some(sent) => {
                let to = slot.remote.named.then_some(slot.remote.to);
                Some(Transmit { id: u32::from(id.get()), to, from: slot.remote.from, ..sent })
            }
            None => {
                slot.dirty = false;
                None
            }
        }
    }

    /// The challenge of a path, if it is due.
    fn ask(&mut self, now: Instant, id: PathId, buf: &mut [u8]) -> Option<Transmit> {
        let timeout = self.slots[id.index()].as_ref()?.path.probe_timeout();
        let slot = self.slots[id.index()].as_mut()?;
        let challenge = slot.challenge.as_mut().filter(|_| slot.asks)?;
        slot.asks = false;
        challenge.asked += 1;
        // Each one waits twice as long as the one before.
        challenge.next = now + (timeout * (1 << challenge.asked.min(4))).min(LONGEST_WAIT);
        let remote = challenge.remote;
        // What is asked of the path's own address is of the same allowance as all else for it.
        let own = remote == slot.remote && !slot.validated;
        let allowance = if own { slot.allowance } else { challenge.allowance };
        if remote.named && allowance < SMALLEST {
            return None;
        }
        let token = challenge.token;
        let mut writer =
            PacketWriter::new(buf.get_mut(HEADER..SMALLEST as usize)?, Timestamp::at(now)).ok()?;
        writer.push(&Frame::PathChallenge(token)).ok()?;
        let len = writer.finish().ok()?;
        let sealed = self.keys.seal(now, id, buf, len).ok()?;
        let slot = self.slots[id.index()].as_mut()?;
        let bytes = sealed.len as u32 + remote.headers();
        // It is no evidence of the path that is in use: it is not acknowledged there.
        let eliciting = remote == slot.remote;
        let info = SentInfo { sequence: None, eliciting, mtu_probe: false };
        slot.path.handle_sent(now, sealed.number, bytes, info);
        if own {
            slot.allowance = slot.allowance.saturating_sub(bytes.into());
        } else if let Some(challenge) = &mut slot.challenge {
            challenge.allowance = challenge.allowance.saturating_sub(bytes.into());
        }
        let to = remote.named.then_some(remote.to);
        Some(Transmit {
            id: u32::from(id.get()),
            to,
            from: remote.from,
            len: sealed.len,
            ..Transmit::default()
        })
    }

    /// One control packet, if there are frames for this path.
    fn control(&mut self, now: Instant, id: PathId, buf: &mut [u8]) -> Option<Transmit> {
        let slot = self.slots[id.index()].as_mut()?;
        slot.sizes = false;
        let mtu_probe = if slot.validated { slot.path.poll_mtu_probe(now) } else { None };
        if slot.control.is_empty() && !slot.ping && mtu_probe.is_none() {
            return None;
        }
        let most = if slot.validated || !slot.remote.named { u64::MAX } else { slot.allowance };
        if most < SMALLEST {
            return None;
        }
        // A probe must fill a datagram of its size, and goes alone.
        let probe = mtu_probe.filter(|_| slot.control.is_empty() && !slot.ping);
        let most = u16::try_from(most).unwrap_or(u16::MAX);
        let room = usize::from(slot.path.mtu().min(most)) - slot.remote.headers() as usize;
        let size = probe.map_or(room, |size| usize::from(size) - slot.remote.headers() as usize);
        let plain = buf.get_mut(HEADER..size - TAG)?;
        let mut writer = PacketWriter::new(plain, Timestamp::at(now)).ok()?;
        if probe.is_some() {
            writer.push(&Frame::MtuProbe(size as u16)).ok()?;
        }
        while let Some(frame) = slot.control.front() {
            if writer.push(frame).is_err() {
                break;
            }
            slot.control.pop_front();
        }
        if core::mem::take(&mut slot.ping) && !writer.is_ack_eliciting() {
            // Where there is no room it is asked for again.
            slot.ping = writer.push(&Frame::Ping).is_err();
        }
        let eliciting = writer.is_ack_eliciting();
        let len = match probe {
            Some(_) => writer.finish_at(size - HEADER - TAG),
            None => writer.finish(),
        };
        let sealed = self.keys.seal(now, id, buf, len.ok()?).ok()?;
        let slot = self.slots[id.index()].as_mut()?;
        let bytes = sealed.len as u32 + slot.remote.headers();
        let info = SentInfo { sequence: None, eliciting, mtu_probe: probe.is_some() };
        slot.path.handle_sent(now, sealed.number, bytes, info);
        slot.allowance = slot.allowance.saturating_sub(u64::from(bytes));
        Some(Transmit { len: sealed.len, ..Transmit::default() })
    }

    /// A run of staged packets of equal length; the last may be shorter.
    fn data(&mut self, now: Instant, id: PathId, buf: &mut [u8]) -> Option<Transmit> {
        if self.is_behind(id) {
            return None;
        }
        let mut run: Option<(usize, Ecn)> = None;
        let (mut len, mut count) = (0, 0);
        // The inner checksum is left to the receiver's kernel where both have offload: the seal
        // vouches for the bytes.
        let sums = if self.offload { Sums::Partial } else { Sums::Complete };
        loop {
            let slot = self.slots[id.index()].as_mut()?;
            let Some(&(sequence, bytes)) = slot.stage.front() else { break };
            let Some(copy) = self.copies.find(sequence) else {
                // It arrived by another path while it was staged here, or there was no room for it.
                slot.stage.pop_front();
                slot.staged -= u64::from(bytes);
                self.drops.copy_gone += u64::from(self.copies.gave_up(sequence));
                continue;
            };
            let (size, distance, ecn) = (usize::from(copy.len) + OVERHEAD, copy.place.distance, copy.ecn);
            let room = count < RUN && len + size <= RUN_BYTES;
            let fits = run.is_none_or(|(first, marks)| size <= first && ecn == marks) && room;
            let Some(out) = buf.get_mut(len..len + size).filter(|_| fits) else { break };
            let data = Data { sequence, distance, timestamp: Timestamp::at(now), packet: &[] };
            let prefix: &mut [u8; DATA_PREFIX] =
                (&mut out[HEADER..DATA_OFFSET]).try_into().expect("the constants say so");
            data.emit_prefix(prefix);
            let written = self.copies.write(sequence, &mut out[DATA_OFFSET..size - TAG], sums);
            debug_assert!(written, "it was measured when it was queued");
            let Ok(sealed) = self.keys.seal(now, id, out, size - HEADER - TAG) else {
                // The keys have ended: what it was given waits for new ones.
                self.unstage(now, id.index());
                break;
            };
            slot.stage.pop_front();
            slot.staged -= u64::from(bytes);
            let info = SentInfo { sequence: Some(sequence), eliciting: true, mtu_probe: false };
            slot.path.handle_sent(now, sealed.number, bytes, info);
            let (first, _) = *run.get_or_insert((size, ecn));
            (len, count) = (len + size, count + 1);
            if size < first {
                break;
            }
        }
        let (size, ecn) = run?;
        // RFC 6040 section 4.1, with the marks that came with it left inside: only what this way
        // marks is counted.
        let ecn = if ecn == Ecn::NotEct { 0 } else { Ecn::Ect0.bits() };
        Some(Transmit { len, segment: (count > 1).then_some(size), ecn, ..Transmit::default() })
    }

    /// Chooses the paths for each acknowledgement that is due, and puts it on them.
    ///
    /// | the best path | the acknowledgement goes by |
    /// | --- | --- |
    /// | is proved ([`Slot::is_proved`](super::Slot::is_proved)) | the path that it is of, and the best one |
    /// | is not proved, but live | the path that it is of, and all that are not down |
    /// | is not live | all paths |
    ///
    /// Reasons:
    /// - By the best path it arrives first. But that path may have died a moment ago. If all
    ///   acknowledgements went that way, the peer would hear of none of its paths and take all of
    ///   them for dead. A copy on the path that it is of is lost with that path alone.
    /// - Where all paths are down, no one of them can be preferred: each end would answer by the
    ///   path that it thinks best, and if none of these carries anything no answer would ever come.
    /// - An idle peer's ping is answered by its own path only: copies would cost as much as the
    ///   pings.
    /// - Acknowledgements are not acknowledged. A side that sends nothing else would never learn
    ///   that its path is dead. So while DATA comes, it adds a PING before the last proof is too
    ///   old.
    pub(super) fn acknowledge(&mut self, now: Instant) {
        if !self.slots().any(|slot| slot.path.ack_due().is_some_and(|due| due <= now)) {
            return;
        }
        let Some(best) = self.best() else { return };
        let Some(slot) = &self.slots[best] else { return };
        let (proved, live) = (slot.is_proved(now), slot.path.state() == path::State::Live);
        for index in 0..MAX_PATHS {
            let Some(slot) = &mut self.slots[index] else { continue };
            // A path that is too far to share the load is not measured by it.
            let near = self.members.contains(slot.id.get());
            let ack = if near { slot.path.poll_ack(now) } else { slot.path.poll_ack_beside(now) };
            let Some(ack) = ack else { continue };
            let frame = Frame::Ack(super::receive::to_wire(slot.id, &ack));
            let carried = core::mem::take(&mut slot.carried);
            if !carried && slot.answers_idle(now) {
                slot.push_control(frame);
                continue;
            }
            for by in 0..MAX_PATHS {
                let Some(slot) = &mut self.slots[by] else { continue };
                let up = slot.path.state() != path::State::Down;
                let doubted = !proved && slot.validated && (up || !live);
                if by == best || by == index || doubted {
                    slot.push_control(frame);
                }
                if carried && up && (by == best && slot.wants_proof(now) || doubted) {
                    slot.ping |= slot.path.in_flight() == 0;
                }
            }
        }
    }

    /// The live path with the shortest round trip; a suspect one where none is live.
    pub(super) fn best(&self) -> Option<usize> {
        let of = |state: path::State| {
            let slots = self.slots().filter(move |slot| slot.path.state() == state);
            slots
                .min_by_key(|slot| (!slot.validated, slot.health.is_sick(), slot.path.rtt().smoothed()))
                .map(|slot| slot.id.index())
        };
        of(path::State::Live).or_else(|| of(path::State::Suspect)).or_else(|| of(path::State::Down))
    }
}
