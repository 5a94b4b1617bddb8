//! Measures the time per frame of the codec, for captured messages of Zeek (`fixtures/`) and for generated messages of
//! other sizes.

use std::hint::black_box;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use zeek_bridge::data::Value;
use zeek_bridge::wire::{
    Envelope, EnvelopeType, Limits, ValueRef, check_value, cut_frame, decode_value, encode_value,
};

/// Returns the payloads of the data messages that both sides sent in these fixtures.
fn payloads(fixtures: &[&str]) -> Vec<Bytes> {
    fixtures.iter().flat_map(|fixture| payloads_of(fixture)).collect()
}

fn payloads_of(fixture: &str) -> Vec<Bytes> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(fixture);
    let mut payloads = Vec::new();
    for side in ["connector.bin", "listener.bin"] {
        let mut stream = BytesMut::from(&*std::fs::read(folder.join(side)).unwrap());
        while let Some(frame) = cut_frame(&mut stream, Limits::DEFAULT.max_frame).unwrap() {
            // Handshake messages are too short to be decoded as envelopes.
            if let Ok(envelope) = Envelope::decode(&frame)
                && envelope.kind == EnvelopeType::Data
            {
                payloads.push(envelope.payload);
            }
        }
    }
    assert!(!payloads.is_empty(), "{fixture}");
    payloads
}

fn encoded(value: &Value) -> Vec<Bytes> {
    let mut bytes = BytesMut::new();
    encode_value(value, &mut bytes).unwrap();
    vec![bytes.freeze()]
}

fn event(args: usize) -> Value {
    let args = (0..args)
        .map(|n| Value::Vector(vec![Value::Count(7), Value::String(format!("argument {n}").into())]));
    let content = vec![Value::String("bench".into()), Value::Vector(args.collect())];
    Value::Vector(vec![Value::Count(1), Value::Count(1), Value::Vector(content)])
}

fn batch(events: usize) -> Value {
    let content = Value::Vector(vec![event(4); events]);
    Value::Vector(vec![Value::Count(1), Value::Count(5), content])
}

/// Measures the three readers (check, borrow, own) with all payloads, and the encoding of the values in the payloads.
fn bench_payloads(group: &mut BenchmarkGroup<'_, WallTime>, payloads: &[Bytes]) {
    let limits = Limits::DEFAULT;
    let bytes: usize = payloads.iter().map(Bytes::len).sum();
    group.throughput(Throughput::ElementsAndBytes {
        elements: payloads.len().try_into().unwrap(),
        bytes: bytes.try_into().unwrap(),
    });
    group.bench_function("check", |b| {
        b.iter(|| payloads.iter().for_each(|p| check_value(black_box(p), &limits).unwrap()));
    });
    group.bench_function("borrow", |b| {
        b.iter(|| {
            for payload in payloads {
                black_box(ValueRef::decode(black_box(payload), &limits).unwrap());
            }
        });
    });
    group.bench_function("own", |b| {
        b.iter(|| {
            for payload in payloads {
                black_box(decode_value(black_box(payload), &limits).unwrap());
            }
        });
    });
    let values: Vec<Value> = payloads.iter().map(|p| decode_value(p, &limits).unwrap()).collect();
    let mut out = BytesMut::with_capacity(bytes);
    group.bench_function("encode", |b| {
        b.iter(|| {
            out.clear();
            values.iter().for_each(|value| encode_value(black_box(value), &mut out).unwrap());
        });
    });
}

/// Captured messages of Zeek: the name of each set, and its fixtures.
const CAPTURED: [(&str, &[&str]); 4] = [
    ("management", &["node-worker", "node-manager"]),
    ("logs", &["cluster-logs"]),
    ("management-and-logs", &["node-worker", "node-manager", "cluster-logs"]),
    (
        "everything",
        &[
            "all-types",
            "cluster-logs",
            "event-metadata",
            "node-manager",
            "node-worker",
            "ping-pong-2.3.8",
            "ping-pong-2.6.0",
            "ping-pong-mixed",
            "supervisor",
        ],
    ),
];

fn codec(c: &mut Criterion) {
    for (name, fixtures) in CAPTURED {
        bench_payloads(&mut c.benchmark_group(name), &payloads(fixtures));
    }
    // Generated messages from about 60 bytes to 16 MiB. The time per byte should be the same for all sizes.
    for args in [1, 10, 1_000, 100_000, 600_000] {
        bench_payloads(&mut c.benchmark_group(format!("event-of-{args}")), &encoded(&event(args)));
    }
    for events in [1, 10, 100, 1_000, 10_000] {
        bench_payloads(&mut c.benchmark_group(format!("batch-of-{events}")), &encoded(&batch(events)));
    }
}

criterion_group!(benches, codec);
criterion_main!(benches);
