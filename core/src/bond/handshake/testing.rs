//! A client and a server of handshakes and keyrings alone, for tests: the smallest association
//! there can be.

use super::{Admission, ClientId, Initiator, InitiatorConfig, Kind, Responder, Strangers, Token};
use crate::bond::crypto::{CipherOrder, PresharedKey, PublicKey, Rng, SecretKey};
use crate::bond::session::{Keyring, OpenError, Role};
use crate::bond::wire::{HEADER, Header, PacketType, PathId, TAG};
use crate::time::{Duration, Instant};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::SocketAddr;

pub(super) fn at(millis: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(millis)
}

pub(super) fn path(id: u8) -> PathId {
    PathId::new(id).expect("below MAX_PATHS")
}

pub(super) fn address(n: u16) -> SocketAddr {
    let [high, low] = n.to_be_bytes();
    SocketAddr::from(([192, 0, high, low], 40_000))
}

pub(super) fn rng(seed: u8) -> Rng {
    Rng::new([seed; 32])
}

/// A packet with this text.
pub(super) fn seal(keyring: &mut Keyring, now: Instant, text: &[u8]) -> Option<Vec<u8>> {
    let mut buf = alloc::vec![0; HEADER + text.len() + TAG];
    buf[HEADER..HEADER + text.len()].copy_from_slice(text);
    keyring.seal(now, path(0), &mut buf, text.len()).ok()?;
    Some(buf)
}

pub(super) struct Client {
    pub(super) initiator: Initiator,
    pub(super) keyring: Keyring,
    pub(super) restarts: u32,
}

impl Client {
    pub(super) fn new(key: &SecretKey, server: PublicKey, psk: &PresharedKey, seed: u8) -> Client {
        Client::with_token(key, server, psk, seed, Token::NONE)
    }

    pub(super) fn with_token(
        key: &SecretKey,
        server: PublicKey,
        psk: &PresharedKey,
        seed: u8,
        token: Token,
    ) -> Client {
        let (key, psk) = (key.clone(), psk.clone());
        let config = InitiatorConfig { key, server, psk, ciphers: CipherOrder::fast_aes(), token };
        Client {
            initiator: Initiator::new(config, rng(seed)),
            keyring: Keyring::new(Role::Initiator),
            restarts: 0,
        }
    }

    /// What it sends on the first path, if anything.
    pub(super) fn init(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.initiator.handle_timeout(now);
        self.initiator.poll_transmit(now, path(0)).map(|init| init.to_vec())
    }

    /// Whether anything came of it; the text of a packet.
    pub(super) fn handle(&mut self, now: Instant, datagram: &[u8]) -> Option<Vec<u8>> {
        match PacketType::of(*datagram.first()?).ok()? {
            PacketType::Init => None,
            PacketType::Cookie => self.initiator.handle_cookie(now, path(0), datagram).then(Vec::new),
            PacketType::Response => {
                let established = self.initiator.handle_response(now, datagram)?;
                if established.restarted {
                    self.keyring = Keyring::new(Role::Initiator);
                    self.restarts += 1;
                }
                self.keyring.install(established.session);
                while self.keyring.poll_retired().is_some() {}
                Some(Vec::new())
            }
            PacketType::Transport => {
                let mut packet = datagram.to_vec();
                let opened = self.keyring.open(now, &mut packet).ok()?;
                if opened.confirms {
                    self.initiator.confirmed();
                }
                Some(packet[opened.plain].to_vec())
            }
        }
    }
}

pub(super) struct Server {
    pub(super) responder: Responder,
    pub(super) live: BTreeMap<ClientId, Keyring>,
    pub(super) waiting: BTreeMap<ClientId, Keyring>,
    pub(super) opened: Vec<(ClientId, Vec<u8>)>,
}

impl Server {
    pub(super) fn new(key: &SecretKey, seed: u8) -> Server {
        let responder = Responder::new(at(0), key.clone(), CipherOrder::fast_aes(), 100, rng(seed));
        Server { responder, live: BTreeMap::new(), waiting: BTreeMap::new(), opened: Vec::new() }
    }

    /// What it answers, if anything.
    pub(super) fn handle(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) -> Option<Vec<u8>> {
        self.handle_with(now, from, datagram, &mut Strangers)
    }

