//! The switch `--cap`: `UPLINK=SIZE[,reset-day=DAY]`, and in which period a day lies.

use super::probe::find;
use ropewalk_core::machine::UplinkId;
use ropewalk_core::uplink::UplinkConfig;
use std::fmt;

/// A cap as it was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CapArg {
    pub(crate) uplink: String,
    pub(crate) bytes: u64,
    /// The day of the month on which the account begins anew.
    pub(crate) reset_day: u32,
}

/// An uplink with a cap.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Metered {
    pub(crate) uplink: UplinkId,
    pub(crate) label: String,
    /// In bytes.
    pub(crate) cap: u64,
    pub(crate) reset_day: u32,
}

/// Reads one.
pub(crate) fn parse(text: &str) -> Result<CapArg, String> {
    let (head, options) = text.split_once(',').map_or((text, None), |(head, rest)| (head, Some(rest)));
    let (uplink, size) = head
        .rsplit_once('=')
        .ok_or_else(|| format!("expected UPLINK=SIZE, such as usb0=50GB, got {head:?}"))?;
    let mut cap = CapArg { uplink: uplink.to_owned(), bytes: bytes(size)?, reset_day: 1 };
    for option in options.into_iter().flat_map(|rest| rest.split(',')) {
        let day = option.strip_prefix("reset-day=").and_then(|day| day.parse().ok());
        cap.reset_day = day
            .filter(|day| (1..=31).contains(day))
            .ok_or_else(|| format!("expected reset-day= with a day from 1 to 31, got {option:?}"))?;
    }
    Ok(cap)
}

/// A size with or without a unit: kB, MB, GB and TB are thousands, as data plans count.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 10] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("kB", 1_000),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("", 1),
    ];
    let find = || {
        let (number, unit) = UNITS.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))?;
        let bytes = number.trim_end().parse::<u64>().ok()?.checked_mul(unit)?;
        (bytes > 0).then_some(bytes)
    };
    find().ok_or_else(|| {
        format!("expected a whole number with kB, MB, GB, TB or KiB to TiB, such as 50GB, got {text:?}")
    })
}

/// Gives uplinks their caps.
///
/// # Errors
/// One that is for no uplink.
pub(crate) fn assign(all: &[CapArg], uplinks: &mut [UplinkConfig]) -> Result<Vec<Metered>, String> {
    let mut metered: Vec<Metered> = Vec::new();
    for cap in all {
        let at = find(&cap.uplink, uplinks, "--cap")?;
        uplinks[at].cap = Some(cap.bytes);
        let uplink = UplinkId(at as u16);
        metered.retain(|other| other.uplink != uplink);
        metered.push(Metered { uplink, label: cap.uplink.clone(), cap: cap.bytes, reset_day: cap.reset_day });
    }
    Ok(metered)
}

/// A day of the calendar, in UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Date {
    pub(crate) year: u32,
    pub(crate) month: u32,
    pub(crate) day: u32,
}

impl Date {
    /// The day of so many seconds since 1970.
    pub(crate) fn at(seconds: u64) -> Date {
        let mut left = u32::try_from(seconds / 86_400).unwrap_or(u32::MAX / 2);
        let mut year = 1970;
        let days = |year| if is_leap(year) { 366 } else { 365 };
        while left >= days(year) {
            left -= days(year);
            year += 1;
        }
        let mut month = 1;
        while left >= length(year, month) {
            left -= length(year, month);
            month += 1;
        }
        Date { year, month, day: left + 1 }
    }

    /// The last day on or before this one on which accounts of `reset_day` begin. In a month that
    /// is too short that is its last day.
    pub(crate) fn period(self, reset_day: u32) -> Date {
        let this = reset_day.min(length(self.year, self.month));
        if self.day >= this {
            return Date { day: this, ..self };
        }
        let (year, month) = if self.month == 1 { (self.year - 1, 12) } else { (self.year, self.month - 1) };
        Date { year, month, day: reset_day.min(length(year, month)) }
    }

    /// Reads `2026-11-01`.
    pub(crate) fn parse(text: &str) -> Option<Date> {
        let mut parts = text.split('-').map(|part| part.parse::<u32>().ok());
        let date = Date { year: parts.next()??, month: parts.next()??, day: parts.next()?? };
        let real = (1970..10_000).contains(&date.year)
            && (1..=12).contains(&date.month)
            && (1..=length(date.year, date.month)).contains(&date.day);
        (real && parts.next().is_none()).then_some(date)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

fn is_leap(year: u32) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn length(year: u32, month: u32) -> u32 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cap_has_an_uplink_a_size_and_perhaps_a_day() {
        let cap = |uplink: &str, bytes, reset_day| Ok(CapArg { uplink: uplink.into(), bytes, reset_day });
        assert_eq!(parse("usb0=50GB"), cap("usb0", 50_000_000_000, 1));
        assert_eq!(parse("10.0.0.2%eth1=1TiB,reset-day=31"), cap("10.0.0.2%eth1", 1 << 40, 31));
        assert_eq!(parse("usb0=1500"), cap("usb0", 1500, 1));
        for bad in [
            "usb0",
            "usb0=",
            "usb0=0GB",
            "usb0=x",
            "usb0=99999999TB",
            "usb0=1GB,reset-day=32",
            "usb0=1GB,day=1",
        ] {
            assert!(parse(bad).is_err_and(|e| e.contains("expected")), "{bad}");
        }
    }

    #[test]
    fn the_calendar_has_leap_years_and_short_months() {
        let date = |text: &str| Date::parse(text).expect(text);
        assert_eq!(Date::at(0), date("1970-01-01"));
        assert_eq!(Date::at(951_782_400), date("2000-02-29"));
        assert_eq!(Date::at(1_795_759_199), date("2026-11-27"));
        assert_eq!(Date::at(4_107_542_400), date("2100-03-01"));
        assert!(
            ["2026-02-29", "2026-13-01", "2026-1", "x", "2026-01-01-01"]
                .iter()
                .all(|t| Date::parse(t).is_none())
        );
    }

    #[test]
    fn a_period_begins_on_its_day_or_on_the_last_of_a_month_that_is_too_short() {
        let begins = |day: &str, reset| Date::parse(day).expect(day).period(reset).to_string();
        assert_eq!(begins("2026-11-27", 1), "2026-11-01");
        assert_eq!(begins("2026-11-27", 27), "2026-11-27");
        assert_eq!(begins("2026-11-27", 28), "2026-10-28");
        assert_eq!(begins("2026-01-05", 15), "2025-12-15");
        assert_eq!(begins("2026-03-30", 31), "2026-02-28");
        assert_eq!(begins("2028-02-29", 31), "2028-02-29");
    }
}
