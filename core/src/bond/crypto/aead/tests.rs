//! Both backends against published vectors and against each other.

use super::*;
use alloc::vec::Vec;
use proptest::prelude::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(core::str::from_utf8(pair).expect("hex"), 16).expect("hex"))
        .collect()
}

struct Vector {
    cipher: Cipher,
    key: &'static str,
    nonce: &'static str,
    aad: &'static str,
    plain: &'static str,
    sealed: &'static str,
    tag: &'static str,
}

const VECTORS: [Vector; 3] = [
    // McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B, test case 16.
    Vector {
        cipher: Cipher::Aes256Gcm,
        key: "feffe9928665731c6d6a8f9467308308 feffe9928665731c6d6a8f9467308308",
        nonce: "cafebabefacedbaddecaf888",
        aad: "feedfacedeadbeeffeedfacedeadbeefabaddad2",
        plain: "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72
                1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        sealed: "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa
                 8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
        tag: "76fc6ece0f4e1768cddf8853bb2d551b",
    },
    // The same, test case 14.
    Vector {
        cipher: Cipher::Aes256Gcm,
        key: "0000000000000000000000000000000000000000000000000000000000000000",
        nonce: "000000000000000000000000",
        aad: "",
        plain: "00000000000000000000000000000000",
        sealed: "cea7403d4d606b6e074ec5d3baf39d18",
        tag: "d0d1c8a799996bf0265b98b5d48ab919",
    },
    // RFC 8439 section 2.8.2.
    Vector {
        cipher: Cipher::ChaCha20Poly1305,
        key: "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
        nonce: "070000004041424344454647",
        aad: "50515253c0c1c2c3c4c5c6c7",
        plain: "4c616469657320616e642047656e746c656d656e206f662074686520636c6173
                73206f66202739393a204966204920636f756c64206f6666657220796f75206f
                6e6c79206f6e652074697020666f7220746865206675747572652c2073756e73
                637265656e20776f756c642062652069742e",
        sealed: "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6
                 3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36
                 92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc
                 3ff4def08e4b7a9de576d26586cec64b6116",
        tag: "1ae10b594f09e26a7e902ecbd0600691",
    },
];

fn holds_the_vectors<A: Aead>() {
    for vector in &VECTORS {
        let key: [u8; KEY] = hex(vector.key).try_into().expect("32 bytes");
        let nonce: [u8; NONCE] = hex(vector.nonce).try_into().expect("12 bytes");
        let (aad, plain) = (hex(vector.aad), hex(vector.plain));
        let key = A::new(vector.cipher, &key);
        let mut text = plain.clone();
        let tag = key.seal(nonce, &aad, &mut text);
        assert_eq!(text, hex(vector.sealed), "{}", vector.cipher);
        assert_eq!(tag[..], hex(vector.tag), "{}", vector.cipher);
        text.extend_from_slice(&tag);
        assert_eq!(key.open(nonce, &aad, &mut text), Ok(plain.len()));
        assert_eq!(text[..plain.len()], plain);
    }
}

#[test]
fn rust_alone_makes_the_published_vectors() {
    holds_the_vectors::<with_rust::RustKey>();
}

#[cfg(feature = "ring")]
#[test]
fn ring_makes_the_published_vectors() {
    holds_the_vectors::<with_ring::RingKey>();
}

#[cfg(feature = "ring")]
proptest! {
    #[test]
    fn what_one_backend_seals_the_other_opens(
        cipher in proptest::sample::select(&Cipher::ALL[..]), key: [u8; KEY], nonce: [u8; NONCE],
        aad in proptest::collection::vec(any::<u8>(), 0..40),
        plain in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let (ring, rust) = (with_ring::RingKey::new(cipher, &key), with_rust::RustKey::new(cipher, &key));
        let (mut by_ring, mut by_rust) = (plain.clone(), plain.clone());
        let tag = ring.seal(nonce, &aad, &mut by_ring);
        prop_assert_eq!(tag, rust.seal(nonce, &aad, &mut by_rust));
        prop_assert_eq!(&by_ring, &by_rust);
        by_ring.extend_from_slice(&tag);
        by_rust.extend_from_slice(&tag);
        prop_assert_eq!(ring.open(nonce, &aad, &mut by_rust), Ok(plain.len()));
        prop_assert_eq!(rust.open(nonce, &aad, &mut by_ring), Ok(plain.len()));
        prop_assert_eq!(&by_ring[..plain.len()], &plain[..]);
        prop_assert_eq!(&by_rust[..plain.len()], &plain[..]);
    }
}

proptest! {
    #[test]
    fn a_flipped_bit_anywhere_is_noticed(
        cipher in proptest::sample::select(&Cipher::ALL[..]), at: u16, bit in 0u8..8,
        plain in proptest::collection::vec(any::<u8>(), 0..100)
    ) {
        let key = PacketKey::new(cipher, &[7; KEY]);
        let (nonce, aad) = ([1; NONCE], [2; 10]);
        let mut sealed = plain.clone();
        let tag = key.seal(nonce, &aad, &mut sealed);
        sealed.extend_from_slice(&tag);
        let at = usize::from(at) % (sealed.len() + aad.len() + NONCE);
        let (mut nonce, mut aad) = (nonce, aad);
        match at.checked_sub(sealed.len()) {
            None => sealed[at] ^= 1 << bit,
            Some(at) if at < aad.len() => aad[at] ^= 1 << bit,
            Some(at) => nonce[at - aad.len()] ^= 1 << bit,
        }
        prop_assert_eq!(key.open(nonce, &aad, &mut sealed), Err(Forged));
    }
}

#[test]
fn what_is_shorter_than_a_tag_is_no_packet() {
    for cipher in Cipher::ALL {
        for len in 0..TAG {
            assert_eq!(
                PacketKey::new(cipher, &[1; KEY]).open([0; NONCE], &[], &mut [0; TAG][..len]),
                Err(Forged)
            );
            assert_eq!(
                with_rust::RustKey::new(cipher, &[1; KEY]).open([0; NONCE], &[], &mut [0; TAG][..len]),
                Err(Forged)
            );
        }
    }
}

#[test]
fn a_server_takes_the_first_of_its_own_that_was_offered() {
    let (fast, slow) = (CipherOrder::fast_aes(), CipherOrder::slow_aes());
    assert_eq!(fast.choose(slow.offer()), Some(Cipher::Aes256Gcm));
    assert_eq!(slow.choose(fast.offer()), Some(Cipher::ChaCha20Poly1305));
    let only = CipherOrder::only(Cipher::ChaCha20Poly1305);
    assert_eq!(fast.choose(only.offer()), Some(Cipher::ChaCha20Poly1305));
    assert_eq!(only.choose(CipherOrder::only(Cipher::Aes256Gcm).offer()), None);
    assert_eq!(only.choose(0xfc), None, "unknown ciphers are not chosen");
    for cipher in Cipher::ALL {
        assert_eq!(Cipher::from_number(cipher.number()), Some(cipher));
    }
}
