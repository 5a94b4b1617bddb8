//! Translation of names that differ between the recording and the live peering: endpoint ids and random request ids.

use std::collections::{HashMap, HashSet};

use bytes::{Bytes, BytesMut};
use zeek_bridge::data::{ByteString, EndpointId, Topic, Value};
use zeek_bridge::trace::{Content, Frame};
use zeek_bridge::wire::{Envelope, LENGTH_FIELD, Limits, encode_value};

use crate::scalars::map_scalars;

/// The recorded names and the live names they correspond to.
#[derive(Debug, Default)]
pub(super) struct Names {
    endpoints: Vec<(EndpointId, EndpointId)>,
    texts: HashMap<ByteString, ByteString>,
    /// All live names.
    taken: HashSet<ByteString>,
}

impl Names {
    /// Records that a recorded name corresponds to a live one.
    pub(super) fn endpoint(&mut self, recorded: EndpointId, live: EndpointId) {
        if self.endpoints.iter().all(|(known, _)| *known != recorded) {
            self.endpoints.push((recorded, live));
            self.taken.insert(live.to_string().into());
        }
    }

    /// Returns whether two random ids may correspond to each other. If so, records the pair. The caller has already
    /// translated recorded names that are known.
    pub(super) fn same(&mut self, recorded: &ByteString, received: &ByteString) -> bool {
        if recorded == received {
            return true;
        }
        if self.taken.contains(recorded) || self.taken.contains(received) {
            return false;
        }
        self.taken.insert(received.clone());
        self.texts.insert(recorded.clone(), received.clone());
        true
    }

    /// Translates the body of a recorded frame to live names.
    pub(super) fn translate(&self, frame: &Frame) -> Bytes {
        let mut body = BytesMut::from(&*frame.body);
        for (recorded, live) in &self.endpoints {
            replace(&mut body, recorded.as_bytes(), live.as_bytes());
            replace(&mut body, recorded.to_string().as_bytes(), live.to_string().as_bytes());
        }
        let body = body.freeze();
        self.translate_texts(frame, &body).unwrap_or(body)
    }

    /// Translates a recorded topic to its live name.
    pub(super) fn live_topic(&self, topic: &Topic) -> Topic {
        self.exchange(topic, |(recorded, live)| (recorded, live))
    }

    /// Translates a live topic to its recorded name.
    pub(super) fn recorded_topic(&self, topic: &Topic) -> Topic {
        self.exchange(topic, |(recorded, live)| (live, recorded))
    }

    fn exchange<'a>(
        &'a self,
        topic: &Topic,
        order: impl Fn((&'a EndpointId, &'a EndpointId)) -> (&'a EndpointId, &'a EndpointId),
    ) -> Topic {
        let mut bytes = topic.as_bytes().to_vec();
        for (recorded, live) in &self.endpoints {
            let (from, to) = order((recorded, live));
            replace(&mut bytes, from.to_string().as_bytes(), to.to_string().as_bytes());
        }
        // The length does not change.
        Topic::new(bytes).unwrap_or_default()
    }

    /// Replaces the names in strings, which can change the length of the frame. Returns `None` if the value contains no such
    /// name.
    fn translate_texts(&self, frame: &Frame, body: &Bytes) -> Option<Bytes> {
        if self.texts.is_empty() || !matches!(frame.content, Ok(Content::Envelope(_))) {
            return None;
        }
        let envelope = Envelope::decode(body).ok()?;
        let mut changed = false;
        let value = map_scalars(envelope.value(&Limits::DEFAULT).ok()?, &mut |leaf| match &leaf {
            Value::String(text) => match self.texts.get(text) {
                Some(live) => {
                    changed = true;
                    Value::String(live.clone())
                }
                None => leaf,
            },
            _ => leaf,
        });
        if !changed {
            return None;
        }
        let (mut payload, mut whole) = (BytesMut::new(), BytesMut::new());
        encode_value(&value, &mut payload).ok()?;
        Envelope { payload: payload.freeze(), ..envelope }.encode(&mut whole).ok()?;
        Some(whole.freeze().slice(LENGTH_FIELD..))
    }
}

/// Replaces all occurrences of `from` with `to`, which has the same length.
fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    let mut rest = bytes;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        let (_, found) = std::mem::take(&mut rest).split_at_mut(at);
        let (found, remaining) = found.split_at_mut(from.len());
        found.copy_from_slice(to);
        rest = remaining;
    }
}
