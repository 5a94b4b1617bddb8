//! `record`: forwards a connection and records what each side sends, in the format of `fixtures/`.

mod forward;
mod recordings;
mod redact;
mod run_lock;
mod writer;

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytesize::ByteSize;
use clap::Args;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use zeek_bridge::net::tls::{ServerHost, Tls, TlsError};
use zeek_bridge::net::{AddressError, Scheme, Stream, Url, bind, dial};
use zeek_bridge::trace::{Description, Protocol, Side};

use self::forward::{TlsSign, forward};
use self::recordings::Recordings;
use self::redact::{Pseudonyms, Redactor};
use self::writer::{Notice, Receiver, queue};
use crate::args::side_tls::TwoSidedTlsArgs;
use crate::args::tls::{self, TlsArgs};
use crate::args::{AddressArg, connect_address_without_zeromq, listen_address, scheme};
use crate::hints;
use crate::network;
use crate::output::{BackgroundOutput, Exit, Failure, stderr, to_line};
use crate::runtime::boxed;
use crate::signals::Signals;

/// Maximum number of connections at a time. Each has two sockets and three files, and at most some MiB of memory.
const MAX_CONNECTIONS: usize = 128;

/// The timeout of connecting, and of each TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The delay after a failed accept, for example without free file descriptors.
const ACCEPT_DELAY: Duration = Duration::from_millis(100);

/// Maximum time to write the last lines to stdout.
const LAST_LINES: Duration = Duration::from_secs(5);

/// Record the traffic between two endpoints
///
/// For each connection accepted at --listen, opens a connection to --connect, and forwards the bytes of each side unchanged
/// and without delay. The recorder decrypts the TLS of both sides, and each side can have its own TLS options. To record two
/// Zeek processes, configure one of them to connect to --listen. To record the WebSocket API, use ws:// or wss:// addresses on
/// both sides.
///
/// Each connection is recorded in a directory of its own in --out, written while it runs. `decode DIR` reads it at any time.
/// stdout has a line of JSON when a recording begins and when it ends. If the disk is full or too slow, the recording is
/// incomplete, which is reported in meta.json and on stderr; forwarding continues, and the exit code is 1 at the end. Runs
/// until SIGINT or SIGTERM.
///
/// --rotate and --keep limit the disk space. --redact replaces strings and addresses, so that recordings can be shared. The
/// manual page describes the files and the redaction.
#[derive(Debug, Args)]
pub(crate) struct RecordArgs {
    /// The address to accept connections on; with port 0, the system chooses a port, which is reported on stderr
    #[arg(short, long, value_name = "ADDR:PORT", value_parser = listen_address)]
    listen: AddressArg,
    /// The address of the endpoint that listens
    #[arg(short, long, value_name = "HOST:PORT", value_parser = connect_address_without_zeromq)]
    connect: AddressArg,
    /// The directory for the recordings, each in a folder TIME-RUN-NUMBER; created if it does not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Replace strings and addresses with pseudonyms, so that the recordings can be shared
    #[arg(long)]
    redact: bool,
    /// Continue in a new folder when the files of the current folder have this total size, such as 64MiB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    rotate: Option<u64>,
    /// Keep this number of recordings in DIR and remove the oldest; recordings that are being written, and recordings of a
    /// different recorder that is running, are never removed
    #[arg(long, value_name = "N", value_parser = number, allow_negative_numbers = true)]
    keep: Option<NonZeroUsize>,
    #[command(flatten)]
    tls: TwoSidedTlsArgs,
}

fn size(text: &str) -> Result<u64, String> {
    let size = text.parse::<ByteSize>().ok().map(|size| size.as_u64()).filter(|size| *size > 0);
    size.ok_or_else(|| "use a number of bytes above 0, such as 1000000 or 64MiB".into())
}

fn number(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "use a whole number from 1".into())
}

