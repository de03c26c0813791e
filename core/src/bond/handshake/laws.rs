//! What the fuzzer calls: a hostile network between one client and one server, before and after
//! their handshake.
//!
//! The input is a script: an operation, its numbers, its bytes. Whatever it says, no input panics,
//! an answer is at most three times its question, and afterwards the two still understand each
//! other.

use super::testing::{CLIENT, World, address, at, seal};
use crate::bond::wire::Reader;
use crate::time::{Duration, Instant};
use alloc::vec::Vec;

/// Panics where a law does not hold for this script.
pub(crate) fn hold_for_script(script: &[u8]) {
    let mut world = World::new();
    let mut now = at(0);
    let mut reader = Reader::new(script);
    let before = reader.u8("how many operations come before the handshake").unwrap_or(0) % 8;
    world.client.initiator.start(now);
    // Everything that was on the network, for replays.
    let mut heard: Vec<Vec<u8>> = Vec::new();
    for _ in 0..before {
        if !step(&mut world, &mut now, &mut reader, &mut heard) {
            break;
        }
    }
    // A minute later no limit of the guard is left, and from an address that the script does not
    // use.
    now += Duration::from_secs(60);
    world.client.initiator.stop();
    heard.extend(world.handshake(now));
    while step(&mut world, &mut now, &mut reader, &mut heard) {}
    world.exchange(now);
    assert_eq!(world.client.restarts, 1, "what lives was never replaced");
    assert!(world.server.live.len() == 1 && world.server.waiting.len() <= 1);
}

/// One operation. False at the end of the script.
fn step(world: &mut World, now: &mut Instant, reader: &mut Reader<'_>, heard: &mut Vec<Vec<u8>>) -> bool {
    let Ok([op, a, b, c]) = reader.array::<4>("operation") else { return false };
    let datagram: Vec<u8> = match op % 4 {
        // Bytes of the script.
        0 => reader.bytes("datagram", usize::from(a).min(reader.left().len())).unwrap_or_default().to_vec(),
        // Something that was heard, with a byte changed or cut off.
        1 | 2 if !heard.is_empty() => {
            let mut datagram = heard[usize::from(a) % heard.len()].clone();
            let at_byte = usize::from(b) % datagram.len();
            if op % 4 == 1 {
                datagram[at_byte] ^= c
            } else {
                datagram.truncate(at_byte)
            }
            datagram
        }
        // An honest packet that is lost, to be heard by the fuzzer alone. Numbers below the window
        // are not made up.
        _ => {
            let packet = match c & 1 {
                0 => seal(&mut world.client.keyring, *now, &[b; 32]),
                _ => world.server.live.get_mut(&CLIENT).and_then(|keyring| seal(keyring, *now, &[b; 32])),
            };
            heard.extend(packet);
            if heard.len() > 64 {
                heard.remove(0);
            }
            return true;
        }
    };
    *now += Duration::from_millis(u64::from(op >> 4));
    // The last bit of `op` that is not spoken for says who gets it.
    if op & 8 == 0 {
        if let Some(answer) = world.server.handle(*now, address(200 + u16::from(c & 3)), &datagram) {
            assert!(answer.len() <= 3 * datagram.len(), "{} bytes drew {}", datagram.len(), answer.len());
            heard.push(answer);
        }
    } else {
        world.client.handle(*now, &datagram);
    }
    world.server.opened.clear();
    true
}
