//! What tcpdump sees on a device: the SYNs or datagrams that leave.

use crate::common::ns::Ns;
use crate::common::{LONG, wait_until};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

pub(crate) struct Capture {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Capture {
    /// Watches `device` of `ns` for SYNs towards the server; returns when it sees.
    pub(crate) fn of_syns(ns: &Ns, device: &str) -> Self {
        // pcap-filter(7): tcp[...] looks into IPv4 only; in IPv6 the flags are at 40 + 13.
        let filter = "(ip and tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn) or \
                      (ip6 and ip6[6] == 6 and ip6[53] & 0x12 == 0x02)";
        Capture::of(ns, device, filter)
    }

    /// Watches `device` of `ns` for datagrams towards the server.
    pub(crate) fn of_datagrams(ns: &Ns, device: &str) -> Self {
        Capture::of(ns, device, "udp and dst host 203.0.113.1")
    }

    /// Watches `device` of `ns` for questions to name servers.
    pub(crate) fn of_questions(ns: &Ns, device: &str) -> Self {
        Capture::of(ns, device, "udp and dst port 53")
    }

    fn of(ns: &Ns, device: &str, filter: &str) -> Self {
        let mut command = Command::new("tcpdump");
        // The kernel has 2 MiB for what tcpdump has not read yet, in places as large as a whole
        // packet may be: 64 KiB on a veth, so 32 places, and a busy machine lets more wait.
        command.args(["-i", device, "-n", "-l", "--immediate-mode", "-s", "512", "-Z", "root", filter]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = ns.run(|| command.spawn().expect("asked for before"));
        let stderr = BufReader::new(child.stderr.take().expect("piped above"));
        let mut said = stderr.lines().map_while(Result::ok);
        assert!(said.any(|line| line.starts_with("listening on")), "expected tcpdump to listen");
        // It writes its sums there at its end.
        std::thread::spawn(move || said.for_each(drop));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (stdout, sink) = (child.stdout.take().expect("piped above"), Arc::clone(&lines));
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                sink.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Capture { child, lines, reader: Some(reader) }
    }

    fn lines(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `count` are seen, then stops and gives all there are: `IP SOURCE.PORT >
    /// TARGET.PORT: ...`.
    #[track_caller]
    pub(crate) fn finish(mut self, count: usize) -> Vec<String> {
        wait_until("tcpdump has seen all", LONG, || self.lines().len() >= count);
        self.end();
        self.lines().clone()
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.end();
    }
}
