//! A key of a section as the switch it stands for.

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command};
use std::path::Path;
use toml::Spanned;
use toml::de::{DeInteger, DeString, DeValue};

/// The file as it was read.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    pub(super) path: &'a Path,
    pub(super) content: &'a str,
}

impl Text<'_> {
    /// A sentence about what stands at this byte.
    pub(super) fn error(&self, at: usize, place: &str, what: &str) -> String {
        let before = self.content.as_bytes().get(..at).unwrap_or_default();
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let space = if place.is_empty() { "" } else { ": " };
        format!("{}, line {line}: {place}{space}{what}", self.path.display())
    }
}

/// A setting as words of a command line.
pub(super) struct Switch<'a> {
    pub(super) arg: &'a Arg,
    pub(super) key: String,
    pub(super) words: Vec<String>,
}

impl Switch<'_> {
    pub(super) fn is_positional(&self) -> bool {
        self.arg.is_positional()
    }
}

/// What the argument is called in the file; the file cannot name a file, nor ask for help.
pub(super) fn key_of(arg: &Arg) -> Option<String> {
    let key = match arg.get_long() {
        Some(long) => long.to_owned(),
        None if arg.is_positional() => arg.get_id().as_str().replace('_', "-"),
        None => return None,
    };
    let shows = matches!(
        arg.get_action(),
        ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
    );
    (key != super::CONFIG && !shows).then_some(key)
}

/// Reads one key, and lets its switch's own parser look at the value.
///
/// # Errors
/// What was expected, what came and where.
pub(super) fn read<'a>(
    command: &Command,
    section: &str,
    sub: &'a Command,
    place: &str,
    key: &Spanned<DeString<'_>>,
    value: &Spanned<DeValue<'_>>,
    text: Text<'_>,
) -> Result<Switch<'a>, String> {
    let name = key.get_ref().as_ref();
    let Some(arg) = sub.get_arguments().find(|arg| key_of(arg).as_deref() == Some(name)) else {
        let known: Vec<String> = sub.get_arguments().filter_map(key_of).collect();
        let what = format!("expected one of {}, got '{name}'", known.join(", "));
        return Err(text.error(key.span().start, place, &what));
    };
    let place = format!("{place} {name}");
    let words = words(arg, name, value.get_ref())
        .map_err(|(expected, got)| format!("expected {expected}, got {got}"))
        .map_err(|what| text.error(value.span().start, &place, &what))?;
    let switch = Switch { arg, key: name.to_owned(), words };
    check(command, section, &switch).map_err(|what| text.error(value.span().start, &place, &what))?;
    Ok(switch)
}

/// What was expected, and what came.
type Mismatch = (&'static str, String);

fn words(arg: &Arg, name: &str, value: &DeValue<'_>) -> Result<Vec<String>, Mismatch> {
    let option = |value: String| match arg.is_positional() {
        true => value,
        false => format!("--{name}={value}"),
    };
    match (arg.get_action(), value) {
        (ArgAction::SetTrue, DeValue::Boolean(true)) => Ok(vec![format!("--{name}")]),
        (ArgAction::SetTrue, DeValue::Boolean(false)) => Ok(Vec::new()),
        (ArgAction::SetTrue, other) => Err(("true or false", shown(other))),
        (ArgAction::Count, DeValue::Integer(number)) => match decimal(number).parse::<u8>() {
            Ok(times) => Ok(vec![format!("--{name}"); usize::from(times)]),
            Err(_) => Err(("a number from 0 to 255", shown(value))),
        },
        (ArgAction::Count, other) => Err(("a number from 0 to 255", shown(other))),
        (ArgAction::Append, DeValue::Array(items)) => {
            let scalars = items.iter().map(|item| scalar(item.get_ref()).map(option));
            scalars.collect::<Result<_, _>>().map_err(|got| ("strings or numbers in an array", got))
        }
        (ArgAction::Append, one) => scalar(one)
            .map(|value| vec![option(value)])
            .map_err(|got| ("a string, a number or an array", got)),
        (_, one) => scalar(one).map(|value| vec![option(value)]).map_err(|got| ("a string or a number", got)),
    }
}

/// As it would be written on a command line; else what it is.
fn scalar(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) => Ok(decimal(number)),
        DeValue::Float(number) => Ok(number.as_str().to_owned()),
        DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            Err(shown(value))
        }
    }
}

/// TOML writes numbers in four bases, a command line in one.
fn decimal(number: &DeInteger<'_>) -> String {
    let value = i128::from_str_radix(number.as_str(), number.radix());
    value.map_or_else(|_| number.to_string(), |value| value.to_string())
}

fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the string {text:?}"),
        DeValue::Integer(number) => format!("the number {}", decimal(number)),
        DeValue::Float(number) => format!("the number {}", number.as_str()),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => super::a(value),
    }
}

/// Reads the switch alone. How it goes together with the others shows when all are read.
fn check(command: &Command, section: &str, switch: &Switch<'_>) -> Result<(), String> {
    let mut argv = vec![command.get_name()];
    argv.extend(section.split('.'));
    if switch.is_positional() {
        argv.push("--");
    }
    argv.extend(switch.words.iter().map(String::as_str));
    let Err(error) = command.clone().try_get_matches_from(argv) else { return Ok(()) };
    if error.kind() == ErrorKind::MissingRequiredArgument {
        return Ok(());
    }
    Err(sentence(&error))
}

/// What an error says, without the hints behind it.
pub(super) fn sentence(error: &clap::Error) -> String {
    let said = error.to_string();
    let said = said.strip_prefix("error: ").unwrap_or(&said);
    let first = said.split("\n\n").next().unwrap_or(said);
    first.split_whitespace().collect::<Vec<_>>().join(" ")
}
