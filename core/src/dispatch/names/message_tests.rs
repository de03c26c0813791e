use super::*;
use alloc::string::String;
use proptest::prelude::*;
use simple_dns::ResourceRecord;
use simple_dns::rdata::{A, AAAA, CNAME, SOA};

const NAME: &str = "host.example";

fn record<'a>(name: &'a str, ttl: u32, data: RData<'a>) -> ResourceRecord<'a> {
    ResourceRecord::new(Name::new(name).expect("a name"), CLASS::IN, ttl, data)
}

fn a(n: u8) -> RData<'static> {
    RData::A(A { address: Ipv4Addr::new(192, 0, 2, n).into() })
}

fn cname(to: &str) -> RData<'_> {
    RData::CNAME(CNAME(Name::new(to).expect("a name")))
}

fn ip(n: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, n])
}

/// An answer to the question for the IPv4 addresses of [`NAME`] with id 7, changed by `f`.
fn reply<'a>(f: impl FnOnce(&mut Packet<'a>)) -> Vec<u8> {
    let mut packet = Packet::new_reply(7);
    packet.set_flags(PacketFlag::RECURSION_DESIRED | PacketFlag::RECURSION_AVAILABLE);
    let name = Name::new(NAME).expect("a name");
    packet.questions.push(Question::new(name, TYPE::A.into(), CLASS::IN.into(), false));
    f(&mut packet);
    packet.build_bytes_vec().expect("a short message")
}

fn says(bytes: &[u8]) -> Answer {
    read(bytes, 7, NAME, Kind::V4)
}

#[test]
fn a_question_is_what_rfc_1035_says() {
    let bytes = question(0x1234, "a.example", Kind::V6).expect("a name");
    let expected = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x07example\x00\x00\x1c\x00\x01";
    assert_eq!(bytes, expected);
    assert_eq!(bytes[bytes.len() - 4..], [0, 28, 0, 1]);
    for bad in ["", "a..example", ".example", &"a".repeat(64), &"abcdefg.".repeat(32)[..255]] {
        assert_eq!(question(1, bad, Kind::V4), None, "{bad}");
    }
}

#[test]
fn addresses_are_found_and_hold_as_long_as_the_shortest_of_the_chain() {
    let direct = reply(|p| p.answers.extend([record(NAME, 60, a(1)), record(NAME, 30, a(2))]));
    assert_eq!(says(&direct), Answer::Found { addresses: [ip(1), ip(2)].into(), ttl: 30 });
    let chain = reply(|p| {
        p.answers.push(record("end.example", 90, a(3)));
        p.answers.push(record(NAME, 20, cname("middle.example")));
        p.answers.push(record("middle.example", 40, cname("End.Example")));
        p.answers.push(record("other.example", 1, a(9)));
    });
    assert_eq!(says(&chain), Answer::Found { addresses: [ip(3)].into(), ttl: 20 }, "in any order and case");
    let forever = reply(|p| p.answers.push(record(NAME, 0x8000_0000, a(1))));
    assert_eq!(says(&forever), Answer::Found { addresses: [ip(1)].into(), ttl: 0 });
}

#[test]
fn a_circle_and_a_chain_without_an_end_lead_nowhere() {
    let nothing = Answer::Nothing { ttl: None, anything: false };
    let circle = reply(|p| {
        p.answers.extend([record(NAME, 9, cname("b.example")), record("b.example", 9, cname(NAME))]);
    });
    assert_eq!(says(&circle), nothing);
    let names: Vec<String> = (0..40).map(|n| alloc::format!("n{n}.example")).collect();
    let long = reply(|p| {
        p.answers.push(record(NAME, 9, cname(&names[0])));
        p.answers.extend(names.windows(2).map(|pair| record(&pair[0], 9, cname(&pair[1]))));
        p.answers.push(record(&names[39], 9, a(1)));
    });
    assert_eq!(says(&long), nothing);
}

#[test]
fn that_there_is_none_holds_as_long_as_rfc_2308_says() {
    let soa = |ttl, minimum| {
        let name = || Name::new("ns.example").expect("a name");
        let (serial, refresh, retry, expire) = (1, 2, 3, 4);
        let data = SOA { mname: name(), rname: name(), serial, refresh, retry, expire, minimum };
        record("example", ttl, RData::SOA(data))
    };
    let no_data = reply(|p| p.name_servers.push(soa(300, 60)));
    assert_eq!(says(&no_data), Answer::Nothing { ttl: Some(60), anything: false });
    let no_name = reply(|p| {
        *p.rcode_mut() = RCODE::NameError;
        p.name_servers.push(soa(30, 600));
    });
    assert_eq!(says(&no_name), Answer::Nothing { ttl: Some(30), anything: true });
    assert_eq!(says(&reply(|_| {})), Answer::Nothing { ttl: None, anything: false });
}

#[test]
fn what_does_not_fit_the_question_is_no_answer() {
    let good = reply(|p| p.answers.push(record(NAME, 60, a(1))));
    assert_eq!(read(&good, 8, NAME, Kind::V4), Answer::Stray, "another id");
    assert_eq!(read(&good, 7, "other.example", Kind::V4), Answer::Stray, "another name");
    assert_eq!(read(&good, 7, NAME, Kind::V6), Answer::Stray, "another type");
    assert!(matches!(read(&good, 7, "HOST.example", Kind::V4), Answer::Found { .. }), "another case");
    assert_eq!(says(&question(7, NAME, Kind::V4).expect("a name")), Answer::Stray, "a question");
    let twice = reply(|p| p.questions.push(p.questions[0].clone()));
    assert_eq!(says(&twice), Answer::Stray);
    let none = reply(|p| p.questions.clear());
    assert_eq!(says(&none), Answer::Stray);
    for len in 0..good.len() {
        assert_eq!(says(&good[..len]), Answer::Stray, "cut at {len}");
    }
    let mut claims = good;
    claims[6..8].copy_from_slice(&[0xff, 0xff]);
    assert_eq!(says(&claims), Answer::Stray, "more records than there are bytes");
}

