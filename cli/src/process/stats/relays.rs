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
    let mut limits = out.counters("limit_hits_total", "How often a limit was hit.");
    for (limit, times) in counts.limits() {
        limits = limits.add(&[service, ("limit", limit)], times);
    }
}

/// Figures of a recording, where there is one.
pub(crate) fn recording(recording: &Recording, out: &mut Samples) {
    let Some((bytes, stopped)) = recording.figures() else { return };
    out.gauge("recording_bytes", "Bytes of the file of --record.", bytes);
    out.gauge("recording_stopped", "1 where the recording has ended and the service goes on.", stopped);
}
