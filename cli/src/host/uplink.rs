//! How an uplink is written on the command line: `SPEC[@WEIGHT]`.
//!
//! ```text
//! 10.81.201.18@3       the interface that has this address, and this source address
//! 2001:db8::7@2        the same; brackets, [2001:db8::7]@2, are welcome
//! wlan0@3              the interface, whatever addresses it has
//! 10.0.0.2%wlan0@3     both
//! auto                 what `ropewalk list` shows as used
//! socks5://HOST:PORT   another proxy: see `upstream`
//! ```

use super::prefix;
use super::upstream::{self, UpstreamArg};
use ropewalk_core::machine::Device;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The largest weight of an uplink.
pub(crate) const MAX_WEIGHT: u32 = 65_535;

/// An uplink as it was written. Nothing of it has been held against the host yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct UplinkArg {
    /// What was written, without the weight.
    pub(crate) label: String,
    /// What is meant by it.
    pub(crate) selector: Selector,
    /// Its share among the others: 1 to [`MAX_WEIGHT`].
    pub(crate) weight: u32,
}

/// What an uplink is given by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Selector {
    /// All interfaces that are fit.
    Auto,
    /// The name of an interface.
    Interface(String),
    /// An address of this host.
    Address(IpAddr),
    /// An address, and the name of the interface that has it.
    Both(IpAddr, String),
    /// Another proxy.
    Upstream(UpstreamArg),
}

impl UplinkArg {
    /// `auto` with weight 1: what is meant when nothing is written.
    pub(crate) fn auto() -> Self {
        UplinkArg { label: "auto".to_string(), selector: Selector::Auto, weight: 1 }
    }

    /// The interface that it names; `None`: none.
    pub(crate) fn device(&self) -> Option<Device> {
        match &self.selector {
            Selector::Interface(name) | Selector::Both(_, name) => Device::new(name),
            Selector::Auto | Selector::Address(_) | Selector::Upstream(_) => None,
        }
    }
}

impl fmt::Display for UplinkArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.label, self.weight)
    }
}

impl FromStr for UplinkArg {
    type Err = String;

    fn from_str(written: &str) -> Result<Self, String> {
        match parse(written)? {
            UplinkArg { selector: Selector::Upstream(_), label, .. } => Err(format!(
                "expected a link of this host, got the proxy {label}: it is for `ropewalk dispatch`"
            )),
            link => Ok(link),
        }
    }
}

/// Reads `SPEC[@WEIGHT]`.
pub(crate) fn parse(written: &str) -> Result<UplinkArg, String> {
    if let Some((scheme, rest)) = written.split_once("://") {
        return upstream::parse(scheme, rest);
    }
    let (label, weight) = match written.split_once('@') {
        None => (written, 1),
        Some((label, text)) => (label, weight(text, label, written)?),
    };
    if label.is_empty() {
        return Err(format!(
            "expected an address of this host, an interface or `auto`, got nothing{}",
            if written.is_empty() { String::new() } else { format!(" before the @ in {written:?}") }
        ));
    }
    Ok(UplinkArg { label: label.to_string(), selector: selector(label)?, weight })
}

fn weight(text: &str, label: &str, written: &str) -> Result<u32, String> {
    if text.strip_prefix("if").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) {
        return Err(format!(
            "expected a weight after the @ in {written:?}, got {text:?}: `ip link` shows a pair's other end \
             there, the interface itself is called {label:?}; write {label} or {label}@WEIGHT"
        ));
    }
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(weight @ 1..=MAX_WEIGHT) if digits => Ok(weight),
        _ => {
            let got = if text.is_empty() { "nothing".to_string() } else { format!("{text:?}") };
            Err(format!(
                "expected a whole number from 1 to {MAX_WEIGHT} as the weight after the @ in {written:?}, \
                 got {got}"
            ))
        }
    }
}

