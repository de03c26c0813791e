//! Where the server is: an address and a port, or several ports in a row.

use ropewalk_core::name::{Host, Name};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs};

/// What the server speaks.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}

/// Ports in a row, both ends included; neither is 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ports {
    pub(crate) first: u16,
    pub(crate) last: u16,
}

impl Ports {
    pub(crate) fn contains(self, other: Ports) -> bool {
        self.first <= other.first && other.last <= self.last
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Ports { first, last } if first == last => write!(f, "{first}"),
            Ports { first, last } => write!(f, "{first}-{last}"),
        }
    }
}

/// An address of this host with the ports of a server: `127.0.0.1:25578`, `[::1]:25578-25580`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Target {
    pub(crate) ip: IpAddr,
    pub(crate) ports: Ports,
}

impl Target {
    pub(crate) fn is_v6(self) -> bool {
        self.ip.is_ipv6()
    }

    /// The switch that takes it.
    pub(crate) fn switch(self) -> &'static str {
        if self.is_v6() { "-6" } else { "-4" }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            IpAddr::V4(ip) => write!(f, "{ip}:{}", self.ports),
            IpAddr::V6(ip) => write!(f, "[{ip}]:{}", self.ports),
        }
    }
}

/// A server as it is written: by its address, or by a name with the same ports behind it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Wanted {
    At(Target),
    Named { name: Name, ports: Ports, v6: bool },
}

impl Wanted {
    /// The targets it stands for now: at least one.
    ///
    /// # Errors
    /// A sentence: its name has no address of this family.
    pub(crate) fn look_up(&self) -> Result<Vec<Target>, String> {
        let (name, ports, v6) = match self {
            Wanted::At(target) => return Ok(vec![*target]),
            Wanted::Named { name, ports, v6 } => (name, *ports, *v6),
        };
        let switch = self.switch();
        let found = (name.as_str(), 0).to_socket_addrs();
        let found = found.map_err(|error| format!("{switch} {self}: the name is not found: {error}"))?;
        let mut targets: Vec<Target> = Vec::new();
        for ip in found.map(|at| at.ip().to_canonical()).filter(|ip| ip.is_ipv6() == v6) {
            if !targets.iter().any(|target| target.ip == ip) {
                targets.push(definite(Target { ip, ports }, &format!("{name} ({ip})"))?);
            }
        }
        match targets.is_empty() {
            false => Ok(targets),
            true => Err(format!("{switch} {self}: the name has no address of IPv{}", if v6 { 6 } else { 4 })),
        }
    }

    /// The switch that takes it.
    pub(crate) fn switch(&self) -> &'static str {
        let v6 = match self {
            Wanted::At(target) => target.is_v6(),
            Wanted::Named { v6, .. } => *v6,
        };
        if v6 { "-6" } else { "-4" }
    }

    pub(crate) fn ports(&self) -> Ports {
        match self {
            Wanted::At(target) => target.ports,
            Wanted::Named { ports, .. } => *ports,
        }
    }

    pub(crate) fn name(&self) -> Option<&Name> {
        match self {
            Wanted::At(_) => None,
            Wanted::Named { name, .. } => Some(name),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::At(target) => target.fmt(f),
            Wanted::Named { name, ports, .. } => write!(f, "{name}:{ports}"),
        }
    }
}

/// What all of these stand for now.
pub(crate) fn look_up<'a>(wanted: impl Iterator<Item = &'a Wanted>) -> Result<Vec<Target>, String> {
    let mut all = Vec::new();
    for one in wanted {
        all.extend(one.look_up()?);
    }
    Ok(all)
}

/// Reads the value of `-4`.
pub(crate) fn wanted_v4(text: &str) -> Result<Wanted, String> {
    named(text, false).map_or_else(|| v4(text).map(Wanted::At), Ok)
}

/// Reads the value of `-6`.
pub(crate) fn wanted_v6(text: &str) -> Result<Wanted, String> {
    named(text, true).map_or_else(|| v6(text).map(Wanted::At), Ok)
}

/// A name has a letter in its last part, so that a mistyped address is none.
fn named(text: &str, v6: bool) -> Option<Wanted> {
    let (name, ports) = text.rsplit_once(':')?;
    let ports = read_ports(ports)?;
    let last = name.trim_end_matches('.').rsplit('.').next()?;
    match Host::parse(name.as_bytes()) {
        Ok(Host::Name(name)) if last.contains(|c: char| c.is_alphabetic()) => {
            Some(Wanted::Named { name, ports, v6 })
        }
        _ => None,
    }
}

