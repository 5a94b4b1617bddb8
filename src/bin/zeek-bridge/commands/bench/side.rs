//! The two sides of the relay: the publisher's and the subscribers'.

use clap::ValueEnum;
use zeek_bridge::net::tls::{ServerHost, Tls};
use zeek_bridge::net::{AddressError, Scheme, Url};
use zeek_bridge::websocket::Token;

use crate::args::network::Address;
use crate::args::tls::TlsArgs;
use crate::args::{Role, Source, WebSocketArgs, scheme};
use crate::output::Failure;

/// The protocol of a side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Protocol {
    #[default]
    Broker,
    #[value(name = "websocket")]
    WebSocket,
    #[value(name = "zeromq")]
    ZeroMq,
}

impl Protocol {
    pub(super) fn of(address: &str) -> Self {
        match scheme(address) {
            Scheme::Broker => Protocol::Broker,
            Scheme::ZeroMq => Protocol::ZeroMq,
            _ => Protocol::WebSocket,
        }
    }
}

/// The role of a peer of the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PeerRole {
    Publisher,
    Subscriber,
}

/// The address of one side, and the credentials to connect to it.
#[derive(Clone, Debug)]
pub(super) struct Side {
    pub(super) address: String,
    pub(super) tls: Tls,
    /// The host that the certificate of a server must contain.
    pub(super) host: ServerHost,
    /// For the WebSocket API only.
    pub(super) token: Option<Token>,
}

impl Side {
    pub(super) fn protocol(&self) -> Protocol {
        Protocol::of(&self.address)
    }

    /// Returns the address to connect to. A ZeroMQ proxy has a socket for publishers and one for subscribers.
    pub(super) fn target(&self, role: PeerRole) -> Result<String, AddressError> {
        let url: Url = self.address.parse()?;
        let socket = match role {
            PeerRole::Publisher => url.xsub(),
            PeerRole::Subscriber => url.xpub(),
        };
        Ok(socket.map_or_else(|| self.address.clone(), |socket| socket.to_string()))
    }

    /// Reads the certificates and the token for the two addresses. Options that apply to neither are errors.
    pub(super) fn load(
        addresses: [&str; 2],
        tls: &TlsArgs,
        websocket: &WebSocketArgs,
    ) -> Result<[Side; 2], Failure> {
        let [publish_to, subscribe_at] = addresses;
        let has = |wanted| addresses.into_iter().any(|address| scheme(address) == wanted);
        let unused = match (has(Scheme::Broker), has(Scheme::SecureWebSocket)) {
            (false, false) => tls.conflict_with(scheme(publish_to)),
            (false, true) => tls.conflict_with(Scheme::SecureWebSocket),
            (true, _) => None,
        };
        if let Some(reason) = unused {
            return Err(Failure::usage(format!(
                "--{} cannot be used with {publish_to}: {reason}; remove the option",
                tls.first_option()
            )));
        }
        let is_websocket = |address: &&str| scheme(address).is_websocket();
        if !addresses.iter().any(is_websocket) {
            // Refuses a token.
            websocket.settings(&Address::Connect(publish_to.to_owned()))?;
        }
        let beside_secure = has(Scheme::SecureWebSocket).then(|| tls.beside_secure());
        let for_broker = beside_secure.as_ref().unwrap_or(tls);
        let load = |address: &str| {
            let tls = match scheme(address) {
                Scheme::WebSocket | Scheme::ZeroMq => Tls::Off,
                Scheme::SecureWebSocket => tls.secure(&Source::COMMAND_LINE, Role::Client)?,
                _ => for_broker.load()?,
            };
            let connect = Address::Connect(address.to_owned());
            let token = if is_websocket(&address) { websocket.settings(&connect)?.token } else { None };
            let url: Url =
                address.parse().map_err(|error: AddressError| Failure::usage(error.to_string()))?;
            let host = url.server_host(&tls).map_err(|error| Failure::usage(error.to_string()))?;
            Ok(Side { address: address.to_owned(), tls, host, token })
        };
        Ok([load(publish_to)?, load(subscribe_at)?])
    }
}
