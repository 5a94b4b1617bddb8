//! What stands at an address: nothing, a Broker with or without TLS, or something else.
//!
//! A probe goes through Broker's handshake as far as it can without a peering, takes note of what the other side
//! says of itself, and refuses. Each attempt has a TCP connection of its own.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use std::time::Duration;
//! use zeek_bridge::net::probe::{Found, probe};
//!
//! let report = probe("127.0.0.1:9999", None, Duration::from_secs(5)).await?;
//! if let Found::Plain(broker) = report.found {
//!     println!("a Broker without TLS: {:?}", broker.id);
//! }
//! # Ok(())
//! # }
//! ```

mod anonymous;
mod talk;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

pub use talk::{Answer, BrokerInfo, Stranger};

use super::tls::{self, MutualTls, PeerIdentity, Tls, TlsError};
use crate::data::EndpointId;

/// What a probe found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProbeReport {
    /// What was probed, as it was given.
    pub target: String,
    /// The address that was connected to; `None` if none could be.
    pub address: Option<SocketAddr>,
    /// What stands there.
    pub found: Found,
}

/// What stands at an address.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Found {
    /// Nothing that takes a TCP connection.
    Nothing(NoConnection),
    /// A Broker without TLS: Zeek's `Broker::disable_ssl=T`.
    Plain(BrokerInfo),
    /// Anonymous TLS as only a Zeek without certificate options speaks it, and what was said over it; `None` if
    /// this build cannot speak it (feature `openssl`).
    Anonymous(Option<Answer>),
    /// TLS with a certificate.
    Certificate(Box<CertificateTls>),
    /// TLS that has nothing in common with what Broker speaks, and why it came to nothing.
    OtherTls(String),
    /// Something else.
    Other(Stranger),
}

/// A TLS listener that shows a certificate, as a Zeek with certificate options does.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CertificateTls {
    /// The version of TLS that it prefers.
    pub version: Option<&'static str>,
    /// Its certificate. Nobody has verified it.
    pub certificate: PeerIdentity,
    /// Who signed its certificate.
    pub issuer: String,
    /// Whether its certificate is one that only OpenSSL takes: X.509 version 1, or that of a CA.
    pub takes_openssl: bool,
    /// Whether it asks for a certificate, and the CAs that it names for it. Zeek asks, and names none.
    pub asks_for: Option<Vec<String>>,
    /// What it says to somebody without a certificate.
    pub without: Answer,
    /// What it says to us with ours, if we have one.
    pub with_ours: Option<Answer>,
}

/// Why there is no TCP connection.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoConnection {
    /// The host name has no address.
    #[error("cannot find the host: {0}; check the name")]
    Resolve(Arc<io::Error>),
    /// It was refused, or there is no way there.
    #[error("cannot connect: {0}; nothing listens there, or a firewall refuses it")]
    Connect(Arc<io::Error>),
    /// Nobody answered in time.
    #[error("no answer within {:.1} s; is the address right, and does a firewall stand between?", .0.as_secs_f64())]
    Timeout(Duration),
}

/// Finds out what stands at `target` (`host:port`). `ours` is shown where a certificate is asked for. There are at
/// most five attempts, one after the other, each of which takes at most `timeout`; what it finds of a Broker it
/// mostly finds in a fraction of that.
///
/// A Broker sees a peer that refuses in the middle of the handshake; nothing is peered.
///
/// # Errors
/// When the operating system gives no random bytes.
pub async fn probe(target: &str, ours: Option<&MutualTls>, timeout: Duration) -> io::Result<ProbeReport> {
    let id = our_id()?;
    let (address, found) = match connect(target, timeout).await {
        Err(error) => (None, Found::Nothing(error)),
        Ok((address, tcp)) => {
            let prober = Prober { address, id, timeout };
            (Some(address), prober.find(tcp, ours).await?)
        }
    };
    Ok(ProbeReport { target: target.to_owned(), address, found })
}

/// An id that is nobody's, and smaller than practically any other: so the peer says hello, which tells its versions,
/// before it tells its filter. It is a well-formed UUID, as some log only such.
fn our_id() -> io::Result<EndpointId> {
    let mut bytes = [0, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 0];
    let random = getrandom::u64()?.to_be_bytes();
    for (byte, random) in bytes.iter_mut().skip(9).zip(random) {
        *byte = random;
    }
    Ok(EndpointId::from_bytes(bytes))
}

async fn connect(target: &str, timeout: Duration) -> Result<(SocketAddr, TcpStream), NoConnection> {
    let resolve = |error| NoConnection::Resolve(Arc::new(error));
    let connecting = async {
        let addresses = tokio::net::lookup_host(target).await.map_err(resolve)?;
        let mut last = resolve(io::Error::new(io::ErrorKind::NotFound, "the name has no addresses"));
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(tcp) => return Ok((address, tcp)),
                Err(error) => last = NoConnection::Connect(Arc::new(error)),
            }
        }
        Err(last)
    };
    let connected = timeout_at(after(timeout), connecting).await;
    connected.unwrap_or(Err(NoConnection::Timeout(timeout)))
}

