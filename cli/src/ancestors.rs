//! Command lines of the programs that ropewalk replaces: answered with today's switch.
//!
//! They write long names with one dash (`-lport 1080`), which would be read as short ones here: `-l
//! port`.

use std::ffi::OsString;

/// Their switch, the program it belongs to, and ours.
const SWITCHES: [(&str, &str, &str); 9] = [
    ("lhost", "go-dispatch-proxy", "--listen ADDRESS:PORT"),
    ("lport", "go-dispatch-proxy", "--listen ADDRESS:PORT"),
    ("tunnel", "go-dispatch-proxy", "--tunnel"),
    ("quiet", "go-dispatch-proxy", "--quiet"),
    ("list", "go-dispatch-proxy", "the command `ropewalk list`"),
    ("allowed-subnets", "go-mmproxy", "--allowed-subnets FILE"),
    ("listeners", "go-mmproxy", "--workers N"),
    ("mark", "go-mmproxy", "--mark NUMBER"),
    ("close-after", "go-mmproxy", "--close-after SECONDS"),
];

/// What to say to the first word that is one of theirs.
pub(crate) fn answer(arguments: impl Iterator<Item = OsString>) -> Option<String> {
    arguments.skip(1).take_while(|word| word != "--").find_map(|word| {
        let word = word.to_str()?;
        let name = word.strip_prefix('-')?.split('=').next()?;
        let doubled = name.strip_prefix('-');
        // With two dashes only what is no switch of ours.
        let theirs = doubled.filter(|name| ["lhost", "lport", "listeners"].contains(name)).unwrap_or(name);
        let (_, whose, ours) = SWITCHES.into_iter().find(|(switch, ..)| *switch == theirs)?;
        let given = word.split('=').next()?;
        Some(format!("{given} is a switch of {whose}; expected {ours}"))
    })
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
            "dispatch list",
            "sim --list",
        ] {
            assert_eq!(said(line), None, "{line}");
        }
    }
}
