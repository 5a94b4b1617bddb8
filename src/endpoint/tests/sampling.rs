//! The messages whose latency is measured.

use super::*;

/// Sends the time of each batch to the test: `None` if it is not measured.
#[derive(Debug)]
struct Sampled(mpsc::UnboundedSender<Option<Instant>>);

impl Relay for Sampled {
    fn on_messages(&self, _: &Peer, batch: &mut Batch) -> Vec<Blocked> {
        let _ = self.0.send(batch.received());
        batch.clear();
        Vec::new()
    }

    fn on_established(&self, _: &Peer) {}

    fn on_filter(&self, _: &Peer, _: &Filter) {}

    fn on_closed(&self, _: &Peer, _: Option<&Status>) {}

    fn on_failed(&self, _: &Arc<str>, _: &ConnectError, _: &Owner) {}
}

/// Messages under `<$>/local/` are not handed to the relay. The time at which such a message was received must not be used
/// for the next message.
#[tokio::test]
async fn the_latency_of_a_message_is_measured_from_its_own_receive_time() {
    let (sender, mut samples) = mpsc::unbounded_channel();
    let endpoint = Endpoint::with_relay(EndpointConfig::default(), Arc::new(Sampled(sender))).unwrap();
    let address = endpoint.listen("127.0.0.1:0", Tls::Off).await.unwrap().local_addr();
    let mut peer = ManualPeer::connect(id(1), address, &[]).await;

    peer.send(&message("<$>/local/a", "first of its read")).await;
    // The peer sends the filter after the message. So when the new filter is used for routing, the message has been
    // handled.
    static ROUTED: Topic = Topic::from_static("/routed");
    peer.connection.peering().set_filter(filter(&["/routed"])).unwrap();
    peer.written().await;
    let mut peers = endpoint.watch_interest(&ROUTED);
    while peers.peers().is_empty() {
        within("the filter", peers.changed()).await;
    }

    let before = Instant::now();
    peer.send(&message("/a", "measured")).await;
    let sample = within("a batch", samples.recv()).await.unwrap();
    assert!(
        sample.is_some_and(|received| received >= before),
        "the time is not that of the previous message"
    );
    peer.send(&message("/a", "not measured")).await;
    assert_eq!(within("a batch", samples.recv()).await.unwrap(), None);
}
