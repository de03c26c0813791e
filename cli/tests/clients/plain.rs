//! Plain HTTP as origins and browsers speak it, byte for byte: an origin with a script, a client
//! that reads to the end.

use crate::common::proxy::Proxy;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(20);

/// An origin that gives each connection its answers in turn, one for each request head, and closes
/// behind the last. Where none is left for a connection, it closes with the request unread.
pub(crate) fn origin(connections: Vec<Vec<Vec<u8>>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for answers in connections {
            let Ok((mut stream, _)) = listener.accept() else { return };
            stream.set_read_timeout(Some(LONG)).expect("a socket");
            for answer in answers {
                if read_until(&mut stream, b"\r\n\r\n").is_empty() {
                    break;
                }
                stream.write_all(&answer).expect("the proxy reads");
            }
            // What is still sent is read, so that the close is no reset.
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    address
}

/// All bytes up to `end`, or to the end of the connection.
fn read_until(stream: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let (mut got, mut byte) = (Vec::new(), [0]);
    while !got.ends_with(end) && matches!(stream.read(&mut byte), Ok(1)) {
        got.push(byte[0]);
    }
    got
}

fn client(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address).expect("the proxy listens");
    stream.set_read_timeout(Some(LONG)).expect("a socket");
    stream
}

/// What comes back for one request, to the end of the connection.
fn answered(proxy: &Proxy, request: &str) -> String {
    let mut stream = client(proxy);
    stream.write_all(request.as_bytes()).expect("the proxy reads");
    let mut got = Vec::new();
    stream.read_to_end(&mut got).expect("an end, no reset and no silence");
    String::from_utf8(got).expect("the test wrote text")
}

#[test]
fn what_browsers_take_from_origins_is_taken_and_leaves_clean() {
    let proxy = Proxy::start(&[]);
    let many: String = (0..100).map(|n| format!("X-{n}: y\r\n")).collect();
    let large = format!("X-Large: {}\r\n", "y".repeat(60_000));
    let chunked = "Transfer-Encoding: chunked\r\n";
    let clean = "5\r\nhello\r\n0\r\n\r\n";
    for (fields, body, field, wanted) in [
        ("Content-Length : 5\r\n", "hello", "Content-Length: 5\r\n", "hello"),
        ("PHP Warning: x\r\nContent-Length: 5\r\n", "hello", "Content-Length: 5\r\n", "hello"),
        ("no colon\r\nX: a\r\n b\r\nContent-Length: 5\r\n", "hello", "X: a b\r\n", "hello"),
        (&*format!("{many}Content-Length: 5\r\n"), "hello", "X-99: y\r\n", "hello"),
        (&*format!("{large}Content-Length: 5\r\n"), "hello", &*large, "hello"),
        (&*format!("Content-Length: 3\r\n{chunked}"), clean, chunked, clean),
        (chunked, "5  \nhello\n0\n\n", chunked, clean),
        (chunked, "5\r\nhello\r\n0\r\n", chunked, clean),
        (chunked, "5\r\r\nhello\r\r\n0\r\r\n\r\n", chunked, clean),
        ("X: a\r\r\nContent-Length: 5\r\r\n", "hello", "X: a\r\n", "hello"),
        ("Content-Length:\r\n", "hello", "Connection: close\r\n", "hello"),
        ("Transfer-Encoding: binary\r\nContent-Length: 5\r\n", "hello", "Content-Length: 5\r\n", "hello"),
    ] {
        let origin = origin(vec![vec![format!("HTTP/1.1 200 OK\r\n{fields}\r\n{body}").into_bytes()]]);
        let got = answered(&proxy, &format!("GET http://{origin}/ HTTP/1.1\r\nConnection: close\r\n\r\n"));
        let (head, rest) = got.split_once("\r\n\r\n").expect("a head");
        assert!(format!("{head}\r\n").contains(field), "{fields:?} gave {head}");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{fields:?} gave {head}");
        assert_eq!(rest, wanted, "{fields:?}");
    }
    let radio = origin(vec![vec![b"ICY 200 OK\r\nicy-br: 1\r\n\r\nmusic".to_vec()]]);
    let got = answered(&proxy, &format!("GET http://{radio}/ HTTP/1.1\r\n\r\n"));
    assert!(got.starts_with("HTTP/1.1 200 OK\r\nicy-br: 1\r\n") && got.ends_with("\r\n\r\nmusic"), "{got}");
    let old = origin(vec![vec![format!("HTTP/1.1 200 OK\r\n{chunked}\r\n{clean}").into_bytes()]]);
    let got = answered(&proxy, &format!("GET http://{old}/ HTTP/1.0\r\n\r\n"));
    assert!(got.ends_with("\r\n\r\nhello") && !got.contains("chunked"), "{got}");
}

