//! Packets of the bond, opened or not: whatever the bytes, the laws of the codec hold.
//!
//! ```text
//! cargo +nightly fuzz run bond_packet                            # in core/
//! RUSTC_BOOTSTRAP=1 cargo fuzz run bond_packet --sanitizer none  # where there is only a stable Rust
//! ```
//!
//! An input is read as a clear header and, once more, as a plaintext.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| ropewalk_core::bond::laws::assert_packet_laws(bytes));
