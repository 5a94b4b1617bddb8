//! The page without a mouse, and on a phone.

use serde_json::{Value as Json, json};

use crate::bridge::Bridge;
use crate::webdriver::{Browser, ENTER, ESCAPE, LEFT, TAB};

/// More than the number of elements before the plots that have the focus.
const TABS: usize = 60;

/// Presses Tab until the focus is on an element that matches a selector.
#[track_caller]
fn tab_to(browser: &Browser, selector: &str) {
    let has_focus =
        || browser.run("return document.activeElement.matches(argument)", &json!(selector)) == true;
    let found = (0..TABS).any(|_| {
        browser.press(TAB);
        has_focus()
    });
    assert!(found, "Tab does not reach {selector}");
}

#[test]
fn the_keyboard_opens_and_closes_details_and_reads_plots() {
    let Some(browser) = Browser::start(1440, 900) else { return };
    let mut bridge = Bridge::start();
    let _node = bridge.node("worker-01");
    let address = bridge.added();
    browser.open(&bridge.url());
    browser.wait(
        "the peer is shown",
        "return document.querySelector('#picture .peer-card .cover')",
        &Json::Null,
    );

    tab_to(&browser, "#picture .peer-card .cover");
    let outline = browser.run("return getComputedStyle(document.activeElement).outlineStyle", &Json::Null);
    assert_eq!(outline, "solid", "the focus is visible");
    browser.press(ENTER);
    let details = browser.run("return document.getElementById('details').innerText", &Json::Null);
    let details = details.as_str().unwrap();
    for text in ["peer", &address, "zeek/management/node", "worker-01", "requests"] {
        assert!(details.contains(text), "{text}: {details}");
    }
    let is_inside = "return document.getElementById('details').contains(document.activeElement)";
    assert_eq!(browser.run(is_inside, &Json::Null), true);
    browser.press(ESCAPE);
    let state = "return [document.getElementById('details').hidden, document.activeElement.className]";
    assert_eq!(browser.run(state, &Json::Null), json!([true, "cover"]));

    tab_to(&browser, "#picture .node");
    browser.press(ENTER);
    let title = "return document.querySelector('#details-title').innerText";
    assert!(browser.run(title, &Json::Null).as_str().unwrap().contains("worker-01"));
    browser.press(ESCAPE);

    browser.wait(
        "a plot has a line",
        "return document.querySelector('.plot-area path.line[d^=M]')",
        &Json::Null,
    );
    tab_to(&browser, ".plot-area");
    browser.press(LEFT);
    let reading = browser.run("return document.activeElement.getAttribute('aria-valuetext')", &Json::Null);
    assert!(reading.as_str().unwrap().contains("nodes ↓ "), "{reading}");
    assert_eq!(browser.errors(), Vec::<String>::new());
}

#[test]
fn the_page_fits_on_a_phone_and_the_theme_is_kept() {
    let Some(browser) = Browser::start(360, 780) else { return };
    let mut bridge = Bridge::start();
    let _node = bridge.node("worker-with-a-very-long-name-that-does-not-fit-in-one-line-of-a-small-screen");
    let _ = bridge.added();
    let end = bridge.publish_denied("an_event_with_a_name_that_is_longer_than_the_screen_of_a_phone_is_wide");
    assert_eq!(end.code, Some(0));
    browser.open(&bridge.url());
    browser.wait("the node is shown", "return document.querySelector('#picture .node')", &Json::Null);
    let width = "return document.documentElement.scrollWidth";
    assert_eq!(browser.run(width, &Json::Null), 360);
    browser.run("document.querySelector('#picture .cover').click()", &Json::Null);
    assert_eq!(browser.run(width, &Json::Null), 360);

    let background = "return getComputedStyle(document.body).backgroundColor";
    let before = browser.run(background, &Json::Null);
    browser.run("document.getElementById('theme').click()", &Json::Null);
    let after = browser.run(background, &Json::Null);
    assert_ne!(before, after);
    browser.open(&bridge.url());
    assert_eq!(browser.run(background, &Json::Null), after);
}
