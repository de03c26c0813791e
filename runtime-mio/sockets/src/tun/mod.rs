//! TUN devices, with segmentation offload where the system has it.
//!
//! tun-rs opens the device and knows each system's calls. Its own cutting and joining of
//! superpackets is left aside: it works packet by packet, with sums in user space. Here one read is
//! one packet with its virtio header, whatever its size.

mod device;
#[cfg(target_os = "linux")]
mod header;

use crate::socket::{Tried, again};
use device::Device;
use ropewalk_core::drive::TryError;
use ropewalk_core::machine::{Fault, Offload, TunConfiguration};
use std::io::{ErrorKind, Result};
#[cfg(target_os = "linux")]
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use tun_rs::{DeviceBuilder, SyncDevice};

/// Packets that the system queues for us. At 7 Gbit/s with offload they last 50 ms; beyond them the
/// system drops.
#[cfg(target_os = "linux")]
const QUEUE: u32 = 1000;

/// One TUN device, non-blocking.
pub struct Tun {
    device: Device,
    offload: bool,
    refused: u64,
    configure: Option<Configure>,
}

/// Sets addresses and MTU of a device.
pub type Configure = Box<dyn FnMut(&TunConfiguration) -> std::result::Result<(), Fault> + Send>;

impl Tun {
    /// Creates a device, named `name` where one is given (Linux: at most 15 bytes), and takes over
    /// a persistent one of that name. With `offload` the system hands over superpackets, where it
    /// can. The device is up, and has no address yet.
    ///
    /// # Errors
    /// What the system says: [`PermissionDenied`](std::io::ErrorKind::PermissionDenied) without
    /// `CAP_NET_ADMIN`, [`NotFound`](std::io::ErrorKind::NotFound) without `/dev/net/tun`.
    pub fn create(name: Option<&str>, offload: bool) -> Result<Tun> {
        let mut builder = DeviceBuilder::new();
        if let Some(name) = name {
            builder = builder.name(name);
        }
        #[cfg(target_os = "linux")]
        {
            builder = builder.offload(offload).tx_queue_len(QUEUE);
        }
        let device = builder.build_sync()?;
        device.set_nonblocking(true)?;
        let offload = offload && has_offload(&device);
        Ok(Tun { device: Device::Opened(device), offload, refused: 0, configure: None })
    }

    /// Takes over what somebody else has opened: each read is one packet, and so is each write.
    /// With `offload` (Linux) a virtio header stands before it, in both directions.
    ///
    /// # Errors
    /// What the system says when it shall not block.
    pub fn given(fd: OwnedFd, offload: bool) -> Result<Tun> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        let offload = offload && cfg!(target_os = "linux");
        Ok(Tun { device: Device::Given(fd.into()), offload, refused: 0, configure: None })
    }

    /// The device's name.
    ///
    /// # Errors
    /// What the system says; [`Unsupported`](std::io::ErrorKind::Unsupported) of a
    /// [given](Tun::given) one.
    pub fn name(&self) -> Result<String> {
        match &self.device {
            Device::Opened(device) => device.name(),
            Device::Given(_) => Err(ErrorKind::Unsupported.into()),
        }
    }

    /// Whether superpackets come in and are taken.
    pub fn offload(&self) -> bool {
        self.offload
    }

    /// How many packets were dropped because their header cannot be true.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// As [`Io::try_take`](ropewalk_core::drive::Io::try_take).
    ///
    /// # Errors
    /// As [`TryError`] says.
    pub fn try_take(&mut self, buf: &mut [u8]) -> Tried<(usize, Offload)> {
        #[cfg(target_os = "linux")]
        if self.offload {
            let mut head = [0; header::LENGTH];
            let parts = &mut [IoSliceMut::new(&mut head), IoSliceMut::new(buf)];
            let read = some(again(interrupted, || self.device.recv_vectored(parts))?)?;
            let len = read.saturating_sub(header::LENGTH);
            return match header::parse(&head, &buf[..len]) {
                Some(offload) => Ok((len, offload)),
                None => {
                    self.refused += 1;
                    Ok((0, Offload::None))
                }
            };
        }
        Ok((some(again(interrupted, || self.device.recv(buf))?)?, Offload::None))
    }

    /// As [`Io::try_give`](ropewalk_core::drive::Io::try_give).
    ///
    /// # Errors
    /// As [`TryError`] says.
    pub fn try_give(&mut self, packet: &[u8], offload: Offload) -> Tried<()> {
        #[cfg(target_os = "linux")]
        if self.offload {
            let Some(head) = header::emit(packet, offload) else {
                self.refused += 1;
                return Err(TryError::Fault(Fault::Unsupported));
            };
            let parts = [IoSlice::new(&head), IoSlice::new(packet)];
            return again(interrupted, || self.device.send_vectored(&parts)).map(drop);
        }
        match offload {
            Offload::None => again(interrupted, || self.device.send(packet)).map(drop),
            _ => Err(TryError::Fault(Fault::Unsupported)),
        }
    }

    /// Has `configure` set addresses and MTU when the machine has learnt them. What it changes in
    /// this host is the caller's affair.
    #[must_use]
    pub fn configured_by(mut self, configure: Configure) -> Self {
        self.configure = Some(configure);
        self
    }

    /// As [`Io::configure`](ropewalk_core::drive::Io::configure).
    ///
    /// # Errors
    /// What [`Tun::configured_by`]'s function says; [`Fault::Unsupported`] where there is none.
    pub fn configure(&mut self, configuration: &TunConfiguration) -> std::result::Result<(), Fault> {
        self.configure.as_mut().map_or(Err(Fault::Unsupported), |configure| configure(configuration))
    }
}

#[cfg(target_os = "linux")]
fn has_offload(device: &SyncDevice) -> bool {
    device.tcp_gso()
}

#[cfg(not(target_os = "linux"))]
fn has_offload(_: &SyncDevice) -> bool {
    false
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

impl AsRawFd for Tun {
    fn as_raw_fd(&self) -> RawFd {
        self.device.as_fd().as_raw_fd()
    }
}

/// No packet is empty: such a read is the end, and each further one would be too.
fn some(read: usize) -> Tried<usize> {
    if read == 0 { Err(TryError::Fault(Fault::NoDevice)) } else { Ok(read) }
}

fn interrupted(kind: ErrorKind) -> bool {
    kind == ErrorKind::Interrupted
}
