//! The node that loses packets: independent chances, or bursts after Gilbert and Elliott.

use super::config::Loss;
use super::rng::Rng;

/// The loss of one direction, with the state that a burst needs.
#[derive(Clone, Debug)]
pub(super) struct Losses {
    kind: Loss,
    bad: bool,
}

impl Losses {
    pub(super) fn new(kind: Loss) -> Self {
        Losses { kind, bad: false }
    }

    /// Another kind; a burst ends with the old one.
    pub(super) fn change(&mut self, kind: Loss) {
        *self = Losses::new(kind);
    }

    /// Whether the packet that passes now is lost.
    pub(super) fn loses(&mut self, rng: &mut Rng) -> bool {
        match self.kind {
            Loss::None => false,
            Loss::Independent(chance) => rng.happens(chance),
            Loss::GilbertElliott { enter, leave, good, bad } => {
                self.bad = if self.bad { !rng.happens(leave) } else { rng.happens(enter) };
                rng.happens(if self.bad { bad } else { good })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rng::Chance;
    use super::*;

    /// The lengths of the runs of loss among a million packets.
    fn runs(kind: Loss) -> Vec<u32> {
        let (mut losses, mut rng) = (Losses::new(kind), Rng::new(9));
        let (mut runs, mut run) = (Vec::new(), 0);
        for _ in 0..1_000_000 {
            if losses.loses(&mut rng) {
                run += 1;
            } else if run > 0 {
                runs.push(run);
                run = 0;
            }
        }
        runs
    }

    #[test]
    fn bursts_are_as_frequent_and_as_long_as_asked() {
        let runs = runs(Loss::burst(Chance::ppm(1_000), Chance::percent(10)));
        // One in a thousand packets of the good state begins a burst of ten: 990 bursts, 9,900
        // packets.
        assert!((900..1080).contains(&runs.len()), "{} bursts", runs.len());
        let lost: u32 = runs.iter().sum();
        assert!((9_000..11_000).contains(&lost), "{lost} packets");
    }

    #[test]
    fn independent_loss_makes_single_holes() {
        let runs = runs(Loss::Independent(Chance::percent(1)));
        assert!((9_500..10_300).contains(&runs.len()), "{} runs", runs.len());
        let long = runs.iter().filter(|&&run| run > 1).count();
        assert!((50..150).contains(&long), "1% of the runs should go on, {long} do");
    }
}
