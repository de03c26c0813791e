//! What a client got for an answer, read from its bytes.

use super::transition::Protocol;
use super::util::say;
use std::net::{Ipv4Addr, SocketAddr};

/// What a client got for an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Said {
    Nothing,
    Granted(usize, Option<SocketAddr>),
    Refused(usize, u16),
}

/// Reads what a client got. It must be the beginning of exactly one answer.
pub(super) fn said(protocol: Protocol, got: &[u8], who: &str) -> Said {
    match protocol {
        Protocol::Socks5 => {
            assert!(got.starts_with(&[5, 0][..got.len().min(2)]), "{who}: no method: {got:?}");
            let reply = got.get(2..).unwrap_or_default();
            let Some([5, code, 0, kind]) = reply.first_chunk().copied() else {
                assert!(reply.len() < 4, "{who}: no reply: {reply:?}");
                return Said::Nothing;
            };
            let len = if kind == 4 { 22 } else { 10 };
            if reply.len() < len {
                return Said::Nothing;
            }
            if code != 0 {
                assert_eq!(reply, say::socks5_refusal(code), "{who}: a refusal and nothing else");
                return Said::Refused(2 + len, code.into());
            }
            Said::Granted(2 + len, Some(bound(&reply[4..len])))
        }
        Protocol::Socks4 => {
            let Some(reply) = got.first_chunk::<8>() else { return Said::Nothing };
            assert_eq!(reply[0], 0, "{who}: no SOCKS4 reply");
            if reply[1] != 90 {
                assert_eq!(got.len(), 8, "{who}: a refusal and nothing else");
                return Said::Refused(8, reply[1].into());
            }
            let port = u16::from_be_bytes([reply[2], reply[3]]);
            let ip = Ipv4Addr::new(reply[4], reply[5], reply[6], reply[7]);
            // It has no words for an IPv6 address.
            Said::Granted(8, (!ip.is_unspecified()).then(|| SocketAddr::new(ip.into(), port)))
        }
        Protocol::Connect => {
            if got.starts_with(say::HTTP_GRANTED) {
                return Said::Granted(say::HTTP_GRANTED.len(), None);
            }
            if say::HTTP_GRANTED.starts_with(got) || !got.windows(4).any(|four| four == b"\r\n\r\n") {
                return Said::Nothing;
            }
            Said::Refused(got.len(), say::status(got))
        }
    }
}

fn bound(bytes: &[u8]) -> SocketAddr {
    let (ip, port) = bytes.split_at(bytes.len() - 2);
    let port = u16::from_be_bytes([port[0], port[1]]);
    match (<[u8; 4]>::try_from(ip), <[u8; 16]>::try_from(ip)) {
        (Ok(v4), _) => SocketAddr::new(v4.into(), port),
        (_, Ok(v6)) => SocketAddr::new(v6.into(), port),
        _ => panic!("an address of {} bytes", ip.len()),
    }
}
