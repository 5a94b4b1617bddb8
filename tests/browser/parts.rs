//! The files of the page, and modules of which a browser run alone shows too little.

use std::path::PathBuf;

use serde_json::{Value as Json, json};

use crate::bridge::Bridge;
use crate::webdriver::Browser;

fn files() -> Vec<PathBuf> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/bin/zeek-bridge/commands/run/page");
    let files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!files.is_empty());
    files
}

/// Text from peers would become markup, or the Content-Security-Policy would reject the page.
#[test]
fn no_file_creates_markup_from_text_or_has_inline_code() {
    let everywhere =
        ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "DOMParser", "Function("];
    let in_markup = [" style=", " onclick=", " onload=", "<style", "javascript:"];
    for path in files() {
        let text = std::fs::read_to_string(&path).unwrap();
        let found: Vec<_> = everywhere.iter().filter(|word| text.contains(*word)).collect();
        assert!(found.is_empty(), "{found:?} in {}", path.display());
        if path.extension().is_some_and(|extension| extension == "html") {
            let found: Vec<_> = in_markup.iter().filter(|word| text.contains(*word)).collect();
            assert!(found.is_empty(), "{found:?} in {}", path.display());
            assert_eq!(text.matches("<script").count(), text.matches("<script type=\"module\" src=").count());
        }
        for url in text.split("://").skip(1) {
            // The only URLs are the name of the SVG format, and what a link may listen on.
            let is_name = url.starts_with("www.w3.org/2000/svg") || !url.starts_with(char::is_alphanumeric);
            assert!(is_name, "a URL in {}: {}", path.display(), url.lines().next().unwrap_or_default());
        }
    }
}

#[test]
fn the_bridge_serves_all_files_of_the_page() {
    let bridge = Bridge::start();
    for path in files() {
        let name = path.file_name().unwrap().to_str().unwrap();
        let url = if name == "index.html" { "/".to_owned() } else { format!("/page/{name}") };
        let (head, body) = bridge.get(&url);
        assert!(head.starts_with("HTTP/1.1 200 "), "{url}: {head}");
        assert_eq!(body, std::fs::read_to_string(&path).unwrap(), "{url}");
    }
}

#[test]
fn modules_of_the_page() {
    let Some(browser) = Browser::start(800, 600) else { return };
    let bridge = Bridge::start();
    browser.open(&bridge.url());
    let call = |module: &str, body: &str, argument: Json| {
        browser.run(&format!("const module = await import('/page/{module}.js'); {body}"), &argument)
    };

    let texts = json!([
        "Zürich 東京 🦀",
        "a\u{1b}[2J\n",
        "\u{202e}x\u{2069}",
        "a\u{200b}b\u{feff}c\u{ad}",
        "a\u{a0}b\u{3000}c",
        r"\u{202e}",
        "e\u{301}\u{301}\u{301}\u{301}\u{301}",
        "\u{e0041}",
        null,
        7,
    ]);
    let visible = json!([
        "Zürich 東京 🦀",
        r"a\u{1b}[2J\u{a}",
        r"\u{202e}x\u{2069}",
        r"a\u{200b}b\u{feff}c\u{ad}",
        r"a\u{a0}b\u{3000}c",
        r"\\u{202e}",
        "e\u{301}\u{301}\u{301}\u{301}\\u{301}",
        r"\u{e0041}",
        "",
        "7",
    ]);
    assert_eq!(call("text", "return argument.map(module.visible)", texts), visible);
    let long = call("text", "return module.visible('x'.repeat(argument)).length", json!(1_000_000));
    assert_eq!(long, 2001);

    let numbers = json!([0, 0.004, 0.5, 7, 99.96, 1234, 999_600, 12_345_678]);
    let shown = json!(["0/s", "0/s", "0.5/s", "7/s", "100/s", "1.23 k/s", "1 M/s", "12.3 M/s"]);
    assert_eq!(call("format", "return argument.map(module.rate)", numbers), shown);
    let shown = call("format", "return argument.map(module.duration)", json!([0, 61, 3600, 90_061]));
    assert_eq!(shown, json!(["0 s", "1 min 1 s", "1 h", "1 d 1 h"]));

    // A restart sets counters to 0, and a new counter has no rate yet.
    let rates = "const rates = new module.Rates();
        rates.update(0, [['a', 10]]);
        rates.update(1, [['a', 30], ['b', 5]]);
        const first = [rates.get('a'), rates.get('b')];
        rates.update(2, [['a', 0], ['b', 5]]);
        return [...first, rates.get('b'), rates.get('a') < 20, rates.get('c')];";
    assert_eq!(call("rates", rates, Json::Null), json!([20, 0, 0, true, 0]));

    // Samples are consecutive unless the clock is set back, and at most one hour of them is kept. A new link has no earlier values.
    let history = "const history = new module.History();
        const values = (count) => Array(count).fill(1);
        history.load({ interval: 5, end: 1000, links: [{ name: 'a', messages_in: values(720) }] });
        const sample = (end) => ({ end, links: [{ name: 'a', messages_in: [2] }, { name: 'b', messages_in: [3] }] });
        const results = [1000, 1005, 1015, 900].map((end) => history.append(sample(end)));
        const group = history.group('messages_in');
        return [results, history.length, history.timeAt(719), group.get('a').slice(-2), group.get('b').slice(-2)];";
    assert_eq!(
        call("history", history, Json::Null),
        json!([[true, true, false, false], 720, 1005, [1, 2], [null, 3]])
    );

    // The first request for the last hour has failed.
    let history = "const history = new module.History();
        return [[1000, 1005].map((end) => history.append({ end, in_flight: [1] })), history.length];";
    assert_eq!(call("history", history, Json::Null), json!([[false, false], 2]));

    // A busier peer replaces the least busy one in its slot. A peer that left keeps its slot for a while.
    let slots = "const slots = new module.Slots(2);
        const update = (time, peers) => slots
            .update(Object.entries(peers).map(([key, weight]) => ({ key, weight })), time)
            .map((slot) => slot.key + (slot.isGone ? '!' : ''))
            .join(' ');
        return [
            update(0, { a: 1, b: 2, c: 0 }), update(1, { c: 1.4, b: 2, a: 1 }), update(2, { a: 1, b: 2, c: 9 }),
            update(3, { c: 9 }), update(20, { c: 9 }),
        ];";
    assert_eq!(call("slots", slots, Json::Null), json!(["b a", "b a", "b c", "b! c", "c"]));

    let ticks = call("scale", "return module.linear(argument, true).ticks", json!(1900));
    assert_eq!(ticks, json!([-2000, -1000, 0, 1000, 2000]));
    let ticks = call("scale", "return module.logarithmic(2e-4, 3e-3).ticks", Json::Null);
    assert_eq!(ticks, json!([1e-4, 1e-3, 1e-2]));
}

