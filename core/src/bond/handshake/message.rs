//! The three messages of a handshake.
//!
//! ```text
//!   INIT      byte 0 | Noise: e 32, s 48, payload 102                | mac1 16 | mac2 16
//!   RESPONSE  byte 0 | receiver 4 | Noise: e 32, payload 33          | mac1 16
//!   COOKIE    byte 0 | nonce 24 | cookie 16, sealed: 32
//!
//!   INIT's payload      incarnation 8 | generation 4 | index 4 | ciphers 1 | features 4 | token length 1 | token 64
//!   RESPONSE's payload  incarnation 8 | index 4 | cipher 1 | features 4
//! ```
//!
//! After WireGuard (J. Donenfeld, 2017, section 5.4): mac1 is keyed by the hash of the receiver's
//! static key, so that whoever does not know it gets no answer. mac2 is keyed by a cookie, which
//! only who receives at the source address can have. A cookie is sealed to whoever knows the
//! server's key and sent this very INIT. Everything that matters is inside the Noise payloads; the
//! index of a RESPONSE only finds the handshake it belongs to.
//!
//! Features are reserved: sent as zero, ignored when they come.

use crate::bond::crypto::mac::{self, MAC};
use crate::bond::crypto::noise::{FIRST_OVERHEAD, SECOND_OVERHEAD, TAG};
use crate::bond::crypto::{Cipher, PublicKey};
use crate::bond::wire::{Malformed, PacketType, Phase, Reader, Writer};
use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305};

/// Most bytes of an enrolment token.
pub(crate) const MAX_TOKEN: usize = 64;

const INIT_PAYLOAD: usize = 8 + 4 + 4 + 1 + 4 + 1 + MAX_TOKEN;
const RESPONSE_PAYLOAD: usize = 8 + 4 + 1 + 4;
const INIT_NOISE: usize = FIRST_OVERHEAD + INIT_PAYLOAD;
const RESPONSE_NOISE: usize = SECOND_OVERHEAD + RESPONSE_PAYLOAD;
const RESPONSE_HEAD: usize = 5;
const NONCE: usize = 24;

/// Bytes of a cookie.
pub(crate) const COOKIE: usize = MAC;
/// Bytes of an INIT message.
pub(crate) const INIT_LEN: usize = 1 + INIT_NOISE + 2 * MAC;
/// Bytes of a RESPONSE message.
pub(crate) const RESPONSE_LEN: usize = RESPONSE_HEAD + RESPONSE_NOISE + MAC;
/// Bytes of a COOKIE message.
pub(crate) const COOKIE_LEN: usize = 1 + NONCE + COOKIE + TAG;

const _: () =
    assert!(RESPONSE_LEN <= INIT_LEN && COOKIE_LEN <= INIT_LEN, "no answer is longer than its question");

/// What enrols a client: opaque bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    bytes: [u8; MAX_TOKEN],
    len: u8,
}

impl Token {
    /// No token: the client is known already.
    #[cfg(any(test, feature = "laws"))]
    pub(crate) const NONE: Token = Token { bytes: [0; MAX_TOKEN], len: 0 };

    /// A token of these bytes, `None` if they are more than [`MAX_TOKEN`].
    pub(crate) fn new(token: &[u8]) -> Option<Token> {
        let mut bytes = [0; MAX_TOKEN];
        bytes.get_mut(..token.len())?.copy_from_slice(token);
        Some(Token { bytes, len: token.len() as u8 })
    }

    /// The bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// The content of a client's first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InitPayload {
    /// Its life.
    pub(crate) incarnation: u64,
    /// How many handshakes it began before, in this life.
    pub(crate) generation: u32,
    /// The receiver index it chose.
    pub(crate) index: u32,
    /// The ciphers it offers, by their numbers as bits.
    pub(crate) ciphers: u8,
    /// What enrols it.
    pub(crate) token: Token,
}

impl InitPayload {
    pub(crate) fn emit(&self) -> [u8; INIT_PAYLOAD] {
        let mut out = [0; INIT_PAYLOAD];
        let mut writer = Writer::new(&mut out);
        let all = writer
            .bytes(&self.incarnation.to_be_bytes())
            .and_then(|()| writer.u32(self.generation))
            .and_then(|()| writer.u32(self.index))
            .and_then(|()| writer.u8(self.ciphers))
            .and_then(|()| writer.u32(0))
            .and_then(|()| writer.u8(self.token.len))
            .and_then(|()| writer.bytes(&self.token.bytes));
        all.expect("the payload has the sum of their lengths");
        out
    }

