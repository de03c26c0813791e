//! Why connections were refused, as short words to count by. A word stays what it is: people have graphs of it.

use ropewalk_core::event::Refusal;

/// In the order of [`place`].
pub(crate) const REASONS: [&str; 16] = [
    "malformed",
    "bad_host",
    "no_auth_method",
    "bad_credentials",
    "socks4_with_auth",
    "command",
    "address_type",
    "not_allowed",
    "itself",
    "name",
    "unreachable",
    "no_uplink",
    "handshake_timeout",
    "left",
    "client_failed",
    "other",
];

/// Where its word stands.
pub(super) fn place(why: &Refusal) -> usize {
    match why {
        Refusal::Malformed(_) => 0,
        Refusal::BadHost(_) => 1,
        Refusal::NoAuthMethod => 2,
        Refusal::BadCredentials => 3,
        Refusal::Socks4WithAuth => 4,
        Refusal::Command(_) => 5,
        Refusal::AddressType(_) => 6,
        Refusal::NotAllowed(_) => 7,
        Refusal::Itself(_) => 8,
        Refusal::Name(_) => 9,
        Refusal::Unreachable(_) => 10,
        Refusal::NoUplink => 11,
        Refusal::HandshakeTimeout => 12,
        Refusal::Left => 13,
        Refusal::ClientFailed(_) => 14,
        // Reasons may come that this file does not know yet.
        _ => 15,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ropewalk_core::event::WireFault;
    use ropewalk_core::machine::Fault;
    use ropewalk_core::name::BadHost;

    /// `BadCredentials(..)` as `bad_credentials`.
    fn snake(name: &str) -> String {
        let name = name.split(['(', ' ']).next().unwrap_or(name);
        let mut out = String::new();
        for c in name.chars() {
            if c.is_ascii_uppercase() && !out.is_empty() {
                out.push('_');
            }
            out.push(c.to_ascii_lowercase());
        }
        out
    }

    #[test]
    fn each_reason_is_counted_by_its_own_name() {
        let to = "192.0.2.1:1".parse().expect("literal");
        let all = [
            Refusal::Malformed(WireFault { expected: "x", found: None, at: 0 }),
            Refusal::BadHost(BadHost::Empty),
            Refusal::NoAuthMethod,
            Refusal::BadCredentials,
            Refusal::Socks4WithAuth,
            Refusal::Command(2),
            Refusal::AddressType(2),
            Refusal::NotAllowed(to),
            Refusal::Itself(to),
            Refusal::Name(Fault::TimedOut),
            Refusal::Unreachable(Fault::TimedOut),
            Refusal::NoUplink,
            Refusal::HandshakeTimeout,
            Refusal::Left,
            Refusal::ClientFailed(Fault::Reset),
        ];
        for why in all {
            assert_eq!(REASONS[place(&why)], snake(&format!("{why:?}")));
        }
        assert_eq!(REASONS.len(), all.len() + 1);
    }
}
