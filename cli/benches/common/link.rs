//! One connection of the client under load: what it sends, what it expects back, and what that adds
//! to the tally.

use std::io::{self, ErrorKind, Read};
use std::time::Instant;

use mio::net::TcpStream;

use crate::common::session::{BLOCK, Turn, write};

/// Bytes of a round trip's message.
const MESSAGE: usize = 64;
/// A flood is made of these, as many to a write as fit in 64 KiB: this is what tcpkali does, too.
const PING: &[u8] = b"PING\r\n";
const PINGS_A_WRITE: usize = 64 * 1024 / PING.len();
/// Calls before the other connections get their turn.
const OPERATIONS_A_TURN: usize = 8;

/// What the client does on each connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Sends as fast as it can.
    Up,
    /// Receives as fast as it can.
    Down,
    /// Sends `PING\r\n` as fast as it can, and receives the echo.
    Flood,
    /// Sends 64 bytes when the last 64 have come back.
    RoundTrip,
}

/// What all connections together moved.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Whether round trips count.
    pub(crate) recording: bool,
    /// Nanoseconds of each that did.
    pub(crate) trips: Vec<u32>,
}

/// Room to read into, and what bulk data and floods are made of.
pub(crate) struct Buffers {
    scratch: Vec<u8>,
    bulk: Vec<u8>,
    pings: Vec<u8>,
}

impl Buffers {
    pub(crate) fn new() -> Self {
        Self { scratch: vec![0; BLOCK], bulk: vec![b'U'; BLOCK], pings: PING.repeat(PINGS_A_WRITE) }
    }
}

/// One connection under load.
pub(crate) struct Link {
    stream: TcpStream,
    readable: bool,
    writable: bool,
    closing: bool,
    /// Already in the client's queue.
    pub(crate) queued: bool,
    /// Of a flood's block or of the message: how much of it was sent, and how much of the message
    /// came back.
    sent: usize,
    back: usize,
    message: [u8; MESSAGE],
    count: u64,
    began: Instant,
}

impl Link {
    pub(crate) fn new(stream: std::net::TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream: TcpStream::from_std(stream),
            readable: false,
            writable: false,
            closing: false,
            queued: false,
            sent: 0,
            back: 0,
            message: [b'P'; MESSAGE],
            count: 0,
            began: Instant::now(),
        })
    }

    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    pub(crate) fn handle_event(&mut self, event: &mio::event::Event) {
        // After an error both calls are tried: one of them will name it.
        self.readable |= event.is_readable() || event.is_error();
        self.writable |= event.is_writable() || event.is_error();
        self.closing |= event.is_read_closed() || event.is_error();
    }

    /// Works until a call would block or the turn is used up.
    pub(crate) fn turn(&mut self, kind: Kind, buffers: &mut Buffers, tally: &mut Tally) -> io::Result<Turn> {
        for _ in 0..OPERATIONS_A_TURN {
            let moved = match kind {
                Kind::Up => self.send(&buffers.bulk, tally)?,
                Kind::Down => self.receive(&mut buffers.scratch, tally)?,
                Kind::Flood => {
                    self.sent %= buffers.pings.len();
                    let sent = self.send(&buffers.pings[self.sent..], tally)?;
                    self.sent += sent.unwrap_or(0);
                    let received = self.receive(&mut buffers.scratch, tally)?;
                    sent.or(received)
                }
                Kind::RoundTrip => self.round_trip(tally)?,
            };
            if moved.is_none() {
                return Ok(Turn::Wait);
            }
        }
        Ok(Turn::Again)
    }

    /// `None` if the call would block.
    fn send(&mut self, bytes: &[u8], tally: &mut Tally) -> io::Result<Option<usize>> {
        if !self.writable {
            return Ok(None);
        }
        let count = write(&mut self.stream, bytes, &mut self.writable)?;
        tally.sent += count as u64;
        Ok(Some(count))
    }

    /// `None` if the call would block.
    fn receive(&mut self, into: &mut [u8], tally: &mut Tally) -> io::Result<Option<usize>> {
        if !self.readable {
            return Ok(None);
        }
        match self.stream.read(into) {
            Ok(0) => Err(io::Error::new(ErrorKind::UnexpectedEof, "the other side closed")),
            Ok(count) => {
                self.readable = count == into.len() || self.closing;
                tally.received += count as u64;
                Ok(Some(count))
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(None)
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => Ok(Some(0)),
            Err(e) => Err(e),
        }
    }

    fn round_trip(&mut self, tally: &mut Tally) -> io::Result<Option<usize>> {
        if self.sent < MESSAGE {
            if self.sent == 0 {
                // After the first byte, which asks the server to echo, so that no two messages are
                // alike.
                self.message[1..9].copy_from_slice(&self.count.to_le_bytes());
                self.began = Instant::now();
            }
            let message = self.message;
            let sent = self.send(&message[self.sent..], tally)?;
            self.sent += sent.unwrap_or(0);
            return Ok(sent);
        }
        // Room for more than is due, so that a short read is the rule and saves a read that would
        // block.
        let mut answer = [0; MESSAGE + 1];
        let Some(count) = self.receive(&mut answer, tally)? else {
            return Ok(None);
        };
        let back = self.back + count;
        if self.message.get(self.back..back) != Some(&answer[..count]) {
            return Err(io::Error::other("the echo differs from what was sent"));
        }
        self.back = back;
        if back == MESSAGE {
            if tally.recording {
                tally.trips.push(u32::try_from(self.began.elapsed().as_nanos()).unwrap_or(u32::MAX));
            }
            self.sent = 0;
            self.back = 0;
            self.count += 1;
        }
        Ok(Some(count))
    }
}
