//! What of a stream's bytes a machine reads.

use crate::machine::{Application, SocketId, StreamId};
use alloc::vec::Vec;
use core::net::SocketAddr;

/// What a machine makes of the bytes that it reads next from a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Reading {
    /// Nothing: they are passed on, or dropped.
    Nothing,
    /// A client says what it wants: SOCKS, or HTTP requests and their bodies.
    Client,
    /// A proxy answers.
    #[cfg(feature = "dispatch")]
    Answer(crate::dispatch::UpstreamProtocol),
    /// An origin answers such a request.
    Response {
        /// It was HEAD.
        head_request: bool,
        /// It came in HTTP/1.0.
        version_10: bool,
        /// The protocols that it offers to change to.
        upgrade: Vec<u8>,
    },
    /// The first bytes of a status line.
    Status,
    /// A name server answers.
    Message,
    /// A PROXY header.
    Header,
}

/// A machine that tells what it reads, so that all else can be left out of a recording.
pub trait Discreet: Application {
    /// What it makes of the bytes that it reads next from `stream`.
    fn reading(&self, stream: StreamId) -> Reading;

    /// To ask for its `read_buf` may change it now, if only what it says. Where memory is short it
    /// does.
    fn is_pressed(&self) -> bool;

    /// How many bytes it keeps of its streams and datagrams: those that have not left yet.
    fn held(&self) -> usize;

    /// How many of a datagram's first bytes it reads.
    fn reads_of(&self, socket: SocketId, from: SocketAddr, datagram: &[u8]) -> usize;
}
