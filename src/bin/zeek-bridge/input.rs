//! Lines from stdin or a file.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use tokio::sync::mpsc;

use crate::exit::Failure;

/// Opens a file, or stdin for none or `-`.
pub(crate) fn open(file: Option<&Path>) -> Result<Input, Failure> {
    let name = match file {
        Some(path) if path != Path::new("-") => path,
        _ => return Ok(Input { name: "stdin".into(), from: Box::new(io::stdin()) }),
    };
    let from = File::open(name).map_err(|error| {
        Failure::failed(format!(
            "cannot open {}: {error}; check its name and its permissions",
            name.display()
        ))
    })?;
    Ok(Input { name: name.display().to_string(), from: Box::new(from) })
}

/// Something to read from, and what to call it.
pub(crate) struct Input {
    name: String,
    from: Box<dyn Read + Send>,
}

impl Input {
    pub(crate) fn lines(self) -> Lines {
        Lines { name: self.name, from: BufReader::new(self.from), number: 0 }
    }

    /// Reads some bytes to the end of `buffer`; 0 at the end.
    pub(crate) fn read_some(&mut self, buffer: &mut bytes::BytesMut) -> Result<usize, Failure> {
        let mut chunk = [0; 64 * 1024];
        loop {
            match self.from.read(&mut chunk) {
                Ok(count) => {
                    buffer.extend_from_slice(chunk.get(..count).unwrap_or_default());
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(unreadable(&self.name, &error)),
            }
        }
    }
}

/// The lines of an input, blank ones left out.
pub(crate) struct Lines {
    name: String,
    from: BufReader<Box<dyn Read + Send>>,
    number: u64,
}

/// One line, as bytes: that it is text is for its reader to find out.
#[derive(Debug)]
pub(crate) struct Line {
    /// Counted from 1, blank lines included.
    pub(crate) number: u64,
    /// Without white space around.
    pub(crate) text: Vec<u8>,
}

impl Lines {
    /// The next line that is not blank; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Line>, Failure> {
        let mut text = Vec::new();
        loop {
            text.clear();
            match self.from.read_until(b'\n', &mut text) {
                Ok(0) => return Ok(None),
                Ok(_) => self.number = self.number.saturating_add(1),
                Err(error) => return Err(unreadable(&self.name, &error)),
            }
            let trimmed = text.trim_ascii();
            if !trimmed.is_empty() {
                return Ok(Some(Line { number: self.number, text: trimmed.to_vec() }));
            }
        }
    }

    /// Whether the next line may have to be waited for.
    pub(crate) fn may_wait(&self) -> bool {
        self.from.buffer().is_empty()
    }

    /// Reads in a thread of its own, which may wait for ever without keeping the program from its end.
    pub(crate) fn in_background(mut self) -> mpsc::Receiver<Result<Line, Failure>> {
        let (sender, receiver) = mpsc::channel(64);
        std::thread::spawn(move || {
            while let Some(line) = self.next().transpose() {
                let failed = line.is_err();
                if sender.blocking_send(line).is_err() || failed {
                    return;
                }
            }
        });
        receiver
    }
}

fn unreadable(name: &str, error: &io::Error) -> Failure {
    Failure::failed(format!("cannot read {name}: {error}"))
}
