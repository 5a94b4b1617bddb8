//! `probe`: identifies the service at an address, and shows how to connect to it.

use clap::Args;
use serde_json::{Value as Json, json};
use zeek_bridge::net::probe::{Answer, BrokerInfo, CertificateTls, Found, OtherProtocol, ProbeReport, probe};
use zeek_bridge::net::tls::PeerIdentity;

use crate::args::tls::CertificateArgs;
use crate::args::{HostPort, DurationArg, connect_address};
use crate::deadline;
use crate::hints;
use crate::output::{Exit, Failure, Object, Output, identity_json, printable, text};

const ZEEK_PLAIN: &[&str] = &["redef Broker::disable_ssl = T;"];
const ZEEK_MUTUAL: &[&str] = &[
    "redef Broker::ssl_cafile = \"/path/to/ca.pem\";",
    "redef Broker::ssl_certificate = \"/path/to/zeek.pem\";",
    "redef Broker::ssl_keyfile = \"/path/to/zeek.key\";",
];

/// Identify what listens at an address and which options reach it
///
/// Reports nothing, a Broker without TLS, the anonymous TLS of a Zeek, mutual TLS (and with which CAs), or something else;
/// and the Broker's endpoint id, versions and filter where possible: without TLS; with anonymous TLS in a build with
/// `--features openssl`; with mutual TLS if certificates are given. It leaves before a peering is established.
///
/// Exit code 0: a Broker, or the TLS of one. 3: nothing. 4: a certificate was refused, theirs or ours. 5: something that
/// accepts connections and sends nothing. 6: something else.
#[derive(Debug, Args)]
pub(crate) struct ProbeArgs {
    /// The address to probe
    #[arg(value_name = "HOST:PORT", value_parser = connect_address)]
    target: HostPort,
    /// Print one line of JSON instead of text
    #[arg(long)]
    json: bool,
    /// Maximum time for each of at most five attempts; most take a fraction of it
    #[arg(long, value_name = "DURATION", default_value = "5s", allow_negative_numbers = true)]
    wait: DurationArg,
    /// Maximum run time of the command
    #[arg(long, value_name = "DURATION", allow_negative_numbers = true)]
    timeout: Option<DurationArg>,
    #[command(flatten, next_help_heading = "Certificates to show")]
    certificates: CertificateArgs,
}

pub(crate) async fn run(args: ProbeArgs) -> Result<(), Failure> {
    let timeout_at = args.timeout.map(|time| deadline::after(time.0));
    let target = &args.target.0;
    let ours = args.certificates.load_if_given()?;
    let report = tokio::select! {
        report = probe(target, ours.as_ref(), args.wait.0) => report
            .map_err(|error| Failure::failed(format!("no random number for an endpoint id: {error}")))?,
        () = deadline::until(timeout_at) => {
            return Err(Failure::timeout(format!("timeout: {target} is not identified yet; use a longer --timeout")));
        }
    };
    let verdict = Verdict::of(&report, &args.certificates.as_options());
    let mut output = Output::new();
    if args.json {
        output.line(&object(&report, &verdict).into_line())?;
    } else {
        for line in lines(&report, &verdict) {
            output.line(printable(&line).as_bytes())?;
        }
    }
    output.flush()?;
    verdict.exit.map_or(Ok(()), |exit| Err(Failure::Reported(exit)))
}

/// The conclusion from a report.
struct Verdict {
    /// The service in one word.
    kind: &'static str,
    /// The service in a sentence.
    summary: String,
    /// The exit code; `None` for a Broker endpoint, and for the TLS of one.
    exit: Option<Exit>,
    /// How to connect to it.
    reach: Option<Reach>,
    /// Further advice.
    notes: Vec<String>,
}

/// How to connect to a Broker endpoint.
struct Reach {
    /// The options of this program's network commands.
    options: Vec<String>,
    /// The settings of the Zeek there.
    zeek: &'static [&'static str],
}

