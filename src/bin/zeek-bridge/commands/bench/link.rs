//! A peering with what is measured, that costs next to nothing itself: of data only the first bytes are looked at, and all
//! else is the library's.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::timeout;
use zeek_bridge::data::{EndpointId, Filter};
use zeek_bridge::endpoint::ConnectError;
use zeek_bridge::net::tls::{Tls, TlsError};
use zeek_bridge::net::{ConnectionFault, Stream, dial};
use zeek_bridge::peering::{CloseReason, Config, Event, Peering, Side};
use zeek_bridge::wire::{EnvelopeType, LENGTH_FIELD, Limits};

/// How much is read at once.
const READ: usize = 64 * 1024;

/// Where a frame says what it is.
const TYPE_AT: usize = 36;

/// How much is looked at of data that does not matter.
const LEAST_HEAD: usize = 37;

#[derive(Debug)]
pub(super) struct Link {
    reader: ReadHalf<Stream>,
    writer: WriteHalf<Stream>,
    peering: Peering,
    input: BytesMut,
    /// How much of the input to come belongs to a frame that was looked at already.
    skip: usize,
    /// What is to be said of the peering's own accord.
    output: BytesMut,
    /// A frame may be sent in part only, so that nothing can be said behind it.
    torn: bool,
    /// What the peer wants to hear.
    pub(super) wanted: Filter,
}

impl Link {
    /// Connects, and peers. Connecting, TLS and the peering's handshake may take `patience` each.
    pub(super) async fn connect(
        address: &str,
        tls: &Tls,
        filter: Filter,
        patience: Duration,
    ) -> Result<Self, ConnectError> {
        let stream = open(address, tls, patience).await?;
        let (reader, writer) = tokio::io::split(stream);
        let id = EndpointId::random().map_err(broken)?;
        let config = Config {
            filter,
            handshake_timeout: patience,
            // What is expected is known here, and waited for.
            idle_timeout: None,
            ..Config::new(id, Side::Connector)
        };
        let mut link = Link {
            reader,
            writer,
            peering: Peering::new(config, Instant::now()),
            input: BytesMut::new(),
            skip: 0,
            output: BytesMut::new(),
            torn: false,
            wanted: Filter::new(),
        };
        link.handshake().await?;
        Ok(link)
    }

    async fn handshake(&mut self) -> Result<(), ConnectError> {
        loop {
            self.events()?;
            self.answer().await?;
            if self.peering.is_established() {
                return Ok(());
            }
            let deadline = self.peering.poll_timeout().unwrap_or_else(Instant::now);
            match tokio::time::timeout_at(deadline.into(), self.reader.read_buf(&mut self.input)).await {
                Err(_) => self.peering.handle_timeout(Instant::now()),
                Ok(Ok(count)) if count > 0 => _ = self.peering.handle_input(Instant::now(), &mut self.input),
                Ok(Err(error)) if TlsError::from_io(&error).is_some() => return Err(broken(error)),
                // A peer that expects TLS may reset the connection at the first plain word.
                Ok(_) => self.peering.handle_eof(),
            }
        }
    }

    /// Reads once. To be followed by [`Link::take`] and [`Link::answer`]. Can be dropped and called again.
    pub(super) async fn read(&mut self) -> Result<(), ConnectError> {
        self.input.reserve(READ);
        match self.reader.read_buf(&mut self.input).await {
            Ok(0) => {
                self.peering.handle_eof();
                self.events()?;
                Err(ConnectError::Closed(CloseReason::Lost))
            }
            Ok(_) => Ok(()),
            Err(error) => Err(broken(error)),
        }
    }

    /// Takes what was read. Of each data message the length of its frame is told, and its first bytes: `head`, or all
    /// if there are fewer. `head` has to be above 36.
    pub(super) fn take(
        &mut self,
        head: usize,
        mut data: impl FnMut(usize, &[u8]),
    ) -> Result<(), ConnectError> {
        loop {
            let skipped = self.skip.min(self.input.len());
            self.input.advance(skipped);
            self.skip = self.skip.saturating_sub(skipped);
            let other = self.take_data(head, &mut data);
            let Some(length) = other else { return Ok(()) };
            // What is too large is not waited for: the library says what is to be said of it.
            if length > self.input.len() && length <= Limits::DEFAULT.max_frame {
                return Ok(());
            }
            let mut frame = self.input.split_to(length.min(self.input.len()));
            self.peering.handle_input(Instant::now(), &mut frame);
            self.events()?;
        }
    }

