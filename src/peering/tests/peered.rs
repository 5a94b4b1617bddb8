//! Tests of the established state and of leaving.

use super::*;
use crate::data::Value;

#[test]
fn messages_are_delivered_with_their_payload() {
    let now = Instant::now();
    let mut ends = established_pair(now);
    let value = |text: String| Value::String(text.into());
    let texts = ["short".to_owned(), "long".repeat(5000), "short again".to_owned()];
    for text in &texts {
        let envelope = Envelope::data(SMALL, Topic::from_static("/t"), &value(text.clone())).unwrap();
        for end in &mut ends {
            end.peering.send(&envelope).unwrap();
        }
    }
    deliver_all(now, &mut ends);
    for (end, peer) in ends.iter().zip([LARGE, SMALL]) {
        let received: Vec<_> = end
            .seen
            .iter()
            .map(|event| match event {
                Event::Message(envelope) => {
                    assert_eq!(envelope.sender, peer, "the sender is the last hop");
                    envelope.value(&Limits::DEFAULT).unwrap()
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(received, texts.clone().map(value));
    }
}

#[test]
fn send_fails_before_the_peering_is_established_and_after_the_bye() {
    let now = Instant::now();
    let envelope = Envelope::data(SMALL, Topic::from_static("/t"), &Value::None).unwrap();
    for (mut end, _) in handshake_steps(now) {
        assert_eq!(end.peering.send(&envelope), Err(SendError::NotEstablished));
        assert!(end.frames().is_empty());
    }
    let [mut end, _] = established_pair(now);
    end.peering.leave(now);
    end.frames();
    assert_eq!(end.peering.send(&envelope), Err(SendError::NotEstablished));
    #[cfg(feature = "net")]
    assert_eq!(end.peering.send_encoded([framed(&envelope).into()]), Err(SendError::NotEstablished));
    assert!(end.frames().is_empty());
}

#[test]
fn a_large_payload_is_not_copied_and_a_small_one_is_sent_with_its_header() {
    let now = Instant::now();
    let [mut end, _] = established_pair(now);
    for (length, pieces) in [(output::COPIED, 1), (output::COPIED + 1, 2)] {
        let payload = Bytes::from(vec![b'x'; length]);
        let envelope = Envelope::data(SMALL, Topic::from_static("/t"), &Value::None).unwrap();
        end.peering.send(&Envelope { payload: payload.clone(), ..envelope }).unwrap();
        let sent: Vec<_> = std::iter::from_fn(|| end.peering.poll_transmit()).collect();
        assert_eq!(sent.len(), pieces);
        assert_eq!(sent[pieces - 1].as_ptr() == payload.as_ptr(), pieces == 2);
    }
}

#[cfg(feature = "net")]
#[test]
fn encoded_frames_are_sent_in_order_and_large_ones_without_a_copy() {
    let [mut end, _] = established_pair(Instant::now());
    let (small, large) =
        (Bytes::from(vec![b's'; output::COPIED]), Bytes::from(vec![b'l'; output::COPIED + 1]));
    let frames = [small.clone(), large.clone(), large.clone(), small];
    end.peering.send_encoded(frames.clone()).unwrap();
    let sent: Vec<_> = std::iter::from_fn(|| end.peering.poll_transmit()).collect();
    assert_eq!(sent, frames);
    assert_eq!(sent[1].as_ptr(), large.as_ptr());
}

#[test]
fn pings_are_echoed_to_their_sender() {
    let now = Instant::now();
    let [mut end, _] = established_pair(now);
    let other = EndpointId::from_bytes([9; 16]);
    // A payload of the length of a BYE, and one that begins like a BYE, are not a BYE.
    for payload in [&b"\0any"[..], b"eleven byte", b"BYE"].map(Bytes::from_static) {
        for (receiver, echoed) in [(SMALL, true), (EndpointId::NIL, true), (other, false)] {
            end.arrive(now, &framed(&Envelope::ping(LARGE, receiver, payload.clone())));
            let answer = end.sent_envelopes();
            let expected = Envelope::pong(SMALL, LARGE, payload.clone());
            assert_eq!(answer, if echoed { vec![expected] } else { vec![] });
        }
    }
    assert!(end.seen.is_empty());
}

#[test]
fn a_changed_filter_reaches_the_peer_of_an_established_peering() {
    let now = Instant::now();
    let mut ends = established_pair(now);
    ends[0].peering.set_filter(filter("/new")).unwrap();
    deliver_all(now, &mut ends);
    assert_eq!(ends[1].seen, [Event::FilterChanged(filter("/new"))]);
    ends[0].peering.set_filter(filter("/newer")).unwrap();
    let expected = Envelope::routing_update(SMALL, LARGE, &filter("/newer")).unwrap();
    assert_eq!(ends[0].sent_envelopes(), [expected]);
}

#[test]
fn a_filter_changed_during_the_handshake_reaches_the_peer() {
    let now = Instant::now();
    for (mut end, _) in handshake_steps(now) {
        end.peering.set_filter(filter("/new")).unwrap();
        let (id, side) = if end.peering.config.id == SMALL { (LARGE, SMALL) } else { (SMALL, LARGE) };
        // Complete the handshake for the peer.
        for message in [
            hello_from(id),
            Handshake::VersionSelect { sender: id, version: 1 },
            Handshake::OriginatorSyn(Filter::new()),
            Handshake::ResponderSynAck(Filter::new()),
            Handshake::OriginatorAck,
        ] {
            let mut tried = end.clone();
            tried.arrive(now, &bytes(&message));
            if tried.closed().is_none() {
                end = tried;
                end.peering.admit();
            }
        }
        assert!(end.established().is_some(), "{side}");
        let mut last = None;
        for frame in end.frames() {
            let body = Bytes::copy_from_slice(&frame[4..]);
            last = match Handshake::decode(&body, &Limits::DEFAULT) {
                Ok(Handshake::OriginatorSyn(f) | Handshake::ResponderSynAck(f)) => Some(f),
                Ok(_) => last,
                Err(_) => Some(Envelope::decode(&body).unwrap().filter(&Limits::DEFAULT).unwrap()),
            };
        }
        assert_eq!(last, Some(filter("/new")));
    }
}

#[test]
fn leaving_ends_when_the_peer_confirms() {
    let now = Instant::now();
    let mut ends = established_pair(now);
    ends[0].peering.leave(now);
    deliver_all(now, &mut ends);
    assert_eq!(ends[0].closed(), Some(&CloseReason::Left));
    assert_eq!(ends[1].seen, [Event::PeerLeaving]);
    ends[1].peering.handle_eof();
    ends[1].poll_events();
    assert_eq!(ends[1].closed(), Some(&CloseReason::PeerLeft));
}

#[test]
fn leaving_times_out_without_a_confirmation() {
    let now = Instant::now();
    let [mut end, _] = established_pair(now);
    end.peering.leave(now);
    let sent_handshakes = end.sent_envelopes();
    assert!(
        sent_handshakes.len() == 1
            && sent_handshakes[0].payload.starts_with(b"BYE")
            && sent_handshakes[0].payload.len() == 11
    );
    let foreign = Envelope::pong(LARGE, SMALL, Bytes::from_static(b"BYE12345678"));
    end.arrive(now, &framed(&foreign));
    assert_eq!(end.closed(), None, "this pong does not answer our BYE");
    let mut cut_off = end.clone();
    cut_off.peering.handle_eof();
    cut_off.poll_events();
    assert_eq!(cut_off.closed(), Some(&CloseReason::LeftUnconfirmed));
    let deadline = end.peering.poll_timeout().unwrap();
    assert_eq!(deadline, now + Config::LEAVE_TIMEOUT);
    end.peering.handle_timeout(deadline);
    end.poll_events();
    assert_eq!(end.closed(), Some(&CloseReason::LeftUnconfirmed));
}

#[test]
fn leaving_during_the_handshake_sends_drop_conn() {
    let now = Instant::now();
    // If only the peer's last handshake message is missing, this side leaves with a BYE. The next test covers that case.
    for (mut end, _) in handshake_steps(now).into_iter().filter(|(_, expected)| *expected != "originator_ack")
    {
        end.peering.leave(now);
        end.poll_events();
        assert_eq!(end.closed(), Some(&CloseReason::Left));
        assert!(matches!(
            end.sent_handshakes().as_slice(),
            [Handshake::DropConn { code: ErrorCode::SHUTTING_DOWN, .. }]
        ));
    }
}

/// After sending originator_ack, the originator considers the peering established and can no longer read a drop_conn.
#[test]
fn a_responder_leaves_with_bye_while_the_last_handshake_message_is_in_transit() {
    let now = Instant::now();
    let responder =
        || handshake_steps(now).into_iter().find(|(_, expected)| *expected == "originator_ack").unwrap().0;

    let mut end = responder();
    end.peering.leave(now);
    end.poll_events();
    assert_eq!((end.frames().len(), end.closed()), (0, None), "nothing is sent before the handshake ends");
    // Repeated calls do not extend the deadline.
    end.peering.leave(now + Duration::from_secs(1));
    assert_eq!(end.peering.poll_timeout(), Some(now + Config::LEAVE_TIMEOUT));
    end.arrive(now, &bytes(&Handshake::OriginatorAck));
    assert!(matches!(end.seen.as_slice(), [Event::Established { peer: SMALL, .. }]), "{:?}", end.seen);
    let sent_handshakes = end.sent_envelopes();
    assert!(
        sent_handshakes.len() == 1 && sent_handshakes[0].payload.starts_with(b"BYE"),
        "{sent_handshakes:?}"
    );
    end.arrive(now, &framed(&Envelope::pong(SMALL, LARGE, sent_handshakes[0].payload.clone())));
    assert_eq!(end.closed(), Some(&CloseReason::Left));

    let mut silent = responder();
    silent.peering.leave(now);
    silent.peering.handle_timeout(now + Config::LEAVE_TIMEOUT);
    silent.poll_events();
    assert_eq!(silent.closed(), Some(&CloseReason::Left));
    assert!(matches!(
        silent.sent_handshakes().as_slice(),
        [Handshake::DropConn { code: ErrorCode::SHUTTING_DOWN, .. }]
    ));

    let mut gone = responder();
    gone.peering.leave(now);
    gone.peering.handle_eof();
    gone.poll_events();
    assert_eq!(gone.closed(), Some(&CloseReason::Left));
}

#[test]
fn eof_without_bye_is_reported_as_lost() {
    let [mut end, _] = established_pair(Instant::now());
    end.peering.handle_eof();
    end.poll_events();
    assert_eq!(end.closed(), Some(&CloseReason::Lost));
}

#[test]
fn a_silent_peer_is_pinged_and_then_closed() {
    let start = Instant::now();
    let mut ends = established_pair(start);
    let idle = Config::IDLE_TIMEOUT;
    // The peer answers the ping, which restarts the idle timeout.
    let asked = ends[0].peering.poll_timeout().unwrap();
    assert_eq!(asked, start + idle);
    ends[0].peering.handle_timeout(asked);
    deliver_all(asked, &mut ends);
    assert_eq!(ends[0].peering.poll_timeout(), Some(asked + idle));
    // The peer does not answer the second ping.
    let [mut end, _] = ends;
    end.peering.handle_timeout(asked + idle);
    assert_eq!(end.sent_envelopes().len(), 1);
    let given_up = end.peering.poll_timeout().unwrap();
    assert_eq!(given_up, asked + idle + idle);
    end.peering.handle_timeout(given_up);
    end.poll_events();
    assert_eq!(end.closed(), Some(&PeeringError::Silent.into()));
    assert!(end.frames().is_empty(), "no drop_conn is sent in an established peering");
}

#[test]
fn a_paused_peer_is_pinged_and_not_closed() {
    let start = Instant::now();
    let mut ends = established_pair(start);
    let idle = Config::IDLE_TIMEOUT;
    // A ping is sent before the pause.
    let mut now = start + idle;
    ends[0].peering.handle_timeout(now);
    let asked = ends[0].frames().concat();
    ends[1].arrive(now, &asked);
    ends[1].frames();
    ends[0].peering.pause(now, true);
    for _ in 0..1000 {
        let next = ends[0].peering.poll_timeout().unwrap();
        assert_eq!(next, now + Duration::from_secs(10));
        now = next;
        ends[0].peering.handle_timeout(now);
        let [_, reader] = &mut ends;
        // The reader's idle timeout does not expire either.
        reader.peering.handle_timeout(now);
        let told = ends[0].frames().concat();
        ends[1].arrive(now, &told);
        assert_eq!(
            ends[1].sent_envelopes().len(),
            1,
            "the peer sends a pong, which the paused side does not read"
        );
        assert!(ends.iter().all(|end| end.closed().is_none()));
    }
    // After the pause, the idle timeout applies again.
    let [mut end, _] = ends;
    end.peering.pause(now, false);
    assert_eq!(end.peering.poll_timeout(), Some(now + idle));
    end.peering.handle_timeout(now + idle);
    end.peering.handle_timeout(now + idle + idle);
    end.poll_events();
    assert_eq!(end.closed(), Some(&PeeringError::Silent.into()));
}

#[test]
fn the_leave_timeout_applies_while_paused() {
    let now = Instant::now();
    let [mut end, _] = established_pair(now);
    end.peering.pause(now, true);
    end.peering.leave(now);
    let deadline = end.peering.poll_timeout().unwrap();
    assert_eq!(deadline, now + Config::LEAVE_TIMEOUT);
    end.peering.handle_timeout(deadline);
    end.poll_events();
    assert_eq!(end.closed(), Some(&CloseReason::LeftUnconfirmed));
}

#[test]
fn a_partial_frame_resets_the_idle_timeout() {
    let start = Instant::now();
    let [mut end, _] = established_pair(start);
    end.arrive(start, &1_000_000u32.to_be_bytes());
    let mut now = start;
    for _ in 0..10 {
        now = end.peering.poll_timeout().unwrap();
        end.peering.handle_timeout(now);
        assert_eq!(end.sent_envelopes().len(), 1, "a ping was sent");
        end.arrive(now, &[0]);
    }
    assert_eq!(end.closed(), None);
    assert_eq!(end.peering.poll_timeout(), Some(now + Config::IDLE_TIMEOUT));
}

#[test]
fn malformed_envelopes_are_dropped_and_the_peering_continues() {
    let now = Instant::now();
    let [mut end, _] = established_pair(now);
    let good = Envelope::data(LARGE, Topic::from_static("/t"), &Value::None).unwrap();
    let mut unknown_type = framed(&good);
    unknown_type[4 + 32] = 77;
    let mut update = Envelope::routing_update(LARGE, SMALL, &filter("/x")).unwrap();
    update.payload = Bytes::from_static(&[1, 200]);
    for bad in [&[0, 0, 0, 3, 1, 2, 3][..], &unknown_type, &framed(&update)] {
        end.arrive(now, bad);
        let event = end.seen.pop();
        assert!(matches!(event, Some(Event::Malformed(_))), "{event:?}");
    }
    end.arrive(now, &framed(&good));
    assert_eq!(end.seen, [Event::Message(good)]);
}

#[test]
fn no_call_has_an_effect_after_the_peering_is_closed() {
    let now = Instant::now();
    let [mut end, _] = established_pair(now);
    end.peering.handle_eof();
    end.poll_events();
    end.seen.clear();
    end.arrive(now, &bytes(&hello_from(LARGE)));
    end.peering.handle_eof();
    end.peering.leave(now);
    end.peering.admit();
    end.peering.refuse_redundant();
    end.peering.handle_timeout(now + Duration::from_secs(1000));
    end.poll_events();
    assert!(end.seen.is_empty() && end.frames().is_empty() && end.peering.is_closed());
}

#[test]
fn no_input_is_consumed_while_many_events_are_queued() {
    let now = Instant::now();
    let [mut end, _] = established_pair(now);
    let frame = [0, 0, 0, 1, 0xff];
    let mut input = BytesMut::from(&*frame.repeat(5_000));
    let (mut turns, mut told) = (0, 0);
    loop {
        let more = end.peering.handle_input(now, &mut input);
        let mut waiting = 0;
        while let Some(event) = end.peering.poll_event() {
            assert!(matches!(event, Event::Malformed(_)), "{event:?}");
            waiting += 1;
        }
        assert!(waiting <= MAX_QUEUED_EVENTS, "{waiting}");
        (turns, told) = (turns + 1, told + waiting);
        if !more {
            break;
        }
    }
    assert_eq!((turns, told, input.len()), (5, 5_000, 0));
    assert_eq!(end.peering.events.capacity(), 0, "the memory is freed");
}

#[cfg(feature = "net")]
#[test]
fn reading_all_messages_frees_the_event_queue() {
    let now = Instant::now();
    let [mut end, _] = established_pair(now);
    let message = framed(&Envelope::data(LARGE, Topic::from_static("/t"), &Value::None).unwrap());
    end.input.extend_from_slice(&message.repeat(100));
    end.peering.handle_input(now, &mut end.input);
    assert!(end.peering.events.capacity() >= 100);
    assert_eq!(end.peering.take_messages().len(), 100);
    assert_eq!(end.peering.events.capacity(), 0, "the memory is freed");
}
