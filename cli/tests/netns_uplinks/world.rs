//! A client with several uplinks, and a far side that shows by which link each connection came.
//!
//! ```text
//!   client            far
//!   up1 10.77.1.2 ─── 10.77.1.1 far1 ┐
//!       fd77:1::2     fd77:1::1      ├─ lo 203.0.113.1, 2001:db8:ffff::1: the server
//!   up2 10.77.2.2 ─── 10.77.2.1 far2 ┘
//! ```
//!
//! Each uplink has a default route of its own, with metrics 101, 102, and so on. With a far side
//! for each uplink (`apart`) the server is there once on each.

use crate::common::ns::Ns;
use crate::common::proxy::{Launch, Proxy};
use crate::common::servers::Server;
use crate::common::socks::{self, Refused};
use crate::common::{LONG, process, skip, wait_until};
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

/// Where the server is.
pub(crate) const SERVER: SocketAddr =
    SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 1)), 80);
pub(crate) const SERVER_V6: SocketAddr =
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1)), 80);

/// What is open by then was not tried by another uplink too.
pub(crate) const PATIENCE: Duration = Duration::from_millis(200);

/// "nobody", by number.
const NOBODY: u32 = 65534;

pub(crate) struct World {
    pub(crate) client: Ns,
    fars: Vec<Ns>,
    servers: Vec<Server>,
    /// The uplinks' addresses are all those of the first.
    alike: bool,
}

/// What the far side saw of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    /// The source address.
    pub(crate) source: IpAddr,
    /// At which far side, from 1.
    pub(crate) far: usize,
    /// From the request until the proxy's reply.
    pub(crate) opened: Duration,
    /// From the request until all of this was known.
    pub(crate) took: Duration,
}

impl Seen {
    /// No other uplink was tried beside the first.
    pub(crate) fn is_calm(&self) -> bool {
        self.opened < PATIENCE
    }
}

impl World {
    /// This many uplinks to one far side. `None`: skipped, and said so.
    pub(crate) fn new(test: &str, uplinks: usize) -> Option<Self> {
        World::build(uplinks, false).inspect_err(|needs| skip(test, needs)).ok()
    }

    /// This many uplinks, each with a far side of its own and all with the addresses of the first.
    pub(crate) fn alike(test: &str, uplinks: usize) -> Option<Self> {
        World::build(uplinks, true).inspect_err(|needs| skip(test, needs)).ok()
    }

    fn build(uplinks: usize, alike: bool) -> Result<Self, String> {
        let mut world = World { client: Ns::new()?, fars: Vec::new(), servers: Vec::new(), alike };
        // The answers come back through the uplink that the question left by, which need not be the
        // best route: strict filtering is a chapter of its own (`ropewalk doctor`).
        for key in ["all", "default"] {
            world.client.set(&format!("ipv4/conf/{key}/rp_filter"), "0");
        }
        for n in 1..=if alike { uplinks } else { 1 } {
            let far = Ns::new()?;
            far.ip(&format!(
                "addr add {}/32 dev lo\naddr add {}/128 dev lo nodad\n",
                SERVER.ip(),
                SERVER_V6.ip()
            ));
            for address in [SERVER, SERVER_V6] {
                let listener = far.run(|| TcpListener::bind(address).expect("nobody else is there"));
                world.servers.push(Server::in_turn(listener, move |stream| tell(stream, n)));
            }
            world.fars.push(far);
        }
        (1..=uplinks).for_each(|n| world.plug(n));
        Ok(world)
    }

    /// Two uplinks, 10.77.1.2 and 10.77.1.3, to one network with one gateway, 10.77.1.1.
    pub(crate) fn one_network(test: &str) -> Option<Self> {
        let world = World::build(0, false).inspect_err(|needs| skip(test, needs)).ok()?;
        let far = world.far(1);
        far.ip("link add br0 type bridge\nlink set br0 up\naddr add 10.77.1.1/24 dev br0\n");
        for (n, last) in [(1, 2), (2, 3)] {
            world.client.ip(&format!(
                "link add up{n} type veth peer name far{n} netns {}\naddr add 10.77.1.{last}/24 dev up{n}\n",
                far.name()
            ));
            far.ip(&format!("link set far{n} master br0\nlink set far{n} up\n"));
            world.client.ip(&format!(
                "link set up{n} up\nroute add default via 10.77.1.1 dev up{n} metric {}\n",
                100 + n
            ));
            world.wait_for_carrier(n);
        }
        Some(world)
    }

