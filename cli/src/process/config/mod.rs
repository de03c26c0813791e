//! One configuration file for all services: a section for each, in it the switches of its command
//! by their long names.
//!
//! ```text
//! [dispatch]                        ropewalk dispatch
//! uplinks = ["wlan0@3", "usb0"]         wlan0@3 usb0
//! max-connections = 5000                --max-connections=5000
//! allow-private = true                  --allow-private
//! verbose = 2                           --verbose --verbose
//! ```
//!
//! The file decides nothing: it is turned into arguments, which are then read like any others. So
//! each value is checked by its switch's own parser, and a new switch can stand in the file without
//! a word here. What the command line says of a switch wins over what the file says of it.

mod switches;
#[cfg(test)]
mod tests;

use super::files;
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Command, Parser};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use switches::{Switch, Text};
use toml::de::{DeTable, DeValue};

/// The id and the long name of the switch that names the file. A command that has it has a section.
const CONFIG: &str = "config";

/// A command line, completed by a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Arguments {
    /// With the program's name in front.
    pub(crate) argv: Vec<OsString>,
    /// What of it came from where, for the message about an error in it.
    pub(crate) origin: Option<String>,
}

/// What command line and file say.
pub(crate) struct Parsed<P> {
    /// One for each table in the file where the section has an array of tables, else one.
    pub(crate) commands: Vec<P>,
    /// What of it came from where.
    pub(crate) origin: Option<String>,
}

/// Reads the command line and the file that it names. Ends the process as [`Parser::parse`] does:
/// with the help, the version or an error.
///
/// `tables`: a command's name and the names of the arrays of tables that its section may have: one
/// at most.
pub(crate) fn parse<P: Parser>(tables: &[(&str, &[&str])]) -> Parsed<P> {
    let all = all_arguments::<P>(tables).unwrap_or_else(|error| {
        eprintln!("ropewalk: {error}");
        std::process::exit(2)
    });
    let origin = all.first().and_then(|first| first.origin.clone());
    let read = |one: Arguments| {
        P::try_parse_from(one.argv).unwrap_or_else(|error| {
            // Like `exit`, which would leave no room for a word on the file. A closed stream is the
            // caller's wish.
            let _ = error.print();
            if let (Some(origin), true) = (one.origin, error.use_stderr()) {
                eprintln!("note: {origin}");
            }
            std::process::exit(error.exit_code())
        })
    };
    Parsed { commands: all.into_iter().map(read).collect(), origin }
}

/// The same once more, for a service that runs: what the command line and its file say now.
///
/// # Errors
/// A sentence that says what was expected, what came and where.
pub(crate) fn reread<P: Parser>(tables: &[(&str, &[&str])]) -> Result<Vec<P>, String> {
    let read = |one: Arguments| {
        P::try_parse_from(one.argv).map_err(|error| {
            let said = switches::sentence(&error);
            one.origin.map_or(said.clone(), |origin| format!("{said} ({origin})"))
        })
    };
    all_arguments::<P>(tables)?.into_iter().map(read).collect()
}

/// Whether the command line may name a file: no other word stands for the switch.
pub(crate) fn is_named() -> bool {
    std::env::args_os().any(|word| word.as_encoded_bytes().starts_with(b"--config"))
}

fn all_arguments<P: Parser>(tables: &[(&str, &[&str])]) -> Result<Vec<Arguments>, String> {
    let argv: Vec<OsString> = std::env::args_os().collect();
    if !is_named() {
        return Ok(vec![Arguments { argv, origin: None }]);
    }
    let command = P::command();
    let Some((section, _)) = configured(&argv, &command) else {
        return Ok(vec![Arguments { argv, origin: None }]);
    };
    let own = tables.iter().find(|(command, _)| *command == section);
    let table = own.and_then(|(_, tables)| tables.first().copied());
    arguments(&argv, &command, &section, table)
}

