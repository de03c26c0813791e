//! The client's side of SOCKS5: what is said to an upstream proxy, and how its answers are read.
//!
//! ```text
//!   emit_greeting          -->
//!                          <--   parse_method
//!   emit_user_password     -->                        only after method 02
//!                          <--   parse_auth_status
//!   emit_connect           -->
//!                          <--   parse_answer
//! ```
//!
//! Sources: RFC 1928, RFC 1929.

use super::*;
use crate::name::{Destination, Host};

/// Appends a greeting; what is beyond 255 methods is left out.
pub(crate) fn emit_greeting(methods: &[u8], out: &mut Vec<u8>) {
    out.push(VERSION);
    emit_counted(methods, out);
}

/// Appends user and password; of each what is beyond 255 bytes is left out.
pub(crate) fn emit_user_password(user: &[u8], password: &[u8], out: &mut Vec<u8>) {
    out.push(AUTH_VERSION);
    emit_counted(user, out);
    emit_counted(password, out);
}

/// Appends the request for a connection. A name goes as it is: the proxy looks it up.
pub(crate) fn emit_connect(destination: &Destination, out: &mut Vec<u8>) {
    // RFC 1928 section 4: VER, CMD X'01', RSV X'00'.
    out.extend_from_slice(&[VERSION, 1, 0]);
    match &destination.host {
        Host::Ip(ip) => emit_ip(*ip, out),
        Host::Name(name) => {
            out.push(address_type::NAME);
            emit_counted(name.as_str().as_bytes(), out);
        }
    }
    out.extend_from_slice(&destination.port.to_be_bytes());
}

/// Reads the proxy's choice of a method.
pub(crate) fn parse_method(bytes: &[u8]) -> Parsed<u8> {
    expect_byte(bytes, 0, VERSION, "SOCKS version 5")?;
    Ok((byte(bytes, 1)?, 2))
}

/// Reads whether user and password were right.
pub(crate) fn parse_auth_status(bytes: &[u8]) -> Parsed<bool> {
    // RFC 1929 section 2: VER is X'01'. Some proxies send that of SOCKS there; only the status
    // counts.
    match byte(bytes, 0)? {
        AUTH_VERSION | VERSION => Ok((byte(bytes, 1)? == 0, 2)),
        found => {
            let expected = "user and password exchange version 1";
            Err(Malformed { expected, found: Some(found.into()), at: 0 }.into())
        }
    }
}

/// Reads the answer to a request: its code. The bound address is read past, whatever its type.
pub(crate) fn parse_answer(bytes: &[u8]) -> Parsed<u8> {
    expect_byte(bytes, 0, VERSION, "SOCKS version 5")?;
    let code = byte(bytes, 1)?;
    // RFC 1928 section 6: a failure closes the connection; some proxies send no address with it.
    if code != 0 {
        return Ok((code, bytes.len()));
    }
    byte(bytes, 2)?;
    let address = match byte(bytes, 3)? {
        address_type::V4 => 4,
        address_type::V6 => 16,
        address_type::NAME => 1 + usize::from(byte(bytes, 4)?),
        found => {
            let expected = "address type 1, 3 or 4";
            return Err(Malformed { expected, found: Some(found.into()), at: 3 }.into());
        }
    };
    let used = 4 + address + 2;
    byte(bytes, used - 1)?;
    Ok((code, used))
}

fn emit_counted(bytes: &[u8], out: &mut Vec<u8>) {
    let len = bytes.len().min(255);
    out.push(len as u8);
    out.extend_from_slice(&bytes[..len]);
}

/// Appends any request: what tests speak.
#[cfg(test)]
pub(crate) fn emit_request(request: &Request<'_>, out: &mut Vec<u8>) {
    let command = match request.command {
        Command::Connect => 1,
        Command::Bind => 2,
        Command::UdpAssociate => 3,
        Command::Other(other) => other,
    };
    out.extend_from_slice(&[VERSION, command, 0]);
    match request.address {
        Address::Ip(ip) => emit_ip(ip, out),
        Address::Name(name) => {
            out.push(address_type::NAME);
            emit_counted(name, out);
        }
        Address::Unknown(unknown) => return out.push(unknown),
    }
    out.extend_from_slice(&request.port.to_be_bytes());
}

/// Reads a reply: its code and the bound address.
#[cfg(test)]
pub(crate) fn parse_reply(bytes: &[u8]) -> Parsed<(u8, SocketAddr)> {
    expect_byte(bytes, 0, VERSION, "SOCKS version 5")?;
    let code = byte(bytes, 1)?;
    expect_byte(bytes, 2, 0, "a reserved byte of zero")?;
    let (ip, next): (IpAddr, usize) = match byte(bytes, 3)? {
        address_type::V4 => (Ipv4Addr::from(array::<4>(bytes, 4)?).into(), 8),
        address_type::V6 => (Ipv6Addr::from(array::<16>(bytes, 4)?).into(), 20),
        found => {
            let expected = "an IPv4 or IPv6 address";
            return Err(Malformed { expected, found: Some(found.into()), at: 3 }.into());
        }
    };
    let port = u16::from_be_bytes(array::<2>(bytes, next)?);
    Ok(((code, SocketAddr::new(ip, port)), next + 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    #[test]
    fn an_answer_ends_behind_its_address_whatever_type_that_has() {
        let v4 = [5, 0, 0, 1, 127, 0, 0, 1, 0, 80];
        let name = [5, 0, 9, 3, 2, b'a', b'b', 0, 80];
        let mut v6 = vec![5, 0, 0, 4];
        v6.extend([0; 18]);
        for whole in [&v4[..], &name, &v6] {
            for cut in 0..whole.len() {
                assert_eq!(parse_answer(&whole[..cut]), Err(Unparsed::Incomplete), "{cut} of {whole:?}");
            }
            let more = [whole, b"payload"].concat();
            assert_eq!(parse_answer(&more), Ok((0, whole.len())));
        }
    }

    #[test]
    fn a_failure_needs_no_address_and_a_wrong_byte_is_told_at_once() {
        assert_eq!(parse_answer(&[5, 5]), Ok((5, 2)));
        assert!(matches!(parse_answer(&[4]), Err(Unparsed::Malformed(_))));
        assert!(matches!(parse_answer(&[5, 0, 0, 2]), Err(Unparsed::Malformed(_))));
        assert!(matches!(parse_method(b"H"), Err(Unparsed::Malformed(_))));
        assert_eq!(parse_method(&[5, 255]), Ok((255, 2)));
        assert_eq!(parse_auth_status(&[1, 0]), Ok((true, 2)));
        assert_eq!(parse_auth_status(&[5, 1]), Ok((false, 2)));
        assert!(matches!(parse_auth_status(&[9]), Err(Unparsed::Malformed(_))));
    }

    proptest! {
        #[test]
        fn the_proxys_own_parsers_read_what_is_emitted(
            name in "[a-z.]{1,255}", port in any::<u16>(),
            user in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let host = Host::parse(name.as_bytes()).expect("letters and dots");
            let mut out = Vec::new();
            emit_connect(&Destination { host, port }, &mut out);
            let (request, used) = parse_request(&out).expect("whole");
            prop_assert_eq!((used, request.port, request.command), (out.len(), port, Command::Connect));
            prop_assert_eq!(request.address, Address::Name(name.as_bytes()));
            out.clear();
            emit_user_password(&user, b"secret", &mut out);
            let (login, used) = parse_user_password(&out).expect("whole");
            prop_assert_eq!(used, out.len());
            prop_assert_eq!(login.user, &user[..user.len().min(255)]);
            prop_assert_eq!(login.password, b"secret");
        }
    }
}
