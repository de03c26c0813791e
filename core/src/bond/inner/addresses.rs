//! The two addresses of a packet or superpacket, read before anything else is known of it.

use core::net::IpAddr;

/// The source address, if these are the first bytes of an IP packet.
pub(crate) fn source(packet: &[u8]) -> Option<IpAddr> {
    ends(packet).map(|(source, _)| source)
}

/// The destination address, if these are the first bytes of an IP packet.
pub(crate) fn destination(packet: &[u8]) -> Option<IpAddr> {
    ends(packet).map(|(_, destination)| destination)
}

/// Source and destination, if these are the first bytes of an IP packet.
pub(crate) fn ends(packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    match packet.first()? >> 4 {
        4 => {
            let read = |at: usize| packet.get(at..at + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
            Some((read(12)?.into(), read(16)?.into()))
        }
        6 => {
            let read = |at: usize| packet.get(at..at + 16).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
            Some((read(8)?.into(), read(24)?.into()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_are_read_and_nothing_else() {
        let mut v4 = [0; 20];
        v4[0] = 0x45;
        v4[12..20].copy_from_slice(&[10, 0, 0, 1, 192, 0, 2, 7]);
        assert_eq!(source(&v4), "10.0.0.1".parse().ok());
        assert_eq!(destination(&v4), "192.0.2.7".parse().ok());
        let mut v6 = [0; 40];
        (v6[0], v6[23], v6[39]) = (0x60, 1, 2);
        assert_eq!(source(&v6), "::1".parse().ok());
        assert_eq!(destination(&v6), "::2".parse().ok());
        for bad in [&v4[..19], &v6[..39], &[0x50; 40], &[]] {
            assert_eq!(destination(bad), None);
        }
    }
}
