//! Replaces secret and personal content by pseudonyms.

use aws_lc_rs::{digest, hmac};
use bytes::{BufMut, Bytes, BytesMut};
use data_encoding::HEXLOWER;
use zeek_bridge::data::{Address, ByteString, EndpointId, Subnet, Value};
use zeek_bridge::trace::{Content, Frame, FrameReader, Side};
use zeek_bridge::wire::{
    Command, CommandContent, EncodeError, Envelope, EnvelopeType, Handshake, LENGTH_FIELD, Limits,
    encode_value,
};
use zeek_bridge::zeek::{Event, LogWrite, ZeekMessage};

use crate::scalars::map_scalars;

/// The bits of a byte, the highest first.
const BITS: [u8; 8] = [0x80, 0x40, 0x20, 0x10, 8, 4, 2, 1];

/// Maps the same content to the same pseudonym during one run. The key is random and never stored. Without it, a guess of the
/// content cannot be verified.
#[derive(Clone, Debug)]
pub(super) struct Pseudonyms(hmac::Key);

impl Pseudonyms {
    pub(super) fn new() -> std::io::Result<Self> {
        let random = [EndpointId::random()?, EndpointId::random()?];
        let key: Vec<u8> = random.iter().flat_map(|id| id.as_bytes()).copied().collect();
        Ok(Pseudonyms(hmac::Key::new(hmac::HMAC_SHA256, &key)))
    }

    fn hash(&self, of: &[&[u8]]) -> [u8; digest::SHA256_OUTPUT_LEN] {
        let mut context = hmac::Context::with_key(&self.0);
        of.iter().for_each(|part| context.update(part));
        let mut hash = [0; digest::SHA256_OUTPUT_LEN];
        hash.copy_from_slice(context.sign().as_ref());
        hash
    }

    /// Returns `s-` and 16 digits. The empty string and UUIDs are not changed.
    fn string(&self, text: &ByteString) -> ByteString {
        let is_uuid = text.as_str().is_some_and(|text| text.parse::<EndpointId>().is_ok());
        if text.is_empty() || is_uuid {
            return text.clone();
        }
        let hash = self.hash(&[b"string", text.as_bytes()]);
        format!("s-{}", HEXLOWER.encode(hash.first_chunk::<8>().unwrap_or(&[0; 8]))).into()
    }

    /// Returns a pseudonym of an address. Addresses with a common prefix have pseudonyms with a common prefix, as in
    /// Crypto-PAn: the decision to flip a bit depends only on the bits before it. One hash is computed for each byte. It has
    /// one bit for each of the 255 possible prefixes within the byte. The constant prefix of IPv4 addresses is not changed.
    fn address(&self, address: Address, bits: u8) -> Address {
        let known = address.as_bytes();
        let (family, first) = if address.is_v4() { (4, 12) } else { (6, 0) };
        let mut pseudonym = *known;
        let mut rest = usize::from(bits.min(128)).saturating_sub(BITS.len().saturating_mul(first));
        for (index, (byte, out)) in known.iter().zip(&mut pseudonym).enumerate().skip(first) {
            let turns = self.hash(&[b"address", &[family], known.get(..index).unwrap_or_default()]);
            // A 1, followed by the bits of this byte that were processed so far.
            let mut seen = 1u8;
            for bit in BITS.into_iter().take(rest) {
                let turn = turns.get(usize::from(seen >> 3)).zip(BITS.get(usize::from(seen & 7)));
                if turn.is_some_and(|(turns, turn)| turns & turn != 0) {
                    *out ^= bit;
                }
                seen = seen << 1 | u8::from(byte & bit != 0);
            }
            rest = rest.saturating_sub(BITS.len());
            if rest == 0 {
                break;
            }
        }
        Address::from_bytes(pseudonym)
    }

