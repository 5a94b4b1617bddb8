//! A running bridge: started, changed while it runs, and drained.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::task::{AbortHandle, JoinSet};

use super::LinkId;
use super::config::{BridgeConfig, LinkConfig, Mistake, RuleConfig};
use super::link::Link;
use super::policy::{RuleLink, Rules};
use super::router::core::Core;
use super::router::link_relay::LinkRelay;
use super::router::links::{LinkSet, RuleCount};
use super::router::origin::Origin;
use crate::net::tls::Tls;

/// A bridge, from its start to its [`Bridge::shutdown`].
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use zeek_bridge::bridge::Bridge;
/// use zeek_bridge::bridge::config::BridgeConfig;
///
/// let config = BridgeConfig::read("bridge.toml").map_err(|mistakes| format!("{mistakes:?}"))?;
/// let bridge = Bridge::start(config).await.map_err(|mistakes| format!("{mistakes:?}"))?;
/// tokio::signal::ctrl_c().await?;
/// bridge.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Bridge {
    pub(super) core: Arc<Core>,
    pub(super) since: Instant,
    /// What runs; held while that changes.
    config: Mutex<BridgeConfig>,
    timer: AbortHandle,
}

/// What a reload has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// What is new, in words.
    pub news: Vec<String>,
    /// What could not be had of it: addresses that cannot be listened on. That is only found when everything else has
    /// changed.
    pub mistakes: Vec<Mistake>,
}

/// What becomes of the links in a reload.
struct Plan {
    /// By slot: the running link that stays, if one does.
    kept: Vec<Option<Arc<Link>>>,
    /// Those that run and do not stay.
    closing: Vec<Arc<Link>>,
    /// Those that are to be started; their slots follow.
    new: Vec<(LinkConfig, Tls)>,
    /// All that is news, in words.
    news: Vec<String>,
}

impl Bridge {
    /// Starts all links. A link that connects need not find anybody yet.
    ///
    /// # Errors
    /// Everything that is wrong: certificates that cannot be used, addresses that cannot be listened on. Then
    /// nothing runs.
    pub async fn start(config: BridgeConfig) -> Result<Bridge, Vec<Mistake>> {
        let nothing = BridgeConfig { links: Vec::new(), rules: Vec::new(), ..config.clone() };
        let origin =
            Origin::random().map_err(|error| vec![Mistake::new("", format!("no random number: {error}"))])?;
        let core = Arc::new(Core::new(&config.operation, origin));
        let timer = tokio::spawn(run_timer(core.clone())).abort_handle();
        let bridge = Bridge { core, since: Instant::now(), config: Mutex::new(nothing), timer };
        match bridge.reload(config).await {
            Ok(Reloaded { mistakes, .. }) if mistakes.is_empty() => Ok(bridge),
            Ok(Reloaded { mistakes, .. }) | Err(mistakes) => {
                bridge.shutdown().await;
                Err(mistakes)
            }
        }
    }

