//! Laws of the codec, for many values and for any bytes.

use super::header::expand;
use super::*;
use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;
use proptest::prelude::*;

fn a_path() -> impl Strategy<Value = PathId> {
    (0..MAX_PATHS as u8).prop_map(|id| PathId::new(id).expect("below MAX_PATHS"))
}

fn an_ack() -> impl Strategy<Value = Frame> {
    let measures = (any::<u16>(), any::<u32>(), 0..Timestamp::MODULUS, any::<u16>(), any::<u32>());
    let ranges = proptest::collection::vec((1..=u16::MAX, 1..=u16::MAX), 0..=ack::MAX_RANGES);
    (a_path(), any::<u32>(), any::<u16>(), measures, ranges).prop_map(
        |(path, largest, first, measures, ranges)| {
            let mut ack = Ack::new(path, largest);
            ack.first = first;
            ack.delay = measures.0;
            ack.echo = Timestamp::from_bits(measures.1);
            ack.one_way = measures.2;
            ack.ce = measures.3;
            ack.bytes = measures.4;
            for (gap, len) in ranges {
                assert!(ack.push_range(gap, len));
            }
            Frame::Ack(ack)
        },
    )
}

fn a_nack() -> impl Strategy<Value = Frame> {
    proptest::collection::vec((any::<u32>(), 1..=u16::MAX), 1..=ack::MAX_NACK_RUNS).prop_map(|runs| {
        let mut nack = Nack::new();
        for (sequence, len) in runs {
            assert!(nack.push(sequence, len));
        }
        Frame::Nack(nack)
    })
}

fn an_entry() -> impl Strategy<Value = Option<ConfigEntry>> {
    let purpose = prop_oneof![Just(Purpose::Own), Just(Purpose::Server), Just(Purpose::Resolver)];
    let address = prop_oneof![
        any::<[u8; 4]>().prop_map(|octets| (IpAddr::from(octets), 32)),
        any::<[u8; 16]>().prop_map(|octets| (IpAddr::from(octets), 128)),
    ];
    (purpose, address, any::<u8>()).prop_map(|(purpose, (address, bits), prefix)| {
        ConfigEntry::new(purpose, address, prefix % bits + 1).ok()
    })
}

fn a_config() -> impl Strategy<Value = Frame> {
    (1..=u32::MAX, 576..=u16::MAX, proptest::collection::vec(an_entry(), 0..=config::MAX_ENTRIES)).prop_map(
        |(epoch, mtu, entries)| {
            let mut config = Config::new(epoch, mtu).expect("in range");
            for entry in entries.into_iter().flatten() {
                let fits = mtu >= 1280 || entry.address().is_ipv4();
                assert_eq!(config.push(entry).is_ok(), fits, "IPv6 wants 1280 bytes");
            }
            Frame::Config(config)
        },
    )
}

fn a_status() -> impl Strategy<Value = Frame> {
    let state = prop_oneof![
        Just(PeerPathState::Available),
        Just(PeerPathState::Standby),
        Just(PeerPathState::Draining),
        Just(PeerPathState::Gone),
    ];
    (any::<u32>(), a_path(), state, any::<u16>()).prop_map(|(serial, path, state, weight)| {
        Frame::PathStatus(PathStatus { serial, path, state, weight })
    })
}

fn a_reason() -> impl Strategy<Value = Frame> {
    prop_oneof![
        Just(CloseReason::Shutdown),
        Just(CloseReason::Idle),
        Just(CloseReason::Replaced),
        Just(CloseReason::Revoked),
        Just(CloseReason::Full),
        Just(CloseReason::Protocol),
        (6..=u8::MAX).prop_map(CloseReason::Other),
    ]
    .prop_map(Frame::Close)
}

fn a_wish() -> impl Strategy<Value = Frame> {
    use crate::bond::Strategy as Mode;
    let millis = |millis: u16| crate::time::Duration::from_millis(millis.into());
    let strategy = prop_oneof![
        Just(Mode::Aggregate),
        Just(Mode::Weighted),
        Just(Mode::LowestLatency),
        any::<u16>().prop_map(move |above| Mode::ActiveBackup { switch_above: millis(above) }),
        (1..=u8::MAX).prop_map(|copies| Mode::Redundant { copies }),
        Just(Mode::Adaptive),
        Just(Mode::Flow),
    ];
    (any::<u32>(), strategy, any::<u16>()).prop_map(move |(serial, strategy, skew)| {
        Frame::Mode(Wish { serial, strategy, max_skew: millis(skew) })
    })
}

