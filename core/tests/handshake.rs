//! What a client may say before it is connected: SOCKS5, SOCKS4, SOCKS4a and HTTP on one port.

mod util;

use ropewalk_core::dispatch::Credentials;
use ropewalk_core::machine::event::Refusal;
use util::lab::Who;
use util::say::{self, GREETING, SOCKS5_GRANTED};
use util::{Act, Answer, End, Lab, Person, Setup, addr, ms, pattern, same_bytes, secs};

const FAR: &str = "192.0.2.7:80";

fn lab() -> Lab {
    let mut lab = Setup::new(2).build();
    lab.serve(FAR, [Act::Echo]);
    lab
}

fn guarded(users: &str) -> Lab {
    let credentials = Credentials::parse(users.as_bytes()).expect("valid");
    let mut lab = Setup::new(2).with(|config| config.credentials = Some(credentials)).build();
    lab.serve(FAR, [Act::Echo]);
    lab
}

/// A client that says this in one piece, waits for the end, and what it got.
fn ask(lab: &mut Lab, bytes: &[u8]) -> (Vec<u8>, End) {
    let who = lab.person(Person::new([Act::Send(bytes.to_vec()), Act::AwaitEnd]).whole());
    lab.finish();
    (lab.got(who).to_vec(), lab.end(who))
}

/// A client that says this byte by byte.
fn ask_dribbling(lab: &mut Lab, bytes: &[u8]) -> (Vec<u8>, End) {
    let person = Person::new([Act::Send(bytes.to_vec()), Act::AwaitEnd]).segments(1, ms(1));
    let who = lab.person(person);
    lab.finish();
    (lab.got(who).to_vec(), lab.end(who))
}

/// Says the handshake, then `payload`, hears the echo of it and the end.
#[track_caller]
fn passes(lab: &mut Lab, handshake: &[u8], granted: usize, person: impl Fn(Vec<Act>) -> Person) -> Who {
    let payload = pattern(3000, 7);
    let script = vec![Act::Send([handshake, &payload].concat()), Act::Fin, Act::AwaitEnd];
    let who = lab.person(person(script));
    lab.finish();
    same_bytes(&lab.got(who)[granted.min(lab.got(who).len())..], &payload, "the echo");
    assert_eq!(lab.end(who), End::Fin);
    who
}

// ---- item 1 ----

#[test]
fn a_socks5_client_may_come_one_byte_at_a_time() {
    let mut lab = lab();
    passes(&mut lab, &say::socks5(addr(FAR)), SOCKS5_GRANTED, |s| Person::new(s).segments(1, ms(1)));
}

#[test]
fn all_of_it_and_payload_in_one_write_loses_nothing() {
    let mut lab = lab();
    let who = passes(&mut lab, &say::socks5(addr(FAR)), SOCKS5_GRANTED, |s| Person::new(s).whole());
    let target = lab.served(0);
    let bound = lab.sock(target).local;
    assert_eq!(&lab.got(who)[..2], &[5, 0]);
    assert_eq!(&lab.got(who)[2..SOCKS5_GRANTED], say::socks5_reply(0, bound));
}

#[test]
fn user_and_password_one_byte_at_a_time_and_all_at_once() {
    let words =
        [&[5, 2, 0, 2][..], &say::user_password(b"ann", b"secret"), &say::socks5_request(1, addr(FAR))];
    let words = words.concat();
    for whole in [true, false] {
        let mut lab = guarded("ann:secret\n");
        let who = passes(&mut lab, &words, SOCKS5_GRANTED + 2, |s| match whole {
            true => Person::new(s).whole(),
            false => Person::new(s).segments(1, ms(1)),
        });
        assert_eq!(&lab.got(who)[..4], &[5, 2, 1, 0]);
    }
}

#[test]
fn socks4_socks4a_and_http_share_the_port_and_may_dribble() {
    let words: [(Vec<u8>, usize); 3] = [
        (say::socks4(1, [192, 0, 2, 7], 80, b"ann"), 8),
        (say::socks4a(b"far.example", 80, b""), 8),
        (say::http_connect(FAR), say::HTTP_GRANTED.len()),
    ];
    for (words, granted) in words {
        for whole in [true, false] {
            let mut lab = lab();
            lab.name("far.example", [Answer::ips(ms(30), &["192.0.2.7"])]);
            let who = passes(&mut lab, &words, granted, |s| match whole {
                true => Person::new(s).whole(),
                false => Person::new(s).segments(1, ms(1)),
            });
            if granted == 8 {
                let local = lab.sock(lab.served(0)).local;
                let reply = [&[0, 90][..], &local.port().to_be_bytes(), &[10, 99, 0, 2]].concat();
                assert_eq!(&lab.got(who)[..8], reply);
            } else {
                assert_eq!(&lab.got(who)[..granted], say::HTTP_GRANTED);
            }
        }
    }
}

