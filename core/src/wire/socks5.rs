//! SOCKS5 as RFC 1928 has it, with the user and password exchange of RFC 1929.
//!
//! ```text
//!   client                                             proxy
//!     | 05 | n | method x n                       -->    |    greeting
//!     |    <--                              05 | method  |
//!     | 01 | ulen | user | plen | password        -->    |    only after method 02
//!     |    <--                              01 | status  |
//!     | 05 | cmd | 00 | type | address | port     -->    |    request
//!     |    <--    05 | reply | 00 | type | bound | port  |
//!
//!   type 01: 4 bytes of IPv4    03: one length byte and a name    04: 16 bytes of IPv6
//!   port: two bytes, most significant first
//! ```
//!
//! A wrong byte is reported as soon as it is seen, whatever is still to come. What is well formed
//! but not served (BIND, an unknown command or address type) parses, so that the proxy can answer
//! with the reply meant for it.
//!
//! `client` is the other end of this, for an upstream proxy; `datagram` is the header of UDP.
//!
//! Sources: RFC 1928, RFC 1929.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Malformed, Parsed, Unparsed};

/// The first byte of every SOCKS5 message but those of the user and password exchange.
pub(crate) const VERSION: u8 = 5;

/// The first byte of the messages of the user and password exchange (RFC 1929 section 2).
pub(crate) const AUTH_VERSION: u8 = 1;

/// Authentication methods (RFC 1928 section 3).
pub(crate) mod method {
    /// No authentication.
    pub(crate) const NONE: u8 = 0x00;
    /// User and password (RFC 1929).
    pub(crate) const USER_PASSWORD: u8 = 0x02;
    /// The proxy's answer when it takes none of those offered.
    pub(crate) const UNACCEPTABLE: u8 = 0xff;
}

/// Address types (RFC 1928 section 5).
mod address_type {
    pub(super) const V4: u8 = 0x01;
    pub(super) const NAME: u8 = 0x03;
    pub(super) const V6: u8 = 0x04;
}

/// What a client offers first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Greeting<'a> {
    /// The methods the client can do, in its order; may be empty.
    pub(crate) methods: &'a [u8],
}

/// What a client shows to be let in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct UserPassword<'a> {
    /// 0 to 255 bytes.
    pub(crate) user: &'a [u8],
    /// 0 to 255 bytes.
    pub(crate) password: &'a [u8],
}

// By hand, so that no log line ever holds a password.
impl core::fmt::Debug for UserPassword<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("UserPassword").field("user", &self.user).finish_non_exhaustive()
    }
}

/// What a client asks for (RFC 1928 section 4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Command {
    /// 01: a connection to the address.
    Connect,
    /// 02: a connection from the address.
    Bind,
    /// 03: a relay for datagrams.
    UdpAssociate,
    /// Any other byte: answered with [`Reply::CommandNotSupported`].
    Other(u8),
}

/// Where a client wants to go, as it was sent: a name is not checked here but by
/// [`crate::name::Host::parse`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Address<'a> {
    /// Types 01 and 04.
    Ip(IpAddr),
    /// Type 03: 0 to 255 bytes.
    Name(&'a [u8]),
    /// Any other type: answered with [`Reply::AddressTypeNotSupported`].
    Unknown(u8),
}

/// A client's request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Request<'a> {
    /// What to do.
    pub(crate) command: Command,
    /// The address to connect to.
    pub(crate) address: Address<'a>,
    /// At which port; 0 where the address is [`Address::Unknown`].
    pub(crate) port: u16,
}

/// How a request went (RFC 1928 section 6); the number is the byte on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Reply {
    /// It was done.
    Succeeded = 0,
    /// It failed, for a reason that has no number of its own.
    GeneralFailure = 1,
    /// The rule set forbids it.
    NotAllowed = 2,
    /// No route.
    NetworkUnreachable = 3,
    /// The host does not answer or its name does not resolve.
    HostUnreachable = 4,
    /// The host refused.
    ConnectionRefused = 5,
    /// "TTL expired": also the nearest code to a connect that timed out.
    TtlExpired = 6,
    /// Not a command that is served.
    CommandNotSupported = 7,
    /// Not an address type that is served.
    AddressTypeNotSupported = 8,
}

/// Reads the client's first message.
pub(crate) fn parse_greeting(bytes: &[u8]) -> Parsed<Greeting<'_>> {
    // RFC 1928 section 3: VER is X'05'.
    expect_byte(bytes, 0, VERSION, "SOCKS version 5")?;
    // RFC 1928 section 3: NMETHODS is one byte, METHODS 1 to 255 of them. None at all is as easy to
    // answer: no method of it is acceptable.
    let (methods, used) = counted(bytes, 1)?;
    Ok((Greeting { methods }, used))
}

