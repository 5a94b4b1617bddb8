//! `probe`: identifies the service at an address, and shows how to connect to it.

mod websocket;
mod zeromq;

use std::net::SocketAddr;

use clap::Args;
use serde::Serialize;
use serde_json::{Value as Json, json};
use zeek_bridge::net::Scheme;
use zeek_bridge::net::probe::{Answer, BrokerInfo, Found, ProbeReport, probe};
use zeek_bridge::net::tls::{PeerIdentity, Tls};

use crate::args::tls::{CertificateArgs, TlsArgs, TlsChoice};
use crate::args::{
    Address, AddressArg, CurveArgs, DurationArg, FormatArgs, ProfileArg, WebSocketArgs, connect_address,
    scheme,
};
use crate::deadline;
use crate::output::{Failure, Output, identity_json, printable, steers, to_line};
use crate::settings;
use crate::verdict::{Reach, Verdict};

/// Identify what listens at an address and which options reach it
///
/// Reports whether the address has no service, a Broker endpoint without TLS, Zeek's anonymous TLS, mutual TLS (with the names
/// of the CAs), or a different service. Also reports the id, the versions and the filter of a Broker endpoint, if they can be
/// read: without TLS; with anonymous TLS in a build with `--features openssl`; with mutual TLS if certificates are given. The
/// probe disconnects before a peering is established.
///
/// The last line is the command that prints the events of this endpoint.
///
/// At a ws:// or wss:// address, reports the server of the WebSocket API: the version of Zeek and the endpoint. At a zeromq://
/// address, reports the security mechanism and the sockets of the proxy of a ZeroMQ cluster and, with keys of CURVE, whether the proxy
/// accepts them.
#[derive(Debug, Args)]
pub(crate) struct ProbeArgs {
    /// The address to probe; the default is ZEEK_BRIDGE_CONNECT, or the address of a profile
    #[arg(value_name = "HOST:PORT", value_parser = connect_address)]
    target: Option<AddressArg>,
    /// The address to probe, as for the other commands
    #[arg(short, long, value_name = "HOST:PORT", value_parser = connect_address, conflicts_with = "target")]
    connect: Option<AddressArg>,
    #[command(flatten)]
    format: FormatArgs,
    /// Maximum time for each attempt. There are at most five attempts, and most attempts need only a fraction of this time
    #[arg(long, value_name = "DURATION", default_value = "5s", allow_negative_numbers = true)]
    wait: DurationArg,
    /// Maximum run time of the command
    #[arg(long, value_name = "DURATION", allow_negative_numbers = true)]
    timeout: Option<DurationArg>,
    #[command(flatten, next_help_heading = "Connection")]
    profile: ProfileArg,
    #[command(flatten)]
    certificates: CertificateArgs,
    #[command(flatten)]
    websocket: WebSocketArgs,
    #[command(flatten)]
    curve: CurveArgs,
}

