//! Why a socket operation failed.

use core::fmt;

/// Why a socket operation failed, in words that do not depend on the system.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The other side answered that no server listens.
    Refused,
    /// The other side reset the connection.
    Reset,
    /// No answer in the system's or the machine's time.
    TimedOut,
    /// The network cannot be reached (`ENETUNREACH`).
    NetworkUnreachable,
    /// The host cannot be reached (`EHOSTUNREACH`).
    HostUnreachable,
    /// The device the attempt was bound to has no route to the address.
    NoRoute,
    /// The network or the device is down.
    NetworkDown,
    /// There is no such device.
    NoDevice,
    /// The source address is not (or no longer) of this host.
    AddressNotAvailable,
    /// Address and port are in use, or no port is left.
    AddressInUse,
    /// The system forbids it.
    PermissionDenied,
    /// No descriptor is left in this process or in the system.
    NoDescriptors,
    /// No memory or buffer space is left in the system.
    NoMemory,
    /// The datagram is larger than the way takes without fragments (`EMSGSIZE`).
    TooLarge,
    /// The system cannot do this (an address family, an option).
    Unsupported,
    /// The name does not exist, or has no address.
    NameNotFound,
    /// The name could not be looked up now.
    NameUnavailable,
    /// What came is not of its protocol.
    Malformed,
    /// The upstream proxy did not take the user and password, or asked for some.
    ProxyLogin,
    /// The upstream proxy does not allow the destination.
    ProxyForbids,
    /// The upstream proxy did not reach the destination, and did not say why.
    ProxyFailed,
    /// Any other error, with the system's number (0 where there is none).
    Other(i32),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Fault::Refused => "refused by the other side",
            Fault::Reset => "reset by the other side",
            Fault::TimedOut => "no answer in time",
            Fault::NetworkUnreachable => "network unreachable",
            Fault::HostUnreachable => "host unreachable",
            Fault::NoRoute => "no route through this device",
            Fault::NetworkDown => "network is down",
            Fault::NoDevice => "no such device",
            Fault::AddressNotAvailable => "source address is not of this host",
            Fault::AddressInUse => "address in use",
            Fault::PermissionDenied => "permission denied",
            Fault::NoDescriptors => "no descriptors left",
            Fault::NoMemory => "no memory left in the system",
            Fault::TooLarge => "larger than the way takes in one piece",
            Fault::Unsupported => "not supported by the system",
            Fault::NameNotFound => "name not found",
            Fault::NameUnavailable => "name could not be looked up",
            Fault::Malformed => "malformed message",
            Fault::ProxyLogin => "upstream proxy asks for another user or password",
            Fault::ProxyForbids => "upstream proxy does not allow the destination",
            Fault::ProxyFailed => "upstream proxy did not reach the destination",
            Fault::Other(number) => return write!(f, "system error {number}"),
        };
        f.write_str(text)
    }
}
