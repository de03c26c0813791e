//! Which driver moves the bytes. The machine does not notice.

use ropewalk_core::machine::Application;
use ropewalk_mio::{Handle, Listeners, Shared};
use std::io::Result;
use std::sync::Arc;

/// A driver.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "async-std", derive(clap::ValueEnum))]
pub(crate) enum Runtime {
    /// epoll or kqueue through mio
    #[default]
    Mio,
    /// async-std's tasks, sockets in async-io
    #[cfg(feature = "async-std")]
    AsyncStd,
}

/// Runs until the machine has finished or was stopped.
pub(crate) type Run<M> = Box<dyn FnOnce() -> Result<M> + Send>;

impl Runtime {
    /// A worker around `machine`, to be run in a thread of its own, and a hand on it.
    pub(crate) fn worker<M: Application + Send + 'static>(
        self,
        machine: M,
        listeners: Listeners,
        shared: Arc<Shared>,
    ) -> Result<(Run<M>, Handle)> {
        match self {
            Runtime::Mio => {
                let (worker, handle) = ropewalk_mio::Worker::new(machine, listeners, shared)?;
                Ok((Box::new(move || worker.run()), handle))
            }
            #[cfg(feature = "async-std")]
            Runtime::AsyncStd => {
                let (worker, handle) = ropewalk_async_std::Worker::new(machine, listeners, shared)?;
                Ok((Box::new(move || worker.run()), handle))
            }
        }
    }
}