    /// Makes the bridge what this configuration says. Links that are in it as they were keep their peerings and
    /// lose nothing; their certificates are read anew.
    ///
    /// # Errors
    /// Everything that is wrong, such as certificates that cannot be used. Nothing has changed then.
    pub async fn reload(&self, config: BridgeConfig) -> Result<Reloaded, Vec<Mistake>> {
        let mut running = self.config.lock().await;
        let old = self.core.links();
        let mut plan = Plan::new(&old, &config).await?;
        if config.rules != running.rules {
            plan.news.push(format!("rules: {}", config.rules.len()));
        }
        // What stays goes on by the old rules until those that go are gone: their addresses may be wanted.
        self.core.set_links(old.with_links(plan.kept.clone()));
        close(&plan.closing, config.operation.drain).await;

        let mut mistakes = Vec::new();
        let mut links = plan.kept.clone();
        let mut opening = Vec::new();
        for (link, tls) in plan.new {
            let relay = Arc::new(LinkRelay::new(LinkId(links.len()), &link, self.core.clone()));
            let name = link.name.clone();
            match Link::new(link, tls, relay.context(), relay) {
                Ok(link) => {
                    let link = Arc::new(link);
                    opening.push(link.clone());
                    links.push(Some(link));
                }
                Err(error) => {
                    let message = format!("no random number for its endpoint id: {error}");
                    mistakes.push(Mistake::new(format!("link.{name}"), message));
                }
            }
        }
        let rule_links =
            links.iter().map(|link| link.as_ref().map_or_else(RuleLink::default, |link| link.rule_link()));
        let rules = Rules::of_links(rule_links, &config.rules);
        for (slot, link) in links.iter().enumerate() {
            if let Some(link) = link {
                // Before the table, so that a new link's peers hear of it in the handshake.
                link.announce(rules.filter(LinkId(slot))).await;
            }
        }
        self.core.set_operation(&config.operation);
        let counts = counts(&config.rules, &old);
        self.core.set_links(LinkSet::new(links, rules, counts));
        for link in opening {
            mistakes.extend(link.listen().await);
            link.connect();
        }
        for link in plan.kept.iter().flatten() {
            // What could not be had before may be free now.
            mistakes.extend(link.listen().await);
            link.renew_certificates().await;
            self.core.send_allowed_hellos(&self.core.links(), link);
        }
        *running = config;
        Ok(Reloaded { news: plan.news, mistakes })
    }

    /// Stops listening and connecting, lets every peer read what waits for it, within the configured time, and leaves
    /// with BYE.
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
        // The links' endpoints know of the core, and it of them.
        self.core.set_links(LinkSet::empty());
    }
}

impl Plan {
    /// Reads the certificates of the links that are new or have changed.
    async fn new(old: &LinkSet, config: &BridgeConfig) -> Result<Self, Vec<Mistake>> {
        let stays = |link: &Arc<Link>| config.links.contains(&link.config);
        let kept: Vec<_> = old.slots().map(|link| link.cloned().filter(stays)).collect();
        let closing: Vec<_> = old.iter().filter(|link| !stays(link)).cloned().collect();
        let mut plan = Plan { kept, closing, new: Vec::new(), news: Vec::new() };
        let mut mistakes = Vec::new();
        for link in &config.links {
            if plan.kept.iter().flatten().any(|kept| kept.config == *link) {
                continue;
            }
            let was_there = plan.closing.iter().any(|closing| closing.config.name == link.name);
            plan.news.push(format!("link {}: {}", link.name, if was_there { "changed" } else { "new" }));
            match load_tls(link.clone()).await {
                Ok(tls) => plan.new.push((link.clone(), tls)),
                Err(wrong) => mistakes.extend(wrong),
            }
        }
        for link in &plan.closing {
            if !config.links.iter().any(|new| new.name == link.config.name) {
                plan.news.push(format!("link {}: gone", link.config.name));
            }
        }
        if mistakes.is_empty() { Ok(plan) } else { Err(mistakes) }
    }
}

async fn run_timer(core: Arc<Core>) {
    core.run_timer().await;
}

/// It reads files, and may open a key for a while.
async fn load_tls(link: LinkConfig) -> Result<Tls, Vec<Mistake>> {
    let path = format!("link.{}", link.name);
    let loaded = tokio::task::spawn_blocking(move || link.tls()).await;
    loaded.unwrap_or_else(|error| Err(vec![Mistake::new(path, error.to_string())]))
}

async fn close(links: &[Arc<Link>], drain: Duration) {
    let mut closing = JoinSet::new();
    for link in links {
        let link = link.clone();
        closing.spawn(async move { link.close(drain).await });
    }
    closing.join_all().await;
}

/// A rule that stays, by its name, goes on counting.
fn counts(rules: &[RuleConfig], old: &LinkSet) -> Vec<(String, Arc<RuleCount>)> {
    let kept = |rule: &RuleConfig| {
        let mut counts = old.rule_counts();
        counts.find(|(name, _)| *name == rule.name).map(|(_, count)| count.clone())
    };
    rules.iter().map(|rule| (rule.name.clone(), kept(rule).unwrap_or_default())).collect()
}
