//! Kinds of TLS that do not go together. Nobody waits for a timeout.

use std::time::Duration;

use zeek_bridge::endpoint::{Endpoint, LinkError};

use crate::driver::*;
use crate::support::*;

fn patient() -> Endpoint {
    endpoint_with(|config| config.handshake_timeout = Duration::from_secs(3600))
}

/// What our connector and our listener say of a reference with these options.
async fn errors(program: &str, kind: &Kind, theirs: &[&str]) -> (LinkError, LinkError) {
    let ours = patient();
    let (reference, address) = Reference::listen(program, theirs).await;
    let mut connector = ours.connect(&address, kind.ours.clone(), None);
    let connecting = within("the attempt", connector.first_attempt()).await.unwrap_err();
    drop(reference);
    let mut statuses = ours.status();
    let listener = listen_with(&ours, kind.ours.clone()).await;
    let port = listener.local_addr().port().to_string();
    let _reference = Reference::start(program, &[&["--connect", &port], theirs].concat()).await;
    (connecting, failed(&mut statuses).await)
}

#[tokio::test]
async fn plain_against_a_zeek_out_of_the_box() {
    let program = reference_or_skip!();
    let (connecting, listening) = errors(&program, &Kind::plain(), &[]).await;
    assert!(connecting.to_string().contains("TLS"), "{connecting}");
    assert!(listening.to_string().contains("TLS"), "{listening}");
}

#[tokio::test]
async fn mutual_tls_against_a_zeek_out_of_the_box() {
    let program = reference_or_skip!();
    let (connecting, listening) = errors(&program, &Kind::mutual(), &[]).await;
    for error in [connecting, listening] {
        assert!(error.to_string().contains("anonymous"), "{error}");
    }
}

#[tokio::test]
async fn mutual_tls_against_a_plain_reference() {
    let program = reference_or_skip!();
    let (connecting, listening) = errors(&program, &Kind::mutual(), &["--disable-ssl"]).await;
    for error in [connecting, listening] {
        assert!(error.to_string().contains("disable_ssl"), "{error}");
    }
}

#[tokio::test]
async fn certificates_of_another_authority() {
    let program = reference_or_skip!();
    let (connecting, listening) = errors(&program, &Kind::mutual(), &Kind::mutual().theirs()).await;
    for error in [connecting, listening] {
        assert!(matches!(error, LinkError::Tls(_)), "{error}");
        assert!(error.to_string().contains("CA"), "{error}");
    }
}
