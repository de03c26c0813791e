//! What the server does of what an association has news of.

use super::Server;
use crate::bond::client::path_news;
use crate::bond::config::{MIN_MTU, ServerConfig};
use crate::bond::handshake::ClientId;
use crate::bond::path;
use crate::bond::peer::{News, Slot};
use crate::bond::wire::{Config, ConfigEntry, Frame, PeerPathState, Purpose};
use crate::machine::Output;
use crate::machine::event::{BondNews, Event};
use crate::time::Instant;
use core::net::IpAddr;

impl Server {
    /// Does what an association has news of, and names what it has to send.
    pub(super) fn settle(&mut self, now: Instant, client: ClientId) {
        loop {
            let Some(peer) = self.sessions.get_mut(&client).and_then(|session| session.live.as_mut()) else {
                return;
            };
            let Some(news) = peer.poll_news() else { break };
            self.obey(now, client, news);
        }
        let Some(peer) = self.sessions.get_mut(&client).and_then(|session| session.live.as_mut()) else {
            return;
        };
        if peer.is_busy() && peer.keys.asks_rekey(now) {
            peer.send_frame(Frame::Rekey);
        }
        while let Some(path) = peer.poll_dirty() {
            self.busy.push_back((client, path));
            self.socket_dirty = true;
        }
        self.tun_dirty |= !self.give.is_empty();
    }

    pub(super) fn obey(&mut self, now: Instant, client: ClientId, news: News) {
        let Some(session) = self.sessions.get_mut(&client) else { return };
        let Some(peer) = session.live.as_mut() else { return };
        match news {
            News::Path(id, state) => self.tell(client, path_news(id, None, state)),
            News::Response(id, token) => {
                if peer.answered(now, id, token) {
                    self.tell(client, BondNews::PathValidated { path: id.get(), uplink: None });
                }
            }
            News::ConfigRequest(request) => {
                let own = self.config.common.mtu;
                // Zero is no wish. Hosts outside keep "packet too big" for our address, which other
                // clients share behind NAT, so no client may ask for less than any tunnel has.
                let mtu = if request.mtu == 0 { own } else { request.mtu.clamp(MIN_MTU, own) };
                peer.set_mtu(now, mtu, session.addresses.iter().any(IpAddr::is_ipv6));
                if let Some(config) = configuration(&self.config, &session.addresses, mtu) {
                    peer.send_frame(Frame::Config(config));
                }
            }
            News::ConfigAck(_) => {}
            // The device is all clients': each packet is held to its own client's MTU.
            News::Mtu => {}
            News::Status(status) => {
                if let Some(slot) = peer.slot_mut(status.path) {
                    slot.weight = u32::from(status.weight.max(1));
                }
                match status.state {
                    PeerPathState::Available | PeerPathState::Standby => {
                        let down = |slot: &Slot| slot.path.state() == path::State::Down;
                        if peer.slot(status.path).is_some_and(down) {
                            peer.handle_link(now, status.path, true);
                        }
                    }
                    PeerPathState::Draining | PeerPathState::Gone => {
                        peer.handle_link(now, status.path, false);
                    }
                }
            }
            News::Wish(wish) => {
                peer.set_strategy(wish.strategy);
                peer.set_max_skew(wish.max_skew);
            }
            News::Closed(_) => self.end(client),
            // The client's part.
            News::Config(_) | News::Rekey => {}
        }
    }

    pub(super) fn tell(&mut self, client: ClientId, news: BondNews) {
        self.outputs.push_back(Output::Event(Event::Bond { client: Some(client.0), news }));
    }
}

/// The client's settings for its tunnel.
fn configuration(config: &ServerConfig, addresses: &[IpAddr], mtu: u16) -> Option<Config> {
    let mut out = Config::new(1, mtu).ok()?;
    for address in addresses {
        let network = config.addresses.iter().find(|(ours, _)| ours.is_ipv4() == address.is_ipv4());
        let prefix = network.map_or(if address.is_ipv4() { 32 } else { 128 }, |(_, prefix)| *prefix);
        out.push(ConfigEntry::new(Purpose::Own, *address, prefix).ok()?).ok()?;
    }
    for (address, prefix) in &config.addresses {
        out.push(ConfigEntry::new(Purpose::Server, *address, *prefix).ok()?).ok()?;
    }
    Some(out)
}
