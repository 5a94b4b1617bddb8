//! Creates the seeds of the fuzz targets (`fuzz/seeds/`) from the fixtures.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::common::{Fixture, Phase, Side, golden_values};
use serde_json::Value as Json;
use zeek_bridge::management::NODE_TOPIC;
use zeek_bridge::wire::{Envelope, EnvelopeType, Limits, encode_value};
use zeek_bridge::zeek::{Event, ZeekMessage};
use zeek_bridge::zeromq::{LogBatch, LogHeader, LogRow};

/// Maximum size of a seed. Fuzzers work best with small inputs.
const MAX_SEED: usize = 1024;

/// Returns the seeds by target and name.
fn seeds() -> BTreeMap<(&'static str, String), Vec<u8>> {
    let mut seeds = BTreeMap::new();
    for golden in golden_values().into_iter().filter(|golden| golden.bytes.len() <= MAX_SEED) {
        // Names of reals have characters that are not valid on every file system.
        let name = golden.name.replace(|c: char| !c.is_ascii_alphanumeric() && !".+".contains(c), "-");
        seeds.insert(("value", name), golden.bytes.to_vec());
    }
    for fixture in Fixture::all() {
        for frame in &fixture.frames {
            let target = match frame.phase {
                Phase::Handshake => "handshake",
                Phase::Peered => "envelope",
            };
            // Use the shortest frame of each kind.
            let seed = seeds.entry((target, kind(&frame.json))).or_insert_with(|| frame.body().to_vec());
            if frame.body().len() < seed.len() {
                *seed = frame.body().to_vec();
            }
        }
        for side in Side::BOTH {
            let stream = fixture.stream(side);
            if (1..=MAX_SEED).contains(&stream.len()) {
                let chunks: [u8; 4] = [3, 1, 30, 7];
                let name = format!("{}-{side:?}", fixture.name).to_lowercase();
                seeds.insert(("frames", name), [&chunks[..], stream].concat());
            }
        }
    }
    for (name, seed) in json_texts() {
        seeds.insert(("json", name), seed);
    }
    for (name, seed) in payloads() {
        seeds.insert(("rules", name), seed);
    }
    for (name, seed) in peerings() {
        seeds.insert(("peering", name), seed);
    }
    for (name, seed) in web_sockets() {
        seeds.insert(("websocket", name), seed);
    }
    for (name, seed) in log_batches() {
        seeds.insert(("log_batch", name), seed);
    }
    for (name, seed) in zeromq_sessions() {
        seeds.insert(("zeromq", name), seed);
    }
    for (name, seed) in curve_commands() {
        seeds.insert(("curve", name), seed);
    }
    for (name, seed) in encrypted_sessions() {
        seeds.insert(("zeromq_curve", name), seed);
    }
    seeds.retain(|_, seed| seed.len() <= MAX_SEED);
    seeds
}

/// Returns the longest text of each type that Broker's library reads, and that it refuses.
fn json_texts() -> BTreeMap<String, Vec<u8>> {
    let mut seeds: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for line in include_str!("../../fixtures/json-v1/read.jsonl").lines() {
        let line: Json = serde_json::from_str(line).unwrap();
        let text = match line["text"].as_str() {
            Some(text) => text.as_bytes().to_vec(),
            None => data_encoding::HEXLOWER.decode(line["text_hex"].as_str().unwrap().as_bytes()).unwrap(),
        };
        let name = String::from_utf8_lossy(&text);
        let name = name.split("\"@data-type\":\"").nth(1).and_then(|rest| rest.split('"').next());
        let result = if line.get("value").is_some() { "read" } else { "refused" };
        let seed = seeds.entry(format!("{}-{result}", name.unwrap_or("other").to_lowercase())).or_default();
        if text.len() >= seed.len() {
            *seed = text;
        }
    }
    seeds
}

