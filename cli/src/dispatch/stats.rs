//! What `dispatch` tells: its counters, refusals by reason, each uplink's account.

use super::watch::DispatchWatch;
use crate::process::stats::{Samples, Source, Value, recording, relays};
use crate::process::watch::{Names, get};
use ropewalk_core::uplink::UplinkView;
use ropewalk_mio::Shared;
use std::sync::Arc;

const SERVICE: &str = "dispatch";

const DATAGRAMS: Names = Names {
    passed: "dispatch_datagrams_total",
    dropped: "dispatch_datagrams_dropped_total",
    lost: "dispatch_datagrams_lost_total",
};

pub(crate) struct DispatchStats {
    watch: Arc<DispatchWatch>,
    shared: Arc<Shared>,
}

impl DispatchStats {
    pub(crate) fn new(watch: Arc<DispatchWatch>, shared: Arc<Shared>) -> Self {
        DispatchStats { watch, shared }
    }

    fn uplinks(&self, out: &mut Samples) {
        // Copied, so that the workers do not wait for the writing.
        let now = self.shared.now();
        let copied = |view: UplinkView<'_>| {
            (
                view.label.to_owned(),
                (view.weight, view.share, view.connect),
                *view.account,
                view.usable,
                view.retired,
                view.prefix64,
            )
        };
        let pool = self.shared.pool();
        let views: Vec<_> = pool.views(now).map(copied).collect();
        let policy = pool.policy().name();
        drop(pool);
        out.gauges("dispatch_policy", "1 at the policy by which uplinks are chosen.")
            .add(&[("policy", policy)], 1u64);
        let names = distinct(views.iter().map(|view| view.0.clone()).collect());
        let destinations = &self.watch.associations.destinations;
        let beside = destinations.iter().zip(&self.watch.held_back);
        for ((name, (_, (weight, share, connect), account, up, retired, prefix64)), (destinations, held)) in
            names.iter().zip(views).zip(beside)
        {
            // One that a reload took out is told for as long as something is open through it.
            if retired && account.open == 0 {
                continue;
            }
            let (up, weight) = if retired { (false, 0) } else { (up, weight) };
            let uplink = [("uplink", name.as_str())];
            let direction = |direction| [uplink[0], ("direction", direction)];
            out.gauges("uplink_up", "1 where the uplink is thought well, 0 while it rests.").add(&uplink, up);
            out.gauges("uplink_weight", "Its share of the connections.").add(&uplink, u64::from(weight));
            let help = "Its weight as it is used now, of 1: learned, with --policy adaptive.";
            out.gauges("uplink_share", help).add(&uplink, Value::Fraction(u64::from(share) * 1000));
            let help = "How long connections through it take to open, smoothed; 0 while not measured.";
            out.gauges("uplink_connect_seconds", help).add(&uplink, connect.unwrap_or_default());
            if let Some(cap) = account.cap {
                let help = "How much of its cap it has carried in this period (used), and the cap.";
                out.gauges("uplink_cap_bytes", help)
                    .add(&[uplink[0], ("what", "used")], account.used)
                    .add(&[uplink[0], ("what", "cap")], cap);
            }
            if let Some(prefix) = prefix64.map(|prefix| prefix.to_string()) {
                let help = "1 where it has no IPv4 and carries IPv4 destinations under this prefix (NAT64).";
                out.gauges("uplink_translates", help).add(&[uplink[0], ("prefix", &prefix)], 1u64);
            }
            let help = "How often connections waited for its rate (--rate), as of a second ago.";
            out.counters("uplink_held_back_total", help)
                .add(&direction("sent"), get(&held[0]))
                .add(&direction("received"), get(&held[1]));
            out.gauges("uplink_open_connections", "Connections open through it now.")
                .add(&uplink, account.open);
            out.counters("uplink_connections_total", "Connections opened through it.")
                .add(&uplink, account.connected);
            out.counters("uplink_destinations_total", "Destinations of UDP associations given to it.")
                .add(&uplink, get(destinations));
            out.counters("uplink_attempts_failed_total", "Attempts through it that failed.")
                .add(&uplink, account.failed);
            out.counters(
                "uplink_attempts_outpaced_total",
                "Attempts through it that another uplink outpaced.",
            )
            .add(&uplink, account.outpaced);
            out.counters("uplink_probes_total", "Probes of it (--probe).")
                .add(&[uplink[0], ("result", "passed")], account.probes_passed)
                .add(&[uplink[0], ("result", "failed")], account.probes_failed);
            out.counters("uplink_bytes_total", "Bytes relayed through it.")
                .add(&direction("sent"), account.sent)
                .add(&direction("received"), account.received);
        }
    }
}

impl Source for DispatchStats {
    fn collect(&self, out: &mut Samples) {
        relays(SERVICE, &self.watch.relays, out);
        recording(&self.watch.recording, out);
        let help = "Attempts to reach a target that failed; another may have followed.";
        out.counter("dispatch_attempts_failed_total", help, get(&self.watch.attempts_failed));
        let closed = get(&self.watch.associations.closed);
        let opened = get(&self.watch.associations.opened);
        let help = "UDP associations open now.";
        out.gauge("dispatch_open_associations", help, opened.saturating_sub(closed));
        out.counter("dispatch_associations_total", "UDP associations begun.", opened);
        let help = "Destinations of UDP associations forgotten because there were too many.";
        out.counter("dispatch_destinations_evicted_total", help, get(&self.watch.associations.evicted));
        let help = "Destinations of UDP associations whose uplink was no more.";
        out.counter("dispatch_destinations_moved_total", help, get(&self.watch.associations.moved));
        self.watch.associations.datagrams.collect(&DATAGRAMS, out);
        #[cfg(feature = "names")]
        self.watch.names.collect(out);
        self.uplinks(out);
    }
}

/// The same endpoint may be given twice; two samples of the same labels may not be.
fn distinct(labels: Vec<String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for label in labels {
        let taken = |name: &str| all.iter().any(|other| other == name);
        let numbered = || (2..).map(|n| format!("{label}#{n}")).find(|name| !taken(name));
        let name = if taken(&label) { numbered().unwrap_or_default() } else { label.clone() };
        all.push(name);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_twice_is_told_apart() {
        let names = ["a", "b", "a", "a"].map(str::to_owned).to_vec();
        assert_eq!(distinct(names), ["a", "b", "a#2", "a#3"]);
    }
}
