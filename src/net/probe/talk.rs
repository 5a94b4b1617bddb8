//! The part of Broker's handshake that can be gone through without a peering.

use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use crate::data::{EndpointId, Filter};
use crate::net::Stream;
use crate::net::tls::TlsError;
use crate::wire::{ErrorCode, ForeignProtocol, Handshake, Limits, PROTOCOL_VERSION, cut_frame};

/// How long our refusal may take to be read.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// So many bytes of a stranger are looked at.
const FIRST_WORDS: usize = 80;

/// What came of speaking Broker's protocol.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Answer {
    /// The other side speaks it.
    Broker(BrokerInfo),
    /// It speaks something else, or not at all.
    Other(Stranger),
    /// It did not come to that: TLS failed, or we were refused.
    Tls(TlsError),
}

/// What a Broker says of itself in the handshake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BrokerInfo {
    /// Its endpoint id, new with each start of its process.
    pub id: Option<EndpointId>,
    /// The versions of the protocol that it speaks.
    pub versions: Option<RangeInclusive<u8>>,
    /// What it wants to hear.
    pub filter: Option<Filter>,
    /// Why it did not say everything, if it did not.
    pub cut_short: Option<String>,
}

/// What is no Broker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stranger {
    /// TLS, where none was spoken to it.
    Tls,
    /// A web server; the first line of its answer.
    Http(String),
    /// An SSH server; its first line.
    Ssh(String),
    /// ZeroMQ, as Zeek's ZeroMQ cluster back end speaks it.
    ZeroMq,
    /// An echo server: it sent our own hello back.
    Echo,
    /// Something unknown; its first bytes, as far as they are a line, printable.
    Unknown(String),
    /// It takes connections and says nothing.
    Silent,
    /// It closes connections without a word.
    Closed,
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stranger::Tls => f.write_str("it answers with TLS"),
            Stranger::Http(line) => write!(f, "a web server (HTTP): {line}"),
            Stranger::Ssh(line) => write!(f, "an SSH server: {line}"),
            Stranger::ZeroMq => f.write_str("ZeroMQ, likely the cluster back end of Zeek 8.1 or later"),
            Stranger::Echo => f.write_str("an echo server: it sends back what it receives"),
            Stranger::Unknown(words) => write!(f, "something that says: {words}"),
            Stranger::Silent => f.write_str("it takes connections, and says nothing"),
            Stranger::Closed => f.write_str("it takes connections, and closes them without a word"),
        }
    }
}

impl Stranger {
    /// What these first words tell.
    fn of(words: &[u8]) -> Self {
        let line = words.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
        let line = line.get(..FIRST_WORDS).unwrap_or(line).escape_ascii().to_string();
        let is_html =
            |start: &[u8]| words.get(..start.len()).is_some_and(|words| words.eq_ignore_ascii_case(start));
        if is_html(b"<!doctype html") || is_html(b"<html") {
            return Stranger::Http(line);
        }
        match ForeignProtocol::recognize(words) {
            Some(ForeignProtocol::Http) => Stranger::Http(line),
            Some(ForeignProtocol::Ssh) => Stranger::Ssh(line),
            Some(ForeignProtocol::ZeroMq) => Stranger::ZeroMq,
            Some(ForeignProtocol::TlsHandshake | ForeignProtocol::TlsAlert) => Stranger::Tls,
            None => Stranger::Unknown(line),
        }
    }
}

/// Says this, and gives what the answer tells.
pub(super) async fn first_words(mut tcp: TcpStream, ours: &[u8], deadline: Instant) -> Stranger {
    let mut words = BytesMut::new();
    let asking = async {
        tcp.write_all(ours).await?;
        while tcp.read_buf(&mut words).await? > 0 && is_unfinished(&words) {}
        io::Result::Ok(())
    };
    let ended = timeout_at(deadline, asking).await;
    match (words.is_empty(), ended) {
        (false, _) => Stranger::of(&words),
        (true, Ok(_)) => Stranger::Closed,
        (true, Err(_)) => Stranger::Silent,
    }
}

/// Whether these are the beginning of a line of text.
fn is_unfinished(words: &[u8]) -> bool {
    words.len() < FIRST_WORDS && words.iter().all(|byte| matches!(byte, b' '..=b'~'))
}

/// How a talk ended.
enum End {
    /// Everything was said.
    Complete,
    /// The other side ended it with these words.
    Dropped(String),
    /// The stream ended.
    Closed,
    /// What came cannot be.
    Odd(String),
    /// Our own hello came back.
    Echo,
    Tls(TlsError),
    Timeout,
}

/// Goes through the handshake as far as it can, and refuses.
pub(super) async fn talk(stream: Stream, id: EndpointId, deadline: Instant) -> Answer {
    let mut talk = Talk {
        stream,
        id,
        input: BytesMut::new(),
        first: Vec::new(),
        broker: None,
        answered: false,
        limits: Limits::DEFAULT,
    };
    let end = timeout_at(deadline, talk.run()).await.unwrap_or(End::Timeout);
    let Some(mut broker) = talk.broker.take() else {
        if matches!(end, End::Odd(_)) {
            let _ = timeout_at(deadline, talk.hear_out()).await;
        }
        return match end {
            End::Tls(error) => Answer::Tls(error),
            End::Echo => Answer::Other(Stranger::Echo),
            _ if !talk.first.is_empty() => Answer::Other(Stranger::of(&talk.first)),
            End::Timeout => Answer::Other(Stranger::Silent),
            _ => Answer::Other(Stranger::Closed),
        };
    };
    broker.cut_short = match end {
        End::Complete => None,
        End::Dropped(words) => Some(format!("it refuses: {words}")),
        End::Closed => Some("it closed the connection in the middle of the handshake".into()),
        End::Odd(what) => Some(what),
        End::Echo => Some("it says hello with this probe's own id".into()),
        End::Tls(error) => Some(error.to_string()),
        End::Timeout => Some("it fell silent in the middle of the handshake".into()),
    };
    let _ = timeout(LAST_WORDS, talk.refuse()).await;
    Answer::Broker(broker)
}

