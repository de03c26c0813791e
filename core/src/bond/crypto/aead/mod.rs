//! What seals and opens packets: pure functions of key, nonce, additional data and buffer.
//!
//! One backend is chosen when the crate is built: `ring` with the feature of that name
//! (`with_ring`), RustCrypto without it (`with_rust`). Both make the same bytes, and the tests hold
//! them against each other and against published vectors.

#[cfg(feature = "ring")]
mod with_ring;
#[cfg(any(test, not(feature = "ring")))]
mod with_rust;

#[cfg(feature = "ring")]
pub(crate) use with_ring::RingKey as PacketKey;
#[cfg(not(feature = "ring"))]
pub(crate) use with_rust::RustKey as PacketKey;

use core::fmt;

/// Bytes of a key.
pub(crate) const KEY: usize = 32;
/// Bytes of a nonce.
pub(crate) const NONCE: usize = 12;
/// Bytes of a tag.
pub(crate) const TAG: usize = 16;

/// What packets are sealed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Cipher {
    /// AES-256-GCM (RFC 5116): the fastest where the processor has AES instructions, slow and leaky
    /// without.
    Aes256Gcm,
    /// ChaCha20-Poly1305 (RFC 8439): fast enough everywhere.
    ChaCha20Poly1305,
}

impl Cipher {
    /// All of them.
    #[cfg(test)]
    pub(crate) const ALL: [Cipher; 2] = [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305];

    /// Its number in a handshake.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Cipher::Aes256Gcm => 0,
            Cipher::ChaCha20Poly1305 => 1,
        }
    }

    /// The cipher with this number.
    pub(crate) const fn from_number(number: u8) -> Option<Cipher> {
        match number {
            0 => Some(Cipher::Aes256Gcm),
            1 => Some(Cipher::ChaCha20Poly1305),
            _ => None,
        }
    }
}

impl fmt::Display for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cipher::Aes256Gcm => "AES-256-GCM",
            Cipher::ChaCha20Poly1305 => "ChaCha20-Poly1305",
        })
    }
}

/// Ciphers in order of preference. A client offers those of its order, a server takes the first of
/// its own that was offered.
///
/// Core does not look at the processor: whoever does says [`CipherOrder::fast_aes`] or
/// [`CipherOrder::slow_aes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CipherOrder {
    order: [Cipher; 2],
    len: u8,
}

impl CipherOrder {
    /// AES-256-GCM first: for processors with AES instructions.
    pub const fn fast_aes() -> CipherOrder {
        CipherOrder { order: [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305], len: 2 }
    }

    /// ChaCha20-Poly1305 first: for processors without.
    pub const fn slow_aes() -> CipherOrder {
        CipherOrder { order: [Cipher::ChaCha20Poly1305, Cipher::Aes256Gcm], len: 2 }
    }

    /// One cipher and no other.
    pub const fn only(cipher: Cipher) -> CipherOrder {
        CipherOrder { order: [cipher; 2], len: 1 }
    }

    /// The ciphers, the preferred one first.
    pub fn ciphers(&self) -> &[Cipher] {
        &self.order[..usize::from(self.len)]
    }

    /// The ciphers as a set of bits, by their numbers.
    pub(crate) fn offer(&self) -> u8 {
        self.ciphers().iter().fold(0, |bits, cipher| bits | 1 << cipher.number())
    }

    /// The first of these ciphers that is in `offer`.
    pub(crate) fn choose(&self, offer: u8) -> Option<Cipher> {
        self.ciphers().iter().copied().find(|cipher| offer >> cipher.number() & 1 == 1)
    }
}

/// The packet was not sealed with this key, nonce and additional data. The buffer holds nothing of
/// use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forged;

/// A key that seals and opens in place. It keeps no count: whoever calls never seals twice with one
/// nonce.
pub(crate) trait Aead: Sized + Send {
    /// Prepares the key.
    fn new(cipher: Cipher, key: &[u8; KEY]) -> Self;

    /// Encrypts `text` in place and returns the tag over `aad` and what `text` became.
    fn seal(&self, nonce: [u8; NONCE], aad: &[u8], text: &mut [u8]) -> [u8; TAG];

    /// Checks the tag at the end of `sealed`, decrypts what stands before it in place and returns
    /// its length.
    fn open(&self, nonce: [u8; NONCE], aad: &[u8], sealed: &mut [u8]) -> Result<usize, Forged>;
}

#[cfg(test)]
mod tests;
