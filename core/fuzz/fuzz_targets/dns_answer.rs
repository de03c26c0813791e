//! What comes as an answer of a name server.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| ropewalk_core::dispatch::assert_answer_laws(bytes));
