//! Who says what until the peering stands (protocol section 2, "Who says what").

use std::time::Instant;

use bytes::Bytes;

use super::peered::Peered;
use super::{CloseReason, Event, Peering, PeeringError, Role, State};
use crate::data::{ByteString, EndpointId, Filter, steers_terminal};
use crate::wire::{ErrorCode, Handshake, PROTOCOL_VERSION};

/// The handshake message that has to come next.
#[derive(Clone, Debug)]
pub(super) enum WaitFor {
    /// A connector has said hello.
    HelloOrVersionSelect,
    /// A listener has said probe.
    Hello,
    /// This side has the larger id and has said so with a hello to this peer.
    VersionSelect(EndpointId),
    Syn(EndpointId),
    SynAck(EndpointId),
    Ack(EndpointId, Filter),
}

impl WaitFor {
    /// What has to come, in the protocol's words.
    pub(super) const fn expected(&self) -> &'static str {
        match self {
            WaitFor::HelloOrVersionSelect => "hello or version_select",
            WaitFor::Hello => "hello",
            WaitFor::VersionSelect(_) => "version_select",
            WaitFor::Syn(_) => "originator_syn",
            WaitFor::SynAck(_) => "responder_syn_ack",
            WaitFor::Ack(..) => "originator_ack",
        }
    }

    /// Whether the version is still to be agreed on: probes may come.
    const fn version_agnostic(&self) -> bool {
        matches!(self, WaitFor::HelloOrVersionSelect | WaitFor::Hello | WaitFor::VersionSelect(_))
    }
}

pub(super) fn hello(sender: EndpointId) -> Handshake {
    Handshake::Hello { sender, min_version: PROTOCOL_VERSION, max_version: PROTOCOL_VERSION }
}

/// A peer's words, fit for one line of a log.
fn words(description: &ByteString) -> String {
    const ENOUGH: usize = 256;
    let text = description.to_string();
    let mut line: String = text
        .chars()
        .take(ENOUGH)
        .map(|c| if steers_terminal(c) { char::REPLACEMENT_CHARACTER } else { c })
        .collect();
    if text.chars().nth(ENOUGH).is_some() {
        line.push('…');
    }
    line
}

/// How each side says that a connection is redundant, in the reference's codes and words.
pub(super) const fn redundant(role: Role) -> (ErrorCode, &'static str) {
    match role {
        Role::Originator => (ErrorCode::REDUNDANT_CONNECTION, "redundant connection"),
        Role::Responder => (ErrorCode::LOGIC_ERROR, "detected redundant connection at the responder"),
    }
}

impl Peering {
    /// One frame of the handshake: what comes after it, or how it ends.
    pub(super) fn handle_handshake(
        &mut self,
        now: Instant,
        frame: &Bytes,
        wait: WaitFor,
        deadline: Instant,
    ) -> Result<State, CloseReason> {
        let message = Handshake::decode(frame, &self.config.limits).map_err(PeeringError::from)?;
        match (wait, message) {
            (wait, Handshake::Probe) if wait.version_agnostic() => Ok(State::Handshake { wait, deadline }),

            (
                WaitFor::Hello | WaitFor::HelloOrVersionSelect,
                Handshake::Hello { sender: peer, min_version, max_version },
            ) => {
                self.acceptable(peer)?;
                if !(min_version..=max_version).contains(&PROTOCOL_VERSION) {
                    return Err(PeeringError::Incompatible { min: min_version, max: max_version }.into());
                }
                if self.config.id < peer {
                    Ok(self.introduced(peer, Role::Originator, deadline))
                } else {
                    self.say(&hello(self.config.id))?;
                    Ok(State::Handshake { wait: WaitFor::VersionSelect(peer), deadline })
                }
            }

            (
                wait @ (WaitFor::HelloOrVersionSelect | WaitFor::VersionSelect(_)),
                Handshake::VersionSelect { sender: peer, version },
            ) => {
                self.acceptable(peer)?;
                if let WaitFor::VersionSelect(first) = wait
                    && first != peer
                {
                    return Err(PeeringError::IdChanged { first, then: peer }.into());
                }
                if version != PROTOCOL_VERSION {
                    return Err(PeeringError::Incompatible { min: version, max: version }.into());
                }
                Ok(self.introduced(peer, Role::Responder, deadline))
            }

            (WaitFor::Syn(peer), Handshake::OriginatorSyn(filter)) => {
                self.say(&Handshake::ResponderSynAck(self.config.filter.clone()))?;
                self.filter_changed = false;
                Ok(State::Handshake { wait: WaitFor::Ack(peer, filter), deadline })
            }

            (WaitFor::SynAck(peer), Handshake::ResponderSynAck(filter)) => {
                self.say(&Handshake::OriginatorAck)?;
                self.establish(now, peer, filter)
            }

            (WaitFor::Ack(peer, filter), Handshake::OriginatorAck) => self.establish(now, peer, filter),

            (_, Handshake::DropConn { sender: peer, code, description }) => {
                self.no_drop_conn = true;
                Err(match code {
                    _ if peer == self.config.id => PeeringError::SelfConnection(peer).into(),
                    ErrorCode::REDUNDANT_CONNECTION => CloseReason::Redundant { peer },
                    _ => PeeringError::Refused { peer, code, description: words(&description) }.into(),
                })
            }

            (wait, message) => {
                Err(PeeringError::Unexpected { expected: wait.expected(), received: message.name() }.into())
            }
        }
    }

    fn acceptable(&self, peer: EndpointId) -> Result<(), PeeringError> {
        if peer == self.config.id {
            Err(PeeringError::SelfConnection(peer))
        } else if peer.is_nil() {
            Err(PeeringError::NilPeer)
        } else {
            Ok(())
        }
    }

    fn introduced(&mut self, peer: EndpointId, role: Role, deadline: Instant) -> State {
        self.events.push_back(Event::Introduced { peer, role });
        State::Introduced { peer, role, deadline }
    }

    /// Goes on once the peer is admitted.
    pub(super) fn begin(&mut self, peer: EndpointId, role: Role) -> Result<WaitFor, CloseReason> {
        match role {
            Role::Originator => {
                self.say(&Handshake::VersionSelect { sender: self.config.id, version: PROTOCOL_VERSION })?;
                self.say(&Handshake::OriginatorSyn(self.config.filter.clone()))?;
                self.filter_changed = false;
                Ok(WaitFor::SynAck(peer))
            }
            Role::Responder => Ok(WaitFor::Syn(peer)),
        }
    }

    fn establish(&mut self, now: Instant, peer: EndpointId, filter: Filter) -> Result<State, CloseReason> {
        self.no_drop_conn = true;
        if self.filter_changed {
            self.out
                .routing_update(self.config.id, peer, &self.config.filter)
                .map_err(|_| PeeringError::FilterTooLarge)?;
        }
        self.events.push_back(Event::Established { peer, filter });
        let mut peered = Peered::new(peer, now);
        if self.leave_once_established {
            peered.leave(now, &self.config, &mut self.out);
        }
        Ok(State::Peered(peered))
    }
}
