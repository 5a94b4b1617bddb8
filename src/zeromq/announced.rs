//! The subscriptions that an XSUB sends.

use bytes::Buf;

use super::config::SocketType;
use super::error::Error;
use super::frame::FrameKind;
use super::security::Security;
use super::subscriptions::Change;
use super::{State, ZeroMq};
use crate::data::{Filter, Topic};
use crate::peering::{Output, SendError};
use crate::wire::EncodeError;

const NOT_A_SUBSCRIBER: EncodeError = EncodeError::NotCarried { what: "a subscription from this socket" };

impl ZeroMq {
    /// Replaces this endpoint's filter. An established XSUB sends the difference to the peer at once.
    ///
    /// A filter contains no prefix that a shorter prefix covers. So if a shorter prefix is added, the longer one is cancelled. Use
    /// [`ZeroMq::subscribe`] for prefixes that the peer must know exactly, such as the topic of a single node.
    pub fn set_filter(&mut self, filter: Filter) {
        self.config.common.filter = filter;
        if self.is_announcing() {
            self.announce_filter();
        }
    }

    /// Sends a subscription of an XSUB, in addition to those of its filter. A repeated subscription is sent again. The next
    /// session with the peer does not send it.
    ///
    /// # Errors
    /// Fails if the session is not established, if this side's socket is not an XSUB, or if the prefix is longer than
    /// [`Topic::MAX_LEN`].
    pub fn subscribe(&mut self, prefix: &Topic) -> Result<(), SendError> {
        self.send_change(Change::Subscribe(prefix.as_bytes()))
    }

    /// Sends the cancellation of a subscription of an XSUB. It also cancels an equal prefix of the filter, because the peer does
    /// not count subscriptions.
    ///
    /// # Errors
    /// As [`ZeroMq::subscribe`].
    pub fn cancel(&mut self, prefix: &Topic) -> Result<(), SendError> {
        self.send_change(Change::Cancel(prefix.as_bytes()))
    }

    fn send_change(&mut self, change: Change<'_>) -> Result<(), SendError> {
        if !self.is_announcing() {
            return Err(SendError::NotEstablished);
        }
        if self.config.socket != SocketType::XSub {
            return Err(NOT_A_SUBSCRIBER.into());
        }
        let (length, max) = (change.prefix().len(), Topic::MAX_LEN);
        if length > max {
            return Err(EncodeError::TooLong { what: "a topic", length, max }.into());
        }
        put_change(change, &mut self.security, &mut self.out).map_err(|error| {
            self.close(error);
            SendError::NotEstablished
        })
    }

    fn is_announcing(&self) -> bool {
        matches!(self.state, State::Established { leaving: None })
    }

    /// Sends the difference between the filter and the subscriptions that were sent. New subscriptions are sent first, so that a
    /// topic that both filters match is always subscribed to.
    pub(super) fn announce_filter(&mut self) {
        if self.config.socket != SocketType::XSub {
            return;
        }
        match self.send_difference() {
            Ok(()) => self.announced = self.config.common.filter.clone(),
            Err(error) => self.close(error),
        }
    }

    fn send_difference(&mut self) -> Result<(), Error> {
        let (new, old) = (&self.config.common.filter, &self.announced);
        let subscribed = without(new, old).map(Change::Subscribe);
        for change in subscribed.chain(without(old, new).map(Change::Cancel)) {
            put_change(change, &mut self.security, &mut self.out)?;
        }
        Ok(())
    }
}

/// Returns the prefixes of a filter that the other one does not contain.
fn without<'a>(filter: &'a Filter, other: &'a Filter) -> impl Iterator<Item = &'a [u8]> {
    let is_missing = |topic: &&Topic| other.topics().binary_search(topic).is_err();
    filter.topics().iter().filter(is_missing).map(Topic::as_bytes)
}

/// Queues a change as a message, which peers of all versions understand.
fn put_change(change: Change<'_>, security: &mut Security, out: &mut Output) -> Result<(), Error> {
    let body = Buf::chain(change.first_byte(), change.prefix());
    security.send(FrameKind::LastPart, body, out)
}
