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

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_route::link::LinkHeader;
    use rustix::io::Errno;

    /// An NLMSG_ERROR to a request whose header alone is repeated.
    fn answer(code: i32, words: &str) -> Vec<u8> {
        let mut payload = code.to_ne_bytes().to_vec();
        payload.extend([0; 16]);
        if !words.is_empty() {
            let length = NLA_HEADER_SIZE + words.len() + 1;
            payload.extend((length as u16).to_ne_bytes());
            payload.extend(NLMSGERR_ATTR_MSG.to_ne_bytes());
            payload.extend(words.bytes());
            payload.push(0);
        }
        payload
    }

    #[test]
    fn what_the_kernel_refuses_is_told_with_its_words() {
        assert!(acknowledged(&answer(0, "")).is_ok(), "0 is well");
        assert!(acknowledged(&[]).is_ok(), "nothing is said of an error");
        let busy = acknowledged(&answer(-16, "Device is up.")).expect_err("refused");
        assert!(busy.is(Errno::BUSY) && !busy.is(Errno::PERM));
        assert!(busy.to_string().ends_with("(Device is up)"), "{busy}");
        let silent = acknowledged(&answer(-1, "")).expect_err("refused");
        assert!(silent.is(Errno::PERM));
        assert_eq!(silent.to_string(), std::io::Error::from(Errno::PERM).to_string());
        // The words of another attribute are not the kernel's.
        let mut other = answer(-16, "no words");
        other[22] = 9;
        assert_eq!(
            acknowledged(&other).expect_err("refused").to_string(),
            io::Error::from(Errno::BUSY).to_string()
        );
    }

    #[test]
    fn a_request_has_its_length_its_number_and_its_body() {
        let body = LinkHeader { index: 7, ..LinkHeader::default() };
        let bytes = request(18, NLM_F_DUMP, 5, &body);
        let message = NetlinkBuffer::new_checked(&bytes[..]).expect("whole");
        let head = (message.length() as usize, message.message_type(), message.sequence_number());
        assert_eq!(head, (bytes.len(), 18, 5));
        assert_eq!(message.flags(), NLM_F_REQUEST | NLM_F_DUMP);
        assert_eq!(LinkHeader::parse(message.payload()).map(|header| header.index).ok(), Some(7));
    }

    #[test]
    fn values_are_read_by_their_length() {
        assert_eq!(number(&7_u32.to_ne_bytes()), Some(7));
        assert_eq!(number(&[1, 2, 3]), None);
        assert_eq!(text(b"eth0\0rest"), Some("eth0".into()));
        assert_eq!((text(b"eth0"), text(b"\0x"), text(b"")), (Some("eth0".into()), None, None));
        assert_eq!(ip(&[10, 0, 0, 2]), Some(IpAddr::from([10, 0, 0, 2])));
        assert_eq!(ip(&[0; 16]), Some(IpAddr::from([0_u8; 16])));
        assert_eq!((ip(&[0; 3]), ip(&[0; 5])), (None, None));
    }

    /// The kernel answers anybody who only asks.
    #[test]
    fn the_kernel_is_asked_one_thing_after_another() {
        const RTM_GETLINK: u16 = 18;
        let index = |payload: &[u8]| LinkHeader::parse(payload).ok().map(|header| header.index);
        let mut asker = Asker::new().expect("rtnetlink");
        for _ in 0..2 {
            let all = asker.dump("links", RTM_GETLINK, &LinkHeader::default(), index).expect("told");
            assert!(all.contains(&1), "the loopback is the first of each network namespace: {all:?}");
            let one = LinkHeader { index: 1, ..LinkHeader::default() };
            assert_eq!(asker.ask(RTM_GETLINK, &one, index).expect("told"), Some(1));
            let none = LinkHeader { index: i32::MAX as u32, ..LinkHeader::default() };
            assert!(asker.ask(RTM_GETLINK, &none, index).expect_err("there is none").is(Errno::NODEV));
        }
        assert_eq!(asker.name_of(1).expect("told"), "lo");
        let error =
            asker.dump("nothing", 18 | 0x4000, &LinkHeader::default(), index).expect_err("no such dump");
        assert!(error.to_string().starts_with("reading the nothing over rtnetlink: "), "{error}");
    }
}
