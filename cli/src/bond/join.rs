//! The join string: all that a client needs to come in for the first time.
//!
//! ```text
//!   ropewalk1: KEY . TOKEN @ HOST:PORT      KEY     43 characters of base64url, the server's public key
//!                                           TOKEN   32 hexadecimal digits, used once
//! ```

use ropewalk_core::bond::crypto::PublicKey;
use std::fmt;
use std::str::FromStr;

/// What join strings begin with; the digit is the version.
pub(super) const PREFIX: &str = "ropewalk1:";
/// What public keys begin with when they stand alone.
const KEY: &str = "rwp1.";

/// What lets a client in, once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Token(pub(super) [u8; 16]);

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Never shown by accident.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl FromStr for Token {
    type Err = String;

    fn from_str(text: &str) -> Result<Token, String> {
        let wrong = || {
            format!(
                "expected a token of 32 hexadecimal digits, got {} characters or others",
                text.chars().count()
            )
        };
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut bytes = [0; 16];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Token(bytes))
    }
}

/// A join string, read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Join {
    /// HOST:PORT.
    pub(super) server: String,
    pub(super) key: PublicKey,
    pub(super) token: Token,
}

impl fmt::Display for Join {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key.to_string();
        let key = key.strip_prefix(KEY).unwrap_or(&key);
        write!(f, "{PREFIX}{key}.{}@{}", self.token, self.server)
    }
}

impl FromStr for Join {
    type Err = String;

    fn from_str(text: &str) -> Result<Join, String> {
        let wrong = |what: &str| format!("expected a join string {PREFIX}KEY.TOKEN@HOST:PORT, {what}");
        let rest = text.strip_prefix(PREFIX).ok_or_else(|| wrong("got one that begins otherwise"))?;
        let (secrets, server) =
            rest.split_once('@').ok_or_else(|| wrong("got one without @: is its end missing?"))?;
        let (key, token) = secrets.split_once('.').ok_or_else(|| wrong("got one without a token"))?;
        let key = format!("{KEY}{key}").parse().map_err(|error| wrong(&format!("and: {error}")))?;
        let token = token.parse().map_err(|error: String| wrong(&format!("and: {error}")))?;
        Ok(Join { server: host_and_port(server)?, key, token })
    }
}

/// `HOST:PORT`, where HOST is a name or an address.
pub(super) fn host_and_port(text: &str) -> Result<String, String> {
    let split = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    let plain = |host: &str| !host.contains(':') || host.starts_with('[') && host.ends_with(']');
    match split {
        Some((host, port)) if plain(host) && port.parse::<u16>().is_ok_and(|port| port != 0) => {
            Ok(text.to_owned())
        }
        _ => Err(format!(
            "expected HOST:PORT, such as vpn.example.net:4500 or [2001:db8::1]:4500, got '{text}'"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join() -> Join {
        let key = "rwp1.hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SOqpqyTmo".parse().expect("RFC 7748's");
        Join { server: "vpn.example.net:4500".into(), key, token: Token([0xa5; 16]) }
    }

    #[test]
    fn a_join_string_survives_being_copied() {
        let text = join().to_string();
        assert_eq!(text.parse(), Ok(join()));
        assert!(!text.contains("rwp1"), "{text}");
    }

    #[test]
    fn half_a_join_string_is_told_from_a_whole_one() {
        let text = join().to_string();
        for end in 0..text.len() {
            // What is cut within the port is another port.
            let cut = text[..end].parse::<Join>();
            assert!(cut.is_err() || end > text.rfind(':').expect("a port") + 1, "{end}");
        }
        for bad in ["host", "host:", ":1", "host:0", "host:70000", "fe80::1:4500"] {
            assert!(host_and_port(bad).is_err_and(|said| said.contains(bad)), "{bad}");
        }
        assert!(host_and_port("[2001:db8::1]:4500").is_ok());
    }

    #[test]
    fn an_error_does_not_repeat_the_token() {
        let text = join().to_string().replace("a5a5", "zzzz");
        assert!(text.parse::<Join>().is_err_and(|said| !said.contains("a5a5")));
    }
}
