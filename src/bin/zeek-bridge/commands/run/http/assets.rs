//! The files of the page, which are part of the program.

/// A file of the page.
pub(super) struct Asset {
    /// The path of its URL.
    pub(super) path: &'static str,
    pub(super) content_type: &'static str,
    pub(super) content: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! asset {
    ($path:literal, $file:literal, $content_type:expr) => {
        Asset {
            path: $path,
            content_type: $content_type,
            content: include_bytes!(concat!("../page/", $file)),
        }
    };
}

/// All files of the page.
const ASSETS: &[Asset] = &[
    asset!("/", "index.html", HTML),
    asset!("/page/page.css", "page.css", CSS),
    asset!("/page/arrows.js", "arrows.js", SCRIPT),
    asset!("/page/cards.js", "cards.js", SCRIPT),
    asset!("/page/details.js", "details.js", SCRIPT),
    asset!("/page/dom.js", "dom.js", SCRIPT),
    asset!("/page/facts.js", "facts.js", SCRIPT),
    asset!("/page/format.js", "format.js", SCRIPT),
    asset!("/page/history.js", "history.js", SCRIPT),
    asset!("/page/live.js", "live.js", SCRIPT),
    asset!("/page/model.js", "model.js", SCRIPT),
    asset!("/page/page.js", "page.js", SCRIPT),
    asset!("/page/picture.js", "picture.js", SCRIPT),
    asset!("/page/plot.js", "plot.js", SCRIPT),
    asset!("/page/plots.js", "plots.js", SCRIPT),
    asset!("/page/rates.js", "rates.js", SCRIPT),
    asset!("/page/recent.js", "recent.js", SCRIPT),
    asset!("/page/scale.js", "scale.js", SCRIPT),
    asset!("/page/slots.js", "slots.js", SCRIPT),
    asset!("/page/styles.js", "styles.js", SCRIPT),
    asset!("/page/tables.js", "tables.js", SCRIPT),
    asset!("/page/text.js", "text.js", SCRIPT),
];

/// Returns the file at the path of a URL.
pub(super) fn find(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}
