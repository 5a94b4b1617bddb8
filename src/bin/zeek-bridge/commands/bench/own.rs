//! The relay that is started and measured if none is given, on loopback: `zeek-bridge run` in a separate process, or [`haproxy`](super::haproxy).

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::{TcpListener, UnixDatagram};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use zeek_bridge::data::Topic;
use zeek_bridge::net::tls::{Credentials, PemSource, ServerHost, Tls, ephemeral_authority};

use super::process::Process;
use super::side::{Protocol, Side};
use crate::args::tls::{TlsArgs, TlsMode};
use crate::commands::status;
use crate::output::Failure;

/// The settings of a link with certificates.
const CERTIFICATES: &str = "cafile = 'cafile'\ncertificate = 'certificate'\nkeyfile = 'keyfile'";

/// The relay process. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct OwnRelay {
    pub(super) child: Child,
    /// The directory of its configuration, certificates and sockets.
    pub(super) _folder: TempDir,
    /// The publisher's side and the subscribers' side.
    pub(super) sides: [Side; 2],
    /// See [`Target::backend`](super::load::Target::backend).
    pub(super) backend: Option<(TcpListener, Tls)>,
    /// `None` if processes cannot be measured on this system.
    pub(super) process: Option<Process>,
}

impl OwnRelay {
    /// Starts the relay and waits until it listens, for at most `patience`. `protocols` are those of the publisher and of the
    /// subscribers.
    pub(super) async fn start(
        tls: &TlsArgs,
        protocols: [Protocol; 2],
        topic: &Topic,
        patience: Duration,
    ) -> Result<Self, Failure> {
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            Failure::failed(format!("cannot start the bridge to measure: {what}: {error}"))
        };
        let folder = temporary_folder()?;
        let mode = tls.between_own()?;
        let is_anonymous = matches!(mode, TlsMode::Anonymous | TlsMode::Auto);
        if is_anonymous && protocols.contains(&Protocol::WebSocket) {
            return Err(Failure::usage(
                "anonymous TLS is for Broker only, not for the WebSocket API; use --tls off or --tls mutual",
            ));
        }
        if mode != TlsMode::Off && is_one_link(protocols) {
            return Err(Failure::usage("ZeroMQ has no TLS; remove --tls"));
        }
        let tls = match mode {
            TlsMode::Off => Tls::Off,
            TlsMode::Anonymous | TlsMode::Auto => tls.load()?,
            TlsMode::Mutual => {
                mutual(folder.path()).map_err(|error| failed("cannot create certificates", &error))?
            }
        };
        let config = folder.path().join("bridge.toml");
        std::fs::write(&config, configuration(mode, protocols, topic))
            .map_err(|error| failed("cannot write its configuration", &error))?;

        let notify = folder.path().join("notify");
        let ready = UnixDatagram::bind(&notify)
            .map_err(|error| failed("cannot create a socket (see TMPDIR)", &error))?;
        let program = std::env::current_exe().map_err(|error| failed("cannot find this program", &error))?;
        let mut command = Command::new(program);
        command.arg("run").arg(&config).env("NOTIFY_SOCKET", &notify).env("RUST_LOG", "error");
        let mut child =
            spawn(&mut command, Stdio::null()).map_err(|error| failed("cannot start a process", &error))?;
        let mut notification = [0; 64];
        tokio::select! {
            ready = timeout(patience, ready.recv(&mut notification)) => match ready {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(failed("cannot receive its notification", &error)),
                Err(_) => return Err(Failure::timeout("the bridge to measure did not start in time; use a longer --wait")),
            },
            ended = child.wait() => {
                let status = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
                return Err(failed("it ended; its own messages are above", &status));
            }
        }
        let snapshot = status::snapshot(&folder.path().join("status")).await?;
        let mut listening = snapshot.links.into_iter().filter_map(|link| link.listening.into_iter().next());
        let publish_to = listening.next();
        let subscribe_at = if is_one_link(protocols) { publish_to.clone() } else { listening.next() };
        let (Some(publish_to), Some(subscribe_at)) = (publish_to, subscribe_at) else {
            return Err(failed("it does not listen", &"its own messages are above"));
        };
        let process = child.id().and_then(|pid| Process::of(pid).ok());
        let sides = [publish_to, subscribe_at].map(|address| Side {
            tls: if Protocol::of(&address) == Protocol::ZeroMq { Tls::Off } else { tls.clone() },
            address,
            host: ServerHost::default(),
            token: None,
        });
        Ok(OwnRelay { child, _folder: folder, sides, backend: None, process })
    }

    /// Waits until the process ends, and returns that as an error. The process ends only after an error.
    pub(super) async fn ended(&mut self) -> Failure {
        let status = self.child.wait().await;
        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        Failure::failed(format!("the relay to measure has ended: {status}; its own messages are above"))
    }
}

