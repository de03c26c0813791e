//! The bytes of a recording: a tag, then fields. Numbers are LEB128, times are the nanoseconds
//! since the entry before. Written here, read back by `reader`.

mod reader;

pub(super) use reader::{Entry, Reader};

use super::datagram::{DATAGRAMS, Group, TRANSMIT};
use super::tun::{GIVEN, PACKET};
use crate::machine::{
    Assignment, ConnId, Device, Fault, Input, Kept, Offload, QueryId, SocketId, StreamId, TunId, UplinkId,
    Via,
};
use crate::time::{Duration, Instant};
use crate::uplink::Prefix64;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

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
const ENTROPY_TOLD: u8 = 31;
const SOCKET_MEMORY: u8 = 32;
/// In an assignment, where 0 is "no endpoint" and 1 "this one".
const PREFIX64: u8 = 2;

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

    /// The address, then one number: the port, and above its 16 bits the scope of a link-local
    /// address.
    pub(super) fn address(&mut self, address: SocketAddr) {
        self.ip(address.ip());
        let scope = if let SocketAddr::V6(v6) = address { v6.scope_id() } else { 0 };
        self.number(u64::from(scope) << 16 | u64::from(address.port()));
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
            Fault::ProxyLogin => 19,
            Fault::ProxyForbids => 20,
            Fault::ProxyFailed => 21,
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

    /// What a machine makes no secret of.
    pub(super) fn entropy(&mut self, now: Instant, bytes: &[u8; 32]) {
        self.tag(ENTROPY_TOLD, now);
        self.raw(bytes);
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
            Input::AcceptFailed { stream, fault } => self.stream_fault(ACCEPT_FAILED, now, stream, fault),
            Input::Connected { stream, local } => {
                self.tag(CONNECTED, now);
                self.stream(stream);
                self.address(local);
            }
            Input::ConnectFailed { stream, fault } => self.stream_fault(CONNECT_FAILED, now, stream, fault),
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
            Input::Failed { stream, fault } => self.stream_fault(FAILED, now, stream, fault),
            Input::WriteFailed { stream, fault } => self.stream_fault(WRITE_FAILED, now, stream, fault),
            Input::Opened { socket, local } => {
                self.tag(OPENED, now);
                self.socket(socket);
                self.address(local);
            }
            Input::OpenFailed { socket, fault } => self.socket_fault(OPEN_FAILED, now, socket, fault),
            Input::SocketFailed { socket, fault } => self.socket_fault(SOCKET_FAILED, now, socket, fault),
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
            Input::SocketMemory { used, limit, streams } => {
                self.tag(SOCKET_MEMORY, now);
                self.socket_memory(used, limit, streams);
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

    fn stream_fault(&mut self, tag: u8, now: Instant, stream: StreamId, fault: Fault) {
        self.tag(tag, now);
        self.stream(stream);
        self.fault(fault);
    }

    fn socket_fault(&mut self, tag: u8, now: Instant, socket: SocketId, fault: Fault) {
        self.tag(tag, now);
        self.socket(socket);
        self.fault(fault);
    }

    fn socket_memory(&mut self, used: u64, limit: u64, streams: &[Kept]) {
        self.number(used);
        self.number(limit);
        self.number(streams.len() as u64);
        for Kept { stream, bytes, stuck } in streams {
            self.stream(*stream);
            self.number((*bytes).into());
            self.number(stuck.as_nanos() as u64);
        }
    }

    fn assignment(&mut self, assignment: Assignment) {
        let Assignment { uplink, via, endpoint, prefix64, patience } = assignment;
        self.option(uplink, |w, uplink| w.number(uplink.0.into()));
        self.via(via);
        match prefix64 {
            // Not beside an endpoint.
            Some(prefix64) => {
                self.raw(&[PREFIX64, prefix64.bits()]);
                self.ip(prefix64.network().into());
            }
            None => self.option(endpoint, Writer::address),
        }
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
