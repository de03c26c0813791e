//! A small HTTP server: one request for each connection, bounded in bytes, time and number.
//!
//! A page of a foreign origin that a browser on this host shows cannot read from here: it would
//! have to come by a name of its own that it lets point to loopback (DNS rebinding), and then the
//! Host header gives it away.

use super::Form;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv6Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Most bytes of a request's head.
const HEAD: usize = 8 * 1024;
/// Most header fields.
const FIELDS: usize = 64;
/// From accept to a whole head, and from there to the last byte of the answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a client has to close after its answer. Until then what it still sends is read: a close
/// over unread bytes is a reset, and could take the answer with it.
const LINGER: Duration = Duration::from_millis(250);
/// Most bytes read so.
const REST: usize = 64 * 1024;
/// Requests answered at once; more wait, each for as long as another may take.
const AT_ONCE: usize = 8;
/// Stack of the thread that answers. Head and answer are on the heap.
const STACK: usize = 128 * 1024;

/// For people: it draws what is at /stats.
const PAGE: &str = include_str!("page.html");
/// All of it is in the one file, and it asks nobody else.
const PAGE_POLICY: &str = "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; \
                           script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; \
                           form-action 'none'; frame-ancestors 'none'\r\n";

pub(super) type Page = dyn Fn(Form) -> String + Send + Sync;

/// Starts the thread that accepts.
pub(super) fn start(listener: TcpListener, page: Arc<Page>) -> std::io::Result<()> {
    let busy = Arc::new(Busy::default());
    let accept = move || loop {
        busy.wait_for_room();
        match listener.accept() {
            Ok((stream, _)) => {
                let (page, place) = (Arc::clone(&page), Busy::take(&busy));
                // Where the system gives no thread, the client sees its connection end.
                let _ = thread("stats request").spawn(move || {
                    answer(stream, &*page);
                    drop(place);
                });
            }
            Err(error) => {
                log::debug!("stats: cannot accept: {error}");
                // A lack of descriptors that stays must not spin.
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    };
    thread("stats").spawn(accept).map(|_| ())
}

fn thread(name: &str) -> std::thread::Builder {
    std::thread::Builder::new().name(name.to_owned()).stack_size(STACK)
}

/// How many requests are being answered.
#[derive(Default)]
struct Busy {
    count: Mutex<usize>,
    room: Condvar,
}

/// A place among them, free again on drop.
struct Place(Arc<Busy>);

impl Busy {
    fn wait_for_room(&self) {
        let count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |count: &mut usize| *count >= AT_ONCE;
        drop(self.room.wait_while(count, full).unwrap_or_else(PoisonError::into_inner));
    }

    fn take(busy: &Arc<Self>) -> Place {
        *busy.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Place(Arc::clone(busy))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *self.0.count.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.room.notify_one();
    }
}

fn answer(mut stream: TcpStream, page: &Page) {
    let reply = match read_head(&mut stream, Instant::now() + PATIENCE) {
        Ok(head) => respond(&head, page),
        Err(Some(status)) => refusal(status, "expected a head of at most 8 KiB within 2 s"),
        Err(None) => return,
    };
    let written = write(&mut stream, reply.as_bytes(), Instant::now() + PATIENCE);
    if written && stream.shutdown(Shutdown::Write).is_ok() {
        let deadline = Instant::now() + LINGER;
        let (mut rest, mut read) = ([0; 1024], 0);
        while let (Ok(len @ 1..), true) = (read_some(&mut stream, &mut rest, deadline), read < REST) {
            read += len;
        }
    }
}

/// Bytes with a whole head in them; else the status that says what was wrong, if anybody is there
/// to hear it.
fn read_head(stream: &mut TcpStream, deadline: Instant) -> Result<Vec<u8>, Option<u16>> {
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    loop {
        let len = match read_some(stream, &mut piece, deadline) {
            Ok(0) => return Err(None),
            Ok(len) => len,
            Err(ErrorKind::TimedOut) => return Err(Some(408)),
            Err(_) => return Err(None),
        };
        head.extend_from_slice(&piece[..len]);
        // Whole or hopeless; only the end of a line can make it so.
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        if piece[..len].contains(&b'\n')
            && !matches!(httparse::Request::new(&mut fields).parse(&head), Ok(httparse::Status::Partial))
        {
            return Ok(head);
        }
        if head.len() > HEAD {
            return Err(Some(431));
        }
    }
}

/// Reads what there is, or [`ErrorKind::TimedOut`] at the deadline.
fn read_some(stream: &mut TcpStream, piece: &mut [u8], deadline: Instant) -> Result<usize, ErrorKind> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // A time-out of zero would mean none.
        if left.is_zero() {
            return Err(ErrorKind::TimedOut);
        }
        stream.set_read_timeout(Some(left)).map_err(|error| error.kind())?;
        match stream.read(piece) {
            Ok(len) => return Ok(len),
            Err(error) => match error.kind() {
                ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut => {}
                other => return Err(other),
            },
        }
    }
}

/// Whether all of it was taken by the deadline.
fn write(stream: &mut TcpStream, mut bytes: &[u8], deadline: Instant) -> bool {
    while !bytes.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || stream.set_write_timeout(Some(left)).is_err() {
            return false;
        }
        match stream.write(bytes) {
            Ok(len) => bytes = &bytes[len..],
            Err(error) => match error.kind() {
                ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut => {}
                _ => return false,
            },
        }
    }
    true
}

