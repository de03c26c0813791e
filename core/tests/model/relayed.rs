//! The comparison for a client whose request was granted: bytes, ends and accounts.

use super::assertions::Assertions;
use super::observed::{Attempt, Observed};
use super::reference::{Client, QUIET, Reference, SPEAKER, speech};
use super::transition::{Mode, Place};
use super::util::sock::Sock;
use super::util::{End, Lab, same_bytes};
use ropewalk_core::time::Instant;

/// A client that was granted, and by destination.
pub(super) struct Relayed<'a> {
    pub(super) who: String,
    pub(super) client: &'a Client,
    pub(super) seen: &'a Observed,
    pub(super) won: Attempt,
    pub(super) place: Place,
    /// Of the answer.
    pub(super) len: usize,
    pub(super) answered: Instant,
}

impl Assertions {
    /// Nothing is lost or invented, and ends come through.
    pub(super) fn relayed(&self, lab: &Lab, reference: &Reference, relayed: &Relayed<'_>) {
        let Relayed { who, client, seen, won, place, len, answered } = relayed;
        let (sock, now) = (lab.sock(client.who), reference.now);
        let served = lab.world.served.iter().map(|(_, who)| lab.sock(*who));
        let mut served = served.filter(|sock| sock.peer == won.to && sock.local.port() == won.port);
        let target: &Sock = served.next().unwrap_or_else(|| panic!("{who}: nobody served it"));
        let sent = &client.payload[..sock.got.sent.saturating_sub(client.words.len())];
        let down = &sock.got.bytes[*len..];
        let up = &target.got.bytes;
        same_bytes(up, &sent[..up.len().min(sent.len())], &format!("{who}: up"));
        let spoken = if *place == SPEAKER { speech() } else { up.clone() };
        same_bytes(down, &spoken[..down.len().min(spoken.len())], &format!("{who}: down"));
        assert!(down.len() <= target.got.sent, "{who}: more than was sent down");

        // Ends.
        let resets = reference.conditions_at(won.at).any(|w| w.modes[*place] == Mode::Resetting);
        let vanished = reference.vanished_since(won.at, won.uplink);
        match sock.got.end {
            End::Open => {}
            End::Fin => {
                assert!(target.fin_sent, "{who}: an end that the target never said");
                assert_eq!(down.len(), target.got.sent, "{who}: an end in the midst of the bytes down");
            }
            End::Reset => assert!(resets || vanished || client.reset, "{who}: reset for nothing"),
        }
        match target.got.end {
            End::Open => {}
            End::Fin => {
                assert!(sock.fin_sent, "{who}: an end that the client never said");
                assert_eq!(up.len(), sent.len(), "{who}: an end in the midst of the bytes up");
            }
            End::Reset => {
                assert!(resets || vanished || client.reset, "{who}: the target was reset for nothing")
            }
        }
        if let Some(closed) = &seen.closed
            && closed.fault.is_none()
        {
            assert_eq!(closed.sent, target.proxy_wrote as u64, "{who}: bytes accounted for, up");
            assert_eq!(closed.received, target.got.sent as u64, "{who}: bytes accounted for, down");
        }
        for (gone, uplink) in &reference.vanished {
            let there = seen.connected.is_some_and(|(at, ..)| at <= *gone)
                && seen.closed.as_ref().is_none_or(|closed| closed.at >= *gone);
            if there && *uplink == won.uplink {
                let closed = seen.closed.as_ref().is_some_and(|closed| closed.at == *gone);
                assert!(closed, "{who}: its uplink vanished at {gone:?}, and it lives on");
            }
        }

        // What must have come through by now.
        let gone = reference.vanished.iter().filter(|(_, by)| *by == won.uplink).map(|(gone, _)| *gone);
        let quiet = gone.chain([client.touched, *answered]).max().is_some_and(|last| last + QUIET <= now);
        if !quiet {
            return;
        }
        if client.reset {
            let closed = seen.closed.as_ref().unwrap_or_else(|| panic!("{who}: reset, and not closed"));
            assert!(
                target.stopped_reading || target.got.end != End::Open,
                "{who}: the target has seen no end"
            );
            let hard = closed.fault.is_some() && !vanished && !resets;
            assert!(!hard || target.got.reset, "{who}: the target has seen no reset");
            assert!(client.fin || closed.fault.is_some(), "{who}: an orderly end of a reset");
        } else if reference.conditions_at(won.at).all(|w| w.modes[*place] == Mode::Resetting) {
            assert!(seen.closed.is_some(), "{who}: reset by the target, and not closed");
            let saw = !client.reads || sock.got.end == End::Reset;
            assert!(saw, "{who}: the client has seen no reset");
        } else if reference.vanished.iter().any(|(at, by)| *by == won.uplink && *at > won.at) {
            assert!(
                !client.reads || sock.got.end != End::Open,
                "{who}: its uplink is gone, and it sees nothing"
            );
        } else if client.reads && !resets && !vanished {
            assert_eq!(sent.len(), client.payload.len(), "{who}: it could not send all");
            same_bytes(up, &client.payload, &format!("{who}: all of it, up"));
            same_bytes(down, &spoken, &format!("{who}: all of it, down"));
            assert_eq!(target.got.end == End::Fin, client.fin, "{who}: the client's end at the target");
            let said_end = client.fin || *place == SPEAKER;
            assert_eq!(sock.got.end == End::Fin, said_end, "{who}: the target's end at the client");
        }
    }
}
