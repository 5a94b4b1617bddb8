//! The options of the WebSocket API.

use std::path::PathBuf;

use clap::Args;
use zeek_bridge::endpoint::WebSocketConfig;
use zeek_bridge::websocket::{Access, Token, Tokens};

use super::address::protocol_of;
use super::network::Address;
use crate::environment;
use crate::output::Failure;

/// The environment variable of a token that is not in a file.
pub(crate) const TOKEN_VARIABLE: &str = "ZEEK_BRIDGE_TOKEN";

/// The name of the token that `--listen` requires.
const NAME: &str = "token";

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct WebSocketArgs {
    /// The file with the bearer token for a ws:// or wss:// address; the default is ZEEK_BRIDGE_TOKEN in the environment.
    /// Without TLS, tokens are for addresses of this host only. With --listen, clients must present the token
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

impl WebSocketArgs {
    /// Returns the settings of the WebSocket API for this address. Reads the token.
    pub(crate) fn settings(&self, address: &Address) -> Result<WebSocketConfig, Failure> {
        let (Address::Connect(text) | Address::Listen(text)) = address;
        let url = text.parse::<zeek_bridge::net::Url>().map_err(|error| Failure::usage(error.to_string()))?;
        if !url.scheme().is_websocket() {
            return match &self.token_file {
                None => Ok(WebSocketConfig::default()),
                Some(_) => Err(Failure::usage(format!(
                    "--token-file is for ws:// and wss:// addresses, and {text} is an address of {}; remove it",
                    protocol_of(text)
                ))),
            };
        }
        let Some(token) = self.token()? else { return Ok(WebSocketConfig::default()) };
        if url.scheme() == zeek_bridge::net::Scheme::WebSocket && !url.host_port().is_loopback() {
            return Err(Failure::usage(format!(
                "a token is not used with {text}, because ws:// is not encrypted and the address is not on this host; use wss://"
            )));
        }
        Ok(match address {
            Address::Connect(_) => WebSocketConfig { token: Some(token), ..WebSocketConfig::default() },
            Address::Listen(_) => {
                let tokens: Tokens = [(NAME, token)].into_iter().collect();
                WebSocketConfig {
                    access: Access { tokens, ..Access::default() },
                    ..WebSocketConfig::default()
                }
            }
        })
    }

    fn token(&self) -> Result<Option<Token>, Failure> {
        if let Some(path) = &self.token_file {
            return Token::from_file(path)
                .map(Some)
                .map_err(|error| Failure::usage(format!("--token-file {}: {error}", path.display())));
        }
        let Some(value) = environment::var(TOKEN_VARIABLE) else { return Ok(None) };
        let token = Token::new(value.to_str().unwrap_or_default());
        // The value is a secret, so it is not in the error.
        token.map(Some).map_err(|error| Failure::usage(format!("{TOKEN_VARIABLE}: {error}")))
    }
}
