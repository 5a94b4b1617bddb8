//! Both sides report at once that their TLS settings do not match.

use std::time::Duration;

use zeek_bridge::endpoint::{ConnectError, Endpoint};
use zeek_bridge::net::tls::{CertificateFault, Refusal, Tls, TlsError, ephemeral_authority};
use zeek_bridge::peering::PeeringError;
use zeek_bridge::wire::FrameError;

use crate::support::*;

fn mutual() -> Tls {
    Tls::Mutual(ephemeral_authority().unwrap().issue("peer").unwrap())
}

/// Returns an endpoint whose handshake timeout is never reached, so that no test passes because of a timeout.
fn endpoint_without_timeout() -> Endpoint {
    endpoint_with(|config| config.handshake_timeout = Duration::from_secs(3600))
}

/// Returns the errors of the connector and of the listener.
async fn errors(connector_tls: Tls, listener_tls: Tls) -> (ConnectError, ConnectError) {
    let (a, b) = (endpoint_without_timeout(), endpoint_without_timeout());
    let mut statuses = a.status();
    let listener = listen_with(&a, listener_tls).await;
    let error = connect_with(&b, &listener, connector_tls).await.unwrap_err();
    (error, failed(&mut statuses).await)
}

#[tokio::test]
async fn tls_to_a_plain_port_is_reported_on_both_sides() {
    let (connector, listener) = errors(mutual(), Tls::Off).await;
    assert!(matches!(connector, ConnectError::Tls(TlsError::NotTls)), "{connector}");
    assert!(connector.to_string().contains("disable_ssl"), "{connector}");
    let expected =
        matches!(listener, ConnectError::Peering(PeeringError::Framing(FrameError::TooLarge { .. })));
    assert!(expected && listener.to_string().contains("TLS handshake"), "{listener}");
}

#[tokio::test]
async fn plain_tcp_to_a_tls_port_is_reported_on_both_sides() {
    let (connector, listener) = errors(Tls::Off, mutual()).await;
    assert!(matches!(listener, ConnectError::Tls(TlsError::NotTls)), "{listener}");
    let expected =
        matches!(connector, ConnectError::Peering(PeeringError::Framing(FrameError::TooLarge { .. })));
    assert!(expected && connector.to_string().contains("TLS alert"), "{connector}");
}

#[tokio::test]
async fn certificates_of_different_cas_are_rejected_on_both_sides() {
    // In TLS 1.3, the connector verifies the listener's certificate first, and refuses it.
    let (connector, listener) = errors(mutual(), mutual()).await;
    assert!(
        matches!(connector, ConnectError::Tls(TlsError::Certificate(ref refused)) if refused.fault == CertificateFault::Foreign),
        "{connector}"
    );
    assert!(matches!(listener, ConnectError::Tls(TlsError::Refused(Refusal::UnknownCa))), "{listener}");
}
