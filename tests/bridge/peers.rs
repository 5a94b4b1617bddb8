//! Peers of a bridge in the test's own process.

use std::time::Duration;

use zeek_bridge::data::{Topic, Value};
use zeek_bridge::endpoint::{Endpoint, EndpointConfig, Subscriber};
use zeek_bridge::net::tls::Tls;

pub(crate) const PLAIN: Tls = Tls::Off;

/// One that waits as long as it takes for those who block it.
pub(crate) fn peer() -> Endpoint {
    let config = EndpointConfig { patience: Duration::from_secs(60), ..EndpointConfig::default() };
    Endpoint::with_config(config).unwrap()
}

pub(crate) async fn subscribe(endpoint: &Endpoint, topic: &'static str) -> Subscriber {
    endpoint.subscribe([Topic::from_static(topic)]).await
}

/// Publishes the numbers from 0 on, so many.
pub(crate) async fn count(endpoint: Endpoint, topic: &'static str, numbers: u64) {
    let topic = Topic::from_static(topic);
    endpoint.wanted(&topic, 1).await;
    for n in 0..numbers {
        assert_eq!(endpoint.publish(topic.clone(), &Value::Count(n)).await.unwrap(), 1);
    }
}
