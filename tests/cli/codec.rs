//! The commands `decode` and `encode`, and the command line in general.

use std::fs;
use std::io::{Read, Write};
use std::process::Stdio;

use crate::common::{Fixture, Phase, Side, golden_values, same_json};
use crate::program::child::{Running, within};
use crate::program::{Program, command};
use data_encoding::HEXLOWER;
use serde_json::{Value as Json, json};

fn joined(lines: impl IntoIterator<Item = String>) -> String {
    lines.into_iter().map(|line| line + "\n").collect()
}

#[track_caller]
fn assert_same(found: &[Json], expected: &[Json]) {
    for (line, (found, expected)) in (1..).zip(found.iter().zip(expected)) {
        assert!(same_json(found, expected), "line {line}: {found} for {expected}");
    }
    assert_eq!(found.len(), expected.len());
}

#[test]
fn every_golden_value_is_decoded_and_encoded() {
    let golden = golden_values();
    let hex: Vec<String> = golden.iter().map(|value| HEXLOWER.encode(&value.bytes)).collect();
    let decoded = Program::run("decode --value", joined(hex.clone()));
    assert_eq!((decoded.code, decoded.stderr.as_str()), (Some(0), ""));
    let expected: Vec<Json> = golden.into_iter().map(|value| value.json).collect();
    assert_same(&decoded.json(), &expected);

    let encoded = Program::run("encode", joined(decoded.stdout));
    assert_eq!((encoded.code, encoded.stderr.as_str()), (Some(0), ""));
    assert_eq!(encoded.stdout, hex);
}

/// Text from peers may be printed on a terminal.
#[test]
fn decoded_values_do_not_affect_a_terminal() {
    let text = "a\u{9b}2J\u{202e}\u{7f}b";
    let hex = format!("05{:02x}{}", text.len(), HEXLOWER.encode(text.as_bytes()));
    let end = Program::run("decode --value", hex);
    assert_eq!((end.code, end.stderr.as_str()), (Some(0), ""), "{end:?}");
    assert!(end.stdout[0].contains(r"a\u009b2J\u202e\u007fb"), "{end:?}");
    assert_eq!(end.json()[0]["data"], text);
}

/// A different program that shares the terminal may have set it to non-blocking mode.
#[test]
fn no_output_is_lost_if_stdout_is_full_and_in_non_blocking_mode() {
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    // The pipe is full before the first line.
    let mut filled = 0;
    while let Ok(count) = writer.write(&[b'x'; 4096]) {
        filled += count;
    }
    let lines = tempfile::NamedTempFile::new().unwrap();
    fs::write(lines.path(), "00\n".repeat(10)).unwrap();
    let mut command = command(["decode", "--value", lines.path().to_str().unwrap()]);
    let mut child = command.stdin(Stdio::null()).stdout(writer).spawn().unwrap();
    drop(command);
    // When the program sleeps or has ended, it has tried to write.
    let stat = format!("/proc/{}/stat", child.id());
    while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") S ") && !stat.contains(") Z ")) {
        std::thread::yield_now();
    }
    let mut all = Vec::new();
    reader.read_to_end(&mut all).unwrap();
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(0), ""));
    assert_eq!(all[filled..].iter().filter(|byte| **byte == b'\n').count(), 10);
}

#[test]
fn every_captured_envelope_is_decoded() {
    let (mut hex, mut expected) = (Vec::new(), Vec::new());
    for frame in Fixture::all().iter().flat_map(|fixture| &fixture.frames) {
        if frame.phase == Phase::Peered {
            hex.push(HEXLOWER.encode(&frame.body()));
            expected.push(frame.json.clone());
        }
    }
    let decoded = Program::run("decode --envelope", joined(hex));
    assert_eq!((decoded.code, decoded.stderr.as_str()), (Some(0), ""));
    assert_same(&decoded.json(), &expected);
}

