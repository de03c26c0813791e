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
        let ends = Ends::of(lab, reference, relayed);
        ends.nothing_is_invented();
        ends.no_end_is_invented();
        ends.the_account_is_right();
        ends.it_ends_with_its_uplink(reference);
        if ends.was_quiet(reference) {
            ends.all_has_come(reference);
        }
    }
}

/// Both ends of a connection, and what happened to it.
struct Ends<'a> {
    relayed: &'a Relayed<'a>,
    client: &'a Sock,
    target: &'a Sock,
    /// What the client has sent behind its request.
    sent: &'a [u8],
    /// What the target got.
    up: &'a [u8],
    /// What the client got behind the answer.
    down: &'a [u8],
    /// All that the target says to what it got.
    spoken: Vec<u8>,
    /// The target may have reset it.
    resets: bool,
    /// Its uplink has vanished.
    vanished: bool,
}

impl<'a> Ends<'a> {
    fn of(lab: &'a Lab, reference: &Reference, relayed: &'a Relayed<'a>) -> Self {
        let Relayed { who, client: person, won, place, len, .. } = relayed;
        let client = lab.sock(person.who);
        let served = lab.world.served.iter().map(|(_, who)| lab.sock(*who));
        let mut served = served.filter(|sock| sock.peer == won.to && sock.local.port() == won.port);
        let target = served.next().unwrap_or_else(|| panic!("{who}: nobody served it"));
        let up = &target.got.bytes[..];
        Ends {
            relayed,
            client,
            target,
            sent: &person.payload[..client.got.sent.saturating_sub(person.words.len())],
            up,
            down: &client.got.bytes[*len..],
            spoken: if *place == SPEAKER { speech() } else { up.to_vec() },
            resets: reference.conditions_at(won.at).any(|w| w.modes[*place] == Mode::Resetting),
            vanished: reference.vanished_since(won.at, won.uplink),
        }
    }

    fn nothing_is_invented(&self) {
        let (who, up, down, sent) = (&self.relayed.who, self.up, self.down, self.sent);
        same_bytes(up, &sent[..up.len().min(sent.len())], &format!("{who}: up"));
        same_bytes(down, &self.spoken[..down.len().min(self.spoken.len())], &format!("{who}: down"));
        assert!(down.len() <= self.target.got.sent, "{who}: more than was sent down");
    }

    fn no_end_is_invented(&self) {
        let Ends { client, target, .. } = self;
        let who = &self.relayed.who;
        let may_reset = self.resets || self.vanished || self.relayed.client.reset;
        match client.got.end {
            End::Open => {}
            End::Fin => {
                assert!(target.fin_sent, "{who}: an end that the target never said");
                let all = target.got.sent;
                assert_eq!(self.down.len(), all, "{who}: an end in the midst of the bytes down");
            }
            End::Reset => assert!(may_reset, "{who}: reset for nothing"),
        }
        match target.got.end {
            End::Open => {}
            End::Fin => {
                assert!(client.fin_sent, "{who}: an end that the client never said");
                let all = self.sent.len();
                assert_eq!(self.up.len(), all, "{who}: an end in the midst of the bytes up");
            }
            End::Reset => assert!(may_reset, "{who}: the target was reset for nothing"),
        }
    }

    fn the_account_is_right(&self) {
        let who = &self.relayed.who;
        let closed = self.relayed.seen.closed.as_ref();
        if let Some(closed) = closed.filter(|closed| closed.fault.is_none()) {
            assert_eq!(closed.sent, self.target.proxy_wrote as u64, "{who}: bytes accounted for, up");
            assert_eq!(closed.received, self.target.got.sent as u64, "{who}: bytes accounted for, down");
        }
    }

    fn it_ends_with_its_uplink(&self, reference: &Reference) {
        let Relayed { who, seen, won, .. } = self.relayed;
        for (gone, uplink) in &reference.vanished {
            let there = seen.connected.is_some_and(|(at, ..)| at <= *gone)
                && seen.closed.as_ref().is_none_or(|closed| closed.at >= *gone);
            if there && *uplink == won.uplink {
                let closed = seen.closed.as_ref().is_some_and(|closed| closed.at == *gone);
                assert!(closed, "{who}: its uplink vanished at {gone:?}, and it lives on");
            }
        }
    }

    /// Nothing has happened to it for so long that all must have come through.
    fn was_quiet(&self, reference: &Reference) -> bool {
        let Relayed { client, won, answered, .. } = self.relayed;
        let gone = reference.vanished.iter().filter(|(_, by)| *by == won.uplink).map(|(gone, _)| *gone);
        let last = gone.chain([client.touched, *answered]).max();
        last.is_some_and(|last| last + QUIET <= reference.now)
    }

    fn all_has_come(&self, reference: &Reference) {
        let Ends { client: sock, target, resets, vanished, .. } = self;
        let Relayed { who, client, seen, won, place, .. } = self.relayed;
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
            assert_eq!(self.sent.len(), client.payload.len(), "{who}: it could not send all");
            same_bytes(self.up, &client.payload, &format!("{who}: all of it, up"));
            same_bytes(self.down, &self.spoken, &format!("{who}: all of it, down"));
            assert_eq!(target.got.end == End::Fin, client.fin, "{who}: the client's end at the target");
            let said_end = client.fin || *place == SPEAKER;
            assert_eq!(sock.got.end == End::Fin, said_end, "{who}: the target's end at the client");
        }
    }
}
