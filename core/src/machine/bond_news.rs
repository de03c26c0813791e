//! What can happen to an association of a bond.

use super::UplinkId;

/// What happened to an association.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BondNews {
    /// Both sides have proved their keys.
    Established,
    /// The address of a path has answered: it can carry data.
    PathValidated {
        /// Which.
        path: u8,
        /// The client's uplink.
        uplink: Option<UplinkId>,
    },
    /// A path carries data again.
    PathLive {
        /// Which.
        path: u8,
        /// The client's uplink.
        uplink: Option<UplinkId>,
    },
    /// A path fell silent: what is under way goes by the others too.
    PathSuspect {
        /// Which.
        path: u8,
        /// The client's uplink.
        uplink: Option<UplinkId>,
    },
    /// Nothing comes back by a path.
    PathDown {
        /// Which.
        path: u8,
        /// The client's uplink.
        uplink: Option<UplinkId>,
    },
    /// The peer has ended the association, or was silent for too long.
    Closed,
}
