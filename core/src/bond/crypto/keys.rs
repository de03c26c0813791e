//! Static keys and pre-shared keys, and how people write them down.
//!
//! ```text
//!   rwp1.  public key            32 bytes in base64url without padding (RFC 4648 section 5): 43 characters
//!   rws1.  secret key
//!   rwk1.  pre-shared key
//! ```
//!
//! The 1 is the version: X25519 keys. One value has one spelling.

use super::Rng;
use super::noise::X25519;
use alloc::string::String;
use base64ct::{Base64UrlUnpadded, Encoding};
use core::fmt;
use core::str::FromStr;
use zeroize::{Zeroize, Zeroizing};

const PUBLIC: &str = "rwp1.";
const SECRET: &str = "rws1.";
const PRE_SHARED: &str = "rwk1.";

/// Characters of 32 bytes in base64 without padding.
const TEXT: usize = 43;

/// Why a text is no key. It never repeats the text, which may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// It does not begin as keys of this kind do.
    Prefix {
        /// How they do.
        expected: &'static str,
    },
    /// What follows is not the base64 of 32 bytes.
    Text {
        /// How many characters there are; there should be 43.
        characters: usize,
    },
    /// This public key makes every shared secret zero (RFC 7748 section 6.1).
    LowOrder,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::Prefix { expected } => write!(f, "expected a key that begins with {expected}"),
            KeyError::Text { characters } => {
                write!(
                    f,
                    "expected {TEXT} characters of base64url after the prefix, got {characters} or others"
                )
            }
            KeyError::LowOrder => f.write_str("this public key is of low order: nobody's honest key is"),
        }
    }
}

impl core::error::Error for KeyError {}

/// The identity of an end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// The public key with these bytes.
    ///
    /// # Errors
    /// [`KeyError::LowOrder`].
    pub fn from_bytes(bytes: [u8; 32]) -> Result<PublicKey, KeyError> {
        if X25519::new(&[0x55; 32]).shared(&bytes) == [0; 32] {
            return Err(KeyError::LowOrder);
        }
        Ok(PublicKey(bytes))
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        PublicKey::from_bytes(decode(PUBLIC, text)?)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode(PUBLIC, &self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The proof of an end's identity. Erased when dropped.
#[derive(Clone)]
pub struct SecretKey([u8; 32]);

impl SecretKey {
    /// A new key. `rng` must have been seeded by the operating system.
    pub fn generate(rng: &mut Rng) -> SecretKey {
        SecretKey(rng.bytes())
    }

    /// The public key that belongs to it.
    pub fn public(&self) -> PublicKey {
        PublicKey(X25519::new(&self.0).public())
    }

    /// Its text, erased when dropped.
    pub fn to_text(&self) -> Zeroizing<String> {
        encode(SECRET, &self.0)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for SecretKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        decode(SECRET, text).map(SecretKey)
    }
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey of {}", self.public())
    }
}

/// A secret that both sides share besides their static keys: it protects against a later break of
/// X25519. Erased when dropped.
#[derive(Clone)]
pub struct PresharedKey([u8; 32]);

impl PresharedKey {
    /// No secret at all: the handshake is then as strong as X25519.
    pub const NONE: PresharedKey = PresharedKey([0; 32]);

    /// A new key. `rng` must have been seeded by the operating system.
    pub fn generate(rng: &mut Rng) -> PresharedKey {
        PresharedKey(rng.bytes())
    }

    /// Its text, erased when dropped.
    pub fn to_text(&self) -> Zeroizing<String> {
        encode(PRE_SHARED, &self.0)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for PresharedKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        decode(PRE_SHARED, text).map(PresharedKey)
    }
}

impl Drop for PresharedKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresharedKey")
    }
}

fn encode(prefix: &str, bytes: &[u8; 32]) -> Zeroizing<String> {
    let mut out = [0; TEXT];
    let text = Base64UrlUnpadded::encode(bytes, &mut out).expect("32 bytes make 43 characters");
    // As long as it will be: growing would leave a copy behind.
    let mut whole = Zeroizing::new(String::with_capacity(prefix.len() + TEXT));
    whole.push_str(prefix);
    whole.push_str(text);
    out.zeroize();
    whole
}

