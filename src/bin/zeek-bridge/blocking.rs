//! Stdin, stdout and stderr, which may be in non-blocking mode.
//!
//! The mode (O_NONBLOCK) belongs to the open file and not to this process. A parent, or any program on the same terminal, may
//! have set it. Reads and writes that would block then fail with EAGAIN. The types here wait in this case, and try again.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// Reads and writes without a buffer. Blocks even if the file is in non-blocking mode.
#[derive(Debug)]
pub(crate) struct Blocking<F>(pub(crate) F);

impl<F: AsFd> Blocking<F> {
    fn retry(
        &self,
        wait_for: PollFlags,
        mut call: impl FnMut(&F) -> Result<usize, Errno>,
    ) -> io::Result<usize> {
        loop {
            match call(&self.0) {
                Ok(count) => return Ok(count),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => match poll(&mut [PollFd::new(&self.0, wait_for)], None) {
                    // Also return after an error or a hang-up: the next read or write reports it.
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                },
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl<F: AsFd> Write for Blocking<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.retry(PollFlags::OUT, |file| rustix::io::write(file, bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<F: AsFd> Read for Blocking<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.retry(PollFlags::IN, |file| rustix::io::read(file, &mut *buffer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_pipe_and_an_empty_one_are_waited_for_in_non_blocking_mode() {
        let (reader, writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&reader, true).unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        // More bytes than a pipe holds, so that both sides have to wait.
        let sent: Vec<u8> = (0..=250).cycle().take(1 << 20).collect();
        let to_write = sent.clone();
        let writing = std::thread::spawn(move || Blocking(writer).write_all(&to_write));
        let mut received = Vec::new();
        Blocking(reader).read_to_end(&mut received).unwrap();
        writing.join().unwrap().unwrap();
        assert!(sent == received);
    }

    #[test]
    fn a_reader_that_is_gone_is_an_error() {
        let (reader, writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        drop(reader);
        let error = Blocking(writer).write_all(b"x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
