//! What every service that relays connections has to tell.

use super::flood::Flood;
use super::reasons::{self, REASONS};
use ropewalk_core::machine::Fault;
use ropewalk_core::machine::event::{Event, Excess, FixedLimit, Refusal};
use ropewalk_core::time::Instant;
use std::fmt;
use std::net::SocketAddr;
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
    connections: Limit,
    descriptors: Limit,
    buffers: Limit,
    heads: Limit,
    clients: Limit,
    lookups: Limit,
    requests: Limit,
    memory: Limit,
    handshakes: Limit,
    associations: Limit,
    attempts: Limit,
    quarantine: Limit,
    wrong_logins: Flood,
    login_ignored: AtomicBool,
}

/// A limit: how often it was hit, and the lines that say so.
#[derive(Default)]
struct Limit {
    hits: AtomicU64,
    flood: Flood,
}

impl Limit {
    fn hit(&self, now: Instant, text: fmt::Arguments<'_>) {
        add(&self.hits);
        self.flood.warn(now, text);
    }
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

    /// Counts an event and logs it; false where it is not about what all services have.
    pub(crate) fn event(&self, now: Instant, event: &Event) -> bool {
        match event {
            Event::Refused { conn, client, why } => {
                self.refused(why);
                log::debug!("{conn:?}: {client} refused: {why}");
                self.warn_of_refusal(now, *client, why);
            }
            Event::Moved { sent, received } => {
                self.sent.fetch_add(*sent, Ordering::Relaxed);
                self.received.fetch_add(*received, Ordering::Relaxed);
            }
            Event::Closed { conn, sent, received, lasted, fault: None } => {
                add(&self.closed);
                log::debug!("{conn:?}: closed after {lasted:?}: {sent} bytes up, {received} down");
            }
            Event::Closed { conn, sent, received, lasted, fault: Some(fault) } => {
                add(&self.closed);
                add(&self.broken);
                log::debug!("{conn:?}: {fault} after {lasted:?}: {sent} bytes up, {received} down");
            }
            Event::LoginIgnored { client } => {
                if !self.login_ignored.swap(true, Ordering::Relaxed) {
                    let ip = client.ip();
                    log::info!(
                        "{ip} offers a login, and none is asked for here: any is taken (--auth-file asks)"
                    );
                }
            }
            other => return self.limit(now, other),
        }
        true
    }

    /// Warns of a refusal that somebody may want to do something about.
    fn warn_of_refusal(&self, now: Instant, client: SocketAddr, why: &Refusal) {
        match why {
            Refusal::CrowdedOut { limit } => self.handshakes.hit(
                now,
                format_args!(
                    "{limit} handshakes are incomplete in this worker: the oldest go for new ones \
                     (--max-handshakes)"
                ),
            ),
            Refusal::AssociationLimit { limit } => self.associations.hit(
                now,
                format_args!(
                    "{limit} UDP associations are open in this worker: another was refused (--max-associations)"
                ),
            ),
            Refusal::BadCredentials => {
                self.wrong_logins.warn(now, format_args!("wrong user or password from {}", client.ip()));
            }
            Refusal::RequestTooLarge(excess) | Refusal::ResponseTooLarge(excess) => {
                let switch = match excess {
                    Excess::Bytes(_) => "--max-head-size",
                    Excess::Fields(_) => "--max-header-fields",
                };
                self.heads.hit(now, format_args!("{why} ({switch})"));
            }
            _ => {}
        }
    }

    /// Counts that a limit was hit and warns of it; false where the event is about none.
    fn limit(&self, now: Instant, event: &Event) -> bool {
        match event {
            Event::ConnectionLimit { limit } => self.connections.hit(
                now,
                format_args!("{limit} connections are open in this worker: new ones wait (--max-connections)"),
            ),
            Event::ClientLimit { client, limit } => self.clients.hit(
                now,
                format_args!(
                    "{client} has {limit} connections in this worker: another was reset \
                     (--max-client-connections)"
                ),
            ),
            Event::LookupLimit { client, limit } => self.lookups.hit(
                now,
                format_args!("{limit} names of {client} are being looked up: more wait (--max-lookups)"),
            ),
            Event::KeptLimit { limit } => self.requests.hit(
                now,
                format_args!(
                    "clients have {limit} bytes of requests waiting: the rest waits (--max-request-memory)"
                ),
            ),
            Event::SocketMemory { used, limit, ended } => self.memory.hit(
                now,
                format_args!(
                    "the system keeps {used} bytes for the sockets of this worker, more than {limit}: {ended} \
                     stalled connections were reset, new ones wait while that is not enough \
                     (--max-socket-memory)"
                ),
            ),
            Event::AcceptPaused { listener, fault } => {
                let mend = if *fault == Fault::NoDescriptors { " (ulimit -n)" } else { "" };
                self.descriptors.hit(
                    now,
                    format_args!("listener {}: cannot accept: {fault}; pausing{mend}", listener.0),
                );
            }
            Event::FixedLimit { which: FixedLimit::Attempts, limit } => self.attempts.hit(
                now,
                format_args!("{limit} attempts were made for one connection: no more are"),
            ),
            Event::FixedLimit { which: FixedLimit::Quarantine, limit } => self.quarantine.hit(
                now,
                format_args!(
                    "{limit} ports of balancers are in quarantine: the longest silent one is forgotten"
                ),
            ),
            Event::BuffersExhausted { limit } => self.buffers.hit(
                now,
                format_args!("all {limit} relay buffers are in use: relaying in small pieces (--max-buffers)"),
            ),
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
            ("connections", get(&self.connections.hits)),
            ("descriptors", get(&self.descriptors.hits)),
            ("buffers", get(&self.buffers.hits)),
            ("heads", get(&self.heads.hits)),
            ("clients", get(&self.clients.hits)),
            ("lookups", get(&self.lookups.hits)),
            ("requests", get(&self.requests.hits)),
            ("socket_memory", get(&self.memory.hits)),
            ("handshakes", get(&self.handshakes.hits)),
            ("associations", get(&self.associations.hits)),
            ("attempts", get(&self.attempts.hits)),
            ("quarantine", get(&self.quarantine.hits)),
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
