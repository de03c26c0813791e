//! README, `--help` and man pages agree, or a test says where not.

use crate::Cli;
use clap::{Command, CommandFactory};
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

/// `ROPEWALK_BLESS=1 cargo test -p ropewalk man_pages` writes them anew. They describe the default build.
#[cfg(not(feature = "async-std"))]
#[test]
fn the_man_pages_are_what_the_arguments_say() {
    let bless = std::env::var_os("ROPEWALK_BLESS").is_some();
    for command in commands() {
        let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
        let path = root().join("cli/packaging").join(format!("{name}.1"));
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

#[test]
fn the_readme_names_every_switch_and_no_other() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("the repository has a README");
    let mut known =
        vec!["--help".to_owned(), "--version".to_owned(), "--release".into(), "--workspace".into()];
    known.extend(["--bench".into(), "--socks5-hostname".into(), "--features".into()]);
    known.push("--haproxy-protocol".into());
    // A switch of builds with that feature only.
    known.push("--runtime".into());
    for command in commands() {
        for argument in command.get_arguments() {
            let Some(long) = argument.get_long() else { continue };
            known.push(format!("--{long}"));
            let short = argument.get_short().map(|short| format!("`-{short}`"));
            let named =
                readme.contains(&format!("--{long}")) || short.is_some_and(|short| readme.contains(&short));
            assert!(named || ["help", "version"].contains(&long), "the README does not name --{long}");
        }
    }
    let words = readme.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    for word in words.filter(|word| word.starts_with("--") && word.len() > 2 && !word.starts_with("---")) {
        assert!(known.iter().any(|switch| switch == word), "the README names {word}, which does not exist");
    }
}
