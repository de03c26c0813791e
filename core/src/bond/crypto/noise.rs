//! The Noise handshake: snow, with randomness from this crate's generator.

use super::{PresharedKey, PublicKey, Rng, SecretKey};
use alloc::boxed::Box;
use core::fmt;
use snow::params::{CipherChoice, DHChoice, HashChoice, NoiseParams};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState};

/// Both static keys, forward secrecy, and a pre-shared key mixed into the second message.
const PATTERN: &str = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";

/// Which protocol this handshake is for: both sides hash it.
const PROLOGUE: &[u8] = b"ropewalk bond 1";

/// Where IKpsk2 mixes the pre-shared key in.
const PSK_AT: u8 = 2;

/// Bytes of a Diffie-Hellman public key.
pub(crate) const DH: usize = 32;
/// Bytes that encryption adds.
pub(crate) const TAG: usize = 16;
/// Bytes that the first message adds to its payload: e, s encrypted, the payload's tag.
pub(crate) const FIRST_OVERHEAD: usize = DH + DH + TAG + TAG;
/// Bytes that the second message adds to its payload: e, the payload's tag.
pub(crate) const SECOND_OVERHEAD: usize = DH + TAG;

/// The peer's message is not one of this handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

/// Keys that a handshake gives: of what the initiator sends, of what the responder sends.
pub(crate) type Split = ([u8; 32], [u8; 32]);

/// A handshake between its two messages.
pub(crate) struct Noise(HandshakeState);

impl Noise {
    /// Begins as a client. Writes the first message with `payload` to `out`, whose length fits
    /// exactly.
    pub(crate) fn initiate(
        rng: &mut Rng,
        key: &SecretKey,
        server: &PublicKey,
        psk: &PresharedKey,
        payload: &[u8],
        out: &mut [u8],
    ) -> Noise {
        const WHY: &str = "keys have 32 bytes, each is set once, and the buffer fits";
        debug_assert_eq!(out.len(), payload.len() + FIRST_OVERHEAD);
        let mut state = builder(rng)
            .local_private_key(key.as_bytes())
            .and_then(|builder| builder.remote_public_key(server.as_bytes()))
            .and_then(|builder| builder.psk(PSK_AT, psk.as_bytes()))
            .and_then(Builder::build_initiator)
            .expect(WHY);
        let len = state.write_message(payload, out).expect(WHY);
        debug_assert_eq!(len, out.len());
        Noise(state)
    }

    /// Reads the server's message and its payload, which fills `payload` exactly.
    pub(crate) fn finish(&mut self, message: &[u8], payload: &mut [u8]) -> Result<Split, Unreadable> {
        read(&mut self.0, message, payload, SECOND_OVERHEAD)?;
        Ok(self.0.dangerously_get_raw_split())
    }

    /// Reads a client's message as the server, and its payload, which fills `payload` exactly.
    /// Tells who it is: not yet whether it is fresh.
    pub(crate) fn respond(
        rng: &mut Rng,
        key: &SecretKey,
        message: &[u8],
        payload: &mut [u8],
    ) -> Result<(Noise, [u8; 32]), Unreadable> {
        let mut state = builder(rng)
            .local_private_key(key.as_bytes())
            .and_then(Builder::build_responder)
            .expect("a key has 32 bytes and is set once");
        read(&mut state, message, payload, FIRST_OVERHEAD)?;
        let client =
            state.get_remote_static().and_then(|key| <[u8; 32]>::try_from(key).ok()).ok_or(Unreadable)?;
        Ok((Noise(state), client))
    }

    /// Writes the second message with `payload` to `out`, whose length fits exactly.
    pub(crate) fn answer(mut self, psk: &PresharedKey, payload: &[u8], out: &mut [u8]) -> Split {
        const WHY: &str = "the first message was read, the key has 32 bytes, and the buffer fits";
        debug_assert_eq!(out.len(), payload.len() + SECOND_OVERHEAD);
        self.0.set_psk(PSK_AT.into(), psk.as_bytes()).expect(WHY);
        let len = self.0.write_message(payload, out).expect(WHY);
        debug_assert_eq!(len, out.len());
        self.0.dangerously_get_raw_split()
    }
}

