//! The live connection: sends the recorded frames in step with the received ones.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use zeek_bridge::data::EndpointId;
use zeek_bridge::net::Stream;
use zeek_bridge::net::tls::TlsError;
use zeek_bridge::trace::{Content, Entry, Frame, FrameReader, Side};
use zeek_bridge::wire::{Envelope, EnvelopeType, Handshake};

use super::matcher::{BYE, Matcher, sender};
use crate::deadline::after;
use crate::output::{Exit, Failure, Progress};

/// The buffer size of one read.
const READ: usize = 64 * 1024;

/// Maximum size of queued output in addition to one recorded frame, in bytes. If there is more, reading stops. Without this
/// limit, a peer that sends pings and does not read the answers could fill memory.
const MAX_OUTPUT: usize = 1024 * 1024;

/// Maximum wait for the live side to answer the BYE and to close.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(3);

pub(super) struct Player {
    reader: ReadHalf<Stream>,
    writer: WriteHalf<Stream>,
    input: FrameReader,
    output: BytesMut,
    /// The size of the queued output above which reading stops.
    most_output: usize,
    to_flush: bool,
    /// `Some` if the input has ended: `Some(None)` at the end of the stream, or an error.
    gone: Option<Option<String>>,
    matcher: Matcher,
    settings: Settings,
    /// The endpoint id of the live side.
    live: EndpointId,
    /// Whether each side has sent its last handshake message.
    peered: [bool; 2],
    /// The BYE that this side has sent, until it is answered.
    bye: Option<Bytes>,
    start: Instant,
}

/// The parameters of a replay.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// The played side.
    pub(super) side: Side,
    /// The endpoint id of the played side.
    pub(super) id: EndpointId,
    /// Maximum wait for each step of the live side.
    pub(super) timeout: Duration,
    /// Whether to keep the recorded pauses.
    pub(super) recorded_speed: bool,
}

/// The result of a replay.
#[derive(Debug)]
pub(super) enum End {
    /// Everything was sent, and all recorded frames were received.
    Through,
    /// The live side did not send a recorded frame in time.
    TimedOut,
    /// The replay ended early, for this reason.
    Over(String),
}

impl Player {
    pub(super) fn new(stream: Stream, matcher: Matcher, settings: Settings) -> Self {
        let (reader, writer) = split(stream);
        Player {
            reader,
            writer,
            input: FrameReader::broker(),
            output: BytesMut::new(),
            most_output: MAX_OUTPUT,
            to_flush: false,
            gone: None,
            matcher,
            settings,
            live: EndpointId::NIL,
            peered: [false; 2],
            bye: None,
            start: Instant::now(),
        }
    }

    /// Plays the recording. Returns the result of the comparison.
    pub(super) async fn play(
        mut self,
        entries: &mut mpsc::Receiver<Result<Entry, Failure>>,
    ) -> Result<(End, Matcher), Failure> {
        let end = self.play_all(entries).await?;
        let whole = matches!(end, End::Through);
        if whole {
            self.leave().await?;
        }
        self.matcher.finish(whole)?;
        Ok((end, self.matcher))
    }

    async fn play_all(
        &mut self,
        entries: &mut mpsc::Receiver<Result<Entry, Failure>>,
    ) -> Result<End, Failure> {
        let shown = Progress::new(None, "frames");
        while let Some(entry) = entries.recv().await {
            let entry = entry?;
            shown.inc(1);
            if entry.from == self.settings.side {
                if let Some(end) = self.send(entry).await? {
                    return Ok(end);
                }
            } else {
                self.matcher.expect(entry)?;
            }
        }
        self.wait_for(|player| player.matcher.is_settled()).await.map(|end| end.unwrap_or(End::Through))
    }

