//! Has a head come to its end? Bytes that come in pieces are looked at once, so that a head that
//! dribbles costs no more than one that comes whole.

/// How far a head was looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HeadEnd {
    looked: usize,
}

/// Heads shorter than this are parsed with each piece, so that an error is reported at once.
const SHORT: usize = 1024;

impl HeadEnd {
    /// Whether it is worth while to parse `bytes`, all that has come so far: they are few or were
    /// few when last looked at, or have an empty line that they had not before, or are as many as a
    /// head may have.
    pub(crate) fn is_worth_parsing(&mut self, bytes: &[u8], limit: usize) -> bool {
        // An empty line may be cut in two.
        let new = bytes.get(self.looked.saturating_sub(3)..).unwrap_or_default();
        let ends = |line: &[u8]| new.windows(line.len()).any(|part| part == line);
        let ended = ends(b"\n\n") || ends(b"\n\r\n") || ends(b"\n\r\r\n");
        // A large piece of what is no head is refused at once, as a small one is.
        let were_few = self.looked < SHORT;
        self.looked = bytes.len();
        ended || were_few || bytes.len() <= SHORT || bytes.len() >= limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn a_long_head_is_parsed_when_it_may_have_ended_and_not_before() {
        for end in [&b"\r\n\r\n"[..], b"\n\n", b"\r\n\n", b"\r\n\r\r\n"] {
            let head = [&vec![b'a'; 3000][..], end].concat();
            for step in [1, 2, 3, 7, 5000] {
                let mut looked = HeadEnd::default();
                let mut told = vec![];
                for to in (0..head.len()).step_by(step).skip(1).chain([head.len()]) {
                    let were_few = looked.looked < SHORT;
                    if looked.is_worth_parsing(&head[..to], 1 << 20) && !were_few && to > SHORT {
                        told.push(to);
                    }
                }
                let at_once = step > head.len();
                assert_eq!(told, if at_once { vec![] } else { vec![head.len()] }, "{step}");
            }
        }
    }

    #[test]
    fn a_head_without_an_end_is_parsed_at_its_limit() {
        let mut end = HeadEnd { looked: SHORT };
        assert!(!end.is_worth_parsing(&[b'a'; 4999], 5000));
        assert!(end.is_worth_parsing(&[b'a'; 5000], 5000));
    }

    #[test]
    fn a_large_first_piece_is_parsed_once() {
        let mut end = HeadEnd::default();
        assert!(end.is_worth_parsing(&[b'a'; 3000], 5000));
        assert!(!end.is_worth_parsing(&[b'a'; 3001], 5000));
    }
}
