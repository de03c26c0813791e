//! The bytes of a recording: a tag, then fields. Numbers are LEB128, times are the nanoseconds since the entry before.

use super::datagram::{DATAGRAMS, Group, TRANSMIT};
use super::tun::{GIVEN, PACKET};
use crate::machine::{
    Assignment, ConnId, Device, Fault, Input, Offload, QueryId, SocketId, StreamId, TunId, UplinkId, Via,
};
use crate::time::{Duration, Instant};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const OUTPUT: u8 = 0;
const READ: u8 = 1;
const WRITTEN: u8 = 2;
const TIMEOUT: u8 = 3;
const REFUSE_SPLICE: u8 = 4;
const ACCEPTED: u8 = 10;
const ACCEPT_FAILED: u8 = 11;
const CONNECTED: u8 = 12;
const CONNECT_FAILED: u8 = 13;
const ASSIGNED: u8 = 14;
const RESOLVED: u8 = 15;
const RESOLVE_FAILED: u8 = 16;
const READ_CLOSED: u8 = 17;
const SPLICED: u8 = 18;
const FAILED: u8 = 19;
const DRAIN: u8 = 20;
const LOCAL_ADDRESSES: u8 = 21;
const UPLINK_GONE: u8 = 22;
const WRITE_FAILED: u8 = 23;
const OPENED: u8 = 24;
const OPEN_FAILED: u8 = 25;
const SOCKET_FAILED: u8 = 26;
const SEND_FAILED: u8 = 27;
const UPLINK_BACK: u8 = 28;
const CONFIGURE_FAILED: u8 = 29;
const ENTROPY: u8 = 30;

#[derive(Debug, Default)]
pub(super) struct Writer {
    out: Vec<u8>,
    last: Instant,
}

