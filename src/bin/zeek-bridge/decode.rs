//! `decode`: bytes of the protocol to JSON.

use data_encoding::{DecodeKind, HEXLOWER_PERMISSIVE};
use zeek_bridge::wire::{DecodeError, Envelope, Limits, decode_value};

use crate::args::DecodeArgs;
use crate::conversation::Frames;
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
    let mut frames = Frames::default();
    let (mut index, mut bad) = (0u64, 0u64);
    let broken = loop {
        let head = Object::new().with("index", index);
        match frames.next() {
            Ok(Some(frame)) => {
                output.line(&frame.tell(head).into_line())?;
                index = index.saturating_add(1);
                bad = bad.saturating_add(frame.content.is_err().into());
            }
            Ok(None) => {
                output.flush()?;
                if input.read_some(frames.buffer())? == 0 {
                    break frames.end();
                }
            }
            Err(broken) => break Some(broken),
        }
    };
    if let Some(broken) = broken {
        output.line(&broken.tell(Object::new().with("index", index)).into_line())?;
        output.flush()?;
        return Err(Failure::failed(format!("at byte {}: {}", broken.offset, broken.error)));
    }
    match bad {
        0 => Ok(()),
        bad => Err(Failure::failed(format!("{bad} of {index} frames could not be decoded"))),
    }
}
