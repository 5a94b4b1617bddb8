//! Properties that users of the library rely on, but that its types do not express.

use std::collections::BTreeSet;

const MANIFEST: &str = include_str!("../Cargo.toml");
const FRONT_PAGE: &str = include_str!("../src/lib.rs");

/// Returns the lines of a table of the manifest.
fn table(header: &str) -> impl Iterator<Item = &'static str> {
    let lines = MANIFEST.lines().skip_while(move |line| *line != header).skip(1);
    lines.take_while(|line| !line.starts_with('[')).filter(|line| !line.starts_with('#') && !line.is_empty())
}

#[test]
fn the_front_page_lists_exactly_the_declared_features() {
    let declared: BTreeSet<&str> = table("[features]")
        .map(|line| line.split(" = ").next().unwrap())
        .filter(|f| *f != "default")
        .collect();
    let rows = FRONT_PAGE.lines().filter_map(|line| line.strip_prefix("//! | `")?.split('`').next());
    assert_eq!(rows.collect::<BTreeSet<_>>(), declared);
    assert!(declared.contains("net"));
}

#[test]
fn docs_rs_builds_features_that_exist() {
    let line = table("[package.metadata.docs.rs]").find_map(|line| line.strip_prefix("features = ")).unwrap();
    let features: Vec<String> = serde_json::from_str(line).unwrap();
    assert!(!features.is_empty());
    for feature in features {
        assert!(table("[features]").any(|line| line.starts_with(&format!("{feature} = "))), "{feature}");
    }
}

fn assert_shareable<T: Send + Sync + 'static>() {}

#[test]
fn the_core_types_are_send_and_sync() {
    use zeek_bridge::{data, management, peering, wire, zeek};
    assert_shareable::<(data::Value, data::JsonError, data::WrongType)>();
    assert_shareable::<(wire::Envelope, wire::Handshake, wire::Command, wire::ValueRef<'static>)>();
    assert_shareable::<(wire::DecodeError, wire::EncodeError, wire::FrameError)>();
    assert_shareable::<(zeek::ZeekMessage, zeek::MessageError, zeek::EventError)>();
    assert_shareable::<(peering::Peering, peering::Config, peering::Event, peering::PeeringError)>();
    assert_shareable::<(management::NodeMessage, management::ManagementResult, management::Values)>();
}

#[cfg(feature = "net")]
#[test]
fn endpoints_and_roles_are_send_and_sync() {
    use zeek_bridge::endpoint::{
        ConnectError, Connector, Endpoint, EndpointConfig, Listener, Message, PublishError, Status,
        StatusReceiver, Subscriber,
    };
    use zeek_bridge::management::{Agent, Node, NodeEvent, NodeEvents, Outcome};
    use zeek_bridge::net::tls::{Credentials, MutualTls, Tls, TlsError};
    use zeek_bridge::net::{Connection, Stream};
    assert_shareable::<(Endpoint, EndpointConfig, Listener, Connector, Subscriber, StatusReceiver)>();
    assert_shareable::<(Message, Status, ConnectError, PublishError)>();
    assert_shareable::<(Node, NodeEvents, NodeEvent, Agent, Outcome)>();
    assert_shareable::<(Tls, MutualTls, Credentials, TlsError, Stream, Connection)>();
}

/// This test passes if it compiles. Its code does not run.
#[cfg(feature = "net")]
#[test]
fn futures_of_the_library_can_be_spawned() {
    use zeek_bridge::data::{Topic, Value};
    use zeek_bridge::endpoint::{Connector, Endpoint, StatusReceiver, Subscriber};
    use zeek_bridge::management::{ALL_NODES, Agent, Node, NodeEvents, Values};
    use zeek_bridge::net::Connection;
    use zeek_bridge::net::tls::Tls;

    fn assert_spawnable<A, F: Future + Send>(_: impl FnOnce(A) -> F) {}
    async fn endpoint((endpoint, mut connector, mut status): (Endpoint, Connector, StatusReceiver)) {
        let mut subscriber: Subscriber = endpoint.subscribe([Topic::from_static("/")]).await;
        subscriber.recv().await;
        subscriber.subscribe(Topic::from_static("/x")).await;
        let _ = endpoint.listen("127.0.0.1:0", Tls::Off).await;
        let _ = connector.first_attempt().await;
        let _ = endpoint.publish(Topic::default(), &Value::None).await;
        status.recv().await;
        endpoint.shutdown().await;
    }
    async fn roles((endpoint, agent, mut events): (Endpoint, Agent, NodeEvents)) {
        Node::start(endpoint, "node", Values::default()).await.stop().await;
        events.recv().await;
        agent.wait_for_nodes(BTreeSet::is_empty).await;
        let _ = agent.dispatch(["x"], ALL_NODES, std::time::Duration::ZERO).await;
    }
    async fn connection(mut connection: Connection) {
        connection.progress().await;
        connection.finish().await;
    }
    assert_spawnable(endpoint);
    assert_spawnable(roles);
    assert_spawnable(connection);
}

#[cfg(feature = "bridge")]
#[test]
fn the_types_of_a_bridge_are_send_and_sync() {
    use zeek_bridge::bridge::config::{BridgeConfig, ConfigFile, Diagnostic, Diagnostics};
    use zeek_bridge::bridge::{Bridge, Reloaded, Snapshot};
    assert_shareable::<(Bridge, Snapshot, Reloaded)>();
    assert_shareable::<(BridgeConfig, ConfigFile, Diagnostic, Diagnostics)>();
}
