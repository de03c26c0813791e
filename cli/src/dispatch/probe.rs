//! The switch `--probe`: `[UPLINK=]TARGET[,OPTION=VALUE...]`.

use crate::process::args::seconds;
use ropewalk_core::dispatch::{HttpProbe, ProbeConfig};
use ropewalk_core::name::{Destination, Host};
use ropewalk_core::uplink::UplinkConfig;
use std::time::Duration;

/// A probe as it was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ProbeArg {
    /// The uplink it is for; `None`: all that have no probe of their own.
    pub(crate) uplink: Option<String>,
    pub(crate) config: ProbeConfig,
    /// Failures in a row that leave the uplink, and successes that use it again.
    pub(crate) fall: u32,
    pub(crate) rise: u32,
}

/// Reads one.
pub(crate) fn parse(text: &str) -> Result<ProbeArg, String> {
    let mut parts = text.split(',');
    let head = parts.next().unwrap_or_default();
    // A path may hold the sign too; the label of a proxy, which has a scheme, has no path.
    let has_path = |text: &str| text.split_once("://").is_some_and(|(_, rest)| rest.contains(['/', '?']));
    let (uplink, target) = match head.split_once('=').filter(|(uplink, _)| !has_path(uplink)) {
        Some((uplink, target)) => (Some(uplink.to_owned()), target),
        None => (None, head),
    };
    let (authority, path) = match target.strip_prefix("http://") {
        None => (target, None),
        Some(rest) => match rest.find('/') {
            Some(at) => (&rest[..at], Some(&rest[at..])),
            None => (rest, Some("/")),
        },
    };
    let destination = destination(authority, path.is_some()).ok_or_else(|| {
        format!("expected HOST:PORT or http://HOST/PATH, such as 192.0.2.1:443, got {target:?}")
    })?;
    if path.is_some_and(|path| path.bytes().any(|b| b.is_ascii_control() || b == b' ')) {
        return Err(format!("expected a path without spaces, got {target:?}"));
    }
    let http = path.map(|path| HttpProbe { host: authority.to_owned(), path: path.to_owned(), status: None });
    let (period, timeout) = (Duration::from_secs(5), Duration::from_secs(2));
    let config = ProbeConfig { destination, http, period, timeout };
    let mut probe = ProbeArg { uplink, config, fall: 2, rise: 1 };
    for option in parts {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        set(&mut probe, name, value)?;
    }
    if probe.config.timeout > probe.config.period {
        return Err(format!(
            "expected a timeout no longer than the period of {:?}, got {:?}",
            probe.config.period, probe.config.timeout
        ));
    }
    Ok(probe)
}

fn set(probe: &mut ProbeArg, name: &str, value: &str) -> Result<(), String> {
    let count = || match value.parse() {
        Ok(number @ 1..=100) => Ok(number),
        _ => Err(format!("expected a number from 1 to 100 behind {name}=, got {value:?}")),
    };
    match name {
        "period" => probe.config.period = seconds(value)?,
        "timeout" => probe.config.timeout = seconds(value)?,
        "fall" => probe.fall = count()?,
        "rise" => probe.rise = count()?,
        "status" => {
            let http = probe.config.http.as_mut().ok_or("a status is for http://: expected such a target")?;
            let status = value.parse().ok().filter(|status| (100..600).contains(status));
            http.status = Some(status.ok_or(format!("expected a status from 100 to 599, got {value:?}"))?);
        }
        _ => return Err(format!("expected period, timeout, fall, rise or status, got {name:?}")),
    }
    Ok(())
}

/// `HOST:PORT`; over HTTP the port may be left out.
fn destination(authority: &str, http: bool) -> Option<Destination> {
    let ends_bare = authority.ends_with(']') || !authority.contains(':');
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !ends_bare => (host, port.parse().ok().filter(|port| *port > 0)?),
        _ if http => (authority, 80),
        _ => return None,
    };
    let host = Host::parse(host.as_bytes()).ok()?;
    Some(Destination { host, port })
}

/// Gives each uplink its probe and its thresholds.
///
/// # Errors
/// One that is for no uplink.
pub(crate) fn assign(
    all: &[ProbeArg],
    uplinks: &mut [UplinkConfig],
) -> Result<Vec<Option<ProbeConfig>>, String> {
    for name in all.iter().filter_map(|probe| probe.uplink.as_ref()) {
        find(name, uplinks, "--probe")?;
    }
    let of = |uplink: &mut UplinkConfig| {
        let own = all.iter().find(|probe| probe.uplink.as_ref() == Some(&uplink.label));
        let probe = own.or_else(|| all.iter().find(|probe| probe.uplink.is_none()))?;
        (uplink.fall, uplink.rise) = (probe.fall, probe.rise);
        Some(probe.config.clone())
    };
    Ok(uplinks.iter_mut().map(of).collect())
}

