//! The server's side of the handshake: many clients, each with a living association and at most one
//! session in waiting for a rekey and one for a restart.
//!
//! The responder decides who may have a session, and keeps what it needs to know an old or repeated
//! first message. The sessions themselves belong to the associations:
//!
//! | when | the server |
//! | --- | --- |
//! | [`Accepted`] says rekey | installs the session in the keyring of the living association |
//! | it says restart | makes a new association in waiting, which replaces the one in waiting before it |
//! | a packet confirms a session | makes an association in waiting the living one; calls [`Responder::confirm`] |
//! | a keyring retires an index, or an association goes | calls [`Responder::release`] |
//! | the living association ends | calls [`Responder::forget`] |

use super::cookie::CookieJar;
use super::guard::{Guard, Verdict};
use super::message::{
    Init, InitPayload, MacKeys, RESPONSE_LEN, Response, ResponsePayload, Token, seal_cookie,
};
use crate::bond::crypto::mac::MAC;
use crate::bond::crypto::noise::Noise;
use crate::bond::crypto::{CipherOrder, PresharedKey, PublicKey, Rng, SecretKey};
use crate::bond::session::{Secrets, Session};
use crate::time::{Duration, Instant};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque, btree_map};
use core::net::SocketAddr;

/// The same INIT gets the same RESPONSE for this long. A client sends one INIT for 20 s.
pub(crate) const RESPONSE_LIFE: Duration = Duration::from_secs(30);

/// Lives of a client that are remembered when they are over. An attacker that replays a message of
/// one that is forgotten takes the slot for restarts, again and again, from the client itself.
const PAST: usize = 32;

/// A client of this server, as the server numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ClientId(pub(crate) u32);

/// Decides about clients whose key is not in the table.
pub(crate) trait Admission {
    /// The number and pre-shared key of a client that may come in with this token. At `None` the
    /// server stays silent, so that a scan does not find it. The client has proved its key, but not
    /// that it is here now: the message may be a replay.
    fn admit(&mut self, client: &PublicKey, token: &[u8]) -> Option<(ClientId, PresharedKey)>;
}

/// Strangers do not come in.
#[cfg(any(test, feature = "laws"))]
pub(crate) struct Strangers;

#[cfg(any(test, feature = "laws"))]
impl Admission for Strangers {
    fn admit(&mut self, _: &PublicKey, _: &[u8]) -> Option<(ClientId, PresharedKey)> {
        None
    }
}

/// What became of a first message.
#[derive(Debug, Default)]
pub(crate) struct Reaction {
    /// What to send back to where it came from.
    pub(crate) reply: Option<Reply>,
    /// A session in waiting.
    pub(crate) accepted: Option<Box<Accepted>>,
}

/// A RESPONSE or a COOKIE.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    bytes: [u8; RESPONSE_LEN],
    len: usize,
}

impl Reply {
    fn new(message: &[u8]) -> Reply {
        let mut bytes = [0; RESPONSE_LEN];
        bytes[..message.len()].copy_from_slice(message);
        Reply { bytes, len: message.len() }
    }

    /// The datagram.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// A session that waits for its first packet.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// The client.
    pub(crate) client: ClientId,
    /// What it is for.
    pub(crate) kind: Kind,
    /// The keys.
    pub(crate) session: Session,
}

/// What a handshake is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// New keys for the living association.
    Rekey,
    /// Another life of the client, or one that this server knows nothing of.
    Restart,
}

/// What became of first messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Dropped: length, type or mac1 was wrong.
    pub(crate) strange: u64,
    /// Answered with a cookie.
    pub(crate) challenged: u64,
    /// Dropped: the source is over its limit.
    pub(crate) limited: u64,
    /// Dropped: no client's message, though it knew the server's key.
    pub(crate) unreadable: u64,
    /// Dropped: the client's key is unknown and was not admitted.
    pub(crate) unknown: u64,
    /// Dropped: older than what was confirmed or is in waiting.
    pub(crate) replayed: u64,
    /// Dropped: no cipher in common.
    pub(crate) incompatible: u64,
    /// Answered as before.
    pub(crate) repeated: u64,
    /// Answered with a session.
    pub(crate) accepted: u64,
}