impl Writer {
    pub(super) fn take(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.out)
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    pub(super) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.out.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.out.push(number as u8);
    }

    pub(super) fn tag(&mut self, tag: u8, now: Instant) {
        self.out.push(tag);
        self.number((now - self.last).as_nanos() as u64);
        self.last = now;
    }

    pub(super) fn id(&mut self, index: u32, generation: u32) {
        self.number(index.into());
        self.number(generation.into());
    }

    fn stream(&mut self, stream: StreamId) {
        self.id(stream.index(), stream.generation());
    }

    pub(super) fn ip(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(v4) => {
                self.out.push(4);
                self.raw(&v4.octets());
            }
            IpAddr::V6(v6) => {
                self.out.push(6);
                self.raw(&v6.octets());
            }
        }
    }

    fn ips(&mut self, addresses: &[IpAddr]) {
        self.number(addresses.len() as u64);
        addresses.iter().for_each(|ip| self.ip(*ip));
    }

    pub(super) fn address(&mut self, address: SocketAddr) {
        self.ip(address.ip());
        self.number(address.port().into());
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        let code = match fault {
            Fault::Refused => 0,
            Fault::Reset => 1,
            Fault::TimedOut => 2,
            Fault::NetworkUnreachable => 3,
            Fault::HostUnreachable => 4,
            Fault::NoRoute => 5,
            Fault::NetworkDown => 6,
            Fault::NoDevice => 7,
            Fault::AddressNotAvailable => 8,
            Fault::AddressInUse => 9,
            Fault::PermissionDenied => 10,
            Fault::NoDescriptors => 11,
            Fault::NoMemory => 12,
            Fault::Unsupported => 13,
            Fault::NameNotFound => 14,
            Fault::NameUnavailable => 15,
            Fault::TooLarge => 17,
            Fault::Malformed => 18,
            Fault::Other(number) => {
                self.out.push(16);
                return self.number(u64::from(number as u32));
            }
        };
        self.out.push(code);
    }

    pub(super) fn option<T>(&mut self, option: Option<T>, f: impl FnOnce(&mut Self, T)) {
        self.out.push(u8::from(option.is_some()));
        if let Some(value) = option {
            f(self, value);
        }
    }

    pub(super) fn output(&mut self, print: u64) {
        self.out.push(OUTPUT);
        self.raw(&print.to_be_bytes());
    }

    pub(super) fn read(&mut self, now: Instant, stream: StreamId, bytes: &[u8]) {
        self.tag(READ, now);
        self.stream(stream);
        self.number(bytes.len() as u64);
        self.raw(bytes);
    }

    pub(super) fn written(&mut self, now: Instant, stream: StreamId, len: usize, print: u64) {
        self.tag(WRITTEN, now);
        self.stream(stream);
        self.number(len as u64);
        self.raw(&print.to_be_bytes());
    }

    pub(super) fn timeout(&mut self, now: Instant) {
        self.tag(TIMEOUT, now);
    }

    pub(super) fn refuse_splice(&mut self, stream: StreamId) {
        self.out.push(REFUSE_SPLICE);
        self.stream(stream);
    }

    /// All inputs but `Read` and `Written`, which come with bytes.
    pub(super) fn input(&mut self, now: Instant, input: &Input<'_>) {
        match *input {
            Input::Read { stream, .. } => self.read(now, stream, &[]),
            Input::Written { stream, len } => self.written(now, stream, len, 0),
            Input::Accepted { stream, peer, local } => {
                self.tag(ACCEPTED, now);
                self.stream(stream);
                self.address(peer);
                self.address(local);
            }
            Input::AcceptFailed { stream, fault } => {
                self.tag(ACCEPT_FAILED, now);
                self.stream(stream);
                self.fault(fault);
            }
            Input::Connected { stream, local } => {
                self.tag(CONNECTED, now);
                self.stream(stream);
                self.address(local);
            }
            Input::ConnectFailed { stream, fault } => {
                self.tag(CONNECT_FAILED, now);
                self.stream(stream);
                self.fault(fault);
            }
            Input::Assigned { conn, assignment } => {
                self.tag(ASSIGNED, now);
                self.id(conn.index(), conn.generation());
                self.option(assignment, Writer::assignment);
            }
            Input::Resolved { query, addresses } => {
                self.tag(RESOLVED, now);
                self.id(query.index(), query.generation());
                self.ips(addresses);
            }
            Input::ResolveFailed { query, fault } => {
                self.tag(RESOLVE_FAILED, now);
                self.id(query.index(), query.generation());
                self.fault(fault);
            }
            Input::ReadClosed { stream } => {
                self.tag(READ_CLOSED, now);
                self.stream(stream);
            }
            Input::Spliced { from, to, taken, given, eof } => {
                self.tag(SPLICED, now);
                self.stream(from);
                self.stream(to);
                self.number(taken as u64);
                self.number(given as u64);
                self.out.push(u8::from(eof));
            }
            Input::Failed { stream, fault } => {
                self.tag(FAILED, now);
                self.stream(stream);
                self.fault(fault);
            }
            Input::WriteFailed { stream, fault } => {
                self.tag(WRITE_FAILED, now);
                self.stream(stream);
                self.fault(fault);
            }
            Input::Opened { socket, local } => {
                self.tag(OPENED, now);
                self.socket(socket);
                self.address(local);
            }
            Input::OpenFailed { socket, fault } => {
                self.tag(OPEN_FAILED, now);
                self.socket(socket);
                self.fault(fault);
            }
            Input::SocketFailed { socket, fault } => {
                self.tag(SOCKET_FAILED, now);
                self.socket(socket);
                self.fault(fault);
            }
            Input::SendFailed { socket, id, sent, fault } => {
                self.tag(SEND_FAILED, now);
                self.socket(socket);
                self.number(id.into());
                self.number(sent as u64);
                self.fault(fault);
            }
            Input::LocalAddresses { addresses } => {
                self.tag(LOCAL_ADDRESSES, now);
                self.ips(addresses);
            }
            Input::UplinkGone { uplink } => {
                self.tag(UPLINK_GONE, now);
                self.number(uplink.0.into());
            }
            Input::UplinkBack { uplink, via } => {
                self.tag(UPLINK_BACK, now);
                self.number(uplink.0.into());
                self.via(via);
            }
            Input::ConfigureFailed { tun, fault } => {
                self.tag(CONFIGURE_FAILED, now);
                self.number(tun.0.into());
                self.fault(fault);
            }
            Input::Entropy { bytes: _ } => self.tag(ENTROPY, now),
            Input::Drain => self.tag(DRAIN, now),
        }
    }

    fn assignment(&mut self, assignment: Assignment) {
        let Assignment { uplink, via, endpoint, patience } = assignment;
        self.option(uplink, |w, uplink| w.number(uplink.0.into()));
        self.via(via);
        self.option(endpoint, Writer::address);
        self.number(patience.as_nanos() as u64);
    }

    fn via(&mut self, via: Via) {
        self.option(via.device, |w, device| {
            w.number(device.as_str().len() as u64);
            w.raw(device.as_str().as_bytes());
        });
        self.option(via.source, Writer::ip);
        self.option(via.transparent, Writer::address);
        self.option(via.mark, |w, mark| w.number(mark.into()));
    }
}

