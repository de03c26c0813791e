//! Proofs that a client receives at its address: a mac of address and port under a secret that
//! changes.
//!
//! The server keeps nothing for a cookie it gave. It accepts those of the present and of the former
//! secret, which change when they are next needed: each cookie is good for two to six minutes.

use super::message::{COOKIE, Init};
use crate::bond::crypto::Rng;
use crate::bond::crypto::mac::mac;
use crate::time::{Duration, Instant};
use core::net::{IpAddr, SocketAddr};

/// A secret makes cookies for this long.
pub(crate) const SECRET_LIFE: Duration = Duration::from_secs(120);

/// A client uses a cookie for this long: a little less than the server surely accepts it.
pub(crate) const COOKIE_LIFE: Duration = Duration::from_secs(115);

/// The secrets that cookies are made with.
pub(crate) struct CookieJar {
    present: [u8; 32],
    former: Option<[u8; 32]>,
    made: Instant,
}

impl CookieJar {
    pub(crate) fn new(now: Instant, rng: &mut Rng) -> CookieJar {
        CookieJar { present: rng.bytes(), former: None, made: now }
    }

    /// The cookie of a client at this address and port.
    pub(crate) fn bake(&mut self, now: Instant, rng: &mut Rng, source: SocketAddr) -> [u8; COOKIE] {
        self.renew(now, rng);
        cookie(&self.present, source)
    }

    /// Whether the client has the cookie of this address and port.
    pub(crate) fn accepts(&mut self, now: Instant, rng: &mut Rng, source: SocketAddr, init: &Init) -> bool {
        self.renew(now, rng);
        init.has_cookie(&cookie(&self.present, source))
            || self.former.is_some_and(|former| init.has_cookie(&cookie(&former, source)))
    }

    fn renew(&mut self, now: Instant, rng: &mut Rng) {
        let age = now.saturating_since(self.made);
        if age >= SECRET_LIFE {
            self.former = (age < SECRET_LIFE * 2).then_some(self.present);
            self.present = rng.bytes();
            self.made = now;
        }
    }
}

/// The port is in it: behind one address there are many, and the neighbour's cookie is not ours.
fn cookie(secret: &[u8; 32], source: SocketAddr) -> [u8; COOKIE] {
    let address = match source.ip().to_canonical() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    mac(secret, &[&address.octets(), &source.port().to_be_bytes()])
}
