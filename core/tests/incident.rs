//! Recordings of a live process: no secret is in them, however it comes, and no bytes take a replay
//! by surprise. (That each run replays is checked at the end of every test: see `util/incident`.)

mod util;

use proptest::prelude::*;
use ropewalk_core::dispatch::{Config, Credentials};
use ropewalk_core::record::{Divergence, Moment, replay_incident};
use util::http::{head_end, origin, send};
use util::say;
use util::{Act, Lab, Person, Setup, Target, addr, cases, ms};

const FAR: &str = "192.0.2.7:80";

/// RFC 4648 section 4, for heads.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |three: &[u8]| {
        let bits =
            three.iter().chain([0; 3].iter()).take(3).fold(0, |bits, byte| bits << 8 | u32::from(*byte));
        let digit = |place: usize| char::from(ALPHABET[(bits >> (18 - 6 * place) & 63) as usize]);
        (0..4).map(|place| if place > three.len() { '=' } else { digit(place) }).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

fn lab(user: &str, password: &str) -> Lab {
    let users = Credentials::parse(format!("{user}:{password}\n").as_bytes()).expect("valid");
    Setup::new(1).with(|config: &mut Config| config.credentials = Some(users)).build()
}

fn has(recording: &[u8], secret: &[u8]) -> bool {
    recording.windows(secret.len()).any(|window| window == secret)
}

/// A client of SOCKS5 that sends in pieces of this size.
fn socks(lab: &mut Lab, piece: usize, user: &str, password: &str, word: &str) {
    let login = say::user_password(user.as_bytes(), password.as_bytes());
    let words = [b"\x05\x01\x02".to_vec(), login, say::socks5_request(1, addr(FAR)), word.into()].concat();
    lab.client([Act::Pace(piece, ms(1)), Act::Send(words), Act::Fin, Act::AwaitEnd]);
}

/// A client of HTTP.
fn web(lab: &mut Lab, piece: usize, login: &str, secret: &str) {
    let login = base64(login.as_bytes());
    let get = format!(
        "POST http://{FAR}/{secret}?{secret} HTTP/1.1\r\nHost: {FAR}\r\nProxy-Authorization: Basic {login}\r\n\
         Cookie: id={secret}\r\nAuthorization: Bearer {secret}\r\nTransfer-Encoding: chunked\r\n\r\n\
         {:x};{secret}\r\n{secret}\r\n0\r\nX-Trailer: {secret}\r\n\r\n",
        secret.len()
    );
    lab.client([
        Act::Pace(piece, ms(1)),
        send(&get),
        head_end(),
        Act::Pause(ms(50)),
        Act::Fin,
        Act::AwaitEnd,
    ]);
}

proptest! {
    #![proptest_config(cases(48))]
    #[test]
    fn no_secret_is_recorded_in_whatever_pieces_it_comes(
        user in "[a-z]{5,9}1",
        password in "[a-z]{7,20}2",
        guessed in "[a-z]{7,20}3",
        secret in "[a-z]{8,30}4",
        piece in 1usize..60,
    ) {
        let mut lab = lab(&user, &password);
        let answer = format!(
            "HTTP/1.1 200 {secret}\r\nSet-Cookie: {secret}\r\nContent-Length: {}\r\n\r\n{secret}",
            secret.len()
        );
        lab.serve(FAR, origin(&[&answer]));
        socks(&mut lab, piece, &user, &password, &secret);
        socks(&mut lab, piece, &user, &guessed, &secret);
        web(&mut lab, piece, &format!("{user}:{password}"), &secret);
        web(&mut lab, piece, &format!("{user}:{guessed}"), &secret);
        web(&mut lab, piece, &guessed, &secret);
        lab.client([send(&format!("GET http://{user}:{password}@{FAR}/ HTTP/1.1\r\n\r\n")), Act::AwaitEnd]);
        lab.client([Act::Send(say::socks4(1, [192, 0, 2, 7], 80, password.as_bytes())), Act::AwaitEnd]);
        // One leaves in the middle of its password.
        let login = say::user_password(user.as_bytes(), password.as_bytes());
        let begun = [b"\x05\x01\x02", &login[..login.len() - 2]].concat();
        lab.client([Act::Send(begun), Act::Fin, Act::AwaitEnd]);
        lab.run_for(ms(5000));
        let recording = lab.machine.inner.recording().expect("it is recorded");
        for secret in [&user, &password, &guessed, &secret] {
            prop_assert!(!has(&recording, secret.as_bytes()), "{secret}");
        }
        for login in [format!("{user}:{password}"), format!("{user}:{guessed}"), guessed] {
            let spelled = base64(login.as_bytes());
            prop_assert!(!has(&recording, &spelled.as_bytes()[..spelled.len() - 4]), "{spelled}");
        }
        let mut connected = 0;
        let replayed = replay_incident(&recording, &mut |moment| {
            connected += usize::from(matches!(moment, Moment::Output(_, output) if output.name() == "Connect"));
        });
        prop_assert!(replayed.clone().is_ok_and(|replayed| replayed.compared > 40), "{replayed:?}");
        prop_assert_eq!(connected, 2, "the two that gave the right password");
    }
}

