//! Whatever is killed, and whenever: `restore`, or the end of the next run, puts all back. Name
//! servers included: the client has an /etc of its own.

use crate::common::proxy::{Launch, Proxy};
use crate::common::{Scratch, has, here};
use crate::host::{Hosts, assert_same, dump};
use std::time::Duration;

/// What a host had before: a file, and a link to one.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Resolver {
    File,
    Link,
}

struct Etc {
    scratch: Scratch,
}

impl Etc {
    fn new(resolver: Resolver) -> Self {
        let scratch = Scratch::new();
        let name = if resolver == Resolver::Link { "real" } else { "resolv.conf" };
        scratch.file(name, b"# mine\nnameserver 192.0.2.53\n");
        if resolver == Resolver::Link {
            let link = scratch.path().join("resolv.conf");
            std::os::unix::fs::symlink("real", link).expect("our own directory");
        }
        Etc { scratch }
    }

    /// Runs a command of the bond on the client's host, with this /etc.
    fn begin(&self, hosts: &Hosts, args: &[&str]) -> Proxy {
        let line = format!("mount --bind {} /etc && exec \"$0\" \"$@\"", self.scratch.path().display());
        let state = hosts.world.state("connect");
        let args = [args, &["--state-dir", &state]].concat();
        hosts.world.client.run(|| Launch::bond(&args).behind(&["unshare", "-m", "sh", "-c", &line]).begin())
    }

    fn connect(&self, hosts: &Hosts, args: &[&str]) -> Proxy {
        let usual = ["connect", "--via", "c1", "--via", "c2", "--kill-switch", "--dns", "10.77.0.1"];
        let client = self.begin(hosts, &[&usual, args].concat());
        hosts.wait_until_carried(&client);
        crate::common::wait_until("the name server is the bond's", crate::host::LONG, || {
            self.look().contains("nameserver 10.77.0.1")
        });
        client
    }

    #[track_caller]
    fn restore(&self, hosts: &Hosts) {
        assert!(self.begin(hosts, &["restore"]).wait_for_end().success());
    }

    /// The text of resolv.conf, and where it leads.
    fn look(&self) -> String {
        let path = self.scratch.path().join("resolv.conf");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        format!("{:?}: {text}", std::fs::read_link(&path).ok())
    }
}

/// Both hosts, as they are.
fn look(hosts: &Hosts, etc: &Etc) -> [String; 2] {
    [dump(&hosts.world.client) + &etc.look(), dump(&hosts.world.server)]
}

#[track_caller]
fn expect(hosts: &Hosts, etc: &Etc, before: &[String; 2], when: &str) {
    let now = look(hosts, etc);
    assert_same(&now[0], &before[0], &format!("the client's host {when}"));
    assert_same(&now[1], &before[1], &format!("the server's host {when}"));
}

#[track_caller]
fn end(mut one: Proxy) {
    one.terminate();
    assert!(one.wait_for_end().success());
}

#[test]
fn a_kill_of_either_end_and_of_both_is_put_back_by_restore_and_by_the_next_start() {
    let Some(hosts) = Hosts::new(here!()) else { return };
    if !has(here!(), "unshare") {
        return;
    }
    let _web = hosts.web();
    let server = hosts.serve();
    let join = hosts.world.invite("laptop", &[]);
    let mut servers = vec![server];
    for resolver in [Resolver::File, Resolver::Link] {
        let etc = Etc::new(resolver);
        servers.drain(..).for_each(end);
        let before = look(&hosts, &etc);
        // Each of the victims, and whether `restore` comes before the next start.
        for (kills_client, kills_server, restores) in [
            (true, false, true),
            (false, true, true),
            (true, true, true),
            (true, false, false),
            (false, true, false),
            (true, true, false),
        ] {
            let when =
                format!("{resolver:?}, client {kills_client}, server {kills_server}, restore {restores}");
            let server = hosts.serve();
            let first: &[&str] = if hosts.world.knows_its_server() { &[] } else { &[&join] };
            let client = etc.connect(&hosts, first);
            assert_eq!(hosts.who_fetches().as_deref(), Some("203.0.113.1"), "{when}");
            let during = look(&hosts, &etc);
            assert!(during[0] != before[0] && during[1] != before[1], "{when}: something is changed");
            // At once: nobody is told in between.
            for (kills, one) in [(kills_client, &client), (kills_server, &server)] {
                if kills {
                    one.kill();
                }
            }
            // What is assigned to is dropped: waited for.
            let mut left = (Some(client), Some(server));
            if kills_client {
                left.0 = None;
            }
            if kills_server {
                left.1 = None;
            }
            if kills_client && restores {
                etc.restore(&hosts);
                assert_same(&look(&hosts, &etc)[0], &before[0], &format!("the client's host, {when}"));
            }
            if kills_server && restores {
                hosts.restore("serve");
                assert_same(&look(&hosts, &etc)[1], &before[1], &format!("the server's host, {when}"));
            }
            let server = left.1.unwrap_or_else(|| hosts.serve());
            let client = left.0.unwrap_or_else(|| etc.connect(&hosts, &[]));
            // It goes on, by whichever of both is new.
            crate::common::wait_until("it goes on", crate::host::LONG, || {
                hosts.who_fetches_within("2").is_some()
            });
            end(client);
            end(server);
            expect(&hosts, &etc, &before, &when);
        }
    }
}

#[test]
fn a_kill_at_any_moment_of_the_start_or_the_end_is_put_back() {
    let Some(hosts) = Hosts::new(here!()) else { return };
    if !has(here!(), "unshare") {
        return;
    }
    let server = hosts.serve();
    let join = hosts.world.invite("laptop", &[]);
    let etc = Etc::new(Resolver::File);
    end(etc.connect(&hosts, &[&join]));
    end(server);
    let before = look(&hosts, &etc);
    // These choose the moment; what must hold then holds at any.
    for wait in [0, 10, 20, 30, 45, 60, 90, 150] {
        let wait = Duration::from_millis(wait);
        let when = format!("killed {wait:?} after the start");
        let server = hosts.begin("serve", &[]);
        let client = etc.begin(&hosts, &["connect", "--via", "c1", "--kill-switch", "--dns", "10.77.0.1"]);
        std::thread::sleep(wait);
        for one in [&client, &server] {
            one.kill();
        }
        drop((client, server));
        etc.restore(&hosts);
        hosts.restore("serve");
        expect(&hosts, &etc, &before, &when);
    }
    for wait in [0, 2, 5, 10, 20, 40, 80] {
        let wait = Duration::from_millis(wait);
        let when = format!("killed {wait:?} after SIGTERM");
        let server = hosts.serve();
        let client = etc.connect(&hosts, &[]);
        for one in [&client, &server] {
            one.terminate();
        }
        std::thread::sleep(wait);
        for one in [&client, &server] {
            one.kill();
        }
        drop((client, server));
        etc.restore(&hosts);
        hosts.restore("serve");
        expect(&hosts, &etc, &before, &when);
    }
}
