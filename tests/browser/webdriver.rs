//! A client of the WebDriver protocol, for headless Chromium.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value as Json, json};

use crate::program::child::{LIMIT, Running, skip, within};

/// A browser with one window. Only one exists at a time.
pub struct Browser {
    port: u16,
    /// The path of the session, such as `/session/SESSION`.
    session: String,
    // Dropped after `drop` has ended the session, so that the driver can stop the browser.
    _driver: Running,
    _profile: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

static TURN: Mutex<()> = Mutex::new(());

/// Keys of WebDriver.
pub const TAB: &str = "\u{e004}";
pub const ENTER: &str = "\u{e007}";
pub const ESCAPE: &str = "\u{e00c}";
pub const LEFT: &str = "\u{e012}";

impl Browser {
    /// Starts a browser with a window of this size in pixels. Returns `None`, after a notice, if none is installed.
    pub fn start(width: u32, height: u32) -> Option<Self> {
        let (Some(driver), Some(chromium)) = (find("chromedriver"), find("chromium")) else {
            skip(
                "chromium or chromedriver is not installed: the page of a bridge is not tested in a browser",
            );
            return None;
        };
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let profile = tempfile::tempdir().unwrap();
        let mut driver = Running::spawn(
            Command::new(driver)
                .arg("--port=0")
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null()),
        );
        let stdout = driver.stdout.take().unwrap();
        let port = within("the port of chromedriver", move || {
            let mut lines = BufReader::new(stdout).lines().map(Result::unwrap);
            let line = lines.find(|line| line.contains("started successfully on port ")).unwrap();
            // The driver must not block on a full pipe.
            std::thread::spawn(move || lines.for_each(drop));
            let (_, port) = line.trim_end_matches('.').rsplit_once(' ').unwrap();
            port.parse().unwrap()
        });
        let mut browser =
            Browser { port, session: String::new(), _driver: driver, _profile: profile, _turn: turn };
        let arguments = [
            "--headless=new".to_owned(),
            // The sandbox does not work for root and in containers. The page is ours.
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--no-first-run".to_owned(),
            "--no-proxy-server".to_owned(),
            format!("--window-size={width},{height}"),
            format!("--user-data-dir={}", browser._profile.path().display()),
        ];
        let capabilities = json!({
            "goog:chromeOptions": { "args": arguments, "binary": chromium },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
            "timeouts": { "script": LIMIT.as_millis(), "pageLoad": LIMIT.as_millis() },
        });
        let session = browser.post("/session", &json!({ "capabilities": { "alwaysMatch": capabilities } }));
        browser.session = format!("/session/{}", session["sessionId"].as_str().unwrap());
        // A window of Chromium is at least 500 pixels wide, so that a phone is emulated.
        let metrics =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 });
        let parameters = json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": metrics });
        browser.command("/goog/cdp/execute", &parameters);
        Some(browser)
    }

    pub fn open(&self, url: &str) {
        self.command("/url", &json!({ "url": url }));
    }

    /// Runs the body of a function, which has `argument`, and returns its result. A promise is awaited.
    #[track_caller]
    pub fn run(&self, body: &str, argument: &Json) -> Json {
        let script = format!("return (async (argument) => {{ {body} }})(arguments[0]);");
        self.command("/execute/sync", &json!({ "script": script, "args": [argument] }))
    }

    /// Waits until the body of a function returns something other than `false`, `null` or 0, and returns it. The function is
    /// called after each change of the page.
    #[track_caller]
    pub fn wait(&self, what: &str, body: &str, argument: &Json) -> Json {
        let script = format!(
            "const [argument, done] = arguments;
            const condition = () => {{ {body} }};
            const observer = new MutationObserver(() => check());
            const check = () => {{
                const value = condition();
                if (value) {{ observer.disconnect(); done(value); }}
                return value;
            }};
            const all = {{ subtree: true, childList: true, attributes: true, characterData: true }};
            if (!check()) observer.observe(document, all);"
        );
        match self.try_command("/execute/async", &json!({ "script": script, "args": [argument] })) {
            Ok(value) => value,
            Err(error) => {
                let text = self.run("return document.body.innerText", &Json::Null);
                panic!("{what} ({argument}): {error}; the page: {text}; the console: {:?}", self.errors());
            }
        }
    }

    /// Presses and releases a key.
    pub fn press(&self, key: &str) {
        let press = json!([{ "type": "keyDown", "value": key }, { "type": "keyUp", "value": key }]);
        self.command(
            "/actions",
            &json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": press }] }),
        );
    }

    /// Returns the errors and warnings in the console since the last call. Violations of the Content-Security-Policy are errors.
    pub fn errors(&self) -> Vec<String> {
        let is_error = |entry: &Json| ["SEVERE", "WARNING"].iter().any(|level| entry["level"] == *level);
        self.log("browser")
            .iter()
            .filter(|entry| is_error(entry))
            .map(|entry| entry["message"].to_string())
            .collect()
    }

    /// Returns the URLs that the page has requested since the last call. The start page of the browser is left out.
    pub fn requests(&self) -> Vec<String> {
        let url = |entry: &Json| {
            let event: Json = serde_json::from_str(entry["message"].as_str()?).ok()?;
            let event = &event["message"];
            let is_request = event["method"] == "Network.requestWillBeSent";
            is_request.then(|| event["params"]["request"]["url"].as_str().unwrap().to_owned())
        };
        self.log("performance").iter().filter_map(url).filter(|url| !url.starts_with("chrome:")).collect()
    }

    fn log(&self, kind: &str) -> Vec<Json> {
        self.command("/se/log", &json!({ "type": kind })).as_array().unwrap().clone()
    }

    #[track_caller]
    fn command(&self, path: &str, body: &Json) -> Json {
        self.post(&format!("{}{path}", self.session), body)
    }

    fn try_command(&self, path: &str, body: &Json) -> Result<Json, String> {
        self.request("POST", &format!("{}{path}", self.session), body)
    }

    #[track_caller]
    fn post(&self, path: &str, body: &Json) -> Json {
        self.request("POST", path, body).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn request(&self, method: &str, path: &str, body: &Json) -> Result<Json, String> {
        let (port, body) = (self.port, body.to_string());
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        let text = |error: std::io::Error| error.to_string();
        let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(text)?;
        // A script has its own limit, which is reported with the state of the page.
        stream.set_read_timeout(Some(LIMIT * 2)).unwrap();
        stream.write_all(format!("{head}{body}").as_bytes()).map_err(text)?;
        // The driver does not close the connection.
        let mut stream = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).map_err(text)?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                if line.trim_end().is_empty() { break } else { continue }
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).map_err(text)?;
        let mut json: Json = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        let value = json["value"].take();
        match value["error"].as_str() {
            Some(error) => Err(format!("{error}: {}", value["message"])),
            None => Ok(value),
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            // Otherwise, the browser would outlive its driver.
            let _ = self.request("DELETE", &self.session, &json!({}));
        }
    }
}

/// Returns the path of a program, if it is installed.
fn find(program: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths)
        .map(|folder| folder.join(program))
        .find(|path: &PathBuf| Path::is_file(path))
}
