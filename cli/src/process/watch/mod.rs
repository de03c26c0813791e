//! Events as counters and log lines: what several services have. What one has stands in its own
//! folder.
//!
//! | module | is |
//! | --- | --- |
//! | `relays` | what every service that relays connections has to tell |
//! | `datagrams` | the same of every service that passes datagrams on |
//! | `reasons` | why something was refused or dropped, as words to count by |
//! | `flood` | lines that can come in floods |

mod datagrams;
mod flood;
mod reasons;
mod relays;

pub(crate) use datagrams::{Datagrams, Names};
pub(crate) use flood::Flood;
pub(crate) use reasons::REASONS;
pub(crate) use relays::{Relays, add, get};
