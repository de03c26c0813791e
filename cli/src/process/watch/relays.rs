//! What every service that relays connections has to tell.

use super::flood::Flood;
use super::reasons::{self, REASONS};
use ropewalk_core::machine::event::{Event, Excess, FixedLimit, Refusal};
use ropewalk_core::time::Instant;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What has happened to connections in the whole process.
#[derive(Default)]
pub(crate) struct Relays {
    pub(crate) connected: AtomicU64,
    pub(crate) closed: AtomicU64,
    pub(crate) broken: AtomicU64,
    /// Bytes from clients to targets.
    pub(crate) sent: AtomicU64,
    /// The same, from targets to clients.
    pub(crate) received: AtomicU64,
    pub(crate) refused: AtomicU64,
    /// By reason, in the order of [`REASONS`].
    pub(crate) refusals: [AtomicU64; REASONS.len()],
    connection_limit: AtomicU64,
    accept_paused: AtomicU64,
    buffers_exhausted: AtomicU64,
    heads_too_large: AtomicU64,
    half_open_limit: AtomicU64,
    half_open: Flood,
    association_limit: AtomicU64,
    associations: Flood,
    client_limit: AtomicU64,
    lookup_limit: AtomicU64,
    kept_limit: AtomicU64,
    socket_memory: AtomicU64,
    heads: Flood,
    clients: Flood,
    lookups: Flood,
    kept: Flood,
    memory: Flood,
    logins: Flood,
    login_warned: AtomicBool,
    attempts_exhausted: AtomicU64,
    quarantine_full: AtomicU64,
    limit: Flood,
    fixed: Flood,
    pause: Flood,
    buffers: Flood,
}

pub(crate) fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Relays {
    /// Counts a refusal.
    pub(crate) fn refused(&self, why: &Refusal) {
        add(&self.refused);
        add(&self.refusals[reasons::place(why)]);
    }

    /// Counts and tells; false where the event is not about what all services have.
    pub(crate) fn event(&self, now: Instant, event: &Event) -> bool {
        match event {
            Event::Refused { conn, client, why } => {
                self.refused(why);
                log::debug!("{conn:?}: {client} refused: {why}");
                if let Refusal::CrowdedOut { limit } = why {
                    add(&self.half_open_limit);
                    let text = format_args!(
                        "{limit} handshakes are incomplete in this worker: the oldest go for new ones (--max-handshakes)"
                    );
                    self.half_open.warn(now, text);
                }
                if let Refusal::AssociationLimit { limit } = why {
                    add(&self.association_limit);
                    let text = format_args!(
                        "{limit} UDP associations are open in this worker: another was refused (--max-associations)"
                    );
                    self.associations.warn(now, text);
                }
                if *why == Refusal::BadCredentials {
                    self.logins.warn(now, format_args!("wrong user or password from {}", client.ip()));
                }
                if let Refusal::RequestTooLarge(excess) | Refusal::ResponseTooLarge(excess) = why {
                    add(&self.heads_too_large);
                    let switch = match excess {
                        Excess::Bytes(_) => "--max-head-size",
                        Excess::Fields(_) => "--max-header-fields",
                    };
                    self.heads.warn(now, format_args!("{why} ({switch})"));
                }
            }
            Event::Moved { sent, received } => {
                self.sent.fetch_add(*sent, Ordering::Relaxed);
                self.received.fetch_add(*received, Ordering::Relaxed);
            }
            Event::Closed { conn, sent, received, lasted, fault } => {
                add(&self.closed);
                match fault {
                    None => {
                        log::debug!("{conn:?}: closed after {lasted:?}: {sent} bytes up, {received} down");
                    }
                    Some(fault) => {
                        add(&self.broken);
                        log::debug!("{conn:?}: {fault} after {lasted:?}: {sent} bytes up, {received} down");
                    }
                }
            }
            Event::ConnectionLimit { limit } => {
                add(&self.connection_limit);
                let text = format_args!(
                    "{limit} connections are open in this worker: new ones wait (--max-connections)"
                );
                self.limit.warn(now, text);
            }
            Event::ClientLimit { client, limit } => {
                add(&self.client_limit);
                let text = format_args!(
                    "{client} has {limit} connections in this worker: another was reset (--max-client-connections)"
                );
                self.clients.warn(now, text);
            }
            Event::LookupLimit { client, limit } => {
                add(&self.lookup_limit);
                let text =
                    format_args!("{limit} names of {client} are being looked up: more wait (--max-lookups)");
                self.lookups.warn(now, text);
            }
            Event::KeptLimit { limit } => {
                add(&self.kept_limit);
                let text = format_args!(
                    "clients have {limit} bytes of requests waiting: the rest waits (--max-request-memory)"
                );
                self.kept.warn(now, text);
            }
            Event::SocketMemory { used, limit, ended } => {
                add(&self.socket_memory);
                let text = format_args!(
                    "the system keeps {used} bytes for the sockets of this worker, more than {limit}: {ended} stalled \
                     connections were reset, new ones wait while that is not enough (--max-socket-memory)"
                );
                self.memory.warn(now, text);
            }
            Event::LoginIgnored { client } => {
                if !self.login_warned.swap(true, Ordering::Relaxed) {
                    let ip = client.ip();
                    log::info!(
                        "{ip} offers a login, and none is asked for here: any is taken (--auth-file asks)"
                    );
                }
            }
            Event::AcceptPaused { listener, fault } => {
                add(&self.accept_paused);
                let text =
                    format_args!("listener {}: cannot accept: {fault}; pausing (ulimit -n)", listener.0);
                self.pause.warn(now, text);
            }
            Event::FixedLimit { which: FixedLimit::Attempts, limit } => {
                add(&self.attempts_exhausted);
                let text = format_args!("{limit} attempts were made for one connection: no more are");
                self.fixed.warn(now, text);
            }
            Event::FixedLimit { which: FixedLimit::Quarantine, limit } => {
                add(&self.quarantine_full);
                let text = format_args!(
                    "{limit} ports of balancers are in quarantine: the longest silent one is forgotten"
                );
                self.fixed.warn(now, text);
            }
            Event::BuffersExhausted { limit } => {
                add(&self.buffers_exhausted);
                let text = format_args!(
                    "all {limit} relay buffers are in use: relaying in small pieces (--max-buffers)"
                );
                self.buffers.warn(now, text);
            }
            _ => return false,
        }
        true
    }
}

