//! Why connections were refused and datagrams dropped, as short words to count by. A word stays
//! what it is: people have graphs of it.

use ropewalk_core::machine::event::{Dropped, Refusal};

/// In the order of [`place`].
pub(crate) const REASONS: [&str; 28] = [
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
    "peer_not_allowed",
    "bogus_source",
    "no_target",
    "no_port",
    "port_conflict",
    "bad_response",
    "request_too_large",
    "response_too_large",
    "stale",
    "crowded_out",
    "association_limit",
    "no_relay",
    "other",
];

/// In the order of [`drop_place`].
pub(crate) const DROPS: [&str; 11] = [
    "cut_short",
    "no_flow",
    "queue_full",
    "too_long",
    "draining",
    "fragment",
    "not_client",
    "stranger",
    "names_full",
    "rate",
    "other_drop",
];

/// Where its word stands.
pub(crate) fn place(why: &Refusal) -> usize {
    match why {
        Refusal::Malformed(_) | Refusal::BadHeader(_) => 0,
        Refusal::BadHost(_) => 1,
        Refusal::NoAuthMethod => 2,
        Refusal::BadCredentials | Refusal::NoCredentials => 3,
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
        Refusal::PeerNotAllowed => 15,
        Refusal::BogusSource(_) => 16,
        Refusal::NoTarget { .. } => 17,
        Refusal::NoPort => 18,
        Refusal::PortConflict(_) => 19,
        Refusal::BadResponse(_) => 20,
        Refusal::RequestTooLarge(_) => 21,
        Refusal::ResponseTooLarge(_) => 22,
        Refusal::Stale => 23,
        Refusal::CrowdedOut { .. } => 24,
        Refusal::AssociationLimit { .. } => 25,
        Refusal::NoRelay(_) => 26,
        // Reasons may come that this file does not know yet.
        _ => 27,
    }
}

/// Where the word of a datagram's own reason stands.
pub(crate) fn drop_place(why: &Dropped) -> usize {
    match why {
        Dropped::CutShort(_) => 0,
        Dropped::NoFlow => 1,
        Dropped::QueueFull { .. } => 2,
        Dropped::TooLong(_) => 3,
        Dropped::Draining => 4,
        Dropped::Fragment(_) => 5,
        Dropped::NotClient => 6,
        Dropped::Stranger => 7,
        Dropped::NamesFull { .. } => 8,
        Dropped::Rate => 9,
        _ => 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ropewalk_core::machine::Fault;
    use ropewalk_core::machine::event::{Excess, WireFault};
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

    /// The enum may grow, so the compiler is content with `other`.
    #[test]
    fn each_reason_of_the_core_has_a_word() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../core/src/machine/event/refusal.rs");
        let source = std::fs::read_to_string(path).expect("core is beside cli");
        let (_, body) = source.split_once("pub enum Refusal {").expect("the enum is there");
        let (body, _) = body.split_once("\n}").expect("it ends");
        let variants = body.lines().filter_map(|line| line.strip_prefix("    "));
        let variants: Vec<&str> =
            variants.filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase())).collect();
        assert!(variants.len() >= REASONS.len(), "{variants:?}");
        for variant in variants {
            let name = snake(variant.trim_end_matches(','));
            // Two share the word of another.
            let shares = ["bad_header", "no_credentials"].contains(&name.as_str());
            assert!(shares || REASONS.contains(&name.as_str()), "no word for {variant}");
        }
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
            Refusal::PeerNotAllowed,
            Refusal::BogusSource(std::net::Ipv4Addr::LOCALHOST.into()),
            Refusal::NoTarget { ipv6: true },
            Refusal::NoPort,
            Refusal::PortConflict(Fault::AddressInUse),
            Refusal::BadResponse(WireFault { expected: "x", found: None, at: 0 }),
            Refusal::RequestTooLarge(Excess::Bytes(1)),
            Refusal::ResponseTooLarge(Excess::Bytes(1)),
            Refusal::Stale,
            Refusal::CrowdedOut { limit: 1 },
            Refusal::AssociationLimit { limit: 1 },
            Refusal::NoRelay(Fault::NoDescriptors),
        ];
        for why in all {
            assert_eq!(REASONS[place(&why)], snake(&format!("{why:?}")));
        }
        assert_eq!(REASONS.len(), all.len() + 1);
        let all = [
            Dropped::CutShort(1),
            Dropped::NoFlow,
            Dropped::QueueFull { limit: 1 },
            Dropped::TooLong(1),
            Dropped::Draining,
            Dropped::Fragment(1),
            Dropped::NotClient,
            Dropped::Stranger,
            Dropped::NamesFull { limit: 1 },
            Dropped::Rate,
        ];
        for why in all {
            assert_eq!(DROPS[drop_place(&why)], snake(&format!("{why:?}")));
        }
        assert_eq!(DROPS.len(), all.len() + 1);
    }
}