/// The arguments of the command `section`: those of `argv`, completed by the file that `argv`
/// names.
///
/// With `table` the section may have an array of tables of that name, whose keys are the section's,
/// overlaid by the table's own: one command line for each. Without one there, or without a file, it
/// is one.
///
/// # Errors
/// A sentence that says what was expected, what came and where in the file.
pub(crate) fn arguments(
    argv: &[OsString],
    command: &Command,
    section: &str,
    table: Option<&str>,
) -> Result<Vec<Arguments>, String> {
    // A built command no longer hands the leniency down to the commands below the first.
    let given = configured(argv, command).filter(|(name, _)| name == section);
    let mut command = command.clone();
    command.build();
    let Some((_, matches)) = given else {
        return Ok(vec![Arguments { argv: argv.to_vec(), origin: None }]);
    };
    let path: &PathBuf = matches.get_one(CONFIG).expect("a command with a section has it, and it is given");
    let content = files::text(path).map_err(|error| format!("--config {}: {error}", path.display()))?;
    // Some editors put a byte order mark in front.
    let content = content.strip_prefix('\u{feff}').unwrap_or(&content);
    let text = Text { path, content };
    let document = DeTable::parse(content).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        text.error(at, "", error.message())
    })?;
    let own = own_section(document.get_ref(), &command, section, text)?;
    let below = |above: &'_ Command, name: &str| above.find_subcommand(name).cloned();
    let sub = section.split('.').try_fold(command.clone(), |above, name| below(&above, name));
    let sub = &sub.expect("it has matched");

    let mut all = Vec::new();
    for settings in tables(own, section, table, text)? {
        let mut switches = Vec::new();
        for (place, key, value) in settings {
            let switch = switches::read(&command, section, sub, &place, key, value, text)?;
            if !overruled(&switch, &matches, sub) {
                switches.push(switch);
            }
        }
        all.push(joined(argv, &switches, section, path));
    }
    Ok(all)
}

/// The section of the command that is called, if `argv` names a file too. Other errors in `argv`
/// are reported by the real parse.
fn configured(argv: &[OsString], command: &Command) -> Option<(String, ArgMatches)> {
    let lenient = command.clone().ignore_errors(true);
    let mut matches = lenient.try_get_matches_from(argv).ok()?;
    let mut section = String::new();
    while let Some((name, below)) = matches.remove_subcommand() {
        if !section.is_empty() {
            section.push('.');
        }
        section.push_str(&name);
        matches = below;
    }
    let named = matches.try_get_one::<PathBuf>(CONFIG).ok().flatten().is_some();
    (named && !section.is_empty()).then_some((section, matches))
}

/// The sections of a command and of those below it: `bond.serve`.
fn sections(command: &Command, above: &str, all: &mut Vec<String>) {
    for sub in command.get_subcommands() {
        let name = format!("{above}{}", sub.get_name());
        if sub.get_arguments().any(|arg| arg.get_id() == CONFIG) {
            all.push(name.clone());
        }
        sections(sub, &format!("{name}."), all);
    }
}

/// The table of `section`. The others must be tables of services that there are.
fn own_section<'a, 'i>(
    document: &'a DeTable<'i>,
    command: &Command,
    section: &str,
    text: Text<'_>,
) -> Result<Option<&'a DeTable<'i>>, String> {
    let mut known = Vec::new();
    sections(command, "", &mut known);
    let mut own = None;
    find_section(document, "", &known, section, text, &mut own)?;
    Ok(own)
}

fn find_section<'a, 'i>(
    document: &'a DeTable<'i>,
    above: &str,
    known: &[String],
    section: &str,
    text: Text<'_>,
    own: &mut Option<&'a DeTable<'i>>,
) -> Result<(), String> {
    for (name, value) in document {
        let (at, path) = (name.span().start, format!("{above}{}", name.get_ref()));
        let expected = || format!("expected a section such as [{}]", known.join("] or ["));
        let below = format!("{path}.");
        match value.get_ref() {
            DeValue::Table(table) if known.contains(&path) => {
                if path == section {
                    *own = Some(table);
                }
            }
            DeValue::Table(table) if known.iter().any(|known| known.starts_with(&below)) => {
                find_section(table, &below, known, section, text, own)?;
            }
            DeValue::Table(_) => {
                return Err(text.error(at, "", &format!("{}, got [{path}]", expected())));
            }
            other => {
                let what = format!("{}, got '{path}', which is {}", expected(), a(other));
                return Err(text.error(at, "", &what));
            }
        }
    }
    Ok(())
}

/// A kind of value, with its article.
fn a(value: &DeValue<'_>) -> String {
    let kind = value.type_str();
    let article = if kind.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {kind}")
}

