//! From what was written to what a socket is bound to, held against a snapshot of the links.
//!
//! An address binds to its interface and to itself; a name binds to the interface alone, so that
//! its addresses may change. What may still come (an interface that is unplugged) is a warning,
//! what cannot be meant is an error.

use super::links::Link;
use super::prefix::{self, Prefix};
use super::select;
use super::uplink::{MAX_WEIGHT, Selector, UplinkArg, shortcoming};
use super::upstream::UpstreamArg;
use ropewalk_core::machine::{Device, UplinkSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An uplink, ready for use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct UplinkSpec {
    /// As it was written, without the weight.
    pub(crate) label: String,
    /// 1 to [`MAX_WEIGHT`].
    pub(crate) weight: u32,
    /// Leave through this device. `None` only where the system's name for it does not fit.
    pub(crate) device: Option<Device>,
    /// Leave with this source, where an IPv4 address was written. Such an uplink is for IPv4 alone.
    pub(crate) source_v4: Option<Ipv4Addr>,
    /// Leave with this source, where an IPv6 address was written. Such an uplink is for IPv6 alone.
    pub(crate) source_v6: Option<Ipv6Addr>,
    /// The networks on the link itself; of an uplink given by address those of its family.
    pub(crate) on_link: Vec<Prefix>,
    /// The proxy that it leads to; the device is then the way there.
    pub(crate) upstream: Option<UpstreamArg>,
    /// What a person should know before relying on it.
    pub(crate) warnings: Vec<String>,
}

impl UplinkSpec {
    /// Whether connections of this family may leave by it.
    pub(crate) fn carries(&self, v6: bool) -> bool {
        match (self.source_v4, self.source_v6) {
            (None, None) => true,
            (_, source) if v6 => source.is_some(),
            (source, _) => source.is_some(),
        }
    }

    fn path(&self) -> (Option<Device>, Option<Ipv4Addr>, Option<Ipv6Addr>, Option<&UpstreamArg>) {
        (self.device, self.source_v4, self.source_v6, self.upstream.as_ref())
    }
}

/// What a command line comes to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Matched {
    /// In the order written, `auto` in its place. Empty when `auto` found none.
    pub(crate) uplinks: Vec<UplinkSpec>,
    /// What `auto` left out: name, and why in plain words.
    pub(crate) left_out: Vec<(String, String)>,
}

/// All uplinks of a command line. `auto` adds the interfaces that are not also written out.
pub(crate) fn match_all(args: &[UplinkArg], links: &[Link]) -> Result<Matched, String> {
    let mut matched = Matched::default();
    let mut positions: Vec<usize> = Vec::new();
    let written: Vec<UplinkSpec> = args
        .iter()
        .filter(|arg| arg.selector != Selector::Auto)
        .map(|arg| match_one(arg, links))
        .collect::<Result<_, _>>()?;
    let named: Vec<Option<Device>> =
        written.iter().filter(|spec| spec.upstream.is_none()).map(|spec| spec.device).collect();
    let mut written = written.into_iter();
    for (at, arg) in args.iter().enumerate() {
        let before = matched.uplinks.len();
        if arg.selector == Selector::Auto {
            let selection = select::auto(links);
            matched.left_out.extend(selection.left_out);
            for uplink in selection.uplinks {
                let spec = match_one(&UplinkArg { weight: arg.weight, ..uplink }, links)?;
                if spec.device.is_none() || !named.contains(&spec.device) {
                    matched.uplinks.push(spec);
                }
            }
        } else {
            matched.uplinks.extend(written.next());
        }
        positions.resize(matched.uplinks.len(), at + 1);
        for new in before..matched.uplinks.len() {
            if let Some(old) =
                (0..new).find(|old| matched.uplinks[*old].path() == matched.uplinks[new].path())
            {
                return Err(same(
                    (&matched.uplinks[old], positions[old]),
                    (&matched.uplinks[new], positions[new]),
                ));
            }
        }
    }
    if matched.uplinks.len() > UplinkSet::CAPACITY {
        return Err(format!(
            "expected at most {} uplinks, got {}",
            UplinkSet::CAPACITY,
            matched.uplinks.len()
        ));
    }
    Ok(matched)
}

fn same((one, at): (&UplinkSpec, usize), (two, then): (&UplinkSpec, usize)) -> String {
    let sum = (one.weight + two.weight).min(MAX_WEIGHT);
    format!(
        "expected each uplink once, got the same way out twice: {} at position {at} and {} at position {then}; \
         keep one, with the weight of both: {}@{sum}",
        one.label, two.label, one.label
    )
}