fn decode(prefix: &'static str, text: &str) -> Result<[u8; 32], KeyError> {
    let text = text.strip_prefix(prefix).ok_or(KeyError::Prefix { expected: prefix })?;
    let mut bytes = [0; 32];
    match Base64UrlUnpadded::decode(text, &mut bytes) {
        Ok(decoded) if decoded.len() == 32 => Ok(bytes),
        Ok(_) | Err(_) => Err(KeyError::Text { characters: text.chars().count() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;

    #[test]
    fn keys_survive_being_written_down() {
        let mut rng = Rng::new([3; 32]);
        for _ in 0..20 {
            let secret = SecretKey::generate(&mut rng);
            let again: SecretKey = secret.to_text().parse().expect("its own text");
            assert_eq!(again.as_bytes(), secret.as_bytes());
            assert_eq!(secret.public().to_string().parse(), Ok(secret.public()));
            assert_eq!(secret.public().to_string().len(), 48);
            let psk = PresharedKey::generate(&mut rng);
            assert_eq!(
                psk.to_text().parse::<PresharedKey>().expect("its own text").as_bytes(),
                psk.as_bytes()
            );
        }
    }

    #[test]
    fn the_public_key_is_that_of_rfc_7748() {
        // RFC 7748 section 6.1: Alice's keys.
        let secret = SecretKey([
            0x77, 0x07, 0x6d, 0x0a, 0x73, 0x18, 0xa5, 0x7d, 0x3c, 0x16, 0xc1, 0x72, 0x51, 0xb2, 0x66, 0x45,
            0xdf, 0x4c, 0x2f, 0x87, 0xeb, 0xc0, 0x99, 0x2a, 0xb1, 0x77, 0xfb, 0xa5, 0x1d, 0xb9, 0x2c, 0x2a,
        ]);
        assert_eq!(
            secret.public().as_bytes(),
            &[
                0x85, 0x20, 0xf0, 0x09, 0x89, 0x30, 0xa7, 0x54, 0x74, 0x8b, 0x7d, 0xdc, 0xb4, 0x3e, 0xf7,
                0x5a, 0x0d, 0xbf, 0x3a, 0x0d, 0x26, 0x38, 0x1a, 0xf4, 0xeb, 0xa4, 0xa9, 0x8e, 0xaa, 0x9b,
                0x4e, 0x6a,
            ]
        );
    }

    #[test]
    fn other_texts_are_no_keys() {
        let secret = SecretKey::generate(&mut Rng::new([3; 32]));
        let public = secret.public().to_string();
        let refused = |text: &str| text.parse::<PublicKey>().expect_err("no key");
        assert_eq!(
            refused(&secret.to_text()),
            KeyError::Prefix { expected: "rwp1." },
            "a secret is no public key"
        );
        assert_eq!(refused(""), KeyError::Prefix { expected: "rwp1." });
        assert_eq!(refused("rwp1."), KeyError::Text { characters: 0 });
        assert_eq!(refused(&format!("{public}A")), KeyError::Text { characters: 44 });
        assert_eq!(refused(&public[..47]), KeyError::Text { characters: 42 });
        assert_eq!(refused(&format!(" {public}")), KeyError::Prefix { expected: "rwp1." });
        assert_eq!(refused(&format!("{}é", &public[..47])), KeyError::Text { characters: 43 });
        // The last character has two bits that spell nothing: one value has one spelling.
        assert_eq!(refused(&format!("rwp1.{}B", "A".repeat(42))), KeyError::Text { characters: 43 });
    }

    #[test]
    fn a_public_key_that_makes_shared_secrets_zero_is_refused() {
        let mut one = [0; 32];
        assert_eq!(PublicKey::from_bytes(one), Err(KeyError::LowOrder));
        one[0] = 1;
        assert_eq!(PublicKey::from_bytes(one), Err(KeyError::LowOrder));
        one[0] = 9;
        assert!(PublicKey::from_bytes(one).is_ok(), "the base point");
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let secret = SecretKey::generate(&mut Rng::new([3; 32]));
        let shown = format!("{secret:?}");
        assert!(!shown.contains(&secret.to_text()[5..]));
        assert!(shown.contains(&secret.public().to_string()));
        assert_eq!(format!("{:?}", PresharedKey([7; 32])), "PresharedKey");
    }
}
