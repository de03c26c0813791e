//! The switches that every service has, and the parsers of values that several have.

use super::runtime::Runtime;
use clap::ArgAction;
use ropewalk_mio::SocketOptions;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// What every service has.
#[derive(clap::Args, Debug, PartialEq, Eq)]
pub(crate) struct Common {
    /// Threads that move bytes; UDP is the first one's
    #[arg(
        long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=256)
    )]
    pub(crate) workers: u16,

    /// The driver that moves bytes
    #[cfg(feature = "async-std")]
    #[arg(long, value_enum, default_value_t)]
    pub(crate) runtime: Runtime,

    /// Connections open at once, shared out evenly among the workers; more wait until one ends
    /// [default: half of the descriptors there are]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_connections: Option<u32>,

    /// Connections whose handshake or header is not complete; beyond that the oldest is reset for a
    /// new one [default: half of --max-connections]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_handshakes: Option<u32>,

    /// Relay buffers of 128 KiB in use at once, in each worker; beyond that pieces of 4 KiB
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_buffers: u32,

    /// Close a connection on which nothing moves for so many seconds [default: never]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) idle_timeout: Option<Duration>,

    /// Bytes of each of the two buffers of a socket in the system
    /// [default: as the system grows them]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(4096..=1_073_741_824))]
    pub(crate) socket_buffer: Option<u32>,

    /// Memory that the system may use for what is in all socket buffers; beyond that connections
    /// that stand still are reset, the largest first, and new ones wait; 0: no bound
    /// [default: 5/6 of what net.ipv4.tcp_mem gives the host]
    #[arg(long, value_name = "BYTES")]
    pub(crate) max_socket_memory: Option<u64>,

    /// Take the switches that are not given here from this command's section of this TOML file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Tell figures over HTTP at this address of this host, ADDRESS:PORT or PORT: / for people,
    /// /metrics for Prometheus, /stats as JSON [default: off]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = stats)]
    pub(crate) stats: Option<SocketAddr>,

    /// Say more: -v each connection, -vv more of each
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Say less: -q warnings only, -qq errors only
    #[arg(short, long, action = ArgAction::Count, conflicts_with = "verbose")]
    pub(crate) quiet: u8,
}

impl Common {
    /// How many incomplete handshakes each worker may have, of `connections`.
    pub(crate) fn handshakes(&self, connections: usize) -> usize {
        let asked = self.max_handshakes.map(|all| all.div_ceil(self.workers.into()));
        asked.and_then(|each| usize::try_from(each).ok()).unwrap_or(connections.div_ceil(2))
    }

    /// What is set of all sockets.
    pub(crate) fn socket_options(&self) -> SocketOptions {
        SocketOptions { buffer: self.socket_buffer.map(|bytes| bytes as usize), ..SocketOptions::default() }
    }

    /// The driver that was asked for; in a build with one driver, that one.
    pub(crate) fn runtime(&self) -> Runtime {
        #[cfg(feature = "async-std")]
        return self.runtime;
        #[cfg(not(feature = "async-std"))]
        Runtime::default()
    }
}

/// A proxy that serves this host only is the safe reading of a lone port.
pub(crate) fn listen(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    text.parse().map_err(|_| {
        format!("expected ADDRESS:PORT such as 127.0.0.1:8080 or [::1]:8080, or a port, got '{text}'")
    })
}

/// The figures are for this host only.
pub(crate) fn stats(text: &str) -> Result<SocketAddr, String> {
    let address = listen(text)?;
    match address.ip().is_loopback() {
        true => Ok(address),
        false => Err(format!("expected an address of loopback, such as 127.0.0.1:9090, got '{text}'")),
    }
}

/// Seconds, or 0 for a time without end.
pub(crate) fn seconds_or_none(text: &str) -> Result<Duration, String> {
    if text == "0" { Ok(Duration::ZERO) } else { seconds(text) }
}

pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || format!("expected a number of seconds above 0, such as 10 or 0.5, got '{text}'");
    duration(text).filter(|duration| !duration.is_zero()).ok_or_else(wrong)
}

/// Decimal digits, with a point among them or without one.
fn duration(text: &str) -> Option<Duration> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if whole.len() + part.len() == 0 || !(whole.bytes().chain(part.bytes())).all(|byte| byte.is_ascii_digit())
    {
        return None;
    }
    let seconds = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let places = part.bytes().chain(std::iter::repeat(b'0')).take(9);
    Some(Duration::new(seconds, places.fold(0, |nanos, digit| nanos * 10 + u32::from(digit - b'0'))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_port_means_this_host_only() {
        assert_eq!(listen("5566"), Ok("127.0.0.1:5566".parse().expect("literal")));
        assert_eq!(listen("[::1]:1"), Ok("[::1]:1".parse().expect("literal")));
        assert!(listen("localhost:1").is_err_and(|e| e.contains("got 'localhost:1'")));
    }

    #[test]
    fn figures_are_told_on_loopback_only() {
        assert_eq!(stats("9090"), Ok("127.0.0.1:9090".parse().expect("literal")));
        assert_eq!(stats("[::1]:0"), Ok("[::1]:0".parse().expect("literal")));
        for bad in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "[::ffff:192.0.2.1]:1"] {
            assert!(stats(bad).is_err_and(|e| e.contains("loopback") && e.contains(bad)), "{bad}");
        }
    }

    #[test]
    fn seconds_may_be_fractions_but_not_nothing() {
        for (text, millis) in
            [("0.5", 500), (".25", 250), ("7.", 7000), ("60", 60_000), ("1.0019999999", 1001)]
        {
            let duration = seconds(text).expect(text);
            assert_eq!(duration.as_millis(), millis, "{text}");
        }
        for bad in
            ["", ".", "0", "0.0", "-1", "x", "nan", "inf", "1e99", "1.2.3", "99999999999999999999", "+1"]
        {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