impl fmt::Debug for Noise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Noise")
    }
}

fn builder<'a>(rng: &mut Rng) -> Builder<'a> {
    let params: NoiseParams = PATTERN.parse().expect("snow knows this pattern");
    Builder::with_resolver(params, Box::new(Resolver { seed: rng.bytes() }))
        .prologue(PROLOGUE)
        .expect("it is set once")
}

fn read(
    state: &mut HandshakeState,
    message: &[u8],
    payload: &mut [u8],
    overhead: usize,
) -> Result<(), Unreadable> {
    // snow copies as many bytes as the message has: the lengths must fit before it sees them.
    if message.len() != payload.len() + overhead {
        return Err(Unreadable);
    }
    match state.read_message(message, payload) {
        Ok(len) if len == payload.len() => Ok(()),
        Ok(_) | Err(_) => Err(Unreadable),
    }
}

/// snow's own primitives, and randomness from a seed.
struct Resolver {
    seed: [u8; 32],
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Seeded(Rng::new(self.seed))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

struct Seeded(Rng);

impl Random for Seeded {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        self.0.fill(dest);
        Ok(())
    }
}

/// X25519 with one secret: what snow uses, so that there is one of it.
pub(super) struct X25519(Box<dyn Dh>);

impl X25519 {
    pub(super) fn new(secret: &[u8; 32]) -> X25519 {
        let mut dh = DefaultResolver.resolve_dh(&DHChoice::Curve25519).expect("snow was built with X25519");
        dh.set(secret);
        X25519(dh)
    }

    pub(super) fn public(&self) -> [u8; 32] {
        self.0.pubkey().try_into().expect("a public key has 32 bytes")
    }

    pub(super) fn shared(&self, public: &[u8; 32]) -> [u8; 32] {
        let mut out = [0; 32];
        // It cannot fail. If it did, the zeros that stay are taken for what they are: no secret.
        let _ = self.0.dh(public, &mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_come_to_the_same_keys_and_to_others_each_time() {
        let mut rng = Rng::new([1; 32]);
        let (client, server) = (SecretKey::generate(&mut rng), SecretKey::generate(&mut rng));
        let psk = PresharedKey::generate(&mut rng);
        let mut before = None;
        for _ in 0..3 {
            let mut first = [0; 10 + FIRST_OVERHEAD];
            let mut noise =
                Noise::initiate(&mut rng, &client, &server.public(), &psk, b"0123456789", &mut first);
            let mut payload = [0; 10];
            let (there, who) = Noise::respond(&mut rng, &server, &first, &mut payload).expect("readable");
            assert_eq!(who, *client.public().as_bytes());
            assert_eq!(&payload, b"0123456789");
            let mut second = [0; 3 + SECOND_OVERHEAD];
            let keys = there.answer(&psk, b"abc", &mut second);
            let mut payload = [0; 3];
            assert_eq!(noise.finish(&second, &mut payload), Ok(keys));
            assert_eq!(&payload, b"abc");
            assert_ne!(keys.0, keys.1);
            assert_ne!(before.replace(keys), Some(keys));
        }
    }

    #[test]
    fn another_pre_shared_key_is_another_handshake() {
        let mut rng = Rng::new([1; 32]);
        let (client, server) = (SecretKey::generate(&mut rng), SecretKey::generate(&mut rng));
        let mut first = [0; FIRST_OVERHEAD];
        let mut noise =
            Noise::initiate(&mut rng, &client, &server.public(), &PresharedKey::NONE, &[], &mut first);
        let (there, _) = Noise::respond(&mut rng, &server, &first, &mut []).expect("the psk comes later");
        let mut second = [0; SECOND_OVERHEAD];
        there.answer(&PresharedKey::generate(&mut rng), &[], &mut second);
        assert_eq!(noise.finish(&second, &mut []), Err(Unreadable));
    }
}
