//! What can be changed while the client runs: how packets are spread, and by which uplinks.
//!
//! The server sends too, so it has to know: the client says its wish, and the weight and state of
//! each path, in a MODE and PATH_STATUS frames. They are not acknowledged, so each goes out a few
//! times, every time with a higher serial; not while all paths are down.

use super::Client;
use super::uplinks::Way;
use crate::bond::Tuning;
use crate::bond::config::{ConfigError, Uplink, check_uplinks, too_many};
use crate::bond::schedule::Strategy;
use crate::bond::wire::{Frame, MAX_PATHS, PathStatus, PeerPathState, Wish};
use crate::machine::{Input, Machine};
use crate::time::{Duration, Instant};
use alloc::vec::Vec;
use core::net::SocketAddr;

/// How often the wishes are said after a change.
const TIMES: u8 = 4;
/// From the first time to the second; each further one takes twice as long.
const AGAIN: Duration = Duration::from_millis(200);

/// What is to be said to the server.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    serial: u32,
    /// How often they are still to be said.
    left: u8,
    next: Option<Instant>,
}

impl Wishes {
    /// When they are said next.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    fn serial(&mut self) -> u32 {
        self.serial = self.serial.saturating_add(1);
        self.serial
    }
}

impl Client {
    /// Spreads packets in another way, in both directions, from now on.
    pub fn set_strategy(&mut self, now: Instant, strategy: Strategy) {
        self.config.common.tuning.strategy = strategy;
        self.peer.set_strategy(strategy);
        self.announce(now);
        self.settle(now);
    }

    /// Allows another skew, in both directions, from now on. See [`Tuning::max_skew`].
    pub fn set_max_skew(&mut self, now: Instant, max_skew: Duration) {
        self.config.common.tuning.max_skew = max_skew;
        self.peer.set_max_skew(max_skew);
        self.announce(now);
        self.settle(now);
    }

    /// The server is at another address from now on: every socket is opened anew, to go there, and
    /// the server is asked who it is. Changes nothing where the address is the same, or the client
    /// says farewell already.
    pub fn set_server(&mut self, now: Instant, server: SocketAddr) {
        if self.drained {
            return;
        }
        if core::mem::replace(&mut self.config.server, server) == server {
            return;
        }
        for index in (0..self.ways.len()).filter(|index| !self.ways[*index].gone).collect::<Vec<_>>() {
            self.close(index);
            self.open(index);
        }
        // What is at that address may know nothing of this association.
        self.initiator.start(now);
        self.settle(now);
    }

    /// Uses these uplinks from now on, and no others. One whose id was there before keeps its path
    /// and what was measured of it; its socket is opened anew if it leaves in another way.
    ///
    /// # Errors
    /// A weight of 0, an id given twice, or more than 16 ids since the client began; nothing has
    /// changed then.
    pub fn set_uplinks(&mut self, now: Instant, uplinks: &[Uplink]) -> Result<(), ConfigError> {
        check_uplinks(uplinks)?;
        let added = uplinks.iter().filter(|uplink| self.index_of(uplink.id).is_none());
        let all = self.ways.len() + added.clone().count();
        if all > MAX_PATHS {
            return Err(too_many(all));
        }
        for index in 0..self.ways.len() {
            let way = &mut self.ways[index];
            let id = way.uplink.id;
            let Some(to) = uplinks.iter().find(|uplink| uplink.id == id) else {
                if !way.gone {
                    self.handle_input(now, Input::UplinkGone { uplink: id });
                }
                continue;
            };
            way.uplink.weight = to.weight;
            let (path, moved) = (way.path, way.gone || way.uplink.via != to.via);
            if let Some(slot) = self.peer.slot_mut(path) {
                slot.weight = u32::from(to.weight);
            }
            if moved {
                self.handle_input(now, Input::UplinkBack { uplink: id, via: to.via });
            }
        }
        for uplink in uplinks {
            if self.index_of(uplink.id).is_none() {
                let index = self.ways.len();
                self.ways.push(Way::new(index, *uplink));
                self.open(index);
            }
        }
        self.announce(now);
        self.settle(now);
        Ok(())
    }

    /// The server learns the client's wishes, from now on.
    pub(super) fn announce(&mut self, now: Instant) {
        (self.wishes.left, self.wishes.next) = (TIMES, Some(now));
    }

    /// As [`Client::announce`], unless the wishes are what a server does for every client.
    pub(super) fn announce_unless_plain(&mut self, now: Instant) {
        let (own, plain) = (self.config.common.tuning, Tuning::default());
        let tuned = own.strategy != plain.strategy || own.max_skew != plain.max_skew;
        if tuned || self.ways.iter().any(|way| way.gone || way.uplink.weight != 1) {
            self.announce(now);
        }
    }

    /// Says the wishes, if it is time.
    pub(super) fn say_wishes(&mut self, now: Instant) {
        if !self.established || self.wishes.next.is_none_or(|at| at > now) {
            return;
        }
        if self.is_cut_off() {
            // No packet gets through: all is sent anew when a path is back.
            (self.wishes.left, self.wishes.next) = (TIMES, Some(now + AGAIN));
            return;
        }
        let said = TIMES - self.wishes.left;
        self.wishes.left = self.wishes.left.saturating_sub(1);
        self.wishes.next = (self.wishes.left > 0).then(|| now + AGAIN * (1 << said));
        let Tuning { strategy, max_skew, .. } = self.config.common.tuning;
        let serial = self.wishes.serial();
        self.peer.send_frame(Frame::Mode(Wish { serial, strategy, max_skew }));
        for index in 0..self.ways.len() {
            let way = &self.ways[index];
            let state = if way.gone { PeerPathState::Gone } else { PeerPathState::Available };
            let (path, weight) = (way.path, way.uplink.weight);
            let serial = self.wishes.serial();
            self.peer.send_frame(Frame::PathStatus(PathStatus { serial, path, state, weight }));
        }
    }
}
