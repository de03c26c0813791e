//! Workers in threads, and the signals that end them.

use super::notify;
use super::runtime::Run;
use ropewalk_mio::Handle;
pub(crate) use signals::Signals;
use std::thread::JoinHandle;
use std::time::Duration;

/// A worker needs little stack: its buffers are on the heap.
const STACK: usize = 256 * 1024;

/// How workers run, and how they end.
pub(crate) struct Manner {
    /// Bytes of a worker's stack.
    pub(crate) stack: usize,
    /// What is said at the first signal.
    pub(crate) words: &'static str,
    /// The workers are stopped after this time; `None`: they may take as long as they like.
    pub(crate) patience: Option<Duration>,
}

/// Reads the service's files again, at SIGHUP. Says what has changed, or why nothing has.
pub(crate) type Reload<'a> = &'a mut dyn FnMut() -> Result<String, String>;

/// As [`serve_until`], for services whose connections may take their time and whose files may be
/// read again. `signals` is made before they say that they listen: whoever started them may signal
/// from then on.
pub(crate) fn serve<M: Send + 'static>(
    workers: Vec<(Run<M>, Handle)>,
    signals: Signals,
    reload: Reload<'_>,
) -> Result<(), String> {
    let words = "draining: no new connections; once more to stop at once";
    serve_until(workers, signals, &Manner { stack: STACK, words, patience: None }, reload)
}

/// For services that read their files at the start only.
pub(crate) fn never() -> Result<String, String> {
    Err("files are read at the start only; start anew for them to be read again".into())
}

/// Runs the workers until they have finished, SIGTERM or SIGINT stops them, or one fails. `signals`
/// is made before: whoever changes something that the end must put back makes it before the change,
/// so that no signal kills the process in between.
///
/// # Errors
/// A sentence about the worker that could not be started or has failed.
pub(crate) fn serve_until<M: Send + 'static>(
    workers: Vec<(Run<M>, Handle)>,
    signals: Signals,
    manner: &Manner,
    reload: Reload<'_>,
) -> Result<(), String> {
    let mut running: Vec<JoinHandle<std::io::Result<M>>> = Vec::new();
    let mut handles = Vec::new();
    for (number, (worker, handle)) in workers.into_iter().enumerate() {
        let closer = signals.closer();
        let run = move || {
            let result = worker();
            closer.worker_ended(result.is_err());
            result
        };
        let thread =
            std::thread::Builder::new().name(format!("worker {number}")).stack_size(manner.stack).spawn(run);
        running.push(thread.map_err(|error| format!("cannot start worker {number}: {error}"))?);
        handles.push(handle);
    }
    notify::ready();
    signals.wait(&handles, manner, reload);
    // Where one worker failed the others end too: half a proxy is worse than one that its
    // supervisor restarts.
    handles.iter().for_each(Handle::stop);
    for thread in running {
        match thread.join() {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(format!("a worker failed: {error}")),
            Err(_) => return Err("a worker panicked".into()),
        }
    }
    Ok(())
}

#[cfg(unix)]
mod signals {
    //! SIGTERM and SIGINT drain, a second one stops; SIGHUP reloads.

    use super::{Manner, Reload};
    use crate::process::notify;
    use ropewalk_mio::Handle;
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use std::io::IsTerminal;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// The signals that end a service, from now on heard and no longer deadly.
    pub(crate) struct Signals {
        inner: signal_hook::iterator::Signals,
        running: Arc<AtomicUsize>,
        /// It was started from a terminal.
        by_hand: bool,
    }

    pub(super) struct Closer {
        handle: signal_hook::iterator::Handle,
        running: Arc<AtomicUsize>,
    }

    impl Closer {
        pub(super) fn worker_ended(&self, failed: bool) {
            let last = self.running.fetch_sub(1, Ordering::SeqCst) == 1;
            if last || failed {
                self.handle.close();
            }
        }
    }

    impl Signals {
        /// For so many workers.
        pub(crate) fn new(workers: usize) -> Result<Self, String> {
            let by_hand = std::io::stderr().is_terminal();
            let inner = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])
                .map_err(|error| format!("cannot watch for signals: {error}"))?;
            Ok(Signals { inner, running: Arc::new(AtomicUsize::new(workers)), by_hand })
        }

        pub(super) fn closer(&self) -> Closer {
            Closer { handle: self.inner.handle(), running: Arc::clone(&self.running) }
        }

        /// Waits until all workers have ended, or one has failed.
        pub(super) fn wait(mut self, handles: &[Handle], manner: &Manner, reload: Reload<'_>) {
            let mut asked = 0;
            for signal in &mut self.inner {
                if signal == SIGHUP {
                    // One whose terminal was closed ends, as it would without us: a terminal that
                    // hung up is none any more.
                    if self.by_hand && !std::io::stderr().is_terminal() {
                        handles.iter().for_each(Handle::stop);
                        continue;
                    }
                    match reload() {
                        Ok(news) => log::info!("SIGHUP: {news}"),
                        Err(error) => log::warn!("SIGHUP: {error}; all stays as it was"),
                    }
                    continue;
                }
                asked += 1;
                if asked == 1 {
                    log::info!("{}", manner.words);
                    notify::stopping();
                    handles.iter().for_each(Handle::drain);
                    if let Some(patience) = manner.patience {
                        let handles = handles.to_vec();
                        // The process may end before.
                        std::thread::spawn(move || {
                            std::thread::sleep(patience);
                            handles.iter().for_each(Handle::stop);
                        });
                    }
                } else {
                    handles.iter().for_each(Handle::stop);
                }
            }
        }
    }
}

#[cfg(not(unix))]
mod signals {
    //! Ctrl-C ends the process.

    use ropewalk_mio::Handle;

    pub(crate) struct Signals;
    pub(super) struct Closer;

    impl Closer {
        pub(super) fn worker_ended(&self, _: bool) {}
    }

    impl Signals {
        /// For so many workers.
        pub(crate) fn new(_: usize) -> Result<Self, String> {
            Ok(Signals)
        }

        pub(super) fn closer(&self) -> Closer {
            Closer
        }

        /// The joins wait.
        pub(super) fn wait(self, _: &[Handle], _: &super::Manner, _: super::Reload<'_>) {}
    }
}
