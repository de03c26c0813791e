//! What origins send that only browsers take: it reaches the client, clean.

mod util;

use ropewalk_core::machine::event::Refusal;
use util::http::{get, head_end, send, text, until};
use util::{Act, End, Lab, Person, Setup, Target, ms};

const ONE: &str = "192.0.2.1:80";

fn lab() -> Lab {
    Setup::new(2).build()
}

/// What a client gets for `answer`, in pieces of each of some lengths; the origin closes behind it.
fn answered(request: &str, answer: &str) -> String {
    let mut all = [1, 7, usize::MAX].into_iter().map(|segment| {
        let mut lab = lab();
        let origin = Person::new([head_end(), send(answer), Act::Fin, Act::AwaitEnd]);
        lab.target(ONE, Target::new(origin.segments(segment, ms(1))));
        let who = lab.client([send(request), Act::Pause(util::secs(20)), Act::Fin, Act::AwaitEnd]);
        lab.finish();
        assert_eq!(lab.end(who), End::Fin, "{answer:?}");
        assert_eq!(lab.refusals(), [], "{answer:?}");
        text(lab.got(who))
    });
    let first = all.next().expect("three");
    assert!(all.all(|other| other == first), "the pieces it comes in change nothing: {first}");
    first
}

fn page(answer: &str) -> String {
    answered(&get("192.0.2.1", "/"), answer)
}

const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nVia: 1.1 ropewalk\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
const COUNTED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nVia: 1.1 ropewalk\r\n\r\nhello";

#[test]
fn fields_with_the_faults_of_real_servers_leave_clean() {
    for fields in [
        "Content-Length : 5\r\n",
        "Content-Length\t:5\r\nPHP Warning:  Undefined index in /x\r\n",
        "<br />\r\nContent-Length: 5\r\n",
        "Content-Length:\r\n 5\r\n",
        "Content-Length: 5, 5\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: identity\r\nContent-Length: 5\r\n",
    ] {
        assert_eq!(page(&format!("HTTP/1.1 200 OK\r\n{fields}\r\nhello")), COUNTED, "{fields:?}");
    }
    let folded = page("HTTP/1.1 200 OK\nX: a\n\tb\nContent-Length: 5\n\nhello");
    assert_eq!(folded, COUNTED.replace("Content-Length", "X: a b\r\nContent-Length"));
}

#[test]
fn chunks_beside_a_length_count_and_the_connection_is_not_used_again() {
    let both =
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    assert_eq!(page(both), CHUNKED);
    let mut lab = lab();
    lab.serve(ONE, [head_end(), send(both), head_end(), send("stale"), Act::AwaitEnd]);
    let script = [
        send(&get("192.0.2.1", "/1")),
        until("0\r\n\r\n"),
        send(&get("192.0.2.1", "/2")),
        until("0\r\n\r\n"),
    ];
    let who = lab.client(script.into_iter().chain([Act::Fin, Act::AwaitEnd]));
    lab.finish();
    assert_eq!(text(lab.got(who)), CHUNKED.repeat(2));
    assert_eq!(lab.world.served.len(), 2);
}

#[test]
fn neither_matters_where_there_is_no_body() {
    let both = "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n";
    let head = get("192.0.2.1", "/").replace("GET", "HEAD");
    for (request, status) in [(head, "200"), (get("192.0.2.1", "/"), "304")] {
        let got = answered(&request, &format!("HTTP/1.1 {status} x\r\n{both}\r\n"));
        assert!(got.starts_with(&format!("HTTP/1.1 {status} ")) && got.ends_with("\r\n\r\n"), "{got}");
    }
}

#[test]
fn chunks_written_loosely_leave_strictly_whichever_chunk_it_is() {
    for body in [
        "5\nhello\n0\n\n",
        "5  \r\nhello\r\n0  \r\n\r\n",
        "0005\r\nhello\r\n000\r\n\r\n",
        "5;name=\u{1}\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\n",
        "5\r\nhello\r\n0\r\nno trailer\r\n\r\n",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        assert_eq!(page(&answer), CHUNKED, "{body:?}");
        // The same behind a chunk written well.
        let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n{body}");
        assert_eq!(page(&answer), CHUNKED.replace("\r\n\r\n5", "\r\n\r\n2\r\nab\r\n5"), "{body:?}");
    }
}

#[test]
fn a_client_of_1_0_gets_what_is_in_the_chunks() {
    let old = "GET http://192.0.2.1/ HTTP/1.0\r\n\r\n";
    let wanted = "HTTP/1.1 200 OK\r\nVia: 1.1 ropewalk\r\nConnection: close\r\n\r\nhello";
    for body in ["5\r\nhello\r\n0\r\n\r\n", "2\nhe\n3 \r\nllo\r\n0\r\nDigest: x\r\n\r\n"] {
        let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        assert_eq!(answered(old, &answer), wanted);
    }
}

