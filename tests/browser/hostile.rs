//! What a peer sends is text.

use serde_json::{Value as Json, json};

use crate::bridge::Bridge;
use crate::webdriver::Browser;

/// Markup, and a character that reverses the direction of the text after it.
const NAME: &str = "<img src=x onerror=alert(1)>\u{202e}evil";
const SHOWN: &str = r"<img src=x onerror=alert(1)>\u{202e}evil";

#[test]
fn markup_and_hidden_characters_of_a_peer_are_shown_as_text() {
    let Some(browser) = Browser::start(1440, 900) else { return };
    let mut bridge = Bridge::start();
    let _node = bridge.node(NAME);
    let topic = format!("{NAME}</title><script>document.title='evil'</script>");
    let _tap = bridge.tap(&topic);
    let _ = (bridge.added(), bridge.added());
    assert_eq!(bridge.publish_denied(NAME).code, Some(0));
    browser.open(&bridge.url());

    let selectors = ["#picture .node", "#recent tr[data-kind=denied]"];
    for selector in selectors {
        let text = "return [...document.querySelectorAll(argument[0])].some((e) => e.innerText.includes(argument[1]))";
        browser.wait("the text is shown", text, &json!([selector, SHOWN]));
    }
    // The details of a peer show its filter.
    browser.run(
        "for (const cover of document.querySelectorAll('#picture .peer-card .cover')) {
            cover.click();
            if (document.getElementById('details').innerText.includes('<script>')) break;
        }",
        &Json::Null,
    );
    let text = "return document.getElementById('details').innerText.includes(argument)";
    browser.wait("the details show the filter", text, &json!(SHOWN));
    browser.run("document.querySelector('#picture .node').click()", &Json::Null);
    browser.wait("the details show the node", text, &json!(SHOWN));

    let found = browser.run(
        r"const all = [document.documentElement, ...document.querySelectorAll('*')];
        const texts = all.flatMap((element) => [
            ...[...element.attributes].map((attribute) => attribute.value),
            ...[...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data),
        ]);
        return {
            images: document.images.length,
            scripts: document.scripts.length,
            title: document.title,
            hidden: texts.filter((text) => /[\u202a-\u202e\u2066-\u2069\u200b-\u200f]/.test(text)).length,
            isolated: [...document.querySelectorAll('.isolated')]
                .every((element) => getComputedStyle(element).unicodeBidi === 'isolate'),
        };",
        &Json::Null,
    );
    let expected =
        json!({ "images": 0, "scripts": 1, "title": "zeek-bridge", "hidden": 0, "isolated": true });
    assert_eq!(found, expected);
    // A dialog of `alert` would have made the script above fail.
    assert_eq!(browser.errors(), Vec::<String>::new());
    let requests = browser.requests();
    assert!(requests.iter().all(|url| !url.ends_with("/x")), "{requests:?}");
}

/// All objects of JavaScript have properties with these names.
#[test]
fn links_may_have_the_names_of_properties() {
    let Some(browser) = Browser::start(1024, 768) else { return };
    let mut bridge = Bridge::start_with("127.0.0.1:0", ["__proto__", "constructor"]);
    let _node = bridge.node("worker-01");
    let _ = bridge.added();
    browser.open(&bridge.url());
    browser.wait(
        "the totals are complete",
        "return document.getElementById('totals').innerText === '2 links, 1 peer, 1 node'",
        &Json::Null,
    );
    browser.wait(
        "the picture shows the node",
        "return document.querySelector('#picture .node')",
        &Json::Null,
    );
    let shown = browser.run(
        "const texts = (selector) => [...document.querySelectorAll(selector)].map((e) => e.innerText).sort();
        return { links: texts('.link-card .card-title'), more: texts('.more:not([hidden])') };",
        &Json::Null,
    );
    assert_eq!(shown, json!({ "links": ["__proto__", "constructor"], "more": [] }));
    browser.run(
        "[...document.querySelectorAll('.link-card')].find((e) => e.innerText.includes('constructor')).click()",
        &Json::Null,
    );
    browser.wait(
        "the details show the number of peers",
        "return document.getElementById('details').innerText.toLowerCase().includes('peers: 1\\n')",
        &Json::Null,
    );
    assert_eq!(browser.errors(), Vec::<String>::new());
}
