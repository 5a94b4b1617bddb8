//! HAProxy in TCP mode, for comparison: it forwards the bytes between two sockets without parsing them.

use std::net::{Ipv4Addr, TcpListener as StdListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;

use tokio::net::TcpListener;
use tokio::process::Command;
use zeek_bridge::net::tls::{ServerHost, Tls};

use super::own::{OwnRelay, mutual, spawn, temporary_folder};
use super::process::Process;
use super::side::Side;
use crate::args::tls::{TlsArgs, TlsMode};
use crate::output::Failure;

/// The certificates of both sides. The second file contains the certificate and the key.
const CERTIFICATES: &str = "ssl ca-file cafile crt certificate-and-key verify required";

/// Fails if HAProxy cannot be started, or has no such TLS.
pub(super) async fn check(tls: &TlsArgs) -> Result<(), Failure> {
    is_encrypted(tls)?;
    let version = Command::new("haproxy").arg("-v").stdin(Stdio::null()).stdout(Stdio::null()).status().await;
    version.map(drop).map_err(|error| not_started(&error))
}

fn is_encrypted(tls: &TlsArgs) -> Result<bool, Failure> {
    match tls.between_own()? {
        TlsMode::Off => Ok(false),
        TlsMode::Mutual => Ok(true),
        TlsMode::Anonymous | TlsMode::Auto => {
            Err(Failure::usage("HAProxy has no anonymous TLS; use --tls off or --tls mutual"))
        }
    }
}

fn not_started(error: &std::io::Error) -> Failure {
    Failure::failed(format!(
        "cannot start haproxy: {error}; install HAProxy (the package haproxy of most Linux distributions), or add it to PATH"
    ))
}

/// Starts HAProxy on loopback. The publisher connects to it, and it connects to the subscriber.
pub(super) fn start(tls: &TlsArgs) -> Result<OwnRelay, Failure> {
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        Failure::failed(format!("cannot start HAProxy to measure: {what}: {error}"))
    };
    let folder = temporary_folder()?;
    let tls = if is_encrypted(tls)? {
        certificates(folder.path()).map_err(|error| failed("cannot create certificates", &error))?
    } else {
        Tls::Off
    };
    let listen = || StdListener::bind((Ipv4Addr::LOCALHOST, 0));
    let socket = |error: std::io::Error| failed("cannot listen on loopback", &error);
    let (front, back) = (listen().map_err(socket)?, listen().map_err(socket)?);
    let addresses = (front.local_addr().map_err(socket)?, back.local_addr().map_err(socket)?);
    back.set_nonblocking(true).map_err(socket)?;
    let back = TcpListener::from_std(back).map_err(socket)?;
    let options = if matches!(tls, Tls::Off) { "" } else { CERTIFICATES };
    let config = format!(
        "global\n  zero-warning\n\
         defaults\n  mode tcp\n  timeout connect 10s\n  timeout client 1h\n  timeout server 1h\n\
         listen relay\n  bind fd@0 {options}\n  server subscriber {} {options}\n",
        addresses.1
    );
    std::fs::write(folder.path().join("haproxy.cfg"), config)
        .map_err(|error| failed("cannot write its configuration", &error))?;
    let mut command = Command::new("haproxy");
    // Without `-q`, which closes the standard input.
    command.args(["-db", "-f", "haproxy.cfg"]).current_dir(folder.path());
    // It listens on the socket that is its standard input, so connections are never refused.
    let child =
        spawn(&mut command, Stdio::from(OwnedFd::from(front))).map_err(|error| not_started(&error))?;
    let process = child.id().and_then(|pid| Process::of(pid).ok());
    let side = |address: std::net::SocketAddr| Side {
        address: address.to_string(),
        tls: tls.clone(),
        host: ServerHost::default(),
        token: None,
    };
    let sides = [side(addresses.0), side(addresses.1)];
    Ok(OwnRelay { child, _folder: folder, sides, backend: Some((back, tls)), process })
}

/// Creates certificates for both ends, and the file that contains both the certificate and the key of HAProxy.
fn certificates(folder: &Path) -> Result<Tls, Box<dyn std::error::Error>> {
    let tls = mutual(folder)?;
    let [certificate, key] = ["certificate", "keyfile"].map(|name| std::fs::read(folder.join(name)));
    std::fs::write(folder.join("certificate-and-key"), [certificate?, key?].concat())?;
    Ok(tls)
}