    pub(crate) fn parse(bytes: &[u8; INIT_PAYLOAD]) -> Result<InitPayload, Malformed> {
        let mut reader = Reader::new(bytes);
        let incarnation = u64::from_be_bytes(reader.array("incarnation")?);
        let generation = reader.u32("generation")?;
        let index = reader.u32("receiver index")?;
        let ciphers = reader.u8("ciphers")?;
        reader.u32("features")?;
        let len = reader.u8("token's length")?;
        let token = reader.bytes("token", MAX_TOKEN)?.get(..len.into()).and_then(Token::new);
        let token = token.ok_or(Malformed::Value { what: "token's length", got: len.into() })?;
        Ok(InitPayload { incarnation, generation, index, ciphers, token })
    }

    /// The buffer that a payload is read into.
    pub(crate) const fn buffer() -> [u8; INIT_PAYLOAD] {
        [0; INIT_PAYLOAD]
    }
}

/// What a server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ResponsePayload {
    /// The life of the association at the server.
    pub(crate) incarnation: u64,
    /// The receiver index it chose.
    pub(crate) index: u32,
    /// What packets are sealed with.
    pub(crate) cipher: Cipher,
}

impl ResponsePayload {
    pub(crate) fn emit(&self) -> [u8; RESPONSE_PAYLOAD] {
        let mut out = [0; RESPONSE_PAYLOAD];
        let mut writer = Writer::new(&mut out);
        let all = writer
            .bytes(&self.incarnation.to_be_bytes())
            .and_then(|()| writer.u32(self.index))
            .and_then(|()| writer.u8(self.cipher.number()))
            .and_then(|()| writer.u32(0));
        all.expect("the payload has the sum of their lengths");
        out
    }

    pub(crate) fn parse(bytes: &[u8; RESPONSE_PAYLOAD]) -> Result<ResponsePayload, Malformed> {
        let mut reader = Reader::new(bytes);
        let incarnation = u64::from_be_bytes(reader.array("incarnation")?);
        let index = reader.u32("receiver index")?;
        let cipher = reader.u8("cipher")?;
        reader.u32("features")?;
        let cipher = Cipher::from_number(cipher).ok_or(Malformed::Unknown { what: "cipher", got: cipher })?;
        Ok(ResponsePayload { incarnation, index, cipher })
    }

    /// The buffer that a payload is read into.
    pub(crate) const fn buffer() -> [u8; RESPONSE_PAYLOAD] {
        [0; RESPONSE_PAYLOAD]
    }
}

/// What messages to one receiver are protected with against strangers.
pub(crate) struct MacKeys {
    mac1: [u8; 32],
    cookie: [u8; 32],
}

impl MacKeys {
    /// The keys of messages to whoever has this public key. They are no secret to who knows it.
    pub(crate) fn of(receiver: &PublicKey) -> MacKeys {
        MacKeys {
            mac1: mac::hash(b"ropewalk bond mac1", &[receiver.as_bytes()]),
            cookie: mac::hash(b"ropewalk bond cookie", &[receiver.as_bytes()]),
        }
    }
}

impl core::fmt::Debug for MacKeys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("MacKeys")
    }
}

/// An INIT message as bytes.
#[derive(Clone, Debug)]
pub(crate) struct Init(pub(crate) [u8; INIT_LEN]);

impl Init {
    /// A message whose Noise part `write` fills in. It has no mac2.
    pub(crate) fn new<T>(keys: &MacKeys, write: impl FnOnce(&mut [u8]) -> T) -> (Init, T) {
        let mut bytes = [0; INIT_LEN];
        bytes[0] = PacketType::Init.byte(Phase(false));
        let written = write(&mut bytes[1..1 + INIT_NOISE]);
        let mac1 = mac::mac(&keys.mac1, &[&bytes[..1 + INIT_NOISE]]);
        bytes[1 + INIT_NOISE..INIT_LEN - MAC].copy_from_slice(&mac1);
        (Init(bytes), written)
    }

    /// The message in `datagram`, `None` if its length, type or mac1 is wrong.
    pub(crate) fn parse(keys: &MacKeys, datagram: &[u8]) -> Option<Init> {
        let bytes = <[u8; INIT_LEN]>::try_from(datagram).ok()?;
        let init = Init(bytes);
        let right = bytes[0] == PacketType::Init.byte(Phase(false))
            && mac::verify(&keys.mac1, &[&bytes[..1 + INIT_NOISE]], &init.mac1());
        right.then_some(init)
    }

    pub(crate) fn noise(&self) -> &[u8] {
        &self.0[1..1 + INIT_NOISE]
    }

    /// The mac of everything before it. It tells one INIT from another.
    pub(crate) fn mac1(&self) -> [u8; MAC] {
        let mut mac1 = [0; MAC];
        mac1.copy_from_slice(&self.0[1 + INIT_NOISE..INIT_LEN - MAC]);
        mac1
    }