#[test]
fn modules_of_the_page_with_much_data_or_in_an_unusual_browser() {
    let Some(browser) = Browser::start(800, 600) else { return };
    let bridge = Bridge::start();
    browser.open(&bridge.url());
    let call = |module: &str, body: &str| {
        browser.run(&format!("const module = await import('/page/{module}.js'); {body}"), &Json::Null)
    };

    // A peer that is missing has left if the status is complete, or if the newest entry about it is its disconnect.
    let left = "const model = new module.Model();
        const peer = { id: 'p', address: 'a', connected: 60 };
        const link = { name: 'toString', listening: [], connecting: ['a'], ready: false, peers: [] };
        const entry = (time, kind) => ({ time, kind, link: link.name, peer: 'p', address: 'a' });
        const hasLeft = (omitted, recent) => {
            const status = { started: '', uptime: 1, links: [link], rules: [], nodes: [], refused: {}, recent };
            model.update({ time: 1001, status, omitted: omitted ? { [link.name]: omitted } : {} });
            return [model.hasLeft(link, peer, 1000), model.missing(link).length];
        };
        return [
            hasLeft(0, []), hasLeft(5, []), hasLeft(5, [entry(1000.5, 'disconnected'), entry(940, 'connected')]),
            hasLeft(5, [entry(940, 'connected'), entry(939, 'disconnected')]), hasLeft(5, [entry(900, 'disconnected')]),
        ];";
    let expected = json!([[true, 1], [false, 0], [true, 1], [false, 0], [false, 1]]);
    assert_eq!(call("model", left), expected);
    let slots = "const slots = new module.Slots(2);
        const update = (time, keys) => slots.update(keys.map((key) => ({ key, weight: 0 })), time, (slot) => slot.key !== 'b')
            .map((slot) => slot.key + (slot.isGone ? '!' : '')).join(' ');
        return [update(5000, ['a', 'b']), update(5001, []), update(1000, [])];";
    assert_eq!(call("slots", slots), json!(["a b", "a!", ""]));

    // More values than a function may have arguments. One plot has a line for each of 15 links and for the others.
    let plots = "const { History } = await import('/page/history.js');
        const values = (value) => Array(720).fill(value);
        const names = [...Array(200).keys()];
        const links = names.map((name) => ({ name: `link-${name}`, messages_in: values(name), queued: values(name) }));
        const history = new History();
        history.load({ interval: 5, end: 5000, links });
        const [root, ranges] = [document.createElement('div'), document.createElement('div')];
        document.body.append(root, ranges);
        new module.Plots(root, ranges).update(history);
        const queues = [...root.querySelectorAll('.plot')].find((plot) => plot.innerText.includes('Queues'));
        return [queues.querySelectorAll('.plot-area path.line').length,
            [...queues.querySelectorAll('.legend li')].at(-1).innerText, queues.querySelectorAll('.plot-area path.sum').length];";
    assert_eq!(call("plots", plots), json!([16, "185 others", 1]));

    let choice = "Object.defineProperty(window, 'localStorage', { get() { throw new Error('blocked'); } });
        const before = module.choice('range');
        module.storeChoice('range', 300);
        return [before, module.choice('range')];";
    assert_eq!(call("dom", choice), json!([null, "300"]));

    // A browser that has to sign in asks for the reason once, and connects rarely.
    let live = "const [sources, timers, states] = [[], [], []];
        let requests = 0;
        window.EventSource = class extends EventTarget {
            static CLOSED = 2;
            readyState = 2;
            constructor() { super(); sources.push(this); }
            close() {}
        };
        window.fetch = async () => { requests += 1; return { ok: false, status: 401 }; };
        window.setTimeout = (run, delay) => timers.push({ run, delay });
        const fail = async () => {
            sources.at(-1).dispatchEvent(new Event('error'));
            for (let turn = 0; turn < 10; turn += 1) await null;
            return timers.at(-1).delay;
        };
        new module.Live({ onState: (state, text) => states.push(text) });
        const delays = [await fail()];
        timers.at(-1).run();
        delays.push(await fail());
        return [delays, sources.length, requests, states.at(-1)];";
    assert_eq!(call("live", live), json!([[30000, 30000], 2, 1, "Reload the page to sign in"]));
    assert_eq!(browser.errors(), Vec::<String>::new());
}
