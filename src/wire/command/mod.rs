//! Data-store commands (`PROTOCOL.md`, section 7): the messages between the master and the clones of a store.

mod display;
#[cfg(test)]
mod tests;

use bytes::BufMut;

use super::error::{DecodeError, DecodeReason, EncodeError, Parsed, fail, finish, within};
use super::limits::Limits;
use super::prim::{endpoint_id, put_varbyte, u8, u16, u64, varbyte};
use super::value::{Budget, encode_value, value};
use crate::data::{EndpointId, Step, Timespan, Value};

/// A master, clone or client of a data store: an object in an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EntityId {
    /// The endpoint. [`EndpointId::NIL`] with object 0 identifies no entity.
    pub endpoint: EndpointId,
    /// The number of the object in the endpoint.
    pub object: u64,
}

/// A data-store command with its number in the sender's sequence:
/// `sequence u64` · `sender entity` · `receiver entity` · `variant index u8` · fields.
/// An entity is `endpoint id 16` · `object u64`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The number in the sender's sequence; 0 for commands outside it.
    pub sequence: u64,
    /// The entity that sends the command.
    pub sender: EntityId,
    /// The entity that the command is for.
    pub receiver: EntityId,
    /// The command and its fields.
    pub content: CommandContent,
}

/// The fourteen commands, in the order of their variant index on the wire.
///
/// On the wire, an `expiry` is a u8 flag. If the flag is not 0, an i64 of nanoseconds follows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of PROTOCOL.md, section 7")]
pub enum CommandContent {
    /// 0: sets the value of a key.
    Put { key: Value, value: Value, expiry: Option<Timespan>, publisher: EntityId },
    /// 1: sets the value of a key if the key does not exist.
    PutUnique {
        key: Value,
        value: Value,
        expiry: Option<Timespan>,
        who: EntityId,
        request: u64,
        publisher: EntityId,
    },
    /// 2: the answer to a `put_unique`.
    PutUniqueResult { inserted: bool, who: EntityId, request: u64, publisher: EntityId },
    /// 3: removes a key.
    Erase { key: Value, publisher: EntityId },
    /// 4: removes a key that has expired.
    Expire { key: Value, publisher: EntityId },
    /// 5: adds to the value of a key. If the key does not exist, it is first created with an empty value. `init_type` is
    /// the tag of that value's type.
    Add { key: Value, value: Value, init_type: u8, expiry: Option<Timespan>, publisher: EntityId },
    /// 6: subtracts from the value of a key.
    Subtract { key: Value, value: Value, expiry: Option<Timespan>, publisher: EntityId },
    /// 7: removes all keys.
    Clear { publisher: EntityId },
    /// 8: registers a clone as a writer at the master.
    AttachWriter { offset: u64, heartbeat_interval: u16 },
    /// 9: a heartbeat of a producer.
    Keepalive { sequence: u64 },
    /// 10: a consumer has received everything up to this number.
    CumulativeAck { sequence: u64 },
    /// 11: a consumer has not received these numbers.
    Nack { sequences: Vec<u64> },
    /// 12: the complete content of the master for a new clone. All keys are different.
    AckClone { offset: u64, heartbeat_interval: u16, snapshot: Vec<(Value, Value)> },
    /// 13: a producer no longer has this number.
    RetransmitFailed { sequence: u64 },
}

impl Command {
    /// Decodes the payload of a command envelope.
    ///
    /// # Errors
    /// Fails if the payload is not exactly one command or exceeds `limits`.
    pub fn decode(payload: &[u8], limits: &Limits) -> Result<Self, DecodeError> {
        finish(payload, command(payload, limits))
    }

    /// Appends the command to `out` as the payload of an envelope.
    ///
    /// # Errors
    /// Fails if one of its values cannot be encoded. `out` then ends with an incomplete command.
    pub fn encode(&self, out: &mut impl BufMut) -> Result<(), EncodeError> {
        out.put_u64(self.sequence);
        put_entity(out, &self.sender);
        put_entity(out, &self.receiver);
        put_content(out, &self.content)
    }
}

fn command<'a>(input: &'a [u8], limits: &Limits) -> Parsed<'a, Command> {
    let (input, sequence) = u64(input)?;
    let (input, sender) = entity(input)?;
    let (input, receiver) = entity(input)?;
    let (input, content) = content(input, limits)?;
    Ok((input, Command { sequence, sender, receiver, content }))
}

