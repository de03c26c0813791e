//! `ropewalk unwrap teardown`: takes away what carries our tag, and gives the sysctls back.

use super::args::Teardown;
use super::kernel::{Found, Kernel, Present};
use super::plan::{Route, Rule, SYSCTLS, Sysctl};
use super::sysctl::{self, State};
use std::fmt::Write as _;

/// What is to be done, in this order: the tag goes last, so that a teardown that was killed can be
/// run again.
#[derive(Default)]
struct Work {
    /// Sysctls that are as we set them, with their old values.
    sysctls: Vec<(Sysctl, String)>,
    /// Removes the state file.
    forget: bool,
    rules: Vec<Rule>,
    routes: Vec<Route>,
}

/// Carries out the command.
pub(super) fn run(args: &Teardown) -> Result<(), String> {
    let mut kernel = Kernel::new()?;
    let mut state = State::load(&args.state_dir)?;
    let work = work(args.table, kernel.present()?, &state)?;
    if state.old.is_empty() && !args.dry_run {
        // A setup that was killed while it wrote may have left a draft.
        state.save()?;
    }
    let mut commands = String::new();
    for (sysctl, old) in &work.sysctls {
        let _ = writeln!(commands, "{}", sysctl.command(old));
        if !args.dry_run {
            sysctl::write(*sysctl, old)?;
        }
    }
    if work.forget {
        state.old.clear();
        state.commands().iter().for_each(|command| commands.extend([command, "\n"]));
        if !args.dry_run {
            state.save()?;
        }
    }
    for rule in &work.rules {
        let _ = writeln!(commands, "{}", rule.command("del"));
        if !args.dry_run {
            kernel.remove_rule(rule)?;
        }
    }
    for route in &work.routes {
        let _ = writeln!(commands, "{}", route.command("del"));
        if !args.dry_run {
            kernel.remove_route(route)?;
        }
    }
    super::say(&commands);
    if commands.is_empty() {
        eprintln!("ropewalk: nothing of setup's is there");
    }
    Ok(())
}

fn work(table: Option<u32>, present: Present, state: &State) -> Result<Work, String> {
    let mut work = Work::default();
    let has_ours = present.has_ours();
    let wanted = |own: u32| table.is_none_or(|table| table == own);
    let (rules, other_rules): (Vec<_>, Vec<_>) =
        present.rules.into_iter().filter(Found::is_ours).partition(|found| wanted(found.what.table));
    work.rules = rules.into_iter().map(|found| found.what).collect();
    // Asked to remove a rule without `from`, the kernel removes one with it if that comes first.
    work.rules.sort_by_key(|rule| rule.from.is_none());
    let routes = present.routes.into_iter().filter(|found| found.is_ours() && wanted(found.what.table));
    work.routes = routes.map(|found| found.what).collect();
    let marked = work.rules.iter().any(|rule| rule.mark.is_some());
    let is_set = |sysctl: &Sysctl| sysctl::read(*sysctl).is_ok_and(|now| now == "1");
    if state.old.is_empty() && marked && SYSCTLS.iter().any(is_set) {
        eprintln!("ropewalk: {} remembers no sysctl: they stay as they are", state.path().display());
    }
    if state.old.is_empty() || other_rules.iter().any(|found| found.what.mark.is_some()) {
        return Ok(work);
    }
    if !has_ours {
        eprintln!(
            "ropewalk: {} remembers sysctls, but nothing of setup's is in this network namespace: it is \
             that of another, or the rules were removed by other means; the sysctls stay as they are",
            state.path().display()
        );
        return Ok(work);
    }
    for (sysctl, old) in &state.old {
        let now = sysctl::read(*sysctl)?;
        if now == "1" {
            work.sysctls.push((*sysctl, old.clone()));
        } else if now != *old {
            eprintln!("ropewalk: {} stays {now}, which is not what setup has set", sysctl.0);
        }
    }
    work.forget = true;
    Ok(work)
}
