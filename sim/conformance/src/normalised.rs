//! A run's lines without what differs from run to run.

use std::collections::BTreeMap;
use std::fmt::Write;

/// Lines without what differs between two runs of one script: ids and ports are numbered in the
/// order in which they come up, durations are left out.
///
/// ```
/// use ropewalk_conformance::normalised;
/// let lines = ["< Accepted { stream: s7.3, peer: 127.0.0.1:40112 }", "> Close { stream: s7.3 }", "took: 1.5ms }"];
/// let expected = ["< Accepted { stream: s#0, peer: 127.0.0.1:#0 }", "> Close { stream: s#0 }", "took: _ }"];
/// assert_eq!(normalised(lines), expected);
/// ```
pub fn normalised<T: AsRef<str>>(lines: impl IntoIterator<Item = T>) -> Vec<String> {
    let mut names = BTreeMap::new();
    let mut counts: BTreeMap<char, usize> = BTreeMap::new();
    let mut number = |word: &str, letter: char| {
        let fresh = counts.entry(letter).or_default();
        *names.entry(word.to_owned()).or_insert_with(|| {
            *fresh += 1;
            *fresh - 1
        })
    };
    let mut out = Vec::new();
    for line in lines {
        let mut text = String::new();
        let mut timed = false;
        for word in line.as_ref().split_inclusive([' ', '(', ')']) {
            let (core, tail) = word.split_at(word.trim_end_matches([',', ' ', ')', '(']).len());
            if timed {
                text.push('_');
            } else if let Some(letter) = id(core) {
                write!(text, "{letter}#{}", number(core, letter)).expect("a String takes all");
            } else if let Some((host, port)) = core.rsplit_once(':').filter(|(_, port)| is_number(port)) {
                write!(text, "{host}:#{}", number(port, ':')).expect("a String takes all");
            } else {
                text.push_str(core);
            }
            timed = core == "took:" || core == "lasted:" || core == "patience:";
            text.push_str(tail);
        }
        out.push(text);
    }
    out
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The letter of an id such as `s3.1`.
fn id(word: &str) -> Option<char> {
    let letter = word.chars().next().filter(|letter| ['s', 'c', 'q'].contains(letter))?;
    let (index, generation) = word[1..].split_once('.')?;
    (is_number(index) && is_number(generation)).then_some(letter)
}
