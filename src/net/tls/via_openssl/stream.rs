//! A byte stream over OpenSSL.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use openssl::ssl;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

use super::error::is_end;

/// The maximum size of a TLS record, and of the data that is buffered before it is written.
const MAX_RECORD: usize = 16 * 1024;

/// TLS on OpenSSL.
///
/// Data is first written to a buffer, for two reasons:
///
/// - Small pieces are written as one record.
/// - OpenSSL requires that an unfinished write is repeated with the same bytes. The buffer keeps these bytes even if the
///   caller drops its write.
#[derive(Debug)]
pub(in crate::net) struct OpenSslStream {
    tls: SslStream<TcpStream>,
    unwritten: BytesMut,
    peer: Option<Vec<u8>>,
}

impl OpenSslStream {
    /// Wraps a stream after its handshake.
    pub(super) fn new(tls: SslStream<TcpStream>) -> Self {
        let peer = tls.ssl().peer_certificate().and_then(|certificate| certificate.to_der().ok());
        OpenSslStream { tls, unwritten: BytesMut::new(), peer }
    }

    pub(in crate::net) fn tcp(&self) -> &TcpStream {
        self.tls.get_ref()
    }

    pub(in crate::net) fn peer_certificate(&self) -> Option<&[u8]> {
        self.peer.as_deref()
    }

    /// Writes the buffer to OpenSSL, which writes it to the socket.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unwritten.is_empty() {
            let written = ready!(Pin::new(&mut self.tls).poll_write(cx, &self.unwritten))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unwritten.advance(written);
        }
        // Free the buffer, so that idle peers use no memory for it.
        self.unwritten = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    fn room(&self) -> usize {
        MAX_RECORD.saturating_sub(self.unwritten.len())
    }
}

impl AsyncRead for OpenSslStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_read(cx, buf).map(|result| match result {
            // OpenSSL reports a stream that ends without a close_notify as an error.
            Err(error) if ssl_error(&error).is_some_and(is_end) => Ok(()),
            result => result,
        })
    }
}

fn ssl_error(error: &io::Error) -> Option<&ssl::Error> {
    error.get_ref()?.downcast_ref()
}

impl AsyncWrite for OpenSslStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.room() == 0 {
            ready!(self.poll_drain(cx))?;
        }
        let mut buffered = 0usize;
        for buf in bufs {
            let part = buf.get(..self.room()).unwrap_or(buf);
            self.unwritten.extend_from_slice(part);
            buffered = buffered.saturating_add(part.len());
        }
        // Bytes that cannot be written now stay in the buffer until the next write or flush.
        match self.poll_drain(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(buffered)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.tls).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}
