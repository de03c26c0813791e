//! What packets of a TUN device are read from and written to: a device that we have opened, or a
//! descriptor that somebody else has.

use std::fs::File;
#[cfg(target_os = "linux")]
use std::io::{IoSlice, IoSliceMut};
use std::io::{Read, Result, Write};
use std::os::fd::{AsFd, BorrowedFd};
use tun_rs::SyncDevice;

pub(super) enum Device {
    Opened(SyncDevice),
    Given(File),
}

impl Device {
    pub(super) fn recv(&self, buf: &mut [u8]) -> Result<usize> {
        match self {
            Device::Opened(device) => device.recv(buf),
            Device::Given(file) => (&*file).read(buf),
        }
    }

    pub(super) fn send(&self, packet: &[u8]) -> Result<usize> {
        match self {
            Device::Opened(device) => device.send(packet),
            Device::Given(file) => (&*file).write(packet),
        }
    }

    #[cfg(target_os = "linux")]
    pub(super) fn recv_vectored(&self, parts: &mut [IoSliceMut<'_>]) -> Result<usize> {
        match self {
            Device::Opened(device) => device.recv_vectored(parts),
            Device::Given(file) => (&*file).read_vectored(parts),
        }
    }

    #[cfg(target_os = "linux")]
    pub(super) fn send_vectored(&self, parts: &[IoSlice<'_>]) -> Result<usize> {
        match self {
            Device::Opened(device) => device.send_vectored(parts),
            Device::Given(file) => (&*file).write_vectored(parts),
        }
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Device::Opened(device) => device.as_fd(),
            Device::Given(file) => file.as_fd(),
        }
    }
}