#[test]
fn every_captured_stream_is_decoded_frame_by_frame() {
    for name in Fixture::names() {
        let fixture = Fixture::load(&name);
        for (side, file) in Side::BOTH.into_iter().zip(["connector.bin", "listener.bin"]) {
            let path = format!("{}/fixtures/{name}/{file}", env!("CARGO_MANIFEST_DIR"));
            let decoded = Program::run(&format!("decode --stream {path}"), "");
            if (name.as_str(), side) == ("drop-magic", Side::Connector) {
                assert_eq!(decoded.code, Some(1));
                assert!(decoded.stdout[0].contains("wrong magic number"), "{decoded:?}");
                continue;
            }
            assert_eq!((decoded.code, decoded.stderr.as_str()), (Some(0), ""), "{name}");
            let expected: Vec<Json> = fixture
                .from(side)
                .enumerate()
                .map(|(index, frame)| {
                    let (phase, part) = match frame.phase {
                        Phase::Handshake => ("handshake", "message"),
                        Phase::Peered => ("peered", "envelope"),
                    };
                    let (offset, length) = (frame.offset, frame.bytes.len());
                    json!({"index": index, "offset": offset, "length": length, "phase": phase, part: frame.json})
                })
                .collect();
            assert_same(&decoded.json(), &expected);
            for (index, line) in decoded.stdout.iter().enumerate() {
                let start = format!(r#"{{"index":{index},"offset":{},"length":"#, expected[index]["offset"]);
                assert!(line.starts_with(&start), "{line}");
            }
            let piped = Program::run("decode --stream -", fixture.stream(side));
            assert_eq!((piped.code, piped.stdout), (Some(0), decoded.stdout), "{name} {file}");
        }
    }
}

#[test]
fn an_invalid_line_of_hex_is_reported_and_the_rest_is_decoded() {
    let lines: &[u8] = b"00\n  \n0x00\n0\n0e02000f\n\xff\xfe\n  0101\r\n01ff00";
    let decoded = Program::run("decode --value", lines);
    assert_eq!(decoded.code, Some(1), "{decoded:?}");
    decoded.has_said(&["error: 5 of 7 lines could not be decoded"]);
    let bad = |error: &str, offset: u64, line: u64| json!({"error": error, "offset": offset, "line": line});
    assert_eq!(
        decoded.json(),
        [
            json!({"@data-type": "none", "data": {}}),
            bad("not hex: character 2 is not a hexadecimal digit", 0, 3),
            bad("not hex: an odd number of digits (1)", 0, 4),
            bad("byte 3, vector element 1: unknown value tag 15", 3, 5),
            bad("not hex: character 1 is not a hexadecimal digit", 0, 6),
            json!({"@data-type": "boolean", "data": true}),
            bad("byte 2: trailing bytes: 1", 2, 8),
        ]
    );
    let envelope = Program::run("decode --envelope", "00\n");
    assert_eq!(envelope.json()[0]["offset"], 0, "{envelope:?}");
    assert_eq!(envelope.code, Some(1));
}

#[test]
fn an_invalid_line_of_json_is_reported_and_the_rest_is_encoded() {
    let lines: &[u8] = b"{\"@data-type\":\"count\",\"data\":1}\n\
        {\"@data-type\":\"count\",\"data\":}\n\
        {\"@data-type\":\"count\",\"data\":-1}\n\
        \"\xff\"\n\
        {\"@data-type\":\"boolean\",\"data\":true}\n";
    let encoded = Program::run("encode", lines);
    assert_eq!(encoded.code, Some(1), "{encoded:?}");
    encoded.has_said(&["error: 3 of 5 lines could not be encoded"]);
    assert_eq!((encoded.stdout[0].as_str(), encoded.stdout[4].as_str()), ("020000000000000001", "0101"));
    let bad: Vec<Json> =
        encoded.stdout[1..4].iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&bad[0]["line"], &bad[0]["offset"]), (&json!(2), &json!(29)), "{bad:?}");
    assert!(bad[0]["error"].as_str().unwrap().starts_with("not JSON"), "{bad:?}");
    assert_eq!((&bad[1]["line"], &bad[1]["offset"]), (&json!(3), &Json::Null), "{bad:?}");
    assert!(bad[1]["error"].as_str().unwrap().contains("count"), "{bad:?}");
    assert_eq!(bad[2]["line"], json!(4), "{bad:?}");
}

#[test]
fn deep_nesting_is_an_error() {
    for text in ["[".repeat(1_000_000), "{\"data\":".repeat(300_000)] {
        let encoded = Program::run("encode", text);
        assert_eq!(encoded.code, Some(1));
        assert!(encoded.stdout[0].contains("nested too deep"), "{encoded:?}");
    }
}