    fn value(&self, value: Value) -> Value {
        map_scalars(value, &mut |leaf| match leaf {
            Value::String(text) => Value::String(self.string(&text)),
            Value::Address(address) => Value::Address(self.address(address, 128)),
            Value::Subnet(subnet) => {
                let network = self.address(subnet.network(), subnet.wire_length());
                Subnet::new(network, subnet.length()).map_or(Value::None, Value::Subnet)
            }
            other => other,
        })
    }

    /// Redacts a data message. Names in Zeek's messages are not changed.
    fn data(&self, value: Value) -> Value {
        match ZeekMessage::from_value(value.clone()) {
            Ok(message) => self.message(message).into_value(),
            Err(_) => self.value(value),
        }
    }

    fn message(&self, message: ZeekMessage) -> ZeekMessage {
        match message {
            ZeekMessage::Event(event) => ZeekMessage::Event(Event {
                name: event.name,
                args: event.args.into_iter().map(|value| self.value(value)).collect(),
                metadata: event
                    .metadata
                    .map(|entries| entries.into_iter().map(|(id, value)| (id, self.value(value))).collect()),
            }),
            // The names and types of the columns stay, because a reader of the rows needs them.
            ZeekMessage::LogCreate(mut create) => {
                create.writer_info = self.value(create.writer_info);
                ZeekMessage::LogCreate(create)
            }
            ZeekMessage::LogWrite(write) => {
                ZeekMessage::LogWrite(LogWrite { rows: vec![0; write.rows.len()].into(), ..write })
            }
            ZeekMessage::IdentifierUpdate(mut update) => {
                update.value = self.value(update.value);
                ZeekMessage::IdentifierUpdate(update)
            }
            ZeekMessage::Batch(messages) => {
                ZeekMessage::Batch(messages.into_iter().map(|message| self.message(message)).collect())
            }
        }
    }

    fn command(&self, mut command: Command) -> Command {
        use CommandContent as C;
        let redact = |value: &mut Value| *value = self.value(std::mem::take(value));
        match &mut command.content {
            C::Put { key, value, .. }
            | C::PutUnique { key, value, .. }
            | C::Add { key, value, .. }
            | C::Subtract { key, value, .. } => [key, value].into_iter().for_each(redact),
            C::Erase { key, .. } | C::Expire { key, .. } => redact(key),
            C::AckClone { snapshot, .. } => {
                snapshot.iter_mut().flat_map(|(key, value)| [key, value]).for_each(redact);
            }
            C::PutUniqueResult { .. }
            | C::Clear { .. }
            | C::AttachWriter { .. }
            | C::Keepalive { .. }
            | C::CumulativeAck { .. }
            | C::Nack { .. }
            | C::RetransmitFailed { .. } => {}
        }
        command
    }

    /// Redacts a frame. If the result is too long to be read again, it is replaced by zeros.
    fn frame(&self, frame: &Frame) -> BytesMut {
        let mut out = BytesMut::new();
        let written = match &frame.content {
            Ok(Content::Handshake(message)) => self.handshake(message).encode(&mut out),
            Ok(Content::Envelope(envelope)) => {
                self.envelope(envelope).and_then(|envelope| envelope.encode(&mut out))
            }
            // The frame cannot be decoded, so its secret parts are unknown.
            Ok(Content::WebSocket(_) | Content::ZeroMq(_)) | Err(_) => {
                zeros(frame, &mut out);
                Ok(())
            }
        };
        if written.is_err() || out.len() > Limits::DEFAULT.max_frame.saturating_add(LENGTH_FIELD) {
            out.clear();
            zeros(frame, &mut out);
        }
        out
    }

    fn handshake(&self, message: &Handshake) -> Handshake {
        match message {
            Handshake::DropConn { sender, code, description } => {
                Handshake::DropConn { sender: *sender, code: *code, description: self.string(description) }
            }
            other => other.clone(),
        }
    }

