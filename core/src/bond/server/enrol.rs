//! Strangers come in by an invitation: once, and until it expires.
//!
//! ```text
//!   invite ──▶ Open ── a client comes with its token ──▶ Used by that key: told as an event, for whoever keeps files
//!               └───── its time is over ───────────────▶ Expired
//! ```
//!
//! The token comes in the first message, sealed for the server's key, and the client has proved its
//! own key then: a replay of the message lets in the same client and no other. Invitations that
//! were used or have expired are remembered, so that a refusal can say which of the two it was.

use super::{Server, Session};
use crate::bond::config::ConfigError;
use crate::bond::crypto::{PresharedKey, PublicKey};
use crate::bond::handshake::{Admission, ClientId, Counters, Reaction};
use crate::machine::Output;
use crate::machine::event::{BondNews, BondRefusal, Event};
use crate::time::Instant;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::ops::RangeInclusive;

/// Invitations that are remembered; the oldest goes for a new one.
const INVITATIONS: usize = 4096;
/// Bytes of a token: shorter ones can be guessed, longer ones fit in no first message.
const TOKEN: RangeInclusive<usize> = 16..=64;

/// What lets a stranger in, once.
#[derive(Clone, Debug)]
pub struct Invitation {
    /// Its number, by which [`BondNews::Enrolled`] names it. A smaller one is older.
    pub number: u32,
    /// The client's token: 16 to 64 secret random bytes.
    pub token: Vec<u8>,
    /// It is good until then.
    pub until: Instant,
    /// The inner addresses that the client will have.
    pub addresses: Vec<IpAddr>,
}

#[derive(Debug)]
struct Kept {
    invitation: Invitation,
    used: bool,
}

/// All invitations, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Invitations(BTreeMap<u32, Kept>);

/// Decides about one stranger.
struct Door<'a> {
    now: Instant,
    kept: &'a mut Invitations,
    /// Whose the inner addresses are.
    routes: &'a BTreeMap<IpAddr, ClientId>,
    id: ClientId,
    outcome: Option<Result<(u32, PublicKey), BondRefusal>>,
}

impl Admission for Door<'_> {
    fn admit(&mut self, client: &PublicKey, token: &[u8]) -> Option<(ClientId, PresharedKey)> {
        let outcome = self.judge(client, token);
        self.outcome = Some(outcome);
        outcome.ok().map(|_| (self.id, PresharedKey::NONE))
    }
}

impl Door<'_> {
    fn judge(&mut self, client: &PublicKey, token: &[u8]) -> Result<(u32, PublicKey), BondRefusal> {
        if token.is_empty() {
            return Err(BondRefusal::Stranger);
        }
        let kept = self.kept.0.values_mut().find(|kept| same(&kept.invitation.token, token));
        let kept = kept.ok_or(BondRefusal::UnknownInvitation)?;
        if kept.used {
            return Err(BondRefusal::UsedInvitation);
        }
        if kept.invitation.until <= self.now {
            return Err(BondRefusal::ExpiredInvitation);
        }
        // The addresses of an expired invitation may be another client's by now, which keeps them.
        if kept.invitation.addresses.iter().any(|address| self.routes.contains_key(address)) {
            return Err(BondRefusal::UsedInvitation);
        }
        kept.used = true;
        Ok((kept.invitation.number, *client))
    }
}

/// Compares all bytes, whatever the first ones are: the time reveals nothing of a token.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

impl Server {
    /// Lets one stranger in who comes with this invitation. Changes nothing if its number is known
    /// already with the same token; with another token it is another invitation, in place of the
    /// first.
    ///
    /// # Errors
    /// What cannot be: a token that is too short or too long; an inner address that is no host's,
    /// the server's own, or the second of its family. Nothing has changed then.
    pub fn invite(&mut self, invitation: Invitation) -> Result<(), ConfigError> {
        let length = invitation.token.len();
        if !TOKEN.contains(&length) {
            let (least, most) = (TOKEN.start(), TOKEN.end());
            return Err(ConfigError(alloc::format!("token: expected {least} to {most} bytes, got {length}")));
        }
        self.config.check_client(&invitation.addresses)?;
        let number = invitation.number;
        let known = self.invitations.0.get(&number);
        if !known.is_some_and(|kept| same(&kept.invitation.token, &invitation.token)) {
            self.invitations.0.insert(number, Kept { invitation, used: false });
        }
        if self.invitations.0.len() > INVITATIONS {
            self.invitations.0.pop_first();
        }
        Ok(())
    }

    /// Remembers an invitation that was used, so that the next who comes with it is refused by that
    /// name.
    ///
    /// # Errors
    /// As [`Server::invite`].
    pub fn invite_no_more(&mut self, invitation: Invitation) -> Result<(), ConfigError> {
        let number = invitation.number;
        self.invite(invitation)?;
        if let Some(kept) = self.invitations.0.get_mut(&number) {
            kept.used = true;
        }
        Ok(())
    }

    fn next_id(&self) -> ClientId {
        ClientId(self.sessions.last_key_value().map_or(0, |(last, _)| last.0 + 1))
    }

    fn seat(&mut self, id: ClientId, addresses: Vec<IpAddr>) {
        self.routes.extend(addresses.iter().map(|address| (*address, id)));
        self.sessions.insert(id, Session { addresses, live: None, waiting: None, heard: Instant::ZERO });
    }

    /// Reads a first message; lets in an invited stranger, and reports the others.
    pub(super) fn admit(&mut self, now: Instant, datagram: &[u8], from: SocketAddr) -> Reaction {
        let before = self.responder.counters();
        let id = self.next_id();
        let (kept, routes) = (&mut self.invitations, &self.routes);
        let mut door = Door { now, kept, routes, id, outcome: None };
        let reaction = self.responder.handle_init(now, from, datagram, &mut door);
        let outcome = door.outcome;
        if let Some(Ok((invitation, key))) = outcome {
            let addresses = self.invitations.0.get(&invitation).map(|kept| kept.invitation.addresses.clone());
            self.seat(id, addresses.unwrap_or_default());
            self.tell(id, BondNews::Enrolled { invitation, key: *key.as_bytes() });
        }
        let refused = outcome.and_then(Result::err).or_else(|| cause(&before, &self.responder.counters()));
        if let Some(why) = refused {
            let news = BondNews::Refused { from, why };
            self.outputs.push_back(Output::Event(Event::Bond { client: None, news }));
        }
        reaction
    }
}

/// Why the handshake dropped a message, seen by which counter moved. Only a peer that knows the
/// server's key can make such a message.
fn cause(before: &Counters, after: &Counters) -> Option<BondRefusal> {
    match () {
        () if after.replayed > before.replayed => Some(BondRefusal::Replayed),
        () if after.incompatible > before.incompatible => Some(BondRefusal::NoCipher),
        () if after.unreadable > before.unreadable => Some(BondRefusal::Unreadable),
        () if after.unknown > before.unknown => Some(BondRefusal::Full),
        () => None,
    }
}
