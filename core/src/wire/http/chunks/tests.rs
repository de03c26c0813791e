use alloc::string::String;
use alloc::{format, vec};

use proptest::prelude::*;

use super::*;

impl Chunks {
    fn pass(&mut self, bytes: &[u8]) -> Result<(usize, Out), Malformed> {
        match self.pass_some(bytes) {
            (used, out, None) => Ok((used, out)),
            (_, _, Some(why)) => Err(why),
        }
    }
}

fn strict() -> Chunks {
    Chunks::new(Manner::Strict, &Named::from(&b"x-named"[..]))
}

fn put(chunks: &mut Chunks, bytes: &[u8]) -> Result<usize, Malformed> {
    chunks.pass(bytes).map(|(used, _)| used)
}

/// All of `bytes` at once: how many belong to the body and whether it is done.
fn whole(bytes: &[u8]) -> Result<(usize, bool), Malformed> {
    let mut body = strict();
    put(&mut body, bytes).map(|used| (used, body.is_done()))
}

/// The same in pieces of the given lengths, then the rest. What a body leaves it must go on
/// leaving.
fn in_pieces(mut bytes: &[u8], cuts: &[usize]) -> Result<(usize, bool), Malformed> {
    let mut body = strict();
    let mut total = 0;
    for cut in cuts.iter().copied().chain([usize::MAX]) {
        let (piece, rest) = bytes.split_at(cut.min(bytes.len()));
        let used = put(&mut body, piece)?;
        assert!(used == piece.len() || body.is_done(), "an unfinished body left bytes");
        total += used;
        bytes = rest;
    }
    Ok((total, body.is_done()))
}

fn refused_at(bytes: &[u8]) -> usize {
    match whole(bytes) {
        Err(malformed) => malformed.at,
        Ok(passed) => panic!("{} passed: {passed:?}", bytes.escape_ascii()),
    }
}

#[test]
fn chunks_end_after_the_last_crlf() {
    for text in [
        "0\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
        "1a\r\nabcdefghijklmnopqrstuvwxyz\r\n00\r\n\r\n",
        "A;a=\"b c\";d\r\n0123456789\r\n0;z\r\n\r\n",
        "1 \t;a\r\n\r\r\n0\r\n\r\n",
        "0000000000000001\r\nx\r\n0000000000000000\r\n\r\n",
        "0\r\nX-Sum: 1\r\nEmpty:\r\n\r\n",
    ] {
        let with_next = [text.as_bytes(), b"GET / HTTP/1.1\r\n"].concat();
        assert_eq!(whole(&with_next), Ok((text.len(), true)), "{text:?}");
        let mut body = strict();
        for byte in text.as_bytes() {
            assert!(!body.is_done() && body.end().is_none());
            assert_eq!(put(&mut body, &[*byte]), Ok(1));
        }
        assert!(body.is_done() && body.end() == Some(b""));
    }
}

#[test]
fn what_is_no_chunk_is_refused_at_its_byte() {
    for (text, at) in [
        ("\r\n", 0),
        ("g\r\n", 0),
        ("-1\r\n", 0),
        ("+1\r\n", 0),
        ("0x1\r\n", 1),
        (" 1\r\n", 0),
        ("1\nx", 1),
        ("1\rx", 2),
        ("1 \r\n", 2),
        ("1 2\r\n", 2),
        ("1;a\nx", 3),
        ("1;a\0", 3),
        ("1;a\rb", 4),
        ("1\r\nxy\r\n", 4),
        ("1\r\nx\n", 4),
        ("1\r\nx\r\r", 5),
        ("0\r\n\n", 3),
        ("0\r\n\rx", 4),
        ("0\r\n A: b\r\n", 3),
        ("0\r\n: b\r\n", 3),
        ("0\r\nA b\r\n", 4),
        ("0\r\nA\r\n", 4),
        ("0\r\nA: b\n", 7),
        ("0\r\nA: b\r\r", 8),
        ("0\r\nA: b\0", 7),
        ("0\r\nA: b\r\n c\r\n", 9),
        ("00000000000000000\r\n", 16),
    ] {
        assert_eq!(refused_at(text.as_bytes()), at, "{text:?}");
    }
}

#[test]
fn the_largest_size_does_not_overflow() {
    let mut body = strict();
    assert_eq!(put(&mut body, b"fFfFfFfFfFfFfFfF\r\n12345"), Ok(23));
    assert_eq!(body.state, State::Data(u64::MAX - 5));
}

