//! What a path tells its owner.

use super::sent::Packet;
use crate::time::Instant;

/// News of one path, in the order in which it came about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    /// The packet arrived.
    Acked(Packet),
    /// The packet is lost: repair it.
    Lost(Packet),
    /// A packet called lost arrived after all.
    Late(Packet),
    /// A probe time-out: reinject what [`Path::outstanding`](super::Path::outstanding) gives
    /// elsewhere.
    Suspect,
    /// The path is down. Events before this one reported what was outstanding as lost.
    Down,
    /// The path carries data again.
    Live,
    /// Send an eliciting packet now: to a silent path, or to find a dead one back.
    Probe,
    /// Send an eliciting packet now: nothing passed for a while and a NAT may forget.
    Ping,
    /// The rate is found after start-up.
    Found,
    /// The path gives less than it did: what is outstanding arrives later than was thought.
    Fell,
    /// Packets of another size may be sent now.
    Mtu,
}

/// Why nothing may be sent now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Blocked {
    /// The pacer's credit is spent until then.
    Paced(Instant),
    /// In flight is at its cap; an acknowledgement, a loss or a time-out changes that.
    InFlight,
    /// Too many packets are unsettled.
    Packets,
    /// The path is suspect or down: only probes, pings and acknowledgements go.
    State,
}