/// Returns the shortest payload of each kind of message. For the node API, also returns variants that the rules of a
/// bridge inspect.
fn payloads() -> BTreeMap<String, Vec<u8>> {
    let mut seeds: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for fixture in Fixture::all() {
        for frame in fixture.frames.iter().filter(|frame| frame.phase == Phase::Peered) {
            let envelope = Envelope::decode(&frame.body()).unwrap();
            if envelope.kind != EnvelopeType::Data {
                continue;
            }
            let mut name = kind(&frame.json);
            let is_api = envelope.topic == NODE_TOPIC;
            let message = envelope.value(&Limits::DEFAULT).ok().and_then(|v| ZeekMessage::from_value(v).ok());
            if let (true, Some(ZeekMessage::Event(event))) = (is_api, &message) {
                name = event.name.rsplit("::").next().unwrap().to_owned();
                let batch = ZeekMessage::Batch(vec![event.clone().into()]);
                let batch = ZeekMessage::Batch(vec![Event::new("e", ()).into(), batch]).into_value();
                let mut payload = Vec::new();
                encode_value(&batch, &mut payload).unwrap();
                shortest(&mut seeds, format!("{name}-in-batch"), payload);
                let nul = Event { name: format!("{}\0", event.name), ..event.clone() };
                let mut payload = Vec::new();
                encode_value(&ZeekMessage::from(nul).into_value(), &mut payload).unwrap();
                shortest(&mut seeds, format!("{name}-nul"), payload);
            }
            shortest(&mut seeds, name, envelope.payload.to_vec());
        }
    }
    seeds
}

fn shortest(seeds: &mut BTreeMap<String, Vec<u8>>, name: String, seed: Vec<u8>) {
    let kept = seeds.entry(name).or_insert_with(|| seed.clone());
    if seed.len() < kept.len() {
        *kept = seed;
    }
}

/// Operations on two peerings, as `src/fuzzing/peering.rs` reads them. A byte is twice the operation, plus 1 for the
/// second peering.
mod operation {
    pub(crate) const PUT_IN: u8 = 0;
    pub(crate) const ENVELOPE: u8 = 2 * 2;
    pub(crate) const ARRIVE: u8 = 2 * 3;
    pub(crate) const ADMIT: u8 = 2 * 5;
    pub(crate) const SEND: u8 = 2 * 8;
    pub(crate) const SET_FILTER: u8 = 2 * 9;
    pub(crate) const LEAVE: u8 = 2 * 10;
    pub(crate) const PING: u8 = 2 * 12;
    /// Flags of the settings: tight limits, the larger endpoint id, and the role of the listener.
    pub(crate) const TIGHT: u8 = 1;
    pub(crate) const LARGER: u8 = 2;
    pub(crate) const LISTENER: u8 = 4;
}

fn peerings() -> Vec<(String, Vec<u8>)> {
    use operation::*;
    let mut seeds = Vec::new();
    // The bytes of a captured side are the input of the first peering.
    for fixture in Fixture::all() {
        for side in Side::BOTH {
            let stream = fixture.stream(side);
            if !(1..=MAX_SEED / 2).contains(&stream.len()) {
                continue;
            }
            for id in [0, LARGER] {
                let mut seed = vec![id | if side == Side::Connector { LISTENER } else { 0 }];
                for chunk in stream.chunks(100) {
                    seed.extend([PUT_IN, chunk.len().try_into().unwrap()]);
                    seed.extend(chunk);
                    seed.push(ADMIT);
                }
                let name =
                    format!("{}-{side:?}-to-{}", fixture.name, if id == 0 { "small" } else { "large" });
                seeds.push((name.to_lowercase(), seed));
            }
        }
    }
    // The two peerings are connected.
    for settings in [0, LARGER, LISTENER, LARGER | LISTENER] {
        let mut seed = vec![settings, SET_FILTER, 2];
        for _ in 0..4 {
            seed.extend([ARRIVE, ADMIT, ARRIVE | 1, ADMIT | 1]);
        }
        seed.extend([SEND, 2, b'h', b'i', SEND | 1, 0, SET_FILTER | 1, 1, ARRIVE, ARRIVE | 1, PING]);
        seeds.push((format!("two-{settings}"), seed.clone()));
        let garbage = [&seed[..], &[PUT_IN, 4, 0, 0, 0, 0]].concat();
        seeds.push((format!("two-{settings}-and-garbage"), garbage));
        let byes = [&seed[..], &[ENVELOPE, 5, ENVELOPE, 5]].concat();
        seeds.push((format!("two-{settings}-and-bye-twice"), byes));
        seed.extend([LEAVE, SEND | 1, 1, b'x', ARRIVE | 1, ARRIVE]);
        seeds.push((format!("two-{settings}-and-one-leaves"), seed));
    }
    // A frame that is too large for a handshake under tight limits.
    let mut large = vec![TIGHT, PUT_IN, 154, 0, 0, 0, 200];
    large.extend([0; 150]);
    seeds.push(("large-handshake".to_owned(), large));
    seeds
}

