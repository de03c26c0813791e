//! What a service cannot change while it runs.

use super::args::Common;

/// An error where the switch has another value now.
pub(crate) fn changed(switch: &str, has: bool) -> Result<(), String> {
    match has {
        true => Err(format!("{switch} has changed, which takes a new start")),
        false => Ok(()),
    }
}

/// The same for the switches that all services have.
pub(crate) fn fixed_common(before: &Common, now: &Common) -> Result<(), String> {
    changed("--workers", before.workers != now.workers)?;
    changed("--runtime", before.runtime() != now.runtime())?;
    changed("--socket-buffer", before.socket_buffer != now.socket_buffer)?;
    changed("--max-socket-memory", before.max_socket_memory != now.max_socket_memory)?;
    changed("--stats", before.stats != now.stats)
}

#[cfg(all(test, feature = "dispatch", feature = "unwrap"))]
mod tests {
    use clap::CommandFactory;

    /// A reload changes these, or has nothing to do with them.
    const CHANGES: [&str; 43] = [
        // What services share.
        "help",
        "config",
        "verbose",
        "quiet",
        "max-connections",
        "max-handshakes",
        "max-buffers",
        "max-queue",
        "connect-timeout",
        "idle-timeout",
        "close-after",
        // `dispatch`.
        "auth-file",
        "allow-open-proxy",
        "allow-private",
        "handshake-timeout",
        "http-timeout",
        "max-client-connections",
        "max-lookups",
        "lookup-timeout",
        "resolver",
        "name-cache",
        "probe",
        "backup",
        "policy",
        "rate",
        "max-associations",
        "max-destinations",
        "max-request-memory",
        "max-head-size",
        "max-header-fields",
        // `unwrap`.
        "target-v4",
        "target-v6",
        "to",
        "allow-target",
        "udp-header",
        "allowed-subnets",
        "allow-from",
        "allow-any",
        "allow-source",
        "mixed-families",
        "max-header",
        "header-timeout",
        "max-flows",
    ];

    /// A new switch stands in the list above, or where the reload of its service refuses another
    /// value of it; then the manual says so.
    #[test]
    fn each_switch_is_changed_by_a_reload_or_refused_by_it() {
        let shared = include_str!("reload.rs");
        let services = [
            ("dispatch", include_str!("../dispatch/reload.rs"), include_str!("../../docs/dispatch.md")),
            ("unwrap", include_str!("../unwrap/reload.rs"), include_str!("../../docs/unwrap.md")),
        ];
        let mut all = crate::Cli::command();
        all.build();
        for (service, source, manual) in services {
            let refusals =
                || shared.lines().chain(source.lines()).filter(|line| line.contains("changed(\"--"));
            let mut parts = manual.split("\n\n").map(|part| part.replace('\n', " "));
            let told = parts.find(|part| part.contains("take a new start"));
            let told = told.expect("the manual says what takes a new start");
            let command = all.find_subcommand(service).expect("a command");
            for long in command.get_arguments().filter_map(clap::Arg::get_long) {
                // All of a recording's switches are held against each other at once.
                let name = if long.starts_with("record-") { "record" } else { long };
                let is_it = |word: &str| word.strip_prefix("--") == Some(name);
                let refused = refusals().any(|line| line.split(['"', ' ']).any(is_it));
                assert_ne!(refused, CHANGES.contains(&long), "{service}: does a reload change --{long}?");
                // Some builds have no --runtime.
                if refused && name != "runtime" {
                    assert!(
                        told.contains(&format!("`--{name}`")),
                        "{service}.md: --{name} takes a new start"
                    );
                }
            }
        }
    }
}