pub(crate) async fn run(args: RecordArgs) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    check_protocols(&args)?;
    let tls = args.tls.load(&args.listen, &args.connect)?;
    let recordings =
        Recordings::new(args.out.clone(), args.keep.map(NonZeroUsize::get)).map_err(|error| {
            Failure::failed(format!(
                "cannot write to {}: {error}; set --out to a writable directory",
                args.out.display()
            ))
        })?;
    let pseudonyms = if args.redact {
        let pseudonyms = Pseudonyms::new();
        Some(
            pseudonyms
                .map_err(|error| Failure::failed(format!("no random numbers for pseudonyms: {error}")))?,
        )
    } else {
        None
    };
    let [_, connect_tls] = &tls;
    let url: Url = args.connect.0.parse().map_err(|error: AddressError| Failure::usage(error.to_string()))?;
    let host = url.server_host(connect_tls).map_err(|error| Failure::usage(error.to_string()))?;
    tls.iter().try_for_each(tls::keep_up)?;
    let address = &args.listen.0;
    for (tls, address) in tls.iter().zip([address, &args.connect.0]) {
        network::warn_of_exposure(tls, address);
    }
    let cannot_listen = |error| {
        let message = format!(
            "cannot listen on {address}: {error}; choose an address of this host and a port that is free, or port 0"
        );
        Failure::Error(Exit::Unconnected, message)
    };
    let listener = bind(address).await.map_err(cannot_listen)?;
    let local = listener.local_addr().map_err(cannot_listen)?;
    if is_same_address(&args.connect.0, local).await {
        return Err(Failure::usage(format!(
            "--connect {} is the address of --listen, so the recorder would connect to itself; use the address of the endpoint to record",
            args.connect.0
        )));
    }
    match scheme(address) {
        Scheme::Broker => stderr::print_line(format_args!("listening on {local}")),
        scheme => stderr::print_line(format_args!("listening on {}://{local}", scheme.name())),
    }
    let (stop, stopped) = watch::channel(());
    let recorder = Arc::new(Recorder {
        target: args.connect.0,
        host,
        tls,
        recordings,
        pseudonyms,
        rotate: args.rotate,
        output: BackgroundOutput::start(),
        lost: AtomicU64::new(0),
        stopped,
    });
    let mut connections = JoinSet::new();
    tokio::select! {
        () = accept(&recorder, &listener, &mut connections) => {}
        () = signals.next() => {}
    }
    drop((listener, stop));
    let wait = async { while connections.join_next().await.is_some() {} };
    tokio::select! {
        () = wait => {}
        () = signals.next() => return Err(Failure::failed("stopped before all recordings were finished")),
    }
    drop(connections);
    let lost = recorder.lost.load(Ordering::Relaxed);
    // All other tasks have ended, so this task has the only reference.
    if let Some(recorder) = Arc::into_inner(recorder) {
        recorder.output.finish(LAST_LINES).await.result?;
    }
    match lost {
        0 => Ok(()),
        lost => Err(Failure::failed(format!("connections that were not completely recorded: {lost}"))),
    }
}

/// Checks that both addresses have the same protocol, and that the recorder can redact it.
fn check_protocols(args: &RecordArgs) -> Result<(), Failure> {
    let [listen, connect] = [&args.listen.0, &args.connect.0];
    match [listen, connect].map(|address| scheme(address).is_websocket()) {
        [true, true] if args.redact => {
            Err(Failure::usage("--redact is for Broker's protocol; it cannot redact the WebSocket API"))
        }
        [one, other] if one != other => Err(Failure::usage(format!(
            "{listen} and {connect} are addresses of different protocols, and the recorder only forwards; use ws:// or wss:// on \
             both sides or on none; to connect the two protocols, use `zeek-bridge run`"
        ))),
        _ => Ok(()),
    }
}

