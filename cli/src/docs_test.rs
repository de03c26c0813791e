//! README, manuals (`cli/docs`), `--help` and man pages agree, or a test says where not.

use crate::Cli;
use clap::{Command, CommandFactory};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn commands() -> Vec<Command> {
    let mut command = Cli::command();
    command.build();
    let mut all = Vec::new();
    collect(command, "ropewalk".into(), &mut all);
    all
}

/// The command and, after it, those below it: `ropewalk-unwrap-setup`.
fn collect(command: Command, name: String, all: &mut Vec<Command>) {
    let below: Vec<Command> =
        command.get_subcommands().filter(|sub| sub.get_name() != "help").cloned().collect();
    all.push(command.display_name(name.clone()));
    for sub in below {
        let name = format!("{name}-{}", sub.get_name());
        collect(sub, name, all);
    }
}

/// `ROPEWALK_BLESS=1 cargo test -p ropewalk man_pages` writes them anew. They describe the default
/// build.
#[cfg(not(feature = "async-std"))]
#[test]
fn the_man_pages_are_what_the_arguments_say() {
    let bless = std::env::var_os("ROPEWALK_BLESS").is_some();
    for command in commands() {
        let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
        let path = root().join("cli/packaging/man").join(format!("{name}.1"));
        let mut page = Vec::new();
        // Without a date and the version's page the text changes only with the arguments.
        let man = clap_mangen::Man::new(command.version(""))
            .title(name.to_uppercase())
            .manual("ropewalk")
            .source("ropewalk");
        man.render(&mut page).expect("a vector takes all");
        if bless {
            std::fs::write(&path, &page).expect("the folder is in the repository");
        }
        let kept = std::fs::read(&path).unwrap_or_default();
        assert!(
            kept == page,
            "{} is stale: ROPEWALK_BLESS=1 cargo test -p ropewalk man_pages",
            path.display()
        );
    }
}

/// The page that explains a command: that of its service.
fn manual_of(command: &str) -> String {
    let mut words = command.split('-').skip(1);
    let service = match words.next() {
        Some("list" | "top") => Some("dispatch"),
        Some("doctor") => words.next(),
        Some("completions") => None,
        other => other,
    };
    // What is no service's is the README's.
    service.map_or("README.md".into(), |service| format!("cli/docs/{service}.md"))
}

/// Every page, with the commands that it explains.
fn manuals() -> BTreeMap<String, Vec<Command>> {
    let mut all: BTreeMap<String, Vec<Command>> = BTreeMap::new();
    for command in commands() {
        let name = command.get_display_name().unwrap_or(command.get_name());
        all.entry(manual_of(name)).or_default().push(command);
    }
    all
}

