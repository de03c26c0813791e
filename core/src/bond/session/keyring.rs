//! The sessions of one association, and its packet numbers, which outlive them.
//!
//! An initiator uses a new session at once, because the responder has it already. A responder keeps
//! it as `next` until a packet proves that the initiator has it: a replayed first message gets no
//! further. After a rekey the previous session still opens what was under way.

use super::transport::{OpenError, SealError, Session};
use super::{ENDING, REKEY_AFTER, REKEY_ASKED_AFTER};
#[cfg(test)]
use crate::bond::crypto::aead::Cipher;
use crate::bond::wire::{Header, MAX_PATHS, PathId};
use crate::time::{Duration, Instant};
use core::ops::Range;

/// The end that began the handshakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The client.
    Initiator,
    /// The server.
    Responder,
}

/// A packet that may be sent, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// Its number on its path.
    pub(crate) number: u64,
    /// Its length in bytes.
    pub(crate) len: usize,
}

/// A packet that was opened for the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    /// The path it took.
    pub(crate) path: PathId,
    /// Its number on its path.
    pub(crate) number: u64,
    /// Where its plaintext is in the buffer.
    pub(crate) plain: Range<usize>,
    /// It is the first under its session: the peer has the keys. Only now may a pending association
    /// take over, and only now does an initiator know that its handshake is done.
    pub(crate) confirms: bool,
}

/// Previous, current and next session; the packet numbers of each path.
#[derive(Debug)]
pub(crate) struct Keyring {
    role: Role,
    previous: Option<Session>,
    current: Option<Session>,
    next: Option<Session>,
    /// Whether something was opened under the current session.
    confirmed: bool,
    /// The number of each path's next packet. Counted on across rekeys: a peer measures loss by
    /// gaps.
    numbers: [u64; MAX_PATHS],
    /// The largest number that was opened on each path, under any key.
    largest: [Option<u64>; MAX_PATHS],
    /// Receiver indexes of sessions that are gone.
    retired: [Option<u32>; 4],
    /// When a server asks for new keys again, and how long it waits then.
    ask: (Instant, Duration),
}

/// A server asks for new keys again after this, then after twice as long each time: a client whose
/// INIT is lost on the way does not need a REKEY with every packet.
const ASK_AGAIN: Duration = Duration::from_secs(1);

impl Keyring {
    /// A keyring without sessions.
    pub(crate) const fn new(role: Role) -> Keyring {
        Keyring {
            role,
            previous: None,
            current: None,
            next: None,
            confirmed: false,
            numbers: [0; MAX_PATHS],
            largest: [None; MAX_PATHS],
            retired: [None; 4],
            ask: (Instant::ZERO, ASK_AGAIN),
        }
    }

    /// Which side this is.
    pub(crate) const fn role(&self) -> Role {
        self.role
    }

    /// Takes the session of a handshake that ended. An initiator uses it from now on, a responder
    /// when a packet came under it.
    pub(crate) fn install(&mut self, session: Session) {
        match self.role {
            Role::Initiator => {
                let current = self.current.replace(session);
                // A session that was never confirmed is one that the responder may not have: it has
                // no successor's rights, and the confirmed one before it still opens what is under
                // way.
                if self.confirmed || self.previous.is_none() {
                    let previous = core::mem::replace(&mut self.previous, current);
                    self.retire(previous);
                } else {
                    self.retire(current);
                }
                self.confirmed = false;
            }
            Role::Responder => {
                let next = self.next.replace(session);
                self.retire(next);
            }
        }
    }

    /// The number of the cipher and the key that seal, for recordings that are to be opened again.
    #[cfg(all(feature = "laws", feature = "std"))]
    pub(crate) fn told(&self) -> Option<(u8, [u8; 32])> {
        self.current.as_ref().map(|session| session.told)
    }

    /// Seals `plain_len` bytes behind the header's place in `buf` (see [`Session::seal`]) under the
    /// path's next number.
    pub(crate) fn seal(
        &mut self,
        now: Instant,
        path: PathId,
        buf: &mut [u8],
        plain_len: usize,
    ) -> Result<Sealed, SealError> {
        let session = self.current.as_mut().ok_or(SealError::NoSession)?;
        let next = &mut self.numbers[path.index()];
        let number = *next;
        let len = session.seal(now, path, number, buf, plain_len)?;
        *next = number + 1;
        Ok(Sealed { number, len })
    }

    /// Opens a packet in place.
    pub(crate) fn open(&mut self, now: Instant, packet: &mut [u8]) -> Result<Opened, OpenError> {
        let header = Header::parse(packet).map_err(OpenError::Malformed)?;
        let path = header.path;
        let largest = self.largest[path.index()];
        let is = |session: &Option<Session>| {
            session.as_ref().is_some_and(|session| session.local() == header.receiver)
        };
        let (slot, in_next, in_current) = if is(&self.current) {
            (&mut self.current, false, true)
        } else if is(&self.next) {
            (&mut self.next, true, false)
        } else if is(&self.previous) {
            (&mut self.previous, false, false)
        } else {
            return Err(OpenError::NoSession);
        };
        let session = slot.as_mut().ok_or(OpenError::NoSession)?;
        let (number, plain) = session.open(now, &header, largest, packet)?;
        self.largest[path.index()] = Some(largest.map_or(number, |largest| largest.max(number)));
        let confirms = in_next || in_current && !self.confirmed;
        if in_next {
            self.promote();
        }
        self.confirmed |= confirms;
        Ok(Opened { path, number, plain, confirms })
    }

