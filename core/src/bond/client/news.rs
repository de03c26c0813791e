//! What the client does of what its association has news of.

use super::Client;
use crate::bond::path;
use crate::bond::peer::News;
use crate::bond::wire::{CloseReason, Config, ConfigRequest, Frame, PathId, Purpose};
use crate::machine::event::{BondNews, Event};
use crate::machine::{Output, TunConfiguration, UplinkId};
use crate::time::{Duration, Instant};
use core::net::IpAddr;

/// A configuration that did not come is asked for again after this.
pub(super) const ASK_AGAIN: Duration = Duration::from_millis(300);

/// A client whose place another host has taken, with the same key, comes back after this; then
/// after twice as long, up to [`PAUSE_MOST`]. A third of it is jitter.
const PAUSE: Duration = Duration::from_secs(30);
const PAUSE_MOST: Duration = Duration::from_secs(15 * 60);

impl Client {
    /// Does what the association has news of, and names what there is to send.
    pub(super) fn settle(&mut self, now: Instant) {
        while let Some(news) = self.peer.poll_news() {
            self.obey(now, news);
        }
        if self.ask_config.is_some_and(|at| at <= now) && self.established {
            self.ask_config = Some(now + ASK_AGAIN);
            let mtu = self.config.common.mtu;
            self.peer.send_frame(Frame::ConfigRequest(ConfigRequest {
                epoch: self.epoch,
                v4: true,
                v6: true,
                mtu,
            }));
        }
        self.say_wishes(now);
        if self.forgotten_at().is_some_and(|at| at <= now) {
            self.initiator.start(now);
        }
        if self.established
            && self.peer.keys.wants_rekey(now)
            && (self.peer.is_busy() || self.renews_idle(now))
        {
            self.renew(now);
        }
        self.shake(now);
        self.tun_dirty |= !self.give.is_empty();
    }

    pub(super) fn obey(&mut self, now: Instant, news: News) {
        match news {
            News::Path(id, state) => {
                let Some(uplink) = self.ways.get(id.index()).map(|way| way.uplink.id) else { return };
                self.tell(path_news(id, Some(uplink), state));
                if state == path::State::Down && self.is_cut_off() {
                    // Nothing answers: the server may have another address of ours, or have
                    // forgotten us. Asked at once; `forgotten_at` asks for as long as it stays so.
                    self.initiator.start(now);
                }
            }
            News::Response(id, token) => {
                if self.peer.answered(now, id, token) {
                    let uplink = self.ways.get(id.index()).map(|way| way.uplink.id);
                    self.tell(BondNews::PathValidated { path: id.get(), uplink });
                    self.announce_unless_plain(now);
                }
            }
            News::Config(config) => self.configure(now, &config),
            News::Rekey => self.initiator.start(now),
            News::Mtu => self.fit_device(),
            News::Closed(CloseReason::Replaced) => {
                self.begin_again(now);
                let pause = self.pause(now);
                self.tell(BondNews::KeyShared { pause: Some(pause) });
            }
            News::Closed(_) => {
                self.tell(BondNews::Closed);
                self.begin_again(now);
                self.initiator.start(now);
            }
            // The server's part.
            News::ConfigRequest(_) | News::ConfigAck(_) | News::Status(_) | News::Wish(_) => {}
        }
    }

    /// Another host came in with this client's key. It is left there for a while, and for longer
    /// each time: two hosts that push each other out at once carry nothing, neither of them.
    fn pause(&mut self, now: Instant) -> Duration {
        let (count, last) = self.pushed_out;
        let count = if now.saturating_since(last) > PAUSE_MOST * 4 { 0 } else { count };
        self.pushed_out = (count + 1, now);
        let pause = (PAUSE * (1 << count.min(8))).min(PAUSE_MOST);
        // Both have the same clockwork.
        let pause = pause + Duration::from_nanos(self.rng.below(pause.as_nanos() as u64 / 3));
        self.initiator.pause(now + pause);
        pause
    }

    pub(super) fn configure(&mut self, now: Instant, config: &Config) {
        self.peer.send_frame(Frame::ConfigAck(config.epoch()));
        self.ask_config = None;
        if config.epoch() <= self.epoch {
            return;
        }
        self.epoch = config.epoch();
        let own = config.entries().filter(|entry| entry.purpose() == Purpose::Own);
        self.networks = own.map(|entry| (entry.address(), entry.prefix())).collect();
        self.addresses = self.networks.iter().map(|(address, _)| *address).collect();
        let mtu = config.mtu().min(self.config.common.mtu);
        self.peer.set_mtu(now, mtu, self.addresses.iter().any(IpAddr::is_ipv6));
        self.set_device();
    }

    /// The tunnel's MTU has changed: so has the device's, once it has addresses.
    fn fit_device(&mut self) {
        if !self.networks.is_empty() && self.device_mtu != self.peer.device_mtu() {
            self.set_device();
        }
    }

    fn set_device(&mut self) {
        self.device_mtu = self.peer.device_mtu();
        let configuration = TunConfiguration { addresses: self.networks.clone(), mtu: self.device_mtu };
        self.outputs.push_back(Output::Configure { tun: self.config.common.tun, configuration });
    }

    pub(super) fn tell(&mut self, news: BondNews) {
        self.outputs.push_back(Output::Event(Event::Bond { client: None, news }));
    }
}

/// What a path's state is called outside.
pub(in crate::bond) fn path_news(id: PathId, uplink: Option<UplinkId>, state: path::State) -> BondNews {
    let path = id.get();
    match state {
        path::State::Live => BondNews::PathLive { path, uplink },
        path::State::Suspect => BondNews::PathSuspect { path, uplink },
        path::State::Down => BondNews::PathDown { path, uplink },
    }
}
