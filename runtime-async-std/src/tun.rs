//! TUN devices, armed a direction at a time, as streams are.

use crate::stream::arm;
use crate::wake::{Mailbox, Ready};
use async_io::Async;
use ropewalk_core::drive::TryError;
use ropewalk_core::errno::fault;
use ropewalk_core::machine::{Fault, Offload, TunConfiguration, TunId};
use ropewalk_sockets::{Tried, Tun};
use std::io::Result;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::task::Waker;

/// The devices of a worker, by the number of their ids.
pub(crate) struct Tuns(Vec<Device>);

impl Tuns {
    /// Takes over the devices; what becomes possible is said to `mailbox`.
    pub(crate) fn new(tuns: Vec<Tun>, mailbox: &Arc<Mailbox>) -> Result<Self> {
        let devices = tuns.into_iter().zip(0..).map(|(tun, id)| Device::new(tun, TunId(id), mailbox));
        Ok(Tuns(devices.collect::<Result<_>>()?))
    }

    pub(crate) fn device(&mut self, tun: TunId) -> std::result::Result<&mut Device, Fault> {
        self.0.get_mut(usize::from(tun.0)).ok_or(Fault::NoDevice)
    }
}

/// One device.
pub(crate) struct Device {
    tun: Tun,
    /// A second descriptor of the device, for its readiness: `Async` lends nothing to change.
    readiness: Async<OwnedFd>,
    readable: Waker,
    writable: Waker,
}

impl Device {
    fn new(tun: Tun, id: TunId, mailbox: &Arc<Mailbox>) -> Result<Self> {
        let readiness = Async::new_nonblocking(tun.as_fd().try_clone_to_owned()?)?;
        let readable = Mailbox::waker(mailbox, Ready::TunReadable(id));
        let writable = Mailbox::waker(mailbox, Ready::TunWritable(id));
        Ok(Device { tun, readiness, readable, writable })
    }

    // After a fault nothing is armed: a device that has vanished is ready for ever, and would be
    // asked without end.

    pub(crate) fn try_take(&mut self, buf: &mut [u8]) -> Tried<(usize, Offload)> {
        let taken = self.tun.try_take(buf);
        if let Err(TryError::WouldBlock) = taken {
            armed(arm(&self.readable, |cx| self.readiness.poll_readable(cx)))?;
        }
        taken
    }

    pub(crate) fn try_give(&mut self, packet: &[u8], offload: Offload) -> Tried<()> {
        let given = self.tun.try_give(packet, offload);
        if let Err(TryError::WouldBlock) = given {
            armed(arm(&self.writable, |cx| self.readiness.poll_writable(cx)))?;
        }
        given
    }

    pub(crate) fn configure(&mut self, to: &TunConfiguration) -> std::result::Result<(), Fault> {
        self.tun.configure(to)
    }
}

fn armed(result: Result<()>) -> Tried<()> {
    result.map_err(|error| TryError::Fault(fault(&error)))
}
