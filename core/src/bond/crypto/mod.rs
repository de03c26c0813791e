//! The cryptography of the bond: what seals packets, what makes keys, what is random.
//!
//! | file | is |
//! | --- | --- |
//! | `aead` | the trait of what seals and opens packets, and its backends: ring, and Rust alone |
//! | `rng` | a generator whose seed and entropy the driver gives |
//! | `keys` | static keys, pre-shared keys, and their text |
//! | `mac` | hashes and keyed hashes |
//! | `noise` | the Noise handshake: snow, with this crate's generator |
//!
//! Invariants: nothing here asks the operating system for anything; key material is erased when it
//! is dropped, where it is this crate's (ring and snow keep copies of their own); debug output
//! never shows a key.

pub(crate) mod aead;
mod keys;
pub(crate) mod mac;
pub(crate) mod noise;
mod rng;

#[cfg(feature = "laws")]
pub(crate) use aead::{Aead, PacketKey};
pub use aead::{Cipher, CipherOrder};
pub use keys::{KeyError, PresharedKey, PublicKey, SecretKey};
pub use rng::Rng;
