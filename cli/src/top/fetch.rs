//! The figures as the stats endpoint gives them.

use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The endpoint is on this host: who takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most bytes of an answer: a server of a bond has some lines for each of its clients.
const MOST: u64 = 16 << 20;

/// Asks once.
///
/// # Errors
/// A sentence that says who was asked, what is wrong, and how to have it right.
pub(super) fn fetch(address: SocketAddr) -> Result<Value, String> {
    let answer = ask(address).map_err(|error| match error.kind() {
        ErrorKind::ConnectionRefused => format!(
            "nobody tells figures at {address}: expected a service that was started with --stats {address}"
        ),
        ErrorKind::WouldBlock | ErrorKind::TimedOut => format!("no answer from {address} within 2 s"),
        _ => format!("cannot ask {address} for figures: {error}"),
    })?;
    read(&answer).ok_or_else(|| format!("what answers at {address} is not ropewalk's --stats"))
}

fn ask(address: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET /stats HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MOST).read_to_end(&mut answer)?;
    Ok(answer)
}

/// The object in an answer that was well.
fn read(answer: &[u8]) -> Option<Value> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let (head, body) = (&answer[..end], &answer[end + 4..]);
    head.starts_with(b"HTTP/1.1 200 ").then_some(())?;
    let value: Value = serde_json::from_slice(body).ok()?;
    value.get("uptime_seconds").is_some().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn only_figures_are_taken_for_figures() {
        let good = read(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n{\"uptime_seconds\":1.5}\n");
        assert_eq!(good.and_then(|value| value["uptime_seconds"].as_f64()), Some(1.5));
        for bad in [
            &b""[..],
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n{}",
            b"HTTP/1.1 404 Not Found\r\n\r\n{\"uptime_seconds\":1}",
            b"SSH-2.0-x\r\n\r\n{\"uptime_seconds\":1}",
        ] {
            assert!(read(bad).is_none(), "{bad:?}");
        }
    }
}
