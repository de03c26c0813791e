//! What every service that relays connections tells, under its name as a label.

use super::Samples;
use crate::process::record::Recording;
use crate::process::watch::{REASONS, Relays, get};

pub(crate) fn relays(service: &'static str, counts: &Relays, out: &mut Samples) {
    let service = ("service", service);
    // The closed ones first: a connection opened and closed in between must not make it negative.
    let closed = get(&counts.closed);
    let connected = get(&counts.connected);
    let help = "Connections that have reached their target and are open now.";
    out.gauges("open_connections", help).add(&[service], connected.saturating_sub(closed));
    let help = "Connections that have reached their target.";
    out.counters("connections_total", help).add(&[service], connected);
    let help = "Connections that ended by a fault after they had reached their target.";
    out.counters("connections_broken_total", help).add(&[service], get(&counts.broken));
    let help = "Bytes relayed by connections, as of a second ago.";
    out.counters("bytes_total", help)
        .add(&[service, ("direction", "sent")], get(&counts.sent))
        .add(&[service, ("direction", "received")], get(&counts.received));
    let help = "Connections refused before they reached a target.";
    let refused = out.counters("refused_total", help);
    for (reason, count) in REASONS.iter().zip(&counts.refusals) {
        refused.add(&[service, ("reason", reason)], get(count));
    }
    let sockets = ropewalk_mio::limit_hits();
    let help = "How often a limit was hit.";
    out.counters("limit_hits_total", help)
        .add(&[service, ("limit", "connections")], get(&counts.connection_limit))
        .add(&[service, ("limit", "descriptors")], get(&counts.accept_paused))
        .add(&[service, ("limit", "buffers")], get(&counts.buffers_exhausted))
        .add(&[service, ("limit", "heads")], get(&counts.heads_too_large))
        .add(&[service, ("limit", "clients")], get(&counts.client_limit))
        .add(&[service, ("limit", "lookups")], get(&counts.lookup_limit))
        .add(&[service, ("limit", "requests")], get(&counts.kept_limit))
        .add(&[service, ("limit", "socket_memory")], get(&counts.socket_memory))
        .add(&[service, ("limit", "handshakes")], get(&counts.half_open_limit))
        .add(&[service, ("limit", "associations")], get(&counts.association_limit))
        .add(&[service, ("limit", "attempts")], get(&counts.attempts_exhausted))
        .add(&[service, ("limit", "quarantine")], get(&counts.quarantine_full))
        .add(&[service, ("limit", "names")], sockets.names)
        .add(&[service, ("limit", "pipes")], sockets.pipes);
}

/// Figures of a recording, where there is one.
pub(crate) fn recording(recording: &Recording, out: &mut Samples) {
    let Some((bytes, stopped)) = recording.figures() else { return };
    out.gauge("recording_bytes", "Bytes of the file of --record.", bytes);
    out.gauge("recording_stopped", "1 where the recording has ended and the service goes on.", stopped);
}