fn selector(label: &str) -> Result<Selector, String> {
    if label == "auto" {
        return Ok(Selector::Auto);
    }
    // [2001:db8::7], [fe80::1%eth0] and [fe80::1]%eth0
    let bare = match label.strip_prefix('[') {
        None => label.to_string(),
        Some(rest) => match rest.split_once(']') {
            Some((inside, "")) => inside.to_string(),
            Some((inside, after)) if after.starts_with('%') => format!("{inside}{after}"),
            Some((_, after)) if after.starts_with(':') => return Err(no_port(label)),
            _ => {
                return Err(format!("expected [ADDRESS] or [ADDRESS]%INTERFACE, got {label:?}"));
            }
        },
    };
    match bare.split_once('%') {
        Some((ip, name)) => Ok(Selector::Both(address(ip, label)?, interface(name, label)?)),
        None if looks_like_address(&bare) || label.starts_with('[') => {
            Ok(Selector::Address(address(&bare, label)?))
        }
        None => Ok(Selector::Interface(interface(&bare, label)?)),
    }
}

/// Whether an address was meant: no interface is called `10.0.0`, none has a colon or a slash in
/// its name.
fn looks_like_address(text: &str) -> bool {
    let digits_and_dots = text.contains('.') && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let with_more = text.contains(['/', ':']) && text.starts_with(|c: char| c.is_ascii_digit() || c == ':');
    let v6 = text.bytes().filter(|b| *b == b':').count() > 1;
    digits_and_dots || with_more || v6
}

fn address(text: &str, label: &str) -> Result<IpAddr, String> {
    let Ok(ip) = text.parse::<IpAddr>() else {
        if text.parse::<std::net::SocketAddr>().is_ok() {
            return Err(no_port(label));
        }
        if let Some((ip, _)) = text.split_once('/').filter(|(ip, _)| ip.parse::<IpAddr>().is_ok()) {
            return Err(format!("expected an address without its prefix, got {label:?}: write {ip}"));
        }
        return Err(format!("expected an IPv4 or IPv6 address of this host, got {text:?} in {label:?}"));
    };
    let ip = ip.to_canonical();
    if ip.is_unspecified() || ip.is_multicast() || matches!(ip, IpAddr::V4(v4) if v4.is_broadcast()) {
        return Err(format!("expected an address that an interface of this host can have, got {label:?}"));
    }
    Ok(ip)
}

fn no_port(label: &str) -> String {
    format!(
        "expected an address of this host without a port, got {label:?}: an uplink is a way out, \
         upstream endpoints ADDRESS:PORT are given with --tunnel"
    )
}

pub(super) fn interface(name: &str, label: &str) -> Result<String, String> {
    if name.is_empty() {
        return Err(format!("expected the name of an interface after the % in {label:?}, got nothing"));
    }
    if let Some((real, _)) = name.split_once(':').filter(|_| cfg!(target_os = "linux")) {
        return Err(format!(
            "expected the name of an interface, got {name:?}: what follows the colon labels an address of \
             {real}; write that address instead"
        ));
    }
    // Linux's own rules; names elsewhere may have spaces and be longer.
    if cfg!(target_os = "linux") && (Device::new(name).is_none() || name == "." || name == "..") {
        return Err(format!(
            "expected the name of an interface, at most {} bytes without space or slash, got {name:?}",
            Device::MAX
        ));
    }
    Ok(name.to_string())
}