fn page(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Switches that come with every command, or that a build without features does not have.
const EVERYWHERE: [&str; 3] = ["help", "version", "runtime"];

#[test]
fn each_manual_names_every_switch_of_its_commands() {
    for (path, commands) in manuals() {
        let text = page(&path);
        for argument in commands.iter().flat_map(Command::get_arguments) {
            let Some(long) = argument.get_long() else { continue };
            let named = text.contains(&format!("`--{long}")) || EVERYWHERE.contains(&long);
            assert!(named, "{path} does not name --{long}");
        }
    }
}

#[test]
fn a_row_of_a_manual_has_the_value_and_the_default_that_help_tells() {
    let mut rows = 0;
    for (path, commands) in manuals() {
        let text = page(&path);
        for line in text.lines().filter(|line| line.starts_with("| `-")) {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            // Other tables compare with other programs.
            let [_, switch, default, _, _] = cells[..] else { continue };
            let Some((_, long)) = switch.rsplit_once("`--") else { continue };
            let (long, value) =
                long.trim_end_matches('`').split_once(' ').unwrap_or((long.trim_end_matches('`'), ""));
            let arguments = commands.iter().flat_map(Command::get_arguments);
            let same: Vec<_> = arguments.filter(|argument| argument.get_long() == Some(long)).collect();
            assert!(!same.is_empty(), "{path} explains --{long}, which its commands do not have");
            let takes = |argument: &&&clap::Arg| {
                let names = argument.get_value_names().filter(|_| argument.get_action().takes_values());
                names.map_or("", |names| names[0].as_str()) == value
            };
            assert!(same.iter().any(|argument| takes(&argument)), "{path}: --{long} does not take {value:?}");
            let is_documented = |argument: &&clap::Arg| {
                let values: Vec<String> = argument
                    .get_default_values()
                    .iter()
                    .map(|value| format!("`{}`", value.display()))
                    .collect();
                // A flag has "false", which needs no words; a default that is not fixed is
                // described in prose.
                values.is_empty() || !argument.get_action().takes_values() || values.join(", ") == default
            };
            assert!(same.iter().any(is_documented), "{path}: --{long} has another default than {default:?}");
            rows += 1;
        }
    }
    assert!(rows > 40, "expected the tables of the manuals, got {rows} rows");
}

#[test]
fn readme_and_manuals_name_no_switch_that_does_not_exist() {
    // Switches of cargo and of other programs.
    let foreign = [
        "release",
        "workspace",
        "path",
        "features",
        "locked",
        "bench",
        "test",
        "socks5-hostname",
        "haproxy-protocol",
        "nocapture",
        "now",
    ];
    let foreign = foreign.iter().chain(&EVERYWHERE).map(|long| format!("--{long}"));
    let own = commands();
    let own = own.iter().flat_map(Command::get_arguments).filter_map(|argument| argument.get_long());
    let known: Vec<String> = own.map(|long| format!("--{long}")).chain(foreign).collect();
    for path in manuals().into_keys() {
        let text = page(&path);
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
        for word in words.filter(|word| word.starts_with("--") && word.len() > 2 && !word.starts_with("---"))
        {
            assert!(known.iter().any(|switch| switch == word), "{path} names {word}, which does not exist");
        }
    }
}

#[test]
fn the_readme_is_short_and_links_to_every_manual() {
    let readme = page("README.md");
    let lines = readme.lines().count();
    assert!(lines < 150, "expected a README under 150 lines, got {lines}");
    for path in manuals().into_keys().filter(|path| path != "README.md") {
        assert!(readme.contains(&format!("]({path})")), "README.md does not link to {path}");
    }
}

#[test]
fn the_pages_link_to_files_that_there_are() {
    for path in manuals().into_keys() {
        let text = page(&path);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or(link);
            let target = root().join(&path).with_file_name(file);
            assert!(
                link.starts_with("https://") || target.exists(),
                "{path} links to {link}, which is not there"
            );
        }
    }
}

/// A row of `core/docs/limits.md` ends in `` `FILE` `CONSTANT` ``.
#[test]
fn the_page_of_limits_names_constants_that_exist() {
    let page = std::fs::read_to_string(root().join("core/docs/limits.md")).expect("the page is there");
    let mut rows = 0;
    for row in page.lines().filter(|line| line.starts_with("| ") && line.contains(".rs` `")) {
        let mut words = row.trim_end_matches(" |").rsplit('`').filter(|word| !word.trim().is_empty());
        let (constant, file) =
            (words.next().expect("a constant"), words.next().expect("a file in front of it"));
        let source = std::fs::read_to_string(root().join(file)).unwrap_or_default();
        assert!(source.contains(&format!("const {constant}:")), "{file} has no constant {constant}");
        rows += 1;
    }
    assert!(rows > 30, "{rows} rows were found");
}

/// Where a page may mean that a short name is (`ARCHITECTURE.md`, "Short paths").
const FOLDERS: [&str; 5] = ["", "core/src", "core/src/bond", "cli/src", "runtime-mio"];

/// `{a,b}` and `SERVICE` stand for several names.
fn alternatives(name: &str) -> Vec<String> {
    if let Some((before, rest)) = name.split_once('{')
        && let Some((choices, after)) = rest.split_once('}')
    {
        return choices.split(',').map(|choice| format!("{before}{choice}{after}")).collect();
    }
    vec![name.to_owned()]
}

