//! Sockets held in [`Async`], armed a direction at a time.
//!
//! The reactor reports a direction once each time it was armed, and then looks at the state, not at
//! the change: what came between the try that would block and the arming is reported at once. So a
//! short read needs no second try, and an end that came with the bytes is not missed. Every answer
//! that says "it would block" has armed.

use crate::wake::{Mailbox, Ready};
use async_io::Async;
use ropewalk_core::drive::{Incoming, Moved, TryError};
use ropewalk_core::errno::fault;
use ropewalk_core::machine::{Fault, ListenerId};
use ropewalk_sockets::{self as sockets, Tried};
use std::io::{Read, Result, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// One connection.
pub(crate) struct Stream {
    socket: Async<TcpStream>,
    readable: Waker,
    writable: Waker,
}

impl Stream {
    /// Takes over a socket that does not block; what becomes possible is said to `mailbox` of
    /// stream number `index`.
    pub(crate) fn new(socket: TcpStream, index: u32, mailbox: &Arc<Mailbox>) -> Result<Self> {
        let readable = Mailbox::waker(mailbox, Ready::Readable(index));
        let writable = Mailbox::waker(mailbox, Ready::Writable(index));
        Ok(Stream { socket: Async::new_nonblocking(socket)?, readable, writable })
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        self.socket.get_ref()
    }

    /// Says once that reading would not block.
    pub(crate) fn arm_read(&self) -> std::result::Result<(), Fault> {
        arm(&self.readable, |cx| self.socket.poll_readable(cx)).map_err(|error| fault(&error))
    }

    /// Says once that writing would not block, or that a connect has ended.
    pub(crate) fn arm_write(&self) -> std::result::Result<(), Fault> {
        arm(&self.writable, |cx| self.socket.poll_writable(cx)).map_err(|error| fault(&error))
    }

    /// Our own address, once the connection stands.
    pub(crate) fn finish_connect(&self) -> Tried<SocketAddr> {
        let result = sockets::finish_connect(self.socket());
        match result {
            // The drive does not try to read before this has reported readiness.
            Ok(_) => self.arm_read().map_err(TryError::Fault)?,
            Err(TryError::WouldBlock) => self.arm_write().map_err(TryError::Fault)?,
            Err(TryError::Fault(_)) => {}
        }
        result
    }

    pub(crate) fn read(&self, buf: &mut [u8]) -> Tried<Moved> {
        let whole = buf.len();
        match sockets::transfer(|| self.socket().read(buf)) {
            // The end of the other side's half: nothing to wait for.
            Ok(0) => Ok(Moved { len: 0, more: false }),
            result => moved(result, whole, || self.arm_read()),
        }
    }

    pub(crate) fn write(&self, buf: &[u8]) -> Tried<Moved> {
        moved(sockets::transfer(|| self.socket().write(buf)), buf.len(), || self.arm_write())
    }
}

/// Of a call that should move `whole` bytes: after one that moves less the next would block.
fn moved(
    result: Tried<usize>,
    whole: usize,
    arm: impl Fn() -> std::result::Result<(), Fault>,
) -> Tried<Moved> {
    match result {
        Ok(len) if len == whole => Ok(Moved { len, more: true }),
        // Where arming fails the next try is made, would block, and tells.
        Ok(len) => Ok(Moved { len, more: arm().is_err() }),
        Err(TryError::WouldBlock) => arm().map_err(TryError::Fault).and(Err(TryError::WouldBlock)),
        Err(fault) => Err(fault),
    }
}

/// A socket that connections come in on.
pub(crate) struct Listener {
    socket: Async<TcpListener>,
    bound: SocketAddr,
    waker: Waker,
}

impl Listener {
    pub(crate) fn new(socket: TcpListener, id: ListenerId, mailbox: &Arc<Mailbox>) -> Result<Self> {
        let bound = socket.local_addr()?;
        let waker = Mailbox::waker(mailbox, Ready::Listener(id));
        Ok(Listener { socket: Async::new(socket)?, bound, waker })
    }

    /// Takes one connection from the backlog; it does not block.
    pub(crate) fn accept(&self) -> Tried<(TcpStream, Incoming)> {
        let failed = |error| TryError::Fault(fault(&error));
        let accepted = sockets::accept(self.bound, || self.socket.get_ref().accept());
        if let Err(TryError::WouldBlock) = accepted {
            arm(&self.waker, |cx| self.socket.poll_readable(cx)).map_err(failed)?;
        }
        let (socket, incoming) = accepted?;
        socket.set_nonblocking(true).map_err(failed)?;
        Ok((socket, incoming))
    }
}

/// Polls until `Pending`, which registers the waker. The first `Ready` is the event that was served
/// already.
pub(crate) fn arm(waker: &Waker, mut poll: impl FnMut(&mut Context<'_>) -> Poll<Result<()>>) -> Result<()> {
    let mut cx = Context::from_waker(waker);
    while let Poll::Ready(told) = poll(&mut cx) {
        told?;
    }
    Ok(())
}
