//! The control socket: a Unix socket in the state directory, for its owner alone. A line of JSON
//! asks, a line answers.
//!
//! ```text
//!   {"command":"status"}                                       {"role":"connect", "paths":[...], ...}
//!   {"command":"set","mode":"weighted","via":["wlan0@3"]}      {}
//!   {"command":"reload"}                                       {}            the server reads its files again
//!   {"command":"revoke","name":"laptop"}                       {}            and shuts out who is there no more
//!                                                              {"error":"expected ..., got ..."}
//! ```
//!
//! | module | is |
//! | --- | --- |
//! | `server` | the running service's end |
//! | `client` | the end of `bond status`, `bond set` and `bond invite` |
//! | `table` | an answer as a person reads it |

pub(super) mod client;
pub(super) mod server;
pub(super) mod table;

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Whoever asks and whoever answers waits so long for the other.
const PATIENCE: Duration = Duration::from_secs(3);
/// Bytes of the longest request.
const LONGEST: u64 = 64 * 1024;

/// Which end of a bond.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Serve,
    Connect,
}

impl Role {
    pub(super) const ALL: [Role; 2] = [Role::Connect, Role::Serve];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Role::Serve => "serve",
            Role::Connect => "connect",
        }
    }

    /// The file that its process has locked.
    pub(super) fn lock(self, dir: &Path) -> PathBuf {
        dir.join(format!("{}.lock", self.name()))
    }

    /// Where its socket is.
    pub(super) fn socket(self, dir: &Path) -> PathBuf {
        dir.join(format!("{}.sock", self.name()))
    }
}