#[test]
fn http_connect_may_have_payload_behind_it() {
    let mut lab = lab();
    passes(&mut lab, &say::http_connect(FAR), say::HTTP_GRANTED.len(), |s| Person::new(s).whole());
}

// ---- item 2 ----

#[test]
fn only_unacceptable_methods_are_answered_with_ff_and_a_close() {
    for methods in [&[5, 1, 1][..], &[5, 2, 1, 3], &[5, 0], &[5, 1, 0xff]] {
        for ask in [ask, ask_dribbling] {
            let mut lab = lab();
            assert_eq!(ask(&mut lab, methods), (vec![5, 0xff], End::Fin), "{methods:?}");
            assert_eq!(lab.refusals(), [Refusal::NoAuthMethod]);
        }
    }
}

#[test]
fn a_client_that_cannot_give_a_password_is_answered_with_ff_where_one_is_asked_for() {
    let mut lab = guarded("ann:secret\n");
    assert_eq!(ask(&mut lab, &say::socks5(addr(FAR))), (vec![5, 0xff], End::Fin));
    assert!(lab.world.attempts.is_empty());
}

#[test]
fn the_longest_list_of_methods_is_read_to_its_end() {
    let mut words = vec![5, 255];
    words.extend((1..=255).rev().map(|m| if m == 1 { 0 } else { m }));
    words.extend(say::socks5_request(1, addr(FAR)));
    for whole in [true, false] {
        passes(&mut lab(), &words, SOCKS5_GRANTED, |s| match whole {
            true => Person::new(s).whole(),
            false => Person::new(s).segments(1, ms(1)),
        });
    }
    let unacceptable = [&[5, 255][..], &[7; 255]].concat();
    assert_eq!(ask(&mut lab(), &unacceptable), (vec![5, 0xff], End::Fin));
}

#[test]
fn a_wrong_version_byte_is_closed_without_words() {
    for first in [0u8, 1, 2, 3, 6, 0x16, b' ', 0x7f, 0xff] {
        let mut lab = lab();
        assert_eq!(ask(&mut lab, &[first, 1, 0]), (vec![], End::Fin), "{first}");
        assert!(matches!(lab.refusals()[..], [Refusal::Malformed(_)]), "{first}");
    }
}

#[test]
fn a_wrong_version_in_the_request_is_a_general_failure() {
    let words = [GREETING, &[4, 1, 0, 1, 192, 0, 2, 7, 0, 80]].concat();
    assert_eq!(ask(&mut lab(), &words), ([&[5, 0][..], &say::socks5_refusal(1)].concat(), End::Fin));
}

#[test]
fn the_password_exchange_has_version_1() {
    for version in [0u8, 2, 5] {
        let mut lab = guarded("ann:secret\n");
        let mut words = [&[5, 1, 2][..], &say::user_password(b"ann", b"secret")].concat();
        words[3] = version;
        let (got, end) = ask(&mut lab, &words);
        assert_eq!((&got[..2], end), (&[5, 2][..], End::Fin), "{version}");
        assert!(got.len() == 2 || got[2..] == [1, 1], "{got:?}");
        assert!(lab.world.attempts.is_empty());
    }
}

#[test]
fn users_and_passwords_of_255_bytes_are_read_whole() {
    let (user, password) = ("u".repeat(255), "p".repeat(255));
    let right = say::user_password(user.as_bytes(), password.as_bytes());
    let words = |auth: &[u8]| [&[5, 1, 2][..], auth, &say::socks5_request(1, addr(FAR))].concat();
    for whole in [true, false] {
        passes(&mut guarded(&format!("{user}:{password}\n")), &words(&right), SOCKS5_GRANTED + 2, |s| {
            match whole {
                true => Person::new(s).whole(),
                false => Person::new(s).segments(1, ms(1)),
            }
        });
    }
    let short = say::user_password(user.as_bytes(), &password.as_bytes()[..254]);
    let mut lab = guarded(&format!("{user}:{password}\n"));
    assert_eq!(ask(&mut lab, &words(&short)), (vec![5, 2, 1, 1], End::Fin));
}