/// Returns the captured streams of ZeroMQ connections, and parts of them for an established session.
fn zeromq_sessions() -> Vec<(String, Vec<u8>)> {
    /// The settings, as `src/fuzzing/zeromq.rs` reads them: the socket of this side, and flags.
    const SOCKETS: [(&[u8], u8); 4] = [(b"XSUB", 0), (b"XPUB", 1), (b"PULL", 2), (b"PUSH", 3)];
    const TIGHT: u8 = 4;
    const ESTABLISHED: u8 = 8;
    /// The length of a greeting with a READY.
    const OPENING: usize = 92;
    let mut seeds = Vec::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/zeromq");
    for kind in ["cluster", "json", "reconnect"] {
        for entry in fs::read_dir(folder.join(kind)).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap();
            let Some((number, side)) = stem.split_once('-') else { continue };
            let stream = fs::read(&path).unwrap();
            let Some(opening) = stream.get(..OPENING) else { continue };
            let Some((_, socket)) = SOCKETS.iter().find(|(name, _)| opening.ends_with(name)) else {
                continue;
            };
            let mut add = |what: &str, settings: u8, stream: &[u8]| {
                let stream = stream.get(..MAX_SEED - 6).unwrap_or(stream);
                let name = format!("{kind}-{number}-{side}{what}");
                seeds.push((name, [&[settings | socket, 3, 1, 30, 7][..], stream].concat()));
            };
            add("", 0, &stream);
            add("-established", ESTABLISHED, &stream[OPENING..]);
            add("-tight", ESTABLISHED | TIGHT, &stream[OPENING..]);
        }
    }
    seeds
}

/// Returns operations on two sessions with CURVE, as `src/fuzzing/zeromq_curve.rs` reads them.
fn encrypted_sessions() -> Vec<(String, Vec<u8>)> {
    const PUBLISH: u8 = 0;
    const SUBSCRIBE: u8 = 2;
    const SOME: u8 = 2 * 2;
    const ALL: u8 = 2 * 3;
    const CHANGE: u8 = 2 * 4;
    const CUT: u8 = 2 * 5;
    const REPEAT: u8 = 2 * 6;
    const ADD: u8 = 2 * 7;
    const TO_SUBSCRIBER: u8 = 1;
    let mut seeds = Vec::new();
    for settings in [0, 1] {
        let opening = [&[settings][..], &[ALL | TO_SUBSCRIBER, ALL].repeat(4)].concat();
        let messages = [PUBLISH, 0, PUBLISH, 100, SUBSCRIBE, 7];
        let partial = [SOME | TO_SUBSCRIBER, 20, SOME, 3, ALL, PUBLISH, 3];
        let mut add =
            |name: &str, parts: &[&[u8]]| seeds.push((format!("{name}-{settings}"), parts.concat()));
        add("messages", &[&opening, &messages, &partial]);
        for (name, operation) in [
            ("changed", &[CHANGE | TO_SUBSCRIBER, 30, 1][..]),
            ("cut", &[CUT | TO_SUBSCRIBER, 5]),
            ("repeated", &[REPEAT | TO_SUBSCRIBER, 200]),
            ("added", &[ADD, 0]),
        ] {
            add(name, &[&opening, &messages, operation, &partial]);
            add(&format!("handshake-{name}"), &[&[settings], operation, &opening[1..], &messages]);
        }
    }
    seeds
}

