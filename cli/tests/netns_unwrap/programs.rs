//! Real programs in the host's namespace: started, waited for, ended.

use crate::common::{LONG, wait_until};
use crate::host::Host;
use std::process::{Child, Command, Stdio};

pub(crate) struct Program {
    child: Child,
    /// Where its standard output and error go.
    log: std::path::PathBuf,
}

impl Program {
    /// Starts it and waits until it, or a child of it, listens on these ports.
    #[track_caller]
    pub(crate) fn start(host: &Host, line: &[&str], ports: &[u16]) -> Self {
        let log = host.dir().join(format!("{}.log", line[0].rsplit('/').next().unwrap_or("program")));
        let file = std::fs::File::create(&log).expect("our own directory");
        let mut command = Command::new(line[0]);
        command.args(&line[1..]).stdin(Stdio::null());
        command.stdout(file.try_clone().expect("a descriptor")).stderr(file);
        let child = host.ns.run(|| command.spawn()).expect("asked for before");
        let mut program = Program { child, log };
        for port in ports {
            wait_until(&format!("{} listens on {port}", line[0]), LONG, || {
                let ended = program.child.try_wait().expect("our own child");
                assert!(ended.is_none(), "{} has ended: {}", line[0], program.said());
                program.listens(*port)
            });
        }
        program
    }

    /// What it has written so far.
    pub(crate) fn said(&self) -> String {
        let bytes = std::fs::read(&self.log).expect("our own");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// proc(5): in its namespace there is a socket in state LISTEN (0A) on this port.
    fn listens(&self, port: u16) -> bool {
        let port = format!(":{port:04X}");
        ["tcp", "tcp6"].iter().any(|table| {
            let path = format!("/proc/{}/net/{table}", self.child.id());
            let text = std::fs::read_to_string(path).unwrap_or_default();
            text.lines().any(|line| {
                let fields: Vec<&str> = line.split_ascii_whitespace().collect();
                fields.len() > 3 && fields[1].ends_with(&port) && fields[3] == "0A"
            })
        })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {} ---\n{}", self.log.display(), self.said());
        }
    }
}
