//! A connection by an uplink to what the user names: what no look at a host can replace.

use super::super::probe::ProbeArg;
use super::checks::bound;
use crate::doctor::report::Report;
use crate::host::matching::UplinkSpec;
use ropewalk_core::dispatch::{HttpProbe, ProbeConfig};
use ropewalk_core::name::Host;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Instant;

/// Most of an answer that is looked at.
const HEAD: usize = 4096;

/// Asks all that is for this uplink.
pub(super) fn ask(uplink: &UplinkSpec, probes: &[ProbeArg], report: &mut Report) {
    let own = probes.iter().filter(|probe| probe.uplink.as_ref().is_none_or(|name| *name == uplink.label));
    for probe in own {
        let config = &probe.config;
        let what = format!("{} by {}", config.destination, uplink.label);
        let began = Instant::now();
        match answer(uplink, config) {
            Ok(found) => report.ok(what, format_args!("{found} after {} ms", began.elapsed().as_millis())),
            Err(why) => report.fail(what, why),
        }
    }
}

fn answer(uplink: &UplinkSpec, config: &ProbeConfig) -> Result<String, String> {
    let to = address(uplink, config)?;
    let socket = bound(uplink, to.is_ipv6()).map_err(|error| format!("cannot bind: {error}"))?;
    socket.connect_timeout(&to.into(), config.timeout).map_err(|error| match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => {
            format!(
                "{to} is silent for {:?}: ip route get {} oif INTERFACE shows the way there",
                config.timeout,
                to.ip()
            )
        }
        ErrorKind::ConnectionRefused => {
            format!(
                "{to} refuses: nobody serves there, or another answers in its place; name a page that works"
            )
        }
        _ => format!("{to}: {error}"),
    })?;
    match &config.http {
        None => Ok(format!("{to} connects")),
        Some(http) => question(socket.into(), http, config),
    }
}

/// The first address of a family that the uplink carries.
fn address(uplink: &UplinkSpec, config: &ProbeConfig) -> Result<SocketAddr, String> {
    let port = config.destination.port;
    let all: Vec<SocketAddr> = match &config.destination.host {
        Host::Ip(ip) => vec![SocketAddr::new(*ip, port)],
        Host::Name(name) => (name.as_str(), port)
            .to_socket_addrs()
            .map_err(|error| format!("{name} cannot be looked up: {error}"))?
            .collect(),
    };
    let carried = all.into_iter().find(|to| uplink.carries(to.is_ipv6()));
    carried.ok_or_else(|| "it has no address of a family that the uplink carries".into())
}

fn question(mut stream: TcpStream, http: &HttpProbe, config: &ProbeConfig) -> Result<String, String> {
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => {
            format!(
                "it connects, and answers nothing for {:?}: a used-up data plan does that",
                config.timeout
            )
        }
        _ => format!("it connects, and then: {error}"),
    };
    stream.set_read_timeout(Some(config.timeout)).map_err(failed)?;
    stream.set_write_timeout(Some(config.timeout)).map_err(failed)?;
    let HttpProbe { host, path, status } = http;
    let text = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: ropewalk\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(text.as_bytes()).map_err(failed)?;
    let mut head = Vec::new();
    stream.take(HEAD as u64).read_to_end(&mut head).or_else(|error| match head.is_empty() {
        true => Err(failed(error)),
        // What has come is enough to be judged.
        false => Ok(0),
    })?;
    judged(&head, *status)
}

/// Whether this is the answer that is expected.
fn judged(head: &[u8], expected: Option<u16>) -> Result<String, String> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.lines();
    let line = lines.next().unwrap_or_default();
    let code = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
    let Some(got) = code.and_then(|code| code.parse::<u16>().ok()) else {
        return Err(format!("expected an HTTP status, got {:?}", line.chars().take(40).collect::<String>()));
    };
    let (fits, wanted) = match expected {
        Some(status) => (got == status, status.to_string()),
        None => ((200..300).contains(&got), "2xx".into()),
    };
    if fits {
        return Ok(format!("answers {got}"));
    }
    let place = lines.take_while(|line| !line.is_empty()).find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("location").then(|| value.trim().to_owned())
    });
    let portal = place.map_or(String::new(), |place| {
        format!(": a captive portal; log in at {} by that uplink", place.escape_debug())
    });
    Err(format!("expected status {wanted}, got {got}{portal}"))
}

#[cfg(test)]
mod tests {
    use super::judged;

    #[test]
    fn a_portal_is_told_by_its_status_and_where_it_leads() {
        assert_eq!(judged(b"HTTP/1.1 204 No Content\r\n\r\n", Some(204)).as_deref(), Ok("answers 204"));
        assert_eq!(judged(b"HTTP/1.0 200 OK\r\n\r\n", None).as_deref(), Ok("answers 200"));
        let portal = judged(b"HTTP/1.1 302 Found\r\nLOCATION: http://login.example/\r\n\r\n", Some(204));
        let error = portal.expect_err("not what was asked for");
        assert!(error.contains("got 302") && error.contains("log in at http://login.example/"), "{error}");
        assert!(judged(b"HTTP/1.1 200 OK\r\n\r\n", Some(204)).is_err_and(|error| !error.contains("portal")));
        for bad in [&b""[..], b"SSH-2.0-x", b"HTTP/1.1 2", b"HTTP/1.1 abc"] {
            assert!(judged(bad, None).is_err(), "{bad:?}");
        }
    }
}
