//! A running bridge: start, reload and shutdown.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::task::{AbortHandle, JoinSet};

use super::LinkId;
use super::config::{BridgeConfig, Diagnostic, Diagnostics, LinkConfig, RuleConfig};
use super::link::Link;
use super::policy::{RuleLink, Rules};
use super::router::core::Core;
use super::router::link_relay::LinkRelay;
use super::router::links::{LinkSet, RuleCount};
use super::router::origin::Origin;
use crate::endpoint::{WebSocketConfig, ZeroMqConfig};
use crate::net::spawn;
use crate::net::tls::Tls;

/// A running bridge.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use zeek_bridge::bridge::Bridge;
/// use zeek_bridge::bridge::config::BridgeConfig;
///
/// let config = BridgeConfig::read("bridge.toml")?;
/// let bridge = Bridge::start(config).await?;
/// tokio::signal::ctrl_c().await?;
/// bridge.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Bridge {
    pub(super) core: Arc<Core>,
    pub(super) since: Instant,
    /// The current configuration. Locked during changes.
    config: Mutex<BridgeConfig>,
    timer: AbortHandle,
}

/// The changes of a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// The changes, as text for users.
    pub news: Vec<String>,
    /// Changes that failed, which are addresses that the bridge cannot listen on. All other changes have been applied.
    pub errors: Vec<Diagnostic>,
    /// The names of unchanged links whose new certificate files cannot be used. These links keep their previous
    /// certificates. The cause is logged.
    pub previous_certificates: Vec<String>,
}

/// The changes to the links in a reload.
struct Plan {
    /// The links that keep running, by [`LinkId`].
    kept: Vec<Option<Arc<Link>>>,
    /// The links to close.
    closing: Vec<Arc<Link>>,
    /// The links to start; their ids follow those of `kept`.
    new: Vec<(LinkConfig, Tls, Settings)>,
    /// The settings for new connections of the links that keep running, by name.
    settings: Vec<(String, Settings)>,
    /// The changes, as text for users.
    news: Vec<String>,
}

/// The settings of a link for new connections, with the content of its files.
struct Settings {
    websocket: WebSocketConfig,
    zeromq: ZeroMqConfig,
}

impl Settings {
    /// Loads files in a blocking task.
    async fn load(link: &LinkConfig) -> Result<Self, Diagnostics> {
        let websocket = load(link.clone(), LinkConfig::websocket_settings).await;
        let zeromq = load(link.clone(), LinkConfig::zeromq_settings).await;
        match (websocket, zeromq) {
            (Ok(websocket), Ok(zeromq)) => Ok(Settings { websocket, zeromq }),
            (websocket, zeromq) => {
                let errors: Vec<_> =
                    [websocket.err(), zeromq.err()].into_iter().flatten().flatten().collect();
                Err(errors.into())
            }
        }
    }
}

impl Bridge {
    /// Starts all links. Links with `connect` continue to connect in the background.
    ///
    /// # Errors
    /// Returns an error if certificates cannot be used, or if the bridge cannot listen on an address. The
    /// error lists all problems, and no link is left running.
    pub async fn start(config: BridgeConfig) -> Result<Bridge, Diagnostics> {
        let empty = BridgeConfig { links: Vec::new(), rules: Vec::new(), ..config.clone() };
        let origin = Origin::random()
            .map_err(|error| Diagnostic::new("", format!("cannot generate a random number: {error}")))?;
        let core = Arc::new(Core::new(&config.operation, origin));
        let timer = spawn(run_timer(core.clone())).abort_handle();
        let bridge = Bridge { core, since: Instant::now(), config: Mutex::new(empty), timer };
        let errors = match bridge.reload(config).await {
            Ok(Reloaded { errors, .. }) if errors.is_empty() => return Ok(bridge),
            Ok(Reloaded { errors, .. }) => errors.into(),
            Err(errors) => errors,
        };
        bridge.shutdown().await;
        Err(errors)
    }

    /// Applies a configuration. Links that have not changed keep their peerings and queues; their certificates are read again.
    ///
    /// Not cancel-safe: if the future is dropped, the bridge may be left with only some of the links.
    ///
    /// # Errors
    /// Returns an error if, for example, certificates cannot be used. The error lists all problems, and the
    /// bridge is unchanged.
    pub async fn reload(&self, config: BridgeConfig) -> Result<Reloaded, Diagnostics> {
        let mut running = self.config.lock().await;
        let old = self.core.links();
        let mut plan = Plan::new(&old, &config).await?;
        if config.rules != running.rules {
            plan.news.push(format!("rules: {}", config.rules.len()));
        }
        // Close the old links before the new links are started, because a new link may need the address of an old one.
        // In the meantime, the links that keep running use the old rules.
        self.core.set_links(old.with_links(plan.kept.clone()));
        close(&plan.closing, config.operation.drain).await;

        let mut errors = Vec::new();
        let mut links = plan.kept.clone();
        let mut opening = Vec::new();
        for (link, tls, settings) in plan.new {
            let relay = Arc::new(LinkRelay::new(LinkId(links.len()), &link, self.core.clone()));
            let name = link.name.clone();
            let Settings { websocket, zeromq } = settings;
            match Link::new(link, tls, websocket, zeromq, relay.context(), relay) {
                Ok(link) => {
                    let link = Arc::new(link);
                    opening.push(link.clone());
                    links.push(Some(link));
                }
                Err(error) => {
                    let message = format!("cannot generate an endpoint id: {error}");
                    errors.push(Diagnostic::new(format!("link.{name}"), message));
                }
            }
        }
        let rule_links =
            links.iter().map(|link| link.as_ref().map_or_else(RuleLink::default, |link| link.rule_link()));
        let rules = Rules::of_links(rule_links, &config.rules);
        for (slot, link) in links.iter().enumerate() {
            if let Some(link) = link {
                // Announce the filter before the link set is replaced, so that peers of a new link receive the filter
                // in the handshake.
                link.announce(rules.filter(LinkId(slot))).await;
            }
        }
        self.core.set_operation(&config.operation);
        let counts = counts(&config.rules, &old);
        self.core.set_links(LinkSet::new(links, rules, counts, &old.flows));
        for link in opening {
            errors.extend(link.listen().await);
            link.connect();
        }
        let mut previous_certificates = Vec::new();
        for link in plan.kept.iter().flatten() {
            // Try again to listen: addresses that were in use before may be free now.
            errors.extend(link.listen().await);
            if let Some((_, settings)) = plan.settings.iter().find(|(name, _)| *name == link.config.name) {
                link.endpoint.set_websocket(settings.websocket.clone());
                link.endpoint.set_zeromq(settings.zeromq.clone());
            }
            if !link.reload_certificates().await {
                previous_certificates.push(link.config.name.clone());
            }
            self.core.send_allowed_hellos(&self.core.links(), link);
        }
        *running = config;
        Ok(Reloaded { news: plan.news, errors, previous_certificates })
    }