/// The answer to a head. A Host that is not loopback gets 403 before the path is looked at: DNS
/// rebinding lets a web page ask under its own name.
fn respond(head: &[u8], page: &Page) -> String {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let (Ok(httparse::Status::Complete(_)), Some(method), Some(target)) =
        (request.parse(head), request.method, request.path)
    else {
        return refusal(400, "expected an HTTP/1.1 request");
    };
    let mut hosts = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case("host"));
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if names_this_host(host.value) => {}
        // RFC 9112 section 3.2: more than one is a bad request.
        (_, Some(_)) => return refusal(400, "expected one Host header"),
        _ => return refusal(403, "expected a Host header with localhost or a loopback address"),
    }
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    let (form, kind) = match path {
        "/metrics" => (Form::Prometheus, "text/plain; version=0.0.4; charset=utf-8"),
        "/stats" => (Form::Json, "application/json"),
        "/" if method == "GET" => return reply("200 OK", "text/html; charset=utf-8", PAGE_POLICY, PAGE),
        "/" => return refusal(405, "expected GET"),
        _ => return refusal(404, "expected /, /metrics or /stats"),
    };
    match method {
        "GET" => reply("200 OK", kind, "", &page(form)),
        _ => refusal(405, "expected GET"),
    }
}

/// RFC 9110 section 7.2: a host and perhaps a port.
fn names_this_host(value: &[u8]) -> bool {
    let Ok(value) = std::str::from_utf8(value) else { return false };
    let is_port = |text: &str| text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some((address, rest)) = value.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let port = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
        return port && address.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback());
    }
    let (host, port) = value.split_once(':').unwrap_or((value, ""));
    let loopback = |host: &str| host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    is_port(port) && (host.eq_ignore_ascii_case("localhost") || loopback(host))
}

fn refusal(status: u16, expected: &str) -> String {
    let (status, more) = match status {
        403 => ("403 Forbidden", ""),
        404 => ("404 Not Found", ""),
        405 => ("405 Method Not Allowed", "Allow: GET\r\n"),
        408 => ("408 Request Timeout", ""),
        431 => ("431 Request Header Fields Too Large", ""),
        _ => ("400 Bad Request", ""),
    };
    reply(status, "text/plain; charset=utf-8", more, &format!("{expected}\n"))
}

fn reply(status: &str, kind: &str, more: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{more}Cache-Control: no-store\r\n\
         X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(head: &str) -> u16 {
        let answer = respond(head.as_bytes(), &|form| format!("{form:?}"));
        let code = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
        code.and_then(|code| code.parse().ok()).expect("a status line")
    }

    #[test]
    fn three_pages_are_there_and_only_to_be_read() {
        let ask = |line: &str| status(&format!("{line} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        for line in ["GET /", "GET /metrics", "GET /stats", "GET /stats?x=1"] {
            assert_eq!(ask(line), 200, "{line}");
        }
        for line in ["GET //", "GET /metrics/", "GET /stats/../x", "POST /x", "GET http://localhost/stats"] {
            assert_eq!(ask(line), 404, "{line}");
        }
        for line in ["POST /", "POST /metrics", "HEAD /stats", "DELETE /stats", "get /stats"] {
            assert_eq!(ask(line), 405, "{line}");
        }
    }

    #[test]
    fn the_page_is_small_and_asks_nobody_else() {
        assert!(PAGE.len() < 20 * 1024, "{}", PAGE.len());
        let foreign = PAGE.replace("http://www.w3.org/2000/svg", "");
        for word in ["http:", "https:", "//cdn", "src=", "@import", "url("] {
            assert!(!foreign.contains(word), "{word}");
        }
        let answer = respond(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", &|_| String::new());
        assert!(answer.contains("\r\nContent-Security-Policy: default-src 'none';"));
        assert!(answer.ends_with(PAGE));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for head in
            ["GET /stats\r\n\r\n", "GET /stats HTTP/1.1\r\nHost", "\0\0\n", "GET /stats HTTP/2.0\r\n\r\n"]
        {
            assert_eq!(status(head), 400, "{head:?}");
        }
        let many = "a: b\r\n".repeat(FIELDS + 1);
        assert_eq!(status(&format!("GET /stats HTTP/1.1\r\n{many}\r\n")), 400);
        assert_eq!(status("GET /stats HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n"), 400);
        assert_eq!(status("GET /stats HTTP/1.1\r\n\r\n"), 403);
    }

    #[test]
    fn only_who_comes_by_a_loopback_name_is_told() {
        for host in
            ["localhost", "LocalHost:1", "127.0.0.1", "127.0.0.1:9090", "127.8.8.8", "[::1]", "[::1]:9"]
        {
            assert!(names_this_host(host.as_bytes()), "{host}");
        }
        for host in [
            "",
            "example.org",
            "localhost.example.org",
            "localhost:x",
            "localhost:123456",
            "0.0.0.0",
            "[::]",
            "::1",
            "10.0.0.1",
            "127.0.0.1.nip.io",
            "127.1",
            "a@localhost",
            "[::1]x",
            "[::1",
            "localhost:1:2",
            "\u{e9}",
        ] {
            assert!(!names_this_host(host.as_bytes()), "{host}");
        }
        assert_eq!(status("GET /metrics HTTP/1.1\r\nHost: evil.example:9090\r\n\r\n"), 403);
        assert_eq!(status("GET /nothing HTTP/1.1\r\nHost: evil.example\r\n\r\n"), 403);
    }

    #[test]
    fn an_answer_says_how_long_it_is() {
        let answer = respond(b"GET /stats HTTP/1.1\r\nHost: [::1]:1\r\n\r\n", &|_| "{\"é\":1}\n".to_owned());
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
        assert!(head.contains("\r\nContent-Type: application/json\r\n"), "{head}");
    }
}
