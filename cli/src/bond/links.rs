//! The client's links as they are now: those that were asked for, and of them those that can be
//! used.
//!
//! ```text
//!   --via, `bond set` ─▶ wanted ─┐
//!                                ├─ look ─▶ what the machine is to use, and what it opens anew
//!   rtnetlink ─▶ interfaces ─────┘
//! ```
//!
//! A link keeps its number, so that what was measured of it stays when it comes back. Only when all
//! numbers are given a new link takes that of one that is gone: some phones have another name each
//! time they are plugged in.

use crate::host::links::{Address, DefaultRoute, Link};
use crate::host::matching::{self, UplinkSpec};
use crate::host::select;
use crate::host::uplink::{Selector, UplinkArg};
use ropewalk_core::bond::Uplink;
use ropewalk_core::machine::{Device, UplinkId, Via};
use std::net::IpAddr;

/// Links at the same time, at most: the paths of a bond.
const MOST: usize = 16;

/// What of an interface must stay for a socket to stay good.
#[derive(Clone, PartialEq, Debug)]
struct Print {
    index: u32,
    addresses: Vec<Address>,
    defaults: Option<Vec<DefaultRoute>>,
}

/// A link that has a number.
#[derive(Clone, Debug)]
struct Known {
    label: String,
    weight: u32,
    print: Option<Print>,
}

/// See the head of this file. A copy is what may come of a request: it counts once all of it can be
/// done.
#[derive(Clone, Debug)]
pub(super) struct Links {
    wanted: Vec<UplinkArg>,
    /// What `auto` must leave out.
    dropped: Vec<String>,
    known: Vec<Known>,
    /// Those that were told to be one too many.
    over: Vec<String>,
    /// From where a number is looked for that can be given again.
    given: usize,
    server_v6: bool,
    mark: u32,
    tun: Option<Device>,
}

/// What has changed.
#[derive(Debug, Default)]
pub(super) struct LinksChange {
    /// What can be used now, by the labels of [`Links::label`].
    pub(super) uplinks: Vec<Uplink>,
    /// Those whose sockets have another way to go than before.
    pub(super) renewed: Vec<UplinkId>,
    /// It differs from the last look.
    pub(super) differs: bool,
}

impl LinksChange {
    fn has(&self, id: UplinkId) -> bool {
        self.uplinks.iter().any(|uplink| uplink.id == id)
    }
}

impl Links {
    /// The links that a command line asks for; `auto` if none. To be told where the server is.
    pub(super) fn new(via: &[UplinkArg], mark: u32, tun: &str) -> Links {
        let wanted = if via.is_empty() { vec![UplinkArg::auto()] } else { via.to_vec() };
        let tun = Device::new(tun);
        let (dropped, known, over) = (Vec::new(), Vec::new(), Vec::new());
        Links { wanted, dropped, known, over, given: 0, server_v6: false, mark, tun }
    }

    /// Holds what was written against the host, as far as it can be wrong for good, and says what a
    /// person should know.
    pub(super) fn check(&self, links: &[Link]) -> Result<(), String> {
        let resolved = matching::match_all(&self.wanted, links)?;
        // Of those that `auto` finds the first are used, and `look` names the others.
        let written = self.wanted.iter().filter(|one| one.selector != Selector::Auto).count();
        if written > MOST {
            return Err(format!("--via: expected at most {MOST} links, got {written}"));
        }
        for (name, why) in &resolved.left_out {
            log::info!("auto leaves out {name}: {why}");
        }
        for spec in &resolved.uplinks {
            spec.warnings.iter().for_each(|warning| log::warn!("{warning}"));
            self.unfit(spec, links).iter().for_each(|told| log::warn!("{told}"));
        }
        Ok(())
    }

    /// What to say of a link that is there and has no address of the server's family.
    fn unfit(&self, spec: &UplinkSpec, links: &[Link]) -> Option<String> {
        let link = links.iter().find(|link| link.device.is_some() && link.device == spec.device)?;
        let family = if self.server_v6 { 6 } else { 4 };
        let told = format!("{} is not used: it has no address of IPv{family}, as the server has", spec.label);
        (!self.fits(spec, link)).then_some(told)
    }

    /// Whether a link could carry to a server with this address.
    pub(super) fn reach(&self, server: IpAddr, links: &[Link]) -> bool {
        let other = Links { server_v6: server.is_ipv6(), ..self.clone() };
        other.specs(links).iter().any(|spec| other.usable(spec, links).is_some())
    }

