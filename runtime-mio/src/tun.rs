//! TUN devices in mio's hands.

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use ropewalk_core::drive::TryError;
use ropewalk_core::machine::{Fault, Offload, TunConfiguration, TunId};
use ropewalk_sockets::Tun;
use std::io::Result;
use std::os::fd::AsRawFd;

/// The devices of a worker, by the number of their ids.
pub(crate) struct Tuns(Vec<Tun>);

impl Tuns {
    /// Takes over the devices; their readiness comes as the `token` of each.
    pub(crate) fn new(tuns: Vec<Tun>, registry: &Registry, token: fn(TunId) -> Token) -> Result<Self> {
        for (index, tun) in tuns.iter().enumerate() {
            let (fd, both) = (tun.as_raw_fd(), Interest::READABLE | Interest::WRITABLE);
            registry.register(&mut SourceFd(&fd), token(TunId(index as u16)), both)?;
        }
        Ok(Tuns(tuns))
    }

    pub(crate) fn try_take(
        &mut self,
        tun: TunId,
        buf: &mut [u8],
    ) -> std::result::Result<(usize, Offload), TryError> {
        self.tun(tun).map_err(TryError::Fault)?.try_take(buf)
    }

    pub(crate) fn try_give(
        &mut self,
        tun: TunId,
        packet: &[u8],
        offload: Offload,
    ) -> std::result::Result<(), TryError> {
        self.tun(tun).map_err(TryError::Fault)?.try_give(packet, offload)
    }

    pub(crate) fn configure(&mut self, tun: TunId, to: &TunConfiguration) -> std::result::Result<(), Fault> {
        self.tun(tun)?.configure(to)
    }

    fn tun(&mut self, tun: TunId) -> std::result::Result<&mut Tun, Fault> {
        self.0.get_mut(usize::from(tun.0)).ok_or(Fault::NoDevice)
    }
}
