//! What holds of all the parts together: cutting and joining are each other's inverse, and any
//! bytes are safe.

use super::packet::{ACK, CWR, ECE, FIN, PSH, SYN};
use super::testing::{Build, assert_sums_right};
use super::*;
use crate::machine::Offload;
use crate::time::Instant;
use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;
use proptest::prelude::*;

/// A superpacket, and how it is to be cut.
#[derive(Clone, Debug)]
struct Super {
    packet: Vec<u8>,
    offload: Offload,
}

fn superpacket() -> impl Strategy<Value = Super> {
    let flags = prop::sample::select(vec![ACK, ACK | PSH, ACK | FIN, ACK | PSH | FIN, ACK | ECE, ACK | CWR]);
    let shape = (any::<bool>(), any::<bool>(), flags, 0u8..4, any::<u32>(), any::<u16>(), 0usize..3);
    (shape, 1u16..1500, 1usize..20_000).prop_map(
        |((v6, udp, flags, ecn, seq, id, options), size, payload)| {
            let options = vec![1; options * 4];
            let header = if v6 { 40 } else { 20 } + if udp { 8 } else { 20 + options.len() as u16 };
            let build = Build { v6, flags, ecn, seq, id, options, partial: true, ..Build::default() };
            // A datagram superpacket has at most 64 datagrams.
            let payload: Vec<u8> = (0..if udp { payload.min(64 * usize::from(size)) } else { payload })
                .map(|i| i as u8)
                .collect();
            if udp {
                Super { packet: build.udp(&payload), offload: Offload::Udp { header, size } }
            } else {
                Super { packet: build.tcp(&payload), offload: Offload::Tcp { header, size, v6 } }
            }
        },
    )
}

fn cut(whole: &Super, sums: Sums) -> Vec<Vec<u8>> {
    let segments = Segments::of(&whole.packet, whole.offload).expect("it fits");
    let write = |index| {
        let mut out = vec![0; segments.len(index).expect("there are that many")];
        assert_eq!(segments.write(&whole.packet, index, &mut out, sums), Some(out.len()));
        out
    };
    (0..segments.count()).map(write).collect()
}

/// Joins packets to as few as possible.
fn join(packets: &[Vec<u8>]) -> Vec<Super> {
    let mut joined = Vec::new();
    let views = packets.iter().map(|packet| Packet::parse(packet).expect("we built it"));
    let mut packets = views.peekable();
    while let Some(first) = packets.next() {
        let mut packet = Vec::new();
        let mut run = Run::start(&mut packet, &first);
        while packets.next_if(|next| run.push(&mut packet, next)).is_some() {}
        let offload = run.finish(&mut packet);
        joined.push(Super { packet, offload });
    }
    joined
}

proptest! {
    #[test]
    fn what_is_cut_and_joined_is_the_same_bytes(whole in superpacket()) {
        let joined = join(&cut(&whole, Sums::Partial));
        let alone = Segments::of(&whole.packet, whole.offload).expect("it fits").count() == 1;
        let with_cwr = matches!(whole.offload, Offload::Tcp { .. })
            && whole.packet[if whole.packet[0] >> 4 == 6 { 53 } else { 33 }] & CWR != 0;
        if with_cwr && !alone {
            prop_assert_eq!(joined.len(), 2, "the segment with CWR goes alone");
        } else {
            prop_assert_eq!(joined.len(), 1);
            prop_assert_eq!(&joined[0].packet, &whole.packet);
            if !alone {
                prop_assert_eq!(joined[0].offload, whole.offload);
            }
        }
    }

    #[test]
    fn what_is_joined_is_cut_into_the_same_packets(whole in superpacket(), whole_sums in any::<bool>()) {
        let packets = cut(&whole, if whole_sums { Sums::Complete } else { Sums::Partial });
        let mut again = Vec::new();
        for part in join(&packets) {
            again.extend(cut(&part, if whole_sums { Sums::Complete } else { Sums::Partial }));
        }
        prop_assert_eq!(again, packets);
    }

    #[test]
    fn a_superpackets_own_length_says_nothing(mut whole in superpacket(), length in any::<u16>()) {
        let packets = cut(&whole, Sums::Partial);
        let at = if whole.packet[0] >> 4 == 6 { 4 } else { 2 };
        whole.packet[at..at + 2].copy_from_slice(&length.to_be_bytes());
        prop_assert_eq!(cut(&whole, Sums::Partial), packets);
        prop_assert!(Packet::parse_with(&whole.packet, whole.offload).is_ok());
    }

    #[test]
    fn every_segment_is_a_right_packet(whole in superpacket()) {
        let segments = Segments::of(&whole.packet, whole.offload).expect("it fits");
        let packets = cut(&whole, Sums::Complete);
        prop_assert_eq!(segments.len_from(0), packets.iter().map(Vec::len).sum::<usize>());
        for packet in packets {
            assert_sums_right(&packet);
            prop_assert_eq!(Packet::parse(&packet).expect("a packet").bytes().len(), packet.len());
        }
    }

    #[test]
    fn any_bytes_are_safe(
        mut bytes in hostile(), other in hostile(),
        start in any::<u16>(), offset in 0u16..100, size in any::<u16>(),
        kind in 0u8..4, mtu in any::<u16>(), index in 0usize..70, room in 0usize..3000
    ) {
        let offload = match kind {
            0 => Offload::None,
            1 => Offload::Checksum { start: start % 100, offset },
            2 => Offload::Tcp { header: start, size, v6: bytes.first().is_some_and(|b| b >> 4 == 6) },
            _ => Offload::Udp { header: start, size },
        };
        if let Ok(view) = Packet::parse(&bytes) {
            let _ = (Flow::of(&view), view.ecn());
        }
        if let Ok(segments) = Segments::of(&bytes, offload) {
            let mut out = vec![0; room];
            for packet in [&bytes, &other] {
                let _ = segments.write(packet, index, &mut out, Sums::Complete);
            }
            let _ = segments.len_from(index);
        }
        if let (Ok(one), Ok(two)) = (Packet::parse(&bytes), Packet::parse(&other)) {
            let mut buf = Vec::new();
            let mut run = Run::start(&mut buf, &one);
            let _ = run.push(&mut buf, &two) | run.push(&mut buf, &one);
            let _ = run.finish(&mut buf);
        }
        for from in [IpAddr::from([1, 2, 3, 4]), IpAddr::from([1u16; 8])] {
            let _ = TooBig::new(Instant::ZERO).tell(Instant::ZERO, &bytes, mtu, from, &mut [0; 1280]);
        }
        clamp_mss(&mut bytes, usize::from(mtu));
        mark_ce(&mut bytes);
        let _ = decapsulate(Ecn::Ect1, &mut bytes);
        let _ = prepare(&mut bytes, offload);
        complete(&mut bytes);
    }
}