#[test]
fn a_server_that_will_not_say_or_does_not_look_further_has_failed() {
    for code in [RCODE::ServerFailure, RCODE::Refused, RCODE::FormatError, RCODE::NotImplemented] {
        assert_eq!(says(&reply(|p| *p.rcode_mut() = code)), Answer::Failed, "{code:?}");
    }
    let short = reply(|p| {
        *p.rcode_mut() = RCODE::FormatError;
        p.questions.clear();
    });
    assert_eq!(says(&short), Answer::Failed);
    assert_eq!(says(&reply(|p| p.remove_flags(PacketFlag::RECURSION_AVAILABLE))), Answer::Failed);
    assert_eq!(says(&reply(|p| p.set_flags(PacketFlag::TRUNCATION))), Answer::Truncated);
}

/// A record that holds for a minute, of the name that these bytes are.
fn raw(name: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
    let len = u16::try_from(data.len()).expect("short").to_be_bytes();
    [name, &kind.to_be_bytes(), &[0, 1, 0, 0, 0, 60], &len, data].concat()
}

/// An answer that knows one address of [`NAME`], and has more records, each so often.
fn with_more(others: &[(Vec<u8>, usize)]) -> Vec<u8> {
    let mut bytes = reply(|p| p.answers.push(record(NAME, 60, a(1))));
    let count = 1 + others.iter().map(|(_, times)| *times).sum::<usize>();
    bytes[6..8].copy_from_slice(&u16::try_from(count).expect("few").to_be_bytes());
    bytes.extend(others.iter().flat_map(|(record, times)| record.repeat(*times)));
    bytes
}

fn pointer(to: usize) -> [u8; 2] {
    (0xc000 | u16::try_from(to).expect("14 bits")).to_be_bytes()
}

/// A record that nobody reads with a chain of pointers, each to the one before it, the first to
/// [`NAME`]; and where it ends.
fn chain(hops: usize) -> (Vec<u8>, [u8; 2]) {
    let start = with_more(&[]).len() + 11;
    let back = |n: usize| if n == 0 { pointer(HEADER) } else { pointer(start + 2 * (n - 1)) };
    (raw(&[0], 65_280, &(0..hops).flat_map(back).collect::<Vec<_>>()), back(hops))
}

#[test]
fn a_chain_of_pointers_that_many_names_end_in_is_not_followed() {
    for (hops, names) in [(8_000, 3_000), (400, 200)] {
        let (record, end) = chain(hops);
        let named = [(record.clone(), 1), (raw(&end, 1, &[192, 0, 2, 9]), names)];
        assert_eq!(says(&with_more(&named)), Answer::Stray, "{hops} hops, {names} names");
        let pointing = [(record, 1), (raw(&[0], 5, &end), names)];
        assert_eq!(says(&with_more(&pointing)), Answer::Stray, "{hops} hops, {names} targets");
    }
    let (record, end) = chain(3);
    let short = with_more(&[(record, 1), (raw(&end, 1, &[192, 0, 2, 9]), 1)]);
    assert_eq!(says(&short), Answer::Found { addresses: [ip(1), ip(9)].into(), ttl: 60 });
}

#[test]
fn long_answers_of_long_names_are_read() {
    let found = Answer::Found { addresses: [ip(1)].into(), ttl: 60 };
    let long = raw(&[&[1, b'x'].repeat(120)[..], &[0]].concat(), 1, &[192, 0, 2, 9]);
    let to_it = raw(&pointer(with_more(&[]).len()), 1, &[192, 0, 2, 9]);
    assert_eq!(says(&with_more(&[(long, 1), (to_it, 3_900)])), found, "each has the longest name");
    let signed = raw(&[0], 65_280, &[0xff; 900]);
    assert_eq!(says(&with_more(&[(signed, 64)])), found, "what looks like pointers and is none");
}

proptest! {
    #[test]
    fn no_bytes_break_the_reader_or_say_more_than_they_may(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
    ) {
        says(&bytes);
        let mut near = reply(|p| {
            p.answers.push(record(NAME, 20, cname("end.example")));
            p.answers.push(record("end.example", 90, a(3)));
            p.answers.push(record("end.example", 90, RData::AAAA(AAAA { address: 1 })));
        });
        for (at, byte) in flips {
            let at = at.index(near.len());
            near[at] = byte;
        }
        if let Answer::Found { addresses, ttl } = says(&near) {
            prop_assert!(addresses.iter().all(IpAddr::is_ipv4) && ttl <= MAX_TTL);
            prop_assert!(near[..2] == [0, 7], "only with its id");
        }
    }

    #[test]
    fn a_question_reads_back_as_it_was_asked(
        name in "[a-z0-9_-]{1,20}(\\.[a-z0-9-]{1,20}){1,5}", id in any::<u16>()
    ) {
        for kind in Kind::ALL {
            let bytes = question(id, &name, kind).expect("a name");
            let packet = Packet::parse(&bytes).expect("well-formed");
            prop_assert!(packet.id() == id && packet.has_flags(PacketFlag::RECURSION_DESIRED));
            prop_assert!(fits(&packet.questions[0], &Name::new(&name).expect("a name"), kind));
        }
    }
}
