//! The sending half: what would block is held, groups leave as groups, and alike ones in one call.

use super::many::send_many;
use super::{Buffers, Datagrams, GROUP};
use crate::AsSocket;
use quinn_udp::{EcnCodepoint, UdpSockRef};
use ropewalk_core::drive::TransmitError;
use ropewalk_core::errno::fault;
use ropewalk_core::machine::Transmit;
use socket2::SockRef;
use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;

/// What was to be sent when that would have blocked.
pub(super) struct Held {
    transmit: Transmit,
    /// What is left of it.
    bytes: Vec<u8>,
    /// How many of its datagrams were sent before.
    sent: usize,
}

/// How many are sent between two looks at other sockets.
const SENDS: usize = 16;
/// Bytes that are taken from the machine before they are sent; room for one more of the largest is
/// behind them.
const TAKEN: usize = 65_536;

/// Whether `sendmsg` on a connected socket may name its receiver again, which ECN needs here; BSD
/// and macOS refuse (EISCONN).
const NAMED_TWICE: bool = cfg!(any(target_os = "linux", target_os = "android", windows));

type Sent<T> = std::result::Result<T, TransmitError>;

impl<S: AsSocket> Datagrams<S> {
    /// Sends what was held, then what `source` has, some of it. How many were sent; 0: there is
    /// nothing.
    ///
    /// # Errors
    /// As [`TransmitError`] says.
    pub fn transmit(
        &mut self,
        buffers: &mut Buffers,
        call: impl Fn(&S, &mut dyn FnMut() -> Result<()>) -> Result<()>,
        source: &mut dyn FnMut(&mut [u8]) -> Option<Transmit>,
    ) -> Sent<usize> {
        buffers.send.resize(TAKEN + GROUP, 0);
        let mut count = 0;
        while let Some(Held { transmit, bytes, sent }) = self.held.pop_front() {
            self.send_or_hold(&transmit, &bytes, sent, &call)?;
            count += 1;
        }
        let mut taken: [Transmit; SENDS] = Default::default();
        let mut has_more = true;
        while count < SENDS && has_more {
            // A connected socket sends its groups one by one: there is only one receiver.
            let most = if self.peer.is_some() { 1 } else { SENDS - count };
            let (mut number, mut at) = (0, 0);
            while number < most && at <= TAKEN {
                let Some(transmit) = source(&mut buffers.send[at..at + GROUP]) else {
                    has_more = false;
                    break;
                };
                taken[number] = transmit;
                number += 1;
                at += transmit.len;
            }
            self.send_all(&taken[..number], &buffers.send[..at], &call)?;
            count += number;
        }
        Ok(count)
    }

    /// Sends these, whose bytes stand one behind the other.
    fn send_all(
        &mut self,
        mut taken: &[Transmit],
        mut bytes: &[u8],
        call: impl Fn(&S, &mut dyn FnMut() -> Result<()>) -> Result<()>,
    ) -> Sent<()> {
        while let Some((first, rest)) = taken.split_first() {
            let alike = alike(taken);
            let mut sent = 0;
            if alike > 1 {
                // An error says nothing of which: the first is tried alone, and tells.
                let _ = call(&self.socket, &mut || {
                    sent = send_many(&self.socket, &taken[..alike], bytes)?;
                    Ok(())
                });
            }
            if sent > 0 {
                bytes = &bytes[taken[..sent].iter().map(|transmit| transmit.len).sum()..];
                taken = &taken[sent..];
                continue;
            }
            let (own, behind) = bytes.split_at(first.len);
            let result = self.send_or_hold(first, own, 0, &call);
            (taken, bytes) = (rest, behind);
            if result.is_err() {
                for transmit in taken {
                    let (own, behind) = bytes.split_at(transmit.len);
                    self.held.push_back(Held { transmit: *transmit, bytes: own.to_vec(), sent: 0 });
                    bytes = behind;
                }
                return result;
            }
        }
        Ok(())
    }

    fn send_or_hold(
        &mut self,
        transmit: &Transmit,
        bytes: &[u8],
        mut sent: usize,
        call: impl Fn(&S, &mut dyn FnMut() -> Result<()>) -> Result<()>,
    ) -> Sent<()> {
        let size = transmit.segment.unwrap_or(bytes.len()).max(1);
        let mut grouped = size * self.state.max_gso_segments();
        let mut at = 0;
        let mut again = self.peer.is_some();
        loop {
            let group = &bytes[at..bytes.len().min(at + grouped)];
            let segment = transmit.segment.filter(|segment| *segment < group.len());
            match call(&self.socket, &mut || self.send(transmit, group, segment)) {
                Ok(()) => {
                    sent += group.len().div_ceil(size);
                    at += group.len();
                    again = self.peer.is_some();
                    if at >= bytes.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let transmit = Transmit { len: bytes.len() - at, ..*transmit };
                    self.held.push_front(Held { transmit, bytes: bytes[at..].to_vec(), sent });
                    return Err(TransmitError::WouldBlock);
                }
                // An error on a connected socket may belong to an earlier datagram (ip(7),
                // "Error handling"): then this one was not tried.
                Err(_) if again => again = false,
                // The way may be too narrow for one that is cut by the system, or the device cannot
                // cut.
                Err(error) if segment.is_some() => {
                    grouped = size;
                    self.note_groups();
                    log::debug!("a group of datagrams was refused: {error}");
                }
                Err(error) => return Err(failed(transmit, sent, &error)),
            }
        }
    }

    fn send(&self, transmit: &Transmit, contents: &[u8], segment: Option<usize>) -> Result<()> {
        let Some(destination) = transmit.to.or(self.peer) else {
            return Err(ErrorKind::NotConnected.into());
        };
        if transmit.to.is_none() && segment.is_none() && (transmit.ecn == 0 || !NAMED_TWICE) {
            // Connected, the socket knows its route.
            return SockRef::from(&self.socket).send(contents).map(|_| ());
        }
        let ecn = EcnCodepoint::from_bits(transmit.ecn);
        let src_ip = transmit.from;
        let transmit = quinn_udp::Transmit { destination, ecn, contents, segment_size: segment, src_ip };
        self.state.try_send(UdpSockRef::from(&self.socket), &transmit)
    }
}

fn failed(transmit: &Transmit, sent: usize, error: &Error) -> TransmitError {
    TransmitError::Failed { id: transmit.id, sent, fault: fault(error) }
}

/// How many from the first one on are single datagrams that leave in the same way.
fn alike(taken: &[Transmit]) -> usize {
    let Some((&Transmit { to: Some(to), from, ecn, .. }, _)) = taken.split_first() else { return 0 };
    let joins = |other: &&Transmit| {
        let family = other.to.map(|other| SocketAddr::is_ipv4(&other));
        other.segment.is_none() && family == Some(to.is_ipv4()) && (other.from, other.ecn) == (from, ecn)
    };
    taken.iter().take_while(joins).count()
}
