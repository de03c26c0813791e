//! One session: two keys of one handshake, and what was sealed and opened with them.

use super::replay::ReplayWindow;
use super::{
    EXPIRES_AFTER, LATEST, MAX_NUMBER, MOST_FORGERIES, MOST_PACKETS, PACKET_UNIT, REKEY_AFTER_PACKETS,
};
use crate::bond::crypto::aead::{Aead, Cipher, NONCE, PacketKey};
use crate::bond::wire::{HEADER, Header, MAX_PATHS, Malformed, PathId, Phase, TAG, header};
use crate::time::{Duration, Instant};
use alloc::boxed::Box;
use core::fmt;
use core::ops::Range;
use zeroize::Zeroize;

/// What a handshake gives. It is erased when it is dropped.
pub(crate) struct Secrets {
    /// What both sides agreed on.
    pub(crate) cipher: Cipher,
    /// Seals what this side sends.
    pub(crate) seal: [u8; 32],
    /// Opens what the peer sends.
    pub(crate) open: [u8; 32],
    /// The index this side chose: the receiver of what the peer sends.
    pub(crate) local: u32,
    /// The index the peer chose.
    pub(crate) remote: u32,
    /// How many handshakes came before, in this association.
    pub(crate) generation: u32,
}

impl Drop for Secrets {
    fn drop(&mut self) {
        self.seal.zeroize();
        self.open.zeroize();
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({}, generation {})", self.cipher, self.generation)
    }
}

/// Why a packet was not sealed. It must not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SealError {
    /// There is no session that may seal: a handshake is needed.
    NoSession,
    /// The session is too old, or sealed all it may: a handshake is needed.
    Exhausted,
    /// The buffer has no room for plaintext and tag.
    Room,
    /// The path's packet number was used already, or there are none left.
    Number,
}

/// Why a packet was not opened. It must be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenError {
    /// It is no packet.
    Malformed(Malformed),
    /// No session has its receiver index.
    NoSession,
    /// Its session is too old, or met too many forgeries.
    Exhausted,
    /// It came already, or is too old to know.
    Replayed,
    /// It was not sealed with the session's key.
    Forged,
}

/// The keys of one handshake.
#[derive(Debug)]
pub(crate) struct Session {
    /// The cipher's number and the key that seals, for recordings that are to be opened again.
    #[cfg(all(feature = "laws", feature = "std"))]
    pub(super) told: (u8, [u8; 32]),
    #[cfg(test)]
    cipher: Cipher,
    generation: u32,
    born: Instant,
    local: u32,
    remote: u32,
    seal: PacketKey,
    open: PacketKey,
    /// Packets sealed, long ones counted as many.
    sealed: u64,
    forged: u64,
    /// The least number that each path may still use.
    least: [u64; MAX_PATHS],
    /// A kilobyte for each path, from its first valid packet on.
    windows: [Option<Box<ReplayWindow>>; MAX_PATHS],
}

impl Session {
    /// A session whose handshake ended at `now`.
    pub(crate) fn new(now: Instant, secrets: &Secrets) -> Session {
        Session {
            #[cfg(all(feature = "laws", feature = "std"))]
            told: (secrets.cipher.number(), secrets.seal),
            #[cfg(test)]
            cipher: secrets.cipher,
            generation: secrets.generation,
            born: now,
            local: secrets.local,
            remote: secrets.remote,
            seal: PacketKey::new(secrets.cipher, &secrets.seal),
            open: PacketKey::new(secrets.cipher, &secrets.open),
            sealed: 0,
            forged: 0,
            least: [0; MAX_PATHS],
            windows: [const { None }; MAX_PATHS],
        }
    }

    /// What it seals with.
    #[cfg(test)]
    pub(crate) const fn cipher(&self) -> Cipher {
        self.cipher
    }

    /// How many handshakes came before, in this association.
    #[cfg(test)]
    pub(crate) const fn generation(&self) -> u32 {
        self.generation
    }

    /// The receiver index of packets that this session opens.
    pub(crate) const fn local(&self) -> u32 {
        self.local
    }

    /// When nothing is sealed or opened any more.
    pub(crate) fn expires_at(&self) -> Instant {
        self.born + EXPIRES_AFTER
    }

