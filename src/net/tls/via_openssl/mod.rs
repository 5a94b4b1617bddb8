//! TLS with OpenSSL: anonymous TLS, and mutual TLS with certificates and keys that rustls does not accept.

mod error;
mod mutual;
mod stream;

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use openssl::error::ErrorStack;
use openssl::ssl::{
    Ssl, SslContext, SslContextBuilder, SslMethod, SslMode, SslOptions, SslSessionCacheMode, SslVerifyMode,
    SslVersion,
};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

pub(super) use error::tls_error;
pub(super) use mutual::{OpenSslMutual, check_certificate, check_key};
pub(in crate::net) use stream::OpenSslStream;

use super::certificate_fault::RefusedCertificate;
use super::chain::Presenter;
use super::error::{AnonymousUnavailable, TlsError, TlsFault};
use crate::net::Stream;

/// The OpenSSL settings of a Zeek without certificate options.
const ANONYMOUS_CIPHER: &str = "AECDH-AES256-SHA@SECLEVEL=0";
const ANONYMOUS_GROUP: &str = "P-384";

/// Returns the settings that anonymous and mutual TLS have in common.
fn context() -> Result<SslContextBuilder, ErrorStack> {
    let mut context = SslContext::builder(SslMethod::tls())?;
    context.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    // There are few connections, and they last long, so resumption saves nothing. A resumed session would also use a
    // certificate that was verified only once, long ago.
    context.set_session_cache_mode(SslSessionCacheMode::OFF);
    context.set_options(SslOptions::NO_TICKET | SslOptions::NO_RENEGOTIATION | SslOptions::NO_COMPRESSION);
    context.set_num_tickets(0)?;
    context.set_mode(
        SslMode::AUTO_RETRY
            | SslMode::ENABLE_PARTIAL_WRITE
            | SslMode::ACCEPT_MOVING_WRITE_BUFFER
            | SslMode::RELEASE_BUFFERS,
    );
    Ok(context)
}

/// TLS without certificates.
#[derive(Debug, Clone)]
pub(super) struct OpenSslAnonymous(SslContext);

impl OpenSslAnonymous {
    pub(super) fn new() -> Result<Self, AnonymousUnavailable> {
        let make = || {
            let mut context = context()?;
            // TLS 1.3 has no anonymous cipher suites.
            context.set_max_proto_version(Some(SslVersion::TLS1_2))?;
            context.set_verify(SslVerifyMode::NONE);
            context.set_groups_list(ANONYMOUS_GROUP)?;
            context.set_cipher_list(ANONYMOUS_CIPHER)?;
            Ok(OpenSslAnonymous(context.build()))
        };
        make().map_err(|error: ErrorStack| {
            AnonymousUnavailable::Refused(TlsFault::new(error::text(Some(&error))).with_source(error))
        })
    }

    pub(super) async fn connect(&self, tcp: TcpStream) -> Result<Stream, TlsError> {
        let ssl = Ssl::new(&self.0).map_err(|error| error::failed(&error))?;
        shake_hands(ssl, tcp, Presenter::Client).await
    }

    pub(super) async fn accept(&self, tcp: TcpStream) -> Result<Stream, TlsError> {
        let ssl = Ssl::new(&self.0).map_err(|error| error::failed(&error))?;
        shake_hands(ssl, tcp, Presenter::Server).await
    }
}

/// The peer's certificate that was refused during a handshake.
type Verdict = Arc<Mutex<Option<RefusedCertificate>>>;

async fn shake_hands(ssl: Ssl, tcp: TcpStream, side: Presenter) -> Result<Stream, TlsError> {
    let mut stream = SslStream::new(ssl, tcp).map_err(|error| error::failed(&error))?;
    let pinned = Pin::new(&mut stream);
    match side {
        Presenter::Client => pinned.connect().await,
        Presenter::Server => pinned.accept().await,
    }
    .map_err(error::from_handshake)?;
    let ssl = stream.ssl();
    tracing::debug!(
        version = ssl.version_str(),
        cipher = ssl.current_cipher().map(openssl::ssl::SslCipherRef::name),
        "TLS established, on OpenSSL"
    );
    Ok(Stream::from_openssl(OpenSslStream::new(stream)))
}

/// Like [`shake_hands`], but also verifies the peer's certificate. `name` is the name that `ssl` requires in it, for the error.
async fn shake_hands_and_check(
    mut ssl: Ssl,
    tcp: TcpStream,
    side: Presenter,
    name: Option<String>,
) -> Result<Stream, TlsError> {
    let verdict = Verdict::default();
    let found = verdict.clone();
    ssl.set_verify_callback(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT, move |good, check| {
        if !good {
            let verdict = || error::verdict(check, name.as_deref());
            found.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(verdict);
        }
        good
    });
    shake_hands(ssl, tcp, side).await.map_err(|error| {
        let refused = verdict.lock().unwrap_or_else(PoisonError::into_inner).take();
        refused.map_or(error, |refused| TlsError::Certificate(Box::new(refused)))
    })
}
