//! How long `bond connect` waits for a first answer of its server.

use super::service::thread;
use ropewalk_mio::Handle;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A server that is silent for so long is told of.
const SILENT: Duration = Duration::from_secs(10);

/// Waits for the server `server`.
#[derive(Clone)]
pub(super) struct Patience {
    server: String,
    /// A client that joins gives up after this; one that the server knows does not.
    limit: Option<Duration>,
    given_up: Arc<AtomicBool>,
}

impl Patience {
    pub(super) fn new(server: String, limit: Option<Duration>) -> Self {
        Patience { server, limit, given_up: Arc::default() }
    }

    /// Waits in a thread of its own, and looks once whether the client is in.
    pub(super) fn start(
        &self,
        handle: Handle,
        established: impl Fn() -> bool + Send + 'static,
    ) -> Result<(), String> {
        let Patience { server, limit, given_up } = self.clone();
        thread("patience", move || {
            std::thread::sleep(limit.unwrap_or(SILENT));
            // A server that has let the client in, and is silent since, does let it in.
            if established() {
                return;
            }
            if limit.is_some() {
                given_up.store(true, Ordering::Relaxed);
                handle.stop();
            } else {
                log::warn!(
                    "no answer from {server} yet: it may be away, have another key, or not know this client; \
                     trying on"
                );
            }
        })
    }

    /// What there is to say at the end of the process.
    ///
    /// # Errors
    /// It ended because the join was given up.
    pub(super) fn verdict(&self) -> Result<(), String> {
        match self.limit.filter(|_| self.given_up.load(Ordering::Relaxed)) {
            Some(limit) => Err(format!(
                "no answer from {} within {limit:?}: a server says nothing to those it does not let in. The \
                 join string may have been used or have expired (the server's log says so), or nothing gets \
                 through to this UDP port",
                self.server
            )),
            None => Ok(()),
        }
    }
}
