//! What a connection speaks, found out from its first bytes, and read from there on if it is Broker's protocol.

use bytes::BytesMut;
use data_encoding::HEXLOWER;
use zeek_bridge::trace::{Conversation, Entry, Side, StreamFault};
use zeek_bridge::wire::{ForeignProtocol, FrameError, Limits, cut_frame};

use super::report::{About, Report, Speaks};
use super::tls::{self, Hello};
use crate::output::Failure;

/// A length field and a byte: what is needed to tell Broker's protocol from others.
const FIRST: usize = 5;

/// How much of each side of TLS is kept to find its version.
const HELLO: usize = 4096;

/// What is known of it.
enum Known {
    /// Nothing yet: what each side has sent so far.
    Nothing([BytesMut; 2]),
    Broker(Conversation),
    /// What each side has sent so far.
    Tls([BytesMut; 2]),
    /// All that there is to know.
    Everything,
}

pub(super) struct Speech {
    known: Known,
    /// Whether its first bytes are the connection's.
    complete: bool,
    /// Whether anything was told of it.
    told: bool,
    /// Whether that was that it is Broker's protocol.
    pub(super) broker: bool,
    /// How many of its lines were errors.
    pub(super) errors: u64,
}

impl Speech {
    pub(super) fn new(complete: bool) -> Self {
        Speech { known: Known::Nothing(Default::default()), complete, told: false, broker: false, errors: 0 }
    }

    /// Bytes of memory that are held.
    pub(super) fn cost(&self) -> usize {
        match &self.known {
            Known::Broker(conversation) => conversation.buffered(),
            Known::Nothing([one, other]) | Known::Tls([one, other]) => one.len().saturating_add(other.len()),
            Known::Everything => 0,
        }
    }

    /// Takes what a side sent.
    pub(super) fn input(
        &mut self,
        about: &mut About,
        from: Side,
        t_us: u64,
        bytes: &[u8],
        report: &mut dyn Report,
    ) -> Result<(), Failure> {
        match &mut self.known {
            Known::Nothing(held) => {
                let first = of(held, from);
                first.extend_from_slice(bytes);
                if first.len() < FIRST {
                    return Ok(());
                }
                let held = std::mem::take(held);
                self.decide(about, from, held, t_us, report)
            }
            Known::Broker(conversation) => {
                let entries: Vec<Entry> = conversation.input(from, t_us, bytes).collect();
                self.tell(about, entries, report)
            }
            Known::Tls(held) => {
                let first = of(held, from);
                if first.len() < HELLO {
                    first.extend_from_slice(bytes);
                }
                let enough = held.iter().any(|first| matches!(tls::hello(first), Some(Hello::Chose(_))))
                    || held.iter().all(|first| first.len() >= HELLO);
                if enough { self.tell_tls(about, report) } else { Ok(()) }
            }
            Known::Everything => Ok(()),
        }
    }

    /// Takes that bytes of a side are missing.
    pub(super) fn lose(
        &mut self,
        about: &mut About,
        from: Side,
        t_us: u64,
        count: u64,
        why: &'static str,
        report: &mut dyn Report,
    ) -> Result<(), Failure> {
        if let Known::Nothing(held) = &mut self.known {
            // What it speaks has to be found out from what comes later.
            let held = std::mem::take(held);
            self.complete = false;
            self.known = Known::Broker(Conversation::from_the_middle());
            for side in Side::BOTH {
                let [connector, listener] = &held;
                let bytes = if side == Side::Connector { connector } else { listener };
                self.input(about, side, t_us, bytes, report)?;
            }
        }
        let Known::Broker(conversation) = &mut self.known else { return Ok(()) };
        let entry = conversation.lose(from, t_us, count, why);
        self.tell(about, entry, report)
    }

