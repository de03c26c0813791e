//! What a dispatch machine is configured with.

use super::super::FILLER;
use super::super::secrets::Secrets;
use super::{DISPATCH, MAX_BUFFER};
#[cfg(feature = "names")]
use crate::dispatch::NamesConfig;
use crate::dispatch::{Config, Credentials, HttpProbe, ProbeConfig, Rate, Upstream, UpstreamProtocol};
#[cfg(feature = "names")]
use crate::machine::UplinkSet;
use crate::name::{Destination, Host};
use crate::record::codec::{Reader, Writer};
use alloc::vec;
use alloc::vec::Vec;

/// Writes what a dispatch machine is configured with.
pub(in super::super) fn of_dispatch(config: &Config, secrets: &Secrets) -> Vec<u8> {
    let Config {
        listeners,
        local_addresses,
        private_endpoints,
        credentials: _,
        allow_private,
        tunnel,
        handshake_timeout,
        connect_timeout,
        idle_timeout,
        exchange_timeout,
        keep_alive_timeout,
        auth_delay,
        linger,
        max_connections,
        max_half_open,
        max_client_connections,
        max_kept,
        max_lookups,
        lookup_timeout,
        probes,
        upstreams,
        rates,
        max_associations,
        max_destinations,
        flow_idle_timeout,
        max_queue,
        buffer_size,
        buffer_limit,
        splice_after,
        max_head,
        max_fields,
        request_events,
        #[cfg(feature = "names")]
        names,
    } = config;
    let mut w = Writer::default();
    w.raw(&[DISPATCH]);
    w.all(listeners.iter(), |w, address| w.address(*address));
    w.all(local_addresses.iter(), |w, ip| w.ip(*ip));
    w.all(private_endpoints.iter(), |w, address| w.address(*address));
    w.option(secrets.credentials(), |w, credentials| {
        let entries: Vec<_> = credentials.entries().collect();
        w.all(entries.into_iter(), |w, (user, password)| {
            w.bytes(user);
            w.bytes(password);
        });
    });
    w.flag(*allow_private);
    w.flag(*tunnel);
    w.duration(*handshake_timeout);
    w.duration(*connect_timeout);
    w.option(*idle_timeout, Writer::duration);
    w.duration(*exchange_timeout);
    w.duration(*keep_alive_timeout);
    w.duration(*auth_delay);
    w.duration(*linger);
    w.size(*max_connections);
    w.size(*max_half_open);
    w.option(*max_client_connections, Writer::size);
    w.size(*max_kept);
    w.size(*max_lookups);
    w.duration(*lookup_timeout);
    w.all(probes.iter(), |w, probe| w.option(probe.as_ref(), of_probe));
    w.all(upstreams.iter(), |w, upstream| w.option(upstream.as_ref(), of_upstream));
    w.all(rates.iter(), |w, rate| {
        w.option(*rate, |w, Rate { sent, received }| {
            w.option(sent, Writer::number);
            w.option(received, Writer::number);
        });
    });
    w.size(*max_associations);
    w.size(*max_destinations);
    w.duration(*flow_idle_timeout);
    w.size(*max_queue);
    w.size(*buffer_size);
    w.size(*buffer_limit);
    w.raw(&[*splice_after]);
    w.size(*max_head);
    w.size(*max_fields);
    w.flag(*request_events);
    #[cfg(feature = "names")]
    of_names(&mut w, names);
    // So that a build without them reads what one with them writes, and the other way round.
    #[cfg(not(feature = "names"))]
    (0..4).for_each(|_| w.size(0));
    w.take()
}

