//! `decode`: captures, recordings and bytes of the protocol to JSON.

use std::path::PathBuf;

use clap::Args;
use data_encoding::{DecodeKind, HEXLOWER_PERMISSIVE};
use zeek_bridge::trace::FrameReader;
use zeek_bridge::wire::{DecodeError, Envelope, Limits, decode_value};

use crate::args::Format;
use crate::commands::capture::{self, Style};
use crate::convert::{Fault, convert};
use crate::input::{self, Input};
use crate::output::{Failure, Output, to_line_with};

/// Decode captures, recordings and bytes of the protocol to JSON
///
/// FILE is a capture of tcpdump or Wireshark (pcap or pcapng, of Ethernet, loopback, -i any, or IP), or the directory of a
/// recording. The protocol is Broker's, the WebSocket API or the ZeroMQ back end. Prints a line of JSON for each connection and
/// each frame; for ZeroMQ, for each message.
///
/// With --value or --envelope, prints a line of JSON for each line of hex. Invalid lines are reported in the output, and
/// decoding continues with the next line. The manual page describes the JSON.
#[derive(Debug, Args)]
pub(crate) struct DecodeArgs {
    #[command(flatten)]
    what: DecodeWhat,
    /// Print a table for each connection: endpoints, versions, filters, events by name, bytes, errors
    #[arg(long, conflicts_with = "DecodeWhat")]
    summary: bool,
    /// The format of --summary: a table for each connection, or a line of JSON
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t, requires = "summary")]
    format: Format,
    // In earlier versions, this was the only option for JSON.
    #[arg(long, hide = true, requires = "summary", conflicts_with = "format")]
    json: bool,
    /// Read only connections from or to these ports of a capture
    #[arg(long = "port", value_name = "PORT", value_delimiter = ',', conflicts_with = "DecodeWhat")]
    ports: Vec<u16>,
    /// The capture, or the directory of a recording; with --value or --envelope, the lines of hex. - is stdin, which is the
    /// default for lines of hex
    #[arg(conflicts_with = "stream")]
    file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[group(multiple = false)]
struct DecodeWhat {
    /// Decode a value on each line, which begins with its tag
    #[arg(long)]
    value: bool,
    /// Decode an envelope on each line: a frame without its 4-byte length
    #[arg(long)]
    envelope: bool,
    /// Decode all bytes that one side of a connection sent (- for stdin), from its start. Prints one line of JSON
    /// per frame, with its index, offset, length (including the length field) and phase
    #[arg(long, value_name = "FILE")]
    stream: Option<PathBuf>,
}

pub(crate) fn run(args: &DecodeArgs) -> Result<(), Failure> {
    let file = args.file.as_deref();
    match (&args.what, file) {
        (DecodeWhat { stream: Some(file), .. }, _) => stream(input::open(Some(file))?, &mut Output::new()),
        (DecodeWhat { value: true, .. }, _) => convert(file, "decoded", value),
        (DecodeWhat { envelope: true, .. }, _) => convert(file, "decoded", envelope),
        (_, Some(file)) => {
            let style = match (args.summary, args.json || args.format == Format::Json) {
                (false, _) => Style::Frames,
                (true, false) => Style::Tables,
                (true, true) => Style::Objects,
            };
            capture::run(file, &args.ports, style)
        }
        (_, None) => Err(Failure::usage(
            "name a capture or the directory of a recording, or use --value, --envelope or --stream",
        )),
    }
}

impl From<DecodeError> for Fault {
    fn from(error: DecodeError) -> Self {
        Fault { error: error.to_string(), offset: error.offset().try_into().ok() }
    }
}

fn value(line: &[u8], to: &mut Vec<u8>) -> Result<(), Fault> {
    // Cannot fail: it writes to memory.
    let _ = decode_value(&hex(line)?, &Limits::DEFAULT)?.write_json(to);
    Ok(())
}

fn envelope(line: &[u8], to: &mut Vec<u8>) -> Result<(), Fault> {
    let _ = Envelope::decode(&hex(line)?.into())?.write_json(&Limits::DEFAULT, to)?;
    Ok(())
}

fn hex(line: &[u8]) -> Result<Vec<u8>, Fault> {
    HEXLOWER_PERMISSIVE.decode(line).map_err(|fault| {
        let error = match fault.kind {
            DecodeKind::Length => format!("not hex: an odd number of digits ({})", line.len()),
            _ => {
                format!("not hex: character {} is not a hexadecimal digit", fault.position.saturating_add(1))
            }
        };
        Fault { error, offset: (fault.position / 2).try_into().ok() }
    })
}

/// Decodes all bytes that one side of a connection sent, frame by frame.
fn stream(mut input: Input, output: &mut Output) -> Result<(), Failure> {
    let mut frames = FrameReader::default();
    let (mut index, mut bad) = (0u64, 0u64);
    let end = loop {
        match frames.next_frame() {
            Ok(Some(frame)) => {
                output.line(&to_line_with("index", index, |to| frame.write_members(to)))?;
                index = index.saturating_add(1);
                bad = bad.saturating_add(frame.content.is_err().into());
            }
            Ok(None) => {
                output.flush()?;
                if input.read_some(frames.buffer())? == 0 {
                    break frames.end();
                }
            }
            Err(error) => break Some(Err(error)),
        }
    };
    if let Some(Ok(frame)) = &end {
        output.line(&to_line_with("index", index, |to| frame.write_members(to)))?;
        index = index.saturating_add(1);
    }
    if let Some(Err(error)) = end {
        output.line(&to_line_with("index", index, |to| error.write_members(to)))?;
        output.flush()?;
        return Err(Failure::failed(format!("at byte {}: {error}", error.offset)));
    }
    match bad {
        0 => Ok(()),
        bad => Err(Failure::failed(format!("{bad} of {index} frames could not be decoded"))),
    }
}
