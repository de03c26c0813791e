//! The client's side of the handshake.
//!
//! ```text
//!              start                 RESPONSE                 confirmed
//!      Idle ──────────► Asking ──────────────► Unconfirmed ──────────► Idle
//!                        │  ▲                    │
//!                        └──┘ retry              └──► Asking: no packet came under the new keys
//! ```
//!
//! The same INIT goes out on every path, round after round, each later than the one before; the
//! first round of keys that replace good ones goes by one path. The server answers the same INIT
//! with the same RESPONSE, so that a slow path's answer is as good as any. After a while the client
//! begins anew with a fresh one. It never gives up by itself.
//!
//! Where another host has come in with the client's key, the client pauses before it asks again.
//!
//! A handshake is done when a packet of the server was opened under its keys, which the association
//! tells by [`Initiator::confirmed`]. Until then it must send something that the server answers.

use super::cookie::COOKIE_LIFE;
use super::message::{
    COOKIE, INIT_LEN, Init, InitPayload, MacKeys, Response, ResponsePayload, Token, open_cookie,
};
use crate::bond::crypto::noise::Noise;
use crate::bond::crypto::{CipherOrder, PresharedKey, PublicKey, Rng, SecretKey};
use crate::bond::session::{Secrets, Session};
use crate::bond::wire::{MAX_PATHS, PathId};
use crate::time::{Duration, Instant};
use alloc::boxed::Box;

/// From the first round to the second, without its jitter. Each further one takes twice as long.
pub(crate) const FIRST_ROUND: Duration = Duration::from_millis(500);

/// The longest time between rounds, without its jitter.
pub(crate) const LONGEST_ROUND: Duration = Duration::from_secs(8);

/// The jitter is up to this part of a round: clients that lost a server together do not come back
/// together.
const JITTER_PART: u32 = 3;

/// An INIT is sent for this long. Then a fresh one is made.
pub(crate) const INIT_LIFE: Duration = Duration::from_secs(20);

/// Keys that no packet confirmed for this long are given up, and a handshake begins.
pub(crate) const CONFIRM_WITHIN: Duration = Duration::from_secs(3);

/// Receiver indexes of a keyring's sessions and of the handshake under way: a new one is none of
/// them.
const RECENT: usize = 4;

/// The client's identity, and the server's.
#[derive(Clone, Debug)]
pub(crate) struct InitiatorConfig {
    /// The client's key.
    pub(crate) key: SecretKey,
    /// The server's.
    pub(crate) server: PublicKey,
    /// What both know besides.
    pub(crate) psk: PresharedKey,
    /// What it can seal with.
    pub(crate) ciphers: CipherOrder,
    /// What enrols it; empty if it is known.
    pub(crate) token: Token,
}

/// The keys of a handshake.
#[derive(Debug)]
pub(crate) struct Established {
    /// For the keyring.
    pub(crate) session: Session,
    /// The association is new, to the server if not to the client: packet numbers and all path
    /// state begin anew, in a new keyring.
    pub(crate) restarted: bool,
}

/// A client's handshakes, one after the other.
#[derive(Debug)]
pub(crate) struct Initiator {
    config: InitiatorConfig,
    to_server: MacKeys,
    to_client: MacKeys,
    rng: Rng,
    incarnation: u64,
    generation: u32,
    /// The association's life at the server, by its last response.
    server_incarnation: Option<u64>,
    cookies: [Option<(Instant, [u8; COOKIE])>; MAX_PATHS],
    recent: [Option<u32>; RECENT],
    /// Rounds since the last handshake that was confirmed.
    rounds: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    Idle,
    Asking(Box<Asking>),
    Unconfirmed { until: Instant },
    Paused { until: Instant },
}

#[derive(Debug)]
struct Asking {
    noise: Noise,
    init: Init,
    generation: u32,
    index: u32,
    began: Instant,
    next_round: Instant,
    /// Paths that this round's INIT still has to go out on, as bits.
    due: u16,
    /// Paths that sent it again for a cookie in this round.
    repeated: u16,
}

const _: () = assert!(MAX_PATHS <= 16, "paths are the bits of a u16");

