//! A turmoil stream that can also be reset.
//!
//! turmoil sends a reset only where unread bytes are dropped; a program cannot ask for one. So a
//! reset here is a FIN with a mark, in a table that all hosts of a world share: the reader of a
//! marked stream's end gets a reset. It arrives in sequence, after the bytes written before it, as
//! a RST does that overtakes nothing.
//!
//! What this cannot do: after our own FIN the other side has read its end already and does not
//! learn of a reset, until it writes.
//!
//! And turmoil 0.7 loses a FIN that finds the receiver's queue full (nothing flushes it later), so
//! an end waits here until there is room for it, if need be beyond the life of the [`Wire`].

use super::net::Net;
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::TcpStream;

/// Streams that were reset, as (the side that did it, the other side).
pub(super) type Resets = BTreeSet<(SocketAddr, SocketAddr)>;

/// One end of a connection.
#[derive(Debug)]
pub struct Wire {
    /// Taken by the drop only.
    stream: Option<TcpStream>,
    local: SocketAddr,
    peer: SocketAddr,
    net: Net,
    shut: bool,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, net: &Net) -> Result<Self> {
        let (local, peer) = (stream.local_addr()?, stream.peer_addr()?);
        Ok(Wire { stream: Some(stream), local, peer, net: net.clone(), shut: false })
    }

    /// Connects from the host that runs this.
    ///
    /// # Errors
    /// [`ErrorKind::ConnectionRefused`] where no server listens, and wherever turmoil drops the
    /// request (a partition, an address without a host): it knows no other.
    pub async fn connect(to: SocketAddr, net: &Net) -> Result<Self> {
        Wire::new(TcpStream::connect(to).await?, net)
    }

    /// Our address.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The other side's address.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    fn stream(&mut self) -> Pin<&mut TcpStream> {
        Pin::new(self.stream.as_mut().expect("there until the drop"))
    }

    /// Reads; 0 is the other side's end.
    ///
    /// # Errors
    /// [`ErrorKind::ConnectionReset`].
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<Result<usize>> {
        let mut into = ReadBuf::new(buf);
        match self.stream().poll_read(cx, &mut into) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) if into.filled().is_empty() && self.net.take_reset(self.peer, self.local) => {
                Poll::Ready(Err(Error::new(ErrorKind::ConnectionReset, "reset by the other side")))
            }
            Poll::Ready(Ok(())) => Poll::Ready(Ok(into.filled().len())),
        }
    }

    /// Writes what the other side has room for: turmoil counts segments, not bytes.
    ///
    /// # Errors
    /// [`ErrorKind::BrokenPipe`] after a reset or after our own end.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        self.stream().poll_write(cx, buf)
    }

    /// Ends our half, as soon as the other side has room for the FIN.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.shut {
            ready!(poll_end(self.stream(), cx));
            self.shut = true;
        }
        Poll::Ready(())
    }

    /// Ends our half.
    pub async fn shutdown(&mut self) {
        poll_fn(|cx| self.poll_shutdown(cx)).await;
    }

    /// Closes so that the other side sees a reset.
    pub fn reset(self) {
        if !self.shut {
            self.net.mark_reset(self.local, self.peer);
        }
    }

    /// Reads what there is; 0 is the other side's end.
    ///
    /// # Errors
    /// As [`Wire::poll_read`].
    pub async fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        poll_fn(|cx| self.poll_read(cx, buf)).await
    }

    /// Fills `buf`.
    ///
    /// # Errors
    /// As [`Wire::poll_read`]; [`ErrorKind::UnexpectedEof`] when the other side ends before.
    pub async fn read_exact(&mut self, buf: &mut [u8]) -> Result<()> {
        let mut filled = 0;
        while filled < buf.len() {
            match self.read(&mut buf[filled..]).await? {
                0 => return Err(Error::new(ErrorKind::UnexpectedEof, format!("ended after {filled} bytes"))),
                len => filled += len,
            }
        }
        Ok(())
    }

    /// Reads until the other side's end.
    ///
    /// # Errors
    /// As [`Wire::poll_read`].
    pub async fn read_to_end(&mut self) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        let mut buf = vec![0; 64 * 1024];
        loop {
            match self.read(&mut buf).await? {
                0 => return Ok(all),
                len => all.extend_from_slice(&buf[..len]),
            }
        }
    }

    /// Writes all of `bytes`, in segments of at most 16 KiB.
    ///
    /// # Errors
    /// As [`Wire::poll_write`].
    pub async fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        for chunk in bytes.chunks(16 * 1024) {
            let mut rest = chunk;
            while !rest.is_empty() {
                let len = poll_fn(|cx| self.poll_write(cx, rest)).await?;
                rest = &rest[len..];
            }
        }
        Ok(())
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let Some(mut stream) = self.stream.take() else { return };
        // When the world itself ends there is no host left to notify.
        if self.shut || !turmoil::in_simulation() {
            return;
        }
        let ended = poll_end(Pin::new(&mut stream), &mut Context::from_waker(Waker::noop()));
        if ended.is_pending() {
            tokio::task::spawn_local(async move { poll_fn(|cx| poll_end(Pin::new(&mut stream), cx)).await });
        }
    }
}

/// Sends the FIN when there is room for it. Errors mean a reset, which reading tells.
fn poll_end(stream: Pin<&mut TcpStream>, cx: &mut Context<'_>) -> Poll<()> {
    if ready!(pin!(stream.writable()).poll(cx)).is_ok() {
        let _ = stream.poll_shutdown(cx);
    }
    Poll::Ready(())
}