    /// The far side of uplink `n`, counted from 1.
    pub(crate) fn far(&self, n: usize) -> &Ns {
        if self.alike { &self.fars[n - 1] } else { &self.fars[0] }
    }

    /// Connects uplink `n`, with addresses and default routes.
    pub(crate) fn plug(&self, n: usize) {
        self.plug_without_routes(n);
        let net = self.net(n);
        let metric = 100 + n;
        self.client.ip(&format!(
            "route add default via 10.77.{net}.1 dev up{n} metric {metric}\n\
             -6 route add default via fd77:{net}::1 dev up{n} metric {metric}\n"
        ));
    }

    /// Connects uplink `n`, with addresses only.
    pub(crate) fn plug_without_routes(&self, n: usize) {
        let (net, far) = (self.net(n), self.far(n));
        // Without link-local addresses there is nothing to wait for until they are known to be
        // unique.
        self.client.ip(&format!(
            "link add up{n} type veth peer name far{n} netns {}\n\
             link set up{n} addrgenmode none\n\
             addr add 10.77.{net}.2/24 dev up{n}\n\
             addr add fd77:{net}::2/64 dev up{n} nodad\n",
            far.name()
        ));
        far.ip(&format!(
            "link set far{n} addrgenmode none\n\
             addr add 10.77.{net}.1/24 dev far{n}\n\
             addr add fd77:{net}::1/64 dev far{n} nodad\n\
             link set far{n} up\n"
        ));
        self.client.ip(&format!("link set up{n} up\n"));
        self.wait_for_carrier(n);
    }

    fn wait_for_carrier(&self, n: usize) {
        self.wait_for_link(n, " state UP ");
    }

    /// Linux reports a carrier some time after it is there, and its loss up to a second late.
    pub(crate) fn wait_for_link(&self, n: usize, told: &str) {
        let show = ["-n", self.client.name(), "-o", "link", "show", "dev", &format!("up{n}")];
        wait_until(&format!("up{n}: {told}"), LONG, || {
            let output = Command::new("ip").args(show).output().expect("ip was there for the namespace");
            String::from_utf8_lossy(&output.stdout).contains(told)
        });
    }

    /// Switches uplink `n` on again: its routes went, and its IPv6 address.
    pub(crate) fn replug(&self, n: usize) {
        let (net, metric) = (self.net(n), 100 + n);
        self.client.ip(&format!(
            "link set up{n} up\n\
             addr replace fd77:{net}::2/64 dev up{n} nodad\n\
             route replace default via 10.77.{net}.1 dev up{n} metric {metric}\n\
             -6 route replace default via fd77:{net}::1 dev up{n} metric {metric}\n"
        ));
    }

    /// Takes uplink `n` away, device and all.
    pub(crate) fn unplug(&self, n: usize) {
        self.client.ip(&format!("link del up{n}\n"));
    }

    /// Lets all answers to uplink `n` vanish on the far side, without a word.
    pub(crate) fn black_hole(&self, n: usize) {
        let commands = format!("route add blackhole {}\n-6 route add blackhole {}\n", ip(n), ip_v6(n));
        self.far(n).ip(&commands);
    }

    /// Mends a [`black_hole`](Self::black_hole).
    pub(crate) fn mend(&self, n: usize) {
        let commands = format!("route del blackhole {}\n-6 route del blackhole {}\n", ip(n), ip_v6(n));
        self.far(n).ip(&commands);
    }

    fn net(&self, n: usize) -> usize {
        if self.alike { 1 } else { n }
    }

    /// `ropewalk dispatch` in the client's namespace, as a user without any privilege.
    #[track_caller]
    pub(crate) fn dispatch(&self, args: &[&str]) -> Proxy {
        let launch = Launch::as_user(args, NOBODY);
        let proxy = self.client.run(|| launch.start());
        let (users, capabilities) = process::privileges(proxy.id());
        assert_eq!((users, capabilities), (vec![NOBODY; 4], 0), "the proxy is to be without privilege");
        proxy
    }

    /// A tunnel to `target` through the proxy.
    pub(crate) fn connect(&self, proxy: &Proxy, target: SocketAddr) -> Result<TcpStream, Refused> {
        self.client.run(|| socks::connect(proxy.address, target))
    }

    /// The address that the reply to a request for `target` tells (BND).
    #[track_caller]
    pub(crate) fn bound(&self, proxy: &Proxy, target: SocketAddr) -> SocketAddr {
        self.client.run(|| {
            let mut stream = socks::dial(proxy.address);
            stream.write_all(&socks::hello(target)).expect("the proxy reads");
            socks::read_answers(&mut stream).expect("a reply").expect("an uplink that works")
        })
    }

