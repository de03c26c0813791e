//! What `unwrap` tells: its connections, its UDP flows, and why something was refused or dropped.

use super::watch::UnwrapWatch;
use crate::process::record::Recording;
use crate::process::stats::{Samples, Source, recording, relays};
use crate::process::watch::{Names, get};
use std::sync::Arc;

const DATAGRAMS: Names = Names {
    passed: "unwrap_datagrams_total",
    dropped: "unwrap_datagrams_dropped_total",
    lost: "unwrap_datagrams_lost_total",
};

pub(crate) struct UnwrapStats(pub(crate) Arc<UnwrapWatch>, pub(crate) Recording);

impl Source for UnwrapStats {
    fn collect(&self, out: &mut Samples) {
        let watch = &self.0;
        relays("unwrap", &watch.relays, out);
        recording(&self.1, out);
        let help = "Clients that were given another port, as their own could not be had.";
        out.counter("unwrap_ports_changed_total", help, get(&watch.ports_changed));
        let closed = get(&watch.flows_closed);
        let opened = get(&watch.flows_opened);
        out.gauge("unwrap_open_flows", "UDP flows open now.", opened.saturating_sub(closed));
        out.counter("unwrap_flows_total", "UDP flows begun.", opened);
        let help = "UDP flows ended because there were too many.";
        out.counter("unwrap_flows_evicted_total", help, get(&watch.flows_evicted));
        let help = "UDP flows whose socket could not be opened.";
        out.counter("unwrap_flows_failed_total", help, get(&watch.flows_failed));
        let help = "Errors that the system told of flows' sockets, such as a server that does not listen.";
        out.counter("unwrap_flow_faults_total", help, get(&watch.flow_faults));
        watch.datagrams.collect(&DATAGRAMS, out);
    }
}