/// Returns whether the target is the address `local`. Returns `false` for a name that cannot be resolved: this may be temporary.
async fn is_same_address(target: &str, local: SocketAddr) -> bool {
    let Ok(target) = target.parse::<Url>() else { return false };
    let Ok(Ok(addresses)) = tokio::task::spawn_blocking(move || target.host_port().resolve()).await else {
        return false;
    };
    addresses.iter().any(|address| {
        let same = address.ip() == local.ip() || (local.ip().is_unspecified() && address.ip().is_loopback());
        same && address.port() == local.port()
    })
}

async fn accept(recorder: &Arc<Recorder>, listener: &TcpListener, connections: &mut JoinSet<()>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        if slots.available_permits() == 0 {
            tracing::warn!("reached the limit of {MAX_CONNECTIONS} connections; further connections wait");
        }
        // The semaphore is never closed.
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((tcp, address)) => {
                let recorder = recorder.clone();
                connections.spawn(boxed(async move {
                    recorder.serve(tcp, address).await;
                    drop(slot);
                }));
            }
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_DELAY).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

struct Recorder {
    target: String,
    /// The host that the certificate of the target must contain.
    host: ServerHost,
    /// TLS with the connector and with the listener.
    tls: [Tls; 2],
    recordings: Recordings,
    pseudonyms: Option<Pseudonyms>,
    rotate: Option<u64>,
    output: BackgroundOutput,
    /// The number of connections that were not completely recorded.
    lost: AtomicU64,
    /// Closed when the command ends.
    stopped: watch::Receiver<()>,
}

