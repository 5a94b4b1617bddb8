//! `serde` for values and their parts: the structure of [`Value::to_json`], in every self-describing format.

use serde_core::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_core::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value as Json};

use super::read::{self, Rules, hex, member, parsed, read_as, unexpected};
use super::{AsJson, JsonError, JsonLimits, Value};
use crate::data::{
    Address, ByteString, EndpointId, Filter, MAX_DEPTH, Port, Set, Step, Subnet, Table, Timespan, Timestamp,
    Topic, WrongType,
};

/// Implements `Serialize` and `Deserialize` for a type, with its [`AsJson`] form and a function that reads the type
/// from JSON.
macro_rules! serde {
    ($($(#[$doc:meta])* $type:ty: |$this:ident| $shown:expr, |$json:ident| $read:expr;)*) => {$(
        $(#[$doc])*
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                let $this = self;
                AsJson($shown).serialize(to)
            }
        }

        $(#[$doc])*
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let $json = &Brackets(JsonLimits::DEFAULT.max_brackets()).deserialize(from)?;
                $read.map_err(D::Error::custom)
            }
        }
    )*};
}

serde! {
    /// The structure of [`Value::to_json`], and the errors of [`Value::from_json`].
    ///
    /// Only self-describing formats, such as JSON, CBOR and TOML, can be deserialized. For a compact format, use the
    /// wire format with [`encode_value`](crate::wire::encode_value) and [`decode_value`](crate::wire::decode_value).
    ///
    /// `serde_json::from_str` rejects brackets nested deeper than 128, which is the depth of 42 nested tables or 63
    /// nested vectors. [`Value::from_json_text`] accepts a depth of [`MAX_DEPTH`].
    Value: |value| value, |json| Value::from_json(json);
    /// Text: `1.2.3.4`.
    Address: |address| address, |json| read::address(json);
    /// Text: `10.0.0.0/8`.
    Subnet: |subnet| subnet, |json| read::subnet(json);
    /// Text: `80/tcp`.
    Port: |port| port, |json| read::port(json);
    /// Text: `2023-04-18T12:13:15.123`, in UTC. An integer of nanoseconds since 1970 is accepted as well.
    Timestamp: |timestamp| timestamp, |json| {
        if json.is_string() { read::timestamp_of_text(json) } else { read::timestamp_of_nanos(json) }
    };
    /// Text: `1500ms`. An integer of nanoseconds is accepted as well.
    Timespan: |timespan| timespan, |json| {
        if json.is_string() { read::timespan_of_text(json) } else { read::timespan_of_nanos(json) }
    };
    /// An array of values.
    Set: |set| set, |json| read::set(json, Rules::new(MAX_DEPTH));
    /// An array of `{"key": value, "value": value}`.
    Table: |table| table, |json| read::table(json, Rules::new(MAX_DEPTH));
    /// Text, or `{"hex": ..}` if the bytes are not UTF-8.
    ByteString: |bytes| bytes.as_bytes(), |json| bytes(json).map(ByteString::from);
    /// Text, or `{"hex": ..}` if the bytes are not UTF-8.
    Topic: |topic| topic.as_bytes(), |json| topic(json);
    /// An array of topics.
    Filter: |filter| filter, |json| filter(json);
    /// Text in the form of a UUID.
    EndpointId: |id| id, |json| read_as(json, "an endpoint id: xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", parsed);
}

fn bytes(json: &Json) -> Result<Vec<u8>, WrongType> {
    match json {
        Json::String(text) => Ok(text.as_bytes().to_vec()),
        Json::Object(_) => hex(member(json, "hex")?),
        other => Err(unexpected(r#"text or {"hex": ..}"#, other)),
    }
}

fn topic(json: &Json) -> Result<Topic, WrongType> {
    let bytes = bytes(json)?;
    Topic::new(bytes).map_err(|error| {
        WrongType::new(format!("a topic of at most {} bytes", Topic::MAX_LEN), format!("{}", error.length))
    })
}

fn filter(json: &Json) -> Result<Filter, WrongType> {
    let topics = read_as(json, "an array of topics", Json::as_array)?.iter().enumerate();
    topics.map(|(i, json)| topic(json).map_err(|error| error.within(Step::FilterTopic(i)))).collect()
}

/// Reads JSON with at most this many nested brackets, so that no input can exhaust the stack. Does not allocate memory
/// for lengths that the format announces in advance, because such a length may be false.
struct Brackets(usize);

impl Brackets {
    fn inside<E: Error>(&self) -> Result<Self, E> {
        self.0.checked_sub(1).map(Brackets).ok_or_else(|| E::custom(JsonError::TooDeep { limit: MAX_DEPTH }))
    }
}

impl<'de> DeserializeSeed<'de> for Brackets {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Json, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Brackets {
    type Value = Json;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a Broker value or a part of one, in the format of its JSON")
    }

    fn visit_bool<E>(self, boolean: bool) -> Result<Json, E> {
        Ok(boolean.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json, E> {
        Ok(number.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(text.into())
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_none<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Json, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = from.next_element_seed(self.inside()?)? {
            elements.push(element);
        }
        Ok(elements.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Json, A::Error> {
        let mut members = Map::new();
        while let Some(name) = from.next_key()? {
            members.insert(name, from.next_value_seed(self.inside()?)?);
        }
        Ok(members.into())
    }
}