#[test]
fn a_failed_password_is_answered_with_01_01_and_a_close() {
    for (user, password) in [("ann", "secre"), ("ann", ""), ("", ""), ("bob", "secret")] {
        let auth = say::user_password(user.as_bytes(), password.as_bytes());
        // The request behind it must not be served.
        let words = [&[5, 1, 2][..], &auth, &say::socks5_request(1, addr(FAR))].concat();
        for ask in [ask, ask_dribbling] {
            let mut lab = guarded("ann:secret\n");
            assert_eq!(ask(&mut lab, &words), (vec![5, 2, 1, 1], End::Fin), "{user}:{password}");
            assert_eq!(lab.refusals(), [Refusal::BadCredentials]);
            assert!(lab.world.attempts.is_empty());
        }
    }
}

// ---- item 3 ----

#[test]
fn the_longest_name_is_looked_up_as_it_came() {
    let name = "n".repeat(255);
    let mut lab = lab();
    lab.name(&name, [Answer::ips(ms(10), &["192.0.2.7"])]);
    let words = say::socks5_to_name(&name, 80);
    passes(&mut lab, &words, SOCKS5_GRANTED, |s| Person::new(s).segments(1, ms(1)));
    assert_eq!(lab.world.asked_names, [name]);
}

#[test]
fn names_that_are_none_are_host_unreachable_and_never_looked_up() {
    for name in [&b""[..], b"a\0b", b"\0", b"a b", b"a\xff", b"[example.org]", b"[::1", b"a/b", b"user@host"]
    {
        let mut lab = lab();
        let words = [GREETING, &say::socks5_name(name, 80)].concat();
        let wanted = [&[5, 0][..], &say::socks5_refusal(4)].concat();
        assert_eq!(ask(&mut lab, &words), (wanted, End::Fin), "{}", name.escape_ascii());
        assert!(lab.world.asked_names.is_empty());
        assert!(matches!(lab.refusals()[..], [Refusal::BadHost(_)]));
    }
}

#[test]
fn an_address_sent_as_a_name_is_never_looked_up() {
    for (name, to) in [
        ("192.0.2.7", "192.0.2.7:80"),
        ("::1", "[::1]:80"),
        ("[::1]", "[::1]:80"),
        ("2001:db8::7", "[2001:db8::7]:80"),
        ("[2001:db8::7]", "[2001:db8::7]:80"),
    ] {
        let mut lab = lab();
        lab.serve(to, [Act::Echo]);
        let granted = if to.starts_with('[') { 2 + 22 } else { SOCKS5_GRANTED };
        passes(&mut lab, &say::socks5_to_name(name, 80), granted, |s| Person::new(s).whole());
        assert!(lab.world.asked_names.is_empty(), "{name}");
        assert_eq!(lab.world.attempts[0].to, addr(to));
        // The same in HTTP, where IPv6 has brackets.
        let mut lab = self::lab();
        lab.serve(to, [Act::Echo]);
        passes(&mut lab, &say::http_connect(to), say::HTTP_GRANTED.len(), |s| Person::new(s).whole());
        assert!(lab.world.asked_names.is_empty(), "{name}");
    }
}

#[test]
fn a_literal_in_socks4a_is_never_looked_up() {
    let mut lab = lab();
    passes(&mut lab, &say::socks4a(b"192.0.2.7", 80, b"u"), 8, |s| Person::new(s).whole());
    assert!(lab.world.asked_names.is_empty());
}

#[test]
fn port_0_is_refused_without_an_attempt() {
    for words in [say::socks5(addr("192.0.2.7:0")), say::socks5_to_name("192.0.2.7", 0)] {
        let mut lab = lab();
        assert_eq!(ask(&mut lab, &words), ([&[5, 0][..], &say::socks5_refusal(5)].concat(), End::Fin));
        assert!(lab.world.attempts.is_empty());
    }
}

// ---- item 4 ----

#[test]
fn bind_and_unknown_commands_are_07() {
    for command in [2u8, 0, 4, 9, 255] {
        for to in ["192.0.2.7:80", "0.0.0.0:0", "[::]:0"] {
            let mut lab = lab();
            let words = [GREETING, &say::socks5_request(command, addr(to))].concat();
            let wanted = [&[5, 0][..], &say::socks5_refusal(7)].concat();
            assert_eq!(ask(&mut lab, &words), (wanted.clone(), End::Fin), "command {command} to {to}");
            let mut lab = self::lab();
            assert_eq!(ask_dribbling(&mut lab, &words), (wanted, End::Fin), "command {command} to {to}");
        }
    }
}

