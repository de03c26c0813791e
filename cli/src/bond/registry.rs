//! Who may come in: the server's clients and its invitations, in two files that people can read.
//!
//! ```text
//!   clients        NAME NUMBER KEY                           the number is the client's address in each subnet
//!   invitations    NAME NUMBER SERIAL TOKEN EXPIRES open|used     EXPIRES in seconds since 1970
//! ```
//!
//! A process that changes them holds the lock of the directory meanwhile, so that `invite` and a
//! running server do not overwrite each other.

use super::join::Token;
use super::state;
use super::values::Subnet;
use ropewalk_core::bond::crypto::PublicKey;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

const CLIENTS: &str = "clients";
const INVITATIONS: &str = "invitations";
const LOCK: &str = "registry.lock";
/// The server itself has the first address.
const FIRST: u64 = 2;
/// Invitations that have expired are remembered so long, in seconds: who comes late is told apart
/// from a stranger.
const REMEMBERED: u64 = 7 * 86_400;

/// A client that may come in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) number: u64,
    pub(super) key: PublicKey,
}

/// An invitation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Invited {
    pub(super) name: String,
    pub(super) number: u64,
    pub(super) serial: u32,
    pub(super) token: Token,
    pub(super) expires: u64,
    pub(super) used: bool,
}

/// Both files.
#[derive(Clone, Debug, Default)]
pub(super) struct Registry {
    pub(super) clients: Vec<Member>,
    pub(super) invitations: Vec<Invited>,
}

/// Seconds since 1970.
pub(super) fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A client's addresses: the one of its number in each subnet that has so many.
pub(super) fn addresses(subnets: &[Subnet], number: u64) -> Vec<IpAddr> {
    subnets.iter().filter_map(|subnet| subnet.address(number)).collect()
}

/// `NAME` of a client: a word that a file and a log line can hold.
pub(super) fn name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match (1..=32).contains(&text.len()) && text.chars().all(fits) {
        true => Ok(text.to_owned()),
        false => Err(format!("expected a name of 1 to 32 letters, digits, '-', '_' and '.', got '{text}'")),
    }
}

impl Registry {
    /// Reads the files.
    pub(super) fn read(dir: &Path) -> Result<Registry, String> {
        let clients = lines(&dir.join(CLIENTS), |line| {
            let [name, number, key] = words(line)?;
            Ok(Member { name: self::name(name)?, number: whole(number)?, key: key.parse().map_err(text)? })
        })?;
        let invitations = lines(&dir.join(INVITATIONS), |line| {
            let [name, number, serial, token, expires, used] = words(line)?;
            let used = match used {
                "open" => false,
                "used" => true,
                got => return Err(format!("expected open or used, got '{got}'")),
            };
            let serial = u32::try_from(whole(serial)?).map_err(text)?;
            let (number, expires) = (whole(number)?, whole(expires)?);
            Ok(Invited { name: self::name(name)?, number, serial, token: token.parse()?, expires, used })
        })?;
        Ok(Registry { clients, invitations })
    }

    /// Reads the files, changes them and writes them again; nobody else does meanwhile.
    pub(super) fn change<T>(
        dir: &Path,
        change: impl FnOnce(&mut Registry) -> Result<T, String>,
    ) -> Result<T, String> {
        let path = dir.join(LOCK);
        let lock = state::open_private(&path)?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let mut registry = Registry::read(dir)?;
        let before = registry.texts();
        let result = change(&mut registry)?;
        let after = registry.texts();
        for (file, (before, after)) in [CLIENTS, INVITATIONS].iter().zip(before.iter().zip(&after)) {
            if before != after {
                state::replace_private(&dir.join(file), after)?;
            }
        }
        Ok(result)
    }

    fn texts(&self) -> [String; 2] {
        let mut clients = String::from("# NAME NUMBER KEY\n");
        for Member { name, number, key } in &self.clients {
            let _ = writeln!(clients, "{name} {number} {key}");
        }
        let mut invitations = String::from("# NAME NUMBER SERIAL TOKEN EXPIRES open|used\n");
        for Invited { name, number, serial, token, expires, used } in &self.invitations {
            let used = if *used { "used" } else { "open" };
            let _ = writeln!(invitations, "{name} {number} {serial} {token} {expires} {used}");
        }
        [clients, invitations]
    }