/// Returns the captured streams of the WebSocket API, and parts of them for an established session.
fn web_sockets() -> Vec<(String, Vec<u8>)> {
    /// Flags of the settings, as `src/fuzzing/websocket.rs` reads them.
    const CLIENT: u8 = 1;
    const TIGHT: u8 = 2;
    const ESTABLISHED: u8 = 4;
    let mut seeds = Vec::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/websocket");
    for kind in ["broker", "clients", "errors"] {
        for entry in fs::read_dir(folder.join(kind)).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap();
            let Some((number, side)) = stem.split_once('-') else { continue };
            let role = if side == "listener" { CLIENT } else { 0 };
            let stream = fs::read(&path).unwrap();
            let mut add = |what: &str, settings: u8, stream: &[u8]| {
                let stream = stream.get(..MAX_SEED - 6).unwrap_or(stream);
                let name = format!("{kind}-{number}-{side}{what}");
                seeds.push((name, [&[settings | role, 3, 1, 30, 7][..], stream].concat()));
            };
            match stream.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(end) if kind != "errors" => {
                    add("-established", ESTABLISHED, &stream[end + 4..]);
                    add("-tight", ESTABLISHED | TIGHT, &stream[end + 4..]);
                }
                _ => add("", 0, &stream),
            }
        }
    }
    seeds
}

/// Returns the smallest captured log batch of each stream and number of rows, and a batch for each type of field.
fn log_batches() -> BTreeMap<String, Vec<u8>> {
    let mut seeds = BTreeMap::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/zeromq");
    for kind in ["all-types", "cluster", "json", "reconnect"] {
        let folder = folder.join(kind);
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap();
            if path.extension().is_none_or(|extension| extension != "bin") || !stem.ends_with("-connector") {
                continue;
            }
            for batch in batches(&fs::read(&path).unwrap()) {
                let decoded = LogBatch::decode(&batch, &Limits::DEFAULT).unwrap();
                let stream = String::from_utf8_lossy(decoded.header().stream).replace("::", "-");
                let rows: Vec<_> = decoded.rows().map(LogRow::into_values).collect();
                shortest(&mut seeds, format!("{stream}-{}", rows.len()).to_lowercase(), batch.clone());
                // The captured batch of all types is larger than a seed.
                for (field, value) in decoded.header().fields.iter().zip(&rows[0]) {
                    let header = LogHeader { fields: vec![*field], ..decoded.header().clone() };
                    let mut seed = Vec::new();
                    header.encode(&[vec![value.clone()]], &mut seed).unwrap();
                    let name = match field.kind.is_container() {
                        true => format!("type-{}-{}", field.kind.name(), field.subtype.name()),
                        false => format!("type-{}", field.kind.name()),
                    };
                    shortest(&mut seeds, name, seed);
                }
            }
        }
    }
    seeds
}

/// Returns the log batches in a captured stream of ZMTP: the parts after those with the name of the format.
fn batches(mut stream: &[u8]) -> Vec<Vec<u8>> {
    let mut batches = Vec::new();
    let mut is_batch = false;
    stream = &stream[64..];
    while let [flags, rest @ ..] = stream {
        let (size, rest) = if flags & 2 == 0 {
            (usize::from(rest[0]), &rest[1..])
        } else {
            let (size, rest) = rest.split_first_chunk().unwrap();
            (usize::try_from(u64::from_be_bytes(*size)).unwrap(), rest)
        };
        let (body, rest) = rest.split_at(size);
        if is_batch {
            batches.push(body.to_vec());
        }
        is_batch = body == b"zeek-bin-serializer";
        stream = rest;
    }
    batches
}

