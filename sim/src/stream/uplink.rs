//! The hop behind a device: it connects on its own address and moves bytes, nothing else.
//!
//! ```text
//!  driver ──▶ hop: "connect to ADDRESS"
//!         ◀── hop: how it went, and from which address
//!         ◀─▶ bytes, ends and resets, each passed on as what it is
//! ```
//!
//! An address is 1 byte of length (4 or 16), that many bytes, 2 bytes of port. The answer is 1
//! byte, and the hop's own address when that byte says so. When the driver leaves, the hop gives
//! its attempt up.

use super::net::Net;
use super::wire::Wire;
use ropewalk_core::machine::Fault;
use std::future::poll_fn;
use std::io::{Error, ErrorKind, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::{Context, Poll, ready};
use turmoil::net::TcpListener;

/// Where the hop listens for its driver.
pub const RELAY_PORT: u16 = 7;

const CONNECTED: u8 = 0;
const REFUSED: u8 = 1;
const HOST_UNREACHABLE: u8 = 2;
const NETWORK_UNREACHABLE: u8 = 3;

/// Serves its driver for ever.
///
/// # Errors
/// What turmoil says about the listener.
pub async fn serve(net: Net) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, RELAY_PORT)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let driver = Wire::new(stream, &net)?;
        // An error is a driver that left, or a reset: both sides have seen it.
        net.watched({
            let net = net.clone();
            async move { hop(driver, &net).await.unwrap_or_default() }
        });
    }
}

/// The driver's side: asks the hop at `relay` to connect to `to`. Gives the stream and the hop's
/// address.
///
/// # Errors
/// What the hop answered; [`Fault::NetworkDown`] when there is no hop.
pub(super) async fn connect(
    relay: IpAddr,
    to: SocketAddr,
    net: &Net,
) -> std::result::Result<(Wire, SocketAddr), Fault> {
    let down = |_: Error| Fault::NetworkDown;
    let mut wire = Wire::connect(SocketAddr::new(relay, RELAY_PORT), net).await.map_err(down)?;
    let mut request = Vec::new();
    emit(to, &mut request);
    wire.write_all(&request).await.map_err(down)?;
    let mut answer = [0];
    wire.read_exact(&mut answer).await.map_err(down)?;
    match answer[0] {
        CONNECTED => {
            let local = read_address(&mut wire).await.map_err(down)?;
            Ok((wire, local))
        }
        REFUSED => Err(Fault::Refused),
        HOST_UNREACHABLE => Err(Fault::HostUnreachable),
        NETWORK_UNREACHABLE => Err(Fault::NetworkUnreachable),
        _ => Err(Fault::Other(0)),
    }
}

async fn hop(mut driver: Wire, net: &Net) -> Result<()> {
    let to = read_address(&mut driver).await?;
    let mut early = [0];
    // The connect is looked at first: one that ended in the very moment of the farewell is closed,
    // not leaked.
    let connected = tokio::select! {
        biased;
        result = Wire::connect(to, net) => result,
        _ = driver.read(&mut early) => return Ok(()),
    };
    match connected {
        Ok(target) => {
            let mut answer = vec![CONNECTED];
            emit(target.local(), &mut answer);
            driver.write_all(&answer).await?;
            relay(driver, target).await
        }
        Err(_) => {
            let answer = match net.why_not(driver.local().ip(), to.ip()) {
                Fault::HostUnreachable => HOST_UNREACHABLE,
                Fault::NetworkUnreachable => NETWORK_UNREACHABLE,
                _ => REFUSED,
            };
            driver.write_all(&[answer]).await
        }
    }
}

struct Flow {
    buf: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
}

impl Flow {
    fn new() -> Self {
        Flow { buf: vec![0; 64 * 1024], start: 0, end: 0, ended: false }
    }

    /// Moves bytes until there is nothing to do; ready when the end was passed on.
    fn poll(&mut self, cx: &mut Context<'_>, from: &mut Wire, to: &mut Wire) -> Poll<Result<()>> {
        loop {
            if self.start < self.end {
                self.start += ready!(to.poll_write(cx, &self.buf[self.start..self.end]))?;
            } else if self.ended {
                ready!(to.poll_shutdown(cx));
                return Poll::Ready(Ok(()));
            } else {
                let len = ready!(from.poll_read(cx, &mut self.buf))?;
                (self.start, self.end, self.ended) = (0, len, len == 0);
            }
        }
    }
}

async fn relay(mut driver: Wire, mut target: Wire) -> Result<()> {
    let (mut up, mut down) = (Flow::new(), Flow::new());
    let both = poll_fn(|cx| {
        let up = up.poll(cx, &mut driver, &mut target)?;
        let down = down.poll(cx, &mut target, &mut driver)?;
        if up.is_ready() && down.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    });
    let result = both.await;
    if result.is_err() {
        // Whichever side it came from has gone already and does not hear this.
        driver.reset();
        target.reset();
    }
    result
}

fn emit(address: SocketAddr, out: &mut Vec<u8>) {
    match address.ip() {
        IpAddr::V4(v4) => {
            out.push(4);
            out.extend_from_slice(&v4.octets());
        }
        IpAddr::V6(v6) => {
            out.push(16);
            out.extend_from_slice(&v6.octets());
        }
    }
    out.extend_from_slice(&address.port().to_be_bytes());
}

async fn read_address(wire: &mut Wire) -> Result<SocketAddr> {
    let mut len = [0];
    wire.read_exact(&mut len).await?;
    let ip: IpAddr = match len[0] {
        4 => {
            let mut octets = [0; 4];
            wire.read_exact(&mut octets).await?;
            Ipv4Addr::from(octets).into()
        }
        16 => {
            let mut octets = [0; 16];
            wire.read_exact(&mut octets).await?;
            Ipv6Addr::from(octets).into()
        }
        other => return Err(Error::new(ErrorKind::InvalidData, format!("expected 4 or 16, got {other}"))),
    };
    let mut port = [0; 2];
    wire.read_exact(&mut port).await?;
    Ok(SocketAddr::new(ip, u16::from_be_bytes(port)))
}