    fn envelope(&self, envelope: &Envelope) -> Result<Envelope, EncodeError> {
        let mut payload = BytesMut::new();
        match envelope.kind {
            EnvelopeType::Data => {
                // Cannot fail: it was decoded before.
                let value = envelope.value(&Limits::DEFAULT).unwrap_or_default();
                encode_value(&self.data(value), &mut payload)?;
            }
            EnvelopeType::Command => match envelope.command(&Limits::DEFAULT) {
                Ok(command) => self.command(command).encode(&mut payload)?,
                Err(_) => payload.put_bytes(0, envelope.payload.len()),
            },
            EnvelopeType::RoutingUpdate | EnvelopeType::Ping | EnvelopeType::Pong => {
                return Ok(envelope.clone());
            }
        }
        Ok(Envelope { payload: payload.freeze(), ..envelope.clone() })
    }
}

/// Appends a frame of the same length with zeros as content.
fn zeros(frame: &Frame, out: &mut BytesMut) {
    // Cannot fail: the length was read from a length field.
    out.put_u32(frame.body.len().try_into().unwrap_or(u32::MAX));
    out.put_bytes(0, frame.body.len());
}

/// Redacts the bytes of both sides.
#[derive(Debug)]
pub(super) struct Redactor {
    pseudonyms: Pseudonyms,
    sides: [Redacted; 2],
}

#[derive(Debug)]
struct Redacted {
    frames: FrameReader,
    /// True after a framing error: the start of the next frame is unknown.
    broken: bool,
}

impl Redactor {
    pub(super) fn new(pseudonyms: Pseudonyms) -> Self {
        // Of a different protocol, nothing is kept.
        let sides = Side::BOTH.map(|_| Redacted { frames: FrameReader::broker(), broken: false });
        Redactor { pseudonyms, sides }
    }

