//! Protocols other than Broker's, recognized by the first bytes of a connection.

use std::fmt;

/// A protocol that is not Broker's.
///
/// `Display` names the protocol and a fix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ForeignProtocol {
    /// A TLS handshake.
    TlsHandshake,
    /// A TLS alert: the answer of a TLS listener to bytes that are not TLS.
    TlsAlert,
    /// HTTP, a request or a response.
    Http,
    /// SSH.
    Ssh,
    /// ZMTP, the protocol of ZeroMQ, which Zeek's ZeroMQ cluster back end speaks.
    ZeroMq,
}

impl ForeignProtocol {
    /// Recognizes a protocol by its first bytes. With fewer than four bytes, only TLS is recognized. Returns `None` for
    /// Broker's protocol and for unknown protocols.
    ///
    /// ```text
    /// TLS     u8 type: 15 alert, 16 handshake | u8 major version: 03 | u8 minor version: 00 to 04
    /// ZMTP    ff | 8 bytes of padding, zero in the first four of libzmq | 7f
    /// HTTP    "HTTP" in a response, the method in a request
    /// SSH     "SSH-"
    /// ```
    #[must_use]
    pub fn recognize(first: &[u8]) -> Option<Self> {
        match first {
            [0x16, 0x03, 0x00..=0x04, ..] => Some(ForeignProtocol::TlsHandshake),
            [0x15, 0x03, 0x00..=0x04, ..] => Some(ForeignProtocol::TlsAlert),
            [b'S', b'S', b'H', b'-', ..] => Some(ForeignProtocol::Ssh),
            [0xff, _, _, _, _, _, _, _, _, last, ..] => (*last == 0x7f).then_some(ForeignProtocol::ZeroMq),
            // The rest of the greeting may arrive later.
            [0xff, 0, 0, 0, ..] => Some(ForeignProtocol::ZeroMq),
            [a, b, c, d, ..] => {
                let known = [b"HTTP", b"GET ", b"POST", b"HEAD", b"PUT ", b"OPTI", b"CONN", b"DELE"];
                known.contains(&&[*a, *b, *c, *d]).then_some(ForeignProtocol::Http)
            }
            _ => None,
        }
    }
}

impl fmt::Display for ForeignProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ForeignProtocol::TlsHandshake => {
                "this is a TLS handshake; the peer expects TLS here, but TLS is disabled on this side. \
                 Turn TLS on here, or set Broker::disable_ssl=T at the peer"
            }
            ForeignProtocol::TlsAlert => {
                "this is a TLS alert; the peer expects TLS here, but TLS is disabled on this side. \
                 Turn TLS on here, or set Broker::disable_ssl=T at the peer"
            }
            ForeignProtocol::Http => "this is HTTP, not Broker; check the port, or use ws:// if it is the WebSocket API",
            ForeignProtocol::Ssh => "this is SSH, not Broker; check the port",
            ForeignProtocol::ZeroMq => {
                "this is ZeroMQ, likely the cluster back end of Zeek 8.1 or later, not Broker; use zeromq:// with the port of \
                 the proxy's XPUB, set ClusterBackend = Broker in zeekctl.cfg, connect to a port that a script opens with \
                 Broker::listen, or use Zeek's WebSocket API"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_recognized_by_their_first_bytes() {
        use ForeignProtocol::{Http, Ssh, TlsAlert, TlsHandshake, ZeroMq};
        for (first, protocol) in [
            (&b"\x16\x03\x01\x02"[..], Some(TlsHandshake)),
            (b"\x15\x03\x03\x00\x02", Some(TlsAlert)),
            (b"HTTP/1.1 400 Bad Request\r\n", Some(Http)),
            (b"GET / HTTP/1.1\r\n", Some(Http)),
            (b"SSH-2.0-OpenSSH_9.2\r\n", Some(Ssh)),
            // The complete greeting of libzmq, its first bytes only, and a greeting with different padding, which has no
            // meaning.
            (b"\xff\0\0\0\0\0\0\0\x01\x7f\x03", Some(ZeroMq)),
            (b"\xff\0\0\0", Some(ZeroMq)),
            (b"\xffabcdefgh\x7f", Some(ZeroMq)),
            (b"\xffabcdefghi", None),
            (b"\xff\xff\xff\xff", None),
            (b"\x16\x03\x05\x02", None),
            (b"\0\0\0\x20", None),
            (b"\xff\0\0", None),
            (b"", None),
        ] {
            assert_eq!(ForeignProtocol::recognize(first), protocol, "{first:?}");
        }
    }
}
