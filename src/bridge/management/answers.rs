//! Sends the failures with which the bridge answers requests on behalf of nodes.

use super::registry::Answer;
use crate::bridge::audience::Audience;
use crate::bridge::link::Link;
use crate::bridge::router::links::LinkSet;
use crate::data::{EndpointId, excerpt};
use crate::endpoint::Blocked;
use crate::management::NODE_TOPIC;
use crate::wire::Envelope;
use crate::zeek;

/// Sends answers to agents. An answer for which a queue has no room is stored in the link's outbox.
pub(super) fn store_answers(links: &LinkSet, answers: Vec<Answer>) {
    messages(links, answers).for_each(|(link, to, envelope)| link.send_or_store(to, &envelope));
}

/// Sends answers to the agent whose message is being handled. Returns the answers for which the agent's queue has no
/// room. The connection stops reading from this agent until these answers are queued.
pub(super) fn send_answers(links: &LinkSet, answers: Vec<Answer>) -> Vec<Blocked> {
    messages(links, answers)
        .flat_map(|(link, to, envelope)| link.send(&envelope, None, &Audience::PeerReliable(to)))
        .collect()
}

/// Returns each answer as an envelope, with the link and the peer to send it to.
fn messages(links: &LinkSet, answers: Vec<Answer>) -> impl Iterator<Item = (&Link, EndpointId, Envelope)> {
    answers.into_iter().filter_map(|Answer { to, response }| {
        let link = links.link(to.link)?;
        let (reqid, result) = (response.reqid(), response.result());
        tracing::debug!(
            link = %link.config.name, agent = %to.peer, reqid = excerpt(reqid), node = result.node().map(excerpt),
            "answered for a node: {}", result.error().unwrap_or_default()
        );
        let value = zeek::ZeekMessage::Event(response.into()).into_value();
        match Envelope::data(link.endpoint.id(), NODE_TOPIC.clone(), &value) {
            Ok(envelope) => Some((&**link, to.peer, envelope)),
            Err(error) => {
                tracing::error!("cannot encode an answer: {error}");
                None
            }
        }
    })
}
