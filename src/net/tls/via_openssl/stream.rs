//! The byte stream that OpenSSL makes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use openssl::ssl;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

use super::error::is_end;

/// The largest TLS record. So much is taken in at most before it is written.
const RECORD: usize = 16 * 1024;

/// TLS on OpenSSL.
///
/// What is written is taken into a buffer first: small pieces become one record, and OpenSSL, which wants a write
/// that it could not finish to be tried again with the same bytes, gets them, whatever our caller does.
#[derive(Debug)]
pub(in crate::net) struct OpenSslStream {
    tls: SslStream<TcpStream>,
    unwritten: BytesMut,
    peer: Option<Vec<u8>>,
}

impl OpenSslStream {
    /// A stream whose handshake is done.
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

    /// Hands everything to OpenSSL, which hands it to the socket.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unwritten.is_empty() {
            let written = ready!(Pin::new(&mut self.tls).poll_write(cx, &self.unwritten))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unwritten.advance(written);
        }
        // An idle peer keeps nothing.
        self.unwritten = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    fn room(&self) -> usize {
        RECORD.saturating_sub(self.unwritten.len())
    }
}

impl AsyncRead for OpenSslStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_read(cx, buf).map(|result| match result {
            // This is how OpenSSL tells of a stream that ended without a close_notify.
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
        let mut taken = 0usize;
        for buf in bufs {
            let part = buf.get(..self.room()).unwrap_or(buf);
            self.unwritten.extend_from_slice(part);
            taken = taken.saturating_add(part.len());
        }
        // What does not go now is here to stay until it does.
        match self.poll_drain(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(taken)),
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
