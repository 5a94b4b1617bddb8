//! The conclusion from a probe: the service at an address, and how to connect to it.

use zeek_bridge::net::probe::{Answer, CertificateTls, Found, OtherProtocol, ProbeReport};

use crate::hints;
use crate::output::Exit;

const ZEEK_PLAIN: &[&str] = &["redef Broker::disable_ssl = T;"];
const ZEEK_MUTUAL: &[&str] = &[
    "redef Broker::ssl_cafile = \"/path/to/ca.pem\";",
    "redef Broker::ssl_certificate = \"/path/to/zeek.pem\";",
    "redef Broker::ssl_keyfile = \"/path/to/zeek.key\";",
];

/// The conclusion from a report.
pub(crate) struct Verdict {
    /// The service in one word.
    pub(crate) kind: &'static str,
    /// The service in a sentence.
    pub(crate) summary: String,
    /// The exit code. `None` for a Broker endpoint, and for TLS that may belong to one.
    pub(crate) exit: Option<Exit>,
    /// How to connect to the service.
    pub(crate) reach: Option<Reach>,
    /// Additional advice.
    pub(crate) notes: Vec<String>,
}

/// How to connect to a Broker endpoint.
pub(crate) struct Reach {
    /// The options of this program's network commands.
    pub(crate) options: Vec<String>,
    /// The settings of the Zeek at this address.
    pub(crate) zeek: &'static [&'static str],
}

