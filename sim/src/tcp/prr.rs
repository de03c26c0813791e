//! Proportional rate reduction (RFC 6937bis): in a recovery the window falls with what is
//! delivered, and is never emptied at once.

#[derive(Clone, Debug, Default)]
pub(super) struct Prr {
    delivered: u64,
    out: u64,
    /// The window before the recovery.
    prior: u64,
}

impl Prr {
    /// A recovery begins at this window.
    pub(super) fn begin(cwnd: u32) -> Self {
        Prr { prior: u64::from(cwnd), ..Prr::default() }
    }

    /// The window before the recovery.
    pub(super) fn prior(&self) -> u32 {
        u32::try_from(self.prior).unwrap_or(u32::MAX)
    }

    /// Segments were sent.
    pub(super) fn sent(&mut self, segments: u32) {
        self.out += u64::from(segments);
    }

    /// The window after an ACK that delivered this many. `safe`: the ACK advanced and reported no
    /// loss.
    pub(super) fn window(
        &mut self,
        in_flight: u32,
        threshold: u32,
        delivered: u32,
        safe: bool,
    ) -> Option<u32> {
        if delivered == 0 || self.prior == 0 {
            return None;
        }
        self.delivered += u64::from(delivered);
        let (in_flight64, threshold64) = (u64::from(in_flight), u64::from(threshold));
        let mut may = if in_flight64 > threshold64 {
            (threshold64 * self.delivered).div_ceil(self.prior).saturating_sub(self.out)
        } else {
            let conserve =
                self.delivered.saturating_sub(self.out).max(u64::from(delivered)) + u64::from(safe);
            conserve.min(threshold64 - in_flight64)
        };
        // The first retransmit of a recovery always goes out.
        if self.out == 0 {
            may = may.max(1);
        }
        Some(in_flight.saturating_add(u32::try_from(may).unwrap_or(u32::MAX)))
    }
}
