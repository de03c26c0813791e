//! Where a server is, as the kernel's routes tell: on this host, or behind one of its interfaces (a
//! container, a namespace).

use super::kernel::{Kernel, RTA_GATEWAY, RTA_MULTIPATH, RTA_OIF, RTA_VIA, RTM_GETROUTE, family};
use crate::host::rtnetlink::{attributes, number};
use crate::unwrap::target::Target;
use netlink_packet_core::Emitable;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType};
use std::net::IpAddr;

/// Each network namespace has its own.
pub(crate) const LO: &str = "lo";

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// The address is this host's.
    Here,
    /// It is another's, directly behind this interface.
    Behind(String),
}

impl Place {
    /// Where its answers come in.
    pub(crate) fn interface(&self) -> &str {
        match self {
            Place::Here => LO,
            Place::Behind(interface) => interface,
        }
    }
}

/// A target and where it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Placed {
    pub(crate) target: Target,
    pub(crate) place: Place,
}

/// A route, as far as it tells where its destination is.
#[derive(PartialEq, Eq, Debug)]
struct Way {
    local: bool,
    by_gateway: bool,
    interface: Option<u32>,
}

impl Kernel {
    /// Asks the kernel where `target` is.
    ///
    /// # Errors
    /// A sentence: it is where its answers cannot come back from.
    pub(crate) fn place(&mut self, target: Target) -> Result<Placed, String> {
        if target.ip.is_loopback() {
            return Ok(Placed { target, place: Place::Here });
        }
        let unknown = |why: String| format!("no route leads to {}: {why}", target.ip);
        let answer = self.0.ask(RTM_GETROUTE, &question(target.ip), way);
        let way = answer.map_err(|refusal| unknown(refusal.to_string()))?;
        let place = match way {
            Some(Way { local: true, .. }) => Place::Here,
            Some(Way { by_gateway: false, interface: Some(index), .. }) => {
                Place::Behind(self.0.name_of(index).map_err(|error| unknown(error.to_string()))?)
            }
            Some(Way { by_gateway: true, .. }) => {
                return Err(format!(
                    "{} is another host's, behind a gateway, and would answer the clients by ways of its own: \
                     expected a server on this host, or in a container or namespace directly behind it",
                    target.ip
                ));
            }
            Some(_) | None => return Err(unknown("the kernel's answer names no interface".into())),
        };
        Ok(Placed { target, place })
    }
}

fn question(to: IpAddr) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: family(to.is_ipv6()),
        destination_prefix_length: if to.is_ipv6() { 128 } else { 32 },
        ..RouteHeader::default()
    };
    message.attributes = vec![RouteAttribute::Destination(match to {
        IpAddr::V4(v4) => RouteAddress::Inet(v4),
        IpAddr::V6(v6) => RouteAddress::Inet6(v6),
    })];
    message
}

/// The route in an RTM_NEWROUTE body.
fn way(payload: &[u8]) -> Option<Way> {
    let header = RouteHeader::parse(payload).ok()?;
    let mut way = Way { local: header.kind == RouteType::Local, by_gateway: false, interface: None };
    for (attribute, value) in attributes(payload.get(header.buffer_len()..)?) {
        match attribute {
            RTA_OIF => way.interface = number(value),
            RTA_GATEWAY | RTA_VIA | RTA_MULTIPATH => way.by_gateway = true,
            _ => {}
        }
    }
    Some(way)
}
