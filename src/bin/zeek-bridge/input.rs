//! Input from stdin or a file, by line.

use std::fs::{File, Metadata};
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use tokio::sync::mpsc;

use crate::blocking::Blocking;
use crate::output::{Failure, Progress};

/// Opens a file, or stdin for none or `-`.
pub(crate) fn open(file: Option<&Path>) -> Result<Input, Failure> {
    let name = match file {
        Some(path) if path != Path::new("-") => path,
        _ => return Ok(Input { name: "stdin".into(), length: None, from: Box::new(Blocking(io::stdin())) }),
    };
    let from = open_file(name)?;
    let length = from.metadata().ok().filter(Metadata::is_file).map(|metadata| metadata.len());
    Ok(Input { name: name.display().to_string(), length, from: Box::new(from) })
}

/// Opens a file to read.
pub(crate) fn open_file(name: &Path) -> Result<File, Failure> {
    let file = name.display();
    let opened = File::open(name).and_then(|opened| Ok((opened.metadata()?.is_dir(), opened)));
    match opened {
        Ok((false, opened)) => Ok(opened),
        Ok((true, _)) => {
            Err(Failure::failed(format!("cannot read {file}: it is a directory; a file is required")))
        }
        Err(error) => {
            Err(Failure::failed(format!("cannot open {file}: {error}; check its name and permissions")))
        }
    }
}

/// An input and its name.
pub(crate) struct Input {
    name: String,
    /// The size in bytes, if it is a file.
    length: Option<u64>,
    from: Box<dyn Read + Send>,
}

impl Input {
    /// An input with these bytes.
    #[cfg(test)]
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        Input { name: "test".into(), length: None, from: Box::new(io::Cursor::new(bytes)) }
    }

    /// Shows the progress of reading.
    pub(crate) fn shown(self) -> Self {
        let progress = Progress::bytes(self.length);
        Input { from: Box::new(Shown { from: self.from, progress: Some(progress) }), ..self }
    }

    /// Returns the name of the input.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn lines(self) -> Lines {
        Lines { name: self.name, from: BufReader::new(self.from), number: 0, longest: MAX_LINE }
    }

    /// Appends some bytes to `buffer`. Returns 0 at the end.
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

/// An input that shows the progress of reading.
struct Shown {
    from: Box<dyn Read + Send>,
    progress: Option<Progress>,
}

impl Read for Shown {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        match &self.progress {
            Some(progress) if count > 0 => progress.inc(count.try_into().unwrap_or(u64::MAX)),
            _ => self.progress = None,
        }
        Ok(count)
    }
}

/// Maximum length of a line in bytes: twice the hexadecimal form of the largest frame.
const MAX_LINE: usize = 128 * 1024 * 1024;

/// The number of bytes of lines that are passed on together, not counting the last line.
const BATCH: usize = 64 * 1024;

/// The lines of an input, without blank ones.
pub(crate) struct Lines {
    name: String,
    from: BufReader<Box<dyn Read + Send>>,
    number: u64,
    longest: usize,
}

/// A line, as bytes; the reader must check that it is UTF-8.
#[derive(Debug)]
pub(crate) struct Line {
    /// The line number, from 1, counting blank lines.
    pub(crate) number: u64,
    /// The content without surrounding white space.
    pub(crate) text: Result<Vec<u8>, TooLong>,
}

/// The error for a line that was skipped.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the line is longer than {0} bytes")]
pub(crate) struct TooLong(usize);

impl Lines {
    /// Returns the next line that is not blank, or `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Line>, Failure> {
        loop {
            let Some(text) = self.line().map_err(|error| unreadable(&self.name, &error))? else {
                return Ok(None);
            };
            self.number = self.number.saturating_add(1);
            if text.as_ref().map_or(true, |text| !text.is_empty()) {
                return Ok(Some(Line { number: self.number, text }));
            }
        }
    }

    fn line(&mut self) -> io::Result<Option<Result<Vec<u8>, TooLong>>> {
        let most = u64::try_from(self.longest).unwrap_or(u64::MAX).saturating_add(1);
        let mut text = Vec::new();
        if (&mut self.from).take(most).read_until(b'\n', &mut text)? == 0 {
            return Ok(None);
        }
        if text.len() > self.longest && text.last() != Some(&b'\n') {
            drop(text);
            self.from.skip_until(b'\n')?;
            return Ok(Some(Err(TooLong(self.longest))));
        }
        text.truncate(text.trim_ascii_end().len());
        let blank = text.len().saturating_sub(text.trim_ascii_start().len());
        text.drain(..blank);
        Ok(Some(Ok(text)))
    }

    /// Returns whether reading the next line may block.
    pub(crate) fn may_wait(&self) -> bool {
        self.from.buffer().is_empty()
    }

    /// Reads in a separate thread, so that blocking input does not keep the program from ending. Few lines are queued, so
    /// that long lines do not fill memory.
    pub(crate) fn in_background(mut self) -> mpsc::Receiver<Result<Vec<Line>, Failure>> {
        let (sender, receiver) = mpsc::channel(1);
        std::thread::spawn(move || {
            let (mut lines, mut bytes) = (Vec::new(), 0usize);
            loop {
                let next = self.next();
                let last = !matches!(next, Ok(Some(_)));
                if let Ok(Some(line)) = next {
                    bytes = bytes.saturating_add(line.text.as_ref().map_or(0, Vec::len)).saturating_add(1);
                    lines.push(line);
                    if bytes < BATCH && !self.may_wait() {
                        continue;
                    }
                } else if let Err(error) = next {
                    let _ = sender.blocking_send(Ok(std::mem::take(&mut lines)));
                    let _ = sender.blocking_send(Err(error));
                    return;
                }
                bytes = 0;
                if sender.blocking_send(Ok(std::mem::take(&mut lines))).is_err() || last {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &'static [u8], longest: usize) -> Lines {
        Lines { longest, ..Input::of(text.to_vec()).lines() }
    }

    #[test]
    fn a_line_that_is_too_long_is_reported_and_skipped() {
        let mut lines = lines(b"1234\n12345\n \n  1 \r\n123456789012345678901234567890\nlast", 4);
        let mut found = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            let text = line.text.map(|text| String::from_utf8(text).unwrap());
            found.push((line.number, text.map_err(|error| error.to_string())));
        }
        let long = || Err("the line is longer than 4 bytes".to_owned());
        let good = |text: &str| Ok(text.to_owned());
        assert_eq!(found, [(1, good("1234")), (2, long()), (4, long()), (5, long()), (6, good("last"))]);
    }

    #[test]
    fn lines_read_in_the_background_keep_their_order() {
        let text: &'static str = (1..=50_000).map(|n| format!("{n}\n")).collect::<String>().leak();
        let mut receiver = lines(text.as_bytes(), 100).in_background();
        let mut next = 1;
        while let Some(lines) = receiver.blocking_recv() {
            let lines = lines.unwrap();
            assert!(lines.iter().map(|line| line.text.as_ref().unwrap().len()).sum::<usize>() < BATCH);
            for line in lines {
                assert_eq!((line.number, line.text.unwrap()), (next, next.to_string().into_bytes()));
                next += 1;
            }
        }
        assert_eq!(next, 50_001);
    }
}
