//! Keyed hashes: BLAKE2s, as the handshake's own hash.

use blake2::digest::consts::U16;
use blake2::digest::{Digest, FixedOutput, KeyInit, Mac, Update};
use blake2::{Blake2s256, Blake2sMac};

/// Bytes of a mac.
pub(crate) const MAC: usize = 16;

/// The hash of `parts` one after the other, for the use that `label` names.
pub(crate) fn hash(label: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Blake2s256::new();
    Update::update(&mut hash, &[label.len() as u8]);
    Update::update(&mut hash, label);
    for part in parts {
        Update::update(&mut hash, part);
    }
    hash.finalize_fixed().into()
}

/// The mac of `parts` one after the other.
pub(crate) fn mac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; MAC] {
    keyed(key, parts).finalize_fixed().into()
}

/// Whether `tag` is the mac of `parts`. Takes the same time wherever they differ.
pub(crate) fn verify(key: &[u8; 32], parts: &[&[u8]], tag: &[u8; MAC]) -> bool {
    keyed(key, parts).verify(tag.into()).is_ok()
}

fn keyed(key: &[u8; 32], parts: &[&[u8]]) -> Blake2sMac<U16> {
    let mut mac = <Blake2sMac<U16> as KeyInit>::new(key.into());
    for part in parts {
        Update::update(&mut mac, part);
    }
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_is_of_its_key_and_of_each_byte() {
        let tag = mac(&[1; 32], &[b"some", b"thing"]);
        assert_eq!(tag, mac(&[1; 32], &[b"something"]));
        assert!(verify(&[1; 32], &[b"something"], &tag));
        assert!(!verify(&[2; 32], &[b"something"], &tag));
        assert!(!verify(&[1; 32], &[b"somethinG"], &tag));
        let mut other = tag;
        other[15] ^= 1;
        assert!(!verify(&[1; 32], &[b"something"], &other));
    }

    #[test]
    fn a_hash_is_of_its_label() {
        assert_ne!(hash(b"a", &[b"bc"]), hash(b"ab", &[b"c"]));
    }

    #[test]
    fn the_mac_is_that_of_rfc_7693() {
        // The reference implementation's keyed test: key 00..1f, no input, BLAKE2s with 16 bytes of
        // output has no published vector of its own; the hash it is built on has: RFC 7693 appendix
        // B, "abc".
        let digest: [u8; 32] = Blake2s256::digest(b"abc").into();
        assert_eq!(digest[..8], [0x50, 0x8c, 0x5e, 0x8c, 0x32, 0x7c, 0x14, 0xe2]);
    }
}