fn v4(text: &str) -> Result<Target, String> {
    let wrong = || {
        format!(
            "expected IPV4:PORT, IPV4:FIRST-LAST or the same with a name, such as 127.0.0.1:25578 or \
             server:25578, got '{text}'"
        )
    };
    let (ip, ports) = text.rsplit_once(':').ok_or_else(wrong)?;
    let ip: Ipv4Addr = ip.parse().map_err(|_| wrong())?;
    let target = Target { ip: IpAddr::V4(ip), ports: read_ports(ports).ok_or_else(wrong)? };
    if ip.is_broadcast() {
        return Err(format!("expected the address of a server, got '{text}', a broadcast address"));
    }
    definite(target, text)
}

fn v6(text: &str) -> Result<Target, String> {
    let wrong = || {
        format!(
            "expected [IPV6]:PORT, [IPV6]:FIRST-LAST or the same with a name, such as [::1]:25578 or \
             server:25578, got '{text}'"
        )
    };
    let (ip, ports) = text.strip_prefix('[').and_then(|rest| rest.split_once("]:")).ok_or_else(wrong)?;
    let ip: Ipv6Addr = ip.parse().map_err(|_| wrong())?;
    let target = Target { ip: IpAddr::V6(ip), ports: read_ports(ports).ok_or_else(wrong)? };
    if let Some(v4) = ip.to_ipv4_mapped() {
        return Err(format!(
            "'{text}' is an IPv4 address in IPv6 notation: give it as -4 {v4}:{}",
            target.ports
        ));
    }
    if ip.is_unicast_link_local() {
        return Err(format!("expected an address that needs no interface beside it, got '{text}'"));
    }
    definite(target, text)
}

/// The routing rules name the address that answers come from: a wildcard is none.
fn definite(target: Target, text: &str) -> Result<Target, String> {
    if target.ip.is_unspecified() || target.ip.is_multicast() {
        return Err(format!(
            "expected the address that the server is reached at, got '{text}'; for a server on all addresses \
             give one of this host's, such as 127.0.0.1 or [::1]"
        ));
    }
    Ok(target)
}

fn read_ports(text: &str) -> Option<Ports> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| {
        // `+80` is a number to Rust.
        text.parse::<u16>().ok().filter(|port| *port > 0 && !text.starts_with('+'))
    };
    let ports = Ports { first: port(first)?, last: port(last)? };
    (ports.first <= ports.last).then_some(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_reads_as_it_is_written() {
        for text in ["127.0.0.1:25578", "10.0.0.1:1-65535"] {
            assert_eq!(v4(text).map(|target| target.to_string()).as_deref(), Ok(text));
        }
        for text in ["[::1]:25578", "[2001:db8::1]:80-90"] {
            assert_eq!(v6(text).map(|target| target.to_string()).as_deref(), Ok(text));
        }
        assert_eq!(v4("127.0.0.1:7-7").map(|target| target.to_string()).as_deref(), Ok("127.0.0.1:7"));
    }

    #[test]
    fn a_name_stands_for_its_addresses_of_one_family() {
        let four = wanted_v4("localhost:25578-25580").expect("a name");
        assert_eq!((four.to_string().as_str(), four.switch()), ("localhost:25578-25580", "-4"));
        let found = four.look_up().expect("every host has it");
        assert_eq!(found[0].to_string(), "127.0.0.1:25578-25580");
        let missing = wanted_v6("nobody.invalid:1").expect("a name").look_up();
        assert!(missing.is_err_and(|error| error.contains("-6 nobody.invalid:1")));
        for bad in ["256.0.0.1:1", "1.2.3:1", "a b:1", "server", "server:0", ":1", "::1:1"] {
            assert!(wanted_v4(bad).is_err() && wanted_v6(bad).is_err(), "{bad}");
        }
        assert!(matches!(wanted_v4("127.0.0.1:1"), Ok(Wanted::At(_))));
    }

    #[test]
    fn a_target_is_one_address_and_ports_in_order() {
        for bad in ["127.0.0.1", "127.0.0.1:0", "127.0.0.1:9-8", "127.0.0.1:+1", "localhost:1", "[::1]:1"] {
            assert!(v4(bad).is_err_and(|error| error.contains(bad)), "{bad}");
        }
        for bad in ["0.0.0.0:1", "255.255.255.255:1", "224.0.0.1:1"] {
            assert!(v4(bad).is_err_and(|error| error.contains("address")), "{bad}");
        }
        for bad in ["::1:1", "[::1]", "[::]:1", "[fe80::1]:1", "[fe80::1%1]:1", "[ff02::1]:1", "127.0.0.1:1"]
        {
            assert!(v6(bad).is_err_and(|error| error.contains(bad)), "{bad}");
        }
        assert!(v6("[::ffff:127.0.0.1]:1").is_err_and(|error| error.contains("-4 127.0.0.1:1")));
    }
}
