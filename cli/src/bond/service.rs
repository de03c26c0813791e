//! What both ends do around their machine: a worker, its control socket, its figures, its end.

use super::args::Common;
use super::control::server::Bound;
use super::state;
use crate::process::serve::{self, Manner, Signals};
use crate::process::stats::{Endpoint, Samples};
use ropewalk_core::bond::crypto::{CipherOrder, SecretKey};
use ropewalk_core::machine::{Application, TunId};
use ropewalk_core::uplink::{Pool, PoolConfig};
use ropewalk_mio::{Handle, Listeners, Shared, Tun, Watch, Worker};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A farewell that nobody takes is given up after this.
const PATIENCE: Duration = Duration::from_secs(2);

/// The handshake's curves and seals work on the stack, in a build without optimisation on a lot of
/// it. What is not used costs no memory.
const STACK: usize = 2 << 20;

/// Threads beside the worker do small things.
const STACK_BESIDE: usize = 256 * 1024;

/// The one TUN device of a process.
pub(super) const TUN: TunId = TunId(0);

/// Starts a thread beside the worker.
pub(super) fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), String> {
    let thread = std::thread::Builder::new().name(name.into()).stack_size(STACK_BESIDE).spawn(work);
    thread.map(drop).map_err(|error| format!("cannot start a thread: {error}"))
}

/// This end's key, in the file `path`, made where there is none.
pub(super) fn own_key(path: &Path) -> Result<SecretKey, String> {
    let (key, made) = state::key(path)?;
    if made {
        log::info!("made a key: {}", path.display());
    }
    log::info!("public key: {}", key.public());
    Ok(key)
}

/// The cipher that this processor seals fastest with comes first.
pub(super) fn ciphers() -> CipherOrder {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    let fast = std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    let fast = std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    let fast = false;
    if fast { CipherOrder::fast_aes() } else { CipherOrder::slow_aes() }
}

/// What both ends tell a machine.
pub(super) fn common(
    args: &Common,
    tun: &Tun,
    key: SecretKey,
    tuning: ropewalk_core::bond::Tuning,
) -> ropewalk_core::bond::Common {
    let (offload, ciphers) = (tun.offload(), ciphers());
    ropewalk_core::bond::Common { tun: TUN, offload, mtu: args.mtu, key, ciphers, tuning }
}

/// A machine in a worker that does not run yet. From here on a signal ends it in order, so the host
/// may be changed.
pub(super) struct Service<M> {
    worker: Worker<M>,
    pub(super) handle: Handle,
    pub(super) shared: Arc<Shared>,
    signals: Signals,
}

impl<M: Application + Send + 'static> Service<M> {
    pub(super) fn new(machine: M, listeners: Listeners, watch: Box<dyn Watch>) -> Result<Self, String> {
        let pool = Pool::new(PoolConfig::default()).map_err(|error| error.to_string())?;
        let shared = Shared::new(pool, watch);
        let (worker, handle) = Worker::new(machine, listeners, Arc::clone(&shared))
            .map_err(|error| format!("cannot make an event loop: {error}"))?;
        Ok(Service { worker, handle, shared, signals: Signals::new(1)? })
    }

    /// Runs until a signal, or until somebody stops it by the handle.
    pub(super) fn run(
        self,
        control: &mut Bound,
        answer: impl Fn(&Value) -> Result<Value, String> + Send + 'static,
        stats: Option<(Endpoint, impl Fn(&mut Samples) + Send + Sync + 'static)>,
    ) -> Result<(), String> {
        control.answer(answer)?;
        if let Some((endpoint, figures)) = stats {
            endpoint.serve(figures)?;
        }
        let worker = self.worker;
        let run = Box::new(move || worker.run());
        let words = "ending the bond; once more to stop at once";
        let manner = Manner { stack: STACK, words, patience: Some(PATIENCE) };
        serve::serve_until(vec![(run, self.handle)], self.signals, &manner, &mut serve::never)
    }
}
