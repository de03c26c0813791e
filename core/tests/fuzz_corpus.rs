//! What the fuzzer has found is asked again with each run of the tests.

use ropewalk_core::unwrap::emit;

#[test]
fn no_input_of_the_fuzzer_breaks_a_law_of_the_header_parser() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/header");
    let mut inputs = 0;
    for input in std::fs::read_dir(corpus).expect("the corpus is beside the source") {
        let path = input.expect("it can be listed").path();
        emit::assert_laws(&std::fs::read(&path).expect("it can be read"));
        inputs += 1;
    }
    assert!(inputs > 0, "{corpus} is empty");
}