    /// Asks the server at `target` how it sees us.
    #[track_caller]
    pub(crate) fn ask(&self, proxy: &Proxy, target: SocketAddr) -> Result<Seen, Refused> {
        self.client.run(|| ask(proxy.address, target))
    }

    /// Asks the IPv4 server this many times, one after another; returns the number of the uplink of
    /// each.
    #[track_caller]
    pub(crate) fn ask_times(&self, proxy: &Proxy, times: usize) -> Vec<usize> {
        let one = || {
            let seen = ask(proxy.address, SERVER).expect("an uplink that works");
            if self.alike { seen.far } else { uplink_of(seen.source) }
        };
        self.client.run(|| (0..times).map(|_| one()).collect())
    }

    /// The same, or nothing where the machine was so busy that one of them took long to open: the
    /// proxy has tried another uplink beside, and shares are not what they would be. Nor are they
    /// while an uplink rests because of such a round. For [`in_peace`].
    #[track_caller]
    pub(crate) fn ask_in_peace(&self, proxy: &Proxy, times: usize) -> Option<Vec<usize>> {
        let all_are_well = || proxy.count_lines(" rests for ") <= proxy.count_lines(" carries again");
        let one = || {
            let seen = ask(proxy.address, SERVER).expect("an uplink that works");
            let number = if self.alike { seen.far } else { uplink_of(seen.source) };
            seen.is_calm().then_some(number)
        };
        self.client.run(|| {
            wait_until("no uplink rests", LONG, || {
                let well = all_are_well();
                // One that rests comes back by what it carries.
                if !well {
                    one();
                }
                well
            });
            (0..times).map(|_| one()).collect::<Option<Vec<_>>>().filter(|_| all_are_well())
        })
    }

    /// Asks the server at `target` this often, anew where the machine was too busy. Whether an
    /// uplink that cannot carry was tried shows in how long a connection takes to open, and where
    /// such attempts are many it rests.
    #[track_caller]
    pub(crate) fn ask_and_never_wait(&self, proxy: &Proxy, target: SocketAddr, times: usize, source: IpAddr) {
        let one = || {
            let seen = self.ask(proxy, target).expect("an uplink that works");
            assert_eq!(seen.source, source);
            seen.is_calm().then_some(())
        };
        in_peace(|| (0..times).map(|_| one()).collect::<Option<()>>());
        assert_eq!(proxy.count_lines(" rests for 5s"), 0, "no uplink was tried in vain");
    }
}

/// What `round` gives once the machine is calm for so long. A disturbed round has changed whose
/// turn it is: one that asks for more than whole rounds of the shares has a proxy of its own each
/// time.
#[track_caller]
pub(crate) fn in_peace<T>(round: impl FnMut() -> Option<T>) -> T {
    let calm = std::iter::repeat_with(round).take(20).flatten().next();
    calm.expect("20 rounds, and in each a connection took 200 ms to open: the machine is too busy")
}

/// The client's address on uplink `n`.
pub(crate) fn ip(n: usize) -> IpAddr {
    IpAddr::from([10, 77, n as u8, 2])
}

/// The same in IPv6.
pub(crate) fn ip_v6(n: usize) -> IpAddr {
    IpAddr::from([0xfd77, n as u16, 0, 0, 0, 0, 0, 2])
}

/// The uplink with this address.
#[track_caller]
pub(crate) fn uplink_of(source: IpAddr) -> usize {
    let n = (1..10).find(|n| ip(*n) == source || ip_v6(*n) == source);
    n.unwrap_or_else(|| panic!("expected the address of an uplink, got {source}"))
}

/// The server: answers with the client's address and its own, and hangs up.
fn tell(mut stream: TcpStream, far: usize) {
    let peer = stream.peer_addr().map_or_else(|_| "gone".to_owned(), |peer| peer.ip().to_string());
    // A client that left has no use for it.
    let _ = stream.write_all(format!("{peer} {far}\n").as_bytes());
}

fn ask(proxy: SocketAddr, target: SocketAddr) -> Result<Seen, Refused> {
    let began = Instant::now();
    let tunnel = socks::connect(proxy, target)?;
    let opened = began.elapsed();
    let mut line = String::new();
    BufReader::new(tunnel).read_line(&mut line).expect("the server speaks first");
    let seen = line.trim_end().split_once(' ').and_then(|(source, far)| {
        Some(Seen { source: source.parse().ok()?, far: far.parse().ok()?, opened, took: began.elapsed() })
    });
    Ok(seen.unwrap_or_else(|| panic!("expected an address and a number, got {line:?}")))
}
