//! A peer of the relay that needs as little CPU time as possible, so that it measures the relay and not itself.
//!
//! It does not use an `Endpoint`, because an `Endpoint` validates, routes and queues each message, as the relay does, and needs
//! more CPU time for each message than the relay. This peer reads only the first bytes of a data message,
//! and writes frames that are already encoded. The library's sessions do everything else.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpListener;
use tokio::time::timeout;
use zeek_bridge::data::{EndpointId, Filter};
use zeek_bridge::endpoint::ConnectError;
use zeek_bridge::net::tls::{Tls, TlsError};
use zeek_bridge::net::{ConnectionFault, DialError, Stream, dial};
use zeek_bridge::peering::{CloseReason, Config, Event, Notice};
use zeek_bridge::wire::Limits;

use super::session::{Framing, Next, Session};
use super::side::{PeerRole, Side};

/// The buffer size of one read.
const READ: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct LoadPeer {
    reader: ReadHalf<Stream>,
    writer: WriteHalf<Stream>,
    session: Session,
    framing: Framing,
    input: BytesMut,
    /// The number of bytes to skip in the next input, because they are the rest of a data message that was already handled.
    skip: usize,
    /// Frames that the session generates, such as pongs.
    output: BytesMut,
    /// True if a frame may be partially sent. No frame can be sent after that.
    is_partial: bool,
    /// The subscriptions of the relay.
    pub(super) filter: Filter,
    /// The first error that the relay has reported to any peer of the benchmark.
    notice: Arc<OnceLock<Notice>>,
}

impl LoadPeer {
    /// Connects and establishes a session. `patience` is the limit for each step: the TCP connection, the TLS handshake and the
    /// handshake of the session.
    pub(super) async fn connect(
        side: &Side,
        role: PeerRole,
        filter: Filter,
        patience: Duration,
        notice: Arc<OnceLock<Notice>>,
    ) -> Result<Self, ConnectError> {
        let stream = open(side, role, patience).await?;
        let [id, peer_id] = [random_id()?, random_id()?];
        let session = Session::new(side, role, id, peer_id, filter, patience);
        Self::establish(stream, session, notice).await
    }

    /// Accepts a connection, which a proxy forwards, and establishes a session of Broker's protocol. `patience` is the limit for the
    /// handshake of the session; the wait for the connection has no limit.
    pub(super) async fn accept(
        (listener, tls): &(TcpListener, Tls),
        filter: Filter,
        patience: Duration,
        notice: Arc<OnceLock<Notice>>,
    ) -> Result<Self, ConnectError> {
        let (tcp, _) = listener.accept().await.map_err(connect_error)?;
        tcp.set_nodelay(true).map_err(connect_error)?;
        let stream = tls.accept(tcp).await?;
        Self::establish(stream, Session::accepted(random_id()?, filter, patience), notice).await
    }

    async fn establish(
        stream: Stream,
        session: Session,
        notice: Arc<OnceLock<Notice>>,
    ) -> Result<Self, ConnectError> {
        let (reader, writer) = tokio::io::split(stream);
        let mut peer = LoadPeer {
            reader,
            writer,
            framing: session.framing(),
            session,
            input: BytesMut::new(),
            skip: 0,
            output: BytesMut::new(),
            is_partial: false,
            filter: Filter::new(),
            notice,
        };
        peer.handshake().await?;
        Ok(peer)
    }

    async fn handshake(&mut self) -> Result<(), ConnectError> {
        loop {
            self.events()?;
            self.answer().await?;
            if self.session.is_established() {
                return Ok(());
            }
            let deadline = self.session.poll_timeout().unwrap_or_else(Instant::now);
            match tokio::time::timeout_at(deadline.into(), self.reader.read_buf(&mut self.input)).await {
                Err(_) => self.session.handle_timeout(),
                Ok(Ok(count)) if count > 0 => self.session.handle_input(&mut self.input),
                Ok(Err(error)) if TlsError::from_io(&error).is_some() => return Err(connect_error(error)),
                // A peer that expects TLS may reset the connection.
                Ok(_) => self.session.handle_eof(),
            }
        }
    }

    /// Reads once. Call [`on_data`](Self::on_data) and [`answer`](Self::answer) afterwards. Cancel safe.
    pub(super) async fn read(&mut self) -> Result<(), ConnectError> {
        self.input.reserve(READ);
        match self.reader.read_buf(&mut self.input).await {
            Ok(0) => {
                self.session.handle_eof();
                self.events()?;
                Err(ConnectError::Closed(CloseReason::Lost))
            }
            Ok(_) => Ok(()),
            Err(error) => Err(connect_error(error)),
        }
    }