/// A file or folder that the pages for those who work on it name is there: by its whole path, by a
/// short one, or beside the one named before it.
#[test]
fn the_pages_of_the_house_name_files_that_exist() {
    let is_name = |word: &&str| {
        let characters = |c: char| c.is_ascii_alphanumeric() || "_-./{},*".contains(c);
        let ending = [".rs", ".md", ".toml", ".html"].iter().any(|ending| word.ends_with(ending));
        let path = word.contains('/') && !word.starts_with('/');
        (ending || path) && word.chars().all(characters) && !word.contains("NAME") && *word != "mod.rs"
    };
    for path in ["ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = page(path);
        let mut beside = vec![PathBuf::new()];
        let mut names = 0;
        // Blocks of commands and drawings are indented or fenced: what is named is in backticks.
        for word in text.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).filter(is_name) {
            // Of `tests/*.rs` the folder is held.
            let word = word.split('*').next().map_or(word, |part| match part.len() == word.len() {
                true => part,
                false => part.rsplit_once('/').map_or(part, |(folder, _)| folder),
            });
            let services =
                ["dispatch", "unwrap", "bond", "sim"].map(|service| word.replace("SERVICE", service));
            let mut found = Vec::new();
            for name in alternatives(word).iter().chain(services.iter().filter(|_| word.contains("SERVICE")))
            {
                let folders = FOLDERS.iter().map(PathBuf::from).chain(beside.iter().cloned());
                let there = folders.map(|folder| folder.join(name)).find(|file| root().join(file).exists());
                assert!(
                    there.is_some() || word.contains("SERVICE"),
                    "{path} names {name}, which is not there, nor beside {beside:?}"
                );
                found.extend(there);
            }
            assert!(!found.is_empty(), "{path} names {word}, which no service has");
            // Beside a file, and in the folder of its name.
            beside =
                found.iter().flat_map(|file| [file.with_file_name(""), file.with_extension("")]).collect();
            names += 1;
        }
        assert!(names > 50, "{path}: {names} names were found");
    }
}

/// The head of a module names the files that it has below it.
#[test]
fn the_page_of_a_folder_names_its_files() {
    let mut modules = 0;
    let tops =
        ["core", "cli", "sim", "sim/conformance", "runtime-mio", "runtime-mio/sockets", "runtime-async-std"];
    let mut folders: Vec<PathBuf> = tops.iter().map(|top| root().join(top).join("src")).collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the repository").flatten() {
            let path = entry.path();
            match path.file_name().and_then(std::ffi::OsStr::to_str) {
                // Tests are found by their names. The commands are a table in main.rs.
                None | Some("tests" | "tests.rs" | "main.rs") => {}
                Some(_) if path.is_dir() => folders.push(path),
                Some(name) if name.ends_with(".rs") => modules += names_its_files(&path),
                Some(_) => {}
            }
        }
    }
    assert!(modules > 60, "{modules} modules with files below them were found");
}

/// 1 where the module has files below it.
fn names_its_files(path: &Path) -> usize {
    let text = std::fs::read_to_string(path).expect("it was listed");
    let head: Vec<&str> =
        text.lines().filter(|line| line.starts_with("//!") || line.contains("doc = ")).collect();
    let head = head.join("\n");
    let words: Vec<&str> = head.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).collect();
    let (mut of_tests, mut files) = (false, 0);
    for line in text.lines() {
        let module =
            line.split_once("mod ").filter(|(scope, _)| scope.is_empty() || scope.starts_with("pub"));
        if let Some((name, "")) = module.and_then(|(_, rest)| rest.split_once(';'))
            && !of_tests
        {
            assert!(words.contains(&name), "the head of {} does not name {name}", path.display());
            files = 1;
        }
        of_tests = line == "#[cfg(test)]" || of_tests && line.starts_with("#[");
    }
    files
}