struct Talk {
    stream: Stream,
    id: EndpointId,
    input: BytesMut,
    /// The first bytes that came.
    first: Vec<u8>,
    /// What is known of the other side; it is a Broker from its first message on.
    broker: Option<BrokerInfo>,
    /// Whether its hello was answered.
    answered: bool,
    limits: Limits,
}

impl Talk {
    async fn run(&mut self) -> End {
        let hello = self.hello();
        if let Err(end) = self.say(&[hello]).await {
            return end;
        }
        loop {
            let frame = match cut_frame(&mut self.input, self.limits.max_handshake_frame) {
                Ok(Some(frame)) => frame,
                Ok(None) => match self.read().await {
                    Ok(0) => return End::Closed,
                    Ok(_) => continue,
                    Err(error) => return failed(&error),
                },
                Err(error) => return End::Odd(format!("it sent what is no frame: {error}")),
            };
            let end = match Handshake::decode(&frame, &self.limits) {
                Ok(message) => self.heard(message).await,
                Err(error) => Some(End::Odd(format!("it sent a malformed message: {error}"))),
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    async fn read(&mut self) -> io::Result<usize> {
        let before = self.input.len();
        let count = self.stream.read_buf(&mut self.input).await?;
        let room = FIRST_WORDS.saturating_sub(self.first.len());
        self.first.extend(self.input.iter().skip(before).take(room));
        Ok(count)
    }

    /// A line of text may come in pieces.
    async fn hear_out(&mut self) {
        while is_unfinished(&self.first) && self.read().await.unwrap_or(0) > 0 {}
    }

    async fn heard(&mut self, message: Handshake) -> Option<End> {
        if matches!(message, Handshake::Hello { sender, .. } if sender == self.id) {
            return Some(End::Echo);
        }
        let broker = self.broker.get_or_insert_default();
        match message {
            Handshake::Probe => None,
            Handshake::Hello { sender, min_version, max_version } => {
                broker.id = Some(sender);
                broker.versions = Some(min_version..=max_version);
                if std::mem::replace(&mut self.answered, true) {
                    return Some(End::Odd("it says hello again and again".into()));
                }
                if !(min_version..=max_version).contains(&PROTOCOL_VERSION) {
                    return Some(End::Odd(format!("it does not speak version {PROTOCOL_VERSION}")));
                }
                let answer = if self.id < sender {
                    let select = Handshake::VersionSelect { sender: self.id, version: PROTOCOL_VERSION };
                    self.say(&[select, Handshake::OriginatorSyn(Filter::new())]).await
                } else {
                    let hello = self.hello();
                    self.say(&[hello]).await
                };
                answer.err()
            }
            Handshake::VersionSelect { sender, version } => {
                broker.id = Some(sender);
                broker.versions.get_or_insert(version..=version);
                None
            }
            Handshake::OriginatorSyn(filter) | Handshake::ResponderSynAck(filter) => {
                broker.filter = Some(filter);
                Some(End::Complete)
            }
            Handshake::DropConn { sender, code, description } => {
                broker.id.get_or_insert(sender);
                // One line, and printable.
                let words = description.as_bytes().escape_ascii().to_string();
                Some(End::Dropped(format!("{code}: {words}")))
            }
            Handshake::OriginatorAck => Some(End::Odd("it ends a handshake that has not begun".into())),
        }
    }

    fn hello(&self) -> Handshake {
        Handshake::Hello { sender: self.id, min_version: PROTOCOL_VERSION, max_version: PROTOCOL_VERSION }
    }

    async fn say(&mut self, messages: &[Handshake]) -> Result<(), End> {
        let mut bytes = BytesMut::new();
        for message in messages {
            message.encode(&mut bytes).map_err(|error| End::Odd(error.to_string()))?;
        }
        let said = async {
            self.stream.write_all(&bytes).await?;
            self.stream.flush().await
        };
        let Err(error) = said.await else { return Ok(()) };
        // Why the other side closed may stand there unread.
        match self.read().await {
            Ok(1..) => Ok(()),
            Ok(0) => Err(failed(&error)),
            Err(error) => Err(failed(&error)),
        }
    }

    /// Says that there will be no peering, and lets the other side close.
    async fn refuse(mut self) -> io::Result<()> {
        let refusal = Handshake::DropConn {
            sender: self.id,
            code: ErrorCode::UNSPECIFIED,
            description: "a probe: no peering is wanted".into(),
        };
        if self.say(&[refusal]).await.is_err() {
            return Ok(());
        }
        self.stream.shutdown().await?;
        while self.stream.read(&mut [0; 1024]).await? > 0 {}
        Ok(())
    }
}

fn failed(error: &io::Error) -> End {
    match TlsError::from_io(error) {
        Some(error) => End::Tls(error),
        None => End::Closed,
    }
}
