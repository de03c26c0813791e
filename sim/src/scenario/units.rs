//! Values with units: `"50 Mbit/s"`, `"20 ms"`, `"0.5%"`, `"187500 B"`. All exact: no float is
//! between the text and the number.

use std::time::Duration;

/// A share of one, in millionths.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Share(pub u32);

impl Share {
    /// All of it.
    pub const ONE: Share = Share(1_000_000);

    /// This share of `amount`.
    pub fn of(self, amount: u64) -> u64 {
        (u128::from(amount) * u128::from(self.0) / u128::from(Share::ONE.0)) as u64
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}%", f64::from(self.0) / 10_000.0)
    }
}

/// What a text with a unit must look like, for errors.
pub(super) const RATE: &str =
    "a rate such as \"50 Mbit/s\" (bit/s, kbit/s, Mbit/s or Gbit/s), up to 100 Gbit/s";
pub(super) const TIME: &str = "a time such as \"20 ms\" (us, ms, s or min), up to 60 min";
pub(super) const SHARE: &str = "a share such as \"0.5%\", at most 100%";
pub(super) const BYTES: &str = "a size such as \"187500 B\" (B, kB or MB)";

/// The fastest, in bits per second: 20 s of it are 160 million packets to compute.
const FASTEST: u64 = 100_000_000_000;
/// The longest run, so the longest time that means anything.
pub(super) const LONGEST: Duration = Duration::from_secs(3600);

/// Bits per second; not 0.
pub(super) fn rate(text: &str) -> Option<u64> {
    let units = [("bit/s", 1), ("kbit/s", 1_000), ("Mbit/s", 1_000_000), ("Gbit/s", 1_000_000_000)];
    scaled(text, &units).filter(|rate| (1..=FASTEST).contains(rate))
}

/// A duration, exact to the nanosecond.
pub(super) fn time(text: &str) -> Option<Duration> {
    let units = [("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000), ("min", 60_000_000_000)];
    scaled(text, &units).map(Duration::from_nanos).filter(|time| *time <= LONGEST)
}

/// A share of at most one.
pub(super) fn share(text: &str) -> Option<Share> {
    let millionths = scaled(text, &[("%", 10_000)])?;
    (millionths <= 1_000_000).then_some(Share(millionths as u32))
}

/// Bytes.
pub(super) fn bytes(text: &str) -> Option<u64> {
    scaled(text, &[("B", 1), ("kB", 1_000), ("MB", 1_000_000)])
}

/// A bare decimal number, in thousandths.
pub(super) fn thousandths(text: &str) -> Option<u64> {
    scaled(text, &[("", 1_000)])
}

/// A decimal number and one of `units`, as a whole number of the smallest; `None` where anything is
/// left over.
pub(super) fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = units.iter().find(|(name, _)| *name == unit.trim_start())?.1;
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || part.len() > 9 || (number.contains('.') && part.is_empty()) || part.contains('.') {
        return None;
    }
    let whole: u128 = whole.parse().ok()?;
    let scale = 10u128.pow(part.len() as u32);
    let part: u128 = if part.is_empty() { 0 } else { part.parse().ok()? };
    let value = whole.checked_mul(scale)?.checked_add(part)?.checked_mul(u128::from(factor))?;
    (value % scale == 0).then_some(value / scale).and_then(|value| u64::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_exact_and_units_are_asked_for() {
        assert_eq!(rate("50 Mbit/s"), Some(50_000_000));
        assert_eq!(rate("1.5Gbit/s"), Some(1_500_000_000));
        assert_eq!(time("0.5 ms"), Some(Duration::from_micros(500)));
        assert_eq!(time("1 min"), Some(Duration::from_secs(60)));
        assert_eq!(share("0.5%"), Some(Share(5_000)));
        assert_eq!(share("100%"), Some(Share::ONE));
        assert_eq!(bytes("187500 B"), Some(187_500));
        for bad in [
            "50",
            "Mbit/s",
            "50 mbit/s",
            "-1 Mbit/s",
            "1. Mbit/s",
            "1..2 Mbit/s",
            "0 bit/s",
            "0.5 bit/s",
            "101 Gbit/s",
            "1 Mbit/s x",
        ] {
            assert_eq!(rate(bad), None, "{bad}");
        }
        assert_eq!(share("101%"), None);
        assert_eq!(time("60 min"), Some(LONGEST));
        for bad in ["99999999999999999999 s", "61 min", "2 h", "20 MS", "20"] {
            assert_eq!(time(bad), None, "{bad}");
        }
    }
}