/// Bytes that get far: packets of ours, cut off or with some bytes changed, and chains of extension
/// headers.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let base = prop_oneof![
        superpacket().prop_map(|s| s.packet),
        any::<bool>().prop_map(|v6| {
            Build { v6, flags: SYN, options: vec![1, 2, 4, 255, 255, 8, 10, 0], ..Build::default() }.tcp(b"")
        }),
        prop::collection::vec((prop::sample::select(vec![0u8, 43, 44, 60, 6, 17]), any::<[u8; 7]>()), 0..14)
            .prop_map(|chain| {
                let bytes: Vec<u8> =
                    chain.iter().flat_map(|(next, rest)| [&[*next], &rest[..]].concat()).collect();
                Build { v6: true, ..Build::default() }.ip(chain.first().map_or(59, |c| c.0), &bytes)
            }),
        prop::collection::vec(any::<u8>(), 0..120),
    ];
    let changes = prop::collection::vec((0usize..80, any::<u8>()), 0..4);
    (base, changes, prop_oneof![3 => Just(usize::MAX), 1 => 0usize..80]).prop_map(
        |(mut bytes, changes, len)| {
            for (at, value) in changes {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            bytes.truncate(len);
            bytes
        },
    )
}

fn joins(first: Vec<u8>, next: Vec<u8>) -> bool {
    join(&[first, next]).len() == 1
}

#[test]
fn only_the_next_segment_joins() {
    let first = Build { partial: true, ..Build::default() };
    let next = Build { seq: 1004, id: 8, ..first.clone() };
    assert!(joins(first.tcp(b"abcd"), next.tcp(b"efgh")));
    assert!(joins(first.tcp(b"abcd"), next.tcp(b"e")), "the last may be shorter");
    assert!(
        joins(first.tcp(b"abcd"), Build { id: 7, ..next.clone() }.tcp(b"e")),
        "never cut: no identification"
    );
    let others = [
        ("a gap", Build { seq: 1005, ..next.clone() }),
        ("another flow", Build { ports: (1, 2), ..next.clone() }),
        ("another mark", Build { ecn: 3, ..next.clone() }),
        ("another way", Build { ttl: 63, ..next.clone() }),
        ("another window", Build { window: 9, ..next.clone() }),
        ("other options", Build { options: vec![1; 4], ..next.clone() }),
        ("the end of a connection", Build { flags: ACK | 4, ..next.clone() }),
        ("an answer to a mark", Build { flags: ACK | CWR, ..next.clone() }),
        ("a jump of the identification", Build { id: 9, ..next.clone() }),
        ("fragments allowed", Build { dont_fragment: false, ..next.clone() }),
        ("the other IP", Build { v6: true, ..next.clone() }),
    ];
    for (why, other) in others {
        assert!(!joins(first.tcp(b"abcd"), other.tcp(b"efgh")), "{why}");
    }
    assert!(!joins(first.tcp(b"abcd"), next.tcp(b"efghi")), "longer than the first");
    assert!(!joins(first.tcp(b"abcd"), next.tcp(b"")), "no data");
    assert!(!joins(Build { flags: ACK | PSH, ..first.clone() }.tcp(b"abcd"), next.tcp(b"efgh")), "pushed");
}

#[test]
fn a_damaged_packet_never_hides_in_a_run() {
    let first = Build::default();
    let next = Build { seq: 1004, id: 8, ..first.clone() };
    assert!(joins(first.tcp(b"abcd"), next.tcp(b"efgh")));
    let damage = |mut packet: Vec<u8>| {
        *packet.last_mut().expect("has bytes") ^= 1;
        packet
    };
    assert!(!joins(first.tcp(b"abcd"), damage(next.tcp(b"efgh"))));
    assert!(!joins(damage(first.tcp(b"abcd")), next.tcp(b"efgh")));
}

#[test]
fn an_offload_that_does_not_fit_is_refused() {
    let tcp = Build::default().tcp(b"abcd");
    let refused = [
        Offload::Tcp { header: 40, size: 0, v6: false },
        Offload::Tcp { header: 40, size: 2, v6: true },
        Offload::Udp { header: 28, size: 2 },
    ];
    for offload in refused {
        assert!(matches!(Segments::of(&tcp, offload), Err(Malformed::Offload(_))), "{offload:?}");
    }
}
