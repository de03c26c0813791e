//! The uplinks of a process: which one takes the next connection, which ones are well, what each
//! has carried.
//!
//! One [`Pool`] serves all workers of a process (behind the driver's lock): weights, health and
//! accounting hold over all of them. It answers at once and never waits.
//!
//! | file | is |
//! | --- | --- |
//! | `pool` | which uplink a connection leaves by; `pool/report`: what is learnt of it |
//! | `config` | what a pool is made of |
//! | `policy` | the choice among those that are well |
//! | `weighted`, `connections`, `latency`, `learned`, `sticky` | its policies |
//! | `health` | which are well: rests, probes, patience |
//! | `mute` | evidence that one connects and carries nothing |
//! | `outage` | when people are told again of one that is down |
//! | `prefix` | address prefixes |
//! | `prefix64` | IPv4 destinations through networks that carry IPv6 alone |

mod config;
mod connections;
mod health;
mod latency;
mod learned;
mod mute;
mod outage;
mod policy;
mod pool;
mod prefix;
mod prefix64;
mod sticky;
mod weighted;

pub use config::{Networks, PoolConfig, PoolError, UplinkConfig};
pub use health::HealthConfig;
pub use policy::Policy;
pub use pool::{Account, Pool, UplinkView};
pub use prefix::{Prefix, is_link_local};
pub use prefix64::Prefix64;