/// Reads a user and a password.
pub(crate) fn parse_user_password(bytes: &[u8]) -> Parsed<UserPassword<'_>> {
    // RFC 1929 section 2: VER is the version of this exchange, X'01', not that of SOCKS.
    expect_byte(bytes, 0, AUTH_VERSION, "user and password exchange version 1")?;
    // RFC 1929 section 2: ULEN and PLEN are 1 to 255. Nothing is ambiguous about 0, which then
    // fails as a wrong password does.
    let (user, next) = counted(bytes, 1)?;
    let (password, used) = counted(bytes, next)?;
    Ok((UserPassword { user, password }, used))
}

/// Reads a request. With an address type that is not known the request ends nowhere: it is given as
/// soon as the type is seen and takes all bytes there are, for nothing after it could be
/// understood.
pub(crate) fn parse_request(bytes: &[u8]) -> Parsed<Request<'_>> {
    // RFC 1928 section 4: VER is X'05'.
    expect_byte(bytes, 0, VERSION, "SOCKS version 5")?;
    let command = match byte(bytes, 1)? {
        1 => Command::Connect,
        2 => Command::Bind,
        3 => Command::UdpAssociate,
        other => Command::Other(other),
    };
    // RFC 1928 section 4: RSV is X'00'. Some clients leave what was in their buffer there; it means
    // nothing and moves nothing, so any byte is taken.
    byte(bytes, 2)?;
    // RFC 1928 section 5: the address types.
    let ((address, port), used) = parse_address(bytes)?;
    Ok((Request { command, address, port }, used))
}

/// The address of a request or of a datagram, whose type stands at byte 3, and its port.
fn parse_address(bytes: &[u8]) -> Parsed<(Address<'_>, u16)> {
    let (address, next) = match byte(bytes, 3)? {
        address_type::V4 => (Address::Ip(Ipv4Addr::from(array::<4>(bytes, 4)?).into()), 8),
        address_type::V6 => (Address::Ip(Ipv6Addr::from(array::<16>(bytes, 4)?).into()), 20),
        address_type::NAME => {
            let (name, next) = counted(bytes, 4)?;
            (Address::Name(name), next)
        }
        unknown => return Ok(((Address::Unknown(unknown), 0), bytes.len())),
    };
    // RFC 1928 section 4: DST.PORT in network octet order.
    let port = u16::from_be_bytes(array::<2>(bytes, next)?);
    Ok(((address, port), next + 2))
}

/// The proxy's choice of a method (RFC 1928 section 3).
pub(crate) fn emit_method(method: u8) -> [u8; 2] {
    [VERSION, method]
}

/// Whether user and password were right.
pub(crate) fn emit_auth_status(ok: bool) -> [u8; 2] {
    // RFC 1929 section 2: X'00' is success; any other value is failure, after which the connection
    // MUST close.
    [AUTH_VERSION, u8::from(!ok)]
}

/// Appends the answer to a request.
pub(crate) fn emit_reply(reply: Reply, bound: SocketAddr, out: &mut Vec<u8>) {
    // RFC 1928 section 6: VER, REP, RSV X'00', ATYP, BND.ADDR, BND.PORT.
    out.extend_from_slice(&[VERSION, reply as u8, 0]);
    emit_ip(bound.ip(), out);
    out.extend_from_slice(&bound.port().to_be_bytes());
}

fn emit_ip(ip: IpAddr, out: &mut Vec<u8>) {
    match ip {
        IpAddr::V4(v4) => {
            out.push(address_type::V4);
            out.extend_from_slice(&v4.octets());
        }
        IpAddr::V6(v6) => {
            out.push(address_type::V6);
            out.extend_from_slice(&v6.octets());
        }
    }
}

fn byte(bytes: &[u8], at: usize) -> Result<u8, Unparsed> {
    bytes.get(at).copied().ok_or(Unparsed::Incomplete)
}

fn expect_byte(bytes: &[u8], at: usize, wanted: u8, expected: &'static str) -> Result<(), Unparsed> {
    match byte(bytes, at)? {
        found if found == wanted => Ok(()),
        found => Err(Malformed { expected, found: Some(found.into()), at }.into()),
    }
}

/// A length byte at `at` and as many bytes after it; also the offset after them.
fn counted(bytes: &[u8], at: usize) -> Parsed<&[u8]> {
    let end = at + 1 + usize::from(byte(bytes, at)?);
    let value = bytes.get(at + 1..end).ok_or(Unparsed::Incomplete)?;
    Ok((value, end))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Unparsed> {
    bytes.get(at..).and_then(|rest| rest.first_chunk::<N>()).copied().ok_or(Unparsed::Incomplete)
}

pub(crate) mod client;
pub(crate) mod datagram;
#[cfg(test)]
mod tests;