type Key<'a, 'i> = &'a toml::Spanned<toml::de::DeString<'i>>;
type Value<'a, 'i> = &'a toml::Spanned<DeValue<'i>>;
/// Where it stands, for people; key; value.
type Setting<'a, 'i> = (String, Key<'a, 'i>, Value<'a, 'i>);

/// The settings of the section, or those of each of its tables over them.
fn tables<'a, 'i>(
    own: Option<&'a DeTable<'i>>,
    section: &str,
    table: Option<&str>,
    text: Text<'_>,
) -> Result<Vec<Vec<Setting<'a, 'i>>>, String> {
    let Some(own) = own else { return Ok(vec![Vec::new()]) };
    let is_table = |key: &str| Some(key) == table;
    let common: Vec<Setting<'a, 'i>> = own
        .iter()
        .filter(|(key, _)| !is_table(key.get_ref()))
        .map(|(key, value)| (format!("[{section}]"), key, value))
        .collect();
    let Some((key, value)) = own.iter().find(|(key, _)| is_table(key.get_ref())) else {
        return Ok(vec![common]);
    };
    let place = format!("[[{section}.{}]]", key.get_ref());
    let wrong = |what: &DeValue<'_>| {
        text.error(value.span().start, "", &format!("expected tables {place}, got {}", a(what)))
    };
    let entries = value.get_ref().as_array().ok_or_else(|| wrong(value.get_ref()))?;
    let mut all = Vec::new();
    for entry in entries.iter() {
        let entry = entry.get_ref().as_table().ok_or_else(|| wrong(entry.get_ref()))?;
        let own = |key: &str| entry.keys().any(|own| own.get_ref() == key);
        let mut settings: Vec<Setting<'a, 'i>> =
            common.iter().filter(|(_, key, _)| !own(key.get_ref())).cloned().collect();
        settings.extend(entry.iter().map(|(key, value)| (place.clone(), key, value)));
        all.push(settings);
    }
    Ok(if all.is_empty() { vec![common] } else { all })
}

/// Whether the command line has the word instead of the file.
fn overruled(switch: &Switch<'_>, matches: &ArgMatches, sub: &Command) -> bool {
    let given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    if given(switch.arg.get_id().as_str()) {
        return true;
    }
    // --verbose and --quiet are two names of one setting. Other switches that exclude each other
    // are an error: a password file must not fall away unseen.
    let counts = |arg: &clap::Arg| matches!(arg.get_action(), ArgAction::Count);
    let excludes = |one: &clap::Arg, other: &clap::Arg| {
        sub.get_arg_conflicts_with(one).iter().any(|arg| arg.get_id() == other.get_id())
    };
    counts(switch.arg)
        && sub.get_arguments().any(|other| {
            let opposed = excludes(other, switch.arg) || excludes(switch.arg, other);
            counts(other) && opposed && given(other.get_id().as_str())
        })
}

/// `argv` with the switches of the file: options right behind the command, whose own words may
/// follow; positional values last and after a `--`, as they may begin with a hyphen.
fn joined(argv: &[OsString], switches: &[Switch<'_>], section: &str, path: &Path) -> Arguments {
    let called = section.split('.').fold(1, |from, name| {
        argv.iter().skip(from).position(|arg| arg == name).map_or(argv.len(), |at| from + at + 1)
    });
    let (before, after) = argv.split_at(called);
    let (positional, options): (Vec<_>, Vec<_>) = switches.iter().partition(|switch| switch.is_positional());
    let mut all = before.to_vec();
    all.extend(options.iter().flat_map(|switch| &switch.words).map(OsString::from));
    all.extend_from_slice(after);
    if positional.iter().any(|switch| !switch.words.is_empty()) && !after.iter().any(|arg| arg == "--") {
        all.push("--".into());
    }
    all.extend(positional.iter().flat_map(|switch| &switch.words).map(OsString::from));

    let mut origin = String::new();
    for switch in switches {
        let comma = if origin.is_empty() { "" } else { ", " };
        let _ = write!(origin, "{comma}{}", switch.key);
    }
    let origin = (!origin.is_empty()).then(|| format!("[{section}] of {} sets {origin}", path.display()));
    Arguments { argv: all, origin }
}
