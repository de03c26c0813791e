//! One connection at the server. Its first byte says what the client wants:
//!
//! | byte | the server |
//! | --- | --- |
//! | `U` | discards (bulk up) |
//! | `D` | sends as fast as it can (bulk down) |
//! | `P` | echoes everything, that byte included (flood, round trips, connection rate, idle) |
//! | `C` | compares what follows with a [`Pattern`], waits for the end, then answers and closes (half-close check) |
//!
//! mio is edge-triggered: `readable` and `writable` stay set until a call would block, and a
//! session that used up its turn is put back in the queue by the server.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use mio::net::TcpStream;

use crate::common::pattern::Pattern;

/// Bytes for each read and each write of bulk data.
pub(crate) const BLOCK: usize = 256 * 1024;
/// Bytes the client sends in a half-close check.
pub(crate) const CHECK_UP: usize = 8 * 1024 * 1024;
/// Bytes the server answers with after it saw the end.
pub(crate) const CHECK_DOWN: usize = 1024 * 1024;
/// First byte of the answer: what the client sent arrived whole and unchanged.
pub(crate) const ARRIVED: u8 = b'Y';
/// The whole of the answer if it did not.
pub(crate) const DIFFERED: u8 = b'N';
/// Reads or writes before the other sessions get their turn.
const OPERATIONS_A_TURN: usize = 8;

/// What is to become of a session after its turn.
pub(crate) enum Turn {
    /// It could go on at once.
    Again,
    /// Nothing to do before the next event.
    Wait,
    /// It has ended.
    Close,
}

enum Mode {
    Undecided,
    Sink,
    Source,
    Echo,
    Check(Check),
}

/// The half-close check as the server sees it: eight bytes of seed, then the pattern.
struct Check {
    seed: Vec<u8>,
    pattern: Option<Pattern>,
    compared: usize,
    same: bool,
}

impl Check {
    fn handle_bytes(&mut self, mut bytes: &[u8]) {
        if self.pattern.is_none() {
            let wanted = (8 - self.seed.len()).min(bytes.len());
            self.seed.extend_from_slice(&bytes[..wanted]);
            bytes = &bytes[wanted..];
            if let Ok(seed) = <[u8; 8]>::try_from(self.seed.as_slice()) {
                self.pattern = Some(Pattern::new(u64::from_le_bytes(seed)));
            }
        }
        if let Some(pattern) = &mut self.pattern {
            self.same = self.same && pattern.matches(bytes);
            self.compared += bytes.len();
        }
    }

    fn answer(&self) -> Vec<u8> {
        match <[u8; 8]>::try_from(self.seed.as_slice()) {
            Ok(seed) if self.same && self.compared == CHECK_UP => {
                let mut answer = vec![ARRIVED; 1 + CHECK_DOWN];
                Pattern::new(!u64::from_le_bytes(seed)).fill(&mut answer[1..]);
                answer
            }
            _ => vec![DIFFERED],
        }
    }
}

/// One accepted connection.
pub(crate) struct Session {
    stream: TcpStream,
    mode: Mode,
    readable: bool,
    writable: bool,
    /// The peer's end was announced: a short read no longer means that the next would block.
    closing: bool,
    /// The peer's end was read.
    ended: bool,
    /// Bytes to send before anything more is read, and how many of them went out.
    pending: Vec<u8>,
    sent: usize,
    /// Already in the server's queue.
    pub(crate) queued: bool,
}

impl Session {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            mode: Mode::Undecided,
            readable: false,
            writable: false,
            closing: false,
            ended: false,
            pending: Vec::new(),
            sent: 0,
            queued: false,
        }
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

    /// Works until a call would block or the turn is used up. `scratch` is for reading, `payload`
    /// is what bulk data is made of, `received` counts the bytes of every session.
    pub(crate) fn turn(
        &mut self,
        scratch: &mut [u8],
        payload: &[u8],
        received: &AtomicU64,
    ) -> io::Result<Turn> {
        for _ in 0..OPERATIONS_A_TURN {
            if self.sent < self.pending.len() {
                if !self.writable {
                    return Ok(Turn::Wait);
                }
                let count = write(&mut self.stream, &self.pending[self.sent..], &mut self.writable)?;
                self.sent += count;
            } else if self.ended {
                return Ok(Turn::Close);
            } else if matches!(self.mode, Mode::Source) {
                if !self.writable {
                    return Ok(Turn::Wait);
                }
                write(&mut self.stream, payload, &mut self.writable)?;
            } else {
                if !self.readable {
                    return Ok(Turn::Wait);
                }
                match self.stream.read(scratch) {
                    Ok(0) => self.handle_end(),
                    Ok(count) => {
                        received.fetch_add(count as u64, Ordering::Relaxed);
                        if count < scratch.len() && !self.closing {
                            self.readable = false;
                        }
                        self.handle_bytes(&scratch[..count])?;
                    }
                    Err(e) if e.kind() == ErrorKind::WouldBlock => self.readable = false,
                    Err(e) if e.kind() == ErrorKind::Interrupted => {}
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(Turn::Again)
    }

    fn handle_end(&mut self) {
        self.ended = true;
        if let Mode::Check(check) = &self.mode {
            self.pending = check.answer();
            self.sent = 0;
        }
    }

    fn handle_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut bytes = bytes;
        if matches!(self.mode, Mode::Undecided) {
            self.mode = match bytes[0] {
                b'U' => Mode::Sink,
                b'D' => Mode::Source,
                b'P' => Mode::Echo,
                b'C' => Mode::Check(Check { seed: Vec::new(), pattern: None, compared: 0, same: true }),
                other => {
                    return Err(io::Error::other(format!("expected U, D, P or C, got {other:#04x}")));
                }
            };
            if !matches!(self.mode, Mode::Echo) {
                bytes = &bytes[1..];
            }
        }
        match &mut self.mode {
            Mode::Undecided | Mode::Sink | Mode::Source => {}
            Mode::Check(check) => check.handle_bytes(bytes),
            Mode::Echo => {
                let sent =
                    if self.writable { write(&mut self.stream, bytes, &mut self.writable)? } else { 0 };
                self.pending.clear();
                self.pending.extend_from_slice(&bytes[sent..]);
                self.sent = 0;
            }
        }
        Ok(())
    }
}

/// One write; how much went out, `writable` cleared if the next would block.
pub(crate) fn write(stream: &mut TcpStream, bytes: &[u8], writable: &mut bool) -> io::Result<usize> {
    match stream.write(bytes) {
        Ok(count) => {
            // A short write means that the socket's buffer is full.
            *writable = count == bytes.len();
            Ok(count)
        }
        Err(e) if e.kind() == ErrorKind::WouldBlock => {
            *writable = false;
            Ok(0)
        }
        Err(e) if e.kind() == ErrorKind::Interrupted => Ok(0),
        Err(e) => Err(e),
    }
}
