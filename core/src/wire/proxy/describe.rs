//! TLVs as people read them in a log.
//!
//! A client chooses some of the values, so they are escaped and cut short: no value can begin a
//! line, turn the direction of text, or drown the rest of the line.

use core::fmt::{self, Write};

use super::tlv::{Ssl, Tlv, Tlvs, kind};

/// How many bytes of a value are shown.
const SHOWN: usize = 256;

impl fmt::Display for Tlvs<'_> {
    /// Shows what a reader of logs can use: no padding, no checksum.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.filter(|tlv| !matches!(tlv.kind, kind::NOOP | kind::CRC32C));
        for (i, tlv) in shown.enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            tlv.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Tlv<'_> {
    /// Shows a name and a value, and never a control character.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match (self.kind, self.value) {
            (kind::SSL, value) => {
                if let Some(ssl) = Ssl::parse(value) {
                    return ssl.fmt(f);
                }
                return unknown(f, *self);
            }
            // docs.cloud.google.com, Private Service Connect: 64 bits in network byte order.
            (kind::GCP, &[a, b, c, d, e, g, h, i]) => {
                return write!(f, "GCP PSC connection {}", u64::from_be_bytes([a, b, c, d, e, g, h, i]));
            }
            // docs.aws.amazon.com, Network Load Balancers: PP2_SUBTYPE_AWS_VPCE_ID is 1, then ASCII
            // text.
            (kind::AWS, &[1, ref id @ ..]) => {
                f.write_str("AWS VPC endpoint ")?;
                return text(f, id);
            }
            // learn.microsoft.com, Private Link service: PP2_SUBTYPE_AZURE_PRIVATEENDPOINT_LINKID
            // is 1, then 32 bits in little endian.
            (kind::AZURE, &[1, a, b, c, d]) => {
                return write!(f, "Azure private endpoint link {}", u32::from_le_bytes([a, b, c, d]));
            }
            (kind::ALPN, _) => "ALPN",
            (kind::AUTHORITY, _) => "authority",
            (kind::UNIQUE_ID, _) => "unique id",
            (kind::NETNS, _) => "netns",
            (kind::NOOP, value) => return write!(f, "padding of {} bytes", value.len()),
            (kind::CRC32C, &[a, b, c, d]) => {
                return write!(f, "CRC32C {:08x}", u32::from_be_bytes([a, b, c, d]));
            }
            _ => return unknown(f, *self),
        };
        write!(f, "{name} ")?;
        text(f, self.value)
    }
}

impl fmt::Display for Ssl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // proxy-protocol.txt section 2.2.6: a bit for each of TLS, a certificate now, a certificate
        // in the session.
        f.write_str(if self.client & 1 == 0 { "SSL (not used" } else { "SSL (used" })?;
        // proxy-protocol.txt section 2.2.6: 0 is verified, where a certificate was presented.
        // Without one senders write 0 as well.
        match (self.client & 6, self.verify) {
            (0, _) => f.write_str(", no client certificate")?,
            (_, 0) => f.write_str(", client certificate verified")?,
            (_, verify) => write!(f, ", client certificate not verified ({verify})")?,
        }
        for tlv in self.tlvs {
            f.write_str(", ")?;
            let name = match tlv.kind {
                kind::SSL_VERSION => "version",
                kind::SSL_CN => "CN",
                kind::SSL_CIPHER => "cipher",
                kind::SSL_SIG_ALG => "signature",
                kind::SSL_KEY_ALG => "key",
                _ => {
                    unknown(f, tlv)?;
                    continue;
                }
            };
            write!(f, "{name} ")?;
            text(f, tlv.value)?;
        }
        f.write_char(')')
    }
}

/// Shows a TLV nothing is known of.
fn unknown(f: &mut fmt::Formatter<'_>, tlv: Tlv<'_>) -> fmt::Result {
    write!(f, "type 0x{:02x} of {} bytes", tlv.kind, tlv.value.len())
}

