//! `ropewalk unwrap setup`: adds what the plan wants and is not there; all of it, or nothing.

use super::args::Setup;
use super::kernel::{Found, Kernel, Present};
use super::place::{Place, Placed};
use super::plan::{Plan, Route, Rule, Sysctl, six};
use super::sysctl::{self, State};
use crate::host::links;
use crate::unwrap::doctor::{nobody, probe};
use crate::unwrap::target::{self, Protocol};
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;

/// What is to be done, one after another.
#[derive(Debug)]
enum Step {
    /// Forgets the sysctls of another namespace (see the invariants of the module above).
    Forget,
    Route(Route),
    /// Removes a rule of ours that the next one takes in.
    Drop(Rule),
    Rule(Rule),
    /// Remembers these in the state file.
    Remember(Vec<(Sysctl, String)>),
    Set(Sysctl),
}

/// Carries out the command.
pub(super) fn run(args: &Setup) -> Result<(), String> {
    kernel_can()?;
    loopback_is_up()?;
    let mut kernel = Kernel::new()?;
    let mut targets = Vec::new();
    for target in target::look_up(args.targets.v4.iter().chain(&args.targets.v6))? {
        targets.push(kernel.place(target)?);
    }
    let plan = Plan::new(args, &targets)?;
    let steps = missing(&plan, &kernel.present()?, &args.state_dir)?;
    let commands = commands(&steps, &args.state_dir)?;
    if !args.dry_run {
        carry_out(&steps, &mut kernel, &args.state_dir, || prove(args, &targets))?;
        if steps.is_empty() {
            eprintln!("ropewalk: all is there already");
        }
    }
    super::say(&commands);
    Ok(())
}

/// FRA_IP_PROTO, FRA_SPORT_RANGE and FRA_PROTOCOL came with Linux 4.17. An older kernel would pass
/// over what it does not know, and the rule would catch everything.
fn kernel_can() -> Result<(), String> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    match crate::unwrap::doctor::version(&release) {
        Some(version) if version < (4, 17) => {
            Err(format!("expected Linux 4.17 or newer, which has rules by protocol and port, got {release}"))
        }
        _ => Ok(()),
    }
}

fn loopback_is_up() -> Result<(), String> {
    let links = links::snapshot().map_err(|error| format!("cannot read the interfaces: {error}"))?;
    match links.iter().find(|link| link.loopback) {
        Some(lo) if lo.enabled => Ok(()),
        Some(lo) => Err(format!(
            "the loopback interface {name} is down, and the answers go through it: ip link set {name} up",
            name = lo.name
        )),
        None => Err("expected a loopback interface, got none in this network namespace".into()),
    }
}

/// Servers that are not on this host must answer through it: only a connection can tell.
fn prove(args: &Setup, targets: &[Placed]) -> Result<(), String> {
    if !args.targets.protocol.contains(&Protocol::Tcp) {
        return Ok(());
    }
    for Placed { target, place } in targets {
        let Place::Behind(interface) = place else { continue };
        let to = SocketAddr::new(target.ip, target.ports.first);
        // The system reports a missing host only to sockets with an address of its own.
        match probe::reach(to, None, nobody(target.is_v6())) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(error) if error.kind() == ErrorKind::TimedOut && probe::is_there(to).is_ok() => {
                return Err(format!(
                    "the answers of {to} to foreign clients do not come back by {interface}: expected a \
                     server whose default gateway is this host (in its namespace: ip route), and no \
                     firewall that drops them"
                ));
            }
            Err(error) => {
                eprintln!(
                    "ropewalk: whether {to} answers by {interface} is not proven, it cannot be reached now: \
                     {error}"
                );
            }
        }
    }
    Ok(())
}

/// The steps from what is present to what is planned; or what is in the way.
fn missing(plan: &Plan, present: &Present, state_dir: &Path) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let state = State::load(state_dir)?;
    let stale = !present.has_ours() && !state.old.is_empty();
    if stale {
        steps.push(Step::Forget);
    }
    for route in &plan.routes {
        if !is_there(route, plan.needs_source(route.v6), &present.routes)? {
            steps.push(Step::Route(route.clone()));
        }
    }
    for rule in &plan.rules {
        let equal = || present.rules.iter().filter(|found| found.what == *rule && !found.strange);
        if equal().any(Found::is_ours) {
            continue;
        }
        if let Some(other) = equal().next() {
            return Err(format!(
                "an equal rule is there already and not ours (protocol {}), in `ip {}rule`: {}; remove it, \
                 or give another --priority",
                other.tag,
                six(rule.v6),
                other.what
            ));
        }
        let narrower = present.rules.iter().filter(|found| found.is_ours() && found.what.hides(rule));
        steps.extend(narrower.map(|found| Step::Drop(found.what.clone())));
        steps.push(Step::Rule(rule.clone()));
    }
    let mut old = if stale { Vec::new() } else { state.old.clone() };
    let mut set = Vec::new();
    for sysctl in &plan.sysctls {
        let now = sysctl::read(*sysctl)?;
        if now == "0" {
            // Whatever is remembered of it: this is what it is without us.
            old.retain(|(own, _)| own != sysctl);
            old.push((*sysctl, now));
            set.push(Step::Set(*sysctl));
        }
    }
    if !set.is_empty() {
        steps.push(Step::Remember(old));
        steps.append(&mut set);
    }
    Ok(steps)
}