    /// Stops listening and connecting, sends the queued messages within the configured drain time, and disconnects all peers
    /// with BYE. May be called again.
    pub async fn shutdown(&self) {
        let running = self.config.lock().await;
        let links: Vec<_> = self.core.links().iter().cloned().collect();
        close(&links, running.operation.drain).await;
        self.core.set_links(LinkSet::empty());
        drop(running);
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.timer.abort();
        // Break the reference cycle: the core refers to the links, whose endpoints refer to relays, which refer to the
        // core.
        self.core.set_links(LinkSet::empty());
    }
}

impl Plan {
    /// Compares the running links with the configuration. Loads the certificates of the links that are new or have changed.
    async fn new(old: &LinkSet, config: &BridgeConfig) -> Result<Self, Diagnostics> {
        let is_unchanged =
            |link: &Arc<Link>| config.links.iter().any(|config| config.keeps_peers_of(&link.config));
        let kept: Vec<_> = old.slots().map(|link| link.cloned().filter(is_unchanged)).collect();
        let closing: Vec<_> = old.iter().filter(|link| !is_unchanged(link)).cloned().collect();
        let mut plan = Plan { kept, closing, new: Vec::new(), settings: Vec::new(), news: Vec::new() };
        let mut errors = Vec::new();
        for link in &config.links {
            if let Some(kept) = plan.kept.iter().flatten().find(|kept| link.keeps_peers_of(&kept.config)) {
                match Settings::load(link).await {
                    Ok(settings) => {
                        let changes = [
                            settings.websocket.changes_from(&kept.endpoint.websocket_settings()),
                            settings.zeromq.changes_from(&kept.endpoint.zeromq_settings()),
                        ];
                        for changes in changes.into_iter().flatten() {
                            let name = &link.name;
                            plan.news.push(format!("link {name}: changed for new connections: {changes}"));
                        }
                        plan.settings.push((link.name.clone(), settings));
                    }
                    Err(problems) => errors.extend(problems),
                }
                continue;
            }
            let existed = plan.closing.iter().any(|closing| closing.config.name == link.name);
            plan.news.push(format!("link {}: {}", link.name, if existed { "changed" } else { "new" }));
            let tls = load(link.clone(), LinkConfig::tls).await;
            match (tls, Settings::load(link).await) {
                (Ok(tls), Ok(settings)) => plan.new.push((link.clone(), tls, settings)),
                (tls, settings) => {
                    let problems = [tls.err(), settings.err()];
                    problems.into_iter().flatten().for_each(|problems| errors.extend(problems));
                }
            }
        }
        for link in &plan.closing {
            if !config.links.iter().any(|new| new.name == link.config.name) {
                plan.news.push(format!("link {}: removed", link.config.name));
            }
        }
        if errors.is_empty() { Ok(plan) } else { Err(errors.into()) }
    }
}

async fn run_timer(core: Arc<Core>) {
    core.run_timer().await;
}

/// Loads files in a blocking task. Decrypting a key may take seconds.
async fn load<T: Send + 'static>(
    link: LinkConfig,
    load: impl FnOnce(&LinkConfig) -> Result<T, Diagnostics> + Send + 'static,
) -> Result<T, Diagnostics> {
    let path = format!("link.{}", link.name);
    let loaded = tokio::task::spawn_blocking(move || load(&link)).await;
    loaded.unwrap_or_else(|error| Err(Diagnostic::new(path, error.to_string()).into()))
}

async fn close(links: &[Arc<Link>], drain: Duration) {
    let mut closing = JoinSet::new();
    for link in links {
        let link = link.clone();
        closing.spawn(async move { link.close(drain).await });
    }
    closing.join_all().await;
}

/// Returns the counters for new rules. A rule keeps the counters of the old rule with the same name.
fn counts(rules: &[RuleConfig], old: &LinkSet) -> Vec<(String, Arc<RuleCount>)> {
    let kept = |rule: &RuleConfig| {
        let mut counts = old.rule_counts();
        counts.find(|(name, _)| *name == rule.name).map(|(_, count)| count.clone())
    };
    rules.iter().map(|rule| (rule.name.clone(), kept(rule).unwrap_or_default())).collect()
}
