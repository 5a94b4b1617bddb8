//! `replay`: plays one side of a recording to a live endpoint.

mod compare;
mod matcher;
mod names;
mod player;
mod report;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use wildmatch::WildMatch;
use zeek_bridge::data::EndpointId;
use zeek_bridge::net::tls::Tls;
use zeek_bridge::net::{Stream, bind, dial};

use self::matcher::{Matcher, Scope, sender};
use self::names::Names;
use self::player::{End, Player, Settings};
use self::report::Report;
use crate::args::{AddressArg, DurationArg, FormatArgs, OneConnectionArgs, TopicArg, is_for_broker_only};
use crate::network;
use crate::output::{Exit, Failure, stderr};
use zeek_bridge::trace::{Content, Entry, Meta, ReadError, Reader, Side, is_recording, recordings_in};

/// The number of entries of the recording that are read ahead.
const AHEAD: usize = 64;

/// Replay one side of a recording to a live endpoint and report differences
///
/// Sends each frame of that side after the live endpoint has sent all frames that precede it in the recording. Each difference
/// is a line on stdout: the frame, the recorded and the received content.
///
/// Endpoint ids, other UUIDs and request ids may differ from the recording. The manual page describes the comparison.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The recording: a folder written by `record`
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The side to play: connector with --connect, listener with --listen (the default)
    #[arg(long = "as", value_name = "connector|listener", value_parser = side_parser(), hide_possible_values = true)]
    side: Option<Side>,
    /// fast: send each frame when the frames before it were received. recorded: also wait for its time in the recording
    #[arg(
        long,
        value_name = "fast|recorded",
        value_enum,
        hide_possible_values = true,
        default_value = "fast"
    )]
    speed: Speed,
    /// Maximum wait for the connection and for each recorded frame
    #[arg(
        long,
        alias = "timeout",
        value_name = "DURATION",
        default_value = "10s",
        allow_negative_numbers = true
    )]
    wait: DurationArg,
    /// Compare only messages whose topic has one of these prefixes, and wait only for these messages; all frames are sent
    #[arg(short, long = "topic", value_name = "PREFIX", num_args = 1..)]
    topics: Vec<TopicArg>,
    /// Ignore differences with this label, such as 'Sumstats::*' for messages or '*.args[0][2]' for parts of them; * matches
    /// any text, ? one character
    #[arg(long, value_name = "PATTERN")]
    ignore: Vec<String>,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    network: OneConnectionArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Speed {
    Fast,
    Recorded,
}

pub(crate) async fn run(args: ReplayArgs) -> Result<(), Failure> {
    let side = side(&args)?;
    let address = &args.network.address;
    if let Some(AddressArg(address)) = address.connect.as_ref().or(address.listen.as_ref())
        && let Some(reason) = is_for_broker_only(address)
    {
        return Err(Failure::usage(format!("{address}: {reason}")));
    }
    check(&args.folder)?;
    let tls = args.network.tls.load()?;
    let recorded = endpoints(&args.folder, side).await?;
    let id =
        id_for(recorded).map_err(|error| Failure::failed(format!("cannot make an endpoint id: {error}")))?;
    let mut names = Names::default();
    if let [Some(ours), _] = recorded {
        names.endpoint(ours, id);
    }
    let scope = Scope {
        topics: args.topics.into_iter().map(|topic| topic.0).collect(),
        ignore: args.ignore.iter().map(|pattern| WildMatch::new(pattern)).collect(),
    };
    let settings = Settings { side, id, timeout: args.wait.0, recorded_speed: args.speed == Speed::Recorded };
    let address = &args.network.address;
    if let Some(AddressArg(address)) = address.connect.as_ref().or(address.listen.as_ref()) {
        network::warn_of_exposure(&tls, address);
    }
    let stream = match (&address.connect, &address.listen) {
        (Some(target), _) => connect(&target.0, &tls, settings).await?,
        (_, Some(address)) => accept(&address.0, &tls, settings).await?,
        (None, None) => return Err(Failure::usage("use --connect HOST:PORT or --listen ADDR:PORT")),
    };
    let player =
        Player::new(stream, Matcher::new(names, scope, Report::new(args.format.is_json())), settings);
    let (end, mut matcher) = player.play(&mut entries(args.folder)).await?;
    matcher.report.end()?;
    match end {
        End::TimedOut => Err(Failure::timeout(format!(
            "the live side did not send the recorded messages, or did not subscribe to them, within {} s; to skip messages, \
             see --topic and --ignore",
            settings.timeout.as_secs_f64()
        ))),
        End::Over(why) => Err(Failure::failed(format!("{why}; the remaining frames were not sent"))),
        _ if matcher.report.counts.differences > 0 => Err(Failure::Reported(Exit::Failed)),
        _ => Ok(()),
    }
}

fn side_parser() -> impl TypedValueParser<Value = Side> {
    let [connector, listener] = Side::BOTH;
    PossibleValuesParser::new(Side::BOTH.map(Side::name))
        .map(move |name| if name == connector.name() { connector } else { listener })
}

/// Returns the side to play.
fn side(args: &ReplayArgs) -> Result<Side, Failure> {
    let (natural, option) = match args.network.address.connect {
        Some(_) => (Side::Connector, "--connect"),
        None => (Side::Listener, "--listen"),
    };
    match args.side {
        Some(side) if side != natural => Err(Failure::usage(format!(
            "--as {} cannot be used with {option}; the connector needs --connect, the listener --listen",
            side.name()
        ))),
        _ => Ok(natural),
    }
}