    pub(super) fn handle_with(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        admission: &mut dyn Admission,
    ) -> Option<Vec<u8>> {
        match PacketType::of(*datagram.first()?).ok()? {
            PacketType::Init => {
                let reaction = self.responder.handle_init(now, from, datagram, admission);
                if let Some(accepted) = reaction.accepted {
                    let keyring = match accepted.kind {
                        Kind::Rekey => self.live.get_mut(&accepted.client).expect("a rekey is of what lives"),
                        Kind::Restart => {
                            if let Some(gone) =
                                self.waiting.insert(accepted.client, Keyring::new(Role::Responder))
                            {
                                gone.indexes().for_each(|index| self.responder.release(index));
                            }
                            self.waiting.get_mut(&accepted.client).expect("it was put there")
                        }
                    };
                    keyring.install(accepted.session);
                    while let Some(index) = keyring.poll_retired() {
                        self.responder.release(index);
                    }
                }
                reaction.reply.map(|reply| reply.as_bytes().to_vec())
            }
            PacketType::Transport => {
                self.transport(now, datagram).ok()?;
                None
            }
            PacketType::Response | PacketType::Cookie => None,
        }
    }

    fn transport(&mut self, now: Instant, datagram: &[u8]) -> Result<(), OpenError> {
        let mut packet = datagram.to_vec();
        let receiver = Header::parse(&packet).map_err(OpenError::Malformed)?.receiver;
        let client = self.responder.owner(receiver).ok_or(OpenError::NoSession)?;
        let is_live = self.live.get(&client).is_some_and(|keyring| keyring.owns(receiver));
        let side = if is_live { &mut self.live } else { &mut self.waiting };
        let keyring = side.get_mut(&client).ok_or(OpenError::NoSession)?;
        let opened = keyring.open(now, &mut packet)?;
        if opened.confirms {
            assert!(
                self.responder.confirm(client, receiver),
                "a keyring and the responder agree on what waits"
            );
            if !is_live {
                let keyring = self.waiting.remove(&client).expect("the session was in it");
                if let Some(gone) = self.live.insert(client, keyring) {
                    gone.indexes().for_each(|index| self.responder.release(index));
                }
            }
        }
        let keyring = self.live.get_mut(&client).expect("a packet was opened");
        while let Some(index) = keyring.poll_retired() {
            self.responder.release(index);
        }
        self.opened.push((client, packet[opened.plain].to_vec()));
        Ok(())
    }
}

/// A server that knows one client, and that client.
pub(super) struct World {
    #[cfg(test)]
    pub(super) server_key: SecretKey,
    #[cfg(test)]
    pub(super) client_key: SecretKey,
    #[cfg(test)]
    pub(super) psk: PresharedKey,
    pub(super) server: Server,
    pub(super) client: Client,
}

pub(super) const CLIENT: ClientId = ClientId(7);

impl World {
    pub(super) fn new() -> World {
        let mut keys = rng(1);
        let (server_key, client_key) = (SecretKey::generate(&mut keys), SecretKey::generate(&mut keys));
        let psk = PresharedKey::generate(&mut keys);
        let mut server = Server::new(&server_key, 2);
        assert!(server.responder.add_client(CLIENT, client_key.public(), psk.clone()));
        let client = Client::new(&client_key, server_key.public(), &psk, 3);
        World {
            #[cfg(test)]
            server_key,
            #[cfg(test)]
            client_key,
            #[cfg(test)]
            psk,
            server,
            client,
        }
    }

    /// A handshake from the first message to the confirmation of both sides. Everything that was
    /// sent, the client's messages first.
    pub(super) fn handshake(&mut self, now: Instant) -> Vec<Vec<u8>> {
        self.client.initiator.start(now);
        let init = self.client.init(now).expect("an INIT is due");
        let response = self.server.handle(now, address(1), &init).expect("a RESPONSE");
        self.client.handle(now, &response).expect("it is read");
        let mut sent = self.exchange(now);
        sent.insert(0, init);
        sent.push(response);
        sent
    }

    /// A packet there and one back.
    pub(super) fn exchange(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let up = seal(&mut self.client.keyring, now, b"up").expect("the client has keys");
        self.server.handle(now, address(1), &up);
        assert_eq!(self.server.opened.pop(), Some((CLIENT, b"up".to_vec())));
        let keyring = self.server.live.get_mut(&CLIENT).expect("the association lives");
        let down = seal(keyring, now, b"down").expect("the server has keys");
        assert_eq!(self.client.handle(now, &down), Some(b"down".to_vec()));
        alloc::vec![up, down]
    }
}
