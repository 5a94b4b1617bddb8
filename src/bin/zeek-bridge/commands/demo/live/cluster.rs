//! The processes of a small cluster, as tasks: a bridge, an agent, its nodes, and a client of the WebSocket API.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinSet;
use zeek_bridge::bridge::Bridge;
use zeek_bridge::bridge::config::BridgeConfig;
use zeek_bridge::endpoint::Endpoint;
use zeek_bridge::management::{Agent, DispatchError, GET_ID_VALUE, JsonText, Node};
use zeek_bridge::net::tls::{Credentials, EphemeralAuthority, PemSource, Tls, ephemeral_authority};

use super::traffic;
use crate::commands::demo::{failed, mutual};
use crate::output::Failure;
use crate::runtime::boxed;

/// The nodes that the rules allow.
pub(super) const NODES: [&str; 4] = ["manager", "logger-01", "worker-01", "worker-02"];

/// A node with a certificate of the same CA that no rule allows.
pub(super) const DENIED: &str = "guest";

/// The configuration of the bridge. The certificates are in the same directory.
const CONFIG: &str = include_str!("cluster.toml");

/// The longest time that a node needs for an answer, so that the page shows requests in flight.
const ANSWER_TIME: Duration = Duration::from_millis(800);

/// A running cluster. Everything ends when it is dropped.
pub(super) struct Cluster {
    pub(super) bridge: Arc<Bridge>,
    tasks: JoinSet<()>,
    _nodes: Vec<Node>,
    /// The certificates of the bridge, whose files it watches.
    _folder: TempDir,
}

impl Cluster {
    pub(super) async fn start() -> Result<Self, Failure> {
        let authority = ephemeral_authority().map_err(failed)?;
        let folder = tempfile::tempdir().map_err(|error| {
            failed(format!(
                "cannot create a temporary folder for the certificates of the bridge: {error}; set TMPDIR"
            ))
        })?;
        write_credentials(folder.path(), authority.credentials("bridge").map_err(failed)?)?;
        let config = BridgeConfig::parse(CONFIG, folder.path().join("cluster.toml")).map_err(failed)?;
        let bridge = Arc::new(Bridge::start(config).await.map_err(failed)?);
        let mut cluster = Cluster { bridge, tasks: JoinSet::new(), _nodes: Vec::new(), _folder: folder };

        let agent = cluster.add_subscriber("agents", mutual(&authority, "agent")?).await?;
        cluster.tasks.spawn(boxed(traffic::ask(Agent::start(agent).await)));
        cluster.add_subscriber("dashboards", Tls::Off).await?;
        for name in NODES.into_iter().chain([DENIED]) {
            cluster.add_node(name, &authority).await?;
        }
        Ok(cluster)
    }

    /// Waits for the end of a task of the cluster. They end only if something fails.
    pub(super) async fn work(&mut self) -> Failure {
        match self.tasks.join_next().await {
            Some(Err(error)) => failed(error),
            _ => failed("the cluster of the demo has ended"),
        }
    }

    /// Connects an endpoint that receives events to a link of the bridge.
    async fn add_subscriber(&mut self, link: &str, tls: Tls) -> Result<Endpoint, Failure> {
        let endpoint = Endpoint::new().map_err(failed)?;
        // Before the connection, because a client of the WebSocket API has to reconnect to change its subscriptions.
        let events = endpoint.subscribe(traffic::EVENTS).await;
        self.connect(&endpoint, link, tls).await?;
        self.tasks.spawn(boxed(traffic::receive(endpoint.clone(), events)));
        Ok(endpoint)
    }

    async fn connect(&self, endpoint: &Endpoint, link: &str, tls: Tls) -> Result<(), Failure> {
        let links = self.bridge.snapshot().links;
        let link = links.into_iter().find(|other| other.name == link);
        let address = link.and_then(|link| link.listening.into_iter().next());
        let address = address.ok_or_else(|| failed("the bridge of the demo does not listen"))?;
        endpoint.connect(&*address, tls).await.map_err(|error| Failure::connect(&address, &error))?;
        Ok(())
    }

    async fn add_node(&mut self, name: &'static str, authority: &EphemeralAuthority) -> Result<(), Failure> {
        let endpoint = Endpoint::new().map_err(failed)?;
        self.connect(&endpoint, "nodes", mutual(authority, name)?).await?;
        let answer = move |action: String, args: Vec<String>| async move {
            tokio::time::sleep(ANSWER_TIME.mul_f64(fastrand::f64())).await;
            match (action.as_str(), args.as_slice()) {
                (GET_ID_VALUE, [id]) if id == "Cluster::node" => {
                    Ok(JsonText::new(serde_json::Value::from(name).to_string()).ok())
                }
                _ => Err(DispatchError::UnknownId),
            }
        };
        self._nodes.push(Node::start(endpoint.clone(), name, answer).await);
        self.tasks.spawn(boxed(traffic::publish(endpoint, name)));
        Ok(())
    }
}

/// Writes the files that the configuration names.
fn write_credentials(folder: &Path, credentials: Credentials) -> Result<(), Failure> {
    let Credentials { cafile, certificate, keyfile, .. } = credentials;
    for (name, source) in [("ca.pem", cafile), ("bridge.pem", certificate), ("bridge.key", keyfile)] {
        let Some(PemSource::Memory(pem)) = source else { continue };
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(folder.join(name));
        file.and_then(|mut file| file.write_all(&pem)).map_err(failed)?;
    }
    Ok(())
}
