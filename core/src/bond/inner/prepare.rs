//! Transport checksums that the kernel has not finished, and has not to.
//!
//! With offload the kernel leaves the sum of a packet's bytes to the device: the checksum field
//! holds the sum of the pseudo-header alone ("partial", `CHECKSUM_PARTIAL` in Linux). Inside the
//! bond it stays so, because the AEAD vouches for every byte, and the receiving kernel is asked to
//! finish it or to believe it.
//!
//! No bit on the wire tells partial from complete: the receiver computes the pseudo-header's sum
//! and compares. A complete checksum that equals it by chance (1 in 65536) is summed again, to the
//! same value.

use super::checksum::{fold, pseudo_of, sum};
use super::packet::{Malformed, Packet, TCP, UDP, be16, put16};
use crate::machine::Offload;

/// Where the checksum lies, from the transport header on, of a whole TCP or UDP packet.
pub(super) fn field(view: &Packet<'_>) -> Option<usize> {
    let layout = view.layout();
    match layout.protocol {
        _ if layout.routed => None,
        TCP => view.tcp().map(|_| 16),
        UDP => view.udp().map(|_| 6),
        _ => None,
    }
}

/// Whether the checksum field of a packet holds the sum of its pseudo-header alone.
pub(super) fn is_partial(view: &Packet<'_>) -> bool {
    let at = field(view).map(|offset| view.layout().transport + offset);
    at.is_some_and(|at| be16(view.bytes(), at) == fold(pseudo_of(view)))
}

/// Makes the checksum partial. Nothing happens to what is neither TCP nor UDP.
pub(super) fn put_partial(packet: &mut [u8]) {
    let Ok(view) = Packet::parse(packet) else { return };
    let Some(offset) = field(&view) else { return };
    let (at, sum) = (view.layout().transport + offset, fold(pseudo_of(&view)));
    put16(packet, at, sum);
}

/// Takes in a packet as a TUN gave it: afterwards its checksum is either complete, or partial in a
/// way that [`offload`] tells at the other end. A superpacket is left as it is: its segments get
/// their own.
///
/// A sum that is neither TCP's nor UDP's (the kernel asks it for tunnels within) is finished here.
pub(crate) fn prepare(packet: &mut [u8], offload: Offload) -> Result<(), Malformed> {
    let Offload::Checksum { start, offset } = offload else { return Ok(()) };
    let view = Packet::parse(packet)?;
    let (start, offset) = (usize::from(start), usize::from(offset));
    let layout = view.layout();
    if layout.transport == start && field(&view) == Some(offset) {
        // Sums have two zeros, and rewritten addresses may have left the other one: make it
        // comparable.
        put_partial(packet);
        return Ok(());
    }
    let at = start.saturating_add(offset);
    if start < layout.transport || at + 2 > layout.len {
        return Err(Malformed::Offload("a checksum outside the packet"));
    }
    let done = !fold(sum(&packet[start..layout.len]));
    put16(packet, at, done);
    Ok(())
}

/// What the kernel has still to sum in a packet that is given to it.
pub(crate) fn offload(packet: &[u8]) -> Offload {
    match Packet::parse(packet) {
        Ok(view) if is_partial(&view) => Offload::Checksum {
            start: view.layout().transport as u16,
            offset: field(&view).expect("a partial checksum has a field") as u16,
        },
        _ => Offload::None,
    }
}

/// Finishes a partial checksum, for a TUN without offload. Others stay as they are.
pub(crate) fn complete(packet: &mut [u8]) {
    let Ok(view) = Packet::parse(packet) else { return };
    if !is_partial(&view) {
        return;
    }
    let layout = view.layout();
    let offset = field(&view).expect("a partial checksum has a field");
    // The field holds the pseudo-header's sum, so it needs no adding.
    let done = !fold(sum(&packet[layout.transport..layout.len]));
    // RFC 768: zero would say "no checksum".
    let done = if done == 0 && layout.protocol == UDP { 0xffff } else { done };
    put16(packet, layout.transport + offset, done);
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Build, assert_sums_right};
    use super::*;

    #[test]
    fn a_partial_checksum_is_told_from_a_complete_one() {
        for v6 in [false, true] {
            let start = if v6 { 40 } else { 20 };
            let complete_one = Build { v6, ..Build::default() };
            let partial = Build { partial: true, ..complete_one.clone() };
            assert_eq!(offload(&partial.tcp(b"abc")), Offload::Checksum { start, offset: 16 });
            assert_eq!(offload(&partial.udp(b"abc")), Offload::Checksum { start, offset: 6 });
            assert_eq!(offload(&complete_one.tcp(b"abc")), Offload::None);
            let mut packet = partial.udp(b"abc");
            complete(&mut packet);
            assert_eq!(packet, complete_one.udp(b"abc"));
            assert_sums_right(&packet);
        }
    }

    #[test]
    fn a_sum_of_another_protocol_is_finished_here() {
        // Generic encapsulation with a checksum of its own, two bytes into its header.
        let mut packet = Build::default().ip(47, &[0x80, 0, 0, 0, 1, 2, 3]);
        prepare(&mut packet, Offload::Checksum { start: 20, offset: 2 }).expect("it lies within");
        assert_eq!(fold(sum(&packet[20..])), 0xffff);
        let outside = prepare(&mut packet, Offload::Checksum { start: 20, offset: 6 });
        assert_eq!(outside, Err(Malformed::Offload("a checksum outside the packet")));
    }
}
