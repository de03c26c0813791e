//! Command lines of the programs that ropewalk replaces: answered with today's switch.
//!
//! They write long names with one dash (`-lport 1080`), which would be read as short ones here: `-l
//! port`.

use std::ffi::OsString;

/// Their switch, the program it belongs to, and ours.
const SWITCHES: [(&str, &str, &str); 14] = [
    ("lhost", "go-dispatch-proxy", "--listen ADDRESS:PORT"),
    ("lport", "go-dispatch-proxy", "--listen ADDRESS:PORT"),
    ("tunnel", "go-dispatch-proxy", "--tunnel"),
    ("quiet", "go-dispatch-proxy", "--quiet"),
    ("list", "go-dispatch-proxy", "the command `ropewalk list`"),
    ("allowed-subnets", "go-mmproxy", "--allowed-subnets FILE"),
    ("listeners", "go-mmproxy", "--workers N"),
    ("mark", "go-mmproxy", "--mark NUMBER"),
    ("close-after", "go-mmproxy", "--close-after SECONDS"),
    ("allowed-networks", "mmproxy", "--allowed-subnets FILE"),
    ("ip", "dispatch-proxy", "--listen ADDRESS:PORT"),
    ("host", "dispatch-proxy", "--listen ADDRESS:PORT"),
    ("port", "dispatch-proxy", "--listen ADDRESS:PORT"),
    ("version", "programs with one dash", "--version"),
];
/// Those that no command of ours has with two dashes.
const NOT_OURS: [&str; 7] = ["lhost", "lport", "listeners", "allowed-networks", "ip", "host", "port"];
/// What no switch stands in front of is a command here.
const NO_COMMAND: [&str; 3] = ["list", "tunnel", "quiet"];

/// What to say to the first word that is one of theirs.
pub(crate) fn answer(arguments: impl Iterator<Item = OsString>) -> Option<String> {
    let mut words = arguments.skip(1).take_while(|word| word != "--").enumerate().peekable();
    while let Some((place, word)) = words.next() {
        let Some(word) = word.to_str() else { continue };
        let next = words.peek().and_then(|(_, next)| next.to_str());
        if let Some(told) = switch(place, word).or_else(|| level(word, next)) {
            return Some(told);
        }
    }
    None
}

fn switch(place: usize, word: &str) -> Option<String> {
    let given = word.split('=').next()?;
    let name = given.strip_prefix('-')?;
    let doubled = name.strip_prefix('-');
    // With two dashes only what is no switch of ours.
    let is_theirs = |name: &&str| NOT_OURS.contains(name) || (place == 0 && NO_COMMAND.contains(name));
    let theirs = doubled.filter(is_theirs).unwrap_or(name);
    let (_, whose, ours) = SWITCHES.into_iter().find(|(switch, ..)| *switch == theirs)?;
    Some(format!("{given} is a switch of {whose}; expected {ours}"))
}

/// go-mmproxy has a number behind `-v`.
fn level(word: &str, next: Option<&str>) -> Option<String> {
    let level = match word.split_once('=') {
        Some(("-v", level)) => level,
        None if word == "-v" => next?,
        _ => return None,
    };
    let ours = match level {
        "0" => "no -v",
        "1" => "-v",
        "2" => "-vv",
        _ => return None,
    };
    Some(format!("-v {level} is a switch of go-mmproxy; expected {ours}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> Option<String> {
        answer(format!("ropewalk {line}").split_whitespace().map(OsString::from))
    }

    #[test]
    fn old_command_lines_are_answered_with_todays_switch() {
        for (line, given, ours) in [
            ("-lport 1080 10.0.0.1@3", "-lport", "--listen"),
            ("dispatch -lport=1080", "-lport", "--listen"),
            ("dispatch --lhost 127.0.0.1", "--lhost", "--listen"),
            ("dispatch -tunnel 127.0.0.1:1", "-tunnel", "--tunnel"),
            ("-quiet", "-quiet", "--quiet"),
            ("-list", "-list", "ropewalk list"),
            ("unwrap -l 0.0.0.0:1 -allowed-subnets f", "-allowed-subnets", "--allowed-subnets"),
            ("unwrap -listeners 4", "-listeners", "--workers"),
            ("unwrap -mark 1", "-mark", "--mark"),
            ("unwrap -close-after 5", "-close-after", "--close-after"),
            ("unwrap -l 0.0.0.0:1 -v 2 -4 127.0.0.1:1", "-v 2", "-vv"),
            ("-v=1", "-v 1", "expected -v"),
            ("unwrap -v 0", "-v 0", "no -v"),
            ("--tunnel 127.0.0.1:1", "--tunnel", "--tunnel"),
            ("--list", "--list", "ropewalk list"),
            ("unwrap --allowed-networks f", "--allowed-networks", "--allowed-subnets"),
            ("dispatch --ip 127.0.0.1 --port 1080", "--ip", "--listen"),
            ("dispatch start --host=0.0.0.0", "--host", "--listen"),
            ("-version", "-version", "--version"),
        ] {
            let said = said(line).unwrap_or_default();
            assert!(said.starts_with(&format!("{given} is ")) && said.contains(ours), "{line}: {said}");
        }
    }

    #[test]
    fn todays_command_lines_are_not_looked_at() {
        for line in [
            "dispatch --tunnel 127.0.0.1:1 --quiet",
            "dispatch -qq -vv -l 127.0.0.1:1 -- -lport",
            "unwrap -l 0.0.0.0:1 -4 127.0.0.1:1 --mark 1 --close-after=5 --allowed-subnets f",
            "list --json",
            "sim --list",
            "dispatch -v 2a wlan0",
            "dispatch -v wlan0@2",
            "--version",
            "--help",
            "dispatch list",
            "sim --list",
        ] {
            assert_eq!(said(line), None, "{line}");
        }
    }
}
