//! The protocol's page is complete: a decoder written from it alone reads what the bond sends.

// The example's own `main` is not called here.
#[allow(dead_code)]
#[path = "../examples/bond_decode.rs"]
mod decode;

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInPlace, KeyInit};
use decode::{Summary, decode};

const SHIPPED: &str = include_str!("data/bond-recording.txt");

fn expect_whole(summary: &Summary) {
    let count = |what: &str| summary.counts.get(what).copied().unwrap_or(0);
    let handshake = ["INIT", "RESPONSE", "TRANSPORT", "PATH_CHALLENGE", "PATH_RESPONSE"];
    let settings = ["CONFIG_REQUEST", "CONFIG", "CONFIG_ACK"];
    let rest = ["ACK", "CLOSE", "DATA on path 0", "DATA on path 1", "DATA with a distance"];
    for what in handshake.iter().chain(&settings).chain(&rest) {
        assert!(count(what) > 0, "no {what}: {:?}", summary.counts);
    }
    assert!(count("not carried") < count("inner packets"), "{:?}", summary.counts);
    assert!(count("DATA lost") == 0 || count("repaired") > 0, "{:?}", summary.counts);
    assert!(summary.lines.len() >= count("INIT") + count("RESPONSE") + count("TRANSPORT"));
}

#[test]
fn the_shipped_recording_decodes() {
    let summary = decode(SHIPPED).expect("the shipped recording");
    expect_whole(&summary);
    assert_eq!([summary.counts["repaired"], summary.counts["not carried"]], [1, 0]);
}

#[test]
fn a_fresh_recording_decodes() {
    let recording = ropewalk_core::bond::laws::bond_recording();
    expect_whole(&decode(&recording).expect("a fresh recording"));
}

/// The shipped recording with one bit changed: of which line, and of which byte in its last word.
fn flipped(line: usize, byte: usize) -> String {
    let mut lines: Vec<String> = SHIPPED.lines().map(str::to_owned).collect();
    let text = &mut lines[line];
    let at = text.rfind(' ').expect("words") + 1 + 2 * byte;
    let value = u8::from_str_radix(&text[at..at + 2], 16).expect("a byte") ^ 1;
    text.replace_range(at..at + 2, &format!("{value:02x}"));
    lines.join("\n")
}

#[test]
fn a_flipped_byte_is_refused_with_its_line() {
    let packets =
        SHIPPED.lines().enumerate().filter(|(_, line)| line.contains(" 48") || line.contains(" 49"));
    let mut tried = 0;
    for (line, text) in packets.filter(|(_, text)| !text.starts_with("tun")) {
        let length = text.rsplit(' ').next().map_or(0, |hex| hex.len() / 2);
        // The key phase, the receiver, the path, the number, the first sealed byte, the tag.
        for byte in [0, 4, 5, 9, 10, length - 1] {
            let why = decode(&flipped(line, byte)).expect_err("a flipped byte");
            assert!(
                why.starts_with(&format!("line {}: ", line + 1)),
                "byte {byte} of line {}: {why}",
                line + 1
            );
            tried += 1;
        }
    }
    assert!(tried > 100, "{tried} tried");
}

#[test]
fn an_inner_packet_that_no_tun_gave_is_refused() {
    let line = SHIPPED.lines().position(|line| line.starts_with("tun ")).expect("a tun line");
    let why = decode(&flipped(line, 30)).expect_err("another inner packet");
    assert!(why.starts_with("line ") && why.contains("no `tun` line"), "{why}");
}

/// A recording of one packet of the client, sealed with AES-256-GCM, that holds these frames.
fn sealed(frames: &[u8]) -> String {
    let mut plain = [&[2, 0, 0, 7][..], frames].concat();
    plain.resize(plain.len().max(32), 0);
    let header = [0x48, 1, 2, 3, 4, 5, 0, 0, 0, 6];
    let nonce = [0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 6];
    let cipher = Aes256Gcm::new(&[9; 32].into());
    let tag = cipher.encrypt_in_place_detached(&nonce.into(), &header, &mut plain).expect("sealed");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("key c 0 {}\nc 5 {}", hex(&[9; 32]), hex(&[&header[..], &plain, &tag].concat()))
}

#[test]
fn frames_that_the_recording_lacks_are_read() {
    let status = [8, 0, 0, 0, 1, 3, 2, 0, 50];
    let mode = [15, 0, 0, 0, 2, 4, 0, 0, 0, 2, 0, 0, 0xea, 0x60];
    let nack = [4, 2, 0, 0, 0, 9, 0, 1, 0, 0, 0, 12, 0, 3];
    let summary = decode(&sealed(&[&status[..], &mode, &nack].concat())).expect("three frames");
    let line = "   1 client path 5 #6 at 7 us: PATH_STATUS serial 1 path 3 state draining weight 50, \
                MODE serial 2 strategy redundant parameter 2 skew 60000, \
                NACK count 2 sequence 9 length 1 sequence 12 length 3, 0 zeros";
    assert_eq!(summary.lines, [line]);
}

#[test]
fn malformed_frames_are_refused() {
    for (frames, expected) in [
        (&[0, 0][..], "without a frame"),
        (&[5, 0, 1], "not zeros"),
        (&[32], "unknown type 32"),
        (&[13], "REKEY from the client"),
        (&[14, 6], "reason 6 has no meaning"),
        (&[15, 0, 0, 0, 2, 4, 0, 0, 0, 0, 0, 0, 0xea, 0x60], "may not be"),
        (&[9, 0, 57], "may not be"),
        (&[4, 16], "within a field"),
    ] {
        let why = decode(&sealed(frames)).expect_err(expected);
        assert!(why.starts_with("line 2: ") && why.contains(expected), "{why} is not: {expected}");
    }
}