/// One uplink. `auto` is several, or none: see [`match_all`].
pub(crate) fn match_one(arg: &UplinkArg, links: &[Link]) -> Result<UplinkSpec, String> {
    let (link, name, source) = match &arg.selector {
        Selector::Auto => return Err("expected one uplink, got auto, which stands for several".to_string()),
        Selector::Interface(name) => (links.iter().find(|link| link.name == *name), name.as_str(), None),
        Selector::Address(ip) => {
            let link = owner(*ip, links)?;
            (Some(link), link.name.as_str(), Some(*ip))
        }
        Selector::Both(ip, name) => (has(*ip, name, links)?, name.as_str(), Some(*ip)),
        Selector::Upstream(upstream) => return Ok(proxy(arg, upstream, links)),
    };
    let mut spec = UplinkSpec {
        label: arg.label.clone(),
        weight: arg.weight,
        device: Device::new(name),
        source_v4: None,
        source_v6: None,
        on_link: Vec::new(),
        upstream: None,
        warnings: Vec::new(),
    };
    match source {
        Some(IpAddr::V4(ip)) => spec.source_v4 = Some(ip),
        Some(IpAddr::V6(ip)) => spec.source_v6 = Some(ip),
        None if spec.device.is_none() => unbindable(&mut spec, link),
        None => {}
    }
    match link {
        None => {
            let others: Vec<&str> =
                links.iter().filter(|link| !link.loopback).map(|link| link.name.as_str()).collect();
            let others = others.join(", ");
            spec.warnings.push(format!(
                "there is no interface {name} now; it is used once it comes (there are {others})"
            ));
        }
        Some(link) => {
            spec.on_link = link.networks();
            let (v4, v6) = (spec.carries(false), spec.carries(true));
            spec.on_link.retain(|(ip, _)| if ip.is_ipv6() { v6 } else { v4 });
            spec.warnings.extend(warnings(link, source, links));
        }
    }
    Ok(spec)
}

/// A proxy as an uplink: the interface, if one is written, is the way to it.
fn proxy(arg: &UplinkArg, upstream: &UpstreamArg, links: &[Link]) -> UplinkSpec {
    let name = upstream.interface.as_deref();
    let missing = name.filter(|name| links.iter().all(|link| link.name != *name));
    UplinkSpec {
        label: arg.label.clone(),
        weight: arg.weight,
        device: name.and_then(Device::new),
        source_v4: None,
        source_v6: None,
        on_link: Vec::new(),
        upstream: Some(upstream.clone()),
        warnings: missing
            .map(|name| format!("there is no interface {name} now; {} is used once it comes", arg.label))
            .into_iter()
            .collect(),
    }
}

/// A name no socket can be bound to (Windows): the addresses of now stand for it.
fn unbindable(spec: &mut UplinkSpec, link: Option<&Link>) {
    for address in link.into_iter().flat_map(Link::usable) {
        match address.ip {
            IpAddr::V4(ip) => spec.source_v4 = spec.source_v4.or(Some(ip)),
            IpAddr::V6(ip) => spec.source_v6 = spec.source_v6.or(Some(ip)),
        }
    }
    spec.warnings.push(format!(
        "{} cannot be bound to by name here: its present addresses are used, and a change is not followed",
        spec.label
    ));
}

/// The one interface that has `ip`.
fn owner(ip: IpAddr, links: &[Link]) -> Result<&Link, String> {
    let mut owners = links.iter().filter(|link| link.has(ip));
    match (owners.next(), owners.next()) {
        (Some(link), None) => Ok(link),
        (Some(one), Some(two)) => Err(format!(
            "expected an address of one interface, but {ip} is on both {} and {}: write {ip}%{} or {ip}%{}",
            one.name, two.name, one.name, two.name
        )),
        (None, _) => {
            Err(format!("expected an address of this host, got {ip}; there are {}", addresses(links)))
        }
    }
}

/// The interface `name`, if it is there; then it must have `ip`.
fn has<'a>(ip: IpAddr, name: &str, links: &'a [Link]) -> Result<Option<&'a Link>, String> {
    let Some(link) = links.iter().find(|link| link.name == name) else {
        return Ok(None);
    };
    if link.has(ip) {
        return Ok(Some(link));
    }
    let elsewhere = links.iter().find(|link| link.has(ip));
    let hint = elsewhere.map(|other| format!("; {ip} is on {}", other.name)).unwrap_or_default();
    let own = addresses(std::slice::from_ref(link));
    Err(format!("expected an address of {name}, got {ip}; there are {own}{hint}"))
}

/// The usable addresses of `links`, for an error message.
fn addresses(links: &[Link]) -> String {
    let each = |link: &Link| link.usable().map(|a| format!("{} ({})", a.ip, link.name)).collect::<Vec<_>>();
    let all: Vec<String> = links.iter().flat_map(each).collect();
    if all.is_empty() { "none that reach beyond their own link".to_string() } else { all.join(", ") }
}

