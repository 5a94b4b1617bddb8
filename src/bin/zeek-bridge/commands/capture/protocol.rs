//! Detects the protocol of a connection from its first bytes, and reads the frames if it is Broker's protocol, the WebSocket API
//! or ZeroMQ.

use bytes::BytesMut;
use data_encoding::HEXLOWER;
use zeek_bridge::trace::{self, Conversation, Entry, Side, StreamFault};
use zeek_bridge::wire::{ForeignProtocol, FrameError, Limits, cut_frame};

use super::report::{About, Protocol, Report};
use super::tls::{self, Hello};
use crate::output::Failure;

/// The number of bytes that identify Broker's protocol: a length field and the tag of a handshake message.
const PREFIX: usize = 5;

/// The number of bytes that identify ZMTP, the protocol of ZeroMQ, and the first byte of them.
const SIGNATURE: usize = 10;
const SIGNATURE_START: u8 = 0xff;

/// Maximum number of bytes that are kept for each side to find the version of TLS.
const MAX_HELLO: usize = 4096;

/// The remark on a connection with HTTP that opens no WebSocket session.
const HTTP: &str = "HTTP, and not the WebSocket API";

/// The state of the detection.
enum State {
    /// The protocol is unknown. Holds the bytes of each side.
    Unknown([BytesMut; 2]),
    /// The connector has sent the beginning of an HTTP request, which may open a WebSocket session.
    Http(Conversation),
    /// The protocol is Broker's, the WebSocket API or ZeroMQ.
    Frames(Conversation),
    /// The protocol is TLS, and its version is unknown. Holds the bytes of each side.
    Tls([BytesMut; 2]),
    /// The detection has ended. All later bytes are ignored.
    Done,
}

/// Reads a connection of any protocol.
pub(super) struct ProtocolReader {
    state: State,
    /// Whether the first bytes of the connection were captured.
    complete: bool,
    /// Whether the connection was reported.
    reported: bool,
    /// Whether the connection was reported as Broker's protocol, the WebSocket API or ZeroMQ.
    pub(super) is_known: bool,
    /// The number of entries that are errors.
    pub(super) errors: u64,
}

impl ProtocolReader {
    pub(super) fn new(complete: bool) -> Self {
        ProtocolReader {
            state: State::Unknown(Default::default()),
            complete,
            reported: false,
            is_known: false,
            errors: 0,
        }
    }

    /// Returns the memory in use, in bytes.
    pub(super) fn memory(&self) -> usize {
        match &self.state {
            State::Http(conversation) | State::Frames(conversation) => conversation.buffered(),
            State::Unknown([one, other]) | State::Tls([one, other]) => one.len().saturating_add(other.len()),
            State::Done => 0,
        }
    }

    /// Adds bytes that the side `from` sent.
    pub(super) fn input(
        &mut self,
        about: &mut About,
        from: Side,
        t_us: u64,
        bytes: &[u8],
        report: &mut dyn Report,
    ) -> Result<(), Failure> {
        match &mut self.state {
            State::Unknown(held) => {
                let first = side_of(held, from);
                first.extend_from_slice(bytes);
                let needed = if first.first() == Some(&SIGNATURE_START) { SIGNATURE } else { PREFIX };
                if first.len() < needed {
                    return Ok(());
                }
                let held = std::mem::take(held);
                self.decide(about, from, held, t_us, report)
            }
            State::Http(conversation) => {
                let entries: Vec<Entry> = conversation.input(from, t_us, bytes).collect();
                match conversation.protocol() {
                    None => Ok(()),
                    Some(trace::Protocol::WebSocket) => {
                        self.state = State::Frames(std::mem::take(conversation));
                        about.protocol = Protocol::WebSocket;
                        self.begin(about, report)?;
                        self.report(about, entries, report)
                    }
                    Some(_) => {
                        about.protocol = Protocol::Other(HTTP.to_owned());
                        self.state = State::Done;
                        self.begin(about, report)
                    }
                }
            }
            State::Frames(conversation) => {
                let entries: Vec<Entry> = conversation.input(from, t_us, bytes).collect();
                self.report(about, entries, report)
            }
            State::Tls(held) => {
                let first = side_of(held, from);
                if first.len() < MAX_HELLO {
                    first.extend_from_slice(bytes);
                }
                let is_enough =
                    held.iter().any(|first| matches!(tls::hello(first), Some(Hello::Selected(_))))
                        || held.iter().all(|first| first.len() >= MAX_HELLO);
                if is_enough { self.report_tls(about, report) } else { Ok(()) }
            }
            State::Done => Ok(()),
        }
    }

    /// Records that bytes from the side `from` are missing.
    pub(super) fn lose(
        &mut self,
        about: &mut About,
        from: Side,
        t_us: u64,
        count: u64,
        why: &'static str,
        report: &mut dyn Report,
    ) -> Result<(), Failure> {
        if let State::Unknown(held) = &mut self.state {
            // The first bytes are incomplete. Assume Broker's protocol, and search for a frame. The connection is reported
            // when a frame is found.
            let held = std::mem::take(held);
            self.complete = false;
            self.state = State::Frames(Conversation::from_the_middle());
            self.feed(about, &held, t_us, report)?;
        }
        if let State::Http(_) = self.state {
            return self.end(about, t_us, report);
        }
        let State::Frames(conversation) = &mut self.state else { return Ok(()) };
        let entry = conversation.lose(from, t_us, count, why);
        self.report(about, entry, report)
    }