#[test]
fn an_unknown_address_type_is_08() {
    for kind in [0u8, 2, 5, 255] {
        for ask in [ask, ask_dribbling] {
            let words = [GREETING, &[5, 1, 0, kind, 1, 2, 3, 4, 0, 80]].concat();
            let wanted = [&[5, 0][..], &say::socks5_refusal(8)].concat();
            assert_eq!(ask(&mut lab(), &words), (wanted, End::Fin), "type {kind}");
        }
    }
}

#[test]
fn socks4_bind_and_unknown_commands_are_rejected() {
    for command in [2u8, 0, 7, 255] {
        let words = say::socks4(command, [192, 0, 2, 7], 80, b"ann");
        assert_eq!(ask(&mut lab(), &words), (vec![0, 91, 0, 0, 0, 0, 0, 0], End::Fin), "{command}");
    }
}

#[test]
fn socks4_without_an_end_of_its_user_or_name_is_rejected() {
    let endless = [&[4, 1, 0, 80, 192, 0, 2, 7][..], &[b'u'; 300]].concat();
    assert_eq!(ask(&mut lab(), &endless), (vec![0, 91, 0, 0, 0, 0, 0, 0], End::Fin));
    let endless = [&say::socks4(1, [0, 0, 0, 1], 80, b"u")[..], &[b'n'; 300]].concat();
    assert_eq!(ask_dribbling(&mut lab(), &endless), (vec![0, 91, 0, 0, 0, 0, 0, 0], End::Fin));
}

#[test]
fn socks4_is_refused_where_a_password_is_asked_for() {
    for words in [say::socks4(1, [192, 0, 2, 7], 80, b"ann"), say::socks4a(b"far.example", 80, b"ann")] {
        let mut lab = guarded("ann:secret\n");
        assert_eq!(ask(&mut lab, &words), (vec![0, 91, 0, 0, 0, 0, 0, 0], End::Fin));
        assert_eq!(lab.refusals(), [Refusal::Socks4WithAuth]);
        assert!(lab.world.attempts.is_empty() && lab.world.asked_names.is_empty());
    }
}

#[test]
fn http_without_or_with_a_wrong_password_is_407() {
    for field in [
        "",
        "Proxy-Authorization: Basic YW5uOndyb25n\r\n",
        "Proxy-Authorization: Basic !!!\r\n",
        "Proxy-Authorization: Bearer YW5uOnNlY3JldA==\r\n",
        "Authorization: Basic YW5uOnNlY3JldA==\r\n",
        "Proxy-Authorization: Basic YW5uOnNlY3JldA==\r\nProxy-Authorization: Basic YW5uOnNlY3JldA==\r\n",
    ] {
        for line in [format!("CONNECT {FAR} HTTP/1.1"), format!("GET http://{FAR}/ HTTP/1.1")] {
            let mut lab = guarded("ann:secret\n");
            let (got, end) = ask(&mut lab, format!("{line}\r\n{field}\r\n").as_bytes());
            assert_eq!((say::status(&got), end), (407, End::Fin), "{field}");
            let text = String::from_utf8(got).expect("text");
            assert!(text.contains("\r\nProxy-Authenticate: Basic realm="), "{text}");
            assert!(lab.world.attempts.is_empty());
        }
    }
}

#[test]
fn http_with_the_right_password_passes_and_the_password_stays_here() {
    // ann:secret
    let field = "Proxy-Authorization: basic YW5uOnNlY3JldA==\r\n";
    let mut lab = guarded("ann:secret\n");
    let connect = format!("CONNECT {FAR} HTTP/1.1\r\n{field}\r\n");
    passes(&mut lab, connect.as_bytes(), say::HTTP_GRANTED.len(), |s| Person::new(s).whole());

    let mut lab = guarded("ann:secret\n");
    let answer = b"HTTP/1.1 204 None\r\n\r\n".to_vec();
    lab.serve(FAR, [Act::AwaitText(b"\r\n\r\n".to_vec()), Act::Send(answer)]);
    let get = format!("GET http://{FAR}/ HTTP/1.1\r\n{field}Connection: close\r\n\r\n");
    let (got, _) = ask(&mut lab, get.as_bytes());
    assert_eq!(say::status(&got), 204);
    let seen = String::from_utf8(lab.got(lab.served(0)).to_vec()).expect("text");
    assert!(!seen.to_ascii_lowercase().contains("authorization"), "{seen}");
}