    /// Returns the redacted form of bytes that the side `from` sent. Incomplete frames are buffered.
    pub(super) fn input(&mut self, from: Side, bytes: &[u8]) -> Bytes {
        let [connector, listener] = &mut self.sides;
        let side = if from == Side::Connector { connector } else { listener };
        let mut out = BytesMut::new();
        if side.broken {
            out.put_bytes(0, bytes.len());
            return out.freeze();
        }
        side.frames.buffer().extend_from_slice(bytes);
        loop {
            match side.frames.next_frame() {
                Ok(Some(frame)) => out.unsplit(self.pseudonyms.frame(&frame)),
                Ok(None) => return out.freeze(),
                Err(_) => {
                    side.broken = true;
                    out.put_bytes(0, side.frames.partial_frame().len().max(LENGTH_FIELD));
                    return out.freeze();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use zeek_bridge::trace::{Conversation, Protocol};

    fn frames(stream: &[u8], side: Side) -> Vec<Frame> {
        Conversation::default().input(side, 0, stream).map(|entry| entry.frame.unwrap()).collect()
    }

    #[test]
    fn every_redacted_fixture_is_readable_and_does_not_depend_on_chunks() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
        let mut seen = 0;
        for folder in fs::read_dir(fixtures).unwrap().map(|entry| entry.unwrap().path()) {
            for side in Side::BOTH {
                let Ok(stream) = fs::read(folder.join(format!("{}.bin", side.name()))) else { continue };
                let pseudonyms = Pseudonyms::new().unwrap();
                let redacted = Redactor::new(pseudonyms.clone()).input(side, &stream);
                let mut redactor = Redactor::new(pseudonyms);
                let pieces: Vec<Bytes> = stream.chunks(7).map(|piece| redactor.input(side, piece)).collect();
                assert_eq!(pieces.concat(), redacted);
                let (before, after) = (frames(&stream, side), frames(&redacted, side));
                assert_eq!(before.len(), after.len());
                for (before, after) in before.into_iter().zip(after) {
                    assert_eq!(before.peered, after.peered);
                    match (before.content, after.content) {
                        (Ok(Content::Envelope(before)), Ok(Content::Envelope(after))) => {
                            assert_eq!((before.topic, before.kind), (after.topic, after.kind));
                        }
                        (Ok(Content::Handshake(before)), Ok(Content::Handshake(after))) => {
                            assert_eq!(before.name(), after.name());
                        }
                        (Err(_), Err(_)) => assert!(after.body.iter().all(|byte| *byte == 0)),
                        other => panic!("{other:?}"),
                    }
                    seen += 1;
                }
            }
        }
        assert!(seen > 300, "{seen}");
    }

    #[test]
    fn addresses_keep_common_prefixes_and_stay_in_their_subnets() {
        let pseudonyms = Pseudonyms::new().unwrap();
        let all = [
            "192.0.2.1",
            "192.0.2.2",
            "192.0.3.1",
            "10.0.0.1",
            "0.0.0.0",
            "2001:db8::1",
            "2001:db8:1::1",
            "::",
        ]
        .map(|address| address.parse::<Address>().unwrap());
        let common = |a: Address, b: Address| {
            (u128::from_be_bytes(*a.as_bytes()) ^ u128::from_be_bytes(*b.as_bytes())).leading_zeros()
        };
        for a in all {
            let a_now = pseudonyms.address(a, 128);
            assert_eq!(a_now.is_v4(), a.is_v4());
            assert_eq!(pseudonyms.address(a, 128), a_now);
            for b in all.into_iter().filter(|b| b.is_v4() == a.is_v4()) {
                assert_eq!(common(a_now, pseudonyms.address(b, 128)), common(a, b), "{a} {b}");
            }
            for length in [0, 1, 8, 24, 31, 32] {
                let subnet = Subnet::new(a, length).unwrap();
                let Value::Subnet(now) = pseudonyms.value(Value::Subnet(subnet)) else { panic!() };
                assert_eq!(now, Subnet::new(a_now, length).unwrap());
            }
        }
        let other = Pseudonyms::new().unwrap();
        assert!(
            all.into_iter().any(|address| other.address(address, 128) != pseudonyms.address(address, 128))
        );
    }

    #[test]
    fn unreadable_bytes_are_replaced_by_zeros() {
        let secret = b"\0\0\0\x06secretGET / HTTP/1.1 secret".to_vec();
        let mut redactor = Redactor::new(Pseudonyms::new().unwrap());
        let mut out = redactor.input(Side::Connector, &secret).to_vec();
        out.extend(redactor.input(Side::Connector, b"secret"));
        assert_eq!(out, [&b"\0\0\0\x06"[..], &[0; 6 + 21 + 6]].concat());
    }

    #[test]
    fn a_frame_that_would_be_too_long_is_replaced_by_zeros_and_the_next_is_readable() {
        let frame = |payload: &Value| {
            let mut out = BytesMut::new();
            let topic = zeek_bridge::data::Topic::from_static("/t");
            Envelope::data(EndpointId::from_bytes([1; 16]), topic, payload)
                .unwrap()
                .encode(&mut out)
                .unwrap();
            out.freeze()
        };
        // Each string takes 3 bytes, and its pseudonym takes 20 bytes. The enum value is not changed.
        let text = Value::from("x");
        let stays = Value::EnumValue("x".repeat(Limits::DEFAULT.max_frame - 100_000).into());
        let many = vec![text.clone(); 20_000].into_iter().chain([stays]);
        let (long, short) = (frame(&Value::Vector(many.collect())), frame(&text));
        assert!(long.len() < Limits::DEFAULT.max_frame);
        let mut redactor = Redactor::new(Pseudonyms::new().unwrap());
        redactor.sides = Side::BOTH
            .map(|side| FrameReader::continued(Protocol::Broker, side))
            .map(|frames| Redacted { frames, broken: false });
        let out = redactor.input(Side::Connector, &[&long[..], &short[..]].concat());
        let lines: Vec<_> =
            Conversation::continued(Protocol::Broker).input(Side::Connector, 0, &out).collect();
        let [first, second] = &lines[..] else { panic!("{}", lines.len()) };
        let first = first.frame.as_ref().unwrap();
        assert_eq!(first.body.len(), long.len() - LENGTH_FIELD);
        assert!(first.body.iter().all(|byte| *byte == 0));
        assert!(matches!(&second.frame.as_ref().unwrap().content, Ok(Content::Envelope(_))));
    }
}
