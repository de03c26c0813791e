//! The switches of `doctor unwrap`.

use crate::unwrap::routes::args::{Targets, mark};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[derive(clap::Args, Debug)]
#[command(group(clap::ArgGroup::new("targets").args(["v4", "v6"]).required(true).multiple(true)))]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) targets: Targets,

    /// The mark that setup was given
    #[arg(long, value_name = "N", value_parser = mark)]
    pub(crate) mark: Option<u32>,

    /// Try as this client; may be given for each family
    /// [default: 192.0.2.1 and 2001:db8::1, of documentation]
    #[arg(long = "as", value_name = "ADDRESS", value_parser = client)]
    pub(crate) clients: Vec<IpAddr>,
}

impl Args {
    /// The client to try as.
    pub(crate) fn source(&self, v6: bool) -> IpAddr {
        let asked = self.clients.iter().rev().find(|ip| ip.is_ipv6() == v6);
        asked.copied().unwrap_or(nobody(v6))
    }
}

/// RFC 5737 section 3, RFC 3849 section 2: addresses for documentation, which no host has.
pub(crate) fn nobody(v6: bool) -> IpAddr {
    match v6 {
        false => Ipv4Addr::new(192, 0, 2, 1).into(),
        true => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    }
}

fn client(text: &str) -> Result<IpAddr, String> {
    let wrong =
        || format!("expected the address of a client, such as 192.0.2.1 or 2001:db8::1, got '{text}'");
    let ip: IpAddr = text.parse().map_err(|_| wrong())?;
    let bogus = ip.to_canonical() != ip || ip.is_loopback() || ip.is_unspecified() || ip.is_multicast();
    if bogus { Err(wrong()) } else { Ok(ip) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_must_be_named() {
        use clap::Parser;
        let parse = |words: &[&str]| {
            crate::Cli::try_parse_from(["ropewalk", "doctor", "unwrap"].iter().chain(words)).map(|_| ())
        };
        for none in [&[][..], &["--mark", "5"], &["-p", "udp"], &["--as", "192.0.2.1"]] {
            let error = parse(none).expect_err("no server was named");
            assert_eq!(error.kind(), clap::error::ErrorKind::MissingRequiredArgument, "{none:?}");
        }
        parse(&["-4", "127.0.0.1:80", "-6", "[::1]:80"]).expect("both may be");
    }

    #[test]
    fn a_client_to_try_as_is_from_elsewhere() {
        assert_eq!(client("198.51.100.1").map(|ip| ip.to_string()).as_deref(), Ok("198.51.100.1"));
        for bad in ["127.0.0.1", "::1", "0.0.0.0", "ff02::1", "::ffff:1.2.3.4", "192.0.2.1:80", "host"] {
            assert!(client(bad).is_err_and(|error| error.contains(bad)), "{bad}");
        }
    }
}
