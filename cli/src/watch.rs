//! Events as counters and log lines.
//!
//! | module | is |
//! | --- | --- |
//! | `relays` | what every service that relays connections has to tell |
//! | `dispatch`, `unwrap` | what each has to tell beside |
//! | `reasons` | why something was refused or dropped, as words to count by |
//! | `flood` | lines that can come in floods |

mod dispatch;
mod flood;
mod reasons;
mod relays;
mod unwrap;

pub(crate) use dispatch::DispatchWatch;
pub(crate) use reasons::{DROPS, REASONS};
pub(crate) use relays::{Relays, get};
pub(crate) use unwrap::UnwrapWatch;
