//! Users and passwords, compared in constant time.

use alloc::vec::Vec;
use core::fmt;

/// Users and their passwords.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    entries: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Passwords do not belong in logs.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({} users)", self.entries.len())
    }
}

/// Why a text holds no credentials.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum AuthError {
    /// No line with a user.
    Empty,
    /// A line (counted from 1) without a colon.
    NoColon(usize),
    /// A line with a user or a password of 0 or over 255 bytes (RFC 1929 section 2).
    Length(usize),
    /// A line with a user that an earlier line has.
    Duplicate(usize),
    /// A line with a zero byte, as in UTF-16: no client could log in with what would be read.
    NotText(usize),
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AuthError::Empty => f.write_str("expected at least one line USER:PASSWORD, got none"),
            AuthError::NoColon(line) => write!(f, "line {line}: expected USER:PASSWORD, got no colon"),
            AuthError::Length(line) => {
                write!(f, "line {line}: expected a user and a password of 1 to 255 bytes each")
            }
            AuthError::Duplicate(line) => {
                write!(f, "line {line}: the user stands in an earlier line already")
            }
            AuthError::NotText(line) => write!(f, "line {line}: expected text in UTF-8, got a zero byte"),
        }
    }
}

impl core::error::Error for AuthError {}

impl Credentials {
    /// Reads lines `USER:PASSWORD`; empty lines and lines that begin with `#` are passed over. The
    /// password is all after the first colon.
    ///
    /// # Errors
    /// [`AuthError`] names the line.
    pub fn parse(text: &[u8]) -> Result<Self, AuthError> {
        let mut entries: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        // Some editors put a byte order mark in front, which no user's name begins with.
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        for (number, line) in (1..).zip(text.split(|b| *b == b'\n')) {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() || line[0] == b'#' {
                continue;
            }
            if line.contains(&0) {
                return Err(AuthError::NotText(number));
            }
            let colon = line.iter().position(|b| *b == b':').ok_or(AuthError::NoColon(number))?;
            let (user, password) = (&line[..colon], &line[colon + 1..]);
            let fits = |part: &[u8]| (1..=255).contains(&part.len());
            if !fits(user) || !fits(password) {
                return Err(AuthError::Length(number));
            }
            if entries.iter().any(|(known, _)| known == user) {
                return Err(AuthError::Duplicate(number));
            }
            entries.push((user.into(), password.into()));
        }
        if entries.is_empty() {
            return Err(AuthError::Empty);
        }
        Ok(Credentials { entries })
    }

    /// Users and passwords.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries.iter().map(|(user, password)| (user.as_slice(), password.as_slice()))
    }

    /// Credentials from users and passwords that were checked before, as a recording has them.
    pub(crate) fn from_entries(entries: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Self {
        Credentials { entries: entries.collect() }
    }

    /// How many users there are, 1 or more.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The users that are not in `next`, or have another password there. None, where `next` asks
    /// for no login.
    pub(crate) fn gone<'a>(&'a self, next: Option<&Credentials>) -> Vec<&'a [u8]> {
        let Some(next) = next else { return Vec::new() };
        let gone = self.entries.iter().filter(|entry| !next.entries.contains(entry));
        gone.map(|(user, _)| user.as_slice()).collect()
    }

    /// Whether this user has this password. The time it takes depends on the lengths given and on
    /// the number of users, not on how much of a secret was guessed.
    pub(crate) fn check(&self, user: &[u8], password: &[u8]) -> bool {
        let mut found = 0;
        for (known_user, known_password) in &self.entries {
            found |= equal(known_user, user) & equal(known_password, password);
        }
        core::hint::black_box(found) == 1
    }
}

/// 1 when equal, else 0, without a branch on what the bytes are.
fn equal(secret: &[u8], given: &[u8]) -> u8 {
    let mut difference = u8::from(secret.len() != given.len());
    for (index, byte) in given.iter().enumerate() {
        difference |= byte ^ secret.get(index).copied().unwrap_or(!byte);
    }
    u8::from(core::hint::black_box(difference) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_utf_16_is_told_and_not_read_as_somebodys_password() {
        let wide: Vec<u8> = "\u{feff}a:b".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(Credentials::parse(&wide), Err(AuthError::NotText(1)));
        assert_eq!(Credentials::parse(b"a:b\nc:\0\n"), Err(AuthError::NotText(2)));
    }

    #[test]
    fn only_the_right_pair_comes_in() {
        let credentials =
            Credentials::parse(b"\xef\xbb\xbf# staff\nann:secret\r\n\nbob:x:y\n").expect("valid");
        assert!(credentials.check(b"ann", b"secret"));
        assert!(credentials.check(b"bob", b"x:y"));
        for (user, password) in [
            ("ann", "x:y"),
            ("bob", "secret"),
            ("ann", "secre"),
            ("ann", "secrett"),
            ("", ""),
            ("an", "secret"),
        ] {
            assert!(!credentials.check(user.as_bytes(), password.as_bytes()), "{user}:{password}");
        }
        assert_eq!(alloc::format!("{credentials:?}"), "Credentials(2 users)");
    }

    #[test]
    fn a_bad_line_is_named() {
        assert_eq!(Credentials::parse(b"a:b\nnocolon\n"), Err(AuthError::NoColon(2)));
        assert_eq!(Credentials::parse(b"a:\n"), Err(AuthError::Length(1)));
        assert_eq!(Credentials::parse(b"a:b\na:c"), Err(AuthError::Duplicate(2)));
        assert_eq!(Credentials::parse(b"#\n"), Err(AuthError::Empty));
    }
}
