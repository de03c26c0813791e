//! A table of the file, read key by key: an unknown key is an error, and each error names its
//! place.

use super::ScenarioError;
use super::units;
use std::cell::RefCell;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Values of the command line (`--set link.a.rate="20 Mbit/s"`): each overrides the file.
#[derive(Default, Debug)]
pub struct Overrides {
    /// Key, value as it was written, a document with that value.
    items: Vec<(String, String, String)>,
    used: RefCell<Vec<bool>>,
}

impl Overrides {
    /// Reads `KEY=VALUE` texts.
    ///
    /// # Errors
    /// A text without `=`.
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, ScenarioError> {
        let mut items = Vec::new();
        for text in texts {
            let Some((key, value)) = text.split_once('=') else {
                let message = format!("expected KEY=VALUE such as duration=\"5 s\", got '{text}'");
                return Err(ScenarioError { file: "--set".into(), line: 0, key: String::new(), message });
            };
            // A word or a number with its unit needs no quotes on the command line.
            let plain = format!("v = {value}");
            let document = if DeTable::parse(&plain).is_ok() {
                plain
            } else {
                format!("v = \"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
            };
            items.push((key.trim().to_owned(), value.to_owned(), document));
        }
        let used = RefCell::new(vec![false; items.len()]);
        Ok(Overrides { items, used })
    }

    fn find(&self, key: &str) -> Option<&str> {
        let at = self.items.iter().rposition(|(name, _, _)| name == key)?;
        for (other, (name, _, _)) in self.items.iter().enumerate() {
            self.used.borrow_mut()[other] |= name == key;
        }
        Some(&self.items[at].2)
    }

    /// Whether there is one for `key`.
    fn has(&self, key: &str) -> bool {
        self.items.iter().any(|(name, _, _)| name == key)
    }

    /// # Errors
    /// One that no table of the scenario has asked for.
    pub(super) fn finish(&self) -> Result<(), ScenarioError> {
        let used = self.used.borrow();
        let Some(at) = used.iter().position(|used| !used) else { return Ok(()) };
        let (key, value, _) = &self.items[at];
        let message = format!(
            "expected a key of this scenario such as duration, link.NAME.rate or bond.mode, got {key}={value}"
        );
        Err(ScenarioError { file: "--set".into(), line: 0, key: key.clone(), message })
    }
}

/// The file.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    pub(super) file: &'a str,
    pub(super) content: &'a str,
    pub(super) overrides: &'a Overrides,
}

impl Text<'_> {
    pub(super) fn error(self, at: usize, key: &str, message: impl Into<String>) -> ScenarioError {
        let line =
            self.content.as_bytes()[..at.min(self.content.len())].iter().filter(|b| **b == b'\n').count() + 1;
        ScenarioError { file: self.file.to_owned(), line, key: key.to_owned(), message: message.into() }
    }
}

/// One table, and what has been asked of it.
pub(super) struct Section<'a, 'i> {
    pub(super) text: Text<'a>,
    table: &'a DeTable<'i>,
    /// Where it begins, for what is missing.
    at: usize,
    path: String,
    asked: Vec<&'static str>,
}