/// Whether the table has the route already. It must not have another.
fn is_there(route: &Route, needs_source: bool, routes: &[Found<Route>]) -> Result<bool, String> {
    let table = route.table;
    let mut same_table = routes.iter().filter(|found| found.what.table == table && found.what.v6 == route.v6);
    let Some(first) = same_table.next() else { return Ok(false) };
    let v6 = six(route.v6);
    if let Some(other) = std::iter::once(first).chain(same_table).find(|found| !found.is_ours()) {
        return Err(format!(
            "table {table} has a route that is not ours (protocol {}): ip {v6}route show table {table}; give \
             another --table",
            other.tag
        ));
    }
    if needs_source && first.what.source != route.source {
        let source = |route: &Route| route.source.map_or_else(|| "none".into(), |source| source.to_string());
        return Err(format!(
            "table {table} has our route already, with the source {}; what is asked for now needs {}: give it \
             another --table",
            source(&first.what),
            source(route)
        ));
    }
    Ok(true)
}

fn commands(steps: &[Step], state_dir: &Path) -> Result<String, String> {
    let mut lines = String::new();
    let mut state = State::load(state_dir)?;
    for step in steps {
        let commands = match step {
            Step::Forget => {
                state.old.clear();
                state.commands()
            }
            Step::Route(route) => vec![route.command("add")],
            Step::Drop(rule) => vec![rule.command("del")],
            Step::Rule(rule) => vec![rule.command("add")],
            Step::Remember(old) => {
                state.old.clone_from(old);
                state.commands()
            }
            Step::Set(sysctl) => vec![sysctl.command("1")],
        };
        for command in commands {
            let _ = writeln!(lines, "{command}");
        }
    }
    Ok(lines)
}

/// Does all, and then `prove`s that it was worth it; or nothing.
fn carry_out(
    steps: &[Step],
    kernel: &mut Kernel,
    state_dir: &Path,
    prove: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    let mut state = State::load(state_dir)?;
    let mut before = state.old.clone();
    let mut done = 0;
    let outcome = steps.iter().try_for_each(|step| {
        if matches!(step, Step::Forget) {
            before.clear();
        }
        apply(step, kernel, &mut state)?;
        done += 1;
        Ok(())
    });
    let Err(error) = outcome.and_then(|()| prove()) else { return Ok(()) };
    // The last first. A step that failed has changed nothing.
    let mut left = Vec::new();
    for step in steps[..done].iter().rev() {
        left.extend(take_back(step, kernel, &mut state, &before).err());
    }
    let end = match left.is_empty() {
        true if done == 0 => "nothing was changed".to_owned(),
        true => "what this run had changed is as it was again".to_owned(),
        false => format!(
            "not all that this run had changed could be taken back ({}): ropewalk unwrap teardown",
            left.join("; ")
        ),
    };
    Err(format!("{error}; {end}"))
}

fn apply(step: &Step, kernel: &mut Kernel, state: &mut State) -> Result<(), String> {
    match step {
        Step::Forget => {
            state.old.clear();
            state.save()
        }
        Step::Route(route) => kernel.add_route(route),
        Step::Drop(rule) => kernel.remove_rule(rule),
        Step::Rule(rule) => kernel.add_rule(rule),
        Step::Remember(old) => {
            state.old.clone_from(old);
            state.save()
        }
        Step::Set(sysctl) => sysctl::write(*sysctl, "1"),
    }
}

fn take_back(
    step: &Step,
    kernel: &mut Kernel,
    state: &mut State,
    before: &[(Sysctl, String)],
) -> Result<(), String> {
    match step {
        // It was of no use to anybody.
        Step::Forget => Ok(()),
        Step::Route(route) => kernel.remove_route(route),
        Step::Drop(rule) => kernel.add_rule(rule),
        Step::Rule(rule) => kernel.remove_rule(rule),
        Step::Remember(_) => {
            state.old = before.to_vec();
            state.save()
        }
        // Only what was 0 is set.
        Step::Set(sysctl) => sysctl::write(*sysctl, "0"),
    }
}
