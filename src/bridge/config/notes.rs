//! Explains the behaviour of ZeroMQ links that is not visible in the configuration.

use super::schema::{BridgeConfig, LinkAddress, LinkConfig};

impl BridgeConfig {
    /// Returns explanations of the behaviour that is not visible in the configuration, as lines of text. A configuration without
    /// ZeroMQ links has none.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let links = self.links.iter().filter(|link| link.zeromq.is_some());
        links.flat_map(|link| self.notes_of(link)).collect()
    }

    fn notes_of(&self, link: &LinkConfig) -> Vec<String> {
        let name = &link.name;
        let (mut notes, others) = (Vec::new(), self.others(link));
        if !others.is_empty() {
            let maps_topics = link.zeromq.as_ref().is_some_and(|zeromq| zeromq.map_topics);
            let translated: Vec<&str> = others
                .iter()
                .filter(|other| other.zeromq.is_none())
                .map(|other| other.name.as_str())
                .collect();
            if maps_topics && !translated.is_empty() {
                notes.push(format!(
                    "link {name}: topics that Zeek defines for clusters have dots here and slashes on {}, such as \
                     zeek.cluster.worker and zeek/cluster/worker; they are translated, and rules match both forms",
                    translated.join(" and ")
                ));
            }
            let others: Vec<&str> = others.iter().map(|other| other.name.as_str()).collect();
            notes.push(format!(
                "link {name}: no rule forwards Cluster::hello, Cluster::Backend::*, Cluster::Experimental::* or events to topics of \
                 node ids between this link and {}; logs, identifier updates and data-store commands are not sent to the cluster \
                 (counted as not_carried)",
                others.join(" and ")
            ));
            notes.push(format!(
                "link {name}: events that another bridge has sent to the cluster are forwarded only to links with Broker's protocol, with \
                 ttl 1; connect two clusters with one bridge only"
            ));
        }
        if matches!(link.address, LinkAddress::Listen(_)) {
            notes.push(format!(
                "link {name}: the hellos of nodes, Cluster::Backend::ZeroMQ::hello and Cluster::hello, need no rule between its \
                 peers; all other events do"
            ));
            notes.push(format!(
                "link {name}: nothing proves the name and the id in a hello, so every client that this link accepts can send hellos as \
                 any node"
            ));
            notes.push(format!(
                "link {name}: a peer that does not read its messages in time loses some of them or is disconnected (when_full), and \
                 does not delay the others"
            ));
            notes.push(format!(
                "link {name}: rules select publishers, not receivers; every client that this link accepts can receive all events that \
                 rules forward to the link"
            ));
        }
        if let Some(node) = link.zeromq.as_ref().and_then(|zeromq| zeromq.node.as_ref()) {
            notes.push(format!(
                "link {name}: sends and answers the hellos of nodes as {node}, independently of the rules; {node} must be in \
                 Cluster::nodes of each node"
            ));
        }
        notes
    }

    /// Returns the other links that exchange messages with a link by the rules.
    fn others(&self, link: &LinkConfig) -> Vec<&LinkConfig> {
        let is_connected = |other: &&LinkConfig| {
            let connects = |from: &LinkConfig, to: &LinkConfig| {
                self.rules.iter().any(|rule| rule.from.contains(&from.name) && rule.to.contains(&to.name))
            };
            other.name != link.name && (connects(link, other) || connects(other, link))
        };
        self.links.iter().filter(is_connected).collect()
    }
}