    /// The interfaces of all links that are up, whichever family the server has.
    #[cfg(feature = "names")]
    pub(super) fn interfaces<'l>(&self, links: &'l [Link]) -> Vec<&'l Link> {
        let specs = self.specs(links);
        let is_ours = |link: &&Link| specs.iter().any(|spec| spec.device == link.device);
        links.iter().filter(|link| link.up && link.device != self.tun).filter(is_ours).collect()
    }

    /// The mark of the bond's own packets.
    #[cfg(feature = "names")]
    pub(super) fn mark(&self) -> u32 {
        self.mark
    }

    /// The server has this address from now on.
    pub(super) fn serve_at(&mut self, server: IpAddr) {
        self.server_v6 = server.is_ipv6();
    }

    /// What the link with this id is called.
    pub(super) fn label(&self, id: UplinkId) -> &str {
        self.known.get(usize::from(id.0)).map_or("?", |known| &known.label)
    }

    /// The weight of the link with this id.
    pub(super) fn weight(&self, id: UplinkId) -> u32 {
        self.known.get(usize::from(id.0)).map_or(1, |known| known.weight)
    }

    /// Uses this link too, or with another weight. Gives what a person should know, as sentences.
    ///
    /// # Errors
    /// What cannot be meant; nothing has changed then.
    pub(super) fn add(&mut self, link: UplinkArg, links: &[Link]) -> Result<Vec<String>, String> {
        let mut notes = Vec::new();
        if link.selector != Selector::Auto {
            let spec = matching::match_one(&link, links)?;
            notes = spec.warnings.clone();
            notes.extend(self.unfit(&spec, links));
        }
        self.dropped.retain(|label| *label != link.label);
        self.wanted.retain(|one| one.label != link.label);
        self.wanted.push(link);
        Ok(notes)
    }

    /// Uses this link no more.
    pub(super) fn remove(&mut self, label: &str, links: &[Link]) -> Result<(), String> {
        let written = self.wanted.iter().any(|one| one.label == label);
        let found = self.known.iter().any(|known| known.label == label && known.print.is_some());
        if !written && !found {
            let used: Vec<&str> = self.known.iter().map(|known| known.label.as_str()).collect();
            return Err(format!("--drop: expected one of {}, got '{label}'", used.join(", ")));
        }
        let left = |spec: &UplinkSpec| spec.label != label && self.usable(spec, links).is_some();
        if !self.specs(links).iter().any(left) {
            return Err(format!("--drop {label}: it is the last link: expected another one beside it"));
        }
        self.wanted.retain(|one| one.label != label);
        self.dropped.push(label.to_owned());
        Ok(())
    }

    /// The links as they are now.
    pub(super) fn look(&mut self, links: &[Link]) -> LinksChange {
        let mut change = LinksChange::default();
        let specs = self.specs(links);
        for spec in &specs {
            let Some(link) = self.usable(spec, links) else { continue };
            let source = spec.source_v4.map(IpAddr::from).or(spec.source_v6.map(IpAddr::from));
            let print = Print {
                index: link.index,
                addresses: link.usable().copied().collect(),
                defaults: link.defaults.clone(),
            };
            let Some(number) = self.number(&spec.label, &specs) else {
                // Once: interfaces are looked at whenever any of them changes.
                if !self.over.contains(&spec.label) {
                    log::warn!("{} is not used: there are {MOST} links beside it", spec.label);
                    self.over.push(spec.label.clone());
                }
                continue;
            };
            let id = UplinkId(number as u16);
            if change.has(id) {
                continue;
            }
            let known = &mut self.known[number];
            change.differs |= known.weight != spec.weight;
            known.weight = spec.weight;
            match known.print.replace(print.clone()) {
                None => change.differs = true,
                Some(before) if before != print => {
                    change.differs = true;
                    change.renewed.push(id);
                }
                Some(_) => {}
            }
            let via = Via { device: spec.device, source, transparent: None, mark: Some(self.mark) };
            change.uplinks.push(Uplink { id, via, weight: spec.weight as u16 });
        }
        for (number, known) in self.known.iter_mut().enumerate() {
            let gone = !change.uplinks.iter().any(|uplink| usize::from(uplink.id.0) == number);
            if gone && known.print.take().is_some() {
                change.differs = true;
            }
        }
        change
    }

    /// The interface of a link that can carry. One that is not there, or has no carrier, cannot: it
    /// is said at once, not found out.
    fn usable<'l>(&self, spec: &UplinkSpec, links: &'l [Link]) -> Option<&'l Link> {
        let link = links.iter().find(|link| link.device.is_some() && link.device == spec.device)?;
        (link.up && link.device != self.tun && self.fits(spec, link)).then_some(link)
    }

    /// Whether a link has an address of the server's family.
    fn fits(&self, spec: &UplinkSpec, link: &Link) -> bool {
        let has = |address: &Address| address.ip.is_ipv6() == self.server_v6;
        spec.carries(self.server_v6) && link.usable().any(has)
    }

    /// What is wanted, of what can be said now.
    fn specs(&self, links: &[Link]) -> Vec<UplinkSpec> {
        let written = self.wanted.iter().filter(|one| one.selector != Selector::Auto);
        // An address that no interface has now may come back.
        let mut all: Vec<UplinkSpec> =
            written.filter_map(|one| matching::match_one(one, links).ok()).collect();
        if let Some(auto) = self.wanted.iter().find(|one| one.selector == Selector::Auto) {
            for found in select::auto(links).uplinks {
                let found = UplinkArg { weight: auto.weight, ..found };
                let Ok(spec) = matching::match_one(&found, links) else { continue };
                let named = all.iter().any(|one| one.device == spec.device);
                if !named && !self.dropped.contains(&spec.label) {
                    all.push(spec);
                }
            }
        }
        all
    }

    /// The number of this link; a new one's may be that of a link that is not among these.
    fn number(&mut self, label: &str, now: &[UplinkSpec]) -> Option<usize> {
        if let Some(number) = self.known.iter().position(|known| known.label == label) {
            return Some(number);
        }
        let new = Known { label: label.to_owned(), weight: 1, print: None };
        if self.known.len() < MOST {
            self.known.push(new);
            return Some(self.known.len() - 1);
        }
        let gone = |known: &Known| now.iter().all(|spec| spec.label != known.label);
        // Those that went last may come back: numbers go round.
        let free = (0..MOST).map(|step| (self.given + step) % MOST).find(|at| gone(&self.known[*at]))?;
        self.given = free + 1;
        self.known[free] = new;
        Some(free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fixtures::{eth, ip, via};

    fn host() -> Vec<Link> {
        vec![via(eth("wlan0", &["10.0.0.2/24"]), "10.0.0.1"), via(eth("usb0", &["10.0.1.2/24"]), "10.0.1.1")]
    }

    fn links(written: &[&str]) -> Links {
        let written: Vec<UplinkArg> = written.iter().map(|text| text.parse().expect("an uplink")).collect();
        Links::new(&written, 7, "ropewalk0")
    }

    fn labels(links: &Links, change: &LinksChange) -> Vec<String> {
        let one = |uplink: &Uplink| format!("{}@{}", links.label(uplink.id), uplink.weight);
        change.uplinks.iter().map(one).collect()
    }

    #[test]
    fn a_link_that_goes_and_comes_keeps_its_number() {
        let mut own = links(&[]);
        let first = own.look(&host());
        assert!(first.differs);
        assert_eq!(labels(&own, &first), ["wlan0@1", "usb0@1"]);
        let second = own.look(&host());
        assert_eq!((second.differs, second.renewed.len()), (false, 0));
        let gone = own.look(&host()[1..]);
        assert!(gone.differs);
        assert_eq!(gone.uplinks[0].id, UplinkId(1));
        let back = own.look(&host());
        assert!(back.differs);
        assert_eq!(back.uplinks.iter().map(|uplink| uplink.id.0).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn of_more_links_than_a_bond_has_auto_takes_the_first_and_a_written_one_too_many_is_an_error() {
        let names: Vec<String> = (0..MOST + 4).map(|at| format!("eth{at}")).collect();
        let many: Vec<Link> = names.iter().map(|name| via(eth(name, &["10.0.9.2/24"]), "10.0.9.1")).collect();
        let mut own = links(&[]);
        assert_eq!(own.check(&many), Ok(()));
        assert_eq!(own.look(&many).uplinks.len(), MOST);
        let written: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(links(&written[..MOST]).check(&many), Ok(()));
        let told = links(&written).check(&many);
        assert_eq!(told, Err("--via: expected at most 16 links, got 20".into()));
    }

    #[test]
    fn another_address_means_another_socket() {
        let mut own = links(&["wlan0@3", "usb0"]);
        let first = own.look(&host());
        assert_eq!(labels(&own, &first), ["wlan0@3", "usb0@1"]);
        let moved = vec![via(eth("wlan0", &["10.0.0.9/24"]), "10.0.0.1"), host().remove(1)];
        assert_eq!(own.look(&moved).renewed, [UplinkId(0)]);
        let unplugged = vec![Link { up: false, ..host().remove(0) }, host().remove(1)];
        assert_eq!(own.look(&unplugged).uplinks.len(), 1);
    }

    #[test]
    fn links_are_added_weighed_and_dropped() {
        let mut own = links(&[]);
        own.look(&host());
        own.add("wlan0@3".parse().expect("an uplink"), &host()).expect("it is there");
        let weighed = own.look(&host());
        assert_eq!(labels(&own, &weighed), ["wlan0@3", "usb0@1"]);
        assert!(weighed.differs && weighed.renewed.is_empty());
        assert!(
            own.remove("eth7", &host())
                .is_err_and(|said| said.contains("wlan0, usb0") && said.contains("eth7"))
        );
        own.remove("usb0", &host()).expect("it is there");
        let one = own.look(&host());
        assert_eq!(labels(&own, &one), ["wlan0@3"]);
        assert!(own.remove("wlan0", &host()).is_err_and(|said| said.contains("last")));
        own.add("usb0".parse().expect("an uplink"), &host()).expect("it is there");
        // One that cannot reach the server as it is.
        let six = [eth("wlan9", &["2001:db8::2/64"])];
        let notes = own.clone().add("wlan9".parse().expect("an uplink"), &six).expect("it is there");
        assert_eq!(
            notes.last().map(String::as_str),
            Some("wlan9 is not used: it has no address of IPv4, as the server has")
        );
        assert!(
            own.add("192.0.2.9".parse().expect("an uplink"), &host())
                .is_err_and(|said| said.contains("192.0.2.9"))
        );
        let both = own.look(&host());
        assert_eq!(labels(&own, &both), ["wlan0@3", "usb0@1"]);
        // One that is not there is used once it comes, and counts for nothing until then.
        let notes = own.add("eth7".parse().expect("an uplink"), &host()).expect("it may come");
        assert!(notes.iter().any(|note| note.contains("eth7")), "{notes:?}");
        own.remove("usb0", &host()).expect("wlan0 is left");
        assert!(own.remove("wlan0", &host()).is_err_and(|said| said.contains("last")));
        // One for the other, in one request: it was not used before.
        own.add("usb0".parse().expect("an uplink"), &host()).expect("it is there");
        own.remove("wlan0", &host()).expect("usb0 is left");
        let other = own.look(&host());
        assert_eq!(labels(&own, &other), ["usb0@1"]);
    }

    #[test]
    fn a_phone_with_another_name_each_time_is_used_each_time() {
        let mut own = links(&[]);
        let [fixed, phone] = [0, 1].map(|at| host().remove(at));
        own.look(&[fixed.clone(), phone]);
        for plugged in 0..50 {
            let name = format!("enx{plugged}");
            let phone = via(eth(&name, &["10.0.1.2/24"]), "10.0.1.1");
            let change = own.look(&[fixed.clone(), phone]);
            assert_eq!(labels(&own, &change), ["wlan0@1".to_owned(), format!("{name}@1")]);
            assert_eq!(change.uplinks[0].id, UplinkId(0), "what stays keeps its number");
            assert!(change.differs && usize::from(change.uplinks[1].id.0) < MOST);
            if plugged % 3 == 0 {
                assert_eq!(own.look(std::slice::from_ref(&fixed)).uplinks.len(), 1);
            }
        }
        // As many as there are numbers, and one more.
        let many: Vec<Link> =
            (0..=MOST).map(|at| via(eth(&format!("eth{at}"), &["10.0.9.2/24"]), "10.0.9.1")).collect();
        let mut full = links(&[]);
        assert_eq!(full.look(&many).uplinks.len(), MOST);
        assert_eq!(full.look(&many[1..]).uplinks.len(), MOST, "the last one has the number of the first");
    }

    #[test]
    fn an_address_of_the_other_family_carries_nothing_to_this_server() {
        let mut host = host();
        host.push(via(eth("eth0", &["2001:db8::2/64"]), "fe80::1"));
        let mut own = links(&["wlan0", "2001:db8::2"]);
        own.check(&host).expect("both are there");
        let found = own.look(&host);
        assert_eq!(labels(&own, &found), ["wlan0@1"]);
        // The server's name has another address: now it is the other one's turn.
        assert!(own.reach(ip("2001:db8:9::1"), &host) && own.reach(ip("192.0.2.1"), &host));
        own.serve_at(ip("2001:db8:9::1"));
        let found = own.look(&host);
        assert!(found.differs);
        assert_eq!(labels(&own, &found), ["2001:db8::2@1"]);
        assert!(!own.reach(ip("192.0.2.1"), &host[2..]), "there is no IPv4 any more");
        // By the interface's name it is the same.
        let mut named = links(&["wlan0", "eth0"]);
        let found = named.look(&host);
        assert_eq!(labels(&named, &found), ["wlan0@1"]);
        assert!(!named.reach(ip("192.0.2.1"), &host[2..]) && named.reach(ip("2001:db8:9::1"), &host));
    }
}