    /// Waits for the frames that were recorded before this entry, then sends it. Returns the result if the replay ends here.
    async fn send(&mut self, entry: Entry) -> Result<Option<End>, Failure> {
        let frame = entry.frame.map_err(|error| {
            Failure::failed(format!(
                "the {} cannot be played from byte {} on: {error}",
                entry.from.name(),
                error.offset
            ))
        })?;
        let mut topic = None;
        if let Ok(Content::Envelope(envelope)) = &frame.content {
            match envelope.kind {
                // Pongs are sent when a ping arrives, and BYE at the end.
                EnvelopeType::Pong => return Ok(None),
                EnvelopeType::Ping if envelope.payload.starts_with(BYE) => return Ok(None),
                EnvelopeType::Data | EnvelopeType::Command => topic = Some(envelope.topic.clone()),
                EnvelopeType::RoutingUpdate | EnvelopeType::Ping => {}
            }
        }
        let is_subscribed = |player: &Self| {
            player.matcher.is_settled()
                && topic.as_ref().is_none_or(|topic| player.matcher.is_subscribed_to(topic))
        };
        if let Some(end) = self.wait_for(is_subscribed).await? {
            return Ok(Some(end));
        }
        if self.settings.recorded_speed
            && let Some(then) = self.start.checked_add(Duration::from_micros(entry.t_us))
        {
            self.until(then, |_| false).await?;
        }
        self.note(self.settings.side, &frame);
        let body = self.matcher.names.translate(&frame);
        // Cannot fail: the length was recorded or checked by the encoder.
        self.output.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
        self.output.extend_from_slice(&body);
        self.matcher.report.counts.sent = self.matcher.report.counts.sent.saturating_add(1);
        // Continue to read while writing: the live side may not read before it has written.
        self.most_output = self.output.len().saturating_add(MAX_OUTPUT);
        let end = self.wait_for(|player| player.output.is_empty() && !player.to_flush).await;
        self.most_output = MAX_OUTPUT;
        end
    }

    /// Waits for a condition. If it is not met in time, returns the result of the replay.
    async fn wait_for(&mut self, done: impl Fn(&Self) -> bool) -> Result<Option<End>, Failure> {
        let met = loop {
            let compared = self.matcher.report.counts.compared;
            let deadline = after(self.settings.timeout);
            let met = self.until(deadline, |player| done(player) || player.matcher.derailed).await?;
            // The timeout starts again with each step.
            if met || self.gone.is_some() || self.matcher.report.counts.compared == compared {
                break met;
            }
        };
        Ok(match (met, &self.gone) {
            _ if self.matcher.derailed => {
                Some(End::Over("the handshake differs from the recorded one".into()))
            }
            (true, _) => None,
            (false, Some(None)) => Some(End::Over("the live side has closed the connection".into())),
            (false, Some(Some(error))) => Some(End::Over(format!("the connection was lost: {error}"))),
            (false, None) => Some(End::TimedOut),
        })
    }

    /// Reads and writes until the condition is met, the connection has ended, or the deadline passes.
    async fn until(&mut self, deadline: Instant, done: impl Fn(&Self) -> bool) -> Result<bool, Failure> {
        loop {
            // Output to a broken connection is discarded.
            if matches!(self.gone, Some(Some(_))) {
                return Ok(false);
            }
            if done(self) {
                return Ok(true);
            }
            if self.gone.is_some() && (self.output.is_empty() && !self.to_flush) {
                return Ok(false);
            }
            match timeout_at(deadline, self.step()).await {
                Ok(went) => went?,
                Err(_) => return Ok(false),
            }
        }
    }

    /// Reads or writes once.
    async fn step(&mut self) -> Result<(), Failure> {
        let reading = self.gone.is_none() && self.output.len() < self.most_output;
        if reading {
            self.input.buffer().reserve(READ);
        }
        let writing = !self.output.is_empty() || self.to_flush;
        tokio::select! {
            read = self.reader.read_buf(self.input.buffer()), if reading => match read {
                Ok(0) => self.gone = Some(None),
                Ok(_) => return self.receive_all(),
                Err(error) => self.break_off(&error)?,
            },
            written = write_some(&mut self.writer, &mut self.output), if writing => match written {
                Ok(to_flush) => self.to_flush = to_flush,
                Err(error) => self.break_off(&error)?,
            },
            else => {}
        }
        Ok(())
    }

    /// Handles a broken connection. A TLS failure before any input is an error, not a difference.
    fn break_off(&mut self, error: &std::io::Error) -> Result<(), Failure> {
        if let Some(error) = TlsError::from_io(error) {
            return Err(Failure::Error(Exit::Refused, format!("TLS failed: {error}")));
        }
        self.gone = Some(Some(error.to_string()));
        self.output.clear();
        self.to_flush = false;
        Ok(())
    }

