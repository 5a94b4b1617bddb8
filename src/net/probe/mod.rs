//! Identifies the service at an address: no service, a Broker endpoint with or without TLS, or a different protocol.
//!
//! A probe performs Broker's handshake until it knows the peer's filter. Then it refuses the peer, so that no peering is
//! established. Each attempt uses a new TCP connection.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use std::time::Duration;
//! use zeek_bridge::net::probe::{Found, probe};
//!
//! let report = probe("127.0.0.1:9999", None, Duration::from_secs(5)).await?;
//! if let Found::Plain(broker) = report.found {
//!     println!("Broker without TLS: {:?}", broker.id);
//! }
//! # Ok(())
//! # }
//! ```

mod anonymous;
mod talk;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

pub use talk::{Answer, BrokerInfo, OtherProtocol};

use super::dial::{DialError, dial_with_address};
use super::timer::after;
use super::tls::{self, MutualTls, PeerIdentity, Tls, TlsError};
use crate::data::EndpointId;

/// The result of a probe.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProbeReport {
    /// The target, as the caller wrote it.
    pub target: String,
    /// The address of the connection; `None` if there is none.
    pub address: Option<SocketAddr>,
    /// The service at that address.
    pub found: Found,
}

/// The service at an address.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Found {
    /// No service: no TCP connection could be established.
    Nothing(DialError),
    /// A Broker endpoint without TLS, as with Zeek's `Broker::disable_ssl=T`.
    Plain(BrokerInfo),
    /// Anonymous TLS, which only a Zeek without certificate options uses. Contains the answer that the service gave over
    /// anonymous TLS. `None` if this build does not support anonymous TLS (feature `openssl`).
    Anonymous(Option<Answer>),
    /// TLS with a certificate.
    Certificate(Box<CertificateTls>),
    /// TLS that is incompatible with Broker's. Contains the reason of the failure.
    OtherTls(String),
    /// A protocol that is not Broker's.
    Other(OtherProtocol),
}

/// A TLS listener with a certificate, such as a Zeek with certificate options.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CertificateTls {
    /// The TLS version that the listener selected.
    pub version: Option<&'static str>,
    /// The listener's certificate. It is not verified.
    pub certificate: PeerIdentity,
    /// The issuer of the listener's certificate.
    pub issuer: String,
    /// Whether only OpenSSL accepts the listener's certificate, because it is an X.509 version 1 certificate or a CA
    /// certificate.
    pub needs_openssl: bool,
    /// The CAs that the listener lists in its request for a client certificate. `None` if it does not request a
    /// certificate. Zeek requests a certificate and lists no CAs.
    pub asks_for: Option<Vec<String>>,
    /// The answer to a client without a certificate.
    pub without: Answer,
    /// The answer to a client with our certificate, if there is one.
    pub with_ours: Option<Answer>,
}

/// Identifies the service at `target` (`host:port`). Presents `ours` if the service requests a certificate. Makes at most
/// five attempts one after the other, each with the deadline `timeout`. A Broker endpoint usually answers much sooner.
///
/// To a Broker endpoint, the probe is a peer that refuses the connection during the handshake. No peering is
/// established.
///
/// # Errors
/// Returns an error if the operating system provides no random bytes.
pub async fn probe(target: &str, ours: Option<&MutualTls>, timeout: Duration) -> io::Result<ProbeReport> {
    let id = small_random_id()?;
    let (address, found) = match dial_with_address(target, timeout).await {
        Err(error) => (None, Found::Nothing(error)),
        Ok((address, tcp)) => {
            let prober = Prober { address, id, timeout };
            (Some(address), prober.find(tcp, ours).await?)
        }
    };
    Ok(ProbeReport { target: target.to_owned(), address, found })
}

