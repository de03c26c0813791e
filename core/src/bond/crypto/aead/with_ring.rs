//! Packet keys by ring.

use super::{Aead, Cipher, Forged, KEY, NONCE, TAG};
use core::fmt;
use ring::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

/// A key with its schedule. "Less safe" means that the caller counts nonces, which sessions do.
pub(crate) struct RingKey(LessSafeKey);

impl Aead for RingKey {
    fn new(cipher: Cipher, key: &[u8; KEY]) -> Self {
        let algorithm = match cipher {
            Cipher::Aes256Gcm => &AES_256_GCM,
            Cipher::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        };
        RingKey(LessSafeKey::new(
            UnboundKey::new(algorithm, key).expect("both ciphers have keys of 32 bytes"),
        ))
    }

    fn seal(&self, nonce: [u8; NONCE], aad: &[u8], text: &mut [u8]) -> [u8; TAG] {
        let tag = self
            .0
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), text)
            .expect("a datagram is shorter than any limit of the cipher");
        let mut out = [0; TAG];
        out.copy_from_slice(tag.as_ref());
        out
    }

    fn open(&self, nonce: [u8; NONCE], aad: &[u8], sealed: &mut [u8]) -> Result<usize, Forged> {
        let plain = self.0.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), sealed);
        plain.map(|plain| plain.len()).map_err(|_| Forged)
    }
}

impl fmt::Debug for RingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RingKey")
    }
}