impl Relays {
    /// The run in one line, with the service's own figures behind. Of the limits, those that were
    /// hit.
    pub(crate) fn summary(&self, beside: &str) -> String {
        let mut line = format!(
            "{} connections relayed ({} broken), {} refused, {beside}; ",
            get(&self.connected),
            get(&self.broken),
            get(&self.refused),
        );
        let mut before = "limits hit:";
        for (limit, times) in self.limits().into_iter().filter(|(_, times)| *times > 0) {
            line.push_str(&format!("{before} {limit} {times}"));
            before = ",";
        }
        if before != "," {
            line.push_str("no limit was hit");
        }
        line
    }

    /// How often each limit was hit, by its label in the figures.
    pub(crate) fn limits(&self) -> [(&'static str, u64); 14] {
        let sockets = ropewalk_mio::limit_hits();
        [
            ("connections", get(&self.connection_limit)),
            ("descriptors", get(&self.accept_paused)),
            ("buffers", get(&self.buffers_exhausted)),
            ("heads", get(&self.heads_too_large)),
            ("clients", get(&self.client_limit)),
            ("lookups", get(&self.lookup_limit)),
            ("requests", get(&self.kept_limit)),
            ("socket_memory", get(&self.socket_memory)),
            ("handshakes", get(&self.half_open_limit)),
            ("associations", get(&self.association_limit)),
            ("attempts", get(&self.attempts_exhausted)),
            ("quarantine", get(&self.quarantine_full)),
            ("names", sockets.names),
            ("pipes", sockets.pipes),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ropewalk_core::time::Instant;

    #[test]
    fn the_summary_names_the_limits_that_were_hit_and_no_other() {
        let relays = Relays::default();
        assert!(relays.summary("0 dropped").ends_with("0 refused, 0 dropped; no limit was hit"));
        for _ in 0..2 {
            relays.event(Instant::from_nanos(0), &Event::BuffersExhausted { limit: 4 });
        }
        relays.event(Instant::from_nanos(0), &Event::FixedLimit { which: FixedLimit::Quarantine, limit: 1 });
        let summary = relays.summary("0 dropped");
        assert!(summary.ends_with("; limits hit: buffers 2, quarantine 1"), "{summary}");
    }
}
