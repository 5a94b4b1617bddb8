//! The byte stream under a session: plain TCP, or TLS over it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

#[cfg(feature = "openssl")]
use super::tls::OpenSslStream;
use super::tls::PeerIdentity;

/// A connected byte stream: plain TCP or TLS, on either side.
///
/// Broker closes TLS without a `close_notify`, so the end of the TCP stream also counts as a regular end of this
/// stream. Only the frame layer detects that a stream has ended inside a frame.
#[derive(Debug)]
pub struct Stream(Kind);

#[derive(Debug)]
enum Kind {
    Plain(TcpStream),
    /// Boxed, because this type is larger than a kilobyte. Otherwise, plain connections would also use that memory.
    Rustls(Box<TlsStream<TcpStream>>),
    #[cfg(feature = "openssl")]
    OpenSsl(OpenSslStream),
}

/// Evaluates an expression for the stream, whatever its kind is.
macro_rules! each {
    ($kind:expr, $stream:ident => $what:expr) => {
        match $kind {
            Kind::Plain($stream) => $what,
            Kind::Rustls($stream) => $what,
            #[cfg(feature = "openssl")]
            Kind::OpenSsl($stream) => $what,
        }
    };
}

impl Stream {
    pub(super) fn from_rustls(tls: impl Into<TlsStream<TcpStream>>) -> Self {
        Stream(Kind::Rustls(Box::new(tls.into())))
    }

    #[cfg(feature = "openssl")]
    pub(super) fn from_openssl(tls: OpenSslStream) -> Self {
        Stream(Kind::OpenSsl(tls))
    }

    /// Returns the TCP socket, for its addresses and options.
    #[must_use]
    pub fn tcp(&self) -> &TcpStream {
        match &self.0 {
            Kind::Plain(tcp) => tcp,
            Kind::Rustls(tls) => tls.get_ref().0,
            #[cfg(feature = "openssl")]
            Kind::OpenSsl(tls) => tls.tcp(),
        }
    }

    /// Returns whether the stream is encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        !matches!(self.0, Kind::Plain(_))
    }

    /// Returns the peer's certificate (DER), which was verified against the CA. `None` on plain TCP and in anonymous TLS.
    #[must_use]
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        match &self.0 {
            Kind::Plain(_) => None,
            Kind::Rustls(tls) => Some(tls.get_ref().1.peer_certificates()?.first()?.as_ref()),
            #[cfg(feature = "openssl")]
            Kind::OpenSsl(tls) => tls.peer_certificate(),
        }
    }

    /// Returns the identity in the peer's certificate. `None` if there is no [`Stream::peer_certificate`].
    #[must_use]
    pub fn peer_identity(&self) -> Option<PeerIdentity> {
        self.peer_certificate().map(PeerIdentity::of)
    }
}

impl From<TcpStream> for Stream {
    fn from(tcp: TcpStream) -> Self {
        Stream(Kind::Plain(tcp))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Kind::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Kind::Rustls(tls) => Pin::new(tls).poll_read(cx, buf).map(|result| match result {
                // rustls reports the end of a stream without a close_notify as this error.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
                result => result,
            }),
            #[cfg(feature = "openssl")]
            Kind::OpenSsl(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(&mut self.get_mut().0, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(&mut self.get_mut().0, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        each!(&self.0, stream => stream.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(&mut self.get_mut().0, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(&mut self.get_mut().0, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