/// Creates the directory of a relay.
pub(super) fn temporary_folder() -> Result<TempDir, Failure> {
    let folder = tempfile::Builder::new().prefix("zeek-bridge-bench").tempdir();
    folder.map_err(|error| {
        Failure::failed(format!("cannot create a temporary directory (see TMPDIR): {error}"))
    })
}

/// Starts the process of a relay, which ends when the child is dropped.
pub(super) fn spawn(command: &mut Command, stdin: Stdio) -> io::Result<Child> {
    command
        .stdin(stdin)
        .stdout(Stdio::null())
        // Run the relay in a separate process group, so that Ctrl-C does not reach it. This process can then print its report
        // before the relay ends.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Returns whether both sides use the same link: the proxy of a ZeroMQ cluster forwards the events of its publishers to its
/// subscribers.
fn is_one_link(protocols: [Protocol; 2]) -> bool {
    protocols == [Protocol::ZeroMq; 2]
}

fn configuration(mode: TlsMode, protocols: [Protocol; 2], topic: &Topic) -> String {
    let listen = |protocol| {
        let (scheme, tls) = match (protocol, mode) {
            (Protocol::WebSocket, TlsMode::Off) => ("ws://", ""),
            (Protocol::WebSocket, _) => ("wss://", CERTIFICATES),
            (Protocol::ZeroMq, _) => return "listen = 'zeromq://127.0.0.1:0,0'".to_owned(),
            (Protocol::Broker, TlsMode::Off) => ("", "tls = 'off'"),
            (Protocol::Broker, TlsMode::Anonymous | TlsMode::Auto) => ("", "tls = 'anonymous'"),
            (Protocol::Broker, TlsMode::Mutual) => ("", CERTIFICATES),
        };
        format!("listen = '{scheme}127.0.0.1:0'\n{tls}")
    };
    let [publisher, subscribers] = protocols.map(listen);
    let (subscribers, to) = if is_one_link(protocols) {
        (String::new(), "publisher")
    } else if protocols.contains(&Protocol::ZeroMq) {
        // ZeroMQ does not allow `block`.
        (format!("[link.subscribers]\n{subscribers}\n"), "subscribers")
    } else {
        (format!("[link.subscribers]\n{subscribers}\nwhen_full = 'block'\n"), "subscribers")
    };
    // TOML's strings have the same escapes as JSON's.
    let topic = serde_json::Value::from(topic.to_str_lossy());
    format!(
        "[bridge]\nhttp = 'off'\nstatus = 'status'\n\
         [link.publisher]\n{publisher}\n\
         {subscribers}\
         [[rule]]\nname = 'bench'\nfrom = 'publisher'\nto = '{to}'\ntopics = [{topic}]\n"
    )
}

/// Creates certificates for both ends. Writes the credentials of the relay to files that only this user can read.
pub(super) fn mutual(folder: &Path) -> Result<Tls, Box<dyn std::error::Error>> {
    let authority = ephemeral_authority()?;
    let Credentials { cafile, certificate, keyfile, .. } = authority.credentials("relay")?;
    let files = [("cafile", cafile), ("certificate", certificate), ("keyfile", keyfile)];
    for (name, pem) in files {
        if let Some(PemSource::Memory(pem)) = pem {
            std::fs::write(folder.join(name), pem)?;
        }
    }
    Ok(Tls::Mutual(authority.issue("bench")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeek_bridge::bridge::config::ConfigFile;

    #[test]
    fn the_configuration_is_valid() {
        for topic in ["/zeek-bridge/bench", "a \"b\" \\ c\n"] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("bridge.toml");
            mutual(folder.path()).unwrap();
            let topic = Topic::from(topic);
            let protocols = [Protocol::Broker, Protocol::WebSocket, Protocol::ZeroMq];
            let all = protocols.into_iter().flat_map(|from| protocols.map(|to| [from, to]));
            for (protocols, mode) in
                all.flat_map(|both| [TlsMode::Off, TlsMode::Mutual].map(|mode| (both, mode)))
            {
                std::fs::write(&path, configuration(mode, protocols, &topic)).unwrap();
                let file = ConfigFile::read(&path).unwrap();
                assert_eq!(file.config.rules[0].topics.as_slice(), std::slice::from_ref(&topic));
            }
        }
    }
}
