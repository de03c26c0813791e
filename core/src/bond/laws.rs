//! What fuzz targets, the test of their corpora and benchmarks call. No part of the API.

use super::crypto::aead::KEY;
use super::crypto::{Aead, Cipher, PacketKey};
use super::session::{Keyring, Role, Secrets, Session};
use super::wire::{HEADER, PathId, TAG};
use crate::time::Instant;
use alloc::vec::Vec;

/// Panics where a law of the packet codec does not hold for these bytes.
pub fn assert_packet_laws(bytes: &[u8]) {
    super::wire::hold_for_input(bytes);
}

/// Panics where a law of handshake and session does not hold on a network that does what this
/// script says.
pub fn assert_handshake_laws(script: &[u8]) {
    super::handshake::laws::hold_for_script(script);
}

/// Two ends that speak with each other, as text: the head of `bond/recording.rs` says how.
#[cfg(feature = "std")]
pub fn bond_recording() -> alloc::string::String {
    super::recording::record()
}

/// Two ends of a session, whose packets are sealed and opened as those of an association are.
pub struct Sealing {
    from: Keyring,
    to: Keyring,
    buf: Vec<u8>,
}

impl Sealing {
    /// Both ends of one session.
    pub fn new(cipher: Cipher) -> Sealing {
        let (a, b) = ([1; KEY], [2; KEY]);
        let ends = [(a, b, 1, 2, Role::Initiator), (b, a, 2, 1, Role::Responder)].map(
            |(seal, open, local, remote, role)| {
                let mut keyring = Keyring::new(role);
                keyring.install(Session::new(
                    Instant::ZERO,
                    &Secrets { cipher, seal, open, local, remote, generation: 0 },
                ));
                keyring
            },
        );
        let [from, to] = ends;
        Sealing { from, to, buf: Vec::new() }
    }

    /// Seals and opens a packet with this many bytes of plaintext.
    pub fn seal_and_open(&mut self, plain_len: usize) {
        let path = PathId::new(0).expect("below MAX_PATHS");
        self.buf.resize(HEADER + plain_len + TAG, 0);
        let sealed =
            self.from.seal(Instant::ZERO, path, &mut self.buf, plain_len).expect("a fresh session seals");
        let opened = self.to.open(Instant::ZERO, &mut self.buf[..sealed.len]).expect("what was sealed opens");
        assert_eq!(opened.plain.len(), plain_len, "all of it");
    }
}

/// The cipher alone, of the backend that was built.
pub struct Sealer(PacketKey);

impl Sealer {
    /// A key of this cipher.
    pub fn new(cipher: Cipher) -> Sealer {
        Sealer(PacketKey::new(cipher, &[1; KEY]))
    }

    /// Seals `text` in place.
    pub fn seal(&self, nonce: u64, text: &mut [u8]) {
        let mut full = [0; 12];
        full[4..].copy_from_slice(&nonce.to_be_bytes());
        self.0.seal(full, &[0; HEADER], text);
    }
}