/// One entry, read back.
#[derive(Debug)]
pub(super) enum Entry<'a> {
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
}

/// An input that owns what it brings.
#[derive(Debug)]
pub(super) enum Recorded {
    Plain(Input<'static>),
    Resolved(QueryId, Vec<IpAddr>),
    LocalAddresses(Vec<IpAddr>),
}

impl Recorded {
    pub(super) fn with(&self, f: impl FnOnce(Input<'_>)) {
        match self {
            Recorded::Plain(input) => f(*input),
            Recorded::Resolved(query, addresses) => f(Input::Resolved { query: *query, addresses }),
            Recorded::LocalAddresses(addresses) => f(Input::LocalAddresses { addresses }),
        }
    }
}

pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    last: Instant,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], magic: &[u8]) -> Option<Self> {
        bytes.starts_with(magic).then_some(Reader { bytes, at: magic.len(), last: Instant::ZERO })
    }

    /// The next entry; the offset where it is damaged as the error.
    pub(super) fn next(&mut self) -> Result<Option<Entry<'a>>, usize> {
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
            _ => {}
        }
        let since = Duration::from_nanos(self.number()?);
        self.last += since;
        let now = self.last;
        let input = match tag {
            READ => {
                let stream = self.stream()?;
                let len = self.len()?;
                return Some(Entry::Read(now, stream, self.raw(len)?));
            }
            WRITTEN => return Some(Entry::Written(now, self.stream()?, self.len()?, self.print()?)),
            TIMEOUT => return Some(Entry::Timeout(now)),
            DATAGRAMS => return Some(Entry::Datagrams(now, self.socket()?, self.groups()?)),
            TRANSMIT => return Some(Entry::Transmit(now, self.socket()?, self.len()?, self.print()?)),
            PACKET => return self.packet(now),
            GIVEN => return self.given(now),
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
            RESOLVED => {
                let query = self.query()?;
                return Some(Entry::Input(now, Recorded::Resolved(query, self.ips()?)));
            }
            LOCAL_ADDRESSES => return Some(Entry::Input(now, Recorded::LocalAddresses(self.ips()?))),
            UPLINK_GONE => Input::UplinkGone { uplink: UplinkId(u16::try_from(self.number()?).ok()?) },
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
            UPLINK_BACK => {
                let uplink = UplinkId(u16::try_from(self.number()?).ok()?);
                Input::UplinkBack { uplink, via: self.via()? }
            }
            CONFIGURE_FAILED => Input::ConfigureFailed { tun: self.tun()?, fault: self.fault()? },
            ENTROPY => Input::Entropy { bytes: &[0; 32] },
            DRAIN => Input::Drain,
            _ => return None,
        };
        Some(Entry::Input(now, Recorded::Plain(input)))
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    pub(super) fn raw(&mut self, len: usize) -> Option<&'a [u8]> {
        let raw = self.bytes.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(raw)
    }

    pub(super) fn print(&mut self) -> Option<u64> {
        self.raw(8)?.try_into().ok().map(u64::from_be_bytes)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
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

    pub(super) fn len(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    pub(super) fn id(&mut self) -> Option<(u32, u32)> {
        Some((u32::try_from(self.number()?).ok()?, u32::try_from(self.number()?).ok()?))
    }

    fn stream(&mut self) -> Option<StreamId> {
        self.id().map(|(index, generation)| StreamId::from_parts(index, generation))
    }

    fn query(&mut self) -> Option<QueryId> {
        self.id().map(|(index, generation)| QueryId::from_parts(index, generation))
    }

    pub(super) fn ip(&mut self) -> Option<IpAddr> {
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

    pub(super) fn address(&mut self) -> Option<SocketAddr> {
        let ip = self.ip()?;
        Some(SocketAddr::new(ip, u16::try_from(self.number()?).ok()?))
    }

    pub(super) fn fault(&mut self) -> Option<Fault> {
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
            16 => Fault::Other(u32::try_from(self.number()?).ok()? as i32),
            _ => return None,
        })
    }

    pub(super) fn option<T>(&mut self, f: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.byte()? {
            0 => Some(None),
            1 => f(self).map(Some),
            _ => None,
        }
    }

    fn assignment(&mut self) -> Option<Assignment> {
        let uplink = self.option(|r| u16::try_from(r.number()?).ok().map(UplinkId))?;
        let via = self.via()?;
        let endpoint = self.option(Reader::address)?;
        let patience = Duration::from_nanos(self.number()?);
        Some(Assignment { uplink, via, endpoint, patience })
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
