//! What is drawn, at several sizes.

use super::*;

fn board() -> Board {
    let row = |name: &str, up, open, notes: &[&str], mbit: &[(f64, f64)]| Row {
        name: name.into(),
        up,
        open,
        notes: notes.iter().map(|note| (*note).to_owned()).collect(),
        rates: mbit.iter().map(|(down, up)| Rate { down: down * 1e6, up: up * 1e6 }).collect(),
        ..Row::default()
    };
    let mut board = Board::new("127.0.0.1:9090".into());
    (board.version, board.uptime) = ("0.2.0".into(), 93_784.0);
    board.rows = vec![
        row("wlan0", Some(true), Some(12), &["weight 3"], &[(8.0, 0.0), (40.0, 1.0), (53.8, 0.592)]),
        row("usb0", Some(false), Some(0), &["weight 2", "4 failed"], &[(0.0, 0.0), (4.0, 4.0), (0.0, 0.0)]),
    ];
    board
}

#[test]
fn eighty_columns_show_links_notes_history_and_a_graph() {
    let text = draw(&board(), (80, 24)).text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[..8],
        [
            "ropewalk 0.2.0  127.0.0.1:9090  runs for 1 d 2 h",
            "",
            "LINK  STATE       DOWN          UP  OPEN  NOTES",
            "wlan0 well 53.8 Mbit/s  592 kbit/s    12  weight 3  ▁▆█",
            "usb0  DOWN     0 bit/s     0 bit/s     0  weight 2, 4 failed   █",
            "",
            "all links: 53.8 Mbit/s down, 592 kbit/s up, at most 54.4 Mbit/s",
            "                                                                               █",
        ]
    );
    assert_eq!((lines.len(), lines[23]), (24, "q quits"));
    assert!(lines.iter().all(|line| line.chars().count() <= 80));
    // The newest stands at the right, full height; what comes down at the foot.
    assert!(lines[7..23].iter().all(|line| line.ends_with('█')), "{text}");
}

#[test]
fn a_small_terminal_has_what_matters_most() {
    let text = draw(&board(), (40, 10)).text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "ropewalk 0.2.0  127.0.0.1:9090  runs for");
    assert_eq!(lines[2], "LINK  STATE       DOWN          UP  OPEN");
    assert_eq!(lines[3], "wlan0 well 53.8 Mbit/s  592 kbit/s    12");
    assert_eq!((lines.len(), lines[9]), (10, "q quits"));
}

#[test]
fn a_large_terminal_is_used_and_no_size_breaks_it() {
    let text = draw(&board(), (200, 50)).text();
    assert_eq!(text.lines().count(), 50);
    assert!(text.lines().any(|line| line.chars().count() == 200));
    let mut many = board();
    many.rows = (0..300).map(|n| Row { name: format!("client {n} by link"), ..Row::default() }).collect();
    for size in [(0, 0), (1, 1), (2, 3), (8, 4), (40, 10), (80, 24), (200, 50), (500, 2)] {
        for board in [&board(), &many, &Board::default()] {
            assert_eq!(draw(board, size).height(), if size.0 == 0 { 0 } else { size.1 }, "{size:?}");
        }
    }
    assert!(draw(&many, (80, 24)).text().contains("and 281 more"));
}

#[test]
fn a_service_that_is_gone_is_told_above_what_it_said_last() {
    let mut board = board();
    board.lost("nobody tells figures at 127.0.0.1:9090".into());
    let text = draw(&board, (80, 24)).text();
    assert!(
        text.contains("\nnobody tells figures at 127.0.0.1:9090\n") && text.contains("wlan0 well"),
        "{text}"
    );
}

#[test]
fn rates_and_times_are_short() {
    for (bits, text) in [
        (0.0, "0 bit/s"),
        (999.0, "999 bit/s"),
        (999.6, "1.0 kbit/s"),
        (12_345.0, "12.3 kbit/s"),
        (99_960.0, "100 kbit/s"),
        (999_700.0, "1.0 Mbit/s"),
        (4e12, "4000 Gbit/s"),
    ] {
        assert_eq!(rate(bits), text);
    }
    assert_eq!(
        (lasted(59.9), lasted(3720.0), lasted(90_000.0)),
        ("0 min 59 s".into(), "1 h 2 min".into(), "1 d 1 h".into())
    );
    assert_eq!((cut("abcdef", 4), cut("abcd", 4)), ("abc…".into(), "abcd".into()));
}