    /// When its keys are to be replaced at the latest, idle or not.
    pub(crate) fn renew_by(&self) -> Instant {
        self.born + (EXPIRES_AFTER - LATEST)
    }

    /// How old it is.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.saturating_since(self.born)
    }

    /// Whether another session is due because this one has sealed enough packets.
    pub(crate) const fn is_worn(&self) -> bool {
        self.sealed >= REKEY_AFTER_PACKETS || self.forged >= MOST_FORGERIES / 2
    }

    /// Seals the `plain_len` bytes behind the header's place in `buf`, and returns the packet's
    /// length.
    ///
    /// ```text
    ///   buf   [ header, written here: 10 | plaintext: plain_len | tag, written here: 16 | not touched ]
    /// ```
    pub(crate) fn seal(
        &mut self,
        now: Instant,
        path: PathId,
        number: u64,
        buf: &mut [u8],
        plain_len: usize,
    ) -> Result<usize, SealError> {
        let total = plain_len.checked_add(HEADER + TAG).ok_or(SealError::Room)?;
        let packet = buf.get_mut(..total).ok_or(SealError::Room)?;
        let least = &mut self.least[path.index()];
        if number < *least || number > MAX_NUMBER {
            return Err(SealError::Number);
        }
        let units = (plain_len / PACKET_UNIT) as u64 + 1;
        if self.sealed.saturating_add(units) > MOST_PACKETS || now >= self.born + EXPIRES_AFTER {
            return Err(SealError::Exhausted);
        }
        *least = number + 1;
        self.sealed += units;

        let (head, rest) = packet.split_first_chunk_mut::<HEADER>().ok_or(SealError::Room)?;
        let (text, tag) = rest.split_last_chunk_mut::<TAG>().ok_or(SealError::Room)?;
        // The low 32 bits: the receiver knows the others from what came before.
        let header =
            Header { phase: Phase::of(self.generation), receiver: self.remote, path, number: number as u32 };
        header.emit(head);
        *tag = self.seal.seal(nonce(path, number), head, text);
        Ok(total)
    }

    /// Opens `packet`, whose clear header is `header`, in place. Returns the packet's number and
    /// where the plaintext is. `largest` is the largest number that was opened on this path, under
    /// any key.
    pub(crate) fn open(
        &mut self,
        now: Instant,
        header: &Header,
        largest: Option<u64>,
        packet: &mut [u8],
    ) -> Result<(u64, Range<usize>), OpenError> {
        if now >= self.born + EXPIRES_AFTER || self.forged >= MOST_FORGERIES {
            return Err(OpenError::Exhausted);
        }
        let number = header::expand(header.number, largest);
        let window = &mut self.windows[header.path.index()];
        if number > MAX_NUMBER || header.phase != Phase::of(self.generation) {
            return Err(OpenError::Forged);
        }
        if window.as_ref().is_some_and(|window| !window.is_new(number)) {
            return Err(OpenError::Replayed);
        }
        let Some((head, sealed)) = packet.split_first_chunk_mut::<HEADER>() else {
            return Err(OpenError::Forged);
        };
        let Ok(plain_len) = self.open.open(nonce(header.path, number), head, sealed) else {
            self.forged += 1;
            return Err(OpenError::Forged);
        };
        window.get_or_insert_with(|| Box::new(ReplayWindow::new())).insert(number);
        Ok((number, HEADER..HEADER + plain_len))
    }

    /// As if it had sealed this many packets.
    #[cfg(test)]
    pub(super) fn wear(&mut self, sealed: u64) {
        self.sealed = sealed;
    }

    /// As if it had met this many forgeries.
    #[cfg(test)]
    pub(super) fn embitter(&mut self, forged: u64) {
        self.forged = forged;
    }
}

/// Four zero bytes, the path, and 56 bits of the packet number.
fn nonce(path: PathId, number: u64) -> [u8; NONCE] {
    debug_assert!(number <= MAX_NUMBER);
    let low = u64::from(path.get()) << 56 | number;
    let mut nonce = [0; NONCE];
    nonce[4..].copy_from_slice(&low.to_be_bytes());
    nonce
}
