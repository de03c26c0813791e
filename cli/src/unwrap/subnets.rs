//! The peers whose headers are trusted.

use super::args::Listener;
use crate::process::files;
use ropewalk_core::uplink::Prefix;
use std::path::Path;
use std::sync::Arc;

/// The networks that a listener's switches name.
///
/// # Errors
/// A sentence: there are none, or the file cannot be read or is wrong in this line.
pub(super) fn allowed(options: &Listener) -> Result<Arc<[Prefix]>, String> {
    if options.allow_any {
        return Ok(everybody().into());
    }
    let mut all = options.allow_from.clone();
    if let Some(path) = &options.allowed_subnets {
        all.extend(read(path)?);
    }
    if all.is_empty() {
        return Err("whoever sends a header says who the client is: expected --allowed-subnets FILE or \
                    --allow-from PREFIX with the balancers' networks, or --allow-any if everybody who \
                    reaches a listener may say so"
            .into());
    }
    Ok(all.into())
}

fn everybody() -> Vec<Prefix> {
    ["0.0.0.0/0", "::/0"].iter().filter_map(|text| text.parse().ok()).collect()
}

fn read(path: &Path) -> Result<Vec<Prefix>, String> {
    let text = files::text(path).map_err(|error| format!("--allowed-subnets {}: {error}", path.display()))?;
    let found = parse(&text).map_err(|error| format!("--allowed-subnets {}: {error}", path.display()))?;
    match found.is_empty() {
        true => Err(format!("--allowed-subnets {}: expected at least one network, got none", path.display())),
        false => Ok(found),
    }
}

/// One network a line; what follows a `#` is for people.
fn parse(text: &str) -> Result<Vec<Prefix>, String> {
    let mut found = Vec::new();
    // Some editors put a byte order mark in front.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (number, line) in (1..).zip(text.lines()) {
        let network = line.split('#').next().unwrap_or_default().trim();
        if !network.is_empty() {
            let read = network.parse().map_err(|error| format!("line {number}, '{network}': {error}"))?;
            found.push(read);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_a_network_a_line_and_room_for_words() {
        let found = parse(
            "\u{feff}10.2.0.0/16\r\n# balancers\n10.0.0.0/8  # the old one\n\n  2001:db8::/32\r\n192.0.2.1\n",
        );
        let found: Vec<String> = found.expect("all are well").iter().map(Prefix::to_string).collect();
        assert_eq!(found, ["10.2.0.0/16", "10.0.0.0/8", "2001:db8::/32", "192.0.2.1/32"]);
    }

    #[test]
    fn a_wrong_line_is_named() {
        let error = parse("10.0.0.0/8\n10.1.0.0/8\n").expect_err("bits behind the prefix");
        assert!(error.contains("line 2") && error.contains("expected 10.0.0.0/8"), "{error}");
        assert!(parse("everybody").is_err_and(|error| error.contains("line 1, 'everybody'")));
    }
}