    /// Ends the connection: no more bytes follow.
    pub(super) fn end(
        &mut self,
        about: &mut About,
        t_us: u64,
        report: &mut dyn Report,
    ) -> Result<(), Failure> {
        match &mut self.state {
            State::Unknown(held) => {
                if let Some(first) = held.iter().find(|first| !first.is_empty()) {
                    about.protocol =
                        Protocol::Other(format!("one side sent only {}", HEXLOWER.encode(first)));
                    self.begin(about, report)?;
                }
            }
            State::Http(_) => {
                about.protocol = Protocol::Other(format!("{HTTP}, whose request is incomplete"));
                self.begin(about, report)?;
            }
            State::Frames(conversation) => {
                let count = conversation.buffered();
                let entries: Vec<Entry> = conversation.end(t_us).collect();
                self.report(about, entries, report)?;
                if !self.reported {
                    about.protocol = Protocol::Other(format!(
                        "it contains no frame of Broker's protocol, and ends with {count} bytes that could be the start of a frame"
                    ));
                    self.begin(about, report)?;
                }
            }
            State::Tls(_) => self.report_tls(about, report)?,
            State::Done => {}
        }
        self.state = State::Done;
        if self.reported { report.end(about) } else { Ok(()) }
    }

    fn decide(
        &mut self,
        about: &mut About,
        from: Side,
        mut held: [BytesMut; 2],
        t_us: u64,
        report: &mut dyn Report,
    ) -> Result<(), Failure> {
        let limits = &Limits::DEFAULT;
        let first = side_of(&mut held, from);
        if tls::is_record(first) {
            self.state = State::Tls(held);
            return self.input(about, from, t_us, &[], report);
        }
        if self.complete && from == Side::Connector && first.starts_with(b"GET ") {
            self.state = State::Http(Conversation::default());
            return self.feed(about, &held, t_us, report);
        }
        if first.len() >= SIGNATURE && ForeignProtocol::recognize(first) == Some(ForeignProtocol::ZeroMq) {
            about.protocol = Protocol::ZeroMq;
            self.state = State::Frames(Conversation::of(Some(trace::Protocol::ZeroMq)));
            self.begin(about, report)?;
            return self.feed(about, &held, t_us, report);
        }
        let cut = cut_frame(&mut first.clone(), limits.max_handshake_frame);
        let named = match &cut {
            Err(FrameError::TooLarge { protocol: Some(protocol), .. }) => Some(protocol.to_string()),
            _ => None,
        };
        // A handshake message, by its tag.
        let broker = cut.is_ok() && matches!(first.get(4), Some(6..=12));
        let shown = first.get(..first.len().min(16)).unwrap_or_default();
        if named.is_some() || self.complete && !broker {
            about.protocol = Protocol::Other(
                named.unwrap_or_else(|| format!("it begins with {}", HEXLOWER.encode(shown))),
            );
            self.state = State::Done;
            return self.begin(about, report);
        }
        about.protocol = Protocol::Broker;
        if self.complete {
            self.state = State::Frames(Conversation::default());
            self.begin(about, report)?;
        } else {
            // The connection is reported when a frame is found.
            self.state = State::Frames(Conversation::from_the_middle());
        }
        self.feed(about, &held, t_us, report)
    }

    /// Adds the bytes of both sides that were held, those of the connector first.
    fn feed(
        &mut self,
        about: &mut About,
        held: &[BytesMut; 2],
        t_us: u64,
        report: &mut dyn Report,
    ) -> Result<(), Failure> {
        for (side, bytes) in Side::BOTH.into_iter().zip(held) {
            self.input(about, side, t_us, bytes, report)?;
        }
        Ok(())
    }

    fn report_tls(&mut self, about: &mut About, report: &mut dyn Report) -> Result<(), Failure> {
        let State::Tls(held) = &self.state else { return Ok(()) };
        let hellos: Vec<Hello> = held.iter().filter_map(|first| tls::hello(first)).collect();
        let selected = hellos.iter().find_map(|hello| match hello {
            Hello::Selected(version) => Some(tls::name(*version)),
            Hello::Offers(_) => None,
        });
        let offered = hellos.iter().find_map(|hello| match hello {
            Hello::Offers(version) => Some(format!("up to {}", tls::name(*version))),
            Hello::Selected(_) => None,
        });
        about.protocol = Protocol::Tls(selected.or(offered));
        self.state = State::Done;
        self.begin(about, report)
    }

    fn begin(&mut self, about: &About, report: &mut dyn Report) -> Result<(), Failure> {
        self.reported = true;
        self.is_known = matches!(about.protocol, Protocol::Broker | Protocol::WebSocket | Protocol::ZeroMq);
        report.begin(about)
    }

    fn report(
        &mut self,
        about: &About,
        entries: impl IntoIterator<Item = Entry>,
        report: &mut dyn Report,
    ) -> Result<(), Failure> {
        for mut entry in entries {
            if !self.reported {
                self.begin(about, report)?;
            }
            if let Err(error) = &mut entry.frame
                && let StreamFault::Frame(FrameError::TooLarge {
                    protocol: Some(ForeignProtocol::TlsHandshake | ForeignProtocol::TlsAlert),
                    ..
                }) = error.fault
            {
                let hint = "this side uses TLS and the other does not; enable TLS on both, or set \
                            Broker::disable_ssl=T on both";
                error.fault = StreamFault::Other(hint.into());
            }
            let bad = entry.frame.as_ref().map_or(true, |frame| frame.content.is_err());
            self.errors = self.errors.saturating_add(bad.into());
            report.entry(about, &entry)?;
        }
        Ok(())
    }
}

fn side_of(held: &mut [BytesMut; 2], side: Side) -> &mut BytesMut {
    let [connector, listener] = held;
    match side {
        Side::Connector => connector,
        Side::Listener => listener,
    }
}