/// Checks that the recording can be played.
fn check(folder: &Path) -> Result<(), Failure> {
    let shown = folder.display();
    if !is_recording(folder) {
        let recordings = recordings_in(folder).unwrap_or_default();
        if let Some(first) = recordings.first() {
            return Err(Failure::failed(format!(
                "{shown} is not a recording but contains {}; name one of them, such as {}",
                recordings.len(),
                first.display()
            )));
        }
        return Err(Failure::failed(format!(
            "{shown} is not a recording; name a folder with frames.jsonl, connector.bin and listener.bin, as `zeek-bridge record` \
             writes it for each connection"
        )));
    }
    let is_empty = |name: &str| folder.join(name).metadata().is_ok_and(|file| file.len() == 0);
    if is_empty("frames.jsonl") && !(is_empty("connector.bin") && is_empty("listener.bin")) {
        return Err(Failure::failed(format!(
            "{shown} cannot be played: its frames.jsonl is empty, so the order of the frames is unknown; \
             `zeek-bridge decode` reads the bytes of both sides"
        )));
    }
    if let Some(before) = Meta::read(folder).continues {
        return Err(Failure::failed(format!(
            "{shown} is a later part of a connection, without a handshake; the part before it is {before}; use the first part"
        )));
    }
    Ok(())
}

/// Reads the recording in a separate thread.
fn entries(folder: PathBuf) -> mpsc::Receiver<Result<Entry, Failure>> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        let read = || -> Result<(), ReadError> {
            for entry in Reader::open(&folder, &Meta::read(&folder))? {
                // The receiver is dropped when the replay has ended.
                if sender.blocking_send(Ok(entry?)).is_err() {
                    break;
                }
            }
            Ok(())
        };
        if let Err(error) = read() {
            let _ = sender.blocking_send(Err(Failure::failed(error.to_string())));
        }
    });
    receiver
}

/// Returns the endpoint ids of the played side and of the opposite side, if the recorded handshake contains them.
async fn endpoints(folder: &Path, side: Side) -> Result<[Option<EndpointId>; 2], Failure> {
    let (mut ours, mut theirs) = (None, None);
    let mut entries = entries(folder.to_owned());
    let mut any = false;
    while let Some(entry) = entries.recv().await {
        let entry = entry?;
        let Ok(frame) = &entry.frame else { continue };
        let protocol = match frame.content {
            Ok(Content::WebSocket(_)) => Some("the WebSocket API"),
            Ok(Content::ZeroMq(_)) => Some("ZeroMQ"),
            _ => None,
        };
        if let Some(protocol) = protocol {
            return Err(Failure::failed(format!(
                "{} is a recording of {protocol}, and replay speaks Broker's native protocol only; to send its events, use \
                 `zeek-bridge publish`",
                folder.display()
            )));
        }
        any = true;
        if frame.peered || (ours.is_some() && theirs.is_some()) {
            break;
        }
        let id = if entry.from == side { &mut ours } else { &mut theirs };
        *id = id.or(sender(frame));
    }
    if !any {
        return Err(Failure::failed(format!(
            "{} contains no frames; there is nothing to play",
            folder.display()
        )));
    }
    Ok([ours, theirs])
}

/// Returns a new endpoint id for the played side. If its recorded id is larger than that of the opposite side, the new id is
/// larger than almost every id, otherwise smaller. So the originator of the handshake is the same side as in the recording.
fn id_for([ours, theirs]: [Option<EndpointId>; 2]) -> std::io::Result<EndpointId> {
    let larger = ours.zip(theirs).is_some_and(|(ours, theirs)| ours > theirs);
    let random = EndpointId::random()?;
    let [.., a, b, c, d, e, f] = *random.as_bytes();
    // The id is a UUID of version 4, because Broker reports no status of peers whose id is not a UUID.
    let [all, version, variant] = if larger { [0xff, 0x4f, 0xbf] } else { [0, 0x40, 0x80] };
    Ok(EndpointId::from_bytes([all, all, all, all, all, all, version, all, variant, all, a, b, c, d, e, f]))
}

async fn connect(target: &str, tls: &Tls, settings: Settings) -> Result<Stream, Failure> {
    let connect = async {
        let tcp = dial(target, settings.timeout).await.map_err(|error| {
            Failure::Error(Exit::Unconnected, format!("no peering with {target}: {error}"))
        })?;
        tls.connect(tcp)
            .await
            .map_err(|error| Failure::Error(Exit::Refused, format!("TLS with {target} failed: {error}")))
    };
    let late =
        |_| Failure::Error(Exit::Unconnected, format!("{target} did not accept the connection in time"));
    timeout(settings.timeout, connect).await.map_err(late)?
}

/// Returns the first connection that completes the TLS handshake.
async fn accept(address: &str, tls: &Tls, settings: Settings) -> Result<Stream, Failure> {
    let cannot_listen = |error| {
        let message = format!(
            "cannot listen on {address}: {error}; use an address of this host and a free port, or port 0"
        );
        Failure::Error(Exit::Unconnected, message)
    };
    let listener = bind(address).await.map_err(cannot_listen)?;
    stderr::print_line(format_args!("listening on {}", listener.local_addr().map_err(cannot_listen)?));
    let accept = async {
        loop {
            let (tcp, from): (TcpStream, SocketAddr) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => return Err(cannot_listen(error)),
            };
            let _ = tcp.set_nodelay(true);
            match tls.accept(tcp).await {
                Ok(stream) => return Ok(stream),
                Err(error) => tracing::warn!("TLS with {from} failed: {error}"),
            }
        }
    };
    let late = |_| {
        Failure::timeout(format!(
            "no connection within {} s; use a longer --wait",
            settings.timeout.as_secs_f64()
        ))
    };
    timeout(settings.timeout, accept).await.map_err(late)?
}