/// Whether a source address reaches beyond its own link, in words for a warning when it does not.
pub(super) fn shortcoming(ip: IpAddr) -> Option<&'static str> {
    if ip.is_loopback() {
        Some("is a loopback address: it reaches nothing but this host")
    } else if prefix::is_link_local(ip) {
        Some("is a link-local address: it reaches nothing but its own link")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fixtures::ip;

    fn read(text: &str) -> (Selector, u32) {
        let arg = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        (arg.selector, arg.weight)
    }

    fn refused(text: &str, words: &[&str]) {
        let error = parse(text).expect_err(text);
        for word in words {
            assert!(error.contains(word), "{text}: expected {word:?} in {error:?}");
        }
    }

    #[test]
    fn addresses_names_both_and_auto_are_understood_with_and_without_a_weight() {
        assert_eq!(read("10.81.201.18@3"), (Selector::Address(ip("10.81.201.18")), 3));
        assert_eq!(read("10.81.201.18"), (Selector::Address(ip("10.81.201.18")), 1));
        assert_eq!(read("2001:db8::7@2"), (Selector::Address(ip("2001:db8::7")), 2));
        assert_eq!(read("[2001:db8::7]@2"), (Selector::Address(ip("2001:db8::7")), 2));
        assert_eq!(read("wlan0@65535"), (Selector::Interface("wlan0".into()), 65_535));
        assert_eq!(read("10.0.0.2%wlan0@3"), (Selector::Both(ip("10.0.0.2"), "wlan0".into()), 3));
        assert_eq!(read("[fe80::1]%eth0"), (Selector::Both(ip("fe80::1"), "eth0".into()), 1));
        assert_eq!(read("[fe80::1%eth0]@4"), (Selector::Both(ip("fe80::1"), "eth0".into()), 4));
        assert_eq!(read("auto"), (Selector::Auto, 1));
        assert_eq!(read("auto@2"), (Selector::Auto, 2));
    }

    #[test]
    fn an_interface_may_be_called_almost_anything() {
        for name in ["eth0.100", "br-lan", "enp3s0f1np1", "wwp0s20f0u2i4", "0", "fe80", "10.vlan", "a-b_c"] {
            assert_eq!(read(name), (Selector::Interface(name.into()), 1));
        }
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address_it_stands_for() {
        assert_eq!(read("::ffff:10.0.0.2"), (Selector::Address(ip("10.0.0.2")), 1));
    }

    #[test]
    fn the_label_is_what_was_written_without_the_weight() {
        assert_eq!(parse("[2001:db8::7]@2").map(|arg| arg.label), Ok("[2001:db8::7]".into()));
        assert_eq!(parse("wlan0@3").map(|arg| arg.to_string()), Ok("wlan0@3".into()));
    }

    #[test]
    fn a_bad_weight_is_told_with_what_was_expected_and_where() {
        for bad in ["0", "-1", "x", "1.5", "65536", "99999999999", "+3", " 3", "3 ", "1@2", "٣"] {
            let text = format!("wlan0@{bad}");
            refused(&text, &["from 1 to 65535", &format!("{text:?}"), &format!("got {bad:?}")]);
        }
        refused("wlan0@", &["from 1 to 65535", "\"wlan0@\"", "got nothing"]);
    }

    #[test]
    fn nothing_before_the_weight_is_refused() {
        refused("", &["expected an address", "got nothing"]);
        refused("@3", &["got nothing", "\"@3\""]);
        refused("10.0.0.2%@3", &["after the %", "got nothing"]);
        refused("%wlan0", &["expected an IPv4 or IPv6 address"]);
    }

    #[test]
    fn a_name_copied_from_ip_link_gets_the_name_without_the_other_end() {
        for text in ["wlan0@if3", "veth0@if2:", "veth0@if12@2"] {
            refused(text, &["`ip link`", "write "]);
        }
        refused("veth0@if2", &["write veth0 or veth0@WEIGHT"]);
    }

    #[test]
    fn an_address_that_is_none_says_what_is_wrong_with_it() {
        refused("10.0.0.256", &["expected an IPv4 or IPv6 address", "10.0.0.256"]);
        refused("10.0.0", &["expected an IPv4 or IPv6 address"]);
        refused("2001:db8::7::1", &["expected an IPv4 or IPv6 address"]);
        refused("10.0.0.2/24@3", &["without its prefix", "write 10.0.0.2"]);
        refused("10.0.0.2:8080", &["without a port", "--tunnel"]);
        refused("[::1]:8080@2", &["without a port", "--tunnel"]);
        refused("[2001:db8::7", &["[ADDRESS]"]);
        refused("[2001:db8::7]x", &["expected [ADDRESS] or [ADDRESS]%INTERFACE"]);
        for text in ["0.0.0.0", "::", "224.0.0.1", "255.255.255.255", "ff02::1"] {
            refused(text, &["an interface of this host can have", text]);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_name_linux_would_refuse_is_refused() {
        refused("a-name-of-16-byt", &["at most 15 bytes"]);
        refused("wlan 0", &["without space"]);
        refused("..", &["expected"]);
        refused("eth0:1", &["labels an address of eth0"]);
    }
}
