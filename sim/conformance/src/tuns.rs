//! TUN devices of a worker under test, and what stands behind them.
//!
//! Most cases need no device of the system: each read of a TUN is one packet with its virtio
//! header, and so is each write. A pair of datagram sockets does the same, needs no privilege, and
//! shows what a device hardly ever does, such as to block.
//!
//! ```text
//!   case ──[header, packet]──▶ socket ══ socket ──▶ runtime under test      System, Tun
//! ```

use super::client::{is_deadline, socket_deadline};
use super::faulty::{self, Kind};
use ropewalk_core::machine::{Fault, TunConfiguration};
use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

/// Sets addresses and MTU of a device.
pub type Configure = Box<dyn FnMut(&TunConfiguration) -> Result<(), Fault> + Send>;

/// A TUN device that the runtime under test is to move packets of.
pub struct Tun {
    /// Which.
    pub device: Device,
    /// With a virtio header before each packet.
    pub offload: bool,
    /// Is called for each `Configure` of the machine, and answers it.
    pub configure: Configure,
}

/// Which device it is.
#[derive(Debug)]
pub enum Device {
    /// To be made, in the namespace of the thread that starts the worker, with this name.
    Named(String),
    /// Is open already.
    Given(OwnedFd),
}

impl fmt::Debug for Tun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tun").field("device", &self.device).finish_non_exhaustive()
    }
}

/// Bytes of a virtio header (VIRTIO 1.2 section 5.1.6).
const HEADER: usize = 10;

/// A virtio header: flags, type of segmentation; then the length of the headers, the size of a
/// segment, where the checksum starts, and where it stands from there.
pub fn header(flags: u8, gso: u8, numbers: [u16; 4]) -> [u8; HEADER] {
    let mut out = [flags, gso, 0, 0, 0, 0, 0, 0, 0, 0];
    for (bytes, number) in out[2..].chunks_mut(2).zip(numbers) {
        bytes.copy_from_slice(&number.to_ne_bytes());
    }
    out
}

/// Nothing is left to do with the packet.
pub const PLAIN: [u8; HEADER] = [0; HEADER];

/// The system's end of a stand-in for a TUN device with offload.
pub struct System {
    socket: UnixDatagram,
    /// For a fault at the level of descriptors.
    _kept: Option<OwnedFd>,
}

impl System {
    /// A stand-in. Whatever the machine wants it to be set to is taken.
    pub fn pair() -> (System, Tun) {
        System::configured_by(Box::new(|_| Ok(())))
    }

    /// The same, with an answer to each `Configure`.
    ///
    /// # Panics
    /// When the system gives no sockets.
    pub fn configured_by(configure: Configure) -> (System, Tun) {
        let (socket, other) = UnixDatagram::pair().expect("descriptors are left");
        socket.set_read_timeout(Some(socket_deadline())).expect("a socket option");
        socket.set_write_timeout(Some(socket_deadline())).expect("a socket option");
        let other = OwnedFd::from(other);
        let keep = faulty::wanted() == Kind::KeepTun;
        let kept = keep.then(|| other.try_clone().expect("descriptors are left"));
        (System { socket, _kept: kept }, Tun { device: Device::Given(other), offload: true, configure })
    }

    /// Another hand on the same end.
    ///
    /// # Panics
    /// When no descriptor is left.
    #[must_use]
    pub fn again(&self) -> System {
        System { socket: self.socket.try_clone().expect("descriptors are left"), _kept: None }
    }

    /// Sends a packet that needs nothing more.
    pub fn send(&self, packet: &[u8]) {
        self.send_with(&PLAIN, packet);
    }

    /// Sends a packet behind this header.
    ///
    /// # Panics
    /// When it is not taken in time, or not whole.
    pub fn send_with(&self, header: &[u8], packet: &[u8]) {
        let whole = [header, packet].concat();
        assert_eq!(self.socket.send(&whole).expect("the device takes it in time"), whole.len());
    }

    /// Whether nobody holds the device any more.
    pub fn is_closed(&self) -> bool {
        self.socket.send(&PLAIN).is_err_and(|error| !is_deadline(&error))
    }

    /// The next packet, behind its header.
    ///
    /// # Panics
    /// When none comes in time.
    pub fn hear(&self) -> ([u8; HEADER], Vec<u8>) {
        self.next().expect("a packet comes in time")
    }

    /// The next packet, of which nothing is left to do.
    ///
    /// # Panics
    /// When none comes in time, or something is left to do.
    pub fn hear_plain(&self) -> Vec<u8> {
        let (header, packet) = self.hear();
        assert_eq!(header, PLAIN);
        packet
    }

    /// All that comes until nothing has come for `quiet`.
    pub fn rest(&self, quiet: Duration) -> Vec<Vec<u8>> {
        self.wait_for(quiet);
        let all = std::iter::from_fn(|| self.next()).map(|(_, packet)| packet).collect();
        self.wait_for(socket_deadline());
        all
    }

    /// From now on [`System::next`] waits for so long.
    ///
    /// # Panics
    /// When the system does not let us.
    pub fn wait_for(&self, time: Duration) {
        self.socket.set_read_timeout(Some(time)).expect("a socket option");
    }

    /// The next packet, behind its header, if one comes in time.
    ///
    /// # Panics
    /// When the socket fails.
    pub fn next(&self) -> Option<([u8; HEADER], Vec<u8>)> {
        let mut buf = vec![0; HEADER + 65_536];
        match self.socket.recv(&mut buf) {
            Ok(len) => {
                let (header, packet) = buf[..len].split_first_chunk().expect("the header is whole");
                Some((*header, packet.to_vec()))
            }
            Err(error) if is_deadline(&error) => None,
            Err(error) => panic!("a stand-in of the kit failed: {error}"),
        }
    }
}
