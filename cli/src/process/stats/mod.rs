//! The stats endpoint: what a running service counts, over HTTP on this host only.
//!
//! ```text
//! GET /          for people     page.html, which draws /stats
//! GET /metrics   Prometheus        Source::collect ──▶ Samples ──▶ prometheus ──┐
//! GET /stats     JSON                                         └──▶ json ────────┴──▶ server
//! ```
//!
//! It is read-only, names no client and no destination, and listens on loopback only. A service
//! implements [`Source`]; what every process has is added here, what services that relay share in
//! `relays`. `samples` holds figures before they are written.

mod json;
mod prometheus;
mod relays;
mod samples;
mod server;

pub(crate) use relays::{recording, relays};
pub(crate) use samples::{Samples, Value};

use super::logging;
use crate::host;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Instant;

/// A source of figures. Asked once for each request, from a thread of the endpoint.
pub(crate) trait Source: Send + Sync {
    /// Puts all figures into `out`.
    fn collect(&self, out: &mut Samples);
}

impl<F: Fn(&mut Samples) + Send + Sync> Source for F {
    fn collect(&self, out: &mut Samples) {
        self(out);
    }
}

/// The two forms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Prometheus,
    Json,
}

/// A place where figures will be served.
pub(crate) struct Endpoint {
    listener: TcpListener,
    address: SocketAddr,
}

impl Endpoint {
    /// Binds, so that an address that is not available fails the start.
    ///
    /// # Errors
    /// A sentence that names the address and the process that has it.
    pub(crate) fn bind(address: SocketAddr) -> Result<Self, String> {
        let failed = |error: std::io::Error| host::port::cannot_listen(address, &error, "--stats");
        let listener = TcpListener::bind(address).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Endpoint { listener, address })
    }

    /// Where it is bound.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers from now on, in threads of its own, which keep the privileges of the caller.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn serve(self, source: impl Source + 'static) -> Result<(), String> {
        let began = Instant::now();
        let page = move |form| {
            let mut samples = Samples::default();
            process(began, &mut samples);
            source.collect(&mut samples);
            match form {
                Form::Prometheus => prometheus::render(&samples),
                Form::Json => json::render(&samples),
            }
        };
        server::start(self.listener, Arc::new(page))
            .map_err(|error| format!("cannot start the stats endpoint: {error}"))?;
        log::info!(
            "stats at http://{0}/ (for people), http://{0}/metrics (Prometheus) and /stats (JSON)",
            self.address
        );
        Ok(())
    }
}

/// What every process tells.
fn process(began: Instant, out: &mut Samples) {
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    out.gauges("build_info", "The version that runs, as a label; always 1.").add(&version, 1_u64);
    out.gauge("uptime_seconds", "Seconds since the service began.", began.elapsed());
    out.counter("log_lines_lost_total", "Log lines dropped because nobody read them.", logging::lost());
}
