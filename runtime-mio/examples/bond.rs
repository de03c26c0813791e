//! The two ends of a bond on real TUN devices and sockets: the machines and the runtime, and
//! nothing around them.
//!
//! ```text
//!   bond keygen                                                     two keys: keep the first, give away the second
//!   bond serve LISTEN OWN-KEY CLIENT-KEY INSIDE-ADDRESS/BITS CLIENT-ADDRESS
//!   bond connect SERVER OWN-KEY SERVER-KEY [DEVICE...]              all packets to the tunnel's network by these devices
//! ```
//!
//! It needs root, sets no routes beyond the tunnel's own network, and says what happens on standard
//! error. With `BOND_PLAIN` in the environment the TUN device has no segmentation offload, to see
//! what that costs.

use ropewalk_core::bond::crypto::{CipherOrder, PresharedKey, PublicKey, Rng, SecretKey};
use ropewalk_core::bond::{
    Client, ClientConfig, Common, DEFAULT_MTU, KnownClient, Server, ServerConfig, Tuning, Uplink,
};
use ropewalk_core::machine::event::Event;
use ropewalk_core::machine::{
    Application, Device, Fault, ListenerId, TunConfiguration, TunId, UplinkId, Via,
};
use ropewalk_core::time::Instant;
use ropewalk_core::uplink::{Pool, PoolConfig};
use ropewalk_mio::{Listeners, Shared, Tun, Watch, Worker, listen_datagrams};
use std::error::Error;
use std::process::Command;

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["keygen"] => {
            let key = SecretKey::generate(&mut Rng::new(seed()?));
            println!("{}\n{}", key.to_text().as_str(), key.public());
            Ok(())
        }
        ["serve", listen, key, client, inside, address] => serve(listen, key, client, inside, address),
        ["connect", server, key, server_key, ref devices @ ..] => connect(server, key, server_key, devices),
        _ => Err("expected keygen, serve or connect: see the head of this example".into()),
    }
}

fn serve(listen: &str, key: &str, client: &str, inside: &str, address: &str) -> Outcome {
    let (own, bits) = inside.split_once('/').ok_or("expected INSIDE-ADDRESS/BITS")?;
    let (own, bits) = (own.parse()?, bits.parse()?);
    let tun = open_tun()?;
    let common = common(key, tun.offload())?;
    set_up(&tun.name()?, &TunConfiguration { addresses: vec![(own, bits)], mtu: common.mtu })
        .map_err(|fault| format!("cannot set the device up: {fault}"))?;
    let client =
        KnownClient { key: client.parse()?, psk: PresharedKey::NONE, addresses: vec![address.parse()?] };
    let config = ServerConfig {
        common,
        listener: ListenerId(0),
        addresses: vec![(own, bits)],
        clients: vec![client],
        max_clients: 1024,
        allow_client_to_client: false,
        allow_private: false,
    };
    let mut listeners = Listeners::new(Vec::new(), vec![listen_datagrams(listen.parse()?)?]);
    listeners.tuns = vec![tun];
    run(Server::new(config, seed()?)?, listeners)
}

fn connect(server: &str, key: &str, server_key: &str, devices: &[&str]) -> Outcome {
    let tun = open_tun()?;
    let name = tun.name()?;
    let common = common(key, tun.offload())?;
    let tun = tun.configured_by(Box::new(move |configuration| set_up(&name, configuration)));
    let via = |device: &&str| -> Result<Via, String> {
        let device =
            Device::new(device).ok_or_else(|| format!("expected the name of a device, got '{device}'"))?;
        Ok(Via { device: Some(device), ..Via::default() })
    };
    let ways = if devices.is_empty() {
        vec![Via::default()]
    } else {
        devices.iter().map(via).collect::<Result<Vec<_>, _>>()?
    };
    let uplinks = ways.into_iter().enumerate();
    let config = ClientConfig {
        common,
        server: server.parse()?,
        server_key: server_key.parse::<PublicKey>()?,
        psk: PresharedKey::NONE,
        token: Vec::new(),
        uplinks: uplinks.map(|(id, via)| Uplink { id: UplinkId(id as u16), via, weight: 1 }).collect(),
    };
    let listeners = Listeners { tuns: vec![tun], ..Listeners::default() };
    run(Client::new(config, seed()?)?, listeners)
}

fn open_tun() -> Result<Tun, Box<dyn Error>> {
    let offload = std::env::var_os("BOND_PLAIN").is_none();
    Tun::create(None, offload).map_err(|error| format!("cannot make a TUN device: {error}").into())
}

fn common(key: &str, offload: bool) -> Result<Common, Box<dyn Error>> {
    Ok(Common {
        tun: TunId(0),
        offload,
        mtu: DEFAULT_MTU,
        key: key.parse()?,
        ciphers: CipherOrder::fast_aes(),
        tuning: Tuning::default(),
    })
}

/// Addresses and MTU by `ip`: an example needs no netlink.
fn set_up(name: &str, configuration: &TunConfiguration) -> Result<(), Fault> {
    let ip = |args: &[&str]| match Command::new("ip").args(args).status() {
        Ok(status) if status.success() => Ok(()),
        _ => Err(Fault::Unsupported),
    };
    for (address, bits) in &configuration.addresses {
        ip(&["address", "replace", &format!("{address}/{bits}"), "dev", name])?;
    }
    ip(&["link", "set", name, "mtu", &configuration.mtu.to_string(), "up"])?;
    eprintln!("{name} is up: {:?}, mtu {}", configuration.addresses, configuration.mtu);
    Ok(())
}

/// Prints what happens.
struct Print;

impl Watch for Print {
    fn event(&self, _: Instant, event: &Event) {
        eprintln!("{event:?}");
    }
}

fn run<M: Application + 'static>(machine: M, listeners: Listeners) -> Outcome {
    let shared = Shared::new(Pool::new(PoolConfig::default())?, Box::new(Print));
    let (worker, _handle) = Worker::new(machine, listeners, shared)?;
    worker.run()?;
    Ok(())
}

fn seed() -> Result<[u8; 32], Box<dyn Error>> {
    let mut seed = [0; 32];
    if ropewalk_sockets::entropy(&mut seed) {
        Ok(seed)
    } else {
        Err("no random bytes from the system".into())
    }
}
