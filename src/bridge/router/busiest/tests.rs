use super::*;

/// Returns the time after this number of seconds.
fn at(start: Instant, seconds: f64) -> Instant {
    after(start, Duration::from_secs_f64(seconds))
}

fn rates(busiest: &Busiest, now: Instant) -> Vec<(String, Option<String>, f64)> {
    busiest.rates(now).into_iter().map(|TopicRate { topic, event, rate }| (topic, event, rate)).collect()
}

#[tokio::test(start_paused = true)]
async fn the_rates_are_those_of_the_last_complete_window() {
    let now = crate::bridge::router::core::now;
    let (busiest, event) = (Busiest::default(), Some(&b"E::e"[..]));
    assert_eq!(rates(&busiest, now()), []);
    busiest.add(b"/t", event, 30, now());
    tokio::time::advance(Duration::from_secs(4)).await;
    busiest.add(b"/u", event, 5, now());
    busiest.add(b"/t", None, 50, now());
    busiest.add(b"/t", event, 10, now());
    assert_eq!(rates(&busiest, now()), [], "the window is not complete");
    tokio::time::advance(Duration::from_secs(1)).await;
    let expected = [
        ("/t".to_owned(), None, 10.0),
        ("/t".to_owned(), Some("E::e".to_owned()), 8.0),
        ("/u".to_owned(), Some("E::e".to_owned()), 1.0),
    ];
    assert_eq!(rates(&busiest, now()), expected);
    busiest.add(b"/u", None, 1000, now());
    tokio::time::advance(Duration::from_secs(4)).await;
    assert_eq!(rates(&busiest, now()), expected);
    // Without messages, the next two windows end too.
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(rates(&busiest, now()), [("/u".to_owned(), None, 200.0)]);
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(rates(&busiest, now()), []);
}

#[test]
fn a_pause_of_several_windows_leaves_the_limits_of_windows_in_place() {
    let (busiest, start) = (Busiest::default(), Instant::now());
    let topics = |seconds| {
        rates(&busiest, at(start, seconds)).into_iter().map(|(topic, ..)| topic).collect::<Vec<_>>()
    };
    busiest.add(b"/a", None, 1, start);
    // The window from 15 s to 20 s.
    busiest.add(b"/b", None, 1, at(start, 17.0));
    assert_eq!(topics(19.9), Vec::<String>::new(), "the window from 10 s to 15 s had no messages");
    assert_eq!(topics(20.0), ["/b"]);
    assert_eq!(topics(24.9), ["/b"]);
    assert_eq!(topics(25.0), Vec::<String>::new());
}

#[test]
fn different_topics_do_not_displace_steady_ones() {
    let (busiest, start) = (Busiest::default(), Instant::now());
    let mut steady = 0;
    for number in 0..100_000 {
        busiest.add(format!("/random/{number}").as_bytes(), Some(b"E::e"), 1, start);
        // One in a hundred, beginning when all counters are in use.
        if number % 100 == 99 && number > 1000 {
            busiest.add(b"/steady", Some(b"E::e"), 1, start);
            steady += 1;
        }
    }
    let state = busiest.0.lock();
    assert_eq!((state.counts.pairs.len(), state.counts.index.len()), (MAX_PAIRS, MAX_PAIRS));
    drop(state);
    let rates = busiest.rates(at(start, 5.0));
    assert_eq!(rates.len(), MAX_REPORTED);
    assert_eq!(rates[0].topic, "/steady");
    let expected = f64::from(steady) / 5.0;
    assert!(rates[0].rate > expected * 0.9 && rates[0].rate <= expected, "{} {expected}", rates[0].rate);
    assert!(rates[1..].iter().all(|other| other.rate < expected * 0.1), "{rates:?}");
    // The memory of the flood is released.
    let state = busiest.0.lock();
    assert!(state.counts.pairs.capacity() < MAX_PAIRS && state.counts.index.capacity() < MAX_PAIRS);
}

#[test]
fn long_and_binary_names_are_truncated_and_escaped() {
    let (busiest, start) = (Busiest::default(), Instant::now());
    let long = |last: char| format!("{}{last}", "t".repeat(MAX_COMPARED));
    busiest.add(long('a').as_bytes(), Some(b"\xff\0"), 3, start);
    busiest.add(long('b').as_bytes(), Some(b"\xff\0"), 2, start);
    let found = rates(&busiest, at(start, 5.0));
    let topic = format!("{}... (129 bytes)", "t".repeat(MAX_COMPARED));
    assert_eq!(found, [(topic, Some("\\xff\0".to_owned()), 1.0)]);
}
