//! What the tests of the stream world share: a SOCKS5 client (RFC 1928) and some targets.
#![allow(dead_code, reason = "each test file is a crate of its own and uses a part")]

pub(crate) use ropewalk_conformance::client::To;

use ropewalk_conformance::client;
use ropewalk_core::machine::event::Event;
use ropewalk_sim::stream::wire::Wire;
use ropewalk_sim::stream::{Net, ProxyClient};
use std::future::poll_fn;
use std::io::Result;
use std::net::{Ipv4Addr, SocketAddr};
use std::task::{Poll, ready};
use std::time::Duration;

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    /// RFC 1928 section 6: REP.
    pub(crate) code: u8,
    /// BND.ADDR and BND.PORT.
    pub(crate) bound: SocketAddr,
    /// The tunnel, when the code is 0.
    pub(crate) wire: Wire,
    /// From dialling the proxy to its answer.
    pub(crate) took: Duration,
}

/// A SOCKS5 CONNECT request, after the greeting.
pub(crate) fn request(to: &To) -> Vec<u8> {
    client::request(to).split_off(client::GREETING.len())
}

/// SOCKS5 CONNECT.
pub(crate) async fn connect(client: &ProxyClient, to: impl Into<To>) -> Result<Answer> {
    connect_with(client, to, b"").await
}

/// SOCKS5 CONNECT, greeting, request and payload in one write.
pub(crate) async fn connect_with(client: &ProxyClient, to: impl Into<To>, payload: &[u8]) -> Result<Answer> {
    let began = client.now();
    let mut wire = client.dial().await?;
    let mut bytes = client::request(&to.into());
    bytes.extend_from_slice(payload);
    wire.write_all(&bytes).await?;
    let mut method = [0; 2];
    wire.read_exact(&mut method).await?;
    assert_eq!(method, [5, 0], "no authentication was asked for");
    let mut head = [0; 10];
    wire.read_exact(&mut head).await?;
    assert_eq!((head[0], head[2], head[3]), (5, 0, 1), "a SOCKS5 reply with an IPv4 address");
    let ip = Ipv4Addr::new(head[4], head[5], head[6], head[7]);
    let bound = SocketAddr::new(ip.into(), u16::from_be_bytes([head[8], head[9]]));
    Ok(Answer { code: head[1], bound, wire, took: client.now() - began })
}

/// Gives back what it gets, until its client ends.
pub(crate) async fn echo(mut wire: Wire) -> Result<()> {
    let mut buf = vec![0; 16 * 1024];
    loop {
        match wire.read(&mut buf).await? {
            0 => return Ok(()),
            len => wire.write_all(&buf[..len]).await?,
        }
    }
}

/// Answers with the address of its client.
pub(crate) async fn mirror(mut wire: Wire) -> Result<()> {
    wire.write_all(wire.peer().ip().to_string().as_bytes()).await
}

/// One connection to an echo through the proxy and a few bytes there and back; the bound address
/// and how long the connect took.
pub(crate) async fn visit(client: &ProxyClient, to: impl Into<To>) -> Result<(SocketAddr, Duration)> {
    let Answer { code, bound, mut wire, took } = connect(client, to).await?;
    assert_eq!(code, 0, "the target is reached");
    wire.write_all(b"ping").await?;
    wire.shutdown().await;
    assert_eq!(wire.read_to_end().await?, b"ping");
    Ok((bound, took))
}

/// Writes all of `bytes` and the end, and reads all that comes meanwhile and after.
pub(crate) async fn exchange(wire: &mut Wire, bytes: &[u8]) -> Result<Vec<u8>> {
    let (mut chunks, mut came, mut buf) = (bytes, Vec::new(), vec![0; 64 * 1024]);
    poll_fn(|cx| {
        while !chunks.is_empty() {
            let Poll::Ready(written) = wire.poll_write(cx, &chunks[..chunks.len().min(16 * 1024)]) else {
                break;
            };
            chunks = &chunks[written?..];
        }
        if chunks.is_empty() {
            // Its waker comes with room, and then again.
            let _ = wire.poll_shutdown(cx);
        }
        loop {
            match ready!(wire.poll_read(cx, &mut buf))? {
                0 => return Poll::Ready(Ok(std::mem::take(&mut came))),
                len => came.extend_from_slice(&buf[..len]),
            }
        }
    })
    .await
}

/// Bytes that show their position.
pub(crate) fn pattern(len: usize, salt: u8) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8 ^ (i / 251) as u8 ^ salt).collect()
}

/// How many times an uplink went down, and how many times one came up.
pub(crate) fn downs_and_ups(net: &Net) -> (usize, usize) {
    let events = net.events();
    let downs = events.iter().filter(|(_, event)| matches!(event, Event::UplinkDown { .. })).count();
    let ups = events.iter().filter(|(_, event)| matches!(event, Event::UplinkUp { .. })).count();
    (downs, ups)
}
