//! The handshake (`PROTOCOL.md`, section 2, "Order of messages").

use std::time::Instant;

use bytes::Bytes;

use super::peered::Peered;
use super::{CloseReason, Event, Peering, PeeringError, Role, State};
use crate::data::{EndpointId, Filter, one_line};
use crate::wire::{ErrorCode, Handshake, PROTOCOL_VERSION};

/// The handshake message that must be received next, and what is known about the peer so far.
#[derive(Clone, Debug)]
pub(super) enum WaitFor {
    /// This side is the connector, and has sent `hello`.
    HelloOrVersionSelect,
    /// This side is the listener, and has sent `probe`.
    Hello,
    /// This side has the larger id and has answered this peer with `hello`.
    VersionSelect(EndpointId),
    Syn(EndpointId),
    SynAck(EndpointId),
    Ack(EndpointId, Filter),
}

impl WaitFor {
    /// Returns the names of the expected messages.
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

    /// Returns whether the version is not selected yet. `probe` is ignored until then.
    const fn version_agnostic(&self) -> bool {
        matches!(self, WaitFor::HelloOrVersionSelect | WaitFor::Hello | WaitFor::VersionSelect(_))
    }
}

pub(super) fn hello(sender: EndpointId) -> Handshake {
    Handshake::Hello { sender, min_version: PROTOCOL_VERSION, max_version: PROTOCOL_VERSION }
}

/// Returns the code and description with which this role refuses a redundant connection. They are those of Broker's C++
/// implementation.
pub(super) const fn redundant(role: Role) -> (ErrorCode, &'static str) {
    match role {
        Role::Originator => (ErrorCode::REDUNDANT_CONNECTION, "redundant connection"),
        Role::Responder => (ErrorCode::LOGIC_ERROR, "detected redundant connection at the responder"),
    }
}

impl Peering {
    /// Handles one frame of the handshake. Returns the next state, or the reason to close.
    pub(super) fn handle_handshake(
        &mut self,
        now: Instant,
        frame: &Bytes,
        wait: WaitFor,
        deadline: Instant,
    ) -> Result<State, CloseReason> {
        let message = Handshake::decode(frame, &self.config.limits).map_err(PeeringError::from)?;
        #[cfg(feature = "net")]
        if let Some(probe) = &mut self.probe {
            probe.record(&message, self.config.id);
            if probe.filter.is_some() {
                return Err(CloseReason::Left);
            }
        }
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
                // The side with the smaller id is the originator.
                if self.config.id < peer {
                    Ok(self.introduced(peer, Role::Originator, deadline))
                } else {
                    // This `hello` tells the peer that it is the originator.
                    self.send_handshake(&hello(self.config.id))?;
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
                self.send_handshake(&Handshake::ResponderSynAck(self.config.filter.clone()))?;
                self.filter_changed = false;
                Ok(State::Handshake { wait: WaitFor::Ack(peer, filter), deadline })
            }

            (WaitFor::SynAck(peer), Handshake::ResponderSynAck(filter)) => {
                self.send_handshake(&Handshake::OriginatorAck)?;
                self.establish(now, peer, filter)
            }

            (WaitFor::Ack(peer, filter), Handshake::OriginatorAck) => self.establish(now, peer, filter),

            (_, Handshake::DropConn { sender: peer, code, description }) => {
                self.no_drop_conn = true;
                Err(match code {
                    _ if peer == self.config.id => PeeringError::SelfConnection(peer).into(),
                    ErrorCode::REDUNDANT_CONNECTION => CloseReason::Redundant { peer },
                    _ => {
                        PeeringError::Refused { peer, code, description: one_line(&description.to_string()) }
                            .into()
                    }
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
        self.events.push(Event::Introduced { peer, role });
        State::Introduced { peer, role, deadline }
    }

    /// Continues the handshake after the peer was admitted.
    pub(super) fn begin(&mut self, peer: EndpointId, role: Role) -> Result<WaitFor, CloseReason> {
        match role {
            Role::Originator => {
                self.send_handshake(&Handshake::VersionSelect {
                    sender: self.config.id,
                    version: PROTOCOL_VERSION,
                })?;
                self.send_handshake(&Handshake::OriginatorSyn(self.config.filter.clone()))?;
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
        self.events.push(Event::Established { peer, filter });
        let mut peered = Peered::new(peer, now);
        if self.leave_once_established {
            peered.leave(now, &self.config, &mut self.out);
        }
        Ok(State::Peered(peered))
    }
}
