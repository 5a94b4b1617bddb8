//! An endpoint id belongs to a certificate, or to a host if there is no certificate.

use std::time::Duration;

use zeek_bridge::endpoint::{ConnectError, Endpoint, Status, StatusReceiver};
use zeek_bridge::net::tls::{Tls, ephemeral_authority};
use zeek_bridge::wire::Handshake;

use crate::raw::Raw;
use crate::support::*;

/// Long enough that no test passes because of a timeout.
const NEVER: Duration = Duration::from_secs(3600);

/// Both connections come from the same host, so the endpoint cannot tell which one owns the id.
#[tokio::test]
async fn a_half_open_handshake_does_not_exclude_the_owner_of_the_id() {
    for (hub_id, peer_id) in [(id(1), id(2)), (id(2), id(1))] {
        let hub = endpoint_with(|config| (config.id, config.handshake_timeout) = (Some(hub_id), NEVER));
        let mut statuses = hub.status();
        let listener = listen(&hub).await;
        let mut half_open = Raw::open(peer_id, listener.local_addr()).await;
        half_open.send_handshake(&half_open.hello()).await;
        // Continue the handshake until the hub knows the id, and then stay silent.
        loop {
            match within("the handshake", half_open.next_handshake()).await {
                Handshake::Hello { .. } => {
                    let (sender, version) = (half_open.id, zeek_bridge::wire::PROTOCOL_VERSION);
                    half_open.send_handshake(&Handshake::VersionSelect { sender, version }).await;
                    break;
                }
                Handshake::OriginatorSyn(_) => break,
                _ => {}
            }
        }
        let owner = endpoint_of(peer_id);
        assert_eq!(connect(&owner, &listener).await.unwrap(), hub_id);
        assert_eq!(added(&mut statuses).await, peer_id);
        drop(half_open);
    }
}

/// Waits for a handshake that fails with an id conflict, and returns the text of the error.
async fn conflict(statuses: &mut StatusReceiver) -> String {
    status(statuses, |status| match status {
        Status::HandshakeFailed { error: error @ ConnectError::IdConflict { .. }, .. } => {
            Some(error.to_string())
        }
        _ => None,
    })
    .await
}

#[tokio::test]
async fn an_id_conflict_names_both_certificates() {
    let authority = ephemeral_authority().unwrap();
    let tls = |name| Tls::Mutual(authority.issue(name).unwrap());
    for (hub_id, peer_id) in [(id(1), id(2)), (id(2), id(1))] {
        let hub = endpoint_of(hub_id);
        let mut statuses = hub.status();
        let listener = listen_with(&hub, tls("hub")).await;
        let (owner_tls, other_tls) = (tls("owner"), tls("other"));
        let owner = endpoint_of(peer_id);
        connect_with(&owner, &listener, owner_tls.clone()).await.unwrap();
        added(&mut statuses).await;
        let other = endpoint_of(peer_id);
        connect_with(&other, &listener, other_tls.clone()).await.unwrap_err();
        let error = conflict(&mut statuses).await;
        assert!(error.contains("CN=other") && error.contains("CN=owner"), "{error}");
        assert_eq!(hub.failures().get("id_conflict"), Some(&1));
        let identity = hub.identity(peer_id).unwrap();
        assert_eq!(identity.subject, "CN=owner");
        // For some time after the owner has left, no peer with a different certificate gets the id.
        owner.shutdown().await;
        lost(&mut statuses).await;
        connect_with(&other, &listener, other_tls).await.unwrap_err();
        let error = conflict(&mut statuses).await;
        assert!(error.contains("CN=other") && error.contains("CN=owner"), "{error}");
        let owner: Endpoint = endpoint_of(peer_id);
        connect_with(&owner, &listener, owner_tls).await.unwrap();
    }
}