    /// Takes data messages, and gives the length of the frame behind them if it is another.
    fn take_data(&mut self, head: usize, data: &mut impl FnMut(usize, &[u8])) -> Option<usize> {
        let mut rest: &[u8] = &self.input;
        let mut other = None;
        while let Some(field) = rest.first_chunk::<LENGTH_FIELD>() {
            let length = usize::try_from(u32::from_be_bytes(*field)).unwrap_or(usize::MAX);
            let length = length.saturating_add(LENGTH_FIELD);
            let Some(first) = rest.get(..length.min(head)) else { break };
            if first.get(TYPE_AT) != Some(&EnvelopeType::Data.to_wire()) {
                other = Some(length);
                break;
            }
            data(length, first);
            self.skip = length.saturating_sub(rest.len());
            rest = rest.get(length..).unwrap_or_default();
        }
        let taken = self.input.len().saturating_sub(rest.len());
        self.input.advance(taken);
        other
    }

    /// What the peering has to tell.
    fn events(&mut self) -> Result<(), ConnectError> {
        while let Some(event) = self.peering.poll_event() {
            match event {
                Event::Introduced { .. } => {
                    self.peering.admit();
                    self.peering.handle_input(Instant::now(), &mut self.input);
                }
                Event::Established { filter, .. } | Event::FilterChanged(filter) => self.wanted = filter,
                Event::Closed(CloseReason::Failed(error)) => return Err(error.into()),
                Event::Closed(reason) => return Err(ConnectError::Closed(reason)),
                // Not of interest here.
                _ => {}
            }
        }
        Ok(())
    }

    /// Says what the peering has to say. Can be dropped and called again.
    pub(super) async fn answer(&mut self) -> Result<(), ConnectError> {
        while let Some(bytes) = self.peering.poll_transmit() {
            self.output.extend_from_slice(&bytes);
        }
        if self.output.is_empty() {
            return Ok(());
        }
        while !self.output.is_empty() {
            self.writer.write_buf(&mut self.output).await.map_err(broken)?;
        }
        self.writer.flush().await.map_err(broken)
    }

    /// Reads and answers until the peering is over. Can be dropped and called again.
    pub(super) async fn attend(&mut self) -> ConnectError {
        loop {
            if let Err(error) = self.attend_once().await {
                return error;
            }
        }
    }

    async fn attend_once(&mut self) -> Result<(), ConnectError> {
        self.answer().await?;
        self.read().await?;
        self.take(LEAST_HEAD, |_, _| {})
    }

    /// Sends whole frames, and reads meanwhile what the peer says. If it is dropped, nothing more can be sent.
    pub(super) async fn send(&mut self, mut frames: &[u8]) -> Result<(), ConnectError> {
        self.answer().await?;
        self.torn = true;
        while !frames.is_empty() {
            self.input.reserve(READ);
            tokio::select! {
                biased;
                written = self.writer.write(frames) => {
                    let written = written.map_err(broken)?;
                    frames = frames.get(written..).unwrap_or_default();
                }
                read = self.reader.read_buf(&mut self.input) => match read.map_err(broken)? {
                    0 => return Err(ConnectError::Closed(CloseReason::Lost)),
                    _ => self.take(LEAST_HEAD, |_, _| {})?,
                },
            }
        }
        self.torn = false;
        self.writer.flush().await.map_err(broken)
    }

    /// Leaves as a peer should: says BYE, and waits for the confirmation.
    pub(super) async fn leave(mut self) {
        if !self.torn {
            self.peering.leave(Instant::now());
            let _ = timeout(Config::LEAVE_TIMEOUT, self.attend()).await;
        }
        let _ = timeout(Config::LEAVE_TIMEOUT, self.writer.shutdown()).await;
    }
}

async fn open(address: &str, tls: &Tls, patience: Duration) -> Result<Stream, ConnectError> {
    let tcp = dial(address, patience).await?;
    Ok(timeout(patience, tls.connect(tcp)).await.map_err(|_| ConnectError::TlsTimeout(patience))??)
}

fn broken(error: io::Error) -> ConnectError {
    match TlsError::from_io(&error) {
        Some(error) => error.into(),
        None => ConnectError::Stream(ConnectionFault::Io(Arc::new(error))),
    }
}
