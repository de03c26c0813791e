//! The switch `--rate`: `UPLINK=RATE[,up=RATE]`, in bits a second as links are sold.

use super::probe::find;
use ropewalk_core::dispatch::Rate;
use ropewalk_core::uplink::UplinkConfig;
use std::fmt;

/// A rate as it was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct RateArg {
    pub(crate) uplink: String,
    /// Bits a second from targets, and to them where `up` is nothing.
    down: u64,
    up: Option<u64>,
}

/// Reads one.
pub(crate) fn parse(text: &str) -> Result<RateArg, String> {
    let (head, option) = text.split_once(',').map_or((text, None), |(head, rest)| (head, Some(rest)));
    let (uplink, rate) = head
        .rsplit_once('=')
        .ok_or_else(|| format!("expected UPLINK=RATE, such as usb0=20Mbit, got {head:?}"))?;
    let up = option.map(|option| {
        let rate = option.strip_prefix("up=");
        bits(rate.ok_or_else(|| format!("expected up= with a rate, such as up=5Mbit, got {option:?}"))?)
    });
    Ok(RateArg { uplink: uplink.to_owned(), down: bits(rate)?, up: up.transpose()? })
}

const UNITS: [(&str, u64); 3] = [("kbit", 1_000), ("Mbit", 1_000_000), ("Gbit", 1_000_000_000)];

fn bits(text: &str) -> Result<u64, String> {
    let find = || {
        let (number, unit) = UNITS.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))?;
        let bits = number.trim_end().parse::<u64>().ok()?.checked_mul(unit)?;
        (bits > 0).then_some(bits)
    };
    find().ok_or_else(|| {
        format!("expected a whole number above 0 with kbit, Mbit or Gbit, such as 20Mbit, got {text:?}")
    })
}

/// What each uplink may carry in one of so many workers, in the order of the uplinks; nothing where
/// none has a rate.
///
/// # Errors
/// One that is for no uplink.
pub(crate) fn assign(
    all: &[RateArg],
    uplinks: &[UplinkConfig],
    workers: u16,
) -> Result<Vec<Option<Rate>>, String> {
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let mut rates = vec![None; uplinks.len()];
    let share = |bits: u64| Some((bits / 8 / u64::from(workers.max(1))).max(1));
    for rate in all {
        let at = find(&rate.uplink, uplinks, "--rate")?;
        rates[at] = Some(Rate { sent: share(rate.up.unwrap_or(rate.down)), received: share(rate.down) });
    }
    Ok(rates)
}

impl fmt::Display for RateArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written = |bits: u64| {
            let (name, unit) =
                UNITS.iter().rev().find(|(_, unit)| bits.is_multiple_of(*unit)).unwrap_or(&("bit", 1));
            format!("{} {name}/s", bits / unit)
        };
        write!(f, "{} carries at most {}", self.uplink, written(self.down))?;
        match self.up {
            Some(up) => write!(f, " down, {} up", written(up)),
            None => f.write_str(" each way"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_for_both_ways_or_one_each_and_shared_by_the_workers() {
        let uplinks = ["wlan0", "usb0"].map(UplinkConfig::new);
        let all = ["usb0=20Mbit,up=800kbit", "wlan0=1Gbit"].map(|text| parse(text).expect(text));
        let rate = |sent, received| Some(Rate { sent: Some(sent), received: Some(received) });
        let whole = [rate(125_000_000, 125_000_000), rate(100_000, 2_500_000)];
        assert_eq!(assign(&all, &uplinks, 1), Ok(whole.to_vec()));
        let half = [rate(62_500_000, 62_500_000), rate(50_000, 1_250_000)];
        assert_eq!(assign(&all, &uplinks, 2), Ok(half.to_vec()));
        assert_eq!(assign(&[], &uplinks, 1), Ok(Vec::new()));
        assert_eq!(all[0].to_string(), "usb0 carries at most 20 Mbit/s down, 800 kbit/s up");
        assert_eq!(all[1].to_string(), "wlan0 carries at most 1 Gbit/s each way");
    }

    #[test]
    fn what_is_no_rate_is_told_with_what_was_expected() {
        for (text, wanted) in [
            ("usb0", "expected UPLINK=RATE"),
            ("usb0=20", "with kbit, Mbit or Gbit"),
            ("usb0=0Mbit", "above 0"),
            ("usb0=1.5Mbit", "a whole number"),
            ("usb0=-1Mbit", "a whole number"),
            ("usb0=99999999999999Gbit", "a whole number"),
            ("usb0=20Mbit,down=5Mbit", "expected up="),
            ("usb0=20Mbit,up=5", "with kbit, Mbit or Gbit"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(wanted), "{text}: {error}");
        }
        let rate = [parse("eth7=1Mbit").expect("well written")];
        let error = assign(&rate, &[UplinkConfig::new("usb0")], 1).expect_err("there is none");
        assert!(error.contains("--rate") && error.contains("eth7"), "{error}");
    }
}