#[test]
fn extensions_and_trailers_are_bounded() {
    let extension = |len: usize| [b"1;".as_slice(), &vec![b'a'; len - 1], b"\r\nx\r\n"].concat();
    let most = MAX_EXTENSION as usize;
    let twice = [extension(most), extension(most), b"0\r\n\r\n".to_vec()].concat();
    assert_eq!(whole(&twice), Ok((twice.len(), true)));
    assert_eq!(refused_at(&extension(most + 1)), 1 + most);
    assert_eq!(refused_at(&[b"1".as_slice(), &vec![b' '; most + 1]].concat()), 1 + most);

    let line = [b"A:".as_slice(), &[b'b'; 60], b"\r\n"].concat();
    let trailers = |lines: usize| [b"0\r\n".as_slice(), &line.repeat(lines)].concat();
    let most = MAX_TRAILERS / line.len();
    let full = [&trailers(most)[..], b"\r\n"].concat();
    assert_eq!(whole(&full), Ok((full.len(), true)));
    assert_eq!(refused_at(&trailers(most + 1)), 3 + MAX_TRAILERS);
}

/// An origin could keep a client waiting for ever by what is no data.
#[test]
fn what_an_origin_says_between_data_is_bounded_however_it_is_written() {
    for (begin, endless) in [
        ("5", "\r"),
        ("5", "\ra"),
        ("5;", "\r\ra"),
        ("5 ", "\r "),
        ("000", "0"),
        ("1\r\nx", "\r"),
        ("0\r\n", "\r"),
        ("0\r\n", "\ra"),
        ("0\r\n", "a:\ra\n"),
    ] {
        let mut chunks = Chunks::new(Manner::Loose, &Named::default());
        chunks.pass(begin.as_bytes()).expect("it may begin so");
        let refused = (0..40_000).find(|_| chunks.pass(endless.as_bytes()).is_err());
        assert!(refused.is_some(), "{begin:?} and {endless:?} for ever");
    }
}

/// What goes on of `bytes`, read at once and in all pieces of one length, which must give the same.
fn gone_on(manner: Manner, bytes: &[u8]) -> Result<(Vec<u8>, bool), Malformed> {
    let by = |step: usize| {
        let mut chunks = Chunks::new(manner, &Named::from(&b"close, x-named"[..]));
        let mut out = Vec::new();
        for piece in bytes.chunks(step) {
            let (_, passed) = chunks.pass(piece)?;
            out.extend_from_slice(passed.bytes(piece));
        }
        let whole = chunks.end();
        out.extend_from_slice(whole.unwrap_or_default());
        Ok((out, whole.is_some()))
    };
    let whole = by(bytes.len().max(1));
    for step in 1..bytes.len() {
        assert_eq!(by(step), whole, "pieces of {step}");
    }
    whole
}

fn text(result: Result<(Vec<u8>, bool), Malformed>) -> String {
    let (bytes, whole) = result.expect("it can be read");
    assert!(whole, "it is whole");
    String::from_utf8(bytes).expect("text")
}

#[test]
fn clean_chunks_are_not_copied() {
    let bytes = b"5\r\nhello\r\n1F\r\nabcdefghijklmnopqrstuvwxyz01234\r\n0\r\nDigest: x\r\n\r\n";
    for manner in [Manner::Strict, Manner::Loose] {
        let (used, out) = Chunks::new(manner, &Named::default()).pass(bytes).expect("clean");
        assert_eq!((used, out), (bytes.len(), Out::Same(bytes.len())));
    }
}

