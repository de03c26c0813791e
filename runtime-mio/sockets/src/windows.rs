//! Sockets held to an interface on Windows: `IP_UNICAST_IF`, for which no crate has a safe call.

#![allow(unsafe_code, reason = "setsockopt with this option has no safe form")]

use ropewalk_core::machine::Device;
use socket2::Socket;
use std::io::{Error, Result};
use std::net::IpAddr;
use std::os::windows::io::AsRawSocket;
use std::time::{Duration, Instant};
use windows_sys::Win32::Networking::WinSock::{
    IP_UNICAST_IF, IPPROTO_IP, IPPROTO_IPV6, IPV6_UNICAST_IF, SOCKET, setsockopt,
};

/// The system is asked for its interfaces no more often: an answer takes it milliseconds.
const FRESH: Duration = Duration::from_secs(1);

/// The numbers of this host's interfaces.
#[derive(Default)]
pub(super) struct Interfaces {
    known: Vec<(Device, u32)>,
    asked: Option<Instant>,
}

impl Interfaces {
    /// The number of the interface that people call `device`; `None`: there is none now.
    pub(super) fn index(&mut self, device: Device) -> Option<u32> {
        if self.asked.is_none_or(|asked| asked.elapsed() >= FRESH) {
            self.asked = Some(Instant::now());
            let all = if_addrs::get_if_addrs().unwrap_or_default();
            self.known = all.iter().filter_map(|one| Device::new(&one.name).zip(one.index)).collect();
        }
        self.known.iter().find(|(its, _)| *its == device).map(|(_, index)| *index)
    }
}

/// What `socket` sends to addresses of the family of `to` leaves by this interface.
///
/// # Errors
/// What the system says.
pub(super) fn hold(socket: &Socket, index: u32, to: IpAddr) -> Result<()> {
    // ws2ipdef.h: the number is in network byte order for IPv4, in the host's for IPv6.
    let (level, option, value) = match to {
        IpAddr::V4(_) => (IPPROTO_IP, IP_UNICAST_IF, index.to_be()),
        IpAddr::V6(_) => (IPPROTO_IPV6, IPV6_UNICAST_IF, index),
    };
    let length = size_of_val(&value) as i32;
    // SAFETY: the socket is open while it is borrowed, and `value` lives and has `length` bytes
    // until the call is over.
    let done = unsafe {
        setsockopt(socket.as_raw_socket() as SOCKET, level, option, (&raw const value).cast(), length)
    };
    if done == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}