pub(crate) async fn run(args: ProbeArgs) -> Result<(), Failure> {
    let timeout_at = args.timeout.map(|time| deadline::after(time.0));
    let own = TlsArgs::of_certificates(args.certificates);
    let target = args.target.or(args.connect);
    let (AddressArg(target), tls, zeromq) =
        settings::choose_for_probe(target, args.profile.profile, own, args.curve)?;
    let target = &target;
    let not_in_time =
        || Failure::timeout(format!("timeout: {target} is not identified yet; use a longer --timeout"));
    if scheme(target) == Scheme::ZeroMq {
        // Refuses a token, and options for TLS.
        args.websocket.settings(&Address::Connect(target.clone()))?;
        let proxy = tokio::select! {
            proxy = zeromq::probe(target, &zeromq, args.wait.0) => proxy?,
            () = deadline::until(timeout_at) => return Err(not_in_time()),
        };
        return proxy.print(target, &zeromq, args.format.is_json());
    }
    if scheme(target).is_websocket() {
        let settings = args.websocket.settings(&Address::Connect(target.clone()))?;
        let tls_options = tls;
        let tls = match tls_options.as_ref().map(settings::TlsSettings::load).transpose()? {
            Some(TlsChoice::Fixed(tls)) => tls,
            _ => Tls::Off,
        };
        let mut options =
            tls_options.as_ref().map(|tls| tls.args.certificates.as_options()).unwrap_or_default();
        options
            .extend(args.websocket.token_file.iter().map(|file| ("token-file", file.display().to_string())));
        let probe = websocket::probe(target, tls, settings, args.wait.0);
        let server = tokio::select! {
            server = probe => server?,
            () = deadline::until(timeout_at) => return Err(not_in_time()),
        };
        return server.print(target, &options, args.format.is_json());
    }
    // A probe only uses the certificates to present, so all other TLS options are ignored.
    let tls = tls.filter(|tls| tls.args.has_certificates());
    let ours = match tls.as_ref().map(settings::TlsSettings::load).transpose()? {
        Some(TlsChoice::Fixed(Tls::Mutual(mutual))) => Some(mutual),
        _ => None,
    };
    let report = tokio::select! {
        report = probe(target, ours.as_ref(), args.wait.0) => report
            .map_err(|error| Failure::failed(format!("no random number for an endpoint id: {error}")))?,
        () = deadline::until(timeout_at) => return Err(not_in_time()),
    };
    let given = tls.map(|tls| tls.args.certificates.as_options()).unwrap_or_default();
    let verdict = Verdict::of(&report, &given);
    let mut output = Output::new();
    if args.format.is_json() {
        output.line(&to_line(&document(&report, &verdict)))?;
    } else {
        for line in lines(&report, &verdict) {
            output.line(printable(&line).as_bytes())?;
        }
    }
    output.flush()?;
    verdict.exit.map_or(Ok(()), |exit| Err(Failure::Reported(exit)))
}

/// Returns the information that a Broker endpoint has sent.
fn broker(found: &Found) -> Option<&BrokerInfo> {
    let answer = match found {
        Found::Plain(broker) => return Some(broker),
        Found::Anonymous(answer) => answer.as_ref()?,
        Found::Certificate(found) => found.with_ours.as_ref().unwrap_or(&found.without),
        _ => return None,
    };
    if let Answer::Broker(broker) = answer { Some(broker) } else { None }
}

/// The line of JSON about a service.
#[derive(Serialize)]
struct Document<'a> {
    target: &'a str,
    address: Option<SocketAddr>,
    found: &'static str,
    summary: &'a str,
    tls: Json,
    broker: Option<Json>,
    options: Option<&'a [String]>,
    command: Option<String>,
    zeek: Option<&'static [&'static str]>,
    notes: &'a [String],
}

fn document<'a>(report: &'a ProbeReport, verdict: &'a Verdict) -> Document<'a> {
    let tls = match &report.found {
        Found::Anonymous(_) => {
            json!({"version": "TLS 1.2", "certificate": null, "asks_for_certificate": false, "cas": []})
        }
        Found::Certificate(found) => {
            let mut certificate = identity_json(&found.certificate);
            if let Some(certificate) = certificate.as_object_mut() {
                certificate.insert("issuer".into(), found.issuer.as_str().into());
            }
            json!({
                "version": found.version,
                "certificate": certificate,
                "asks_for_certificate": found.asks_for.is_some(),
                "cas": found.asks_for.as_deref().unwrap_or_default(),
            })
        }
        _ => Json::Null,
    };
    let broker = broker(&report.found).map(|broker| {
        json!({
            "id": broker.id,
            "versions": broker.versions.as_ref().map(|versions| [*versions.start(), *versions.end()]),
            "filter": broker.filter,
            "cut_short": broker.cut_short,
        })
    });
    let reach = verdict.reach.as_ref();
    Document {
        target: &report.target,
        address: report.address,
        found: verdict.kind,
        summary: &verdict.summary,
        tls,
        broker,
        options: reach.map(|reach| reach.options.as_slice()),
        command: reach.map(command),
        zeek: reach.map(|reach| reach.zeek),
        notes: &verdict.notes,
    }
}

