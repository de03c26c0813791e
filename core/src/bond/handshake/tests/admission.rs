//! Which clients come in, and with what.

use super::*;

#[test]
fn strangers_get_no_answer() {
    let mut world = World::new();
    world.client.initiator.start(at(0));
    let init = world.client.init(at(0)).expect("an INIT is due");
    for byte in 0..init.len() - 16 {
        let mut bad = init.clone();
        bad[byte] ^= 1;
        assert_eq!(world.server.handle(at(0), address(1), &bad), None, "byte {byte}");
    }
    for len in 0..init.len() {
        assert_eq!(world.server.handle(at(0), address(1), &init[..len]), None);
    }
    assert_eq!(world.server.handle(at(0), address(1), &[&init[..], &[0]].concat()), None);
    assert_eq!(world.server.responder.counters().accepted, 0);
    // A stranger who knows the server's key gets none either.
    let stranger = SecretKey::generate(&mut rng(77));
    let mut stranger = Client::new(&stranger, world.server_key.public(), &world.psk, 78);
    stranger.initiator.start(at(0));
    let strange = stranger.init(at(0)).expect("an INIT is due");
    assert_eq!(world.server.handle(at(0), address(1), &strange), None);
    assert_eq!(world.server.responder.counters().unknown, 1);
    // A stranger with the client's place but not the pre-shared key cannot read it.
    let mut other = Client::new(&world.client_key, world.server_key.public(), &PresharedKey::NONE, 79);
    other.initiator.start(at(0));
    let response =
        world.server.handle(at(0), address(1), &other.init(at(0)).expect("due")).expect("a RESPONSE");
    assert_eq!(other.handle(at(0), &response), None);
}

struct Doorman {
    asked: Vec<(PublicKey, Vec<u8>)>,
    psk: PresharedKey,
}

impl Admission for Doorman {
    fn admit(&mut self, client: &PublicKey, token: &[u8]) -> Option<(ClientId, PresharedKey)> {
        self.asked.push((*client, token.to_vec()));
        (token == b"let me in").then(|| (ClientId(8), self.psk.clone()))
    }
}

#[test]
fn a_token_enrols_a_key() {
    let mut world = World::new();
    let key = SecretKey::generate(&mut rng(30));
    let mut doorman = Doorman { asked: Vec::new(), psk: world.psk.clone() };
    for (token, answered) in [(&b"wrong"[..], false), (b"let me in", true)] {
        let token = Token::new(token).expect("short");
        let mut guest = Client::with_token(&key, world.server_key.public(), &world.psk, 31, token);
        guest.initiator.start(at(0));
        let init = guest.init(at(0)).expect("due");
        let response = world.server.handle_with(at(0), address(3), &init, &mut doorman);
        assert_eq!(response.is_some(), answered);
        let Some(response) = response else { continue };
        guest.handle(at(0), &response).expect("it is read");
        let packet = seal(&mut guest.keyring, at(0), b"hello").expect("sealed");
        world.server.handle(at(0), address(3), &packet);
        assert_eq!(world.server.opened.pop(), Some((ClientId(8), b"hello".to_vec())));
    }
    assert_eq!(doorman.asked.len(), 2);
    assert_eq!(doorman.asked[1], (key.public(), b"let me in".to_vec()));
    // From now on it needs no token, and the driver is not asked.
    let mut guest = Client::new(&key, world.server_key.public(), &world.psk, 32);
    guest.initiator.start(at(0));
    let init = guest.init(at(0)).expect("due");
    assert!(world.server.handle_with(at(0), address(3), &init, &mut doorman).is_some());
    assert_eq!(doorman.asked.len(), 2);
    assert_eq!(Token::new(&[0; 65]), None);
    assert_eq!(Token::new(&[1; 64]).expect("fits").as_bytes(), [1; 64]);
}

#[test]
fn a_client_that_was_removed_is_a_stranger() {
    let mut world = World::new();
    world.handshake(at(0));
    world.server.responder.remove_client(CLIENT);
    world.client.initiator.start(at(1));
    let init = world.client.init(at(1)).expect("due");
    assert_eq!(world.server.handle(at(1), address(1), &init), None);
    assert!(world.server.responder.add_client(CLIENT, world.client_key.public(), world.psk.clone()));
    assert!(
        !world.server.responder.add_client(CLIENT, world.server_key.public(), world.psk.clone()),
        "a number"
    );
    assert!(
        !world.server.responder.add_client(ClientId(9), world.client_key.public(), world.psk.clone()),
        "a key"
    );
}

#[test]
fn clients_are_bounded() {
    let mut keys = rng(1);
    let server = SecretKey::generate(&mut keys);
    let mut responder = Responder::new(at(0), server, CipherOrder::fast_aes(), 3, rng(2));
    for n in 0..5 {
        let public = SecretKey::generate(&mut keys).public();
        assert_eq!(responder.add_client(ClientId(n), public, PresharedKey::NONE), n < 3);
    }
}

#[test]
fn the_server_chooses_among_what_the_client_offers() {
    for (client, server, expected) in [
        (CipherOrder::slow_aes(), CipherOrder::fast_aes(), Some(Cipher::Aes256Gcm)),
        (CipherOrder::fast_aes(), CipherOrder::slow_aes(), Some(Cipher::ChaCha20Poly1305)),
        (
            CipherOrder::only(Cipher::ChaCha20Poly1305),
            CipherOrder::fast_aes(),
            Some(Cipher::ChaCha20Poly1305),
        ),
        (CipherOrder::only(Cipher::ChaCha20Poly1305), CipherOrder::only(Cipher::Aes256Gcm), None),
    ] {
        let world = World::new();
        let config = InitiatorConfig {
            key: world.client_key.clone(),
            server: world.server_key.public(),
            psk: PresharedKey::NONE,
            ciphers: client,
            token: Token::NONE,
        };
        let mut responder = Responder::new(at(0), world.server_key.clone(), server, 1, rng(2));
        responder.add_client(CLIENT, world.client_key.public(), PresharedKey::NONE);
        let mut initiator = Initiator::new(config, rng(3));
        initiator.start(at(0));
        let init = initiator.poll_transmit(at(0), path(0)).expect("due");
        let reaction = responder.handle_init(at(0), address(1), &init, &mut Strangers);
        let chosen = reaction.accepted.as_ref().map(|accepted| accepted.session.cipher());
        assert_eq!(chosen, expected);
        if let Some(reply) = reaction.reply {
            let established = initiator.handle_response(at(0), reply.as_bytes()).expect("it is read");
            assert_eq!(Some(established.session.cipher()), expected);
        } else {
            assert_eq!((expected, responder.counters().incompatible), (None, 1));
        }
    }
}