/// Returns a random id that is smaller than nearly all random ids. So the peer almost always has the larger id. A peer
/// with the larger id sends `hello` before its filter, and `hello` contains the peer's protocol versions. The returned
/// id is a valid UUID, because some programs log only valid UUIDs.
fn small_random_id() -> io::Result<EndpointId> {
    let mut bytes = [0, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 0];
    let random = getrandom::u64()?.to_be_bytes();
    for (byte, random) in bytes.iter_mut().skip(9).zip(random) {
        *byte = random;
    }
    Ok(EndpointId::from_bytes(bytes))
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
            // A TLS listener that receives plain bytes may react in any of these ways.
            Answer::Other(other @ (OtherProtocol::Tls | OtherProtocol::Closed | OtherProtocol::Silent)) => {
                other
            }
            Answer::Other(other) => return Ok(Found::Other(other)),
            Answer::Tls(error) => return Ok(Found::OtherTls(error.to_string())),
        };
        let (seen, without) = self.inspect_tls().await;
        if let Some(certificate) = seen.certificate {
            let with_ours = match ours {
                Some(ours) => Some(self.talk_over(&Tls::Mutual(ours.clone())).await),
                None => None,
            };
            return Ok(Found::Certificate(Box::new(CertificateTls {
                version: seen.version,
                certificate: PeerIdentity::of(&certificate),
                issuer: tls::issuer(&certificate),
                needs_openssl: tls::needs_openssl(&certificate),
                asks_for: seen.asks_for,
                without,
                with_ours,
            })));
        }
        let not_tls = matches!(without, Answer::Tls(TlsError::NotTls) | Answer::Other(OtherProtocol::Silent));
        if !not_tls && self.is_anonymous().await? {
            let answer = match Tls::anonymous() {
                Ok(anonymous) => Some(self.talk_over(&anonymous).await),
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
        if let Answer::Tls(
            error @ (TlsError::NoCommonCipher(_)
            | TlsError::NoCommonVersion(_)
            | TlsError::Incompatible(_)
            | TlsError::Protocol(_)),
        ) = without
        {
            return Ok(Found::OtherTls(error.to_string()));
        }
        if plain == OtherProtocol::Tls {
            return Ok(Found::OtherTls("it answers with TLS alerts, and closes the connection".into()));
        }
        Ok(Found::Other(match self.ask_http().await {
            OtherProtocol::Silent | OtherProtocol::Closed => plain,
            other => other,
        }))
    }

    /// Inspects the TLS of the service, without a client certificate.
    async fn inspect_tls(&self) -> (tls::ListenerTls, Answer) {
        let deadline = after(self.timeout);
        let Ok(tcp) = self.tcp(deadline).await else {
            return (tls::ListenerTls::default(), Answer::Other(OtherProtocol::Closed));
        };
        match timeout_at(deadline, tls::inspect_listener(tcp)).await {
            Err(_) => (tls::ListenerTls::default(), Answer::Other(OtherProtocol::Silent)),
            Ok((seen, Err(error))) => (seen, answer_for(error)),
            Ok((seen, Ok(stream))) => (seen, talk::talk(stream, self.id, deadline).await),
        }
    }

    /// Connects with this TLS configuration, and returns the answer.
    async fn talk_over(&self, tls: &Tls) -> Answer {
        let deadline = after(self.timeout);
        let Ok(tcp) = self.tcp(deadline).await else { return Answer::Other(OtherProtocol::Closed) };
        match timeout_at(deadline, tls.connect(tcp)).await {
            Err(_) => Answer::Other(OtherProtocol::Silent),
            Ok(Err(error)) => answer_for(error),
            Ok(Ok(stream)) => talk::talk(stream, self.id, deadline).await,
        }
    }

    async fn is_anonymous(&self) -> io::Result<bool> {
        let deadline = after(self.timeout);
        let Ok(tcp) = self.tcp(deadline).await else { return Ok(false) };
        let hello = anonymous::client_hello()?;
        Ok(timeout_at(deadline, anonymous::is_accepted(tcp, &hello)).await.unwrap_or(false))
    }

    /// Sends an HTTP request, because a web server may not answer anything else.
    async fn ask_http(&self) -> OtherProtocol {
        let deadline = after(self.timeout);
        let Ok(tcp) = self.tcp(deadline).await else { return OtherProtocol::Closed };
        talk::ask(tcp, b"GET / HTTP/1.0\r\n\r\n", deadline).await
    }

    async fn tcp(&self, deadline: Instant) -> io::Result<TcpStream> {
        let tcp = timeout_at(deadline, TcpStream::connect(self.address)).await??;
        let _ = tcp.set_nodelay(true);
        Ok(tcp)
    }
}

fn answer_for(error: TlsError) -> Answer {
    match error {
        TlsError::Closed | TlsError::Io(_) => Answer::Other(OtherProtocol::Closed),
        error => Answer::Tls(error),
    }
}

#[cfg(test)]
mod tests;
