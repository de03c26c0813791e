//! What an unwrap machine is configured with. It has no secret.

use super::{MAX_BUFFER, UNWRAP};
use crate::machine::{LocalPath, Target};
use crate::name::{Host, Name};
use crate::record::codec::{Reader, Writer};
use crate::unwrap::{Config, DatagramListener, Destinations, Listener, Names, PortConflict, UdpHeader};
use crate::uplink::Prefix;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Writes what an unwrap machine is configured with.
pub(in super::super) fn of_unwrap(config: &Config) -> Vec<u8> {
    let Config {
        listeners,
        datagram_listeners,
        names,
        local_addresses,
        allow_source,
        on_port_conflict,
        mark,
        max_header,
        mixed_families,
        header_timeout,
        connect_timeout,
        idle_timeout,
        linger,
        flow_idle_timeout,
        max_flows,
        max_queue,
        max_connections,
        max_half_open,
        buffer_size,
        buffer_limit,
        splice_after,
        request_events,
    } = config;
    let mut w = Writer::default();
    w.raw(&[UNWRAP]);
    w.all(listeners.iter(), |w, listener| {
        let Listener { address, allowed, target_v4, target_v6, to_header } = listener;
        w.address(*address);
        w.all(allowed.iter(), prefix);
        w.option(target_v4.as_ref(), target);
        w.option(target_v6.as_ref(), target);
        w.option(to_header.as_ref(), destinations);
    });
    w.all(datagram_listeners.iter(), |w, listener| {
        let DatagramListener { address, allowed, target_v4, target_v6, to_header, header } = listener;
        w.address(*address);
        w.all(allowed.iter(), prefix);
        w.option(*target_v4, Writer::address);
        w.option(*target_v6, Writer::address);
        w.option(to_header.as_ref(), destinations);
        w.flag(*header == UdpHeader::First);
    });
    let known: Vec<_> = names.entries().collect();
    w.all(known.into_iter(), |w, (name, at)| {
        w.bytes(name.as_str().as_bytes());
        w.address(at);
    });
    w.all(local_addresses.iter(), |w, ip| w.ip(*ip));
    w.all(allow_source.iter(), prefix);
    w.flag(*on_port_conflict == PortConflict::Ephemeral);
    w.option(*mark, |w, mark| w.number(mark.into()));
    w.size(*max_header);
    w.flag(*mixed_families);
    w.duration(*header_timeout);
    w.duration(*connect_timeout);
    w.option(*idle_timeout, Writer::duration);
    w.duration(*linger);
    w.duration(*flow_idle_timeout);
    w.size(*max_flows);
    w.size(*max_queue);
    w.size(*max_connections);
    w.size(*max_half_open);
    w.size(*buffer_size);
    w.size(*buffer_limit);
    w.raw(&[*splice_after]);
    w.flag(*request_events);
    w.take()
}

/// Reads it back. The fields are read in the order in which they stand here.
pub(in super::super) fn to_unwrap(bytes: &[u8]) -> Option<Config> {
    let mut r = Reader::new(bytes, &[UNWRAP])?;
    Some(Config {
        listeners: r.all(|r| {
            Some(Listener {
                address: r.address()?,
                allowed: r.all(to_prefix)?.into(),
                target_v4: r.option(to_target)?,
                target_v6: r.option(to_target)?,
                to_header: r.option(to_destinations)?,
            })
        })?,
        datagram_listeners: r.all(|r| {
            Some(DatagramListener {
                address: r.address()?,
                allowed: r.all(to_prefix)?.into(),
                target_v4: r.option(Reader::address)?,
                target_v6: r.option(Reader::address)?,
                to_header: r.option(to_destinations)?,
                header: if r.flag()? { UdpHeader::First } else { UdpHeader::Each },
            })
        })?,
        names: to_names(&mut r)?,
        local_addresses: r.all(Reader::ip)?,
        allow_source: r.all(to_prefix)?,
        on_port_conflict: if r.flag()? { PortConflict::Ephemeral } else { PortConflict::Fail },
        mark: r.option(|r| u32::try_from(r.number()?).ok())?,
        max_header: r.len()?,
        mixed_families: r.flag()?,
        header_timeout: r.duration()?,
        connect_timeout: r.duration()?,
        idle_timeout: r.option(Reader::duration)?,
        linger: r.duration()?,
        flow_idle_timeout: r.duration()?,
        max_flows: r.len()?,
        max_queue: r.len()?,
        max_connections: r.len()?,
        max_half_open: r.len()?,
        buffer_size: r.len().filter(|size| *size <= MAX_BUFFER)?,
        buffer_limit: r.len()?,
        splice_after: r.byte()?,
        request_events: r.flag()?,
    })
}