    /// Proves that the sender has `cookie`, or stops to, with `None`.
    pub(crate) fn set_cookie(&mut self, cookie: Option<&[u8; COOKIE]>) {
        let (signed, mac2) = self.0.split_at_mut(INIT_LEN - MAC);
        match cookie {
            Some(cookie) => mac2.copy_from_slice(&mac::mac(&cookie_key(cookie), &[signed])),
            None => mac2.fill(0),
        }
    }

    /// Whether the sender has `cookie`.
    pub(crate) fn has_cookie(&self, cookie: &[u8; COOKIE]) -> bool {
        let (signed, mac2) = self.0.split_at(INIT_LEN - MAC);
        <[u8; MAC]>::try_from(mac2).is_ok_and(|mac2| mac::verify(&cookie_key(cookie), &[signed], &mac2))
    }
}

/// A cookie is half as long as a key.
fn cookie_key(cookie: &[u8; COOKIE]) -> [u8; 32] {
    let mut key = [0; 32];
    key[..COOKIE].copy_from_slice(cookie);
    key
}

/// A RESPONSE message as bytes.
#[derive(Clone, Debug)]
pub(crate) struct Response(pub(crate) [u8; RESPONSE_LEN]);

impl Response {
    /// A message to `receiver`, the index that the client chose, whose Noise part `write` fills in.
    pub(crate) fn new<T>(keys: &MacKeys, receiver: u32, write: impl FnOnce(&mut [u8]) -> T) -> (Response, T) {
        let mut bytes = [0; RESPONSE_LEN];
        bytes[0] = PacketType::Response.byte(Phase(false));
        bytes[1..RESPONSE_HEAD].copy_from_slice(&receiver.to_be_bytes());
        let written = write(&mut bytes[RESPONSE_HEAD..RESPONSE_LEN - MAC]);
        let mac1 = mac::mac(&keys.mac1, &[&bytes[..RESPONSE_LEN - MAC]]);
        bytes[RESPONSE_LEN - MAC..].copy_from_slice(&mac1);
        (Response(bytes), written)
    }

    /// The message in `datagram`, `None` if its length, type, receiver or mac1 is wrong.
    pub(crate) fn parse(keys: &MacKeys, receiver: u32, datagram: &[u8]) -> Option<Response> {
        let bytes = <[u8; RESPONSE_LEN]>::try_from(datagram).ok()?;
        let (signed, mac1) = bytes.split_at(RESPONSE_LEN - MAC);
        let right = bytes[0] == PacketType::Response.byte(Phase(false))
            && bytes[1..RESPONSE_HEAD] == receiver.to_be_bytes()
            && <[u8; MAC]>::try_from(mac1).is_ok_and(|mac1| mac::verify(&keys.mac1, &[signed], &mac1));
        right.then_some(Response(bytes))
    }

    pub(crate) fn noise(&self) -> &[u8] {
        &self.0[RESPONSE_HEAD..RESPONSE_LEN - MAC]
    }
}

/// Seals `cookie` to whoever sent the INIT with this mac1 to the owner of `keys`.
pub(crate) fn seal_cookie(
    keys: &MacKeys,
    nonce: [u8; NONCE],
    mac1: &[u8; MAC],
    cookie: &[u8; COOKIE],
) -> [u8; COOKIE_LEN] {
    let mut out = [0; COOKIE_LEN];
    out[0] = PacketType::Cookie.byte(Phase(false));
    out[1..1 + NONCE].copy_from_slice(&nonce);
    let (text, tag) = out[1 + NONCE..].split_at_mut(COOKIE);
    text.copy_from_slice(cookie);
    let sealed =
        XChaCha20Poly1305::new(&keys.cookie.into()).encrypt_in_place_detached(&nonce.into(), mac1, text);
    tag.copy_from_slice(&sealed.expect("a cookie is shorter than any limit of the cipher"));
    out
}

/// The cookie in `datagram`, if it answers the INIT with this mac1.
pub(crate) fn open_cookie(keys: &MacKeys, mac1: &[u8; MAC], datagram: &[u8]) -> Option<[u8; COOKIE]> {
    let bytes = <[u8; COOKIE_LEN]>::try_from(datagram).ok()?;
    if bytes[0] != PacketType::Cookie.byte(Phase(false)) {
        return None;
    }
    let mut nonce = [0; NONCE];
    nonce.copy_from_slice(&bytes[1..1 + NONCE]);
    let mut cookie = [0; COOKIE];
    cookie.copy_from_slice(&bytes[1 + NONCE..][..COOKIE]);
    let tag = Tag::clone_from_slice(&bytes[1 + NONCE + COOKIE..]);
    let key = XChaCha20Poly1305::new(&keys.cookie.into());
    key.decrypt_in_place_detached(&nonce.into(), mac1, &mut cookie, &tag).ok()?;
    Some(cookie)
}
