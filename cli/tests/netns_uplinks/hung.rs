//! Where the bytes of a tunnel stand that does not move: what the system says of its four sockets.
//!
//! ```text
//!   client ── port ─▶ proxy ── bound ─▶ echo        in this namespace, and in the far one
//! ```
//!
//! A timer that has backed off tells of TCP (`timer:(on,52sec,7)`), a queue that is full at the
//! proxy while the next one is empty tells of the proxy.

use crate::common::ns::Ns;
use std::process::Command;

/// What holds bytes back beyond one tunnel: the host's memory, timers, drops.
const COUNTERS: [&str; 8] = [
    "TcpExtTCPTimeouts",
    "TcpExtTCPMemoryPressures",
    "TcpExtTCPRcvQDrop",
    "TcpExtTCPOFODrop",
    "TcpExtTCPBacklogDrop",
    "TcpExtPruneCalled",
    "TcpExtRcvPruned",
    "TcpExtTCPZeroWindowDrop",
];

fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    output.map_or_else(|error| error.to_string(), |output| String::from_utf8_lossy(&output.stdout).into())
}

/// Of the tunnel whose client has the first port, and whose proxy leaves by the second; asked in
/// the namespace of both.
pub(crate) fn look(far: &Ns, [client, bound]: [u16; 2]) -> String {
    let near = format!("sport = :{client} or dport = :{client} or sport = :{bound}");
    let distant = format!("dport = :{bound}");
    let beyond = ["netns", "exec", far.name(), "ss", "-tinmo", &distant];
    [said("ss", &["-tinmop", &near]), said("ip", &beyond), counters()].concat()
}

/// Of this namespace, and what the host's sockets have of its memory.
pub(crate) fn counters() -> String {
    let counted = said("nstat", &[&["-az"][..], &COUNTERS].concat());
    counted + &std::fs::read_to_string("/proc/net/sockstat").unwrap_or_default()
}

/// Pages that the host's sockets have, of what `net.ipv4.tcp_mem` gives them.
pub(crate) fn pages() -> u64 {
    let text = std::fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    let tcp = text.lines().find(|line| line.starts_with("TCP:")).unwrap_or_default();
    tcp.rsplit(' ').next().and_then(|pages| pages.parse().ok()).unwrap_or_default()
}
