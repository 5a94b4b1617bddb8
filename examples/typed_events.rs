//! Declares the events and the record of a Zeek script as Rust types. The example receives one of the events and
//! answers with the other one.
//!
//! ```console
//! $ zeek examples/zeek/hosts.zeek Broker::disable_ssl=T &
//! $ cargo run --example typed_events -- 127.0.0.1:9999
//! ```
//!
//! A Zeek process without TLS settings uses anonymous TLS. To connect to it, add a second argument, `anonymous`, and build
//! the example with `--features openssl`.

use std::collections::BTreeSet;
use std::error::Error;
use std::net::IpAddr;
use std::{env, io};

use zeek_bridge::prelude::*;

zeek_record! {
    /// In Zeek: `type Demo::Host: record { ip: addr; services: set[port]; name: string &optional; };`
    ///
    /// The `..` accepts extra fields that a site has added with `redef record`.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Host {
        pub ip: IpAddr,
        pub services: BTreeSet<Port>,
        pub name: Option<String>,
        ..
    }
}

zeek_event! {
    /// In Zeek: `global Demo::host_seen: event(host: Host, times: count);`
    #[derive(Clone, Debug, PartialEq)]
    pub struct HostSeen("Demo::host_seen") {
        pub host: Host,
        pub times: u64,
    }
}

zeek_event! {
    /// In Zeek: `global Demo::host_named: event(ip: addr, name: string);`
    #[derive(Clone, Debug, PartialEq)]
    pub struct HostNamed("Demo::host_named") {
        pub ip: IpAddr,
        pub name: String,
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let address = args.next().unwrap_or_else(|| "127.0.0.1:9999".to_owned());
    let tls = if args.next().as_deref() == Some("anonymous") { Tls::anonymous()? } else { Tls::Off };
    name_hosts(&address, tls, io::stdout()).await
}

/// Answers each `host_seen` event of a host without a name with a `host_named` event.
pub async fn name_hosts(address: &str, tls: Tls, mut output: impl io::Write) -> Result<(), Box<dyn Error>> {
    let endpoint = Endpoint::new()?;
    let mut messages = endpoint.subscribe("/demo/hosts").await;
    endpoint.connect_with_retry(address, tls, Retry::default()).await?;

    while let Some(message) = messages.recv().await {
        // If the event has a different name or different arguments, the error describes the difference.
        let HostSeen { host, times } = match message.event() {
            Ok(seen) => seen,
            Err(error) => {
                // The error contains the name of the event, and the peer chooses this name.
                writeln!(output, "ignored: {}", error.to_string().replace(steers_terminal, "?"))?;
                continue;
            }
        };
        writeln!(output, "{} was seen {times} times, with {} services", host.ip, host.services.len())?;
        if host.name.is_none() {
            let named = HostNamed { ip: host.ip, name: format!("host-{}", host.ip) };
            endpoint.publish("/demo/names", named).await?;
        }
    }
    Ok(())
}
