//! Detects anonymous TLS by the first TLS message of a listener, without a TLS library.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// `TLS_ECDH_anon_WITH_AES_256_CBC_SHA`, OpenSSL's `AECDH-AES256-SHA`: the only cipher suite of an anonymous Zeek.
const ANONYMOUS: [u8; 2] = [0xc0, 0x19];

/// Returns a TLS record with a `ClientHello` that offers only this cipher suite (RFC 5246, section 7.4.1.2):
///
/// ```text
/// 16 0301 length u16 | 01 length u24 | version 0303 | random 32 bytes | session id: none | cipher suites |
/// compression: null | extensions: groups (secp384r1), point formats (uncompressed), extended master secret
/// ```
pub(super) fn client_hello() -> io::Result<Vec<u8>> {
    let mut random = [0; 32];
    getrandom::fill(&mut random)?;
    let head = [0x16, 3, 1, 0, 67, 1, 0, 0, 63, 3, 3];
    let no_session = [0];
    // The second value is not a cipher suite: it announces secure renegotiation (RFC 5746), which OpenSSL requires.
    let ciphers = [0, 4, ANONYMOUS[0], ANONYMOUS[1], 0, 0xff];
    let compression = [1, 0];
    let extensions = [0, 18, 0, 10, 0, 4, 0, 2, 0, 24, 0, 11, 0, 2, 1, 0, 0, 23, 0, 0];
    let parts: [&[u8]; 6] = [&head, &random, &no_session, &ciphers, &compression, &extensions];
    Ok(parts.concat())
}

/// Sends the `ClientHello`, and returns whether the listener selects the anonymous cipher suite.
pub(super) async fn is_accepted(mut tcp: TcpStream, hello: &[u8]) -> bool {
    // The bytes of a `ServerHello` up to its cipher suite: record header 5, message header 4, version 2, random 32,
    // length of the session id 1, session id at most 32, cipher suite 2.
    const MAX_LENGTH: usize = 5 + 4 + 2 + 32 + 1 + 32 + 2;
    if tcp.write_all(hello).await.is_err() {
        return false;
    }
    let mut answer = Vec::with_capacity(MAX_LENGTH);
    while !selects_anonymous(&answer) && answer.len() < MAX_LENGTH {
        match tcp.read_buf(&mut answer).await {
            Ok(1..) => {}
            _ => return false,
        }
    }
    selects_anonymous(&answer)
}

/// Returns whether these bytes begin with a `ServerHello` of TLS 1.2 that selects the anonymous cipher suite.
fn selects_anonymous(answer: &[u8]) -> bool {
    let chosen = || {
        let [0x16, 3, _, _, _, 2, _, _, _, 3, 3, rest @ ..] = answer else { return None };
        let (session, rest) = rest.get(32..)?.split_first()?;
        rest.get(usize::from(*session)..)?.first_chunk::<2>()
    };
    chosen() == Some(&ANONYMOUS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lengths_in_the_hello_are_correct() {
        let hello = client_hello().unwrap();
        assert_eq!(usize::from(u16::from_be_bytes([hello[3], hello[4]])), hello.len() - 5);
        assert_eq!(usize::from(u16::from_be_bytes([hello[7], hello[8]])), hello.len() - 9);
        assert_ne!(hello, client_hello().unwrap());
    }

    #[test]
    fn a_server_hello_is_recognized_by_its_cipher_suite() {
        let server_hello = |session: u8, suite: [u8; 2]| {
            let mut bytes = vec![0x16, 3, 3, 0, 80, 2, 0, 0, 76, 3, 3];
            bytes.extend([7; 32]);
            bytes.push(session);
            bytes.extend(vec![9; session.into()]);
            bytes.extend(suite);
            bytes
        };
        for session in [0, 32] {
            let good = server_hello(session, ANONYMOUS);
            assert!(selects_anonymous(&good));
            for length in 0..good.len() {
                assert!(!selects_anonymous(&good[..length]), "{length}");
            }
            assert!(!selects_anonymous(&server_hello(session, [0xc0, 0x30])));
        }
        assert!(!selects_anonymous(&[0x15, 3, 3, 0, 2, 2, 40]));
    }
}