/// Reads it back. The fields are read in the order in which they stand here.
pub(in super::super) fn to_dispatch(bytes: &[u8]) -> Option<Config> {
    let mut r = Reader::new(bytes, &[DISPATCH])?;
    Some(Config {
        listeners: r.all(Reader::address)?,
        local_addresses: r.all(Reader::ip)?,
        private_endpoints: r.all(Reader::address)?,
        credentials: r
            .option(|r| r.all(|r| Some((r.bytes()?, r.bytes()?))))?
            .map(|entries| Credentials::from_entries(entries.into_iter())),
        allow_private: r.flag()?,
        tunnel: r.flag()?,
        handshake_timeout: r.duration()?,
        connect_timeout: r.duration()?,
        idle_timeout: r.option(Reader::duration)?,
        exchange_timeout: r.duration()?,
        keep_alive_timeout: r.duration()?,
        auth_delay: r.duration()?,
        linger: r.duration()?,
        max_connections: r.len()?,
        max_half_open: r.len()?,
        max_client_connections: r.option(Reader::len)?,
        max_kept: r.len()?,
        max_lookups: r.len()?,
        lookup_timeout: r.duration()?,
        probes: r.all(|r| r.option(to_probe))?,
        upstreams: r.all(|r| r.option(to_upstream))?,
        rates: r.all(|r| {
            r.option(|r| {
                let sent = r.option(Reader::number)?;
                Some(Rate { sent, received: r.option(Reader::number)? })
            })
        })?,
        max_associations: r.len()?,
        max_destinations: r.len()?,
        flow_idle_timeout: r.duration()?,
        max_queue: r.len()?,
        buffer_size: r.len().filter(|size| *size <= MAX_BUFFER)?,
        buffer_limit: r.len()?,
        splice_after: r.byte()?,
        max_head: r.len()?,
        max_fields: r.len()?,
        request_events: r.flag()?,
        #[cfg(feature = "names")]
        names: to_names(&mut r)?,
    })
}

#[cfg(feature = "names")]
fn of_names(w: &mut Writer, names: &NamesConfig) {
    let NamesConfig { resolvers, cache, v6_only, system } = names;
    w.all(resolvers.iter(), |w, servers| w.all(servers.iter(), |w, address| w.address(*address)));
    w.size(*cache);
    w.number(v6_only.to_bits());
    w.all(system.iter(), |w, name| w.bytes(name.as_bytes()));
}

#[cfg(feature = "names")]
fn to_names(r: &mut Reader<'_>) -> Option<NamesConfig> {
    let resolvers = r.all(|r| r.all(Reader::address))?;
    let cache = r.len()?;
    let v6_only = UplinkSet::from_bits(r.number()?);
    Some(NamesConfig { resolvers, cache, v6_only, system: r.all(Reader::text)?.into_iter().collect() })
}

/// A login is written as so much filler: the machine tells it, and never compares it.
fn of_upstream(w: &mut Writer, upstream: &Upstream) {
    let Upstream { protocol, login } = upstream;
    w.flag(*protocol == UpstreamProtocol::Http);
    w.option(login.as_ref(), |w, (user, password)| {
        w.size(user.len());
        w.size(password.len());
    });
}

fn to_upstream(r: &mut Reader<'_>) -> Option<Upstream> {
    let protocol = if r.flag()? { UpstreamProtocol::Http } else { UpstreamProtocol::Socks5 };
    // RFC 1929 has 255 bytes for each; HTTP's have no limit of their own.
    let filler = |len: usize| (len <= 1 << 16).then(|| vec![FILLER; len]);
    let login = r.option(|r| Some((filler(r.len()?)?, filler(r.len()?)?)))?;
    Some(Upstream { protocol, login })
}

fn of_probe(w: &mut Writer, probe: &ProbeConfig) {
    let ProbeConfig { destination, http, period, timeout } = probe;
    w.bytes(alloc::format!("{}", destination.host).as_bytes());
    w.number(destination.port.into());
    w.option(http.as_ref(), |w, HttpProbe { host, path, status }| {
        w.bytes(host.as_bytes());
        // It may have a token in it.
        w.size(path.len());
        w.option(*status, |w, status| w.number(status.into()));
    });
    w.duration(*period);
    w.duration(*timeout);
}

