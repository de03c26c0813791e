//! Which rounds not to trust, and what lies between the extremes.

use crate::common::median::median;

/// A round is disturbed if its direct figure is off the median of direct figures by more than this
/// part.
const DISTURBED: f64 = 0.25;

/// The smallest and the largest of `values`.
pub(crate) fn range(values: &[f64]) -> Option<(f64, f64)> {
    let low = values.iter().copied().min_by(f64::total_cmp)?;
    let high = values.iter().copied().max_by(f64::total_cmp)?;
    Some((low, high))
}

/// For each round, by its direct figure, whether it was disturbed. A round without a direct figure
/// is left out.
pub(crate) fn disturbed(direct: &[Option<f64>]) -> Vec<bool> {
    let known: Vec<f64> = direct.iter().copied().flatten().collect();
    let Some(median) = median(&known) else {
        return vec![false; direct.len()];
    };
    direct
        .iter()
        .map(|figure| figure.is_some_and(|figure| (figure - median).abs() > DISTURBED * median))
        .collect()
}

/// The value below which `part` (0 to 1) of `sorted` lies.
pub(crate) fn quantile(sorted: &[u32], part: f64) -> Option<u32> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last as f64 * part).round() as usize).copied()
}