fn after(wait: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(wait).unwrap_or(now)
}

struct Prober {
    address: SocketAddr,
    id: EndpointId,
    timeout: Duration,
}

impl Prober {
    async fn find(&self, tcp: TcpStream, ours: Option<&MutualTls>) -> io::Result<Found> {
        let plain = match talk::talk(tcp.into(), self.id, after(self.timeout)).await {
            Answer::Broker(broker) => return Ok(Found::Plain(broker)),
            // A TLS listener that was told no TLS may do any of these.
            Answer::Other(stranger @ (Stranger::Tls | Stranger::Closed | Stranger::Silent)) => stranger,
            Answer::Other(stranger) => return Ok(Found::Other(stranger)),
            Answer::Tls(error) => return Ok(Found::OtherTls(error.to_string())),
        };
        let (seen, without) = self.look().await;
        if let Some(certificate) = seen.certificate {
            let with_ours = match ours {
                Some(ours) => Some(self.over(&Tls::Mutual(ours.clone())).await),
                None => None,
            };
            return Ok(Found::Certificate(Box::new(CertificateTls {
                version: seen.version,
                certificate: PeerIdentity::of(&certificate),
                issuer: tls::issuer(&certificate),
                takes_openssl: tls::takes_openssl(&certificate),
                asks_for: seen.asks_for,
                without,
                with_ours,
            })));
        }
        let not_tls = matches!(without, Answer::Tls(TlsError::NotTls) | Answer::Other(Stranger::Silent));
        if !not_tls && self.is_anonymous().await? {
            let answer = match Tls::anonymous() {
                Ok(anonymous) => Some(self.over(&anonymous).await),
                Err(_) => None,
            };
            return Ok(Found::Anonymous(answer));
        }
        if let Answer::Tls(TlsError::Refused(refusal)) = without {
            return Ok(Found::OtherTls(format!(
                "it refuses each connection with the alert {}",
                refusal.alert()
            )));
        }
        if let Answer::Tls(error @ (TlsError::Incompatible(_) | TlsError::Protocol(_))) = without {
            return Ok(Found::OtherTls(error.to_string()));
        }
        if plain == Stranger::Tls {
            return Ok(Found::OtherTls("it answers with TLS alerts, and closes".into()));
        }
        Ok(Found::Other(match self.ask_http().await {
            Stranger::Silent | Stranger::Closed => plain,
            stranger => stranger,
        }))
    }

    /// Looks at the TLS there, with no certificate to show.
    async fn look(&self) -> (tls::Seen, Answer) {
        let deadline = after(self.timeout);
        let Ok(tcp) = self.tcp(deadline).await else {
            return (tls::Seen::default(), Answer::Other(Stranger::Closed));
        };
        match timeout_at(deadline, tls::look(tcp)).await {
            Err(_) => (tls::Seen::default(), Answer::Other(Stranger::Silent)),
            Ok((seen, Err(error))) => (seen, refused(error)),
            Ok((seen, Ok(stream))) => (seen, talk::talk(stream, self.id, deadline).await),
        }
    }

    /// What a Broker says over this TLS.
    async fn over(&self, tls: &Tls) -> Answer {
        let deadline = after(self.timeout);
        let Ok(tcp) = self.tcp(deadline).await else { return Answer::Other(Stranger::Closed) };
        match timeout_at(deadline, tls.connect(tcp)).await {
            Err(_) => Answer::Other(Stranger::Silent),
            Ok(Err(error)) => refused(error),
            Ok(Ok(stream)) => talk::talk(stream, self.id, deadline).await,
        }
    }

    async fn is_anonymous(&self) -> io::Result<bool> {
        let deadline = after(self.timeout);
        let Ok(tcp) = self.tcp(deadline).await else { return Ok(false) };
        let hello = anonymous::client_hello()?;
        Ok(timeout_at(deadline, anonymous::is_taken(tcp, &hello)).await.unwrap_or(false))
    }

    /// A web server waits for this, whatever it was told before.
    async fn ask_http(&self) -> Stranger {
        let deadline = after(self.timeout);
        let Ok(tcp) = self.tcp(deadline).await else { return Stranger::Closed };
        talk::first_words(tcp, b"GET / HTTP/1.0\r\n\r\n", deadline).await
    }

    async fn tcp(&self, deadline: Instant) -> io::Result<TcpStream> {
        let tcp = timeout_at(deadline, TcpStream::connect(self.address)).await??;
        let _ = tcp.set_nodelay(true);
        Ok(tcp)
    }
}

fn refused(error: TlsError) -> Answer {
    match error {
        TlsError::Closed | TlsError::Io(_) => Answer::Other(Stranger::Closed),
        error => Answer::Tls(error),
    }
}

#[cfg(test)]
mod tests;