fn a_frame() -> impl Strategy<Value = Frame> {
    let request = (any::<u32>(), any::<bool>(), any::<bool>(), any::<u16>())
        .prop_map(|(epoch, v4, v6, mtu)| Frame::ConfigRequest(ConfigRequest { epoch, v4, v6, mtu }));
    prop_oneof![
        an_ack(),
        a_nack(),
        a_config(),
        a_status(),
        a_reason(),
        request,
        a_wish(),
        Just(Frame::Ping),
        Just(Frame::Rekey),
        any::<[u8; 8]>().prop_map(Frame::PathChallenge),
        any::<[u8; 8]>().prop_map(Frame::PathResponse),
        any::<u16>().prop_map(Frame::MtuProbe),
        (1..=u32::MAX).prop_map(Frame::ConfigAck),
    ]
}

/// One frame in a packet without padding beyond the least length, and the bytes that are no
/// padding.
fn packet(frames: &[Frame]) -> Vec<u8> {
    let mut plain = vec![0xaa; 4096];
    let mut writer = PacketWriter::new(&mut plain, Timestamp::from_bits(7)).expect("room");
    for frame in frames {
        writer.push(frame).expect("room");
    }
    let len = writer.finish().expect("room");
    plain.truncate(len);
    plain
}

proptest! {
    #[test]
    fn control_frames_parse_to_what_they_were_emitted_from(
        frames in proptest::collection::vec(a_frame(), 1..8)
    ) {
        let plain = packet(&frames);
        prop_assert!(plain.len() >= MIN_CONTROL);
        let Ok(Plaintext::Control { timestamp, frames: parsed }) = Plaintext::parse(&plain) else {
            panic!("{frames:?} does not parse: {:?}", Plaintext::parse(&plain));
        };
        prop_assert_eq!(timestamp, Timestamp::from_bits(7));
        prop_assert_eq!(parsed.collect::<Vec<_>>(), frames);
    }

    #[test]
    fn a_frame_that_is_cut_off_is_refused_whole(first in a_frame(), last in a_frame()) {
        // A first frame that fills the packet, so that no padding follows the last one.
        let long = Frame::Nack({
            let mut nack = Nack::new();
            while nack.push(1, 1) {}
            nack
        });
        let plain = packet(&[long, first, last]);
        let before_last = packet(&[long, first]).len();
        for cut in before_last + 1..plain.len() {
            prop_assert!(Plaintext::parse(&plain[..cut]).is_err(), "{} of {} bytes", cut, plain.len());
        }
        prop_assert!(Plaintext::parse(&plain[..before_last]).is_ok());
        for cut in 0..MIN_CONTROL {
            prop_assert!(Plaintext::parse(&plain[..cut]).is_err());
        }
    }

    #[test]
    fn data_parses_to_what_it_was_emitted_from(
        sequence: u32, distance: u16, time: u32, inner in proptest::collection::vec(any::<u8>(), 1..100)
    ) {
        let data = Data { sequence, distance, timestamp: Timestamp::from_bits(time), packet: &inner };
        let mut prefix = [0; DATA_PREFIX];
        data.emit_prefix(&mut prefix);
        let plain = [&prefix[..], &inner].concat();
        prop_assert_eq!(Plaintext::parse(&plain), Ok(Plaintext::Data(data)));
        for cut in 0..=DATA_PREFIX {
            prop_assert!(Plaintext::parse(&plain[..cut]).is_err());
        }
    }

    #[test]
    fn a_header_parses_to_what_it_was_emitted_from(phase: bool, receiver: u32, path in a_path(), number: u32) {
        let header = Header { phase: Phase(phase), receiver, path, number };
        let mut bytes = [0; HEADER];
        header.emit(&mut bytes);
        prop_assert_eq!(Header::parse(&bytes), Ok(header));
        for cut in 0..HEADER {
            prop_assert!(Header::parse(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        hold_for_input(&bytes);
    }

    #[test]
    fn no_bytes_behind_a_timestamp_panic(bytes in proptest::collection::vec(0u8..20, 28..200)) {
        hold_for_input(&[&[2, 0, 0, 0][..], &bytes].concat());
    }

    #[test]
    fn a_flipped_byte_parses_to_something_else_or_to_nothing(frame in a_frame(), at: u16, flip in 1u8..) {
        let plain = packet(&[frame]);
        let mut other = plain.clone();
        let at = usize::from(at) % other.len();
        other[at] ^= flip;
        hold_for_input(&other);
        prop_assert_ne!(Plaintext::parse(&other), Plaintext::parse(&plain));
    }

    #[test]
    fn a_number_near_the_largest_survives_truncation(
        largest in 0u64..1 << 56, ahead in -0x7fff_fff0i64..0x7fff_fff0
    ) {
        let number = largest.saturating_add_signed(ahead);
        prop_assert_eq!(expand(number as u32, Some(largest)), number);
    }

    #[test]
    fn any_truncated_number_expands(truncated: u32, largest: u64) {
        prop_assert_eq!(expand(truncated, Some(largest)) as u32, truncated);
    }
}

#[test]
fn the_first_number_of_a_path_expands_to_itself() {
    assert_eq!(expand(0, None), 0);
    assert_eq!(expand(77, None), 77);
    assert_eq!(expand(u32::MAX, None), u64::from(u32::MAX));
}

#[test]
fn the_layout_is_the_documented_one() {
    let header = Header {
        phase: Phase(true),
        receiver: 0x0102_0304,
        path: PathId::new(5).expect("below MAX_PATHS"),
        number: 0x0607_0809,
    };
    let mut bytes = [0; HEADER];
    header.emit(&mut bytes);
    assert_eq!(bytes, [0b0100_1001, 1, 2, 3, 4, 5, 6, 7, 8, 9]);

    let mut prefix = [0; DATA_PREFIX];
    Data { sequence: 1, distance: 2, timestamp: Timestamp::from_bits(3), packet: &[] }
        .emit_prefix(&mut prefix);
    assert_eq!(prefix, [1, 0, 0, 0, 1, 0, 2, 0, 0, 3]);

    let mut ack = Ack::new(PathId::new(1).expect("below MAX_PATHS"), 2);
    assert!(ack.push_range(3, 4));
    let plain = packet(&[Frame::Ack(ack)]);
    assert_eq!(plain.len(), 32, "an acknowledgement with one range is not padded by more than a byte");
    assert_eq!(plain[4..27], [3, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]);
    assert_eq!(plain[27..31], [0, 3, 0, 4]);
    assert_eq!(OVERHEAD + 8 + 20, 64, "what bond.md promises on IPv4");
}

#[test]
fn a_frame_that_does_not_fit_leaves_the_packet_as_it_was() {
    let mut plain = [0xaa; 40];
    let mut writer = PacketWriter::new(&mut plain, Timestamp::from_bits(0)).expect("room");
    writer.push(&Frame::Ping).expect("room");
    let mut nack = Nack::new();
    while nack.push(u32::MAX, u16::MAX) {}
    assert_eq!(writer.push(&Frame::Nack(nack)), Err(Full));
    assert_eq!(writer.push(&Frame::Rekey), Ok(()));
    let len = writer.finish().expect("room");
    assert_eq!(
        plain[..len].iter().map(|byte| u32::from(*byte)).sum::<u32>(),
        2 + 5 + 13,
        "and no trace of it"
    );
}

#[test]
fn numbers_that_a_peer_could_abuse_are_refused() {
    let refused = |frame: &[u8]| {
        let mut plain = vec![2, 0, 0, 0];
        plain.extend_from_slice(frame);
        plain.resize(plain.len().max(MIN_CONTROL), 0);
        Plaintext::parse(&plain).expect_err("refused")
    };
    let mut ack = [0u8; Ack::MIN_LEN + 20];
    ack[0] = 3;
    ack[20] = 5;
    assert_eq!(refused(&ack), Malformed::Value { what: "ACK's range count", got: 5 });
    ack[20] = 1;
    assert_eq!(refused(&ack), Malformed::Value { what: "ACK's gap or range", got: 0 });
    ack[1] = MAX_PATHS as u8;
    assert_eq!(refused(&ack), Malformed::Value { what: "path id", got: 16 });
    assert_eq!(refused(&[4, 17]), Malformed::Value { what: "NACK's count", got: 17 });
    assert_eq!(refused(&[4, 0]), Malformed::Value { what: "NACK's count", got: 0 });
    assert_eq!(refused(&[4, 1, 0, 0, 0, 9, 0, 0]), Malformed::Value { what: "NACK's length", got: 0 });
    assert_eq!(refused(&[8, 0, 0, 0, 1, 0, 4, 0, 0]), Malformed::Unknown { what: "path state", got: 4 });
    assert_eq!(refused(&[10, 0, 0, 0, 1, 2, 0x3f]), Malformed::Value { what: "tunnel's MTU", got: 575 });
    assert_eq!(refused(&[10, 0, 0, 0, 0, 5, 0]), Malformed::Value { what: "configuration's epoch", got: 0 });
    let entry = |prefix, address: [u8; 4]| [&[10, 0, 0, 0, 1, 5, 0, 1, 0, 4, prefix][..], &address].concat();
    assert_eq!(refused(&entry(33, [10, 77, 0, 2])), Malformed::Value { what: "prefix", got: 33 });
    assert_eq!(refused(&entry(0, [10, 77, 0, 2])), Malformed::Value { what: "prefix", got: 0 });
    for address in [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], [255, 255, 255, 255]] {
        let what = "host address, by its first byte";
        assert_eq!(refused(&entry(24, address)), Malformed::Value { what, got: address[0].into() });
    }
    assert_eq!(refused(&[11, 0, 0, 0, 0, 4]), Malformed::Value { what: "request's flags", got: 4 });
    let mode = |number, parameter| [15, 0, 0, 0, 1, number, 0, 0, 0, parameter, 0, 0, 0, 1];
    assert_eq!(refused(&mode(7, 0)), Malformed::Unknown { what: "strategy", got: 7 });
    assert_eq!(refused(&mode(4, 0)), Malformed::Value { what: "strategy's parameter", got: 0 });
    assert_eq!(refused(&[5, 0, 9]), Malformed::Value { what: "padding", got: 9 });
    assert_eq!(refused(&[5, 2, 0, 0, 0]), Malformed::Unknown { what: "control frame", got: 2 });
    assert_eq!(refused(&[32]), Malformed::Unknown { what: "control frame", got: 32 });
    assert_eq!(refused(&[]), Malformed::Truncated { what: "control frame", needs: 1, left: 0 });
}

#[test]
fn other_versions_and_types_are_refused() {
    for first in 0..=u8::MAX {
        let known = first >> 6 == 1 && (1..=4).contains(&(first >> 1 & 0x1f));
        assert_eq!(PacketType::of(first).is_ok(), known, "{first:08b}");
        let sealed = [first, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(Header::parse(&sealed).is_ok(), known && first >> 1 & 0x1f == 4);
    }
    let mut path = [0x48, 0, 0, 0, 0, 15, 0, 0, 0, 0];
    assert!(Header::parse(&path).is_ok());
    path[5] = 16;
    assert_eq!(Header::parse(&path), Err(Malformed::Value { what: "path id", got: 16 }));
}

#[test]
fn keepalives_and_acknowledgements_never_answer_each_other() {
    let ack = Frame::Ack(Ack::new(PathId::new(0).expect("below MAX_PATHS"), 1));
    assert!(!ack.is_ack_eliciting());
    assert!(Frame::Ping.is_ack_eliciting());
    let mut plain = [0; 64];
    let mut writer = PacketWriter::new(&mut plain, Timestamp::from_bits(0)).expect("room");
    writer.push(&ack).expect("room");
    assert!(!writer.is_ack_eliciting());
    writer.push(&Frame::Ping).expect("room");
    assert!(writer.is_ack_eliciting());
}