fn content<'a>(start: &'a [u8], limits: &Limits) -> Parsed<'a, CommandContent> {
    use CommandContent as C;
    let budget = &mut Budget::new(limits);
    let (input, variant) = u8(start)?;
    match variant {
        0 => {
            let (input, key) = named(input, "key", budget)?;
            let (input, value) = named(input, "value", budget)?;
            let (input, expiry) = expiry(input)?;
            let (input, publisher) = entity(input)?;
            Ok((input, C::Put { key, value, expiry, publisher }))
        }
        1 => {
            let (input, key) = named(input, "key", budget)?;
            let (input, value) = named(input, "value", budget)?;
            let (input, expiry) = expiry(input)?;
            let (input, who) = entity(input)?;
            let (input, request) = u64(input)?;
            let (input, publisher) = entity(input)?;
            Ok((input, C::PutUnique { key, value, expiry, who, request, publisher }))
        }
        2 => {
            let (input, inserted) = u8(input)?;
            let (input, who) = entity(input)?;
            let (input, request) = u64(input)?;
            let (input, publisher) = entity(input)?;
            Ok((input, C::PutUniqueResult { inserted: inserted != 0, who, request, publisher }))
        }
        3 => {
            let (input, key) = named(input, "key", budget)?;
            let (input, publisher) = entity(input)?;
            Ok((input, C::Erase { key, publisher }))
        }
        4 => {
            let (input, key) = named(input, "key", budget)?;
            let (input, publisher) = entity(input)?;
            Ok((input, C::Expire { key, publisher }))
        }
        5 => {
            let (input, key) = named(input, "key", budget)?;
            let (input, value) = named(input, "value", budget)?;
            let (input, init_type) = u8(input)?;
            let (input, expiry) = expiry(input)?;
            let (input, publisher) = entity(input)?;
            Ok((input, C::Add { key, value, init_type, expiry, publisher }))
        }
        6 => {
            let (input, key) = named(input, "key", budget)?;
            let (input, value) = named(input, "value", budget)?;
            let (input, expiry) = expiry(input)?;
            let (input, publisher) = entity(input)?;
            Ok((input, C::Subtract { key, value, expiry, publisher }))
        }
        7 => {
            let (input, publisher) = entity(input)?;
            Ok((input, C::Clear { publisher }))
        }
        8 => {
            let (input, offset) = u64(input)?;
            let (input, heartbeat_interval) = u16(input)?;
            Ok((input, C::AttachWriter { offset, heartbeat_interval }))
        }
        9 => {
            let (input, sequence) = u64(input)?;
            Ok((input, C::Keepalive { sequence }))
        }
        10 => {
            let (input, sequence) = u64(input)?;
            Ok((input, C::CumulativeAck { sequence }))
        }
        11 => sequences(input),
        12 => {
            let (input, offset) = u64(input)?;
            let (input, heartbeat_interval) = u16(input)?;
            let (input, snapshot) = snapshot(input, budget)?;
            Ok((input, C::AckClone { offset, heartbeat_interval, snapshot }))
        }
        13 => {
            let (input, sequence) = u64(input)?;
            Ok((input, C::RetransmitFailed { sequence }))
        }
        _ => fail(start, DecodeReason::UnknownCommand(variant)),
    }
}

fn named<'a>(input: &'a [u8], field: &'static str, budget: &mut Budget) -> Parsed<'a, Value> {
    value(input, budget).map_err(within(Step::Field(field)))
}

fn entity(input: &[u8]) -> Parsed<'_, EntityId> {
    let (input, endpoint) = endpoint_id(input)?;
    let (input, object) = u64(input)?;
    Ok((input, EntityId { endpoint, object }))
}

fn expiry(input: &[u8]) -> Parsed<'_, Option<Timespan>> {
    let (input, flag) = u8(input)?;
    if flag == 0 {
        return Ok((input, None));
    }
    let (input, nanos) = u64(input)?;
    Ok((input, Some(Timespan::from_nanos(nanos.cast_signed()))))
}

/// Reads a varbyte count, and then that many u64. The vector grows while bytes are read. The count does not determine
/// an allocation, because a peer can send a false count.
fn sequences(input: &[u8]) -> Parsed<'_, CommandContent> {
    let (mut input, count) = varbyte(input)?;
    let mut sequences = Vec::new();
    for _ in 0..count {
        let (rest, sequence) = u64(input)?;
        sequences.push(sequence);
        input = rest;
    }
    Ok((input, CommandContent::Nack { sequences }))
}

/// Reads a varbyte count, and then that many pairs of a key and a value. The pairs may be in any order, because Broker's
/// C++ implementation does not sort them.
fn snapshot<'a>(start: &'a [u8], budget: &mut Budget) -> Parsed<'a, Vec<(Value, Value)>> {
    let (mut input, count) = varbyte(start)?;
    let mut pairs = Vec::new();
    for index in 0..count {
        let (rest, key) = value(input, budget).map_err(within(Step::TableKey(index)))?;
        let (rest, value) = value(rest, budget).map_err(within(Step::TableValue(index)))?;
        pairs.push((key, value));
        input = rest;
    }
    let mut keys: Vec<&Value> = pairs.iter().map(|(key, _)| key).collect();
    keys.sort_unstable();
    if keys.windows(2).any(|two| two.first() == two.last()) {
        return fail(start, DecodeReason::DuplicateKey);
    }
    Ok((input, pairs))
}