    /// The peer has the next session. Out of line: sessions are large, and moved once in two
    /// minutes.
    #[cold]
    #[inline(never)]
    fn promote(&mut self) {
        self.ask = (Instant::ZERO, ASK_AGAIN);
        let promoted = self.next.take();
        let current = core::mem::replace(&mut self.current, promoted);
        let previous = core::mem::replace(&mut self.previous, current);
        self.retire(previous);
    }

    /// Whether a session of this keyring opens packets with this receiver index.
    pub(crate) fn owns(&self, receiver: u32) -> bool {
        [&self.current, &self.next, &self.previous]
            .into_iter()
            .flatten()
            .any(|session| session.local() == receiver)
    }

    /// The receiver indexes of its sessions, to be released when the association goes.
    pub(crate) fn indexes(&self) -> impl Iterator<Item = u32> + '_ {
        [&self.current, &self.next, &self.previous].into_iter().flatten().map(Session::local)
    }

    /// Whether the current session should be replaced. Ask when there is something to send: an idle
    /// association keeps its keys, and loses them when they expire. A client begins a handshake, a
    /// server sends REKEY.
    pub(crate) fn wants_rekey(&self, now: Instant) -> bool {
        let after = match self.role {
            Role::Initiator => REKEY_AFTER,
            Role::Responder => REKEY_ASKED_AFTER,
        };
        match (&self.current, &self.next) {
            (Some(current), None) => current.age(now) >= after || current.is_worn(),
            // New keys wait for the client's first packet.
            (Some(_), Some(_)) => false,
            (None, _) => self.role == Role::Initiator,
        }
    }

    /// Whether a server asks for new keys now: [`Keyring::wants_rekey`], and it has not asked
    /// lately.
    pub(crate) fn asks_rekey(&mut self, now: Instant) -> bool {
        if now < self.ask.0 || !self.wants_rekey(now) {
            return false;
        }
        self.ask = (now + self.ask.1, self.ask.1 * 2);
        true
    }

    /// Whether the current session ends within [`ENDING`], or has ended. An idle association lives
    /// on too: its server can reach its client by nothing else, and what looks for dead paths needs
    /// keys.
    pub(crate) fn is_ending(&self, now: Instant) -> bool {
        self.current.as_ref().is_none_or(|session| session.expires_at() - now < ENDING)
    }

    /// When an idle association renews its keys at the latest; `None` where they have expired.
    pub(crate) fn renew_by(&self) -> Option<Instant> {
        self.current.as_ref().map(Session::renew_by)
    }

    /// Whether the current session may still seal at `now`.
    pub(crate) fn is_usable(&self, now: Instant) -> bool {
        self.current.as_ref().is_some_and(|session| now < session.expires_at())
    }

    /// Whether a packet was opened under the current session, so that both sides are known to have
    /// it.
    #[cfg(test)]
    pub(crate) const fn is_confirmed(&self) -> bool {
        self.confirmed && self.current.is_some()
    }

    /// What packets are sealed with at present.
    #[cfg(test)]
    pub(crate) fn cipher(&self) -> Option<Cipher> {
        self.current.as_ref().map(Session::cipher)
    }

    /// How many handshakes came before the current session's.
    #[cfg(test)]
    pub(crate) fn generation(&self) -> Option<u32> {
        self.current.as_ref().map(Session::generation)
    }

    /// The number of the next packet on `path`.
    #[cfg(test)]
    pub(crate) const fn next_number(&self, path: PathId) -> u64 {
        self.numbers[path.index()]
    }

    /// When the next session expires.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        [&self.current, &self.next, &self.previous].into_iter().flatten().map(Session::expires_at).min()
    }

    /// Forgets expired sessions.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let expired = |session: &mut Session| now >= session.expires_at();
        let gone =
            [self.previous.take_if(expired), self.current.take_if(expired), self.next.take_if(expired)];
        self.confirmed &= self.current.is_some();
        for session in gone {
            self.retire(session);
        }
    }

    /// The receiver index of a session that is gone. Ask after each call that changes sessions,
    /// until `None`.
    pub(crate) fn poll_retired(&mut self) -> Option<u32> {
        self.retired.iter_mut().find_map(Option::take)
    }

    fn retire(&mut self, session: Option<Session>) {
        let Some(session) = session else { return };
        // Three sessions can go at once, and the owner asks before the next call.
        if let Some(slot) = self.retired.iter_mut().find(|slot| slot.is_none()) {
            *slot = Some(session.local());
        }
    }
}
