//! The TUN half: what was taken and given, and what was asked for.

use super::{Auditor, Quiet};
use ropewalk_core::machine::{Application, Fault, Input, Offload, Output, TunId};
use ropewalk_core::time::Instant;
use std::collections::BTreeSet;

/// What was asked for.
#[derive(Default)]
pub(super) struct Tuns {
    /// Devices that were to be set, and may still be told as not set.
    configured: BTreeSet<TunId>,
    /// Random bytes were asked for by the last output.
    entropy: bool,
}

impl<M: Application> Auditor<M> {
    /// Whatever comes next: random bytes, or none.
    pub(super) fn check_tun(&mut self, input: &Input<'_>) {
        let asked = std::mem::take(&mut self.tuns.entropy);
        match input {
            Input::Entropy { .. } if !asked => {
                self.broken("D17, Entropy that was not asked for by the last output", input);
            }
            Input::ConfigureFailed { tun, .. } if !self.tuns.configured.contains(tun) => {
                self.broken("D17, ConfigureFailed of what was not asked", input);
            }
            _ => {}
        }
    }

    pub(super) fn hear_tun(&mut self, output: &Output) {
        self.tuns.entropy = *output == Output::Entropy;
        if let Output::Configure { tun, .. } = output {
            self.tuns.configured.insert(*tun);
        }
    }
}

/// What the layer does otherwise with packets.
impl<M: Application> Auditor<M> {
    pub(super) fn next_dirty_tun(&mut self) -> Option<TunId> {
        let dirty = self.machine.poll_dirty_tun();
        if dirty.is_none() {
            self.quiet.set(Quiet { tuns: true, ..self.quiet.get() });
        }
        dirty
    }

    pub(super) fn take_packet(&mut self, now: Instant, tun: TunId, len: usize, offload: Offload) {
        self.at(now, &(tun, len, offload));
        let room = self.machine.take_buf(tun).len();
        if len == 0 || len > room {
            self.broken("D14, more was taken than there was room, or nothing", &(tun, len, room));
        }
        if !offload.fits(len) {
            self.broken("D15, what is left to do does not fit the packet", &(tun, len, offload));
        }
        {
            let mut found = self.findings.lock();
            found.taken.0 += 1;
            found.taken.1 += u64::from(matches!(offload, Offload::Tcp { .. } | Offload::Udp { .. }));
        }
        // What does not fit would be the machine's end, not the driver's.
        if len <= room {
            self.machine.handle_packet(now, tun, len, offload);
        }
    }

    pub(super) fn tell_given(&mut self, now: Instant, tun: TunId, result: Result<(), Fault>) {
        self.at(now, &(tun, result));
        let Some((_, offload)) = self.machine.give_buf(tun) else {
            return self.broken("D16, the end of what was not to be given", &(tun, result));
        };
        {
            let mut found = self.findings.lock();
            found.given.0 += 1;
            found.given.1 += u64::from(matches!(offload, Offload::Tcp { .. } | Offload::Udp { .. }));
        }
        self.machine.handle_given(now, tun, result);
    }
}
