//! What `unwrap` counts and logs of its own events.

use crate::process::watch::{Datagrams, Flood, Relays, add, get};
use ropewalk_core::machine::event::{Dropped, Event, FlowEnd, Refusal};
use ropewalk_core::time::Instant;
use std::fmt;
use std::sync::atomic::AtomicU64;

#[derive(Default)]
pub(crate) struct UnwrapWatch {
    pub(crate) relays: Relays,
    pub(crate) ports_changed: AtomicU64,
    pub(crate) flows_opened: AtomicU64,
    pub(crate) flows_closed: AtomicU64,
    pub(crate) flows_evicted: AtomicU64,
    pub(crate) flows_failed: AtomicU64,
    /// Errors that the system reported on flows' sockets, such as "refused".
    pub(crate) flow_faults: AtomicU64,
    pub(crate) datagrams: Datagrams,
    flood_refused: Flood,
    flood_evicted: Flood,
    flood_failed: Flood,
    flood_ports: Flood,
}

impl UnwrapWatch {
    /// One line about the whole run.
    pub(crate) fn summary(&self) -> String {
        self.relays.summary(&format!(
            "{} UDP flows ({} evicted, {} failed), {} datagrams up, {} down, {} dropped",
            get(&self.flows_opened),
            get(&self.flows_evicted),
            get(&self.flows_failed),
            get(&self.datagrams.sent),
            get(&self.datagrams.received),
            self.datagrams.all_lost(),
        ))
    }

    fn flow_closed(&self, now: Instant, why: FlowEnd) {
        add(&self.flows_closed);
        match why {
            FlowEnd::Evicted { limit } => {
                add(&self.flows_evicted);
                let text =
                    format_args!("{limit} UDP flows are open: the longest idle one is ended (--max-flows)");
                self.flood_evicted.warn(now, text);
            }
            FlowEnd::Failed(_) | FlowEnd::PortConflict(_) | FlowEnd::OtherAddress(_) => {
                add(&self.flows_failed);
                self.flood_failed.warn(now, format_args!("a UDP flow has ended: {why}"));
            }
            _ => {}
        }
    }
}

/// A reason in the words of this service.
struct Reason<'a>(&'a Refusal);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Refusal::NotAllowed(to) => {
                write!(f, "its header leads to {to}, which --allow-target does not have")
            }
            Refusal::HandshakeTimeout => f.write_str("no whole header in the time set (--header-timeout)"),
            Refusal::Malformed(why) => write!(f, "malformed header: {why}"),
            Refusal::Itself(to) => write!(f, "its header leads to {to}, a listener of this unwrap itself"),
            Refusal::ClientFailed(fault) => {
                write!(f, "its connection failed before its header was whole: {fault}")
            }
            Refusal::Unreachable(fault) => write!(f, "the server was not reached: {fault}"),
            Refusal::Left => f.write_str("it left in the middle of its header"),
            other => other.fmt(f),
        }
    }
}

impl ropewalk_mio::Watch for UnwrapWatch {
    fn event(&self, now: Instant, event: &Event) {
        match event {
            Event::Refused { conn, client, why } => {
                self.relays.refused(why);
                // With -v each has its line, else at most one a second.
                match log::log_enabled!(log::Level::Debug) {
                    true => log::debug!("{conn:?}: {client} refused: {}", Reason(why)),
                    false => self.flood_refused.warn(now, format_args!("{client} refused: {}", Reason(why))),
                }
            }
            Event::Header { conn, peer, text } => log::trace!("{conn:?}: header of {peer}: {text}"),
            Event::DatagramHeader { peer, text } => log::trace!("header of {peer}: {text}"),
            Event::Unwrapped { conn, peer, client, to, took } => {
                add(&self.relays.connected);
                log::debug!("{conn:?}: {client} (by {peer}) connected to {to} in {took:?}");
            }
            Event::PortChanged { client, fault, .. } => self.port_changed(now, client, *fault),
            Event::FlowPortChanged { client, fault, .. } => self.port_changed(now, client, *fault),
            Event::TargetMoved { name, from, to } => {
                log::warn!("{name} was not reached at {from}: it is at {to} now")
            }
            Event::FlowOpened { socket, peer, client, to } => {
                add(&self.flows_opened);
                log::debug!("{socket:?}: {client} (by {peer}) speaks with {to}");
            }
            Event::FlowClosed { socket, client, sent, received, lasted, why } => {
                log::debug!(
                    "{socket:?}: {client} ended after {lasted:?}, {why}: {sent} datagrams up, {received} down"
                );
                self.flow_closed(now, *why);
            }
            Event::Datagrams { sent, received } => self.datagrams.passed(*sent, *received),
            Event::FlowFault { socket, to, fault } => {
                add(&self.flow_faults);
                log::debug!("{socket:?}: {to}: {fault}");
            }
            Event::DatagramDropped { peer, why } => {
                self.datagrams.dropped(why);
                match why {
                    Dropped::Refused(why) => self.datagrams.warn_dropped(now, peer, Reason(why)),
                    why => self.datagrams.warn_dropped(now, peer, why),
                }
            }
            Event::DatagramLost { to, fault } => self.datagrams.lost(now, to.as_ref(), *fault),
            other if self.relays.event(now, other) => {}
            other => log::debug!("{other:?}"),
        }
    }
}

impl UnwrapWatch {
    fn port_changed(
        &self,
        now: Instant,
        client: &std::net::SocketAddr,
        fault: Option<ropewalk_core::machine::Fault>,
    ) {
        add(&self.ports_changed);
        match fault {
            Some(fault) => self.flood_ports.warn(now, format_args!("{client} has got another port: {fault}")),
            None => self.flood_ports.warn(now, format_args!("{client} has got another port")),
        }
    }
}