impl Verdict {
    /// Draws the conclusion. `given` are the options for certificates.
    fn of(report: &ProbeReport, given: &[(&'static str, String)]) -> Self {
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
                        "this build cannot speak anonymous TLS: build it with `cargo build --release --features openssl`"
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
                format!("TLS that is not that of a Broker endpoint: {reason}"),
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
        OtherProtocol::Http(_) => {
            &["Zeek may listen for WebSocket clients there; its native port is another \
                                (Broker::default_port, 9999/tcp)"]
        }
        OtherProtocol::ZeroMq => &[
            "zeekctl uses ZeroMQ by default since Zeek 8.1; for native peering, set ClusterBackend = Broker in zeekctl.cfg",
            "a Zeek with another cluster back end peers on a port that a script opens with Broker::listen",
            "without native peering, events can be exchanged over Zeek's WebSocket API",
        ],
        OtherProtocol::Echo => {
            &["its answer has the id of this probe, which no other endpoint has; check the port"]
        }
        _ => &[],
    }
}

/// Returns whether the service requests a certificate, and rejects clients without one.
fn is_mutual(found: &CertificateTls) -> bool {
    found.asks_for.is_some() && matches!(found.without, Answer::Tls(_) | Answer::Other(OtherProtocol::Closed))
}

/// Returns the summary and the exit code for TLS with a certificate.
fn certificate(found: &CertificateTls) -> (String, Option<Exit>) {
    let mutual = is_mutual(found);
    match (&found.with_ours, &found.without) {
        (Some(Answer::Broker(_)), _) if mutual => ("a Broker with mutual TLS".into(), None),
        (Some(Answer::Tls(error)), _) => (
            format!("TLS with certificates, and with ours it fails: {error}{}", hints::for_tls(error)),
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

/// Returns what a Broker endpoint revealed.
fn broker(found: &Found) -> Option<&BrokerInfo> {
    let answer = match found {
        Found::Plain(broker) => return Some(broker),
        Found::Anonymous(answer) => answer.as_ref()?,
        Found::Certificate(found) => found.with_ours.as_ref().unwrap_or(&found.without),
        _ => return None,
    };
    if let Answer::Broker(broker) = answer { Some(broker) } else { None }
}

fn object(report: &ProbeReport, verdict: &Verdict) -> Object {
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
        let filter = broker
            .filter
            .as_ref()
            .map(|filter| filter.topics().iter().map(|topic| text(topic.as_bytes())).collect::<Json>());
        json!({
            "id": broker.id.map(|id| id.to_string()),
            "versions": broker.versions.as_ref().map(|versions| [*versions.start(), *versions.end()]),
            "filter": filter,
            "cut_short": broker.cut_short,
        })
    });
    Object::new()
        .with("target", report.target.as_str())
        .with("address", report.address.map(|address| address.to_string()))
        .with("found", verdict.kind)
        .with("summary", verdict.summary.as_str())
        .with("tls", tls)
        .with("broker", broker)
        .with("options", verdict.reach.as_ref().map(|reach| reach.options.clone()))
        .with("zeek", verdict.reach.as_ref().map(|reach| reach.zeek.to_vec()))
        .with("notes", verdict.notes.clone())
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
        line(
            "reach it by",
            reach.options.iter().map(|option| shell_word(option.as_bytes())).collect::<Vec<_>>().join(" "),
        );
        match reach.zeek {
            [] => line("Zeek there", "has no TLS option set".into()),
            [first, more @ ..] => {
                line("Zeek there", (*first).into());
                more.iter().for_each(|setting| line("", (*setting).into()));
            }
        }
    }
    verdict.notes.iter().for_each(|note| line("note", note.clone()));
    lines
}

/// Formats bytes as a word for a shell: printable, and quoted if necessary.
fn shell_word(bytes: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-./:,=@%+".contains(byte);
    if !bytes.is_empty() && bytes.iter().all(plain) {
        String::from_utf8_lossy(bytes).into_owned()
    } else {
        format!("'{}'", bytes.escape_ascii())
    }
}
