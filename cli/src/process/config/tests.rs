use super::*;
use crate::Cli;
use clap::{Arg, CommandFactory};
use std::sync::atomic::{AtomicU32, Ordering};

/// A file that is gone on drop.
struct File(PathBuf);

impl File {
    fn new(content: &[u8]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("ropewalk-config-{}-{number}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, content).expect("a directory for temporary files");
        File(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("temporary paths are text")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A command as another service might have it.
fn command() -> Command {
    let option = |name: &'static str| Arg::new(name).long(name);
    let count = |name: &'static str| option(name).action(ArgAction::Count);
    let number = clap::value_parser!(u16).range(1..);
    let serve = Command::new("serve")
        .arg(option("config").value_parser(clap::value_parser!(PathBuf)))
        .arg(option("listen").action(ArgAction::Append))
        .arg(option("most").value_parser(number))
        .arg(option("must").required(true))
        .arg(option("open").action(ArgAction::SetTrue))
        .arg(count("verbose").short('v'))
        .arg(count("quiet").conflicts_with("verbose"))
        .arg(Arg::new("way_out").action(ArgAction::Append).num_args(1..));
    let other = Command::new("other").arg(option("config"));
    let inner = serve.clone().name("inner");
    let plain = Command::new("plain").subcommand(inner).subcommand(Command::new("bare"));
    Command::new("test").subcommand(serve).subcommand(other).subcommand(plain)
}

fn complete(content: &str, given: &[&str]) -> Result<Vec<Vec<String>>, String> {
    let file = File::new(content.as_bytes());
    let argv: Vec<OsString> = ["test", "serve", "--config", file.path()]
        .iter()
        .chain(given)
        .map(|arg| OsString::from(*arg))
        .collect();
    let text = |argv: Vec<OsString>| -> Vec<String> {
        let words = argv.into_iter().skip(2).map(|arg| arg.into_string().expect("text"));
        words.filter(|word| word != "--config" && word != file.path()).collect()
    };
    let all = arguments(&argv, &command(), "serve", Some("listener"));
    let all = all.map_err(|error| error.replace(file.path(), "FILE"))?;
    Ok(all.into_iter().map(|one| text(one.argv)).collect())
}

#[track_caller]
fn gives(content: &str, given: &[&str], expected: &[&str]) {
    let all = complete(content, given).expect("a good file");
    assert_eq!(all.iter().map(|one| one.join(" ")).collect::<Vec<_>>(), expected);
}

#[track_caller]
fn refused(content: &str, expected: &str) {
    let error = complete(content, &[]).expect_err("a bad file");
    assert!(error.starts_with(expected), "expected {expected:?}, got {error:?}");
}

#[test]
fn each_kind_of_value_becomes_the_words_it_stands_for() {
    gives("", &[], &[""]);
    gives("[serve]\n[other]\nwhat = 1", &[], &[""]);
    let file = "[serve]\nlisten = ['1', 2, 0.5]\nmost = 0x1_0\nmust = 'a b'\nopen = true\nverbose = 2";
    gives(file, &[], &["--listen=1 --listen=2 --listen=0.5 --most=16 --must=a b --open --verbose --verbose"]);
    gives("[serve]\nlisten = 'one'\nopen = false\nquiet = 0", &[], &["--listen=one"]);
    gives("[serve]\nway-out = ['a', '-b']", &[], &["-- a -b"]);
    gives("[serve]\nway-out = []\nlisten = []", &[], &[""]);
    gives("serve = { open = true }", &[], &["--open"]);
}

#[test]
fn the_command_line_wins() {
    let file = "[serve]\nlisten = '1'\nmost = 1\nopen = true\nquiet = 1\nway-out = 'a'";
    gives(file, &["--listen", "2"], &["--most=1 --open --quiet --listen 2 -- a"]);
    gives(file, &["--most=2", "-v"], &["--listen=1 --open --most=2 -v -- a"]);
    gives(file, &["--open", "--quiet", "b"], &["--listen=1 --most=1 --open --quiet b"]);
    gives("[serve]\nmost = 1\nway-out = 'a'", &["--"], &["--most=1 -- a"]);
    gives("[serve]\nmost = 1\nway-out = 'a'", &["--", "-b"], &["--most=1 -- -b"]);
}

#[test]
fn what_is_wrong_is_told_with_file_line_section_and_key() {
    let keys = "listen, most, must, open, verbose, quiet, way-out";
    refused("[serve]\n\nopne = true", &format!("FILE, line 3: [serve]: expected one of {keys}, got 'opne'"));
    refused("[serve]\nconfig = 'x'", "FILE, line 2: [serve]: expected one of ");
    refused("[serve]\nhelp = true", "FILE, line 2: [serve]: expected one of ");
    refused("[serve]\nway_out = 'a'", "FILE, line 2: [serve]: expected one of ");
    let range = "FILE, line 2: [serve] most: invalid value '0' for '--most <most>': 0 is not in 1..";
    refused("[serve]\nmost = 0", range);
    refused("[serve]\nmost = [1]", "FILE, line 2: [serve] most: expected a string or a number, got an array");
    refused("[serve]\nmost = true", "FILE, line 2: [serve] most: expected a string or a number, got true");
    let open = "FILE, line 2: [serve] open: expected true or false, got ";
    refused("[serve]\nopen = 'yes'", &format!("{open}the string \"yes\""));
    refused("[serve]\nopen = 1", &format!("{open}the number 1"));
    refused("[serve]\nopen = 1979-05-27", &format!("{open}a datetime"));
    refused("[serve.open]\n", "FILE, line 1: [serve] open: expected true or false, got a table");
    let times = "FILE, line 2: [serve] verbose: expected a number from 0 to 255, got ";
    refused("[serve]\nverbose = 256", &format!("{times}the number 256"));
    refused("[serve]\nverbose = -1", &format!("{times}the number -1"));
    refused("[serve]\nverbose = true", &format!("{times}true"));
    let array = "FILE, line 2: [serve] listen: expected strings or numbers in an array, got an array";
    refused("[serve]\nlisten = [['a']]", array);
    let one = "FILE, line 2: [serve] listen: expected a string, a number or an array, got a table";
    refused("[serve]\nlisten = { a = 1 }", one);
}

#[test]
fn sections_are_those_of_the_services_there_are() {
    let sections = "expected a section such as [serve] or [other] or [plain.inner], got ";
    refused("[serv]\n", &format!("FILE, line 1: {sections}[serv]"));
    refused("\n[plain.bare]\n", &format!("FILE, line 2: {sections}[plain.bare]"));
    refused("\n[plain]\nopen = true", &format!("FILE, line 3: {sections}'plain.open', which is a boolean"));
    refused("open = true\n", &format!("FILE, line 1: {sections}'open', which is a boolean"));
    refused("[[serve]]\nopen = true\n", &format!("FILE, line 1: {sections}'serve', which is an array"));
    refused("[serve]\nopen = true\nopen = true\n", "FILE, line 3: duplicate key");
    refused("[serve]\nopen = \n", "FILE, line 2: ");
    refused("[serve\n", "FILE, line 1: ");
}

#[test]
fn each_table_is_the_section_overlaid_by_its_own_keys() {
    let file = "\
[serve]
most = 1
must = 'x'
[[serve.listener]]
listen = 'a'
[[serve.listener]]
listen = 'b'
most = 2
";
    gives(file, &[], &["--most=1 --must=x --listen=a", "--must=x --listen=b --most=2"]);
    gives(file, &["--most=3"], &["--must=x --listen=a --most=3", "--must=x --listen=b --most=3"]);
    gives("[serve]\nmost = 1\nlistener = []", &[], &["--most=1"]);
    let expected = "FILE, line 2: expected tables [[serve.listener]], got ";
    refused("[serve]\nlistener = 1", &format!("{expected}an integer"));
    refused("[serve]\nlistener = [1]", &format!("{expected}an integer"));
    let range = "FILE, line 2: [[serve.listener]] most: invalid value '0'";
    refused("[[serve.listener]]\nmost = 0", range);
}

#[test]
fn what_came_from_the_file_is_remembered() {
    let file = File::new(b"[serve]\nmost = 1\nopen = true");
    let argv = ["test", "serve", "--config", file.path(), "--open"].map(OsString::from);
    let all = arguments(&argv, &command(), "serve", None).expect("a good file");
    assert_eq!(all[0].origin, Some(format!("[serve] of {} sets most", file.path())));
    let plain = ["test", "serve", "--open"].map(OsString::from);
    let all = arguments(&plain, &command(), "serve", None).expect("no file");
    assert_eq!(all, [Arguments { argv: plain.to_vec(), origin: None }]);
}

#[test]
fn a_command_below_another_has_a_section_below_it() {
    let file = File::new(b"[plain.inner]\nmost = 1\nway-out = ['a']\n[serve]\nmost = 2");
    let argv = ["test", "plain", "inner", "--config", file.path(), "--open"].map(OsString::from);
    let all = arguments(&argv, &command(), "plain.inner", None).expect("a good file");
    let words: Vec<_> = all[0].argv.iter().filter_map(|word| word.to_str()).collect();
    assert_eq!(words, ["test", "plain", "inner", "--most=1", "--config", file.path(), "--open", "--", "a"]);
    let file = File::new(b"[plain.inner]\nmost = 0");
    let argv = ["test", "plain", "inner", "--config", file.path()].map(OsString::from);
    let error = arguments(&argv, &command(), "plain.inner", None).expect_err("out of range");
    assert!(error.contains("line 2: [plain.inner] most: invalid value '0'"), "{error}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let read = |path: &str| {
        let argv = ["test", "serve", "--config", path].map(OsString::from);
        arguments(&argv, &command(), "serve", None).expect_err("no such file")
    };
    assert!(read("/nonexistent/file").starts_with("--config /nonexistent/file: "));
    let file = File::new(b"[serve]\nmust = '\xff'");
    assert!(read(file.path()).contains("expected text in UTF-8"));
}

/// The example that is shipped.
fn example() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/ropewalk.toml");
    std::fs::read_to_string(path).expect("it is in the repository")
}

#[test]
fn the_example_has_every_switch_of_every_service() {
    let example = example();
    let mut command = Cli::command();
    command.build();
    let mut known = Vec::new();
    sections(&command, "", &mut known);
    for section in known {
        let below = |above: Command, name: &str| above.find_subcommand(name).cloned();
        let sub = section.split('.').try_fold(command.clone(), below).expect("it was found before");
        let heading = format!("\n[{section}]\n");
        let (_, section) = example.split_once(&heading).expect("a section for each service");
        let section = section.split("\n[").next().unwrap_or(section);
        for key in sub.get_arguments().filter_map(switches::key_of) {
            let line = format!("\n#{key} = ");
            assert!(section.contains(&line), "the example does not have {key} in {heading}");
        }
    }
}

#[test]
fn every_line_of_the_example_does_what_it_says() {
    let example = example();
    let mut section = "";
    let mut seen = 0;
    for line in example.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        }
        let Some(setting) =
            line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_alphabetic()))
        else {
            continue;
        };
        if setting.starts_with("runtime") && cfg!(not(feature = "async-std")) {
            continue;
        }
        // One at a time: some exclude each other.
        let file = File::new(format!("[{section}]\n{setting}\n").as_bytes());
        let words = ["ropewalk"].into_iter().chain(section.split('.')).chain(["--config", file.path()]);
        let argv: Vec<OsString> = words.map(OsString::from).collect();
        let all = arguments(&argv, &Cli::command(), section, None).expect(setting);
        assert_eq!(all[0].argv.len() > argv.len(), !setting.ends_with("false"), "{setting}");
        Cli::try_parse_from(&all[0].argv).expect(setting);
        seen += 1;
    }
    assert!(seen > 10, "expected a line for each switch, got {seen}");
    let whole = File::new(example.as_bytes());
    let argv = ["ropewalk", "dispatch", "--config", whole.path()].map(OsString::from);
    let all = arguments(&argv, &Cli::command(), "dispatch", None).expect("only comments");
    assert_eq!(all[0].argv, argv);
}
