//! A client and a server of the bond on a hostile network, before and after their handshake.
//!
//! ```text
//! cargo +nightly fuzz run bond_handshake                            # in core/
//! RUSTC_BOOTSTRAP=1 cargo fuzz run bond_handshake --sanitizer none  # where there is only a stable Rust
//! ```
//!
//! An input is a script: how many operations come before the handshake, then four bytes and some
//! data for each: bytes to one of the two, something overheard with a byte changed, something cut
//! off, an honest packet.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|script: &[u8]| ropewalk_core::bond::laws::assert_handshake_laws(script));