impl Initiator {
    /// A client that begins its life. It is silent until [`Initiator::start`].
    pub(crate) fn new(config: InitiatorConfig, mut rng: Rng) -> Initiator {
        Initiator {
            to_server: MacKeys::of(&config.server),
            to_client: MacKeys::of(&config.key.public()),
            incarnation: rng.u64(),
            generation: 0,
            server_incarnation: None,
            cookies: [None; MAX_PATHS],
            recent: [None; RECENT],
            rounds: 0,
            state: State::Idle,
            config,
            rng,
        }
    }

    /// Mixes fresh entropy in, as before each handshake.
    pub(crate) fn mix(&mut self, entropy: &[u8; 32]) {
        self.rng.mix(entropy);
    }

    /// Begins a handshake, if none is under way.
    pub(crate) fn start(&mut self, now: Instant) {
        match self.state {
            State::Idle => self.begin(now),
            State::Asking(_) | State::Unconfirmed { .. } | State::Paused { .. } => {}
        }
    }

    /// Begins a handshake, if none is under way, whose first round goes out on this path alone: for
    /// keys that are good still. What is lost the second round makes up for, on every path.
    pub(crate) fn renew(&mut self, now: Instant, path: PathId) {
        if self.is_active() {
            return;
        }
        self.begin(now);
        if let State::Asking(asking) = &mut self.state {
            asking.due = 1 << path.get();
        }
    }

    /// Sends at once what would wait for its round: a path came up.
    pub(crate) fn hurry(&mut self, now: Instant) {
        self.rounds = 0;
        if let State::Asking(asking) = &mut self.state {
            asking.next_round = now;
            self.handle_timeout(now);
        }
    }

    /// Ends the handshake under way, if any.
    pub(crate) fn stop(&mut self) {
        self.state = State::Idle;
        self.rounds = 0;
    }

    /// Ends the handshake under way, if any. The next one begins at `until`, whoever asks for one
    /// before.
    pub(crate) fn pause(&mut self, until: Instant) {
        self.stop();
        self.state = State::Paused { until };
    }

    /// Whether a handshake is under way, waits for its confirmation, or begins by itself.
    pub(crate) const fn is_active(&self) -> bool {
        !matches!(self.state, State::Idle)
    }

    /// A packet of the server was opened under the newest keys.
    pub(crate) fn confirmed(&mut self) {
        if let State::Unconfirmed { .. } = self.state {
            self.stop();
        }
    }

