//! `ropewalk completions`: the shells themselves read them, and complete.

use crate::common::proxy::run;
use crate::common::{Scratch, has, here};
use std::process::Command;

/// What `shell` prints for `script`, behind our completions in the file `$1`.
#[track_caller]
fn shell(name: &str, arguments: &[&str], script: &str) -> String {
    let outcome = run(&["completions", name]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    let scratch = Scratch::new();
    let file = scratch.file("_ropewalk", outcome.stdout.as_bytes());
    let output = Command::new(name).args(arguments).args(["-c", &script.replace("FILE", &file)]).output();
    let output = output.expect("asked for before");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{name}: {said}");
    String::from_utf8(output.stdout).expect("text")
}

#[track_caller]
fn holds(printed: &str, words: &[&str]) {
    for word in words {
        let found = printed.split_ascii_whitespace().any(|printed| printed == *word);
        assert!(found, "expected {word} among {printed}");
    }
}

#[test]
fn bash_completes_commands_switches_and_values() {
    if !has(here!(), "bash") {
        return;
    }
    let complete = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let last = words.len() - 1;
        let (current, previous) = (words[last], words[last - 1]);
        let script = format!(
            ". FILE; COMP_WORDS=({line}); COMP_CWORD={last}; _ropewalk ropewalk '{current}' '{previous}'; \
             echo \"${{COMPREPLY[@]}}\""
        );
        shell("bash", &["--norc"], &script)
    };
    holds(&complete("ropewalk d"), &["dispatch", "doctor"]);
    holds(&complete("ropewalk dispatch --"), &["--listen", "--auth-file", "--max-connections"]);
    holds(&complete("ropewalk unwrap --on-port-conflict e"), &["ephemeral"]);
}

#[test]
fn fish_completes_commands_and_switches() {
    if !has(here!(), "fish") {
        return;
    }
    let complete =
        |line: &str| shell("fish", &["--no-config"], &format!("source FILE; complete -C '{line}'"));
    holds(&complete("ropewalk d"), &["dispatch", "doctor"]);
    holds(&complete("ropewalk dispatch --max-"), &["--max-connections", "--max-buffers"]);
}

#[test]
fn zsh_takes_the_completions_as_a_function_of_its_system() {
    if !has(here!(), "zsh") {
        return;
    }
    // Completing needs a terminal. This shows without one that zsh takes the function and knows its
    // command.
    let script = "autoload -Uz compinit && compinit -u -D; . FILE; print ${_comps[ropewalk]}";
    holds(&shell("zsh", &["-f"], script), &["_ropewalk"]);
}

#[test]
fn a_shell_that_is_none_is_told_which_there_are() {
    let outcome = run(&["completions", "csh"]);
    assert_eq!(outcome.code, Some(2));
    assert!(["bash", "zsh", "fish"].iter().all(|shell| outcome.stderr.contains(shell)), "{}", outcome.stderr);
}
