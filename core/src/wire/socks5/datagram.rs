//! The header of each datagram between a client and its UDP association (RFC 1928 section 7).
//!
//! ```text
//!   00 00 | fragment | type | address | port | data
//!
//!   address: where the client's datagram is to go, or where one for the client has come from
//! ```

use super::{Address, Parsed, byte, parse_address};
use core::net::{IpAddr, SocketAddr};

/// What stands before the data of a client's datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header<'a> {
    /// 0: the datagram is whole; else its place among fragments.
    pub(crate) fragment: u8,
    /// Where to.
    pub(crate) address: Address<'a>,
    /// To which port; 0 where the address is [`Address::Unknown`].
    pub(crate) port: u16,
}

/// The longest header that is written: type 4, an IPv6 address.
pub(crate) const LONGEST: usize = 22;

/// Reads the header of a whole datagram; what is behind it are the data, which may be empty.
pub(crate) fn parse(bytes: &[u8]) -> Parsed<Header<'_>> {
    // RFC 1928 section 7: RSV is X'0000'. As in a request it means nothing, so any bytes are taken.
    let fragment = byte(bytes, 2)?;
    let ((address, port), used) = parse_address(bytes)?;
    Ok((Header { fragment, address, port }, used))
}

/// The header of a datagram that came from `from`, and its length.
pub(crate) fn emit(from: SocketAddr) -> ([u8; LONGEST], usize) {
    let mut out = [0; LONGEST];
    let port_at = match from.ip().to_canonical() {
        IpAddr::V4(v4) => {
            out[3] = super::address_type::V4;
            out[4..8].copy_from_slice(&v4.octets());
            8
        }
        IpAddr::V6(v6) => {
            out[3] = super::address_type::V6;
            out[4..20].copy_from_slice(&v6.octets());
            20
        }
    };
    out[port_at..port_at + 2].copy_from_slice(&from.port().to_be_bytes());
    (out, port_at + 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Unparsed;
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[test]
    fn headers_of_each_address_type_are_as_the_rfc_draws_them() {
        let read = |bytes| parse(bytes).map(|(header, used)| (header.address, header.port, used));
        assert_eq!(
            read(b"\0\0\0\x01\x01\x02\x03\x04\0\x35data"),
            Ok((Address::Ip([1, 2, 3, 4].into()), 53, 10))
        );
        assert_eq!(read(b"\0\0\0\x03\x02ab\0\x35"), Ok((Address::Name(b"ab"), 53, 9)));
        let mut v6 = vec![0, 0, 0, 4];
        v6.extend(1..=16);
        v6.extend([1, 2]);
        let ip: [u8; 16] = core::array::from_fn(|at| at as u8 + 1);
        assert_eq!(read(&v6), Ok((Address::Ip(ip.into()), 258, 22)));
        assert_eq!(read(&[0, 0, 0, 9, 1, 2]), Ok((Address::Unknown(9), 0, 6)));
        assert_eq!(parse(&[0, 0, 7, 1, 1, 2, 3, 4, 0, 1]).map(|(header, _)| header.fragment), Ok(7));
    }

    #[test]
    fn an_ipv4_address_in_disguise_is_told_as_what_it_is() {
        let (bytes, len) = emit("[::ffff:192.0.2.1]:80".parse().expect("literal"));
        assert_eq!(bytes[..len], [0, 0, 0, 1, 192, 0, 2, 1, 0, 80]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_and_every_prefix_is_cut_short(from: SocketAddr, data: Vec<u8>) {
            let (bytes, len) = emit(from);
            let mut all = bytes[..len].to_vec();
            all.extend(&data);
            let address = Address::Ip(from.ip().to_canonical());
            prop_assert_eq!(parse(&all), Ok((Header { fragment: 0, address, port: from.port() }, len)));
            for end in 0..len {
                prop_assert_eq!(parse(&all[..end]), Err(Unparsed::Incomplete));
            }
        }

        #[test]
        fn a_name_of_any_length_is_read_to_its_end(
            fragment: u8, name in prop::collection::vec(any::<u8>(), 0..=255), port: u16, data: Vec<u8>,
        ) {
            let mut all = vec![0, 0, fragment, 3, name.len() as u8];
            all.extend(&name);
            all.extend(port.to_be_bytes());
            let len = all.len();
            all.extend(&data);
            prop_assert_eq!(parse(&all), Ok((Header { fragment, address: Address::Name(&name), port }, len)));
            for end in 0..len {
                prop_assert_eq!(parse(&all[..end]), Err(Unparsed::Incomplete));
            }
        }

        #[test]
        fn no_bytes_panic_and_no_header_is_longer_than_its_datagram(
            start in prop::collection::vec(0u8..6, 0..5), rest in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let bytes = [start, rest].concat();
            if let Ok((_, used)) = parse(&bytes) {
                prop_assert!(used <= bytes.len());
            }
        }
    }
}