    /// The smallest number that nobody has, and that is an address of each subnet.
    fn free(&self, subnets: &[Subnet], now: u64) -> Result<u64, String> {
        let open = self.invitations.iter().filter(|one| !one.used && one.expires > now);
        let mut taken: Vec<u64> =
            self.clients.iter().map(|one| one.number).chain(open.map(|one| one.number)).collect();
        taken.sort_unstable();
        let free = taken.iter().fold(FIRST, |free, taken| if *taken == free { free + 1 } else { free });
        match addresses(subnets, free).len() == subnets.len() {
            true => Ok(free),
            false => Err("no address is left in --subnet: expected a larger network".into()),
        }
    }

    /// Adds a client by its key, if it is not there.
    pub(super) fn add(&mut self, key: PublicKey, subnets: &[Subnet]) -> Result<(), String> {
        if self.clients.iter().any(|one| one.key == key) {
            return Ok(());
        }
        let number = self.free(subnets, unix_time())?;
        self.clients.push(Member { name: format!("client-{number}"), number, key });
        Ok(())
    }

    /// Adds an invitation.
    pub(super) fn invite(
        &mut self,
        name: &str,
        token: Token,
        now: u64,
        expires: u64,
        subnets: &[Subnet],
    ) -> Result<(), String> {
        // The last one stays: its serial shall not be given again, for a running server knows it.
        let last = self.invitations.iter().map(|one| one.serial).max().unwrap_or(0);
        self.invitations.retain(|one| one.expires.saturating_add(REMEMBERED) > now || one.serial == last);
        let open = |one: &&Invited| !one.used && one.expires > now;
        let known = self.clients.iter().any(|one| one.name == name);
        if known || self.invitations.iter().filter(open).any(|one| one.name == name) {
            return Err(format!(
                "expected a name that no other client has, got '{name}' (ropewalk bond revoke frees it)"
            ));
        }
        let number = self.free(subnets, now)?;
        let serial = last.checked_add(1).ok_or("no serial is left for another invitation")?;
        self.invitations.push(Invited { name: name.to_owned(), number, serial, token, expires, used: false });
        Ok(())
    }

    /// Takes away the client of this name, and its open invitation.
    pub(super) fn revoke(&mut self, name: &str, now: u64) -> Result<(), String> {
        let clients = self.clients.len();
        let mut names: Vec<&str> = self.clients.iter().map(|one| one.name.as_str()).collect();
        let open = |one: &&Invited| !one.used && one.expires > now;
        names.extend(self.invitations.iter().filter(open).map(|one| one.name.as_str()));
        let among = if names.is_empty() { "there is none yet".into() } else { names.join(", ") };
        let known = format!("expected the name of a client or of an invitation ({among}), got '{name}'");
        self.clients.retain(|one| one.name != name);
        let mut found = self.clients.len() < clients;
        // It stays as a used one: its serial is not given again.
        for one in self.invitations.iter_mut().filter(|one| one.name == name && !one.used) {
            found |= one.expires > now;
            one.used = true;
        }
        if found { Ok(()) } else { Err(known) }
    }

    /// An invitation was used by this key. The client, if the invitation is known.
    pub(super) fn enrol(&mut self, serial: u32, key: PublicKey) -> Option<Member> {
        let known = self.clients.iter().any(|one| one.key == key);
        let invited = self.invitations.iter_mut().find(|one| one.serial == serial)?;
        // It was taken back while the client came in.
        if invited.used && !known {
            return None;
        }
        invited.used = true;
        let member = Member { name: invited.name.clone(), number: invited.number, key };
        if !self.clients.iter().any(|one| one.key == key) {
            self.clients.push(member.clone());
        }
        Some(member)
    }
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

fn whole(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| format!("expected a whole number, got '{word}'"))
}

fn words<const N: usize>(line: &str) -> Result<[&str; N], String> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let got = words.len();
    words.try_into().map_err(|_| format!("expected {N} words, got {got}"))
}

