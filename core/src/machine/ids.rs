//! Ids: small numbers that name a stream, a socket, a query, a listener, an uplink.

use crate::slab::Key;
use core::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $letter:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name {
            index: u32,
            generation: u32,
        }

        impl $name {
            /// An id from its parts. Ids come from machines; a driver builds one only to read a
            /// recording, or to keep an id in a smaller form (an event token).
            pub const fn from_parts(index: u32, generation: u32) -> Self {
                $name { index, generation }
            }

            /// The slot: small, dense and used again after its tenant has gone.
            pub const fn index(self) -> u32 {
                self.index
            }

            /// Which tenant of the slot is meant.
            pub const fn generation(self) -> u32 {
                self.generation
            }
        }

        impl Key for $name {
            fn new(index: u32, generation: u32) -> Self {
                $name { index, generation }
            }
            fn index(self) -> u32 {
                self.index
            }
            fn generation(self) -> u32 {
                self.generation
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}.{}", $letter, self.index, self.generation)
            }
        }
    };
}

id!(
    /// One byte stream: a client's connection, or one attempt to reach a target.
    StreamId,
    "s"
);
id!(
    /// One relayed connection of the machine.
    ConnId,
    "c"
);
id!(
    /// One name query.
    QueryId,
    "q"
);

id!(
    /// One datagram socket: a listener's, or one that the machine has opened.
    SocketId,
    "d"
);

/// A TUN device, by its place in the configuration: it is opened before privileges are dropped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TunId(pub u16);

impl fmt::Debug for TunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t{}", self.0)
    }
}

/// A listener, by its place in the configuration.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(pub u16);

impl fmt::Debug for ListenerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "l{}", self.0)
    }
}

/// An uplink, by its place in the configuration.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UplinkId(pub u16);

impl fmt::Debug for UplinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "u{}", self.0)
    }
}
