//! `ropewalk doctor unwrap`: what unwrap needs, looked at one after another, and at last a real
//! connection with a foreign source address.
//!
//! | module | is |
//! | --- | --- |
//! | `args` | the switches |
//! | `checks` | what can be known without sending anything |
//! | `probe` | the connection and the datagram with a foreign source |

mod args;
#[cfg(target_os = "linux")]
mod checks;
#[cfg(target_os = "linux")]
pub(super) mod probe;

pub(crate) use args::Args;
#[cfg(target_os = "linux")]
pub(super) use args::nobody;

/// Prints what it finds. An error where unwrap cannot work.
#[cfg(target_os = "linux")]
pub(crate) fn run(args: &Args) -> Result<(), String> {
    use crate::unwrap::routes::kernel::Kernel;
    use crate::unwrap::routes::place::Place;
    use crate::unwrap::target::Protocol;

    if args.mark.is_some() && args.targets.protocol.contains(&Protocol::Udp) {
        return Err("--mark is for TCP: the answers of a UDP server carry no mark".into());
    }
    let mut report = crate::doctor::report::Report::new(std::io::stdout());
    checks::kernel(args.mark, &mut report);
    checks::capabilities(&mut report);
    checks::loopback(&mut report);
    let mut kernel = Kernel::new()?;
    let present = kernel.present()?;
    if args.mark.is_some() {
        checks::sysctls(!args.targets.v4.is_empty(), !args.targets.v6.is_empty(), &mut report);
    }
    let mut targets = Vec::new();
    for wanted in args.targets.v4.iter().chain(&args.targets.v6) {
        match wanted.look_up() {
            Ok(found) => targets.extend(found),
            Err(why) => report.fail(wanted, why),
        }
    }
    for v6 in [false, true] {
        if !targets.iter().any(|target| target.is_v6() == v6) {
            continue;
        }
        let source = args.source(v6);
        let lent = probe::can_lend(source, &mut report);
        for target in targets.iter().filter(|target| target.is_v6() == v6) {
            let placed = kernel.place(*target);
            let Some(placed) = checks::placed(*target, placed, args.mark, &mut report) else { continue };
            for protocol in &args.targets.protocol {
                let servers = match placed.place {
                    Place::Here => {
                        let servers = checks::servers(*target, *protocol);
                        checks::listening(*target, *protocol, &servers, &mut report);
                        servers
                    }
                    // Sockets of another namespace are not seen from here.
                    Place::Behind(_) => Vec::new(),
                };
                let wildcard = servers.iter().any(|server| server.ip().is_unspecified());
                checks::routed(&placed, *protocol, args.mark, wildcard, &present, &mut report);
                if lent {
                    probe::run(&placed, *protocol, args.mark, source, &servers, &mut report);
                }
            }
        }
    }
    report.verdict()
}

/// See the Linux one.
#[cfg(not(target_os = "linux"))]
pub(crate) fn run(_: &Args) -> Result<(), String> {
    Err("doctor unwrap is for Linux: a server gets its clients' addresses by IP_TRANSPARENT, which is \
         Linux's"
        .into())
}

/// Major and minor of the kernel that runs.
#[cfg(target_os = "linux")]
pub(crate) fn kernel_version() -> Option<(u32, u32)> {
    version(&rustix::system::uname().release().to_string_lossy())
}

/// Major and minor of a release such as `6.1.0-18-amd64`.
pub(crate) fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn releases_have_a_major_and_a_minor() {
        assert_eq!(version("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(version("4.19"), Some((4, 19)));
        assert!(version("5.4.0").is_some_and(|version| version < (5, 17)));
        assert_eq!(version("linux"), None);
    }
}