fn warnings(link: &Link, source: Option<IpAddr>, links: &[Link]) -> Vec<String> {
    let name = &link.name;
    let mut warnings = Vec::new();
    if !link.up {
        let why = if link.enabled { "has no carrier" } else { "is switched off" };
        let mend =
            if link.enabled { String::new() } else { format!("; switch it on: ip link set {name} up") };
        warnings.push(format!("{name} {why}; it is used once it is up{mend}"));
    }
    if let Some(shortcoming) = source.and_then(shortcoming) {
        warnings.push(format!("{} {shortcoming}", source.map(|ip| ip.to_string()).unwrap_or_default()));
    } else if link.loopback {
        warnings.push(format!("{name} is the loopback: it reaches nothing but this host"));
    } else if !link.up {
        // Linux removes addresses and routes with the link: their absence needs no warning.
    } else if source.is_none() && link.usable().next().is_none() {
        warnings.push(format!("{name} has no address that reaches beyond its own link"));
    } else {
        warnings.extend(without_route(link, source, links));
    }
    warnings
}

/// Without a default route of the interface Linux takes every IPv4 address for on-link there, and
/// connections hang.
fn without_route(link: &Link, source: Option<IpAddr>, links: &[Link]) -> Option<String> {
    let name = &link.name;
    let families: &[bool] = match source {
        Some(ip) => &[ip.is_ipv6()][..],
        None => &[false, true],
    };
    for v6 in families {
        if link.default_route(*v6, source).ok()?.is_some() {
            return None;
        }
    }
    let own = link.usable().find(|a| source.is_none_or(|source| source == a.ip))?;
    let routes = link.defaults.as_deref().unwrap_or_default();
    if let Some(route) = routes.iter().find(|route| route.v6 == own.ip.is_ipv6()) {
        let (ip, table) = (own.ip, route.table);
        let by_source = link.default_route(route.v6, Some(ip)).is_ok_and(|route| route.is_some());
        let written = if by_source { format!(" write {ip}%{name}, or") } else { String::new() };
        let family = if route.v6 { "-6 " } else { "" };
        return Some(format!(
            "{name} has its default route in table {table}, which no rule opens to sockets bound to {name} \
             alone:{written} add a rule: ip {family}rule add oif {name} lookup {table}"
        ));
    }
    let metric = free_metric(own.ip.is_ipv6(), links);
    let family = if own.ip.is_ipv6() { "-6 " } else { "" };
    let router = if own.peer.is_some() { None } else { prefix::likely_router(own.ip, own.prefix_len) };
    let (example, via) = match router {
        Some(router) => (format!(", for instance, if its router is {router}"), format!("via {router} ")),
        None => (String::new(), String::new()),
    };
    Some(format!(
        "{name} has no default route, and without one Linux reaches only its own network through it; add one\
         {example}: ip {family}route add default {via}dev {name} metric {metric}"
    ))
}

/// A metric that no default route of the family has: Linux refuses a second one with the same.
fn free_metric(v6: bool, links: &[Link]) -> u32 {
    let taken = |metric: &u32| {
        let mut routes = links.iter().flat_map(|link| link.defaults.iter().flatten());
        routes.any(|route| route.v6 == v6 && route.metric == *metric)
    };
    (200..).find(|metric| !taken(metric)).unwrap_or(200)
}

/// What goes out unbound: the prefixes on-link on interfaces that are no uplink, and loopback. A
/// prefix that is on-link on an uplink too is that uplink's.
pub(crate) fn unbound_prefixes(links: &[Link], uplinks: &[UplinkSpec]) -> Vec<Prefix> {
    let mut prefixes: Vec<Prefix> =
        vec![(Ipv4Addr::new(127, 0, 0, 0).into(), 8), (Ipv6Addr::LOCALHOST.into(), 128)];
    let is_uplink = |link: &Link| {
        let source = |spec: &UplinkSpec, ip: IpAddr| {
            spec.source_v4.map(IpAddr::from) == Some(ip) || spec.source_v6.map(IpAddr::from) == Some(ip)
        };
        let links = uplinks.iter().filter(|spec| spec.upstream.is_none());
        links.into_iter().any(|spec| match spec.device {
            Some(device) => device.as_str() == link.name,
            None => link.addresses.iter().any(|address| source(spec, address.ip)),
        })
    };
    for link in links.iter().filter(|link| link.up && !is_uplink(link)) {
        for prefix in link.networks() {
            let taken = uplinks.iter().any(|spec| spec.on_link.contains(&prefix));
            if !taken && !prefixes.contains(&prefix) && !prefix.0.is_loopback() {
                prefixes.push(prefix);
            }
        }
    }
    prefixes
}

#[cfg(test)]
#[path = "matching_tests.rs"]
mod tests;
