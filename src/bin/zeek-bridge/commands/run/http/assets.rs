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
    asset!("/page/page.js", "page.js", SCRIPT),
];

/// Returns the file at the path of a URL.
pub(super) fn find(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}