/// Makes backups of those that `--backup` names.
///
/// # Errors
/// One that names no uplink, or no tier.
pub(crate) fn set_tiers(all: &[String], uplinks: &mut [UplinkConfig]) -> Result<(), String> {
    for text in all {
        let (name, tier) = match text.rsplit_once('=') {
            None => (text.as_str(), 2),
            Some((name, tier)) => match tier.parse() {
                Ok(tier @ 2..=9) => (name, tier),
                _ => return Err(format!("--backup {text}: expected a tier from 2 to 9, got {tier:?}")),
            },
        };
        let at = find(name, uplinks, "--backup")?;
        uplinks[at].tier = tier;
    }
    Ok(())
}

/// The place of the uplink that a switch names.
pub(super) fn find(name: &str, uplinks: &[UplinkConfig], switch: &str) -> Result<usize, String> {
    uplinks.iter().position(|uplink| uplink.label == name).ok_or_else(|| {
        let all: Vec<&str> = uplinks.iter().map(|uplink| uplink.label.as_str()).collect();
        format!("{switch} {name}: expected an uplink, one of {}", all.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_a_target_perhaps_of_one_uplink_perhaps_with_options() {
        let plain = parse("192.0.2.1:443").expect("well written");
        assert_eq!((plain.uplink, plain.config.destination.port, plain.config.http), (None, 443, None));
        let full = "wlan0=http://probe.example/generate_204?a=b,status=204,period=10,timeout=1,fall=3,rise=2";
        let full = parse(full).expect("well written");
        assert_eq!((full.uplink.as_deref(), full.fall, full.rise), (Some("wlan0"), 3, 2));
        let ProbeConfig { destination, http, period, timeout } = full.config;
        assert_eq!((destination.port, period.as_secs(), timeout.as_secs()), (80, 10, 1));
        let (host, path) = ("probe.example".into(), "/generate_204?a=b".into());
        assert_eq!(http, Some(HttpProbe { host, path, status: Some(204) }));
        let proxied = parse("http://192.0.2.1:3128=http://probe.example/?a=b").expect("well written");
        assert_eq!(proxied.uplink.as_deref(), Some("http://192.0.2.1:3128"));
        assert_eq!(parse("socks5://h:1=h:2").expect("well written").uplink.as_deref(), Some("socks5://h:1"));
        assert!(parse("http://[2001:db8::1]/").is_ok() && parse("[2001:db8::1]:53").is_ok());
    }

    #[test]
    fn an_uplinks_own_probe_goes_before_that_of_all_and_backups_have_a_tier() {
        let mut uplinks = ["a", "b", "c"].map(UplinkConfig::new);
        let all =
            ["192.0.2.1:1,fall=5", "b=192.0.2.1:2,rise=3"].map(|text| parse(text).expect("well written"));
        let probes = assign(&all, &mut uplinks).expect("there is a b");
        let ports = probes.iter().map(|probe| probe.as_ref().map(|probe| probe.destination.port));
        assert_eq!(ports.collect::<Vec<_>>(), [Some(1), Some(2), Some(1)]);
        assert_eq!(uplinks.each_ref().map(|uplink| (uplink.fall, uplink.rise)), [(5, 1), (2, 3), (5, 1)]);
        assert!(assign(&[parse("d=192.0.2.1:1").expect("well written")], &mut uplinks).is_err());
        set_tiers(&["b".into(), "c=3".into()], &mut uplinks).expect("there are such");
        assert_eq!(uplinks.each_ref().map(|uplink| uplink.tier), [1, 2, 3]);
        for bad in ["d", "b=1", "b=x"] {
            assert!(set_tiers(&[bad.into()], &mut uplinks).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_no_probe_is_told_with_what_was_expected() {
        for (bad, word) in [
            ("", "HOST:PORT"),
            ("192.0.2.1", "HOST:PORT"),
            ("192.0.2.1:0", "HOST:PORT"),
            ("host:80,period=0", "seconds"),
            ("host:80,timeout=9", "timeout"),
            ("host:80,fall=0", "1 to 100"),
            ("host:80,status=204", "http://"),
            ("http://host/,status=20", "100 to 599"),
            ("host:80,often", "period"),
        ] {
            assert!(parse(bad).is_err_and(|error| error.contains(word)), "{bad}");
        }
    }
}
