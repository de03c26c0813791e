//! An HTTP client's and an origin's words, for the tests that forward requests.

use super::{Act, Lab};

/// What came, as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn send(text: &str) -> Act {
    Act::Send(text.as_bytes().to_vec())
}

pub(crate) fn head_end() -> Act {
    Act::AwaitText(b"\r\n\r\n".to_vec())
}

pub(crate) fn until(text: &str) -> Act {
    Act::AwaitText(text.as_bytes().to_vec())
}

pub(crate) fn get(to: &str, path: &str) -> String {
    format!("GET http://{to}{path} HTTP/1.1\r\nHost: {to}\r\n\r\n")
}

pub(crate) fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// What the client gets for `ok(body)`.
pub(crate) fn passed(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nVia: 1.1 ropewalk\r\n\r\n{body}", body.len())
}

/// An origin that answers each request head in turn, on each of its connections.
pub(crate) fn origin(answers: &[&str]) -> Vec<Act> {
    answers.iter().flat_map(|answer| [head_end(), send(answer)]).chain([Act::AwaitEnd]).collect()
}

pub(crate) fn connections(lab: &Lab, to: &str) -> usize {
    lab.world.served.iter().filter(|(at, _)| *at == super::addr(to)).count()
}