/// What a first message turned out to be.
enum Read {
    Accepted(Reaction),
    /// Good, but the place where it would wait is another life's, and its source proved nothing.
    Contested,
    Dropped,
}

/// The server's handshakes.
pub(crate) struct Responder {
    key: SecretKey,
    ciphers: CipherOrder,
    max_clients: usize,
    own_macs: MacKeys,
    rng: Rng,
    jar: CookieJar,
    guard: Guard,
    clients: BTreeMap<ClientId, Client>,
    ids: BTreeMap<PublicKey, ClientId>,
    /// The client whose INIT has this mac1, of those that were answered and not confirmed.
    answered: BTreeMap<[u8; MAC], ClientId>,
    indexes: BTreeMap<u32, ClientId>,
    counters: Counters,
}

struct Client {
    #[cfg_attr(not(test), allow(dead_code, reason = "who removes a client looks for it by its key"))]
    public: PublicKey,
    macs: MacKeys,
    psk: PresharedKey,
    live: Option<Life>,
    /// Lives of this client that are over: its incarnation, and the newest generation of each.
    past: VecDeque<(u64, u32)>,
    rekey: Option<Waiting>,
    restart: Option<Waiting>,
}

/// An association, as both sides name it.
#[derive(Clone, Copy)]
struct Life {
    theirs: u64,
    ours: u64,
    /// Of its newest confirmed session.
    generation: u32,
}

/// A session in waiting.
struct Waiting {
    life: Life,
    index: u32,
    mac1: [u8; MAC],
    response: Response,
    at: Instant,
}

impl Client {
    /// Its life is over, and its messages are old.
    fn bury(&mut self) {
        let Some(life) = self.live.take() else { return };
        self.past.retain(|(theirs, _)| *theirs != life.theirs);
        if self.past.len() >= PAST {
            self.past.pop_front();
        }
        self.past.push_back((life.theirs, life.generation));
    }

    /// Whether a message of this life and generation was confirmed, or is older than one that was.
    fn knows(&self, theirs: u64, generation: u32) -> bool {
        let live = self.live.map(|life| (life.theirs, life.generation));
        live.iter().chain(&self.past).any(|known| known.0 == theirs && known.1 >= generation)
    }
}

impl Responder {
    /// A server with this key and no clients, which will have at most `max_clients`.
    pub(crate) fn new(
        now: Instant,
        key: SecretKey,
        ciphers: CipherOrder,
        max_clients: usize,
        mut rng: Rng,
    ) -> Responder {
        Responder {
            own_macs: MacKeys::of(&key.public()),
            jar: CookieJar::new(now, &mut rng),
            guard: Guard::new(),
            clients: BTreeMap::new(),
            ids: BTreeMap::new(),
            answered: BTreeMap::new(),
            indexes: BTreeMap::new(),
            counters: Counters::default(),
            key,
            ciphers,
            max_clients,
            rng,
        }
    }

    /// Mixes fresh entropy in.
    pub(crate) fn mix(&mut self, entropy: &[u8; 32]) {
        self.rng.mix(entropy);
    }

    /// What became of first messages so far.
    pub(crate) const fn counters(&self) -> Counters {
        self.counters
    }

    /// Lets a client in. False, and nothing changes, if there are too many, or key or number are
    /// known already.
    pub(crate) fn add_client(&mut self, client: ClientId, public: PublicKey, psk: PresharedKey) -> bool {
        let known = self.clients.contains_key(&client) || self.ids.contains_key(&public);
        if known || self.clients.len() >= self.max_clients {
            return false;
        }
        let macs = MacKeys::of(&public);
        let entry =
            Client { public, macs, psk, live: None, past: VecDeque::new(), rekey: None, restart: None };
        self.clients.insert(client, entry);
        self.ids.insert(public, client);
        true
    }

    /// Lets a client in no more. Its association ends by other means.
    pub(crate) fn remove_client(&mut self, client: ClientId) {
        self.forget(client);
        if let Some(gone) = self.clients.remove(&client) {
            self.ids.remove(&gone.public);
        }
    }

    /// The client whose session has this receiver index.
    pub(crate) fn owner(&self, index: u32) -> Option<ClientId> {
        self.indexes.get(&index).copied()
    }

