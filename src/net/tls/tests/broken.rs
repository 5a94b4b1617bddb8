//! Peers that do not speak TLS, and peers that close the connection during the handshake.

use super::pki::Ca;
use super::*;
use crate::net::tls::{Refusal, looks_like_tls};

/// The first frame that a plain Broker listener sends.
const PROBE: &[u8] = &[0, 0, 0, 5, 7, 0x5a, 0x45, 0x45, 0x4b];
/// The first frame that a plain Broker connector sends.
const HELLO: &[u8] = b"\0\0\0\x17\x06ZEEK0123456789abcdef\x01\x01";

/// Returns each local TLS configuration: mutual TLS with each back end, and anonymous TLS if it is available.
fn ours() -> Vec<Tls> {
    let credentials = Ca::new("ca").credentials();
    let mutual = |backend: &Backend| Tls::Mutual(credentials.clone().backend(*backend).load().unwrap());
    BACKENDS.iter().map(mutual).chain(Tls::anonymous().ok()).collect()
}

/// Returns the errors of our connector and our listener if the peer sends these bytes and leaves the connection open.
async fn errors_after(ours: &Tls, bytes: &[u8]) -> [TlsError; 2] {
    let (a, mut b) = tcp_pair().await;
    b.write_all(bytes).await.unwrap();
    let connecting = ours.connect(a).await.unwrap_err();
    let (mut a, b) = tcp_pair().await;
    a.write_all(bytes).await.unwrap();
    let listening = ours.accept(b).await.unwrap_err();
    [connecting, listening]
}

#[tokio::test]
async fn a_plain_broker_endpoint_is_recognized_on_either_side() {
    for ours in ours() {
        for bytes in [PROBE, HELLO] {
            for error in errors_after(&ours, bytes).await {
                assert!(matches!(error, TlsError::NotTls), "{ours:?}: {error:?}");
                assert!(error.to_string().contains("Broker::disable_ssl=T"), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn other_protocols_are_reported_as_not_tls() {
    let greetings: [&[u8]; 3] =
        [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-OpenSSH_9.6\r\n"];
    for ours in ours() {
        for bytes in greetings {
            for error in errors_after(&ours, bytes).await {
                assert!(matches!(error, TlsError::NotTls), "{ours:?}: {error:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_plain_listener_recognizes_our_client_hello() {
    for ours in ours() {
        let (a, mut b) = tcp_pair().await;
        let mut first = [0; 9];
        let seen = async {
            b.read_exact(&mut first).await.unwrap();
            drop(b);
        };
        let (connecting, ()) = tokio::join!(ours.connect(a), seen);
        assert!(matches!(connecting.unwrap_err(), TlsError::Closed));
        assert!(looks_like_tls(&first));
        assert!(looks_like_tls(&first[..3]));
    }
}

#[test]
fn broker_frames_do_not_look_like_tls() {
    for bytes in [PROBE, HELLO, &[0x16, 0x03], &[0x16, 0x03, 0x05], &[]] {
        assert!(!looks_like_tls(bytes), "{bytes:?}");
    }
}

#[tokio::test]
async fn a_connection_closed_during_the_handshake_is_reported() {
    for ours in ours() {
        let (a, b) = tcp_pair().await;
        drop(b);
        assert!(matches!(ours.connect(a).await.unwrap_err(), TlsError::Closed));
        let (a, b) = tcp_pair().await;
        drop(a);
        assert!(matches!(ours.accept(b).await.unwrap_err(), TlsError::Closed));

        // The connection ends in the middle of a record, and with a reset.
        let (mut a, b) = tcp_pair().await;
        a.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
        drop(a);
        assert!(matches!(ours.accept(b).await.unwrap_err(), TlsError::Closed));
        let (a, b) = tcp_pair().await;
        b.set_zero_linger().unwrap();
        drop(b);
        assert!(matches!(ours.connect(a).await.unwrap_err(), TlsError::Closed));
    }
}

#[tokio::test]
async fn an_anonymous_client_hello_is_reported_with_a_hint() {
    for ours in ours().into_iter().filter(|ours| matches!(ours, Tls::Mutual(_))) {
        let [_, listening] = errors_after(&ours, &fixture("anonymous-client-hello-tls12.bin")).await;
        assert!(matches!(listening, TlsError::NoCommonCipher(_)), "{ours:?}: {listening:?}");
        assert!(listening.to_string().contains("Broker::ssl_certificate"), "{listening}");
        assert!(listening.to_string().contains("speak anonymous TLS here too"), "{listening}");
    }
}

#[tokio::test]
async fn alerts_in_reply_to_the_client_hello_are_reported() {
    let refusals = [
        (40, Refusal::HandshakeFailure),
        (42, Refusal::BadCertificate),
        (43, Refusal::UnsupportedCertificate),
        (44, Refusal::CertificateRevoked),
        (45, Refusal::CertificateExpired),
        (46, Refusal::CertificateUnknown),
        (48, Refusal::UnknownCa),
        (49, Refusal::AccessDenied),
        (50, Refusal::DecodeError),
        (51, Refusal::DecryptError),
        (70, Refusal::ProtocolVersion),
        (71, Refusal::InsufficientSecurity),
        (80, Refusal::Other(80)),
        (116, Refusal::CertificateRequired),
        (200, Refusal::Other(200)),
    ];
    for ours in ours() {
        for (number, refusal) in refusals {
            let [connecting, _] = errors_after(&ours, &[21, 3, 3, 0, 2, 2, number]).await;
            match (&ours, number) {
                // With anonymous TLS, our connector reports such an alert as a peer that requires certificates.
                (Tls::Anonymous(_), 40 | 70 | 71) => {
                    assert!(matches!(connecting, TlsError::NotAnonymous(_)), "{connecting:?}");
                }
                _ => {
                    let TlsError::Refused(found) = connecting else { panic!("{ours:?}: {connecting:?}") };
                    assert_eq!(found, refusal);
                }
            }
        }
    }
    let anonymous = TlsError::Refused(Refusal::HandshakeFailure).to_string();
    assert!(anonymous.contains("anonymous TLS") && anonymous.contains("Broker::ssl_cafile"), "{anonymous}");
}