fn prefix(w: &mut Writer, prefix: &Prefix) {
    w.ip(prefix.network());
    w.raw(&[prefix.bits()]);
}

fn to_prefix(r: &mut Reader<'_>) -> Option<Prefix> {
    Prefix::new(r.ip()?, r.byte()?)
}

fn target(w: &mut Writer, target: &Target) {
    match target {
        Target::Address(address) => {
            w.flag(false);
            w.address(*address);
        }
        Target::Local(path) => {
            w.flag(true);
            w.bytes(path.as_bytes());
        }
    }
}

fn to_target(r: &mut Reader<'_>) -> Option<Target> {
    match r.flag()? {
        false => r.address().map(Target::Address),
        true => LocalPath::new(&r.bytes()?).map(Target::Local),
    }
}

fn destinations(w: &mut Writer, all: &Arc<[Destinations]>) {
    w.all(all.iter(), |w, Destinations { network, ports }| {
        prefix(w, network);
        w.number((*ports.start()).into());
        w.number((*ports.end()).into());
    });
}

fn to_destinations(r: &mut Reader<'_>) -> Option<Arc<[Destinations]>> {
    let port = |r: &mut Reader<'_>| u16::try_from(r.number()?).ok();
    let one = |r: &mut Reader<'_>| Some(Destinations { network: to_prefix(r)?, ports: port(r)?..=port(r)? });
    r.all(one).map(Into::into)
}

fn to_names(r: &mut Reader<'_>) -> Option<Names> {
    let mut names = Names::default();
    for (name, at) in r.all(|r| Some((r.bytes()?, r.address()?)))? {
        let Ok(Host::Name(name)) = Host::parse(&name) else { return None };
        let name: Name = name;
        names.add(name, at);
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;
    use alloc::format;
    use alloc::vec;

    #[test]
    fn a_configuration_is_read_back() {
        let network = Prefix::new([10, 0, 0, 0].into(), 8).expect("a prefix");
        let allowed: Arc<[Prefix]> = [network].into();
        let to_header: Arc<[Destinations]> = [Destinations { network, ports: 1..=9 }].into();
        let server = "127.0.0.1:25578".parse().expect("literal");
        let Ok(Host::Name(name)) = Host::parse(b"server.example") else { panic!("a name") };
        let mut names = Names::default();
        names.add(name, server);
        let config = Config {
            listeners: vec![Listener {
                address: "[::]:25577".parse().expect("literal"),
                allowed: Arc::clone(&allowed),
                target_v4: Some(Target::Address(server)),
                target_v6: LocalPath::new(b"/run/server").map(Target::Local),
                to_header: Some(Arc::clone(&to_header)),
            }],
            datagram_listeners: vec![DatagramListener {
                address: server,
                allowed,
                target_v4: Some(server),
                target_v6: None,
                to_header: Some(to_header),
                header: UdpHeader::First,
            }],
            names,
            allow_source: vec![network],
            on_port_conflict: PortConflict::Ephemeral,
            mark: Some(7),
            idle_timeout: Some(Duration::from_secs(3)),
            ..Config::default()
        };
        let told = of_unwrap(&config);
        assert_eq!(format!("{:?}", to_unwrap(&told).expect("whole")), format!("{config:?}"));
        assert!((0..told.len()).all(|cut| to_unwrap(&told[..cut]).is_none()));
    }
}