    /// Takes that nothing more comes.
    pub(super) fn end(
        &mut self,
        about: &mut About,
        t_us: u64,
        report: &mut dyn Report,
    ) -> Result<(), Failure> {
        match &mut self.known {
            Known::Nothing(held) => {
                if let Some(first) = held.iter().find(|first| !first.is_empty()) {
                    about.speaks =
                        Speaks::Other(format!("all that a side says is {}", HEXLOWER.encode(first)));
                    self.begin(about, report)?;
                }
            }
            Known::Broker(conversation) => {
                let waiting = conversation.buffered();
                let entries: Vec<Entry> = conversation.end(t_us).collect();
                self.tell(about, entries, report)?;
                if !self.told {
                    about.speaks = Speaks::Other(format!(
                        "no frame of Broker's is found in it, and it ends with {waiting} bytes that could be the \
                         beginning of one"
                    ));
                    self.begin(about, report)?;
                }
            }
            Known::Tls(_) => self.tell_tls(about, report)?,
            Known::Everything => {}
        }
        self.known = Known::Everything;
        if self.told { report.end(about) } else { Ok(()) }
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
        let first = of(&mut held, from);
        if tls::is_record(first) {
            self.known = Known::Tls(held);
            return self.input(about, from, t_us, &[], report);
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
            about.speaks =
                Speaks::Other(named.unwrap_or_else(|| format!("it begins with {}", HEXLOWER.encode(shown))));
            self.known = Known::Everything;
            return self.begin(about, report);
        }
        about.speaks = Speaks::Broker;
        if self.complete {
            self.known = Known::Broker(Conversation::default());
            self.begin(about, report)?;
        } else {
            // It is only told once there is a frame.
            self.known = Known::Broker(Conversation::from_the_middle());
        }
        for (side, bytes) in Side::BOTH.into_iter().zip(&held) {
            self.input(about, side, t_us, bytes, report)?;
        }
        Ok(())
    }

    fn tell_tls(&mut self, about: &mut About, report: &mut dyn Report) -> Result<(), Failure> {
        let Known::Tls(held) = &self.known else { return Ok(()) };
        let hellos: Vec<Hello> = held.iter().filter_map(|first| tls::hello(first)).collect();
        let chosen = hellos.iter().find_map(|hello| match hello {
            Hello::Chose(version) => Some(tls::name(*version)),
            Hello::Offers(_) => None,
        });
        let offered = hellos.iter().find_map(|hello| match hello {
            Hello::Offers(version) => Some(format!("up to {}", tls::name(*version))),
            Hello::Chose(_) => None,
        });
        about.speaks = Speaks::Tls(chosen.or(offered));
        self.known = Known::Everything;
        self.begin(about, report)
    }

    fn begin(&mut self, about: &About, report: &mut dyn Report) -> Result<(), Failure> {
        self.told = true;
        self.broker = about.speaks == Speaks::Broker;
        report.begin(about)
    }

    fn tell(
        &mut self,
        about: &About,
        entries: impl IntoIterator<Item = Entry>,
        report: &mut dyn Report,
    ) -> Result<(), Failure> {
        for mut entry in entries {
            if !self.told {
                self.begin(about, report)?;
            }
            if let Err(error) = &mut entry.frame
                && let StreamFault::Frame(FrameError::TooLarge {
                    protocol: Some(ForeignProtocol::TlsHandshake | ForeignProtocol::TlsAlert),
                    ..
                }) = error.fault
            {
                let hint = "this side speaks TLS, and the other does not; turn TLS on at both, or set \
                            Broker::disable_ssl=T at both";
                error.fault = StreamFault::Other(hint.into());
            }
            let bad = entry.frame.as_ref().map_or(true, |frame| frame.content.is_err());
            self.errors = self.errors.saturating_add(bad.into());
            report.entry(about, &entry)?;
        }
        Ok(())
    }
}

fn of(held: &mut [BytesMut; 2], side: Side) -> &mut BytesMut {
    let [connector, listener] = held;
    match side {
        Side::Connector => connector,
        Side::Listener => listener,
    }
}