fn put_content(out: &mut impl BufMut, content: &CommandContent) -> Result<(), EncodeError> {
    use CommandContent as C;
    out.put_u8(content.variant());
    match content {
        C::Put { key, value, expiry, publisher } | C::Subtract { key, value, expiry, publisher } => {
            encode_value(key, out)?;
            encode_value(value, out)?;
            put_expiry(out, *expiry);
            put_entity(out, publisher);
        }
        C::PutUnique { key, value, expiry, who, request, publisher } => {
            encode_value(key, out)?;
            encode_value(value, out)?;
            put_expiry(out, *expiry);
            put_entity(out, who);
            out.put_u64(*request);
            put_entity(out, publisher);
        }
        C::PutUniqueResult { inserted, who, request, publisher } => {
            out.put_u8(u8::from(*inserted));
            put_entity(out, who);
            out.put_u64(*request);
            put_entity(out, publisher);
        }
        C::Erase { key, publisher } | C::Expire { key, publisher } => {
            encode_value(key, out)?;
            put_entity(out, publisher);
        }
        C::Add { key, value, init_type, expiry, publisher } => {
            encode_value(key, out)?;
            encode_value(value, out)?;
            out.put_u8(*init_type);
            put_expiry(out, *expiry);
            put_entity(out, publisher);
        }
        C::Clear { publisher } => put_entity(out, publisher),
        C::AttachWriter { offset, heartbeat_interval } => {
            out.put_u64(*offset);
            out.put_u16(*heartbeat_interval);
        }
        C::Keepalive { sequence } | C::CumulativeAck { sequence } | C::RetransmitFailed { sequence } => {
            out.put_u64(*sequence);
        }
        C::Nack { sequences } => {
            put_varbyte(out, "nack", sequences.len())?;
            sequences.iter().for_each(|sequence| out.put_u64(*sequence));
        }
        C::AckClone { offset, heartbeat_interval, snapshot } => {
            out.put_u64(*offset);
            out.put_u16(*heartbeat_interval);
            put_varbyte(out, "snapshot", snapshot.len())?;
            for (key, value) in snapshot {
                encode_value(key, out)?;
                encode_value(value, out)?;
            }
        }
    }
    Ok(())
}

fn put_entity(out: &mut impl BufMut, entity: &EntityId) {
    out.put_slice(entity.endpoint.as_bytes());
    out.put_u64(entity.object);
}

fn put_expiry(out: &mut impl BufMut, expiry: Option<Timespan>) {
    match expiry {
        Some(span) => {
            out.put_u8(1);
            out.put_i64(span.as_nanos());
        }
        None => out.put_u8(0),
    }
}

impl CommandContent {
    const fn variant(&self) -> u8 {
        match self {
            CommandContent::Put { .. } => 0,
            CommandContent::PutUnique { .. } => 1,
            CommandContent::PutUniqueResult { .. } => 2,
            CommandContent::Erase { .. } => 3,
            CommandContent::Expire { .. } => 4,
            CommandContent::Add { .. } => 5,
            CommandContent::Subtract { .. } => 6,
            CommandContent::Clear { .. } => 7,
            CommandContent::AttachWriter { .. } => 8,
            CommandContent::Keepalive { .. } => 9,
            CommandContent::CumulativeAck { .. } => 10,
            CommandContent::Nack { .. } => 11,
            CommandContent::AckClone { .. } => 12,
            CommandContent::RetransmitFailed { .. } => 13,
        }
    }

    /// Returns Broker's name of the command.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            CommandContent::Put { .. } => "put",
            CommandContent::PutUnique { .. } => "put_unique",
            CommandContent::PutUniqueResult { .. } => "put_unique_result",
            CommandContent::Erase { .. } => "erase",
            CommandContent::Expire { .. } => "expire",
            CommandContent::Add { .. } => "add",
            CommandContent::Subtract { .. } => "subtract",
            CommandContent::Clear { .. } => "clear",
            CommandContent::AttachWriter { .. } => "attach_writer",
            CommandContent::Keepalive { .. } => "keepalive",
            CommandContent::CumulativeAck { .. } => "cumulative_ack",
            CommandContent::Nack { .. } => "nack",
            CommandContent::AckClone { .. } => "ack_clone",
            CommandContent::RetransmitFailed { .. } => "retransmit_failed",
        }
    }
}