/// Returns captured commands of CURVE with the text of their boxes, and the valid commands of the target.
fn curve_commands() -> Vec<(String, Vec<u8>)> {
    /// Settings, as `src/fuzzing/curve.rs` reads them.
    const SEALED: u8 = 8;
    const CHANGED: u8 = 16;
    let stages = ["hello", "welcome", "initiate", "ready", "message-of-client", "message-of-server"];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/zeromq/curve-open");
    let mut seeds = BTreeMap::new();
    for line in fs::read_to_string(folder.join("plaintext.jsonl")).unwrap().lines() {
        let line: Json = serde_json::from_str(line).unwrap();
        let side = line["from"].as_str().unwrap();
        let command = line["command"].as_str().unwrap().to_lowercase();
        let sender = if side == "connector" { "client" } else { "server" };
        let name = if command == "message" { format!("message-of-{sender}") } else { command };
        let stage = stages.iter().position(|stage| *stage == name).unwrap();
        let stage = u8::try_from(stage).unwrap();
        let stream =
            fs::read(folder.join(format!("{}-{side}.bin", line["connection"].as_str().unwrap()))).unwrap();
        let number = |name: &str| usize::try_from(line[name].as_u64().unwrap()).unwrap();
        let frame = &stream[number("offset")..][..number("length")];
        let body = &frame[if frame[0] & 2 == 0 { 2 } else { 9 }..];
        let text = data_encoding::HEXLOWER.decode(line["plaintext"].as_str().unwrap().as_bytes()).unwrap();
        let flags = line["message_flags"].as_u64().map(|flags| u8::try_from(flags).unwrap());
        let text: Vec<u8> = flags.into_iter().chain(text).collect();
        seeds.entry(name.clone()).or_insert_with(|| [&[stage], body].concat());
        seeds.entry(format!("{name}-sealed")).or_insert_with(|| [&[stage | SEALED], &text[..]].concat());
        seeds.entry(format!("{name}-valid")).or_insert_with(|| vec![stage | CHANGED]);
        seeds.entry(format!("{name}-changed")).or_insert_with(|| vec![stage | CHANGED, 0, 30, 1, 0, 6, 128]);
    }
    assert_eq!(seeds.len(), 4 * stages.len());
    seeds.into_iter().collect()
}

/// Returns the type of a message, with the name of a command or the kind of a Zeek message.
fn kind(message: &Json) -> String {
    let kind = message["type"].as_str().unwrap();
    if let Some(magic) = message["wrong_magic"].as_str() {
        return format!("{kind}-{magic}");
    }
    match kind {
        "command" => {
            let text = message["text"].as_str().unwrap();
            // "command(TOPIC, broker::internal_command(SEQUENCE, SENDER, RECEIVER, NAME(..", where
            // no part before the name contains a comma.
            let name = text.split(", ").nth(4).unwrap().split('(').next().unwrap();
            format!("{kind}-{name}")
        }
        "data" => {
            let zeek = message.pointer("/value/data/1/data").and_then(Json::as_u64);
            let parts = message.pointer("/value/data/2/data").and_then(Json::as_array).map_or(0, Vec::len);
            zeek.map_or_else(|| kind.to_owned(), |zeek| format!("{kind}-{zeek}-{parts}"))
        }
        _ => kind.to_owned(),
    }
}

#[test]
fn the_committed_seeds_match_the_fixtures() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    for ((target, name), seed) in seeds() {
        let file = folder.join(target).join(&name);
        if std::env::var_os("UPDATE_SEEDS").is_some() {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, &seed).unwrap();
        }
        let committed = fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        assert_eq!(
            committed, seed,
            "{target}/{name} is out of date; run the test with UPDATE_SEEDS=1 to update it"
        );
    }
}