    /// A session is gone, and its receiver index with it.
    pub(crate) fn release(&mut self, index: u32) {
        self.indexes.remove(&index);
    }

    /// Whether the life that waits with this index has lived before, and another one lives in its
    /// place: two hosts have the client's key.
    pub(crate) fn is_back(&self, client: ClientId, index: u32) -> bool {
        let Some(client) = self.clients.get(&client).filter(|client| client.live.is_some()) else {
            return false;
        };
        let waiting = client.restart.as_ref().filter(|waiting| waiting.index == index);
        let lived = |life: &Life| client.past.iter().any(|(theirs, _)| *theirs == life.theirs);
        waiting.is_some_and(|waiting| lived(&waiting.life))
    }

    /// A packet proved that the client has the session with this index: its association lives.
    /// False if the session is not in waiting.
    pub(crate) fn confirm(&mut self, client: ClientId, index: u32) -> bool {
        let Some(client) = self.clients.get_mut(&client) else { return false };
        let has_index = |waiting: &mut Waiting| waiting.index == index;
        if let Some(waiting) = client.rekey.take_if(has_index) {
            self.answered.remove(&waiting.mac1);
            client.live = Some(waiting.life);
            return true;
        }
        if let Some(waiting) = client.restart.take_if(has_index) {
            self.answered.remove(&waiting.mac1);
            if let Some(rekey) = client.rekey.take() {
                self.answered.remove(&rekey.mac1);
            }
            client.bury();
            client.live = Some(waiting.life);
            return true;
        }
        false
    }

    /// The client's association ended, with what was in waiting. Its next handshake begins another.
    pub(crate) fn forget(&mut self, client: ClientId) {
        let Some(client) = self.clients.get_mut(&client) else { return };
        client.bury();
        for waiting in [client.rekey.take(), client.restart.take()].into_iter().flatten() {
            self.answered.remove(&waiting.mac1);
        }
    }

    /// Reads an INIT that came from `source`. `admission` decides about keys that are not in the
    /// table.
    pub(crate) fn handle_init(
        &mut self,
        now: Instant,
        source: SocketAddr,
        datagram: &[u8],
        admission: &mut dyn Admission,
    ) -> Reaction {
        let Some(init) = Init::parse(&self.own_macs, datagram) else {
            self.counters.strange += 1;
            return Reaction::default();
        };
        if let Some(reply) = self.answer_again(now, &init) {
            self.counters.repeated += 1;
            return Reaction { reply: Some(reply), accepted: None };
        }
        let proven = self.jar.accepts(now, &mut self.rng, source, &init);
        match self.guard.admit(now, source, proven) {
            Verdict::Pass => {}
            Verdict::Challenge => return self.challenge(now, source, &init),
            Verdict::Drop => {
                self.counters.limited += 1;
                return Reaction::default();
            }
        }
        match self.read(now, &init, proven, admission) {
            Read::Accepted(reaction) => reaction,
            Read::Contested => self.challenge(now, source, &init),
            Read::Dropped => Reaction::default(),
        }
    }

    /// Asks for a proof of the source's address.
    fn challenge(&mut self, now: Instant, source: SocketAddr, init: &Init) -> Reaction {
        self.counters.challenged += 1;
        let cookie = self.jar.bake(now, &mut self.rng, source);
        let message = seal_cookie(&self.own_macs, self.rng.bytes(), &init.mac1(), &cookie);
        Reaction { reply: Some(Reply::new(&message)), accepted: None }
    }

    /// The response to this very INIT, if it was answered and is in waiting. Costs nothing, so a
    /// client may ask often.
    fn answer_again(&self, now: Instant, init: &Init) -> Option<Reply> {
        let mac1 = init.mac1();
        let client = self.clients.get(self.answered.get(&mac1)?)?;
        let waiting =
            [&client.rekey, &client.restart].into_iter().flatten().find(|waiting| waiting.mac1 == mac1)?;
        (now.saturating_since(waiting.at) < RESPONSE_LIFE).then(|| Reply::new(&waiting.response.0))
    }