#[test]
fn payload_is_recorded_where_it_is_asked_for_and_secrets_are_not() {
    let mut setup = Setup::new(1).with(|config: &mut Config| {
        config.credentials = Some(Credentials::parse(b"ann:secret22\n").expect("valid"));
    });
    setup.payload = true;
    let mut lab = setup.build();
    lab.serve(FAR, origin(&["HTTP/1.1 200 OK\r\nSet-Cookie: cookie99\r\nContent-Length: 6\r\n\r\nanswer"]));
    socks(&mut lab, 1000, "ann", "secret22", "relayedword");
    web(&mut lab, 1000, "ann:secret22", "chunkedword");
    lab.run_for(ms(2000));
    let recording = lab.machine.inner.recording().expect("it is recorded");
    for word in ["relayedword", "chunkedword", "answer"] {
        assert!(has(&recording, word.as_bytes()), "{word}");
    }
    for secret in ["secret22", "cookie99", "id=chunkedword", &base64(b"ann:secret22")] {
        assert!(!has(&recording, secret.as_bytes()), "{secret}");
    }
    assert!(replay_incident(&recording, &mut |_| {}).is_ok());
}

#[test]
fn of_an_answer_without_a_head_the_first_bytes_are_recorded() {
    for piece in [1, 7, 1000] {
        let mut lab = Setup::new(1).build();
        let answer = send("<html>confidential</html>");
        let origin = Person::new([head_end(), answer, Act::Pause(ms(50)), send("quite"), Act::Fin]);
        lab.target(FAR, Target::new(origin.segments(piece, ms(1))));
        let who = lab.client([send(&format!("GET http://{FAR}/ HTTP/1.1\r\n\r\n")), Act::AwaitEnd]);
        lab.run_for(ms(2000));
        assert_eq!(lab.got(who), b"<html>confidential</html>quite");
        let recording = lab.machine.inner.recording().expect("it is recorded");
        let kept = ["<", "fidential", "quite"].map(|word| has(&recording, word.as_bytes()));
        assert_eq!(kept, [true, false, false], "in pieces of {piece}");
        assert!(replay_incident(&recording, &mut |_| {}).is_ok());
    }
}

/// A run of every kind of entry that a client can cause.
fn recording() -> Vec<u8> {
    let mut lab = lab("ann", "secret22");
    lab.serve(FAR, origin(&["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"]));
    socks(&mut lab, 7, "ann", "secret22", "word");
    web(&mut lab, 50, "ann:secret22", "word");
    lab.run_for(ms(2000));
    lab.machine.inner.recording().expect("it is recorded")
}

#[test]
fn a_recording_that_was_cut_replays_as_far_as_it_goes_or_says_where_it_is_damaged() {
    let whole = recording();
    let (mut good, mut damaged) = (0, 0);
    for cut in 0..whole.len() {
        match replay_incident(&whole[..cut], &mut |_| {}) {
            Ok(_) => good += 1,
            Err(Divergence::Damaged { .. }) => damaged += 1,
            Err(other) => panic!("cut at {cut}: {other}"),
        }
    }
    assert!(good > 50 && damaged > 50, "{good} {damaged}");
}

#[test]
fn a_recording_that_was_changed_is_an_error_or_another_run_and_never_a_panic() {
    let whole = recording();
    for at in 0..whole.len() {
        for change in [0x01, 0x55, 0x80, 0xff] {
            let mut changed = whole.clone();
            changed[at] ^= change;
            let _ = replay_incident(&changed, &mut |_| {});
        }
    }
}

proptest! {
    #![proptest_config(cases(512))]
    #[test]
    fn whatever_follows_a_configuration_is_no_panic(entries in prop::collection::vec(any::<u8>(), 0..300)) {
        let whole = recording_head();
        let _ = replay_incident(&[whole, entries].concat(), &mut |_| {});
    }
}

/// A recording of a machine to which nothing has happened.
fn recording_head() -> Vec<u8> {
    lab("ann", "secret22").machine.inner.recording().expect("it is recorded")
}