#[test]
fn radio_is_relayed_until_it_closes() {
    let got = page("ICY 200 OK\r\nicy-name: one\r\nicy-br:128\r\n\r\nmusic");
    let wanted = "HTTP/1.1 200 OK\r\nicy-name: one\r\nicy-br: 128\r\nVia: 1.0 ropewalk\r\n\
                  Connection: close\r\n\r\nmusic";
    assert_eq!(got, wanted);
}

#[test]
fn large_heads_pass_both_ways() {
    for (fields, value) in [(100, 20), (90, 10), (3, 20_000), (10, 25_000)] {
        let lines: String = (0..fields).map(|n| format!("X-{n}: {}\r\n", "v".repeat(value))).collect();
        let answer = format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 5\r\n\r\nhello");
        let wanted = format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 5\r\nVia: 1.1 ropewalk\r\n\r\nhello");
        for before in [false, true] {
            let mut lab = lab();
            lab.serve(ONE, [head_end(), send(&answer), head_end(), send(&answer), Act::AwaitEnd]);
            let mut script =
                vec![send(&format!("GET http://192.0.2.1/ HTTP/1.1\r\n{lines}\r\n")), until("hello")];
            if before {
                // The same as the second request of a connection.
                script.extend(script.clone());
            }
            let who = lab.client(script.into_iter().chain([Act::Fin, Act::AwaitEnd]));
            lab.finish();
            assert_eq!(lab.got(who).len(), wanted.len() * if before { 2 } else { 1 });
            assert!(text(lab.got(who)).starts_with(&wanted));
            let seen = text(lab.got(lab.served(0)));
            assert!(seen.starts_with(&format!("GET / HTTP/1.1\r\nHost: 192.0.2.1\r\n{lines}Via: ")));
        }
    }
}

#[test]
fn what_is_no_response_even_so_is_told_with_its_noun_and_place() {
    let get = get("192.0.2.1", "/");
    let old = "GET http://192.0.2.1/ HTTP/1.0\r\n\r\n";
    for (request, answer, at) in [
        (&*get, "HTTP/1.1 200 OK\r\nA : b\r\nContent-Length: 1, x\r\n\r\n", 43),
        (&get, "HTTP/1.1 2x0 OK\r\n\r\n", 10),
        (old, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz", 47),
        (old, "HTTP/1.1 100 C\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz", 47),
        (&get, "", 0),
    ] {
        let mut lab = lab();
        lab.serve(ONE, [head_end(), send(answer), Act::Fin]);
        let who = lab.client([send(request), Act::AwaitEnd]);
        lab.finish();
        let [Refusal::BadResponse(why)] = lab.refusals()[..] else { panic!("{:?}", lab.refusals()) };
        assert_eq!(why.at, at, "{answer:?}: {why}");
        let got = text(lab.got(who));
        assert!(got.contains("HTTP/1.1 502 ") && got.contains("malformed response: expected "), "{got}");
        assert!(got.contains(&format!(" at byte {at}")), "{got}");
    }
}

#[test]
fn a_bad_chunk_takes_nothing_with_it_and_is_told_in_whichever_piece_it_comes() {
    for pieces in [vec![], vec![0], vec![7], vec![0, 10]] {
        let mut lab = lab();
        let before = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let (good, bad) = ("5\r\nhello\r\n5\r\nthere\r\n", "bad!");
        let body = [good, bad].concat();
        let mut script = vec![head_end()];
        let (mut piece, mut from) = (before.to_owned(), 0);
        for to in pieces.iter().copied().chain([body.len()]) {
            piece.push_str(&body[from..to]);
            script.extend([send(&std::mem::take(&mut piece)), Act::Pause(ms(50))]);
            from = to;
        }
        script.push(Act::AwaitEnd);
        lab.serve(ONE, script);
        let who = lab.client([send(&get("192.0.2.1", "/")), Act::AwaitEnd]);
        lab.finish();
        // RFC 9112 section 8: without a last chunk it is not whole.
        let wanted = before.replace("\r\n\r\n", "\r\nVia: 1.1 ropewalk\r\n\r\n") + good;
        assert_eq!((text(lab.got(who)), lab.end(who)), (wanted, End::Fin), "{pieces:?}");
        let [Refusal::BadResponse(why)] = lab.refusals()[..] else { panic!("{:?}", lab.refusals()) };
        let digits = 3;
        assert_eq!(why.at, before.len() + good.len() + digits, "they go on to the end of bad");
    }
}
