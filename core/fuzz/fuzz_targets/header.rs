//! PROXY protocol headers: whatever the bytes and however they are split, the laws of the parser
//! hold.
//!
//! ```text
//! cargo +nightly fuzz run header                            # in core/
//! RUSTC_BOOTSTRAP=1 cargo fuzz run header --sanitizer none  # where there is only a stable Rust
//! ```
//!
//! The first byte of an input chooses the rules, the rest is what a peer sent.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| ropewalk_core::unwrap::emit::assert_laws(bytes));