/// Shows text in quotes, with everything escaped that could make a line look like another.
fn text(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    let shown = bytes.get(..SHOWN).unwrap_or(bytes);
    f.write_char('"')?;
    for chunk in shown.utf8_chunks() {
        for c in chunk.valid().chars() {
            // Debug's escapes are for control characters, line separators and those that turn the
            // direction of text; it would escape the apostrophe as well.
            match c {
                '\'' => f.write_char(c)?,
                _ => write!(f, "{}", c.escape_debug())?,
            }
        }
        for byte in chunk.invalid() {
            write!(f, "\\x{byte:02x}")?;
        }
    }
    f.write_char('"')?;
    match bytes.len() - shown.len() {
        0 => Ok(()),
        more => write!(f, " and {more} bytes more"),
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    use super::super::emit;
    use super::*;

    fn listed(tlvs: &[Tlv<'_>]) -> String {
        let mut value = Vec::new();
        emit::ssl(0, 0, tlvs, &mut value);
        Ssl::parse(&value).expect("it was just written").tlvs.to_string()
    }

    fn shown(kind: u8, value: &[u8]) -> String {
        Tlv::new(kind, value).to_string()
    }

    #[test]
    fn what_a_log_can_use_is_shown() {
        let mut ssl = Vec::new();
        let inner = [
            Tlv::new(kind::SSL_VERSION, b"TLSv1.3"),
            Tlv::new(kind::SSL_CN, "Zoë O'Hara".as_bytes()),
            Tlv::new(kind::SSL_CIPHER, b"TLS_AES_128_GCM_SHA256"),
            Tlv::new(kind::SSL_SIG_ALG, b"RSA-SHA256"),
            Tlv::new(kind::SSL_KEY_ALG, b"RSA2048"),
            Tlv::new(0x2f, b"???"),
        ];
        emit::ssl(0b011, 0, &inner, &mut ssl);
        let tlvs = [
            Tlv::new(kind::ALPN, b"h2"),
            Tlv::new(kind::NOOP, b"\0\0"),
            Tlv::new(kind::AUTHORITY, b"example.org"),
            Tlv::new(kind::UNIQUE_ID, b"\x01ab"),
            Tlv::new(kind::SSL, &ssl),
            Tlv::new(kind::CRC32C, &[0; 4]),
            Tlv::new(kind::NETNS, b"blue"),
            Tlv::new(kind::AWS, b"\x01vpce-08d2bf15fac5001c9"),
            Tlv::new(kind::AZURE, &[1, 0x33, 0, 0, 0x26]),
            Tlv::new(kind::GCP, &[0, 0, 0, 0, 0, 0, 1, 2]),
            Tlv::new(0x99, b"\0\0"),
        ];
        assert_eq!(
            listed(&tlvs),
            "ALPN \"h2\", authority \"example.org\", unique id \"\\u{1}ab\", SSL (used, client certificate \
             verified, version \"TLSv1.3\", CN \"Zoë O'Hara\", cipher \"TLS_AES_128_GCM_SHA256\", signature \
             \"RSA-SHA256\", key \"RSA2048\", type 0x2f of 3 bytes), netns \"blue\", AWS VPC endpoint \
             \"vpce-08d2bf15fac5001c9\", Azure private endpoint link 637534259, GCP PSC connection 258, \
             type 0x99 of 2 bytes"
        );
    }

    #[test]
    fn a_certificate_is_verified_only_where_there_was_one() {
        for (client, verify, wanted) in [
            (0, 1, "SSL (not used, no client certificate)"),
            (1, 0, "SSL (used, no client certificate)"),
            (1, 1, "SSL (used, no client certificate)"),
            (3, 0, "SSL (used, client certificate verified)"),
            (5, 0, "SSL (used, client certificate verified)"),
            (7, 18, "SSL (used, client certificate not verified (18))"),
        ] {
            let mut value = Vec::new();
            emit::ssl(client, verify, &[], &mut value);
            assert_eq!(shown(kind::SSL, &value), wanted);
        }
    }

    #[test]
    fn vendors_values_of_another_shape_are_only_counted() {
        assert_eq!(shown(kind::AWS, b"\x02vpce"), "type 0xea of 5 bytes");
        assert_eq!(shown(kind::AZURE, b"\x01\0\0\0"), "type 0xee of 4 bytes");
        assert_eq!(shown(kind::GCP, b"1234567"), "type 0xe0 of 7 bytes");
        assert_eq!(shown(kind::SSL, b"1234"), "type 0x20 of 4 bytes");
    }

    #[test]
    fn no_control_character_reaches_a_log() {
        assert_eq!(
            shown(kind::AUTHORITY, b"a\r\n\x1b[31m\"\\\0\x7f\xc2\x9b\xff\xe2\x80\xae\xe2\x80\xa8"),
            r#"authority "a\r\n\u{1b}[31m\"\\\0\u{7f}\u{9b}\xff\u{202e}\u{2028}""#
        );
    }

    #[test]
    fn long_text_is_cut_short() {
        assert_eq!(shown(kind::ALPN, &[b'x'; 256]).len(), "ALPN \"\"".len() + 256);
        let long = shown(kind::ALPN, &[b'x'; 3000]);
        assert!(long.ends_with("x\" and 2744 bytes more"), "{long}");
    }
}
