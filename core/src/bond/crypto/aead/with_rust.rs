//! Packet keys by RustCrypto, for targets without a C compiler.

use super::{Aead, Cipher, Forged, KEY, NONCE, TAG};
use aes_gcm::Aes256Gcm;
use alloc::boxed::Box;
use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Tag};
use core::fmt;

/// A key with its schedule.
pub(crate) enum RustKey {
    /// Boxed: its schedule is 30 times the size of the other key.
    Aes(Box<Aes256Gcm>),
    ChaCha(ChaCha20Poly1305),
}

impl Aead for RustKey {
    fn new(cipher: Cipher, key: &[u8; KEY]) -> Self {
        match cipher {
            Cipher::Aes256Gcm => RustKey::Aes(Box::new(Aes256Gcm::new(key.into()))),
            Cipher::ChaCha20Poly1305 => RustKey::ChaCha(ChaCha20Poly1305::new(key.into())),
        }
    }

    fn seal(&self, nonce: [u8; NONCE], aad: &[u8], text: &mut [u8]) -> [u8; TAG] {
        let tag = match self {
            RustKey::Aes(key) => key.encrypt_in_place_detached(&nonce.into(), aad, text),
            RustKey::ChaCha(key) => key.encrypt_in_place_detached(&nonce.into(), aad, text),
        };
        tag.expect("a datagram is shorter than any limit of the cipher").into()
    }

    fn open(&self, nonce: [u8; NONCE], aad: &[u8], sealed: &mut [u8]) -> Result<usize, Forged> {
        let (text, tag) = sealed.split_last_chunk_mut::<TAG>().ok_or(Forged)?;
        let tag = Tag::from(*tag);
        let opened = match self {
            RustKey::Aes(key) => key.decrypt_in_place_detached(&nonce.into(), aad, text, &tag),
            RustKey::ChaCha(key) => key.decrypt_in_place_detached(&nonce.into(), aad, text, &tag),
        };
        opened.map(|()| text.len()).map_err(|_| Forged)
    }
}

impl fmt::Debug for RustKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RustKey")
    }
}