#[test]
fn a_line_is_printed_before_the_next_is_read() {
    for (command, line) in [("decode --value", "0101"), ("encode", r#"{"@data-type":"none","data":{}}"#)] {
        let mut program = Program::start(command);
        program.give(line);
        let first = program.text();
        program.give(line);
        assert_eq!(program.text(), first);
        assert_eq!(program.end().code, Some(0));
    }
}

#[test]
fn a_truncated_stream_is_reported_with_its_offset() {
    let fixture = Fixture::load("plain-peering");
    let whole = fixture.stream(Side::Connector);
    let frames: Vec<_> = fixture.from(Side::Connector).collect();
    let last = frames.last().unwrap();
    let cut = Program::run("decode --stream -", &whole[..whole.len() - 1]);
    assert_eq!((cut.code, cut.stdout.len()), (Some(1), frames.len()));
    let error = cut.json().pop().unwrap();
    assert_eq!((&error["index"], &error["offset"]), (&json!(frames.len() - 1), &json!(last.offset)));
    assert!(error["error"].as_str().unwrap().contains("ends inside a frame"), "{error}");
    cut.has_said(&[&format!("at byte {}", last.offset)]);

    let garbled = Program::run("decode --stream -", [whole, &b"\x16\x03\x01\x02\x00"[..]].concat());
    assert_eq!((garbled.code, garbled.stdout.len()), (Some(1), frames.len() + 1));
    garbled.has_said(&["TLS"]);

    // If a frame cannot be decoded, the frames after it are still decoded.
    let odd = [&b"\0\0\0\x01\x63"[..], whole].concat();
    let odd = Program::run("decode --stream -", odd);
    assert_eq!((odd.code, odd.stdout.len()), (Some(1), frames.len() + 1));
    assert!(odd.json()[0]["error"].as_str().unwrap().contains("unknown handshake message type 99"));
    odd.has_said(&[&format!("1 of {} frames", frames.len() + 1)]);
}

#[test]
fn a_file_is_read_instead_of_stdin() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("values");
    std::fs::write(&file, "0101\n").unwrap();
    let decoded = Program::run(&format!("decode --value {}", file.display()), "00\n");
    assert_eq!(decoded.stdout, [r#"{"@data-type":"boolean","data":true}"#]);
    for command in ["decode --value", "decode --stream", "encode"] {
        let missing = folder.path().join("missing");
        let end = Program::run(&format!("{command} {}", missing.display()), "");
        end.fails(1, &["missing", "check its name"]);
        let end = Program::run(&format!("{command} {}", folder.path().display()), "");
        end.fails(1, &["cannot read", "directory"]);
    }
}

#[test]
fn a_closed_stdout_ends_the_program_without_an_error() {
    let mut program = Running::spawn(&mut command(["decode", "--value"]));
    let mut stdin = program.stdin.take().unwrap();
    drop(program.stdout.take());
    // Write more than any pipe holds, so that the write fails when the program has ended.
    let written = within("the program to close its stdin", move || {
        std::io::Write::write_all(&mut stdin, "00\n".repeat(1_000_000).as_bytes())
    });
    assert!(written.is_err());
    let end = program.output();
    assert_eq!((end.status.code(), String::from_utf8(end.stderr).unwrap().as_str()), (Some(0), ""));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = command(["decode", "--value"]);
    command.stdout(full);
    let mut program = Program::spawn(command);
    program.give("00");
    program.end().fails(1, &["cannot write to stdout"]);
}

#[test]
fn invalid_usage_ends_with_exit_code_2_and_help_refers_to_the_manual_pages() {
    for (args, message) in [
        ("", "Usage"),
        ("nonsense", "nonsense"),
        ("decode", "--value"),
        ("decode --value --envelope", "cannot be used with"),
        ("decode --stream a b", "cannot be used with"),
        ("decode --stream", "<FILE>"),
        ("decode --value a b", "unexpected argument 'b'"),
        ("encode --envelope", "--envelope"),
        ("demo --tls off", "--tls"),
        ("man", "--out ~/.local/share/man/man1"),
        ("probe a:1 -c b:1", "cannot be used with"),
    ] {
        Program::run(args, "").fails(2, &[message]);
    }
    for command in ["", "demo", "node", "dispatch", "tap", "publish", "decode", "encode", "bench relay"] {
        for flag in ["-h", "--help"] {
            let help = Program::run(&format!("{command} {flag}"), "");
            assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
            let last = help.stdout.last().unwrap();
            assert!(
                last.contains("exit codes") && last.contains("manual pages: zeek-bridge man"),
                "{command}: {help:?}"
            );
        }
    }
    let version = Program::run("--version", "");
    assert_eq!(version.stdout, [format!("zeek-bridge {}", env!("CARGO_PKG_VERSION"))]);
}

#[test]
fn an_invalid_filter_in_rust_log_is_a_usage_error() {
    let mut wrong = command(["decode", "--value"]);
    wrong.env("RUST_LOG", "a=b=c").stdin(Stdio::null());
    Program::spawn(wrong).end().fails(2, &["RUST_LOG"]);
}
