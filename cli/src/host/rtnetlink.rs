//! Talking rtnetlink: dumps asked for and walked, requests made and their acknowledgement read.

use netlink_packet_core::{
    Emitable, NLA_HEADER_SIZE, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE,
    NLMSG_ERROR, NLMSG_NOOP, NLMSG_OVERRUN, NetlinkBuffer, NetlinkHeader, NlasIterator, Parseable,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::fmt;
use std::io;
use std::net::IpAddr;

// linux/netlink.h
const NLMSGERR_ATTR_MSG: u16 = 1;

/// A dump that the kernel calls interrupted (something changed under it) is asked for anew so
/// often.
const TRIES: usize = 5;

/// A blocking rtnetlink socket.
pub(crate) struct Asker {
    socket: Socket,
    sequence: u32,
}

impl Asker {
    pub(crate) fn new() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // Say in words what is wrong, and leave out the request. Kernels before 4.12 cannot.
        let _ = socket.set_ext_ack(true).and_then(|()| socket.set_cap_ack(true));
        Ok(Asker { socket, sequence: 0 })
    }

    /// The kernel's whole answer to the dump request `kind`, each message's body through `parse`.
    pub(crate) fn dump<T>(
        &mut self,
        what: &str,
        kind: u16,
        body: &dyn Emitable,
        parse: fn(&[u8]) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        let mut found = Vec::new();
        for _ in 0..TRIES {
            found.clear();
            let whole = self.dump_once(kind, body, parse, &mut found);
            if whole.map_err(|error| about(&format!("reading the {what} over rtnetlink"), &error))? {
                break;
            }
        }
        Ok(found)
    }

    /// One dump; `Ok(false)` where the kernel calls it interrupted.
    fn dump_once<T>(
        &mut self,
        kind: u16,
        body: &dyn Emitable,
        parse: fn(&[u8]) -> Option<T>,
        found: &mut Vec<T>,
    ) -> io::Result<bool> {
        self.sequence += 1;
        self.socket.send(&request(kind, NLM_F_DUMP, self.sequence, body), 0)?;
        let mut whole = true;
        loop {
            let datagram = self.receive()?;
            let mut rest = &datagram[..];
            while !rest.is_empty() {
                let message = NetlinkBuffer::new_checked(rest).map_err(io::Error::other)?;
                let length = message.length() as usize;
                let header = NetlinkHeader::parse(&message).map_err(io::Error::other)?;
                // RFC 3549 section 2.2: messages are aligned to 4 bytes.
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
                if header.sequence_number != self.sequence {
                    continue;
                }
                whole &= header.flags & NLM_F_DUMP_INTR == 0;
                match header.message_type {
                    NLMSG_DONE => return code(message.payload()).map(|()| whole),
                    NLMSG_ERROR => {
                        return code(message.payload()).and(Err(io::ErrorKind::UnexpectedEof.into()));
                    }
                    NLMSG_OVERRUN => return Err(io::Error::other("the kernel lost a part of its answer")),
                    NLMSG_NOOP => {}
                    _ => found.extend(parse(message.payload())),
                }
            }
        }
    }

    /// Asks for the change `kind`, and waits until the kernel has made it.
    pub(crate) fn change(&mut self, kind: u16, flags: u16, body: &dyn Emitable) -> Result<(), KernelError> {
        self.sequence += 1;
        self.socket.send(&request(kind, NLM_F_ACK | flags, self.sequence, body), 0)?;
        loop {
            let datagram = self.receive()?;
            let message = NetlinkBuffer::new_checked(&datagram[..]).map_err(io::Error::other)?;
            // What is left of a dump that failed half way is none of our business.
            if message.sequence_number() == self.sequence && message.message_type() == NLMSG_ERROR {
                return acknowledged(message.payload());
            }
        }
    }

    /// Asks a question with one answer, whose body goes through `parse`.
    pub(crate) fn ask<T>(
        &mut self,
        kind: u16,
        body: &dyn Emitable,
        parse: fn(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, KernelError> {
        self.sequence += 1;
        self.socket.send(&request(kind, 0, self.sequence, body), 0)?;
        loop {
            let datagram = self.receive()?;
            let message = NetlinkBuffer::new_checked(&datagram[..]).map_err(io::Error::other)?;
            if message.sequence_number() != self.sequence {
                continue;
            }
            return match message.message_type() {
                NLMSG_ERROR => acknowledged(message.payload()).map(|()| None),
                _ => Ok(parse(message.payload())),
            };
        }
    }

    /// The name of an interface.
    pub(crate) fn name_of(&self, interface: u32) -> io::Result<String> {
        Ok(rustix::net::netdevice::index_to_name(&self.socket, interface)?)
    }

    fn receive(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match self.socket.recv_from_full() {
                Ok((datagram, _)) => return Ok(datagram),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// A request that the kernel has not carried out: its error, and what else it says.
#[derive(Debug)]
pub(crate) struct KernelError {
    pub(crate) error: io::Error,
    said: Option<String>,
}

impl KernelError {
    pub(crate) fn is(&self, errno: rustix::io::Errno) -> bool {
        self.error.raw_os_error() == Some(errno.raw_os_error())
    }
}

impl From<io::Error> for KernelError {
    fn from(error: io::Error) -> Self {
        KernelError { error, said: None }
    }
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.said {
            Some(said) => write!(f, "{} ({})", self.error, said.trim_end_matches('.')),
            None => self.error.fmt(f),
        }
    }
}

/// What an NLMSG_ERROR says: an error number, the header of the request, and attributes.
fn acknowledged(payload: &[u8]) -> Result<(), KernelError> {
    let error = match code(payload) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    let more = payload.get(size_of::<i32>() + NetlinkHeader::default().buffer_len()..).unwrap_or_default();
    let said =
        attributes(more).find_map(|(kind, value)| if kind == NLMSGERR_ATTR_MSG { text(value) } else { None });
    Err(KernelError { error, said })
}

fn request(kind: u16, flags: u16, sequence: u32, body: &dyn Emitable) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    let start = header.buffer_len();
    header.length = (start + body.buffer_len()) as u32;
    header.message_type = kind;
    header.flags = NLM_F_REQUEST | flags;
    header.sequence_number = sequence;
    let mut bytes = vec![0; start + body.buffer_len()];
    header.emit(&mut bytes);
    body.emit(&mut bytes[start..]);
    bytes
}

/// The error number that ends an answer, negative; 0 or none when all went well.
fn code(payload: &[u8]) -> io::Result<()> {
    match payload.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes)) {
        Some(code) if code < 0 => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        _ => Ok(()),
    }
}

pub(crate) fn about(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// The attributes in `bytes`, up to the first that is broken.
pub(crate) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(bytes).map_while(Result::ok).map(|attribute| {
        let (kind, length) = (attribute.kind(), usize::from(attribute.length()));
        (kind, &attribute.into_inner()[NLA_HEADER_SIZE..length])
    })
}

pub(crate) fn number(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

pub(crate) fn text(value: &[u8]) -> Option<String> {
    let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
    (end > 0).then(|| String::from_utf8_lossy(&value[..end]).into_owned())
}

pub(crate) fn ip(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => value.first_chunk::<4>().map(|bytes| IpAddr::from(*bytes)),
        16 => value.first_chunk::<16>().map(|bytes| IpAddr::from(*bytes)),
        _ => None,
    }
}