#[test]
fn what_origins_write_loosely_leaves_clean() {
    for (came, goes) in [
        ("5\nhello\n0\n\n", "5\r\nhello\r\n0\r\n\r\n"),
        ("5  \r\nhello\r\n0 \r\n\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        (" 5\r\nhello\r\n\t0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ("00000000000000000000005\r\nhello\r\n000000000000000000\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ("5;a=\u{1}b\r\nhello\r\n0;x\n\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ("1\r\na\r\n2\nbc\n3 \r\ndef\r\n0\r\n\r\n", "1\r\na\r\n2\r\nbc\r\n3\r\ndef\r\n0\r\n\r\n"),
        ("5\r\r\nhello\r\r\r\n0\r\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ("5;a\rb\r\nhello\r\n0;\r\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        // The connection ends after the last chunk.
        ("1\r\na\r\n0\r\n", "1\r\na\r\n0\r\n\r\n"),
        ("1\r\na\r\n0\n", "1\r\na\r\n0\r\n\r\n"),
        ("1\r\na\r\n0\r\nA: b", "1\r\na\r\n0\r\n\r\n"),
        ("0\r\nno colon\r\nA : b\nC: d\0\r\n\r\n", "0\r\nA: b\r\nC: d\r\n\r\n"),
    ] {
        assert_eq!(text(gone_on(Manner::Loose, came.as_bytes())), goes, "{came:?}");
        let data: String = goes.split("\r\n").skip(1).step_by(2).collect();
        let data = if goes.contains(':') { "" } else { &data };
        assert_eq!(text(gone_on(Manner::Apart, came.as_bytes())), data, "{came:?}");
    }
}

#[test]
fn what_even_browsers_refuse_is_refused_from_origins() {
    for (came, at) in [
        ("\r\n", 0),
        ("x\r\n", 0),
        ("-1\r\n", 0),
        ("0x5\r\n", 1),
        ("5 5\r\n", 2),
        ("2\r\nabc\r\n", 5),
        ("2\r\nab\rc", 6),
        ("10000000000000000\r\n", 16),
    ] {
        for manner in [Manner::Loose, Manner::Apart] {
            let refused = gone_on(manner, came.as_bytes()).map_err(|why| why.at);
            assert_eq!(refused, Err(at), "{came:?}");
        }
    }
    assert!(matches!(gone_on(Manner::Loose, b"5\r\nhel"), Ok((_, false))), "a part is lost");
    assert!(matches!(gone_on(Manner::Loose, b"5\r\nhello\r\n"), Ok((_, false))), "a part is lost");
    assert!(gone_on(Manner::Loose, &[b'0'; 20_000]).is_err(), "zeros have an end");
}

#[test]
fn extensions_and_trailers_that_mislead_go_no_further() {
    let came = "1;ext=\"a\"\r\nx\r\n0;b\r\nContent-Length: 9\r\nDigest: y\r\nX-Named: 1\r\nhost: evil\r\n\
                Proxy-Authorization: z\r\n\r\n";
    for manner in [Manner::Strict, Manner::Loose] {
        assert_eq!(text(gone_on(manner, came.as_bytes())), "1\r\nx\r\n0\r\nDigest: y\r\n\r\n");
    }
    assert_eq!(text(gone_on(Manner::Apart, came.as_bytes())), "x");
}

fn chunked() -> impl Strategy<Value = Vec<u8>> {
    let extension = "([ \t]{0,2};[ -~]{0,9})?";
    let chunk = (prop::collection::vec(any::<u8>(), 1..40), extension, any::<bool>());
    let trailers = prop::collection::vec("[A-Za-z-]{1,9}:[ -~]{0,9}", 0..3);
    (prop::collection::vec(chunk, 0..5), extension, trailers).prop_map(|(chunks, extension, trailers)| {
        let mut bytes = Vec::new();
        for (data, extension, upper) in chunks {
            let size = if upper { format!("{:X}", data.len()) } else { format!("{:03x}", data.len()) };
            bytes.extend_from_slice(format!("{size}{extension}\r\n").as_bytes());
            bytes.extend_from_slice(&data);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(format!("0{extension}\r\n").as_bytes());
        for trailer in trailers {
            bytes.extend_from_slice(format!("{trailer}\r\n").as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes
    })
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0usize..12, 0..60)
}

proptest! {
    #[test]
    fn chunks_take_the_same_bytes_over_any_split(text in chunked(), junk: Vec<u8>, cuts in cuts()) {
        let bytes = [&text[..], &junk].concat();
        prop_assert_eq!(in_pieces(&bytes, &cuts), Ok((text.len(), true)));
        for end in 0..text.len() {
            prop_assert_eq!(whole(&text[..end]), Ok((end, false)));
        }
    }

    #[test]
    fn no_bytes_panic_and_no_split_changes_the_verdict(
        text in chunked(),
        changes in prop::collection::vec(
            (any::<prop::sample::Index>(), prop_oneof![any::<u8>(), Just(b'\n'), Just(b'\r'), Just(b'f')]),
            0..4,
        ),
        cuts in cuts(),
    ) {
        let mut bytes = text;
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        prop_assert_eq!(in_pieces(&bytes, &cuts), whole(&bytes));
    }

    #[test]
    fn garbage_does_not_panic(bytes: Vec<u8>, cuts in cuts()) {
        prop_assert_eq!(in_pieces(&bytes, &cuts), whole(&bytes));
    }
}
