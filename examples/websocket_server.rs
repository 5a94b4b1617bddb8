//! Serves Zeek's WebSocket API to clients that have a token. It answers each `ping` event with a `pong` event.
//!
//! ```console
//! $ cargo run --example websocket_server -- ws://127.0.0.1:27759 secret
//! ```
//!
//! Clients send the header `Authorization: Bearer secret`, such as `zeek-bridge tap --connect ws://127.0.0.1:27759
//! --token-file FILE --topic /demo/pong`.

use std::error::Error;
use std::{env, io};

use zeek_bridge::endpoint::{EndpointConfig, WebSocketConfig};
use zeek_bridge::prelude::*;
use zeek_bridge::websocket::{Access, Token, Tokens};
use zeek_bridge::zeek_event;

zeek_event! {
    /// In Zeek: `global ping: event(text: string, n: count);`
    #[derive(Clone, Debug, PartialEq)]
    pub struct Ping("ping") {
        pub text: String,
        pub n: u64,
    }
}

zeek_event! {
    /// In Zeek: `global pong: event(text: string, n: count);`
    #[derive(Clone, Debug, PartialEq)]
    pub struct Pong("pong") {
        pub text: String,
        pub n: u64,
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let address = args.next().unwrap_or_else(|| "ws://127.0.0.1:27759".to_owned());
    let token = args.next().ok_or("the second argument is the token")?;
    serve(&address, &token, io::stdout()).await
}

/// Answers the clients, and writes a line for each `ping`.
pub async fn serve(address: &str, token: &str, mut output: impl io::Write) -> Result<(), Box<dyn Error>> {
    let mut tokens = Tokens::default();
    tokens.insert("client", Token::new(token)?);
    let access = Access { tokens, ..Access::default() };
    let websocket = WebSocketConfig { access, ..WebSocketConfig::default() };
    let endpoint = Endpoint::with_config(EndpointConfig { websocket, ..EndpointConfig::default() })?;
    let mut messages = endpoint.subscribe("/demo/ping").await;
    let listener = endpoint.listen(address, Tls::Off).await?;
    writeln!(output, "listening on {}", listener.url())?;

    while let Some(message) = messages.recv().await {
        // A client can send anything. Messages that are not a `ping` are ignored.
        let Ok(Ping { text, n }) = message.event() else { continue };
        // Replace characters that control a terminal, because the client chooses the text.
        writeln!(output, "ping {} {n}", text.replace(steers_terminal, "?"))?;
        endpoint.publish("/demo/pong", Pong { text, n: n.saturating_add(1) }).await?;
    }
    Ok(())
}