    /// When to call [`Initiator::handle_timeout`].
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Idle => None,
            State::Asking(asking) => Some(asking.next_round),
            State::Unconfirmed { until } | State::Paused { until } => Some(*until),
        }
    }

    /// Begins the next round, or a new handshake.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        match &mut self.state {
            State::Idle => {}
            State::Unconfirmed { until } | State::Paused { until } if now < *until => {}
            State::Unconfirmed { .. } | State::Paused { .. } => self.begin(now),
            State::Asking(asking) if now < asking.next_round => {}
            State::Asking(asking) if now >= asking.began + INIT_LIFE => self.begin(now),
            State::Asking(asking) => {
                asking.round(now, self.rounds, &mut self.rng);
                self.rounds = self.rounds.saturating_add(1);
            }
        }
    }

    /// Whether [`Initiator::poll_transmit`] has something for this path.
    pub(crate) fn is_due(&self, path: PathId) -> bool {
        match &self.state {
            State::Asking(asking) => asking.due >> path.get() & 1 == 1,
            State::Idle | State::Unconfirmed { .. } | State::Paused { .. } => false,
        }
    }

    /// The datagram to send to the server by `path`, if one is due there.
    pub(crate) fn poll_transmit(&mut self, now: Instant, path: PathId) -> Option<[u8; INIT_LEN]> {
        let State::Asking(asking) = &mut self.state else { return None };
        let bit = 1 << path.get();
        if asking.due & bit == 0 {
            return None;
        }
        asking.due &= !bit;
        // A cookie is of one source address: of one path.
        let cookie = &mut self.cookies[path.index()];
        cookie.take_if(|(got, _)| now.saturating_since(*got) >= COOKIE_LIFE);
        asking.init.set_cookie(cookie.as_ref().map(|(_, cookie)| cookie));
        Some(asking.init.0)
    }

    /// Reads a COOKIE that came by `path`. Whether it was one: it changes nothing but the next INIT
    /// on that path, least of all the server's address.
    pub(crate) fn handle_cookie(&mut self, now: Instant, path: PathId, datagram: &[u8]) -> bool {
        let State::Asking(asking) = &mut self.state else { return false };
        let Some(cookie) = open_cookie(&self.to_server, &asking.init.mac1(), datagram) else { return false };
        self.cookies[path.index()] = Some((now, cookie));
        let bit = 1 << path.get();
        // Once a round, so that cookies cannot make a client send without end.
        if asking.repeated & bit == 0 {
            asking.repeated |= bit;
            asking.due |= bit;
        }
        true
    }

    /// Reads a RESPONSE, whatever path it came by.
    pub(crate) fn handle_response(&mut self, now: Instant, datagram: &[u8]) -> Option<Established> {
        let State::Asking(asking) = &mut self.state else { return None };
        let response = Response::parse(&self.to_client, asking.index, datagram)?;
        let mut payload = ResponsePayload::buffer();
        // An unreadable response leaves the handshake as it was: the true one may still come.
        let (seal, open) = asking.noise.finish(response.noise(), &mut payload).ok()?;
        let payload = ResponsePayload::parse(&payload).ok();
        // Both can only be a server's own fault. Its response is used up; the next round begins
        // anew.
        let Some(payload) = payload.filter(|payload| self.config.ciphers.ciphers().contains(&payload.cipher))
        else {
            self.state = State::Unconfirmed { until: now + CONFIRM_WITHIN };
            return None;
        };
        let secrets = Secrets {
            cipher: payload.cipher,
            seal,
            open,
            local: asking.index,
            remote: payload.index,
            generation: asking.generation,
        };
        let restarted = self.server_incarnation.replace(payload.incarnation) != Some(payload.incarnation);
        // What was not confirmed once takes longer the next time.
        let patience = CONFIRM_WITHIN + jitter(&mut self.rng, round_length(self.rounds));
        self.state = State::Unconfirmed { until: now + patience };
        Some(Established { session: Session::new(now, &secrets), restarted })
    }

    /// Makes a fresh INIT and begins its first round.
    fn begin(&mut self, now: Instant) {
        let generation = self.generation;
        self.generation = self.generation.saturating_add(1);
        let index = loop {
            let index = self.rng.u32();
            if !self.recent.contains(&Some(index)) {
                break index;
            }
        };
        self.recent.rotate_right(1);
        self.recent[0] = Some(index);
        let payload = InitPayload {
            incarnation: self.incarnation,
            generation,
            index,
            ciphers: self.config.ciphers.offer(),
            token: self.config.token,
        };
        let InitiatorConfig { key, server, psk, .. } = &self.config;
        let rng = &mut self.rng;
        let (init, noise) =
            Init::new(&self.to_server, |out| Noise::initiate(rng, key, server, psk, &payload.emit(), out));
        let mut asking =
            Asking { noise, init, generation, index, began: now, next_round: now, due: 0, repeated: 0 };
        asking.round(now, self.rounds, rng);
        self.rounds = self.rounds.saturating_add(1);
        self.state = State::Asking(Box::new(asking));
    }
}

impl Asking {
    fn round(&mut self, now: Instant, rounds: u32, rng: &mut Rng) {
        self.due = u16::MAX;
        self.repeated = 0;
        let length = round_length(rounds);
        self.next_round = now + length + jitter(rng, length / JITTER_PART);
    }
}

fn round_length(rounds: u32) -> Duration {
    FIRST_ROUND.saturating_mul(1 << rounds.min(16)).min(LONGEST_ROUND)
}

fn jitter(rng: &mut Rng, most: Duration) -> Duration {
    Duration::from_nanos(rng.below(most.as_nanos() as u64))
}
