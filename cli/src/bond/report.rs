//! What a machine says of itself, as JSON for the control socket and as figures.

use super::watch::{Counts, REASONS};
use crate::process::stats::{self, Samples};
use crate::process::watch::get;
use ropewalk_core::bond::{PathState, PathStatus, Status};
use ropewalk_core::time::Instant;
use ropewalk_mio::Handle;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// A worker that is alive answers sooner.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks the machine in its own thread; `None` if it is not there any more.
pub(super) fn ask<M: 'static, T: Send + 'static>(
    handle: &Handle,
    question: impl FnOnce(Instant, &mut M) -> T + Send + 'static,
) -> Option<T> {
    let (tell, hear) = sync_channel(1);
    handle.call(move |now, machine: &mut M| {
        // Whoever asked may have given up.
        let _ = tell.send(question(now, machine));
    });
    hear.recv_timeout(PATIENCE).ok()
}

/// The state of an association.
pub(super) fn association(status: &Status, link: impl Fn(&PathStatus) -> (String, Option<u32>)) -> Value {
    let paths: Vec<Value> = status.paths.iter().map(|one| path(one, link(one))).collect();
    let drops = &status.drops;
    json!({
        "established": status.established,
        "addresses": status.addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>(),
        "mtu": status.mtu,
        "paths": paths,
        "queued_bytes": status.queued,
        "kept_bytes": status.copies,
        "held_bytes": status.held,
        "repaired": status.repaired,
        "reinjected": status.reinjected,
        "dropped": {
            "malformed": drops.malformed, "foreign": drops.foreign, "too_large": drops.too_large,
            "queue_delay": drops.queue_delay, "queue_full": drops.queue_full, "copy_gone": drops.copy_gone,
            "repairs_spent": drops.repairs_spent, "tun_full": drops.tun_full,
        },
    })
}

fn path(path: &PathStatus, (link, weight): (String, Option<u32>)) -> Value {
    json!({
        "path": path.path,
        "link": link,
        "weight": weight,
        "state": state(path.state),
        "remote": path.remote.to_string(),
        "rate": path.rate,
        "rtt_ms": millis(path.rtt),
        "jitter_ms": millis(path.jitter),
        "queue_ms": millis(path.queue),
        "loss": share(path.loss),
        "mtu": path.mtu,
        "sent_packets": path.sent,
        "sent_bytes": path.sent_bytes,
        "received_bytes": path.received_bytes,
        "lost_packets": path.lost,
    })
}

fn state(state: PathState) -> &'static str {
    match state {
        PathState::Unproven => "unproven",
        PathState::Live => "live",
        PathState::Suspect => "suspect",
        PathState::Sick => "sick",
        PathState::Down => "down",
    }
}

fn millis(duration: ropewalk_core::time::Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

/// Of 1024 parts.
fn share(of: u64) -> f64 {
    of as f64 / 1024.0
}

/// The figures of an association: `client` is its name at the server.
pub(super) fn figures(
    out: &mut Samples,
    client: Option<&str>,
    status: &Status,
    link: impl Fn(&PathStatus) -> String,
) {
    let own: Vec<(&str, &str)> = client.map(|client| ("client", client)).into_iter().collect();
    for path in &status.paths {
        let link = link(path);
        let mut labels = own.clone();
        labels.push(("link", &link));
        let live = path.state == PathState::Live;
        out.gauges("path_up", "1 while the path carries data.").add(&labels, live);
        out.gauges("path_rate_bits", "Bits per second that it is believed to carry.").add(&labels, path.rate);
        let loss = stats::Value::Fraction(path.loss.saturating_mul(1_000_000) / 1024);
        out.gauges("path_rtt_seconds", "Its smoothed round trip.").add(&labels, path.rtt);
        out.gauges("path_loss", "The share of packets lost of late.").add(&labels, loss);
        out.counters("path_lost_total", "Packets lost by it.").add(&labels, path.lost);
        let bytes = out.counters("path_bytes_total", "Bytes that it carried, of IP.");
        let with = |direction| [labels.as_slice(), &[("direction", direction)]].concat();
        bytes.add(&with("sent"), path.sent_bytes).add(&with("received"), path.received_bytes);
    }
    let drops = &status.drops;
    let dropped = out.counters("bond_dropped_total", "Packets from inside that were not delivered.");
    for (reason, count) in [
        ("malformed", drops.malformed),
        ("foreign", drops.foreign),
        ("too_large", drops.too_large),
        ("queue_delay", drops.queue_delay),
        ("queue_full", drops.queue_full),
        ("copy_gone", drops.copy_gone),
        ("repairs_spent", drops.repairs_spent),
        ("tun_full", drops.tun_full),
    ] {
        dropped.add(&[own.as_slice(), &[("reason", reason)]].concat(), count);
    }
    let again =
        out.counters("bond_sent_again_total", "Packets sent again: lost, or on a path that fell silent.");
    again.add(&[own.as_slice(), &[("why", "lost")]].concat(), status.repaired);
    again.add(&[own.as_slice(), &[("why", "silent")]].concat(), status.reinjected);
}

/// The figures of the process.
pub(super) fn counts(out: &mut Samples, counts: &Counts) {
    out.counter("bond_established_total", "Associations that began.", get(&counts.established));
    out.counter("bond_ended_total", "Associations that ended.", get(&counts.ended));
    out.counter("bond_enrolled_total", "Clients let in by an invitation.", get(&counts.enrolled));
    out.counter(
        "path_suspect_total",
        "Times that a path fell silent or lost too much.",
        get(&counts.suspect),
    );
    out.counter("path_down_total", "Times that a path was given up.", get(&counts.down));
    let refused = out.counters("bond_refused_total", "First messages that were not answered.");
    for (reason, count) in REASONS.iter().zip(&counts.refused) {
        refused.add(&[("reason", reason)], get(count));
    }
}
