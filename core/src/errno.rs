//! The operating system's errors in the machines' words, written once for all runtimes.

use crate::machine::Fault;
use std::io::{Error, ErrorKind};

/// The fault that an error of a socket call means.
pub fn fault(error: &Error) -> Fault {
    match error.kind() {
        ErrorKind::ConnectionRefused => Fault::Refused,
        // A broken pipe is a reset that was seen earlier or on the other half.
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => Fault::Reset,
        ErrorKind::NotConnected => Fault::Reset,
        ErrorKind::TimedOut => Fault::TimedOut,
        ErrorKind::NetworkUnreachable => Fault::NetworkUnreachable,
        ErrorKind::HostUnreachable => Fault::HostUnreachable,
        ErrorKind::NetworkDown => Fault::NetworkDown,
        ErrorKind::AddrNotAvailable => Fault::AddressNotAvailable,
        ErrorKind::AddrInUse => Fault::AddressInUse,
        ErrorKind::PermissionDenied => Fault::PermissionDenied,
        ErrorKind::OutOfMemory => Fault::NoMemory,
        ErrorKind::Unsupported => Fault::Unsupported,
        _ => number(error.raw_os_error().unwrap_or(0)),
    }
}

/// What the standard library has no kind for.
fn number(errno: i32) -> Fault {
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    const WSAEMFILE: i32 = 10024;
    const WSAEMSGSIZE: i32 = 10040;
    const WSAENOBUFS: i32 = 10055;
    const WSAEAFNOSUPPORT: i32 = 10047;
    let linux = cfg!(any(target_os = "linux", target_os = "android"));
    match errno {
        EMFILE | ENFILE | WSAEMFILE => Fault::NoDescriptors,
        // ENODEV, and ENXIO which some devices give when they go.
        19 | 6 if cfg!(unix) => Fault::NoDevice,
        // ENOBUFS
        105 if linux => Fault::NoMemory,
        55 if cfg!(unix) && !linux => Fault::NoMemory,
        WSAENOBUFS => Fault::NoMemory,
        // EMSGSIZE
        90 if linux => Fault::TooLarge,
        40 if cfg!(unix) && !linux => Fault::TooLarge,
        WSAEMSGSIZE => Fault::TooLarge,
        // EAFNOSUPPORT, EPROTONOSUPPORT
        97 | 93 if linux => Fault::Unsupported,
        47 | 43 if cfg!(unix) && !linux => Fault::Unsupported,
        WSAEAFNOSUPPORT => Fault::Unsupported,
        other => Fault::Other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn the_errors_that_decide_something_are_told_apart() {
        for (errno, expected) in [
            (111, Fault::Refused),
            (104, Fault::Reset),
            (32, Fault::Reset),
            (110, Fault::TimedOut),
            (101, Fault::NetworkUnreachable),
            (113, Fault::HostUnreachable),
            (100, Fault::NetworkDown),
            (19, Fault::NoDevice),
            (99, Fault::AddressNotAvailable),
            (98, Fault::AddressInUse),
            (1, Fault::PermissionDenied),
            (13, Fault::PermissionDenied),
            (24, Fault::NoDescriptors),
            (23, Fault::NoDescriptors),
            (12, Fault::NoMemory),
            (105, Fault::NoMemory),
            (97, Fault::Unsupported),
            (71, Fault::Other(71)),
        ] {
            assert_eq!(fault(&Error::from_raw_os_error(errno)), expected, "errno {errno}");
        }
    }
}