fn to_probe(r: &mut Reader<'_>) -> Option<ProbeConfig> {
    let host = Host::parse(&r.bytes()?).ok()?;
    let destination = Destination { host, port: u16::try_from(r.number()?).ok()? };
    let http = r.option(|r| {
        let host = r.text()?;
        let len = r.len().filter(|len| *len <= 1 << 16)?;
        let path = core::iter::repeat_n(char::from(FILLER), len).collect();
        let status = r.option(|r| u16::try_from(r.number()?).ok())?;
        Some(HttpProbe { host, path, status })
    })?;
    // One that asks again in no time would never let the machine rest.
    let mut duration = || r.duration().filter(|duration| !duration.is_zero());
    Some(ProbeConfig { destination, http, period: duration()?, timeout: duration()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;
    use core::net::{IpAddr, SocketAddr};

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("literal")
    }

    #[test]
    fn a_configuration_is_read_back_without_its_passwords() {
        let probe = ProbeConfig {
            destination: Destination { host: Host::parse(b"example.org").expect("a host"), port: 80 },
            http: Some(HttpProbe {
                host: "example.org".into(),
                path: "/x?key=hunter22".into(),
                status: Some(204),
            }),
            period: Duration::from_secs(9),
            timeout: Duration::from_secs(2),
        };
        let config = Config {
            listeners: vec![address("127.0.0.1:1080"), address("[fe80::1%3]:1080")],
            local_addresses: vec![IpAddr::from([192, 0, 2, 1])],
            credentials: Some(Credentials::parse(b"ann:hunter22\n").expect("valid")),
            upstreams: vec![
                None,
                Some(Upstream {
                    protocol: UpstreamProtocol::Http,
                    login: Some((b"me".into(), b"hunter22".into())),
                }),
            ],
            probes: vec![Some(probe), None],
            rates: vec![None, Some(Rate { sent: Some(5), received: None })],
            idle_timeout: Some(Duration::from_secs(7)),
            #[cfg(feature = "names")]
            names: NamesConfig {
                resolvers: vec![vec![address("192.0.2.53:53"), address("[2001:db8::53]:5353")], vec![]],
                cache: 9,
                v6_only: UplinkSet::from_bits(2),
                system: ["nas.home.example".into()].into(),
            },
            ..Config::default()
        };
        let mut secrets = Secrets::default();
        secrets.set(config.credentials.as_ref());
        let told = of_dispatch(&config, &secrets);
        assert!(!told.windows(8).any(|window| window == b"hunter22"));
        let back = to_dispatch(&told).expect("whole");
        let print = |config: &Config| alloc::format!("{:?}", Config { probes: Vec::new(), ..config.clone() });
        assert_eq!(print(&back), print(&config));
        assert_eq!(back.upstreams[1].as_ref().and_then(|u| u.login.clone()).map(|l| l.1.len()), Some(8));
        assert_eq!(back.probes[0].as_ref().map(|probe| probe.period), Some(Duration::from_secs(9)));
        for cut in 0..told.len() {
            assert!(to_dispatch(&told[..cut]).is_none(), "{cut}");
        }
    }

    #[test]
    fn a_probe_that_would_never_let_the_machine_rest_is_not_read() {
        let destination = Destination { host: Host::parse(b"example.org").expect("a host"), port: 80 };
        for (period, timeout, is_read) in [(1, 1, true), (0, 1, false), (1, 0, false)] {
            let (period, timeout) = (Duration::from_secs(period), Duration::from_secs(timeout));
            let probe = ProbeConfig { destination: destination.clone(), http: None, period, timeout };
            let config = Config { probes: vec![Some(probe)], ..Config::default() };
            let told = of_dispatch(&config, &Secrets::default());
            assert_eq!(to_dispatch(&told).is_some(), is_read, "{period:?} {timeout:?}");
        }
    }
}