    fn receive_all(&mut self) -> Result<(), Failure> {
        loop {
            match self.input.next_frame() {
                Ok(Some(frame)) => self.receive(frame)?,
                Ok(None) => return Ok(()),
                Err(error) => {
                    let message = format!("byte {} of the input: {error}", error.offset);
                    // A TLS handshake or alert: TLS is enabled on one side only.
                    let is_tls = matches!(**self.input.buffer(), [0x15 | 0x16, 0x03, ..]);
                    let exit = if is_tls { Exit::Refused } else { Exit::Protocol };
                    return Err(Failure::Error(exit, message));
                }
            }
        }
    }

    fn receive(&mut self, frame: Frame) -> Result<(), Failure> {
        if let Some(id) = sender(&frame) {
            self.live = id;
        }
        self.note(self.settings.side.other(), &frame);
        if let Ok(Content::Envelope(envelope)) = &frame.content {
            match envelope.kind {
                EnvelopeType::Ping => {
                    let pong = Envelope::pong(self.settings.id, self.live, envelope.payload.clone());
                    return self.put(&pong);
                }
                EnvelopeType::Pong if Some(&envelope.payload) == self.bye.as_ref() => {
                    self.bye = None;
                    return Ok(());
                }
                _ => {}
            }
        }
        self.matcher.receive(frame)
    }

    fn put(&mut self, envelope: &Envelope) -> Result<(), Failure> {
        envelope.encode(&mut self.output).map_err(|error| Failure::failed(error.to_string()))
    }

    fn note(&mut self, from: Side, frame: &Frame) {
        if let Ok(Content::Handshake(Handshake::OriginatorAck | Handshake::ResponderSynAck(_))) =
            &frame.content
        {
            let [connector, listener] = &mut self.peered;
            *if from == Side::Connector { connector } else { listener } = true;
        }
    }

    /// Sends BYE. Call this after all answers have been received.
    async fn leave(&mut self) -> Result<(), Failure> {
        let deadline = after(LEAVE_TIMEOUT);
        if self.peered == [true; 2] && self.gone.is_none() {
            let payload: Bytes =
                [BYE, self.settings.id.as_bytes().get(8..).unwrap_or_default()].concat().into();
            self.bye = Some(payload.clone());
            self.put(&Envelope::ping(self.settings.id, self.live, payload))?;
            self.until(deadline, |player| player.bye.is_none()).await?;
        }
        let _ = timeout_at(deadline, self.writer.shutdown()).await;
        self.until(deadline, |_| false).await?;
        Ok(())
    }
}

/// Writes queued output. Returns whether the stream must be flushed.
async fn write_some(writer: &mut WriteHalf<Stream>, output: &mut BytesMut) -> std::io::Result<bool> {
    if output.is_empty() {
        return writer.flush().await.map(|()| false);
    }
    writer.write_buf(output).await.map(|_| true)
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::super::matcher::Scope;
    use super::super::names::Names;
    use super::super::report::Report;
    use super::*;

    #[tokio::test]
    async fn input_is_not_read_while_too_much_output_is_queued() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (live, ours) =
            tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (mut live, ours) = (live.unwrap(), ours.unwrap().0);
        let id = EndpointId::from_bytes([1; 16]);
        let settings =
            Settings { side: Side::Connector, id, timeout: Duration::from_secs(1), recorded_speed: false };
        let scope = Scope { topics: Vec::new(), ignore: Vec::new() };
        let matcher = Matcher::new(Names::default(), scope, Report::new(false));
        let mut player = Player::new(ours.into(), matcher, settings);
        player.input = FrameReader::continued(zeek_bridge::trace::Protocol::Broker, Side::Connector);
        let mut ping = BytesMut::new();
        Envelope::ping(id, id, Bytes::from(vec![b'x'; 64 * 1024])).encode(&mut ping).unwrap();
        let pinging = tokio::spawn(async move { while live.write_all(&ping).await.is_ok() {} });
        // Step until neither direction makes progress.
        while let Ok(went) = timeout_at(after(Duration::from_millis(300)), player.step()).await {
            went.unwrap();
            assert!(player.output.len() < 2 * MAX_OUTPUT);
        }
        assert!(player.output.len() >= MAX_OUTPUT && player.gone.is_none());
        pinging.abort();
    }
}