    /// Handles the bytes that were read. For each data message, calls `data` with the length of its frame and its first `head`
    /// bytes: see [`Next::Data`].
    pub(super) fn on_data(
        &mut self,
        head: usize,
        mut data: impl FnMut(usize, &[u8]),
    ) -> Result<(), ConnectError> {
        loop {
            let skipped = self.skip.min(self.input.len());
            self.input.advance(skipped);
            self.skip = self.skip.saturating_sub(skipped);
            let other = self.skip_data(head, &mut data);
            let Some(length) = other else { return Ok(()) };
            // If the frame exceeds the limit, pass the bytes received so far to the session. The session reports the error.
            if length > self.input.len() && length <= Limits::DEFAULT.max_frame {
                return Ok(());
            }
            let mut frame = self.input.split_to(length.min(self.input.len()));
            self.session.handle_input(&mut frame);
            self.events()?;
        }
    }

    /// Handles all data messages at the beginning of the input. Then returns the length of the next frame, which has a different
    /// type, if there is one.
    fn skip_data(&mut self, head: usize, data: &mut impl FnMut(usize, &[u8])) -> Option<usize> {
        let mut rest: &[u8] = &self.input;
        let other = loop {
            let length = match self.framing.next(rest, head) {
                Next::Data { length, head } => {
                    data(length, head);
                    length
                }
                Next::Fragment { length } => length,
                Next::Other { length } => break Some(length),
                Next::Incomplete => break None,
            };
            self.skip = length.saturating_sub(rest.len());
            rest = rest.get(length..).unwrap_or_default();
        };
        let taken = self.input.len().saturating_sub(rest.len());
        self.input.advance(taken);
        other
    }

    /// Handles the events of the session.
    fn events(&mut self) -> Result<(), ConnectError> {
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Introduced { .. } => {
                    self.session.admit();
                    self.session.handle_input(&mut self.input);
                }
                Event::Established { filter, .. } | Event::FilterChanged(filter) => self.filter = filter,
                Event::Notice(notice) => _ = self.notice.set(notice),
                Event::Closed(CloseReason::Failed(error)) => return Err(error.into()),
                Event::Closed(reason) => return Err(ConnectError::Closed(reason)),
                // Not needed here.
                _ => {}
            }
        }
        Ok(())
    }

    /// Sends the frames that the session generated. Cancel safe.
    pub(super) async fn answer(&mut self) -> Result<(), ConnectError> {
        while let Some(bytes) = self.session.poll_transmit() {
            self.output.extend_from_slice(&bytes);
        }
        if self.output.is_empty() {
            return Ok(());
        }
        while !self.output.is_empty() {
            self.writer.write_buf(&mut self.output).await.map_err(connect_error)?;
        }
        self.writer.flush().await.map_err(connect_error)
    }

    /// Reads and answers until the session has ended. Cancel safe.
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
        self.on_data(0, |_, _| {})
    }

    /// Sends complete frames, and reads at the same time. If the future is dropped, nothing more can be sent.
    pub(super) async fn send(&mut self, mut frames: &[u8]) -> Result<(), ConnectError> {
        self.answer().await?;
        self.is_partial = true;
        while !frames.is_empty() {
            self.input.reserve(READ);
            tokio::select! {
                biased;
                written = self.writer.write(frames) => {
                    let written = written.map_err(connect_error)?;
                    frames = frames.get(written..).unwrap_or_default();
                }
                read = self.reader.read_buf(&mut self.input) => match read.map_err(connect_error)? {
                    0 => return Err(ConnectError::Closed(CloseReason::Lost)),
                    _ => self.on_data(0, |_, _| {})?,
                },
            }
        }
        self.is_partial = false;
        self.writer.flush().await.map_err(connect_error)
    }

    async fn until_left(&mut self) -> Result<(), ConnectError> {
        self.answer().await?;
        // ZeroMQ has no confirmation: the session ends when everything is written.
        self.session.handle_timeout();
        self.events()?;
        Err(self.attend().await)
    }

    /// Leaves the relay and waits for its confirmation.
    pub(super) async fn leave(mut self) {
        if !self.is_partial {
            self.session.leave();
            let _ = timeout(Config::LEAVE_TIMEOUT, self.until_left()).await;
        }
        let _ = timeout(Config::LEAVE_TIMEOUT, self.writer.shutdown()).await;
    }
}

async fn open(side: &Side, role: PeerRole, patience: Duration) -> Result<Stream, ConnectError> {
    let address = side.target(role).map_err(DialError::from)?;
    let tcp = dial(&address, patience).await?;
    Ok(timeout(patience, side.tls.connect_to(tcp, side.host.clone()))
        .await
        .map_err(|_| ConnectError::TlsTimeout(patience))??)
}

fn random_id() -> Result<EndpointId, ConnectError> {
    EndpointId::random().map_err(connect_error)
}

fn connect_error(error: io::Error) -> ConnectError {
    match TlsError::from_io(&error) {
        Some(error) => error.into(),
        None => ConnectError::Stream(ConnectionFault::Io(Arc::new(error))),
    }
}
