//! What every service needs of a process.
//!
//! | module | is |
//! | --- | --- |
//! | `args` | the switches that all services have |
//! | `config` | a configuration file, turned into arguments |
//! | `listen` | the sockets that clients come in on |
//! | `files` | files that are read, within bounds |
//! | `descriptors` | descriptors, and how many connections they make |
//! | `memory` | what the system keeps in socket buffers, looked at now and then |
//! | `runtime` | which driver moves the bytes |
//! | `notify` | tells the service manager when the service is ready, and when it stops |
//! | `record` | what happened, in a file; `unrecorded` stands for it in builds without |
//! | `serve` | workers in threads, and the signals that end them |
//! | `reload` | what a service cannot change while it runs |
//! | `watch` | events as counters and log lines |
//! | `stats` | counters as figures over HTTP |
//! | `logging` | log lines on stderr |
//! | `output` | what a command prints |

pub(crate) mod args;
pub(crate) mod config;
pub(crate) mod descriptors;
pub(crate) mod files;
pub(crate) mod listen;
pub(crate) mod logging;
#[cfg(any(feature = "dispatch", feature = "unwrap"))]
pub(crate) mod memory;
mod notify;
#[cfg(any(feature = "bond", feature = "sim"))]
pub(crate) mod output;
#[cfg(feature = "record")]
pub(crate) mod record;
#[cfg(not(feature = "record"))]
#[path = "unrecorded.rs"]
pub(crate) mod record;
#[cfg(any(feature = "dispatch", feature = "unwrap"))]
pub(crate) mod reload;
pub(crate) mod runtime;
pub(crate) mod serve;
pub(crate) mod stats;
pub(crate) mod watch;
