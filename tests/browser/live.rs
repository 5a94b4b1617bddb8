//! The page follows the bridge.

use serde_json::{Value as Json, json};

use crate::bridge::Bridge;
use crate::program::Program;
use crate::webdriver::Browser;

/// The time from an event until the page shows it, in seconds.
const DELAY: f64 = 2.0;

/// On a busy machine, the browser may get no time for a while. An event is repeated this many times, and one of them must be
/// shown in time.
const ATTEMPTS: usize = 3;

/// The maximum number of viewers of a bridge.
const VIEWERS: usize = 8;

/// The time in milliseconds at which the picture shows a connected peer with this address, or 0.
const IS_SHOWN: &str = "return [...document.querySelectorAll('#picture .peer-card:not([data-gone])')]
    .some((card) => card.innerText.includes(argument)) && Date.now();";
const IS_NOT_SHOWN: &str = "return ![...document.querySelectorAll('#picture .peer-card:not([data-gone])')]
    .some((card) => card.innerText.includes(argument)) && Date.now();";

/// The same for a number of denied messages on the card of the link `nodes`.
const IS_DENIED: &str = "return [...document.querySelectorAll('#picture .link-card')]
    .some((card) => card.innerText.includes('nodes') && card.innerText.includes(argument)) && Date.now();";

/// Returns whether an event at a time in seconds was shown soon enough.
fn is_soon(shown: &Json, time: f64) -> bool {
    let delay = shown.as_f64().unwrap() / 1000.0 - time;
    eprintln!("shown after {delay:.3} s");
    delay < DELAY
}

#[track_caller]
fn one_is_soon(what: &str, mut attempt: impl FnMut(usize) -> bool) {
    assert!((1..=ATTEMPTS).any(&mut attempt), "{what} was shown more than {DELAY} s late, {ATTEMPTS} times");
}

#[test]
fn the_picture_shows_the_peers_and_follows_connects_denials_and_kills() {
    let Some(browser) = Browser::start(1440, 900) else { return };
    let mut bridge = Bridge::start();
    let _node = bridge.node("worker-01");
    let address = bridge.added();
    browser.open(&bridge.url());
    browser.wait("the picture shows the first peer", IS_SHOWN, &json!(address));
    browser.wait(
        "the picture shows the node",
        "return document.querySelector('#picture .node')?.innerText === 'worker-01'",
        &Json::Null,
    );
    let links = browser.run(
        "return [...document.querySelectorAll('#picture .link-card .card-title')].map((link) => link.innerText)",
        &Json::Null,
    );
    assert_eq!(links, json!(["agents", "nodes"]));

    let mut peers: Vec<(Program, String)> = Vec::new();
    one_is_soon("a connect", |_| {
        let peer = bridge.tap("/t");
        let address = bridge.added();
        let shown = browser.wait("the picture shows a new peer", IS_SHOWN, &json!(address));
        peers.push((peer, address.clone()));
        is_soon(&shown, bridge.time_of("connected", Some(&address)))
    });
    one_is_soon("a denial", |attempt| {
        let end = bridge.publish_denied("forbidden");
        assert_eq!(end.code, Some(0), "{end:?}");
        let _ = bridge.added();
        let shown =
            browser.wait("the picture shows a denial", IS_DENIED, &json!(format!("{attempt} denied")));
        is_soon(&shown, bridge.time_of("denied", None))
    });
    let reason = browser.wait(
        "the table shows the denial",
        "return document.querySelector('#recent tr[data-kind=denied]')?.innerText",
        &Json::Null,
    );
    let reason = reason.as_str().unwrap();
    assert!(reason.contains("forbidden") && reason.contains("event not allowed"), "{reason}");
    one_is_soon("a kill", |_| {
        let (mut peer, address) = peers.pop().unwrap_or_else(|| {
            let peer = bridge.tap("/t");
            let address = bridge.added();
            browser.wait("the picture shows a new peer", IS_SHOWN, &json!(address));
            (peer, address)
        });
        peer.kill();
        let shown = browser.wait("the picture does not show a lost peer", IS_NOT_SHOWN, &json!(address));
        is_soon(&shown, bridge.time_of("disconnected", Some(&address)))
    });

    browser.wait(
        "a plot has a line",
        "return document.querySelector('.plot-area path.line[d^=M]')",
        &Json::Null,
    );
    let origin = bridge.url();
    let requests = browser.requests();
    assert!(requests.contains(&format!("{origin}api/v1/events")), "{requests:?}");
    let is_foreign = |url: &&String| !url.starts_with(&origin) && !url.starts_with("data:");
    assert_eq!(requests.iter().find(is_foreign), None, "{requests:?}");
    assert_eq!(browser.errors(), Vec::<String>::new());
}

#[test]
fn the_page_reconnects_after_a_restart_of_the_bridge() {
    let Some(browser) = Browser::start(1024, 768) else { return };
    let mut bridge = Bridge::start();
    browser.open(&bridge.url());
    let is_live = "return document.body.dataset.connection === argument";
    browser.wait("the page is connected", is_live, &json!("live"));
    bridge.program.kill();
    browser.wait("the page shows that it has lost the bridge", is_live, &json!("lost"));
    let banner = browser.run("return document.getElementById('lost').innerText", &Json::Null);
    assert!(banner.as_str().unwrap().contains("reconnecting"), "{banner}");
    let _bridge = Bridge::start_at(&bridge.http);
    browser.wait("the page is connected again", is_live, &json!("live"));
    browser.wait(
        "the page shows that the bridge was restarted",
        "return !document.getElementById('restarted').hidden && document.getElementById('lost').hidden",
        &Json::Null,
    );
}

#[test]
fn a_page_beyond_the_maximum_number_of_viewers_waits_for_its_turn() {
    let Some(browser) = Browser::start(1024, 768) else { return };
    let bridge = Bridge::start();
    let mut viewers: Vec<_> = (0..VIEWERS).map(|_| bridge.viewer()).collect();
    browser.open(&bridge.url());
    let text = "return document.getElementById('lost-text').innerText.includes(argument)";
    browser.wait("the page shows why it has no data", text, &json!("too many pages of this bridge are open"));
    viewers.pop();
    let is_live = "return document.body.dataset.connection === 'live'";
    browser.wait("the page is connected", is_live, &Json::Null);
}
