//! Probes of libbroker endpoints, which must not report a probe as a peer.

use std::time::Duration;

use zeek_bridge::data::{EndpointId, Filter};
use zeek_bridge::net::probe::{Answer, BrokerInfo, Found, ProbeReport, probe};
use zeek_bridge::net::tls::Tls;

use crate::driver::*;
use crate::support::*;

async fn probe_with(address: &str, ours: &Tls) -> ProbeReport {
    let ours = if let Tls::Mutual(ours) = ours { Some(ours) } else { None };
    // The deadline is never reached: the probe ends with the answer.
    within("the probe", probe(address, ours, Duration::from_secs(3600))).await.unwrap()
}

#[track_caller]
fn assert_describes(broker: &BrokerInfo, id: EndpointId) {
    let filter: Filter = ["/theirs", "zeek/x"].map(topic).into_iter().collect();
    assert_eq!((broker.id, &broker.versions, &broker.filter), (Some(id), &Some(1..=1), &Some(filter)));
    assert_eq!(broker.cut_short, None);
}

/// Starts three libbroker endpoints that listen with these options. One id is smaller than the id of any probe, one is larger,
/// and one is random.
async fn references(program: &str, options: &[&str]) -> Vec<(LibbrokerProcess, String)> {
    let mut references = Vec::new();
    let ids = ["00000000-0000-4000-8000-000000000000", "ffffffff-ffff-4fff-8fff-ffffffffffff"];
    for id in ids.map(|id| vec!["--endpoint-id", id]).into_iter().chain([Vec::new()]) {
        let options = [&["--subscribe", "/theirs", "--subscribe", "zeek/x"], options, &id].concat();
        references.push(LibbrokerProcess::listen(program, &options).await);
    }
    references
}

#[tokio::test]
async fn a_probe_describes_a_plain_libbroker_endpoint() {
    let program = reference_or_skip!();
    for (reference, address) in references(&program, &["--disable-ssl"]).await {
        let Found::Plain(broker) = probe_with(&address, &Tls::Off).await.found else { panic!() };
        assert_describes(&broker, reference.id);
        reference.assert_no_peer_was_seen().await;
    }
}

#[tokio::test]
async fn a_probe_describes_a_libbroker_endpoint_with_anonymous_tls() {
    let program = reference_or_skip!();
    for (reference, address) in references(&program, &[]).await {
        let Found::Anonymous(answer) = probe_with(&address, &Tls::Off).await.found else { panic!() };
        match answer {
            Some(Answer::Broker(broker)) => assert_describes(&broker, reference.id),
            None if cfg!(not(feature = "openssl")) => {}
            other => panic!("{other:?}"),
        }
        reference.assert_no_peer_was_seen().await;
    }
}

#[tokio::test]
async fn a_probe_describes_a_libbroker_endpoint_with_certificates() {
    let program = reference_or_skip!();
    let kind = TlsSetup::mutual();
    for (reference, address) in references(&program, &kind.theirs()).await {
        for ours in [&Tls::Off, &kind.ours] {
            let Found::Certificate(found) = probe_with(&address, ours).await.found else { panic!() };
            assert_eq!(found.version, Some("TLS 1.3"));
            assert_eq!((found.certificate.subject.as_str(), found.issuer.as_str()), ("CN=theirs", "CN=CA"));
            assert_eq!(found.asks_for, Some(Vec::new()));
            assert!(matches!(found.without, Answer::Tls(_)), "{found:?}");
            match (ours, found.with_ours) {
                (Tls::Off, None) => {}
                (_, Some(Answer::Broker(broker))) => assert_describes(&broker, reference.id),
                other => panic!("{other:?}"),
            }
        }
        reference.assert_no_peer_was_seen().await;
    }
}
