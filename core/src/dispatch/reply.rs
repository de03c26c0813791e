//! The reply at the end of a handshake, in the client's protocol.

use crate::machine::Fault;
use crate::machine::event::Refusal;
use crate::wire::http::{self, Forward};
use crate::wire::{socks4, socks5};
use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddr};

/// The protocol of the request. It decides the format of the reply.
#[derive(Debug)]
pub(super) enum ReplyFormat {
    /// SOCKS5 CONNECT.
    Socks5,
    /// SOCKS4 or 4a CONNECT.
    Socks4,
    /// HTTP CONNECT.
    Connect,
    /// An HTTP request in absolute form, to be forwarded.
    Forward(Box<Forward>),
    /// None: bytes are relayed as they come.
    Raw,
}

const NOWHERE: SocketAddr = SocketAddr::new(core::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

impl ReplyFormat {
    /// The answer when the target is reached; `local` is our address on that connection.
    pub(super) fn granted(&self, local: SocketAddr, out: &mut Vec<u8>) {
        match self {
            ReplyFormat::Socks5 => socks5::emit_reply(socks5::Reply::Succeeded, local, out),
            ReplyFormat::Socks4 => socks4::emit_reply(true, local, out),
            ReplyFormat::Connect => http::emit_connected(out),
            ReplyFormat::Forward(_) | ReplyFormat::Raw => {}
        }
    }

    /// The answer when it is not.
    pub(super) fn refused(&self, why: &Refusal, out: &mut Vec<u8>) {
        match self {
            ReplyFormat::Socks5 => socks5::emit_reply(socks5_code(why), NOWHERE, out),
            ReplyFormat::Socks4 => socks4::emit_reply(false, NOWHERE, out),
            ReplyFormat::Connect | ReplyFormat::Forward(_) => {
                http::emit_error(http_status(why), &why.to_string(), out)
            }
            ReplyFormat::Raw => {}
        }
    }
}

/// RFC 1928 section 6. A time-out has no code of its own: 06 (TTL expired) is the nearest.
fn socks5_code(why: &Refusal) -> socks5::Reply {
    use socks5::Reply;
    match why {
        Refusal::Command(_) => Reply::CommandNotSupported,
        Refusal::AddressType(_) => Reply::AddressTypeNotSupported,
        Refusal::NotAllowed(_) | Refusal::Itself(_) | Refusal::Unreachable(Fault::ProxyForbids) => {
            Reply::NotAllowed
        }
        Refusal::BadHost(_) | Refusal::Name(_) => Reply::HostUnreachable,
        Refusal::NoUplink => Reply::NetworkUnreachable,
        Refusal::Unreachable(fault) => match fault {
            Fault::Refused | Fault::Reset => Reply::ConnectionRefused,
            Fault::TimedOut => Reply::TtlExpired,
            Fault::HostUnreachable => Reply::HostUnreachable,
            Fault::NetworkUnreachable
            | Fault::NoRoute
            | Fault::NetworkDown
            | Fault::NoDevice
            | Fault::AddressNotAvailable => Reply::NetworkUnreachable,
            _ => Reply::GeneralFailure,
        },
        _ => Reply::GeneralFailure,
    }
}

fn http_status(why: &Refusal) -> u16 {
    match why {
        Refusal::NotAllowed(_) | Refusal::Itself(_) | Refusal::Unreachable(Fault::ProxyForbids) => 403,
        Refusal::BadCredentials | Refusal::NoCredentials => 407,
        Refusal::BadHost(_) | Refusal::Malformed(_) => 400,
        Refusal::RequestTooLarge(_) => 431,
        Refusal::Unreachable(Fault::TimedOut) => 504,
        Refusal::Unreachable(Fault::NoDescriptors | Fault::NoMemory) => 503,
        _ => 502,
    }
}