fn lines<T>(path: &Path, read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    let Some(text) = state::read_secret(path)? else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        all.push(read(line).map_err(|error| format!("{}, line {number}: {error}", path.display()))?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bond::values::subnet;
    use ropewalk_core::bond::crypto::{Rng, SecretKey};

    fn key(seed: u8) -> PublicKey {
        SecretKey::generate(&mut Rng::new([seed; 32])).public()
    }

    fn subnets() -> Vec<Subnet> {
        ["10.77.0.0/29", "fd77::/64"].map(|text| subnet(text).expect("a network")).to_vec()
    }

    #[test]
    fn an_invitation_has_a_number_of_its_own_and_becomes_a_client_once() {
        let mut registry = Registry::default();
        registry.add(key(1), &subnets()).expect("room");
        registry.add(key(1), &subnets()).expect("it is there");
        registry.invite("laptop", Token([1; 16]), 100, 200, &subnets()).expect("room");
        assert!(
            registry
                .invite("laptop", Token([2; 16]), 100, 200, &subnets())
                .is_err_and(|e| e.contains("laptop"))
        );
        let member = registry.enrol(1, key(2)).expect("it is known");
        assert_eq!((member.name.as_str(), member.number), ("laptop", 3));
        assert_eq!(
            addresses(&subnets(), 3),
            ["10.77.0.3", "fd77::3"].map(|ip| ip.parse::<IpAddr>().expect("literal"))
        );
        assert!(registry.enrol(9, key(3)).is_none());
        assert_eq!(registry.clients.len(), 2);
        assert!(registry.invitations[0].used);
    }

    #[test]
    fn the_address_of_an_invitation_that_expired_is_free_again() {
        let mut registry = Registry::default();
        for serial in 0..5 {
            registry
                .invite(&format!("c{serial}"), Token([serial; 16]), 100, 200, &subnets())
                .expect("room for five");
        }
        assert!(
            registry
                .invite("six", Token([9; 16]), 100, 200, &subnets())
                .is_err_and(|e| e.contains("--subnet"))
        );
        registry.invite("six", Token([9; 16]), 200, 300, &subnets()).expect("the others have expired");
        assert_eq!(registry.invitations.last().map(|one| (one.number, one.serial)), Some((2, 6)));
    }

    #[test]
    fn a_serial_is_given_once_however_long_ago_it_expired() {
        let mut registry = Registry::default();
        registry.invite("a", Token([1; 16]), 100, 200, &subnets()).expect("room");
        registry.invite("b", Token([2; 16]), 100, 200, &subnets()).expect("room");
        let later = 200 + REMEMBERED + 1;
        registry.invite("a", Token([3; 16]), later, later + 100, &subnets()).expect("the name is free");
        let all: Vec<_> = registry.invitations.iter().map(|one| (one.name.as_str(), one.serial)).collect();
        assert_eq!(all, [("b", 2), ("a", 3)], "of the others only the last is remembered");
        assert_eq!(registry.invitations[1].number, 2, "its address is free");
        registry.invite("c", Token([4; 16]), later, later + 100, &subnets()).expect("room");
        assert_eq!(registry.invitations.last().map(|one| one.serial), Some(4));
    }

    #[test]
    fn what_is_written_is_read_again_and_what_is_wrong_is_told_with_its_line() {
        let dir = std::env::temp_dir().join(format!("ropewalk-registry-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory for temporary files");
        let written = Registry::change(&dir, |registry| {
            registry.add(key(1), &subnets())?;
            registry.invite("phone", Token([7; 16]), 100, u64::MAX / 2, &subnets())?;
            Ok(registry.clone())
        });
        let read = Registry::read(&dir).expect("what was written");
        assert_eq!(read.texts(), written.expect("room").texts());
        state::replace_private(&dir.join(CLIENTS), "# a comment\nlaptop x rwp1.\n")
            .expect("our own directory");
        assert!(Registry::read(&dir).is_err_and(|e| e.contains("clients, line 2") && e.contains("'x'")));
        std::fs::remove_dir_all(&dir).expect("our own directory");
    }
}