/// How a value reads in an error.
fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("\"{text}\""),
        DeValue::Integer(number) => number.as_str().to_owned(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

impl<'a, 'i> Section<'a, 'i> {
    pub(super) fn new(text: Text<'a>, table: &'a DeTable<'i>, at: usize, path: String) -> Self {
        Section { text, table, at, path, asked: Vec::new() }
    }

    pub(super) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub(super) fn set_path(&mut self, path: String) {
        self.path = path;
    }

    /// An error of `key`, at its value: in the file or on the command line.
    pub(super) fn error(&self, key: &str, message: impl Into<String>) -> ScenarioError {
        let path = self.path_of(key);
        if self.text.overrides.has(&path) {
            return ScenarioError { file: "--set".into(), line: 0, key: path, message: message.into() };
        }
        let at = self.table.get(key).map_or(self.at, |value| value.span().start);
        self.text.error(at, &path, message)
    }

    /// Whether the command line sets `key` in place of the file.
    pub(super) fn is_set(&self, key: &str) -> bool {
        self.text.overrides.has(&self.path_of(key))
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The value of `key` as `read` takes it.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl Fn(&DeValue<'_>) -> Option<T>,
    ) -> Result<Option<T>, ScenarioError> {
        self.asked.push(key);
        let path = self.path_of(key);
        if let Some(document) = self.text.overrides.find(&path) {
            let table = DeTable::parse(document).expect("it parsed before");
            let value = table.get_ref().get("v").expect("we wrote it").get_ref();
            let wrong = || ScenarioError {
                file: "--set".into(),
                line: 0,
                key: path.clone(),
                message: format!("expected {expected}, got {}", shown(value)),
            };
            return read(value).ok_or_else(wrong).map(Some);
        }
        let Some(value) = self.table.get(key) else { return Ok(None) };
        match read(value.get_ref()) {
            Some(value) => Ok(Some(value)),
            None => Err(self.error(key, format!("expected {expected}, got {}", shown(value.get_ref())))),
        }
    }

    pub(super) fn text(&mut self, key: &'static str) -> Result<Option<String>, ScenarioError> {
        self.optional(key, "a text in quotes", |value| value.as_str().map(str::to_owned))
    }

    pub(super) fn boolean(&mut self, key: &'static str) -> Result<Option<bool>, ScenarioError> {
        self.optional(key, "true or false", |value| value.as_bool())
    }

    pub(super) fn number(
        &mut self,
        key: &'static str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<Option<u64>, ScenarioError> {
        let expected = match (*range.start(), *range.end()) {
            (start, u64::MAX) => format!("a whole number from {start}"),
            (start, end) => format!("a whole number from {start} to {end}"),
        };
        self.optional(key, &expected, |value| {
            let number = value.as_integer()?;
            let number = u64::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok()?;
            range.contains(&number).then_some(number)
        })
    }

    pub(super) fn rate(&mut self, key: &'static str) -> Result<Option<u64>, ScenarioError> {
        self.optional(key, units::RATE, |value| value.as_str().and_then(units::rate))
    }

    pub(super) fn time(&mut self, key: &'static str) -> Result<Option<Duration>, ScenarioError> {
        self.optional(key, units::TIME, |value| value.as_str().and_then(units::time))
    }

    pub(super) fn bytes(&mut self, key: &'static str) -> Result<Option<u64>, ScenarioError> {
        self.optional(key, units::BYTES, |value| value.as_str().and_then(units::bytes))
    }

    pub(super) fn share(&mut self, key: &'static str) -> Result<Option<units::Share>, ScenarioError> {
        self.optional(key, units::SHARE, |value| value.as_str().and_then(units::share))
    }

    /// One of `words`, each with what it stands for.
    pub(super) fn word<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&str, T)],
    ) -> Result<Option<T>, ScenarioError> {
        let names: Vec<String> = words.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let expected = format!("one of {}", names.join(", "));
        self.optional(key, &expected, |value| {
            let text = value.as_str()?;
            words.iter().find(|(name, _)| *name == text).map(|(_, word)| *word)
        })
    }

    /// Texts, one or a list.
    pub(super) fn texts(&mut self, key: &'static str) -> Result<Option<Vec<String>>, ScenarioError> {
        self.optional(key, "a text or a list of texts", |value| match value {
            DeValue::String(text) => Some(vec![text.to_string()]),
            DeValue::Array(items) => {
                items.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect()
            }
            _ => None,
        })
    }

    /// A time of the run, which must be before its end where that is given.
    pub(super) fn before(
        &mut self,
        key: &'static str,
        end: Option<Duration>,
    ) -> Result<Option<Duration>, ScenarioError> {
        let time = self.time(key)?;
        match time.zip(end).filter(|(time, end)| time >= end) {
            None => Ok(time),
            Some((time, end)) => Err(self.error(
                key,
                format!("expected a time before the end of the run (duration, {end:?}), got {time:?}"),
            )),
        }
    }

    /// The table under `key`.
    pub(super) fn table(&mut self, key: &'static str) -> Result<Option<Section<'a, 'i>>, ScenarioError> {
        self.asked.push(key);
        let Some(value) = self.table.get(key) else { return Ok(None) };
        match value.get_ref() {
            DeValue::Table(table) => {
                Ok(Some(Section::new(self.text, table, value.span().start, self.path_of(key))))
            }
            other => Err(self.error(key, format!("expected a table, got {}", shown(other)))),
        }
    }

    /// The tables `[[key]]`.
    pub(super) fn tables(&mut self, key: &'static str) -> Result<Vec<Section<'a, 'i>>, ScenarioError> {
        self.asked.push(key);
        let Some(value) = self.table.get(key) else { return Ok(Vec::new()) };
        let wrong = |at: &Spanned<DeValue<'_>>| {
            let message = format!("expected tables written as [[{key}]], got {}", shown(at.get_ref()));
            self.text.error(at.span().start, &self.path_of(key), message)
        };
        let DeValue::Array(items) = value.get_ref() else { return Err(wrong(value)) };
        let mut all = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let DeValue::Table(table) = item.get_ref() else { return Err(wrong(item)) };
            all.push(Section::new(self.text, table, item.span().start, format!("{key}.{}", index + 1)));
        }
        Ok(all)
    }

    /// # Errors
    /// A key that was not asked for.
    pub(super) fn finish(self) -> Result<(), ScenarioError> {
        self.known(&[])
    }

    /// Before something is called missing: it may be there under another name. `more` are keys that
    /// are asked for later.
    ///
    /// # Errors
    /// A key that is neither asked for nor one of `more`.
    pub(super) fn known(&self, more: &[&str]) -> Result<(), ScenarioError> {
        for key in self.table.keys() {
            if !self.asked.iter().chain(more).any(|asked| asked == key.get_ref()) {
                let all: Vec<&str> = self.asked.iter().chain(more).copied().collect();
                let known = all.join(", ");
                let message = format!("expected one of the keys {known}, got {}", key.get_ref());
                return Err(self.text.error(key.span().start, &self.path_of(key.get_ref()), message));
            }
        }
        Ok(())
    }
}
