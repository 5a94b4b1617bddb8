//! The page of a running bridge, in headless Chromium.
//!
//! The tests use WebDriver, and are skipped where Chromium or its driver is not installed. They run one at a time, because a
//! browser needs all processors of a small machine.

#![cfg(feature = "cli")]

#[path = "../common/program.rs"]
mod program;

mod bridge;
mod hostile;
mod keyboard;
mod live;
mod parts;
mod webdriver;
