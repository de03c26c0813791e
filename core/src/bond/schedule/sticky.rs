//! A path for each flow, kept while the path is usable.

use super::view::PathView;
use crate::bond::inner::FlowKey;
use alloc::collections::BTreeMap;

/// Flows remembered; the one that has been silent longest is forgotten for a new one.
const FLOWS: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Sticky {
    /// Each flow's path, and when it was last used.
    flows: BTreeMap<FlowKey, (u8, u64)>,
    by_use: BTreeMap<u64, FlowKey>,
    uses: u64,
    /// Flows on each path.
    counts: BTreeMap<u8, u64>,
}

impl Sticky {
    /// The path of a flow; a new flow, or one whose path is gone, gets the one that leaves it the
    /// most rate.
    pub(super) fn path<'a>(&mut self, flow: FlowKey, views: &'a [PathView]) -> Option<&'a PathView> {
        let usable = || views.iter().filter(|view| view.may_carry());
        let known = self.remove(&flow);
        let stays = known.and_then(|path| usable().find(|view| view.path == path));
        let share = |view: &PathView| {
            view.rate.bytes_per_second() / (self.counts.get(&view.path).copied().unwrap_or(0) + 1)
        };
        let view = match stays {
            Some(view) => view,
            None => usable().max_by_key(|view| (view.fresh, share(view)))?,
        };
        if self.flows.len() >= FLOWS
            && let Some((_, oldest)) = self.by_use.first_key_value()
        {
            let oldest = *oldest;
            self.remove(&oldest);
        }
        self.uses += 1;
        self.flows.insert(flow, (view.path, self.uses));
        self.by_use.insert(self.uses, flow);
        *self.counts.entry(view.path).or_default() += 1;
        Some(view)
    }

    fn remove(&mut self, flow: &FlowKey) -> Option<u8> {
        let (path, used) = self.flows.remove(flow)?;
        self.by_use.remove(&used);
        if let Some(count) = self.counts.get_mut(&path) {
            *count -= 1;
        }
        Some(path)
    }
}
