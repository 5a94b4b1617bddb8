//! `decode`: bytes of the protocol to JSON.

use bytes::BytesMut;
use data_encoding::{DecodeKind, HEXLOWER_PERMISSIVE};
use zeek_bridge::wire::{DecodeError, Envelope, Handshake, LENGTH_FIELD, Limits, cut_frame, decode_value};

use crate::args::DecodeArgs;
use crate::exit::Failure;
use crate::input::{self, Input};
use crate::lines::{self, Fault};
use crate::output::{Object, Output};

pub(crate) fn run(args: &DecodeArgs) -> Result<(), Failure> {
    if let Some(file) = &args.what.stream {
        return stream(input::open(Some(file))?, &mut Output::new());
    }
    let decode = if args.what.value { value } else { envelope };
    lines::convert(args.file.as_deref(), "decoded", decode)
}

impl From<DecodeError> for Fault {
    fn from(error: DecodeError) -> Self {
        Fault { error: error.to_string(), offset: error.offset().try_into().ok() }
    }
}

fn value(line: &[u8], to: &mut Vec<u8>) -> Result<(), Fault> {
    // To memory, which does not fail.
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
            _ => format!("not hex: character {} is no hexadecimal digit", fault.position.saturating_add(1)),
        };
        Fault { error, offset: (fault.position / 2).try_into().ok() }
    })
}

/// All that one side of a connection sent, frame by frame.
fn stream(mut input: Input, output: &mut Output) -> Result<(), Failure> {
    let limits = Limits::DEFAULT;
    let mut buffer = BytesMut::new();
    let mut frames = Frames { index: 0, offset: 0, bad: 0, peered: false };
    loop {
        match cut_frame(&mut buffer, limits.max_frame) {
            Ok(Some(frame)) => output.line(&frames.next(&frame, &limits).into_line())?,
            Ok(None) => {
                output.flush()?;
                if input.read_some(&mut buffer)? == 0 {
                    break;
                }
            }
            Err(error) => {
                return frames.broken(output, format!("{error}; nothing behind it can be read"));
            }
        }
    }
    if !buffer.is_empty() {
        return frames
            .broken(output, format!("the stream ends inside of a frame, {} bytes into it", buffer.len()));
    }
    match frames.bad {
        0 => Ok(()),
        bad => Err(Failure::failed(format!("{bad} of {} frames could not be decoded", frames.index))),
    }
}

/// Where in the stream we are.
struct Frames {
    index: u64,
    offset: usize,
    bad: u64,
    /// Whether this side has sent its last handshake message.
    peered: bool,
}

impl Frames {
    fn next(&mut self, frame: &bytes::Bytes, limits: &Limits) -> Object {
        let length = frame.len().saturating_add(LENGTH_FIELD);
        let object = Object::new()
            .with("index", self.index)
            .with("offset", self.offset)
            .with("length", length)
            .with("phase", if self.peered { "peered" } else { "handshake" });
        self.index = self.index.saturating_add(1);
        self.offset = self.offset.saturating_add(length);
        let mut text = Vec::new();
        let (part, decoded) = if self.peered {
            let written = Envelope::decode(frame).and_then(|envelope| envelope.write_json(limits, &mut text));
            ("envelope", written.map(drop))
        } else {
            let message = Handshake::decode(frame, limits);
            // The originator's last word, and the responder's.
            self.peered = matches!(message, Ok(Handshake::OriginatorAck | Handshake::ResponderSynAck(_)));
            ("message", message.map(|message| text = message.to_json().to_string().into_bytes()))
        };
        match decoded {
            Ok(()) => object.with_bytes(part, &text),
            Err(error) => {
                self.bad = self.bad.saturating_add(1);
                object.with("error", error.to_string())
            }
        }
    }

    /// No frame begins where one should.
    fn broken(&self, output: &mut Output, error: String) -> Result<(), Failure> {
        let object = Object::new().with("index", self.index).with("offset", self.offset);
        output.line(&object.with("error", error.as_str()).into_line())?;
        output.flush()?;
        Err(Failure::failed(format!("at byte {}: {error}", self.offset)))
    }
}
