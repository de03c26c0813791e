//! Tunnels of others, as Debian has them: each by the first link alone, in user space.
//!
//! wireguard-go is set up by its own protocol (`set=1` on a Unix socket), so it needs no other
//! program. openvpn knows the other end by its certificate's fingerprint.

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use base64ct::{Base64UrlUnpadded, Encoding};
use ropewalk_core::bond::crypto::{Rng, SecretKey};

use crate::daemon::Daemon;
use crate::hosts::{FAR, Pair, SERVER};
use crate::tunnel::{Folder, Tunnel};

const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const PORT: u16 = 51_820;

/// Which of these programs, or of what they need, is not here.
pub(crate) fn missing(programs: &[&str]) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has = |program: &str| std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    let program = programs.iter().find(|program| !has(program));
    let needs = program.map(|program| format!("{program} is not installed"));
    needs.or_else(|| (!Path::new("/dev/net/tun").exists()).then(|| "there is no /dev/net/tun".to_owned()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Says something to a wireguard-go, as soon as it listens.
fn set(device: &str, settings: &str) -> Result<(), String> {
    let path = format!("/var/run/wireguard/{device}.sock");
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut stream = loop {
        match UnixStream::connect(&path) {
            Ok(stream) => break stream,
            Err(error) if Instant::now() > deadline => return Err(format!("{path}: {error}")),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let mut said = [0; 64];
    let answered = stream
        .write_all(format!("set=1\n{settings}\n\n").as_bytes())
        .and_then(|()| stream.read(&mut said))
        .map_err(|error| format!("{path}: {error}"))?;
    let said = String::from_utf8_lossy(&said[..answered]);
    if said.trim() == "errno=0" { Ok(()) } else { Err(format!("{path}: expected errno=0, got {said}")) }
}

/// Both ends of a wireguard-go.
pub(crate) fn wireguard_go(hosts: &Pair) -> Result<Tunnel, String> {
    let folder = Folder::new()?;
    // The sockets of all of them are in one folder.
    let [near, far] = ["c", "s"].map(|end| format!("rwg{end}{}", std::process::id() % 1_000_000));
    let start = |ns, device: &str, log: &str| {
        let mut command = Command::new("wireguard-go");
        command.args(["-f", device]);
        Daemon::start(ns, &mut command, &folder.0, log)
    };
    let server = start(&hosts.server, &far, "serve.log")?;
    let client = start(&hosts.client, &near, "connect.log")?;
    let mut rng = Rng::new([7; 32]);
    let keys = [SecretKey::generate(&mut rng), SecretKey::generate(&mut rng)];
    let [server_public, client_public] = [0, 1].map(|end| hex(keys[end].public().as_bytes()));
    let secret = |end: usize| {
        let text = keys[end].to_text();
        let bytes = Base64UrlUnpadded::decode_vec(text.rsplit('.').next().unwrap_or_default());
        bytes.map(|bytes| hex(&bytes)).map_err(|error| format!("a key of ours: {error}"))
    };
    set(
        &far,
        &format!(
            "private_key={}\nlisten_port={PORT}\npublic_key={client_public}\nallowed_ip={INSIDE}/32",
            secret(0)?
        ),
    )?;
    set(
        &near,
        &format!(
            "private_key={}\npublic_key={server_public}\nendpoint={SERVER}:{PORT}\nallowed_ip=0.0.0.0/0",
            secret(1)?
        ),
    )?;
    hosts.server.ip(&format!("address add 10.77.0.1/24 dev {far}\nlink set {far} mtu 1420 up"));
    hosts.client.ip(&format!(
        "address add {INSIDE}/24 dev {near}\nlink set {near} mtu 1420 up\n\
         route add {FAR}/32 dev {near} src {INSIDE}"
    ));
    let tunnel = Tunnel { client, server, inside: INSIDE, devices: [near, far], folder };
    tunnel.wait_for_route(hosts)?;
    Ok(tunnel)
}

/// A certificate of its own, and its fingerprint.
fn certificate(folder: &Path, name: &str) -> Result<String, String> {
    let openssl = |args: &str| {
        let output = Command::new("openssl").args(args.split(' ')).current_dir(folder).output();
        let output = output.map_err(|error| format!("openssl: {error}"))?;
        let said =
            String::from_utf8_lossy(if output.status.success() { &output.stdout } else { &output.stderr });
        if output.status.success() { Ok(said.into_owned()) } else { Err(format!("openssl {args}: {said}")) }
    };
    openssl(&format!(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={name} \
         -keyout {name}.key -out {name}.crt"
    ))?;
    let said = openssl(&format!("x509 -fingerprint -sha256 -noout -in {name}.crt"))?;
    let fingerprint = said.trim().rsplit_once('=').map(|(_, fingerprint)| fingerprint.to_owned());
    fingerprint.ok_or_else(|| format!("expected a fingerprint, got {said}"))
}

/// Both ends of an openvpn, with AES-256-GCM.
pub(crate) fn openvpn(hosts: &Pair) -> Result<Tunnel, String> {
    let folder = Folder::new()?;
    let fingerprints = [certificate(&folder.0, "server")?, certificate(&folder.0, "client")?];
    let openvpn = |name: &str, other: &str, args: &str| {
        let mut command = Command::new("openvpn");
        let common = format!(
            "--dev rwo0 --dev-type tun --proto udp --data-ciphers AES-256-GCM --verb 3 --cert {name}.crt \
             --key {name}.key"
        );
        command.current_dir(&folder.0).args(common.split(' ')).args(["--peer-fingerprint", other]);
        command.args(args.split(' '));
        command
    };
    let done = "Initialization Sequence Completed".to_owned();
    let serve = format!(
        "--tls-server --dh none --local {SERVER} --port {PORT} --topology subnet \
         --server 10.77.0.0 255.255.255.0"
    );
    let mut server = openvpn("server", &fingerprints[1], &serve);
    let mut server = Daemon::start(&hosts.server, &mut server, &folder.0, "serve.log")?;
    server.wait_for(std::slice::from_ref(&done))?;
    let connect = format!("--client --nobind --remote {SERVER} {PORT}");
    let mut client = openvpn("client", &fingerprints[0], &connect);
    let mut client = Daemon::start(&hosts.client, &mut client, &folder.0, "connect.log")?;
    client.wait_for(&[done])?;
    hosts.client.ip(&format!("route add {FAR}/32 dev rwo0 src {INSIDE}"));
    let devices = ["rwo0".to_owned(), "rwo0".to_owned()];
    let tunnel = Tunnel { client, server, inside: INSIDE, devices, folder };
    tunnel.wait_for_route(hosts)?;
    Ok(tunnel)
}
