//! What holds for any request, and for any bytes.

use super::*;

fn request() -> impl Strategy<Value = String> {
    let field = prop::sample::select(vec![
        "Connection: close",
        "Connection: X-A",
        "X-A: 1",
        "Proxy-Connection: keep-alive",
        "Keep-Alive: 5",
        "Upgrade: h2c",
        "Accept: a, b",
        "TE: trailers",
        "Via: 1.1 other",
        "X-Empty:",
        "Proxy-Authorization: Basic dTpw",
    ]);
    let framing = prop::sample::select(vec!["", "Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n"]);
    let method = prop::sample::select(vec!["GET", "HEAD", "POST", "OPTIONS", "TRACE", "X-OTHER"]);
    let target = "http://([a-w.]{1,9}|\\[::[0-9a-f]{1,4}\\])(:[1-9][0-9]{0,3})?([/?][!$-;=?-Z_a-z~]{0,9})?";
    let forward = (method, target, framing, prop::collection::vec(field.clone(), 0..8)).prop_map(
        |(method, target, framing, fields)| {
            let fields: String = fields.into_iter().map(|field| [field, "\r\n"].concat()).collect();
            format!("{method} {target} HTTP/1.1\r\nHost: x\r\n{framing}{fields}\r\n")
        },
    );
    let connect = ("[a-z.]{1,9}", any::<u16>(), prop::option::of(field)).prop_map(|(host, port, field)| {
        let field = field.map(|field| [field, "\r\n"].concat()).unwrap_or_default();
        format!("CONNECT {host}:{port} HTTP/1.1\r\n{field}\r\n")
    });
    prop_oneof![3 => forward, 1 => connect]
}

proptest! {
    #[test]
    fn a_request_is_read_at_its_end_and_no_sooner(text in request(), junk: Vec<u8>) {
        let mut bytes = text.into_bytes();
        let len = bytes.len();
        for end in 0..len {
            prop_assert_eq!(parse(&bytes[..end]), Err(HttpError::Incomplete));
        }
        let whole = parse(&bytes);
        prop_assert_eq!(whole.as_ref().map(|(_, used)| *used), Ok(len));
        bytes.extend_from_slice(&junk);
        prop_assert_eq!(parse(&bytes), whole);
    }

    #[test]
    fn what_is_emitted_asks_the_same_of_the_next_proxy(text in request()) {
        let (RequestHead { kind: RequestKind::Forward(first), .. }, _) =
            parse(text.as_bytes()).expect("well formed")
        else {
            return Ok(());
        };
        let head = String::from_utf8(first.head.clone()).expect("text");
        let goes_on = text.contains("\nX-A:") && !text.contains("\nConnection: X-A");
        prop_assert_eq!(head.contains("\nX-A:"), goes_on, "{}", head);
        for gone in ["\nKeep-Alive:", "\nUpgrade:", "\nTE:", "\nProxy-", "\nHost: x\r"] {
            prop_assert!(!head.contains(gone), "{} in {}", gone, head);
        }
        // Put the authority back in front of the path, as a client of a further proxy would.
        let (method, rest) = head.split_once(' ').expect("a request line");
        let path = rest.strip_prefix('*').unwrap_or(rest);
        let again = format!("{method} http://{}{path}", first.destination);
        let (again, used) = parse(again.as_bytes()).expect("our own head");
        prop_assert!(used > 0 && again.credentials.is_none());
        let RequestKind::Forward(second) = again.kind else { panic!("it is passed on") };
        prop_assert_eq!(
            (second.destination, second.body, second.keep_alive, second.head_request),
            (first.destination, first.body, first.keep_alive, first.head_request)
        );
    }

    #[test]
    fn no_bytes_panic_and_what_is_settled_stays_settled(
        text in request(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut bytes = text.into_bytes();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let whole = parse(&bytes);
        for end in 0..bytes.len() {
            match parse(&bytes[..end]) {
                Err(HttpError::Incomplete) => {}
                early => prop_assert_eq!(&early, &whole),
            }
        }
    }

    #[test]
    fn garbage_does_not_panic(bytes: Vec<u8>) {
        prop_assert!(parse(&bytes).is_err());
    }
}
