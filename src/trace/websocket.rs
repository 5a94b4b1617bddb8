//! The JSON of the parts of a WebSocket session.

use serde_json::json;

use super::json::put_member;
use super::message::write_message;
use crate::data::AsJson;
use crate::websocket::Part;

/// Appends `kind` and the members of this kind.
pub(super) fn write_members(part: &Part, to: &mut Vec<u8>) {
    let kind = match part {
        Part::Request(_) => "http-request",
        Part::Response { .. } => "http-response",
        Part::Subscriptions(_) => "subscriptions",
        Part::Ack { .. } => "ack",
        Part::Message(envelope) => return write_message(envelope, to),
        Part::Error(_) => "error",
        Part::Fragment => "fragment",
        Part::Ping(_) => "ping",
        Part::Pong(_) => "pong",
        Part::Close { .. } => "close",
    };
    put_member(to, "kind", kind);
    match part {
        Part::Request(text) => put_member(to, "text", text.as_str()),
        Part::Response { status, text } => {
            put_member(to, "status", *status);
            put_member(to, "text", text.as_str());
        }
        Part::Subscriptions(filter) => put_member(to, "topics", json!(AsJson(filter))),
        Part::Ack { endpoint, version } => {
            put_member(to, "endpoint", endpoint.as_str());
            put_member(to, "version", version.as_str());
        }
        Part::Error(notice) => {
            put_member(to, "code", &*notice.code);
            put_member(to, "context", &*notice.context);
        }
        Part::Ping(payload) | Part::Pong(payload) => put_member(to, "text", json!(AsJson(&**payload))),
        Part::Close { code, reason } => {
            put_member(to, "code", *code);
            put_member(to, "reason", json!(AsJson(&**reason)));
        }
        Part::Message(_) | Part::Fragment => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;

    use super::super::{Content, Conversation, Description, Entry, Meta, Protocol, Reader, Side, Writer};
    use crate::data::parse_json;
    use serde_json::Value as Json;

    fn json(entry: &Entry) -> Json {
        let mut text = vec![b'{'];
        entry.write_members(&mut text);
        text.push(b'}');
        parse_json(&text).unwrap()
    }

    fn side(name: &Json) -> Side {
        Side::BOTH.into_iter().find(|side| name == side.name()).unwrap()
    }

    /// Compares a decoded frame with the description by a different program.
    fn compare(found: &Json, expected: &Json) {
        for member in ["from", "offset", "length", "t_us"] {
            assert_eq!(found[member], expected[member], "{found}\n{expected}");
        }
        let kind = found["kind"].as_str();
        match (expected["kind"].as_str().unwrap(), expected["opcode"].as_u64()) {
            ("frame", Some(8)) => assert_eq!(kind, Some("close")),
            ("frame", Some(9 | 10)) => {
                assert_eq!(kind, Some(if expected["opcode"] == 9 { "ping" } else { "pong" }));
                assert_eq!(found["text"], expected["text"]);
            }
            ("frame", Some(_)) if expected["fin"] == false => assert_eq!(kind, Some("fragment")),
            ("frame", Some(_)) => {
                // Some texts are invalid JSON, and the last fragment of a message is only a part of it.
                let Some(text) = expected["text"].as_str() else { return };
                let Ok(text) = serde_json::from_str::<Json>(text) else { return };
                match (text["type"].as_str(), &text) {
                    (Some("ack"), _) => {
                        assert_eq!((kind, &found["endpoint"]), (Some("ack"), &text["endpoint"]))
                    }
                    (Some("error"), _) if expected["from"] == "listener" => {
                        assert_eq!((kind, &found["code"]), (Some("error"), &text["code"]))
                    }
                    (_, Json::Array(topics)) if kind == Some("subscriptions") => {
                        // A filter has every topic once, sorted.
                        let mut topics = topics.clone();
                        topics.sort_by(|one, other| one.as_str().cmp(&other.as_str()));
                        topics.dedup();
                        assert_eq!(found["topics"], Json::Array(topics));
                    }
                    _ if kind == Some("event") => {
                        let content = &text["data"][2]["data"];
                        assert_eq!(found["topic"], text["topic"]);
                        assert_eq!(found["event"], content[0]["data"]);
                        let args = content[1]["data"].as_array().unwrap().len();
                        assert_eq!(found["args"].as_array().unwrap().len(), args);
                    }
                    _ => assert!(kind == Some("value") || found["error"].is_string(), "{found}\n{expected}"),
                }
            }
            (http, _) => {
                assert_eq!(kind, Some(http));
                assert_eq!(found["text"], expected["text"]);
            }
        }
    }

    #[test]
    fn captured_sessions_are_decoded() {
        let mut kinds: BTreeMap<String, u32> = BTreeMap::new();
        for capture in ["broker", "clients", "errors", "zeek-client"] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/websocket").join(capture);
            let mut conversations: BTreeMap<String, Conversation> = BTreeMap::new();
            for line in fs::read_to_string(folder.join("frames.jsonl")).unwrap().lines() {
                let expected = parse_json(line.as_bytes()).unwrap();
                let (from, number) = (side(&expected["from"]), expected["connection"].as_str().unwrap());
                let conversation = conversations.entry(number.to_owned()).or_default();
                let at = |name: &str| usize::try_from(expected[name].as_u64().unwrap()).unwrap();
                let stream = fs::read(folder.join(format!("{number}-{}.bin", from.name()))).unwrap();
                let bytes = &stream[at("offset")..][..at("length")];
                let t_us = expected["t_us"].as_u64().unwrap();
                // In two pieces: nothing is returned before the last byte.
                let (start, last) = bytes.split_at(bytes.len() - 1);
                let early: Vec<_> = conversation.input(from, t_us, start).collect();
                let entries: Vec<_> = conversation.input(from, t_us, last).collect();
                match expected["kind"].as_str().unwrap() {
                    // A request that does not open a session, its response, or an invalid frame.
                    "bytes" | "refused-by-websockets" => {
                        assert!(early.iter().chain(&entries).all(|entry| entry.frame.is_err()), "{line}");
                    }
                    "http-request" if conversation.protocol() != Some(Protocol::WebSocket) => {}
                    _ => {
                        let [entry] = entries.as_slice() else { panic!("{entries:?}\n{line}") };
                        assert_eq!(early.len(), 0, "{line}");
                        let found = json(entry);
                        compare(&found, &expected);
                        let kind = found["kind"].as_str().unwrap_or("error");
                        *kinds.entry(kind.to_owned()).or_default() += 1;
                    }
                }
            }
        }
        // "error" includes invalid messages, which the capture of errors contains on purpose.
        let expected = [
            ("ack", 39),
            ("close", 53),
            ("error", 97),
            ("event", 205),
            ("fragment", 2),
            ("http-request", 54),
            ("http-response", 51),
            ("ping", 64),
            ("pong", 62),
            ("subscriptions", 39),
            ("value", 1),
        ];
        assert_eq!(
            kinds.into_iter().collect::<Vec<_>>(),
            expected.map(|(kind, count)| (kind.to_owned(), count))
        );
    }

    /// Returns the bytes of both sides of a captured session.
    fn session() -> [Vec<u8>; 2] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/websocket/zeek-client");
        Side::BOTH.map(|side| fs::read(folder.join(format!("00-{}.bin", side.name()))).unwrap())
    }

    fn entries(bytes: &[u8], side: Side) -> Vec<Json> {
        Conversation::default().input(side, 0, bytes).map(|entry| json(&entry)).collect()
    }

    #[test]
    fn a_split_recording_of_a_session_is_read_in_two_parts() {
        let root = tempfile::tempdir().unwrap();
        let [connector, listener] = session();
        let expected = [entries(&connector, Side::Connector), entries(&listener, Side::Listener)];
        let mut first = Writer::create(root.path().join("a"), Description::default(), None).unwrap();
        // The request, the subscriptions, and a part of a message.
        let cut = usize::try_from(expected[0][2]["offset"].as_u64().unwrap()).unwrap() + 5;
        assert!(!first.can_be_split());
        first.input(Side::Connector, 1, &connector[..cut]).unwrap();
        first.input(Side::Listener, 2, &listener).unwrap();
        assert!(first.can_be_split());
        let mut second = first.split(root.path().join("b")).unwrap();
        second.input(Side::Connector, 3, &connector[cut..]).unwrap();
        second.finish().unwrap();
        let read = |name: &str| {
            let folder = root.path().join(name);
            let meta = Meta::read(&folder);
            assert_eq!(meta.protocol, Some(Protocol::WebSocket), "{name}");
            let read: Result<Vec<_>, _> = Reader::open(&folder, &meta).unwrap().collect();
            read.unwrap().iter().map(|entry| json(entry)["kind"].clone()).collect::<Vec<_>>()
        };
        let kinds = |entries: &[Json]| entries.iter().map(|entry| entry["kind"].clone()).collect::<Vec<_>>();
        assert_eq!(read("a"), [kinds(&expected[0][..2]), kinds(&expected[1])].concat());
        assert_eq!(read("b"), kinds(&expected[0][2..]));
        assert!(expected[0].len() > 2, "{expected:?}");
    }

    #[test]
    fn tokens_and_cookies_are_hidden() {
        let request = "GET /v1/messages/json HTTP/1.1\r\nHost: a\r\nauthorization: Bearer secret\r\nUpgrade: \
                       websocket\r\nCookie: id=secret\r\nX-Api-Key: secret\r\n\r\n";
        let [entry] = entries(request.as_bytes(), Side::Connector).try_into().unwrap();
        assert_eq!(
            entry["text"],
            "GET /v1/messages/json HTTP/1.1\r\nHost: a\r\nauthorization: (hidden)\r\nUpgrade: websocket\r\nCookie: \
             (hidden)\r\nX-Api-Key: (hidden)\r\n\r\n"
        );
    }

    #[test]
    fn a_token_in_the_query_of_a_request_is_hidden() {
        for (target, shown) in [
            ("/v1/messages/json?access_token=secret", "/v1/messages/json?(hidden)\r\n"),
            ("/auth?page=1", "/auth?page=1 HTTP/1.1\r\n"),
        ] {
            let request = format!("GET {target} HTTP/1.1\r\nUpgrade: websocket\r\n\r\n");
            let [entry] = entries(request.as_bytes(), Side::Connector).try_into().unwrap();
            assert_eq!(entry["text"], format!("GET {shown}Upgrade: websocket\r\n\r\n"));
        }
    }

    /// The fragments of a message may need as much memory as a frame. It is free again after an error.
    #[test]
    fn an_incomplete_message_is_not_kept_after_an_error() {
        let [connector, _] = session();
        for is_lost in [true, false] {
            let mut conversation = Conversation::of(Some(Protocol::WebSocket));
            conversation.input(Side::Connector, 0, &connector).for_each(drop);
            assert_eq!(conversation.input(Side::Connector, 0, b"\x01\x82\0\0\0\0[[").count(), 1);
            assert_eq!(conversation.buffered(), 2);
            if is_lost {
                conversation.lose(Side::Connector, 0, 1, "lost").unwrap();
            } else {
                let [entry] = conversation
                    .input(Side::Connector, 0, b"\x81\x80\0\0\0\0")
                    .collect::<Vec<_>>()
                    .try_into()
                    .unwrap();
                assert!(entry.frame.is_err());
            }
            assert_eq!(conversation.input(Side::Connector, 0, b"more").count(), 0);
            assert_eq!((conversation.buffered(), conversation.end(0).count()), (0, 0));
        }
    }

    #[test]
    fn a_known_protocol_is_not_recognized_by_the_first_bytes() {
        let [connector, _] = session();
        let mut conversation = Conversation::of(Some(Protocol::Broker));
        assert_eq!(conversation.protocol(), Some(Protocol::Broker));
        let [entry] =
            conversation.input(Side::Connector, 0, &connector).collect::<Vec<_>>().try_into().unwrap();
        assert!(json(&entry)["error"].as_str().unwrap().contains("HTTP"));
    }

    #[test]
    fn after_missing_bytes_a_side_is_not_decoded_any_more() {
        let [connector, listener] = session();
        let mut conversation = Conversation::default();
        let count = conversation.input(Side::Connector, 0, &connector).count();
        assert!(count > 2);
        let lost =
            conversation.lose(Side::Connector, 1, 7, "they are not in the capture").map(|entry| json(&entry));
        assert_eq!(
            lost.unwrap()["error"],
            "7 bytes are missing: they are not in the capture; the remaining bytes of this side cannot be decoded"
        );
        assert_eq!(conversation.input(Side::Connector, 2, &connector).count(), 0);
        assert!(conversation.lose(Side::Connector, 2, 1, "again").is_none());
        assert!(conversation.input(Side::Listener, 2, &listener).all(|entry| entry.frame.is_ok()));
    }

    #[test]
    fn an_incomplete_head_is_named_by_its_first_line() {
        for (text, error) in [
            (
                "GET /v1 HTTP/1.1\r\nHost: a\r\n",
                "an HTTP head, after 27 bytes of it; its first line: GET /v1 HTTP/1.1",
            ),
            ("HTTP/1.1 101 ", "an HTTP head, after 13 bytes of it; its first line: HTTP/1.1 101 "),
            ("GE", "an HTTP head, after 2 bytes of it; its first line: GE"),
            ("\0\0\0", "a frame or a message, after 3 bytes of it"),
        ] {
            let mut conversation = Conversation::default();
            assert_eq!(conversation.input(Side::Connector, 0, text.as_bytes()).count(), 0);
            let [end] = conversation.end(0).map(|entry| json(&entry)).collect::<Vec<_>>().try_into().unwrap();
            assert_eq!(end["error"], format!("the stream ends inside {error}"));
        }
    }

    #[test]
    fn http_that_opens_no_session_is_not_decoded() {
        for text in ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 101 \r\n\r\n"]
        {
            let [entry] = entries(text.as_bytes(), Side::Connector).try_into().unwrap();
            assert!(entry["error"].as_str().unwrap().contains("HTTP"), "{entry}");
        }
        let endless = [&b"GET / HTTP/1.1\r\n"[..], &b"a: b\r\n".repeat(5000)].concat();
        let [entry] = entries(&endless, Side::Connector).try_into().unwrap();
        assert!(entry["error"].as_str().unwrap().contains("HTTP"), "{entry}");
    }

    #[test]
    fn a_close_frame_is_decoded_with_its_code_even_if_it_may_not_be_sent() {
        let [connector, _] = session();
        for (frame, code) in [
            (&b"\x88\x00"[..], Json::Null),
            (b"\x88\x02\x03\xed", 1005.into()),
            (b"\x88\x02\x00\x00", 0.into()),
        ] {
            let mut conversation = Conversation::default();
            assert!(conversation.input(Side::Connector, 0, &connector).count() > 2);
            let [entry] =
                conversation.input(Side::Connector, 0, frame).collect::<Vec<_>>().try_into().unwrap();
            let found = json(&entry);
            assert_eq!((&found["kind"], &found["code"]), (&"close".into(), &code), "{frame:?}");
        }
    }

    /// Zeek's server sends no empty line after the head of a refusal.
    #[test]
    fn an_incomplete_refusal_is_decoded_at_the_end_of_the_stream() {
        let mut conversation = Conversation::of(Some(Protocol::WebSocket));
        let request = b"POST /v1/messages/json HTTP/1.1\r\nHost: a\r\n\r\n";
        let [entry] = conversation.input(Side::Connector, 0, request).collect::<Vec<_>>().try_into().unwrap();
        assert_eq!(json(&entry)["kind"], "http-request");
        let refusal = b"HTTP/1.1 400 Invalid HTTP method, need GET, got POST\r\nServer: x\r\n";
        assert_eq!(conversation.input(Side::Listener, 1, refusal).count(), 0);
        let [entry] = conversation.end(2).collect::<Vec<_>>().try_into().unwrap();
        let found = json(&entry);
        assert_eq!((&found["kind"], &found["status"]), (&"http-response".into(), &400.into()));
        assert_eq!(found["text"].as_str().unwrap().as_bytes(), refusal);
        assert_eq!(conversation.end(2).count(), 0);
    }

    #[test]
    fn an_unfinished_message_is_reported_at_the_end() {
        let [connector, _] = session();
        let mut conversation = Conversation::default();
        conversation.input(Side::Connector, 0, &connector).for_each(drop);
        let [entry] = conversation
            .input(Side::Connector, 0, b"\x01\x81\0\0\0\0[")
            .collect::<Vec<_>>()
            .try_into()
            .unwrap();
        assert_eq!(json(&entry)["kind"], "fragment");
        let [end] = conversation.end(0).map(|entry| json(&entry)).collect::<Vec<_>>().try_into().unwrap();
        assert_eq!(end["error"], "the stream ends inside a frame or a message, after 1 bytes of it");
    }

    /// A server that refuses a request may answer with any status. Bytes after its response belong to HTTP.
    #[test]
    fn a_refusal_is_a_response() {
        let [connector, _] = session();
        let mut conversation = Conversation::default();
        assert!(conversation.input(Side::Connector, 0, &connector).all(|entry| entry.frame.is_ok()));
        let refusal = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\nSet-Cookie: secret\r\n more-secret\r\nContent-Length: \
                       4\r\n\r\nbody";
        let [entry] =
            conversation.input(Side::Listener, 0, refusal.as_bytes()).collect::<Vec<_>>().try_into().unwrap();
        assert!(matches!(&entry.frame.as_ref().unwrap().content, Ok(Content::WebSocket(_))));
        let found = json(&entry);
        assert_eq!((&found["status"], &found["kind"]), (&401.into(), &"http-response".into()));
        assert_eq!(
            found["text"],
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\nSet-Cookie: (hidden)\r\nContent-Length: 4\r\n\r\n"
        );
        assert_eq!(conversation.end(0).count(), 0);
    }
}