impl Recorder {
    async fn serve(self: Arc<Self>, tcp: TcpStream, address: SocketAddr) {
        let mut stopped = self.stopped.clone();
        let streams = tokio::select! {
            streams = self.connect(tcp) => streams,
            _ = stopped.changed() => return,
        };
        let (connector, listener) = match streams {
            Ok(streams) => streams,
            Err(why) => {
                tracing::warn!("closed the connection of {address}: {why}");
                return;
            }
        };
        let (queue, receiver) = queue();
        let description = Description {
            start: humantime::format_rfc3339_micros(SystemTime::now()).to_string(),
            addresses: self.pseudonyms.is_none().then(|| [address.to_string(), self.target.clone()]),
            protocol: scheme(&self.target).is_websocket().then_some(Protocol::WebSocket),
            tls: self.tls.each_ref().map(TlsArgs::name),
            redacted: self.pseudonyms.is_some(),
        };
        let recorder = self.clone();
        let writing = tokio::task::spawn_blocking(move || recorder.write(receiver, description));
        tokio::select! {
            forwarded = forward(connector, listener, &queue, |side, sign| self.warn_about_tls(side, sign, address)) => match forwarded {
                Ok(()) => tracing::info!("the connection between {address} and {} has ended", self.target),
                Err((side, error)) => {
                    let peer = if side == Side::Connector { address.to_string() } else { self.target.clone() };
                    match TlsError::from_io(&error) {
                        Some(error) => tracing::warn!("TLS with {peer} failed: {error}"),
                        None => tracing::info!("the connection with {peer} failed: {error}"),
                    }
                }
            },
            _ = stopped.changed() => {}
        }
        queue.end();
        if writing.await.is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Warns that a side may expect TLS although the options disable it.
    fn warn_about_tls(&self, side: Side, sign: TlsSign, address: SocketAddr) {
        let [listen_tls, connect_tls] = &self.tls;
        let (tls, peer, option) = match side {
            Side::Connector => (listen_tls, address.to_string(), "--listen-tls"),
            Side::Listener => (connect_tls, self.target.clone(), "--connect-tls"),
        };
        let is_websocket = scheme(&self.target).is_websocket();
        let hint = if is_websocket { "use wss://".to_owned() } else { format!("see {option}") };
        match sign {
            _ if !matches!(tls, Tls::Off) => {}
            TlsSign::Tls => tracing::warn!(
                "{peer} uses TLS, which is disabled here, so no frames can be recorded: {hint}"
            ),
            TlsSign::Silent => {
                tracing::warn!(
                    "{peer} closed the connection without sending anything and may expect TLS: {hint}"
                );
            }
        }
    }

    /// Establishes the connections with both sides, with TLS if it is configured.
    async fn connect(&self, tcp: TcpStream) -> Result<(Stream, Stream), String> {
        let [listen_tls, connect_tls] = &self.tls;
        let _ = tcp.set_nodelay(true);
        let accept = async {
            match timeout(HANDSHAKE, listen_tls.accept(tcp)).await {
                Ok(Ok(stream)) => Ok(stream),
                Ok(Err(error)) => Err(format!("TLS failed: {error}")),
                Err(_) => Err(format!("TLS handshake timed out after {} s", HANDSHAKE.as_secs())),
            }
        };
        let target = &self.target;
        let connect = async {
            let tcp = dial(target, HANDSHAKE).await.map_err(|error| format!("{target}: {error}"))?;
            match timeout(HANDSHAKE, connect_tls.connect_to(tcp, self.host.clone())).await {
                Ok(Ok(stream)) => Ok(stream),
                Ok(Err(error)) => {
                    let hint = hints::for_link(target, &error.clone().into());
                    Err(format!("TLS with {target} failed: {error}{hint}"))
                }
                Err(_) => Err(format!("{target}: TLS handshake timed out after {} s", HANDSHAKE.as_secs())),
            }
        };
        tokio::try_join!(accept, connect)
    }

    /// Writes a recording. Blocks.
    fn write(&self, receiver: Receiver, description: Description) {
        let redactor = self.pseudonyms.clone().map(Redactor::new);
        let runtime = Handle::current();
        let notify = |notice: Notice<'_>| {
            let (recording, state) = match notice {
                Notice::Started(recording) => (recording, State::Begun),
                Notice::Ended(recording, error) => {
                    let [connector, listener] = recording.written();
                    let (frames, bytes) = (recording.frame_count(), Bytes { connector, listener });
                    (recording, State::Ended { frames, bytes, error: error.map(io::Error::to_string) })
                }
            };
            let line = to_line(&Line { recording: recording.path().to_string_lossy(), state });
            runtime.block_on(self.output.line(line));
        };
        if let Err(error) = receiver.write_to(&self.recordings, description, self.rotate, redactor, notify) {
            self.lost.fetch_add(1, Ordering::Relaxed);
            let hint = if error.kind() == io::ErrorKind::StorageFull { "; free some space" } else { "" };
            tracing::error!(
                "a recording in {} is incomplete, and its connection continues: {error}{hint}",
                self.recordings.path().display()
            );
        }
    }
}

/// The line of JSON about the start or the end of a recording.
#[derive(Serialize)]
struct Line<'a> {
    recording: Cow<'a, str>,
    #[serde(flatten)]
    state: State,
}

#[derive(Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
enum State {
    Begun,
    Ended { frames: u64, bytes: Bytes, error: Option<String> },
}

/// The number of bytes that each side sent.
#[derive(Serialize)]
struct Bytes {
    connector: u64,
    listener: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_to_itself_is_recognized() {
        for (target, local, itself) in [
            ("127.0.0.1:9999", "127.0.0.1:9999", true),
            ("127.0.0.1:9999", "0.0.0.0:9999", true),
            ("[::1]:9999", "[::]:9999", true),
            ("127.0.0.1:9998", "127.0.0.1:9999", false),
            ("127.0.0.2:9999", "127.0.0.1:9999", false),
            ("192.0.2.1:9999", "0.0.0.0:9999", false),
        ] {
            assert_eq!(is_same_address(target, local.parse().unwrap()).await, itself, "{target} {local}");
        }
    }

    #[test]
    fn sizes_may_have_units() {
        assert_eq!(size("64MiB"), Ok(64 * 1024 * 1024));
        assert_eq!(size("1000"), Ok(1000));
        for bad in ["0", "", "-1", "x", "5 bananas"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