impl Verdict {
    /// Draws the conclusion from a report. `given` contains the certificate options that the user has set.
    pub(crate) fn of(report: &ProbeReport, given: &[(&'static str, String)]) -> Self {
        let reach = |options: &[String], zeek| {
            let connect = ["--connect".to_owned(), report.target.clone()];
            Some(Reach { options: connect.iter().chain(options).cloned().collect(), zeek })
        };
        let verdict =
            |kind, summary: String, exit| Verdict { kind, summary, exit, reach: None, notes: Vec::new() };
        match &report.found {
            Found::Nothing(error) => verdict("nothing", format!("nothing: {error}"), Some(Exit::Unconnected)),
            Found::Plain(_) => Verdict {
                reach: reach(&["--tls", "off"].map(str::to_owned), ZEEK_PLAIN),
                ..verdict("plain", "a Broker without TLS".into(), None)
            },
            Found::Anonymous(answer) => {
                let (summary, exit) = match answer {
                    Some(Answer::Broker(_)) => {
                        ("a Broker with anonymous TLS, as Zeek has it by default".into(), None)
                    }
                    None => ("anonymous TLS, as Zeek has it by default".into(), None),
                    Some(other) => {
                        (format!("anonymous TLS, but no Broker in it: {}", text_of(other)), exit_of(other))
                    }
                };
                let mut verdict = Verdict {
                    reach: reach(&["--tls", "anonymous"].map(str::to_owned), &[]).filter(|_| exit.is_none()),
                    ..verdict("anonymous", summary, exit)
                };
                if cfg!(not(feature = "openssl")) {
                    verdict.notes.push(
                        "this build does not support anonymous TLS: use `cargo build --release --features openssl`"
                            .into(),
                    );
                }
                verdict
            }
            Found::Certificate(found) => {
                let (summary, exit) = certificate(found);
                let placeholders = ["cafile", "certificate", "keyfile"].map(|name| (name, "FILE".to_owned()));
                let files: &[_] =
                    if let Some(Answer::Broker(_)) = found.with_ours { given } else { &placeholders };
                let mut options: Vec<String> =
                    files.iter().flat_map(|(name, value)| [format!("--{name}"), value.clone()]).collect();
                let is_backend = |option: &String| option == "--tls-backend";
                if found.needs_openssl && cfg!(feature = "openssl") && !options.iter().any(is_backend) {
                    options.extend(["--tls-backend", "openssl"].map(str::to_owned));
                }
                let kind = if is_mutual(found) { "mutual" } else { "certificate" };
                let is_broker = matches!(exit, None | Some(Exit::Refused));
                let mut verdict = Verdict {
                    reach: if is_broker { reach(&options, ZEEK_MUTUAL) } else { None },
                    ..verdict(kind, summary, exit)
                };
                if is_broker && found.needs_openssl {
                    let (kind, build) =
                        ("its certificate is X.509 version 1, or that of a CA", "`--features openssl`");
                    verdict.notes.push(if cfg!(feature = "openssl") {
                        format!("{kind}, which only OpenSSL accepts: use `--tls-backend openssl`")
                    } else {
                        format!("{kind}, which only a build with {build} accepts")
                    });
                }
                verdict
            }
            Found::OtherTls(reason) => verdict(
                "tls",
                format!("a TLS service that is not a Broker endpoint: {reason}"),
                Some(Exit::Protocol),
            ),
            Found::Other(other) => {
                let exit = Some(if *other == OtherProtocol::Silent { Exit::Timeout } else { Exit::Protocol });
                let mut verdict = verdict("other", format!("no Broker: {other}"), exit);
                verdict.notes.extend(notes(other).iter().map(|note| (*note).to_owned()));
                verdict
            }
            _ => verdict("other", "an unknown service".into(), Some(Exit::Failed)),
        }
    }
}

/// Returns advice for a service that is not a Broker endpoint.
fn notes(other: &OtherProtocol) -> &'static [&'static str] {
    match other {
        OtherProtocol::Http(_) => &[
            "Zeek may listen for WebSocket clients at this address: try `zeek-bridge probe ws://HOST:PORT`; Zeek's native \
                  port is a different one (Broker::default_port, 9999/tcp)",
        ],
        OtherProtocol::ZeroMq => &[
            "for the proxy of the cluster, use zeromq://HOST:PORT with the port of its XPUB (5555, or ZeekPort of zeekctl): try \
             `zeek-bridge probe zeromq://HOST:PORT`",
            "zeekctl uses ZeroMQ by default since Zeek 8.1; for native peering, set ClusterBackend = Broker in zeekctl.cfg",
            "a Zeek with another cluster back end peers on a port that a script opens with Broker::listen",
            "events can also be exchanged over Zeek's WebSocket API",
        ],
        OtherProtocol::Echo => {
            &["its answer has the id of this probe, which no other endpoint has; check the port"]
        }
        _ => &[],
    }
}

/// Returns whether the service requests a certificate, and rejects clients without a certificate.
fn is_mutual(found: &CertificateTls) -> bool {
    found.asks_for.is_some() && matches!(found.without, Answer::Tls(_) | Answer::Other(OtherProtocol::Closed))
}

/// Returns the summary and the exit code for TLS with a certificate.
fn certificate(found: &CertificateTls) -> (String, Option<Exit>) {
    let mutual = is_mutual(found);
    match (&found.with_ours, &found.without) {
        (Some(Answer::Broker(_)), _) if mutual => ("a Broker with mutual TLS".into(), None),
        (Some(Answer::Tls(error)), _) => (
            format!(
                "TLS with certificates, but a connection with our certificate fails: {error}{}",
                hints::for_tls(error)
            ),
            Some(Exit::Refused),
        ),
        (Some(Answer::Broker(_)), _) | (None, Answer::Broker(_)) => {
            ("a Broker with TLS that accepts clients without a certificate, as no Zeek does".into(), None)
        }
        (None, _) if mutual => ("mutual TLS, as a Zeek with certificates has it".into(), None),
        (None, Answer::Other(OtherProtocol::Http(line))) => {
            (format!("no Broker: a web server over TLS (HTTPS): {line}"), Some(Exit::Protocol))
        }
        (Some(answer), _) | (None, answer) => {
            (format!("TLS, but no Broker in it: {}", text_of(answer)), exit_of(answer))
        }
    }
}

fn text_of(answer: &Answer) -> String {
    match answer {
        Answer::Other(other) => other.to_string(),
        Answer::Tls(error) => error.to_string(),
        _ => String::new(),
    }
}

fn exit_of(answer: &Answer) -> Option<Exit> {
    Some(match answer {
        Answer::Other(OtherProtocol::Silent) => Exit::Timeout,
        Answer::Tls(_) => Exit::Refused,
        _ => Exit::Protocol,
    })
}
