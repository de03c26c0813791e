//! The parts of the bond that can be taken out, to see what each earns.

/// Which parts work. All do, unless somebody measures what a bond is without one: no command takes
/// a part out but `sim`, whose figures stand in `core/docs/bond.md`.
///
/// Both ends decide by themselves, so one with all parts speaks with one that lacks some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// `order`: a packet waits at the receiver for those before it in its flow. Without: none does.
    pub order: bool,
    /// `release`: it waits no longer when no path can bring what is missing. Without: it waits for
    /// all of [`Tuning::hold`](super::Tuning::hold), whatever the paths say.
    pub release: bool,
    /// `repair`: lost packets are sent again.
    pub repair: bool,
    /// `reinjection`: what is on a path that fell silent, sick or behind is sent again by another.
    pub reinject: bool,
    /// `completion`: each packet goes where it arrives first. Without: round robin, weighted by the
    /// measured rates.
    pub completion: bool,
    /// `ecf`: a packet waits for a faster path if that would deliver all before. Without: it takes
    /// what is free.
    pub ecf: bool,
    /// `target`: packets wait as long as the paths' round trips, skew and repairs ask for. Without:
    /// CoDel's 5 ms of RFC 8289.
    pub target: bool,
}

impl Default for Parts {
    fn default() -> Self {
        Parts {
            order: true,
            release: true,
            repair: true,
            reinject: true,
            completion: true,
            ecf: true,
            target: true,
        }
    }
}

impl Parts {
    /// All names, in the order of the fields.
    pub const NAMES: [&'static str; 7] =
        ["order", "release", "repair", "reinjection", "completion", "ecf", "target"];

    /// All but the one called `name`; `None` where none is called so.
    ///
    /// ```
    /// use ropewalk_core::bond::Parts;
    /// assert!(!Parts::default().without("ecf").is_some_and(|parts| parts.ecf));
    /// assert_eq!(Parts::default().without("luck"), None);
    /// ```
    pub fn without(mut self, name: &str) -> Option<Parts> {
        let part = match name {
            "order" => &mut self.order,
            "release" => &mut self.release,
            "repair" => &mut self.repair,
            "reinjection" => &mut self.reinject,
            "completion" => &mut self.completion,
            "ecf" => &mut self.ecf,
            "target" => &mut self.target,
            _ => return None,
        };
        *part = false;
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_takes_out_another_part() {
        let without = Parts::NAMES.map(|name| Parts::default().without(name).expect("it has that name"));
        for (index, one) in without.iter().enumerate() {
            assert_ne!(*one, Parts::default());
            assert!(without[..index].iter().all(|other| other != one), "{}", Parts::NAMES[index]);
        }
    }
}
