//! Datagrams by the dozen: one call for many, so that neither end of the benchmark is what limits
//! it.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};

/// Datagrams in a call.
pub(crate) const BATCH: usize = 64;
/// The longest understood, headers included.
const LONGEST: usize = 2048;

/// Room for what comes, and the same for what goes.
pub(crate) struct Batch {
    incoming: MultiHeaders<SockaddrIn>,
    outgoing: MultiHeaders<SockaddrIn>,
    room: Vec<[u8; LONGEST]>,
    came: Vec<(usize, Option<SockaddrIn>)>,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self {
            incoming: MultiHeaders::preallocate(BATCH, None),
            outgoing: MultiHeaders::preallocate(BATCH, None),
            room: vec![[0; LONGEST]; BATCH],
            came: Vec::new(),
        }
    }

    /// Waits for one, for as long as the socket's timeout is, and takes as many as there are.
    pub(crate) fn receive(&mut self, socket: &UdpSocket) -> io::Result<()> {
        self.came.clear();
        let mut slices: Vec<_> = self.room.iter_mut().map(|room| [IoSliceMut::new(room)]).collect();
        let flags = MsgFlags::MSG_WAITFORONE;
        let came = recvmmsg(socket.as_raw_fd(), &mut self.incoming, slices.iter_mut(), flags, None)?;
        self.came.extend(came.map(|message| (message.bytes, message.address)));
        Ok(())
    }

    /// What came, and from where.
    pub(crate) fn came(&self) -> impl Iterator<Item = (&[u8], Option<SocketAddrV4>)> {
        let all = self.room.iter().zip(&self.came);
        all.map(|(room, (length, from))| (&room[..*length], from.map(SocketAddrV4::from)))
    }

    /// Sends what came back to where it came from.
    pub(crate) fn send_back(&mut self, socket: &UdpSocket) -> io::Result<()> {
        let messages: Vec<_> =
            self.room.iter().zip(&self.came).map(|(room, (length, to))| (&room[..*length], *to)).collect();
        send(&mut self.outgoing, socket, &messages)
    }

    /// Sends over a connected socket.
    pub(crate) fn send(&mut self, socket: &UdpSocket, messages: &[Vec<u8>]) -> io::Result<()> {
        let messages: Vec<_> = messages.iter().map(|message| (message.as_slice(), None)).collect();
        messages.chunks(BATCH).try_for_each(|messages| send(&mut self.outgoing, socket, messages))
    }
}

fn send(
    headers: &mut MultiHeaders<SockaddrIn>,
    socket: &UdpSocket,
    mut messages: &[(&[u8], Option<SockaddrIn>)],
) -> io::Result<()> {
    while !messages.is_empty() {
        let slices: Vec<_> = messages.iter().map(|(bytes, _)| [IoSlice::new(bytes)]).collect();
        let to: Vec<_> = messages.iter().map(|(_, to)| *to).collect();
        let sent = sendmmsg(socket.as_raw_fd(), headers, slices.iter(), to, [], MsgFlags::empty())?.count();
        messages = &messages[sent.max(1)..];
    }
    Ok(())
}
