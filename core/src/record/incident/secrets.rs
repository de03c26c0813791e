//! Names and passwords, and what stands for them in a recording.
//!
//! A pseudonym is as long as what it stands for, so that nothing moves. Who comes in with the right
//! password has its user's pseudonyms, which the recorded configuration has too; for all others
//! stands what nobody has.

use super::FILLER;
use crate::dispatch::Credentials;
use crate::wire::socks5::method;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

/// What a pseudonym is written in. No colon, which ends a user (RFC 7617), and not the filler.
const DIGITS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwyz0123456789_";

/// A user and a password.
type Login = (Vec<u8>, Vec<u8>);

#[derive(Default)]
pub(super) struct Secrets {
    credentials: Option<Credentials>,
    /// How many users of each length have a pseudonym, and how many passwords.
    users: BTreeMap<usize, u64>,
    passwords: BTreeMap<usize, u64>,
    /// What stands for whom. Those that are gone stay: one that comes back is the same.
    known: BTreeMap<Login, Login>,
    by_user: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The number in so many digits; more than fit begin anew.
fn pseudonym(mut number: u64, len: usize) -> Vec<u8> {
    let mut out = vec![DIGITS[0]; len];
    for place in out.iter_mut().rev() {
        *place = DIGITS[(number % DIGITS.len() as u64) as usize];
        number /= DIGITS.len() as u64;
    }
    out
}

fn next(count: &mut BTreeMap<usize, u64>, len: usize) -> Vec<u8> {
    let number = count.entry(len).or_default();
    let name = pseudonym(*number, len);
    *number += 1;
    name
}

impl Secrets {
    /// These are right from now on.
    pub(super) fn set(&mut self, credentials: Option<&Credentials>) {
        self.credentials = credentials.cloned();
        for (user, password) in credentials.into_iter().flat_map(Credentials::entries) {
            let pair = (user.to_vec(), password.to_vec());
            if self.known.contains_key(&pair) {
                continue;
            }
            let name = match self.by_user.get(user) {
                Some(name) => name.clone(),
                None => next(&mut self.users, user.len()),
            };
            self.by_user.insert(user.to_vec(), name.clone());
            let password = next(&mut self.passwords, password.len());
            self.known.insert(pair, (name, password));
        }
    }

    /// The configuration's, under pseudonyms.
    pub(super) fn credentials(&self) -> Option<Credentials> {
        let entries = self.credentials.as_ref()?.entries();
        Some(Credentials::from_entries(
            entries
                .filter_map(|(user, password)| self.known.get(&(user.to_vec(), password.to_vec())).cloned()),
        ))
    }

    /// What stands for these, and whether they are right, or none are asked for.
    pub(super) fn pseudonym(&self, user: &[u8], password: &[u8]) -> (bool, Vec<u8>, Vec<u8>) {
        let right = self.credentials.as_ref().is_none_or(|known| known.check(user, password));
        match self.known.get(&(user.to_vec(), password.to_vec())) {
            Some((user, password)) if right => (right, user.clone(), password.clone()),
            _ => (right, vec![FILLER; user.len()], vec![FILLER; password.len()]),
        }
    }

    /// What is chosen of a client's methods.
    pub(super) fn method(&self, offered: &[u8]) -> Option<u8> {
        let offers = |method| offered.contains(&method).then_some(method);
        match self.credentials {
            Some(_) => offers(method::USER_PASSWORD),
            None => offers(method::NONE).or(offers(method::USER_PASSWORD)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pseudonyms_are_as_long_and_tell_users_apart() {
        let users = Credentials::parse(b"ann:secret\nbob:secret\nc:1\n").expect("valid");
        let mut secrets = Secrets::default();
        secrets.set(Some(&users));
        let names: Vec<_> = [("ann", "secret"), ("bob", "secret"), ("c", "1")]
            .map(|(user, password)| secrets.pseudonym(user.as_bytes(), password.as_bytes()))
            .into();
        assert!(names.iter().all(|(right, _, _)| *right), "{names:?}");
        assert_eq!(
            names.iter().map(|(_, u, p)| (u.len(), p.len())).collect::<Vec<_>>(),
            [(3, 6), (3, 6), (1, 1)]
        );
        assert_ne!(names[0].1, names[1].1);
        let told = secrets.credentials().expect("has some");
        assert!(names.iter().all(|(_, user, password)| told.check(user, password)));
        let (right, user, password) = secrets.pseudonym(b"ann", b"guessed");
        assert!(!right && !told.check(&user, &password));
    }

    #[test]
    fn another_password_has_another_pseudonym_and_the_user_keeps_its_own() {
        let mut secrets = Secrets::default();
        let of = |text: &[u8]| Credentials::parse(text).expect("valid");
        secrets.set(Some(&of(b"ann:one\n")));
        let first = secrets.pseudonym(b"ann", b"one");
        secrets.set(Some(&of(b"ann:two\n")));
        let second = secrets.pseudonym(b"ann", b"two");
        assert_eq!(first.1, second.1);
        assert_ne!(first.2, second.2);
        assert!(!secrets.pseudonym(b"ann", b"one").0);
    }
}