    fn read(&mut self, now: Instant, init: &Init, proven: bool, admission: &mut dyn Admission) -> Read {
        let mut payload = InitPayload::buffer();
        let read = Noise::respond(&mut self.rng, &self.key, init.noise(), &mut payload);
        let read = read.ok().zip(InitPayload::parse(&payload).ok());
        let Some(((noise, public), payload)) = read else {
            self.counters.unreadable += 1;
            return Read::Dropped;
        };
        let Some(id) = self.known(public, &payload.token, admission) else {
            self.counters.unknown += 1;
            return Read::Dropped;
        };
        let Some(cipher) = self.ciphers.choose(payload.ciphers) else {
            self.counters.incompatible += 1;
            return Read::Dropped;
        };
        let Some(client) = self.clients.get_mut(&id) else { return Read::Dropped };

        // Within one life of a client each handshake is newer than the one before, so an older one
        // is late or replayed. Whether an unconfirmed life is new cannot be known: a replay of one
        // gets a slot, and waits there for a packet that never comes.
        if client.knows(payload.incarnation, payload.generation) {
            self.counters.replayed += 1;
            return Read::Dropped;
        }
        let kind = match client.live {
            Some(live) if live.theirs == payload.incarnation => Kind::Rekey,
            Some(_) | None => Kind::Restart,
        };
        let slot = match kind {
            Kind::Rekey => &mut client.rekey,
            Kind::Restart => &mut client.restart,
        };
        let seen = |life: &Life| life.theirs == payload.incarnation && life.generation >= payload.generation;
        if slot.as_ref().is_some_and(|waiting| seen(&waiting.life)) {
            self.counters.replayed += 1;
            return Read::Dropped;
        }
        // Two lives want one slot, and one of them may be a recording that comes as often as it
        // likes: to take the other's place it takes a cookie, which no recording has. Who plays one
        // back with a cookie of their own has an address that the guard limits, and knows our key.
        let contested = |waiting: &Waiting| {
            waiting.life.theirs != payload.incarnation && now.saturating_since(waiting.at) < RESPONSE_LIFE
        };
        if !proven && slot.as_ref().is_some_and(contested) {
            return Read::Contested;
        }

        let index = fresh_index(&mut self.rng, &mut self.indexes, id);
        let ours = match (kind, client.live) {
            (Kind::Rekey, Some(live)) => live.ours,
            (Kind::Rekey | Kind::Restart, _) => self.rng.u64(),
        };
        let answer = ResponsePayload { incarnation: ours, index, cipher };
        let (response, (open, seal)) =
            Response::new(&client.macs, payload.index, |out| noise.answer(&client.psk, &answer.emit(), out));
        let secrets = Secrets {
            cipher,
            seal,
            open,
            local: index,
            remote: payload.index,
            generation: payload.generation,
        };
        let reply = Reply::new(&response.0);
        let life = Life { theirs: payload.incarnation, ours, generation: payload.generation };
        let mac1 = init.mac1();
        if let Some(before) = slot.replace(Waiting { life, index, mac1, response, at: now }) {
            self.answered.remove(&before.mac1);
        }
        self.answered.insert(mac1, id);
        self.counters.accepted += 1;
        let session = Session::new(now, &secrets);
        let accepted = Accepted { client: id, kind, session };
        Read::Accepted(Reaction { reply: Some(reply), accepted: Some(Box::new(accepted)) })
    }

    /// The client with this key, if it is in the table or comes in now.
    fn known(&mut self, public: [u8; 32], token: &Token, admission: &mut dyn Admission) -> Option<ClientId> {
        let public = PublicKey::from_bytes(public).ok()?;
        if let Some(id) = self.ids.get(&public) {
            return Some(*id);
        }
        if self.clients.len() >= self.max_clients {
            return None;
        }
        let (id, psk) = admission.admit(&public, token.as_bytes())?;
        self.add_client(id, public, psk).then_some(id)
    }
}

/// A number for a session of `id` that no other session has.
fn fresh_index(rng: &mut Rng, indexes: &mut BTreeMap<u32, ClientId>, id: ClientId) -> u32 {
    loop {
        let index = rng.u32();
        if let btree_map::Entry::Vacant(free) = indexes.entry(index) {
            free.insert(id);
            return index;
        }
    }
}
