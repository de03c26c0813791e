//! What the fuzzer has found is asked again with each run of the tests.

use ropewalk_core::bond::laws;
use ropewalk_core::unwrap::emit;

/// Calls `law` with each input of the target's corpus.
fn hold_for_corpus(target: &str, law: fn(&[u8])) {
    let corpus = format!("{}/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let mut inputs = 0;
    for input in std::fs::read_dir(&corpus).expect("the corpus is beside the source") {
        let path = input.expect("it can be listed").path();
        law(&std::fs::read(&path).expect("it can be read"));
        inputs += 1;
    }
    assert!(inputs > 0, "{corpus} is empty");
}

#[test]
fn no_input_of_the_fuzzer_breaks_a_law_of_the_header_parser() {
    hold_for_corpus("header", emit::assert_laws);
}

#[test]
fn no_input_of_the_fuzzer_breaks_a_law_of_the_bonds_packets() {
    hold_for_corpus("bond_packet", laws::assert_packet_laws);
}

#[test]
fn no_input_of_the_fuzzer_breaks_a_law_of_the_bonds_handshake() {
    hold_for_corpus("bond_handshake", laws::assert_handshake_laws);
}

#[test]
fn no_input_of_the_fuzzer_breaks_a_law_of_name_servers_answers() {
    hold_for_corpus("dns_answer", ropewalk_core::dispatch::assert_answer_laws);
}
