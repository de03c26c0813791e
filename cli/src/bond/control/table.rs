//! An answer as a person reads it.

use serde_json::Value;
use std::fmt::Write as _;

const HEADS: [&str; 8] = ["link", "state", "weight", "rate", "RTT", "loss", "sent", "received"];

/// The state of a service, as it told it.
pub(in crate::bond) fn render(answer: &Value) -> String {
    let mut out = String::new();
    let text = |key: &str| answer[key].as_str().unwrap_or("?").to_owned();
    if answer["role"] == "serve" {
        let clients = answer["clients"].as_array().map_or(&[][..], Vec::as_slice);
        let (listen, known) = (text("listen"), &answer["known_clients"]);
        let _ =
            writeln!(out, "serving on {listen}, {}: {} of {known} clients here", text("tun"), clients.len());
        for client in clients {
            let _ = writeln!(out, "\n{} {}", client["name"].as_str().unwrap_or("?"), addresses(client));
            out.push_str(&paths(client));
        }
        if let Some(count @ 1..) = answer["unwritten_clients"].as_u64() {
            let _ = writeln!(
                out,
                "clients that were let in and are not written down (is the disk full?): {count}"
            );
        }
        out.push_str(&without_gso(answer));
        return out;
    }
    let there = match answer["established"].as_bool() {
        Some(true) => "connected to",
        _ => "no answer from",
    };
    let (server, tun) = (text("server"), text("tun"));
    let inside = Some(addresses(answer)).filter(|all| !all.is_empty());
    let inside = inside.unwrap_or_else(|| "without an address".into());
    let _ = writeln!(out, "{there} {server}, {tun} {inside}, mode {}", text("mode"));
    out.push_str(&paths(answer));
    out.push_str(&without_gso(answer));
    out
}

/// What is slower than it might be: said only where it is so.
fn without_gso(answer: &Value) -> String {
    match answer["sockets_without_gso"].as_u64() {
        None | Some(0) => String::new(),
        Some(count) => format!(
            "sockets without segmentation offload (UDP GSO): {count}; each packet costs a call of its own\n"
        ),
    }
}

fn addresses(of: &Value) -> String {
    let all = of["addresses"].as_array().map_or(&[][..], Vec::as_slice);
    all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
}

fn paths(of: &Value) -> String {
    let paths = of["paths"].as_array().map_or(&[][..], Vec::as_slice);
    let mut rows = vec![HEADS.map(str::to_owned)];
    rows.extend(paths.iter().map(row));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEADS.len()).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let _ = writeln!(out, "{}", cells.join("  ").trim_end());
    }
    out
}

fn row(path: &Value) -> [String; 8] {
    let number = |key: &str| path[key].as_f64().unwrap_or(0.0);
    let rate = match number("rate") {
        0.0 => "-".to_owned(),
        rate => format!("{:.1} Mbit/s", rate / 1e6),
    };
    [
        path["link"].as_str().unwrap_or("?").to_owned(),
        path["state"].as_str().unwrap_or("?").to_owned(),
        path["weight"].as_u64().map_or("-".into(), |weight| weight.to_string()),
        rate,
        format!("{:.1} ms", number("rtt_ms")),
        format!("{:.1}%", number("loss") * 100.0),
        bytes(number("sent_bytes")),
        bytes(number("received_bytes")),
    ]
}

fn bytes(count: f64) -> String {
    match count {
        count if count < 1e4 => format!("{count} B"),
        count if count < 1e7 => format!("{:.1} kB", count / 1e3),
        count if count < 1e10 => format!("{:.1} MB", count / 1e6),
        count => format!("{:.1} GB", count / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_stand_below_each_other() {
        let path = |link: &str, rate: u64| {
            json!({ "link": link, "state": "live", "weight": 3, "rate": rate, "rtt_ms": 20.25, "loss": 0.015,
                "sent_bytes": 9_999, "received_bytes": 123_456_789 })
        };
        let answer = json!({ "role": "connect", "established": true, "server": "vpn:4500", "tun": "ropewalk0",
            "mode": "aggregate", "addresses": ["10.77.0.2", "fd77::2"],
            "paths": [path("wlan0", 48_000_000), path("u", 0)] });
        let expected = "\
connected to vpn:4500, ropewalk0 10.77.0.2 fd77::2, mode aggregate
link   state  weight  rate         RTT      loss  sent    received
wlan0  live   3       48.0 Mbit/s  20.2 ms  1.5%  9999 B  123.5 MB
u      live   3       -            20.2 ms  1.5%  9999 B  123.5 MB
";
        assert_eq!(render(&answer), expected);
        let mut slower = answer;
        slower["sockets_without_gso"] = json!(2);
        assert!(render(&slower).ends_with(
            "\nsockets without segmentation offload (UDP GSO): 2; each packet costs a call of its own\n"
        ));
    }

    #[test]
    fn an_answer_of_another_version_is_no_panic() {
        for answer in
            [json!({}), json!(null), json!({ "paths": 1 }), json!({ "role": "serve", "clients": [1] })]
        {
            assert!(!render(&answer).is_empty());
        }
    }
}