// ---- leaving and lingering ----

#[test]
fn a_handshake_that_dribbles_is_dropped_at_its_deadline() {
    for words in [
        [&[5, 255][..], &[7; 98]].concat(),
        b"GET http://192.0.2.7/aaaaaaaaaaaaaaaaaaaaaaaaa HTTP/1.1\r\n".to_vec(),
    ] {
        // One byte in 300 ms: the handshake would take longer than its 10 s.
        let mut lab = lab();
        let person = Person::new([Act::Send(words), Act::AwaitEnd]).segments(1, ms(300));
        let who = lab.person(person);
        lab.finish();
        let ended = lab.sock(who).got.ended_at.expect("it was dropped") - ropewalk_core::time::Instant::ZERO;
        assert!(ended >= secs(10) && ended < ms(10_400), "{ended:?}");
        assert_eq!(lab.refusals(), [Refusal::HandshakeTimeout]);
    }
}

#[test]
fn a_client_that_says_nothing_is_dropped_at_the_same_deadline() {
    let mut lab = lab();
    let who = lab.client([Act::AwaitEnd]);
    lab.finish();
    assert_eq!(lab.refusals(), [Refusal::HandshakeTimeout]);
    assert_ne!(lab.end(who), End::Open);
}

#[test]
fn a_client_may_leave_at_any_byte_of_its_handshake() {
    let auth = [&[5, 1, 2][..], &say::user_password(b"ann", b"secret")].concat();
    for words in [auth, say::socks5_to_name("far.example", 80), say::http_connect(FAR)] {
        for cut in 0..words.len() {
            for leave in [Act::Fin, Act::Reset, Act::Close] {
                let mut lab = guarded("ann:secret\n");
                lab.client([Act::Send(words[..cut].to_vec()), leave.clone()]);
                lab.run_for(secs(5));
                lab.check_end();
                let leaves_a_word = cut > 0 || matches!(leave, Act::Reset);
                let refusals = lab.refusals();
                assert_eq!(!refusals.is_empty(), leaves_a_word, "cut {cut}, {leave:?}: {refusals:?}");
            }
        }
    }
}

#[test]
fn a_refused_client_that_leaves_is_let_go_at_once() {
    // It need not be waited for once its end was read behind all it still sent.
    let mut lab = lab();
    let words = [GREETING, &say::socks5_request(2, addr(FAR)), &[0; 5000]].concat();
    lab.client([Act::Send(words), Act::AwaitEnd]);
    lab.run_for(ms(200));
    lab.check_end();
}

#[test]
fn a_last_reply_survives_a_client_that_goes_on_talking() {
    // A close with unread bytes would reset the connection, and the reply with it.
    let mut lab = lab();
    let more = Act::Send(pattern(20_000, 3));
    let words = [GREETING, &say::socks5_request(2, addr(FAR))].concat();
    let script = [Act::Send(words), Act::Pause(ms(1)), more, Act::Pause(ms(200)), Act::AwaitEnd];
    let who = lab.person(Person::new(script).reads(util::Reading::Slow(3, ms(50))));
    lab.finish();
    assert_eq!(lab.got(who), [&[5, 0][..], &say::socks5_refusal(7)].concat());
    assert_eq!(lab.end(who), End::Fin);
}

#[test]
fn a_refused_client_that_uploads_slowly_has_its_answer_and_an_endless_one_half_a_minute() {
    let words = [GREETING, &say::socks5_request(2, addr(FAR))].concat();
    let refused = [&[5, 0][..], &say::socks5_refusal(7)].concat();
    for seconds in [10, 60] {
        // A byte each second: for longer than the linger of 2 s, never silent for so long.
        let mut lab = lab();
        let mut script = vec![Act::Send(words.clone()), Act::Pause(ms(1))];
        script.extend((0..seconds).flat_map(|_| [Act::Send(vec![0]), Act::Pause(secs(1))]));
        script.push(Act::Fin);
        let who = lab.person(Person::new(script));
        lab.run_for(ms(9_500));
        assert_eq!(lab.machine.counters().open, 1, "{seconds} s");
        lab.run_for(secs(20));
        assert_eq!(lab.machine.counters().open, usize::from(seconds == 60));
        lab.run_for(secs(1));
        assert_eq!(lab.machine.counters().open, 0, "{seconds} s");
        assert_eq!((lab.got(who), lab.end(who)), (&refused[..], End::Fin), "{seconds} s");
    }
}
