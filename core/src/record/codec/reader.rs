//! A recording, read back.

use super::*;
use crate::record::entry::{ASKED, CONFIGURED, CUT_DATAGRAMS, CutGroup, KEPT, PUT, SENT, TAKEN};

/// One entry, read back.
#[derive(Debug)]
pub(in crate::record) enum Entry<'a> {
    Output(u64),
    Read(Instant, StreamId, &'a [u8]),
    Written(Instant, StreamId, usize, u64),
    Timeout(Instant),
    RefuseSplice(StreamId),
    Datagrams(Instant, SocketId, Vec<Group<'a>>),
    Transmit(Instant, SocketId, usize, u64),
    Packet(Instant, TunId, &'a [u8], Offload),
    Given(Instant, TunId, u64, Result<(), Fault>),
    Input(Instant, Recorded),
    Kept(StreamId, u64, &'a [u8]),
    Asked(StreamId),
    Taken(Instant, StreamId, usize),
    Put(Instant, StreamId, usize, usize),
    CutDatagrams(Instant, SocketId, Vec<CutGroup>),
    Sent(Instant, SocketId, usize, u64),
    Configured(Instant, &'a [u8]),
}

impl Entry<'_> {
    /// When it was; `None`: when the entry before it was.
    pub(in crate::record) fn at(&self) -> Option<Instant> {
        match *self {
            Entry::Output(_) | Entry::RefuseSplice(_) | Entry::Kept(..) | Entry::Asked(_) => None,
            Entry::CutDatagrams(at, ..) => Some(at),
            Entry::Read(at, ..)
            | Entry::Written(at, ..)
            | Entry::Timeout(at)
            | Entry::Datagrams(at, ..)
            | Entry::Transmit(at, ..)
            | Entry::Packet(at, ..)
            | Entry::Given(at, ..)
            | Entry::Input(at, _)
            | Entry::Taken(at, ..)
            | Entry::Put(at, ..)
            | Entry::Sent(at, ..)
            | Entry::Configured(at, _) => Some(at),
        }
    }
}

/// An input that owns what it brings.
#[derive(Debug)]
pub(in crate::record) enum Recorded {
    Plain(Input<'static>),
    Resolved(QueryId, Vec<IpAddr>),
    LocalAddresses(Vec<IpAddr>),
    SocketMemory(u64, u64, Vec<Kept>),
    Entropy([u8; 32]),
}

impl Recorded {
    pub(in crate::record) fn with(&self, f: impl FnOnce(Input<'_>)) {
        match self {
            Recorded::Plain(input) => f(*input),
            Recorded::Resolved(query, addresses) => f(Input::Resolved { query: *query, addresses }),
            Recorded::LocalAddresses(addresses) => f(Input::LocalAddresses { addresses }),
            Recorded::SocketMemory(used, limit, streams) => {
                f(Input::SocketMemory { used: *used, limit: *limit, streams })
            }
            Recorded::Entropy(bytes) => f(Input::Entropy { bytes }),
        }
    }
}

pub(in crate::record) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    last: Instant,
}

impl<'a> Reader<'a> {
    pub(in crate::record) fn new(bytes: &'a [u8], magic: &[u8]) -> Option<Self> {
        bytes.starts_with(magic).then_some(Reader { bytes, at: magic.len(), last: Instant::ZERO })
    }

    /// The next entry; the offset where it is damaged as the error.
    pub(in crate::record) fn next(&mut self) -> Result<Option<Entry<'a>>, usize> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let start = self.at;
        self.entry().map(Some).ok_or(start)
    }

    fn entry(&mut self) -> Option<Entry<'a>> {
        let tag = self.byte()?;
        match tag {
            OUTPUT => return Some(Entry::Output(self.print()?)),
            REFUSE_SPLICE => return Some(Entry::RefuseSplice(self.stream()?)),
            KEPT => return self.kept(),
            ASKED => return Some(Entry::Asked(self.stream()?)),
            _ => {}
        }
        let since = Duration::from_nanos(self.number()?);
        self.last += since;
        let now = self.last;
        Some(match tag {
            READ => {
                let (stream, len) = (self.stream()?, self.len()?);
                Entry::Read(now, stream, self.raw(len)?)
            }
            WRITTEN => Entry::Written(now, self.stream()?, self.len()?, self.print()?),
            TIMEOUT => Entry::Timeout(now),
            DATAGRAMS => Entry::Datagrams(now, self.socket()?, self.groups()?),
            TRANSMIT => Entry::Transmit(now, self.socket()?, self.len()?, self.print()?),
            TAKEN => Entry::Taken(now, self.stream()?, self.len()?),
            PUT => Entry::Put(now, self.stream()?, self.len()?, self.len()?),
            CUT_DATAGRAMS => Entry::CutDatagrams(now, self.socket()?, self.cut_groups()?),
            SENT => Entry::Sent(now, self.socket()?, self.len()?, self.print()?),
            CONFIGURED => {
                let len = self.len()?;
                Entry::Configured(now, self.raw(len)?)
            }
            PACKET => return self.packet(now),
            GIVEN => return self.given(now),
            _ => Entry::Input(now, self.input(tag)?),
        })
    }

    fn input(&mut self, tag: u8) -> Option<Recorded> {
        Some(Recorded::Plain(match tag {
            RESOLVED => return Some(Recorded::Resolved(self.query()?, self.ips()?)),
            LOCAL_ADDRESSES => return Some(Recorded::LocalAddresses(self.ips()?)),
            SOCKET_MEMORY => return self.socket_memory(),
            ENTROPY_TOLD => return Some(Recorded::Entropy(self.raw(32)?.try_into().ok()?)),
            ENTROPY => Input::Entropy { bytes: &[0; 32] },
            ACCEPTED => {
                Input::Accepted { stream: self.stream()?, peer: self.address()?, local: self.address()? }
            }
            ACCEPT_FAILED => Input::AcceptFailed { stream: self.stream()?, fault: self.fault()? },
            CONNECTED => Input::Connected { stream: self.stream()?, local: self.address()? },
            CONNECT_FAILED => Input::ConnectFailed { stream: self.stream()?, fault: self.fault()? },
            ASSIGNED => {
                let (index, generation) = self.id()?;
                let conn = ConnId::from_parts(index, generation);
                Input::Assigned { conn, assignment: self.option(Reader::assignment)? }
            }
            RESOLVE_FAILED => Input::ResolveFailed { query: self.query()?, fault: self.fault()? },
            READ_CLOSED => Input::ReadClosed { stream: self.stream()? },
            SPLICED => Input::Spliced {
                from: self.stream()?,
                to: self.stream()?,
                taken: self.len()?,
                given: self.len()?,
                eof: self.byte()? != 0,
            },
            FAILED => Input::Failed { stream: self.stream()?, fault: self.fault()? },
            WRITE_FAILED => Input::WriteFailed { stream: self.stream()?, fault: self.fault()? },
            OPENED => Input::Opened { socket: self.socket()?, local: self.address()? },
            OPEN_FAILED => Input::OpenFailed { socket: self.socket()?, fault: self.fault()? },
            SOCKET_FAILED => Input::SocketFailed { socket: self.socket()?, fault: self.fault()? },
            SEND_FAILED => Input::SendFailed {
                socket: self.socket()?,
                id: u32::try_from(self.number()?).ok()?,
                sent: self.len()?,
                fault: self.fault()?,
            },
            UPLINK_GONE => Input::UplinkGone { uplink: self.uplink()? },
            UPLINK_BACK => Input::UplinkBack { uplink: self.uplink()?, via: self.via()? },
            CONFIGURE_FAILED => Input::ConfigureFailed { tun: self.tun()?, fault: self.fault()? },
            DRAIN => Input::Drain,
            _ => return None,
        }))
    }

    pub(in crate::record) fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    pub(in crate::record) fn raw(&mut self, len: usize) -> Option<&'a [u8]> {
        let raw = self.bytes.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(raw)
    }

    pub(in crate::record) fn print(&mut self) -> Option<u64> {
        self.raw(8)?.try_into().ok().map(u64::from_be_bytes)
    }

    pub(in crate::record) fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    pub(in crate::record) fn len(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    pub(in crate::record) fn id(&mut self) -> Option<(u32, u32)> {
        Some((u32::try_from(self.number()?).ok()?, u32::try_from(self.number()?).ok()?))
    }

    fn stream(&mut self) -> Option<StreamId> {
        self.id().map(|(index, generation)| StreamId::from_parts(index, generation))
    }

    fn socket_memory(&mut self) -> Option<Recorded> {
        let (used, limit, count) = (self.number()?, self.number()?, self.len()?);
        let each = |_| {
            let (stream, bytes) = (self.stream()?, u32::try_from(self.number()?).ok()?);
            Some(Kept { stream, bytes, stuck: Duration::from_nanos(self.number()?) })
        };
        Some(Recorded::SocketMemory(used, limit, (0..count).map(each).collect::<Option<_>>()?))
    }

    fn uplink(&mut self) -> Option<UplinkId> {
        u16::try_from(self.number()?).ok().map(UplinkId)
    }

    fn query(&mut self) -> Option<QueryId> {
        self.id().map(|(index, generation)| QueryId::from_parts(index, generation))
    }

    pub(in crate::record) fn ip(&mut self) -> Option<IpAddr> {
        match self.byte()? {
            4 => <[u8; 4]>::try_from(self.raw(4)?).ok().map(|octets| Ipv4Addr::from(octets).into()),
            6 => <[u8; 16]>::try_from(self.raw(16)?).ok().map(|octets| Ipv6Addr::from(octets).into()),
            _ => None,
        }
    }

    fn ips(&mut self) -> Option<Vec<IpAddr>> {
        let count = self.len()?;
        (0..count).map(|_| self.ip()).collect()
    }

    pub(in crate::record) fn address(&mut self) -> Option<SocketAddr> {
        let (ip, number) = (self.ip()?, self.number()?);
        let port = u16::try_from(number & 0xFFFF).ok()?;
        let scope = u32::try_from(number >> 16).ok()?;
        match ip {
            IpAddr::V4(_) if scope != 0 => None,
            IpAddr::V4(v4) => Some(SocketAddr::from((v4, port))),
            IpAddr::V6(v6) => Some(SocketAddrV6::new(v6, port, 0, scope).into()),
        }
    }

    pub(in crate::record) fn fault(&mut self) -> Option<Fault> {
        Some(match self.byte()? {
            0 => Fault::Refused,
            1 => Fault::Reset,
            2 => Fault::TimedOut,
            3 => Fault::NetworkUnreachable,
            4 => Fault::HostUnreachable,
            5 => Fault::NoRoute,
            6 => Fault::NetworkDown,
            7 => Fault::NoDevice,
            8 => Fault::AddressNotAvailable,
            9 => Fault::AddressInUse,
            10 => Fault::PermissionDenied,
            11 => Fault::NoDescriptors,
            12 => Fault::NoMemory,
            13 => Fault::Unsupported,
            14 => Fault::NameNotFound,
            15 => Fault::NameUnavailable,
            17 => Fault::TooLarge,
            18 => Fault::Malformed,
            19 => Fault::ProxyLogin,
            20 => Fault::ProxyForbids,
            21 => Fault::ProxyFailed,
            16 => Fault::Other(u32::try_from(self.number()?).ok()? as i32),
            _ => return None,
        })
    }

    pub(in crate::record) fn option<T>(
        &mut self,
        f: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.byte()? {
            0 => Some(None),
            1 => f(self).map(Some),
            _ => None,
        }
    }

    fn assignment(&mut self) -> Option<Assignment> {
        let uplink = self.option(Reader::uplink)?;
        let via = self.via()?;
        let (endpoint, prefix64) = match self.byte()? {
            PREFIX64 => {
                let bits = self.byte()?;
                let IpAddr::V6(network) = self.ip()? else { return None };
                (None, Some(Prefix64::new(network, bits)?))
            }
            0 => (None, None),
            1 => (Some(self.address()?), None),
            _ => return None,
        };
        let patience = Duration::from_nanos(self.number()?);
        Some(Assignment { uplink, via, endpoint, prefix64, patience })
    }

    fn via(&mut self) -> Option<Via> {
        let device = self.option(|r| {
            let len = r.len()?;
            Device::new(core::str::from_utf8(r.raw(len)?).ok()?)
        })?;
        let source = self.option(Reader::ip)?;
        let transparent = self.option(Reader::address)?;
        let mark = self.option(|r| u32::try_from(r.number()?).ok())?;
        Some(Via { device, source, transparent, mark })
    }
}
