//! Zeek's ZeroMQ back end as a session.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::memory::SHARED_BUFFER;
use super::session::{Format, Losses, Sender, Session, sealed};
use crate::data::{EndpointId, Filter, Topic};
use crate::peering::{Event, SendError};
use crate::wire::{EncodeError, Envelope};
use crate::zeek::events::{Changes, LeftOut};
use crate::zeromq::{EventFormat, OVERHEAD, SubscriptionChange, ZeroMq, encode, first_length, id_text};

/// The sender is a text. It has up to 70 bytes in most clusters.
const MARGIN: usize = 64;

/// Events with Broker's binary values (`PROTOCOL.md`, section 11).
static BINARY: Format = Format {
    overhead: OVERHEAD,
    margin: MARGIN,
    encode: |envelope, sender, out, losses| append(envelope, sender, EventFormat::Binary, out, losses),
    first_length,
};

/// Events with v1 JSON.
static JSON: Format = Format {
    overhead: OVERHEAD,
    margin: MARGIN,
    encode: |envelope, sender, out, losses| append(envelope, sender, EventFormat::Json, out, losses),
    first_length,
};

fn append(
    envelope: &Envelope,
    sender: Sender<'_>,
    format: EventFormat,
    out: &mut BytesMut,
    losses: &mut Losses,
) -> Result<Option<Bytes>, LeftOut> {
    let format = sender.format.unwrap_or(format);
    let (Changes { left_out, .. }, payload) = match sender.text {
        Some(text) => encode(envelope, text, format, SHARED_BUFFER, out),
        None => encode(envelope, &id_text(sender.id), format, SHARED_BUFFER, out),
    }?;
    if let Some(LeftOut { messages, error }) = left_out {
        tracing::debug!(messages, "a part of a batch was not sent: {error}");
        losses.not_carried = losses.not_carried.saturating_add(messages);
    }
    Ok(payload)
}

impl sealed::Sealed for ZeroMq {}

/// Each method except `format`, `note_unwritten` and `send_subscription` calls the method of [`ZeroMq`] with the same name.
impl Session for ZeroMq {
    const COPIED: usize = ZeroMq::COPIED;

    fn format(&self) -> &'static Format {
        match self.event_format() {
            EventFormat::Binary => &BINARY,
            EventFormat::Json => &JSON,
        }
    }

    fn handle_input(&mut self, now: Instant, input: &mut BytesMut) -> bool {
        ZeroMq::handle_input(self, now, input)
    }

    fn handle_eof(&mut self) {
        ZeroMq::handle_eof(self);
    }

    fn handle_timeout(&mut self, now: Instant) {
        ZeroMq::handle_timeout(self, now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        ZeroMq::poll_timeout(self)
    }

    fn poll_event(&mut self) -> Option<Event> {
        ZeroMq::poll_event(self)
    }

    fn poll_message(&mut self) -> Option<Envelope> {
        ZeroMq::poll_message(self)
    }

    fn pending_events(&self) -> usize {
        ZeroMq::pending_events(self)
    }

    fn poll_transmit(&mut self) -> Option<Bytes> {
        ZeroMq::poll_transmit(self)
    }

    fn unsent(&self) -> usize {
        ZeroMq::unsent(self)
    }

    fn note_unwritten(&mut self, unwritten: usize) {
        ZeroMq::handle_written(self, unwritten);
    }

    fn send_encoded(&mut self, pieces: [Bytes; 2]) -> Result<(), SendError> {
        ZeroMq::send_encoded(self, pieces)
    }

    fn set_filter(&mut self, filter: Filter) -> Result<(), EncodeError> {
        ZeroMq::set_filter(self, filter);
        Ok(())
    }

    fn admit(&mut self) {
        ZeroMq::admit(self);
    }

    fn refuse_redundant(&mut self) {
        ZeroMq::refuse_redundant(self);
    }

    fn refuse(&mut self) {
        ZeroMq::refuse(self);
    }

    fn leave(&mut self, now: Instant) {
        ZeroMq::leave(self, now);
    }

    fn pause(&mut self, now: Instant, paused: bool) {
        ZeroMq::pause(self, now, paused);
    }

    fn takes_input(&self) -> bool {
        ZeroMq::takes_input(self)
    }

    fn is_closed(&self) -> bool {
        ZeroMq::is_closed(self)
    }

    fn is_established(&self) -> bool {
        ZeroMq::is_established(self)
    }

    fn shrink_buffers(&mut self) {
        ZeroMq::shrink_buffers(self);
    }

    fn peer_socket(&self) -> Option<&'static str> {
        ZeroMq::peer_socket(self)
    }

    #[cfg(feature = "curve")]
    fn curve_client(&self) -> Option<Arc<str>> {
        ZeroMq::curve_client(self)
    }

    #[cfg(feature = "curve")]
    fn curve_keys(&self) -> Option<[crate::zeromq::curve::PublicKey; 2]> {
        ZeroMq::curve_keys(self)
    }

    fn sender_name(&self, sender: EndpointId) -> Option<Arc<str>> {
        ZeroMq::sender_name(self, sender)
    }

    fn sender_text(&self, sender: EndpointId) -> Option<Bytes> {
        ZeroMq::sender_text(self, sender)
    }

    fn received_format(&self) -> Option<EventFormat> {
        ZeroMq::received_format(self)
    }

    fn last_frames(&self) -> Option<(&Bytes, Range<usize>)> {
        ZeroMq::last_frames(self)
    }

    fn is_filter_due(&self) -> bool {
        ZeroMq::is_filter_due(self)
    }

    fn poll_subscription(&mut self) -> Option<SubscriptionChange> {
        ZeroMq::poll_subscription(self)
    }

    fn send_subscription(&mut self, change: &SubscriptionChange) -> Result<(), SendError> {
        match change {
            SubscriptionChange::Subscribed(prefix) => self.subscribe(prefix),
            SubscriptionChange::Cancelled(prefix) => self.cancel(prefix),
        }
    }

    fn is_subscribed(&self, prefix: &Topic) -> bool {
        ZeroMq::is_subscribed(self, prefix)
    }
}

#[cfg(test)]
mod tests;
