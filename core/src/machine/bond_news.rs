//! What can happen to an association of a bond.

use super::UplinkId;
use crate::time::Duration;
use core::fmt;
use core::net::SocketAddr;

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
    /// A path fell silent, or loses too much: what is under way goes by the others too.
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
    /// Two hosts have the client's key, and push each other out.
    KeyShared {
        /// At the host that was pushed out: after how long it comes back.
        pause: Option<Duration>,
    },
    /// The server let a stranger in by an invitation, which is used up now.
    Enrolled {
        /// The invitation's number.
        invitation: u32,
        /// The client's public key.
        key: [u8; 32],
    },
    /// The server did not let somebody in who knows its key. Nothing was answered.
    Refused {
        /// Where it came from, or said so: nobody has checked.
        from: SocketAddr,
        /// Why.
        why: BondRefusal,
    },
}

/// Why a server does not let somebody in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub enum BondRefusal {
    /// Its key is unknown, and it has no invitation.
    Stranger,
    /// Its key is unknown, and so is its invitation.
    UnknownInvitation,
    /// Its invitation was used by another key.
    UsedInvitation,
    /// Its invitation has expired.
    ExpiredInvitation,
    /// There are as many clients as there may be.
    Full,
    /// What came was seen before, or is older.
    Replayed,
    /// It has no cipher that the server has.
    NoCipher,
    /// It knows the server's key, and is no client's first message.
    Unreadable,
}

impl fmt::Display for BondRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BondRefusal::Stranger => "its key is unknown, and it has no invitation",
            BondRefusal::UnknownInvitation => "its key and its invitation are unknown",
            BondRefusal::UsedInvitation => "its invitation was used before, by another key",
            BondRefusal::ExpiredInvitation => "its invitation has expired",
            BondRefusal::Full => "there are as many clients as there may be",
            BondRefusal::Replayed => "its first message was seen before, or is older than one that was",
            BondRefusal::NoCipher => "it has no cipher that this server has",
            BondRefusal::Unreadable => "its first message cannot be read",
        })
    }
}