#[test]
fn a_websocket_in_absolute_form_is_a_tunnel() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let origin = listener.local_addr().expect("it is bound");
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the proxy connects");
        let head = read_until(&mut stream, b"\r\n\r\n");
        stream
            .write_all(b"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nwith the 101")
            .expect("the proxy reads");
        let frame = read_until(&mut stream, b"!");
        stream.write_all(&frame).expect("the proxy reads");
        String::from_utf8(head).expect("text")
    });
    let proxy = Proxy::start(&[]);
    let mut stream = client(&proxy);
    let ask = format!(
        "GET http://{origin}/chat HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n"
    );
    stream.write_all(ask.as_bytes()).expect("the proxy reads");
    let got = String::from_utf8(read_until(&mut stream, b"with the 101")).expect("text");
    assert!(got.starts_with("HTTP/1.1 101 Go\r\n"), "{got}");
    assert!(got.contains("\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"), "{got}");
    stream.write_all(b"\x81\x00frame!").expect("the proxy reads");
    assert_eq!(read_until(&mut stream, b"!"), b"\x81\x00frame!");
    let saw = server.join().expect("the server ran");
    assert!(saw.starts_with("GET /chat HTTP/1.1\r\n"), "{saw}");
    assert!(saw.contains("\r\nUpgrade: websocket\r\n") && !saw.contains("h2c"), "{saw}");
}

#[test]
fn a_connection_that_the_origin_has_closed_is_made_anew() {
    let page = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npage".to_vec();
    // The first connection answers once and closes when the second request comes.
    let proxy = Proxy::start(&[]);
    // Or it says that it is tired of waiting, which is no answer to what came meanwhile.
    let tired = b"HTTP/1.1 408 x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec();
    for (method, end, again) in [("GET", Vec::new(), true), ("POST", Vec::new(), false), ("GET", tired, true)]
    {
        let origin = origin(vec![vec![page.clone(), end], vec![page.clone()]]);
        let mut stream = client(&proxy);
        let get = format!("GET http://{origin}/ HTTP/1.1\r\n\r\n");
        stream.write_all(get.as_bytes()).expect("the proxy reads");
        read_until(&mut stream, b"page");
        stream.write_all(get.replace("GET", method).as_bytes()).expect("the proxy reads");
        let got = String::from_utf8(read_until(&mut stream, b"page")).expect("text");
        assert_eq!((got.ends_with("page"), got.is_empty()), (again, !again), "{method}: {got}");
    }
}

#[test]
fn limits_of_heads_have_a_switch_a_line_and_a_figure() {
    let proxy = Proxy::start(&["--max-head-size", "2000", "--max-header-fields", "20"]);
    let request = |fields: &str| format!("GET http://127.0.0.1:1/ HTTP/1.1\r\n{fields}\r\n");
    let got = answered(&proxy, &request(&format!("X: {}\r\n", "y".repeat(2000))));
    assert!(got.starts_with("HTTP/1.1 431 ") && got.contains("more than 2000 bytes"), "{got}");
    proxy.wait_for("--max-head-size");
    std::thread::sleep(Duration::from_millis(1100));
    let got = answered(&proxy, &request(&"X: y\r\n".repeat(21)));
    assert!(got.starts_with("HTTP/1.1 431 ") && got.contains("more than 20 header fields"), "{got}");
    proxy.wait_for("--max-header-fields");
    let origin = origin(vec![vec![format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(21)).into_bytes()]]);
    let got = answered(&proxy, &format!("GET http://{origin}/ HTTP/1.1\r\n\r\n"));
    assert!(got.starts_with("HTTP/1.1 502 ") && got.contains("response too large"), "{got}");
    let lines = proxy.stop();
    assert!(lines.last().is_some_and(|line| line.ends_with("; limits hit: heads 3")), "{lines:?}");
}