fn lines(report: &ProbeReport, verdict: &Verdict) -> Vec<String> {
    let mut lines = vec![format!("{}: {}", report.target, verdict.summary)];
    let mut line = |name: &str, text: String| lines.push(format!("  {name:<12} {text}"));
    if let Some(address) = report.address.map(|address| address.to_string()).filter(|a| *a != report.target) {
        line("address", address);
    }
    if let Found::Certificate(found) = &report.found {
        let PeerIdentity { subject, .. } = &found.certificate;
        line("certificate", format!("{subject}, signed by {}", found.issuer));
        if !found.certificate.sans.is_empty() {
            line("", found.certificate.sans.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
        }
        line("", format!("sha256 {}", found.certificate.sha256_hex()));
        line(
            "asks for",
            match found.asks_for.as_deref() {
                None => "no certificate".into(),
                Some([]) => "a certificate, and names no CA".into(),
                Some(cas) => format!("a certificate of {}", cas.join(", or of ")),
            },
        );
        if let Some(version) = found.version {
            line("TLS", version.into());
        }
    }
    if let Some(broker) = broker(&report.found) {
        if let Some(id) = broker.id {
            line("endpoint id", id.to_string());
        }
        if let Some(versions) = &broker.versions {
            let (low, high) = (versions.start(), versions.end());
            line("versions", if low == high { low.to_string() } else { format!("{low} to {high}") });
        }
        if let Some(filter) = &broker.filter {
            let topics: Vec<_> =
                filter.topics().iter().map(|topic| topic.as_bytes()).map(shell_word).collect();
            line("filter", if topics.is_empty() { "nothing".into() } else { topics.join(" ") });
        }
        if let Some(reason) = &broker.cut_short {
            line("but", reason.clone());
        }
    }
    if let Some(reach) = &verdict.reach {
        match reach.zeek {
            [] => line("Zeek options", "none for TLS".into()),
            [first, more @ ..] => {
                line("Zeek options", (*first).into());
                more.iter().for_each(|setting| line("", (*setting).into()));
            }
        }
    }
    verdict.notes.iter().for_each(|note| line("note", note.clone()));
    if let Some(reach) = &verdict.reach {
        line("connect with", command(reach));
    }
    lines
}

/// Returns the command line that prints the events of a Broker endpoint.
fn command(reach: &Reach) -> String {
    let words = ["zeek-bridge", "tap"].into_iter().chain(reach.options.iter().map(String::as_str));
    let words =
        words.map(|word| if word == "--connect" { "-c".to_owned() } else { shell_word(word.as_bytes()) });
    words.collect::<Vec<_>>().join(" ")
}

/// Formats bytes as a word for a shell, without characters that affect a terminal.
fn shell_word(bytes: &[u8]) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-./:,=@%+".contains(byte);
    if !bytes.is_empty() && bytes.iter().all(is_plain) {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    match str::from_utf8(bytes) {
        Ok(text) if !text.contains(steers) => format!("'{}'", text.replace('\'', r"'\''")),
        // Bash, zsh and ksh expand these escapes.
        _ => format!("$'{}'", bytes.escape_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        for (word, quoted) in [
            ("a/b.pem", "a/b.pem"),
            ("", "''"),
            ("a b", "'a b'"),
            ("[fe80::1%eth0]:9", "'[fe80::1%eth0]:9'"),
            ("it's $HOME", r"'it'\''s $HOME'"),
            (r"a\b", r"'a\b'"),
            ("Zürich", "'Zürich'"),
            ("a\n'\u{1b}", r"$'a\n\'\x1b'"),
        ] {
            assert_eq!(shell_word(word.as_bytes()), quoted);
        }
    }
}
