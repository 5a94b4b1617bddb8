//! `probe`: tells what stands at an address, and how to reach it.

use clap::Args;
use serde_json::{Value as Json, json};
use zeek_bridge::net::probe::{Answer, BrokerInfo, CertificateTls, Found, ProbeReport, Stranger, probe};
use zeek_bridge::net::tls::PeerIdentity;

use crate::args::tls::CertificateArgs;
use crate::args::{HostPort, Seconds, connect_address};
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
    #[arg(long, value_name = "SECONDS", default_value = "5", allow_negative_numbers = true)]
    timeout: Seconds,
    #[command(flatten, next_help_heading = "Certificates to show")]
    certificates: CertificateArgs,
}

pub(crate) async fn run(args: ProbeArgs) -> Result<(), Failure> {
    let ours = args.certificates.load_if_given()?;
    let report = probe(&args.target.0, ours.as_ref(), args.timeout.0)
        .await
        .map_err(|error| Failure::failed(format!("no random number for an endpoint id: {error}")))?;
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
    verdict.exit.map_or(Ok(()), |exit| Err(Failure::Told(exit)))
}

/// What a report comes to.
struct Verdict {
    /// What stands there, in one word.
    kind: &'static str,
    /// The same in a sentence.
    summary: String,
    /// `None`: a Broker, or the TLS of one.
    exit: Option<Exit>,
    /// How to reach it.
    reach: Option<Reach>,
    /// What else is to be known.
    notes: Vec<String>,
}

/// How a Broker is reached.
struct Reach {
    /// The options of our network commands.
    options: Vec<String>,
    /// How the Zeek there is set up.
    zeek: &'static [&'static str],
}

impl Verdict {
    /// `given` are the options for certificates.
    fn of(report: &ProbeReport, given: &[(&'static str, String)]) -> Self {
        let reach = |options: &[&str], zeek| {
            let connect = ["--connect", &report.target];
            Some(Reach {
                options: connect.iter().chain(options).map(|word| (*word).to_owned()).collect(),
                zeek,
            })
        };
        let verdict =
            |kind, summary: String, exit| Verdict { kind, summary, exit, reach: None, notes: Vec::new() };
        match &report.found {
            Found::Nothing(error) => verdict("nothing", format!("nothing: {error}"), Some(Exit::Unconnected)),
            Found::Plain(_) => Verdict {
                reach: reach(&["--tls", "off"], ZEEK_PLAIN),
                ..verdict("plain", "a Broker without TLS".into(), None)
            },
            Found::Anonymous(answer) => {
                let (summary, exit) = match answer {
                    Some(Answer::Broker(_)) => {
                        ("a Broker with anonymous TLS, as Zeek has it by default".into(), None)
                    }
                    None => ("anonymous TLS, as Zeek has it by default".into(), None),
                    Some(other) => {
                        (format!("anonymous TLS, but no Broker in it: {}", said(other)), exit_of(other))
                    }
                };
                let mut verdict = Verdict {
                    reach: reach(&["--tls", "anonymous"], &[]).filter(|_| exit.is_none()),
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
                let mut options: Vec<&str> = match found.with_ours {
                    Some(Answer::Broker(_)) => {
                        given.iter().flat_map(|(name, value)| [*name, value]).collect()
                    }
                    _ => vec!["--cafile", "FILE", "--certificate", "FILE", "--keyfile", "FILE"],
                };
                if found.takes_openssl && cfg!(feature = "openssl") && !options.contains(&"--tls-backend") {
                    options.extend(["--tls-backend", "openssl"]);
                }
                let kind = if is_mutual(found) { "mutual" } else { "certificate" };
                let is_broker = matches!(exit, None | Some(Exit::Refused));
                let mut verdict = Verdict {
                    reach: if is_broker { reach(&options, ZEEK_MUTUAL) } else { None },
                    ..verdict(kind, summary, exit)
                };
                if is_broker && found.takes_openssl {
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
            Found::OtherTls(why) => {
                verdict("tls", format!("TLS that is not a Broker's: {why}"), Some(Exit::Protocol))
            }
            Found::Other(stranger) => {
                let exit = Some(if *stranger == Stranger::Silent { Exit::Timeout } else { Exit::Protocol });
                let mut verdict = verdict("other", format!("no Broker: {stranger}"), exit);
                verdict.notes.extend(notes(stranger).iter().map(|note| (*note).to_owned()));
                verdict
            }
            _ => verdict("other", "something that this program does not know".into(), Some(Exit::Failed)),
        }
    }
}

/// What to do about an address where something other than a Broker listens.
fn notes(stranger: &Stranger) -> &'static [&'static str] {
    match stranger {
        Stranger::Http(_) => &["Zeek may listen for WebSocket clients there; its native port is another \
                                (Broker::default_port, 9999/tcp)"],
        Stranger::ZeroMq => &[
            "zeekctl uses ZeroMQ by default since Zeek 8.1; for native peering, set ClusterBackend = Broker in zeekctl.cfg",
            "a Zeek with another cluster back end peers on a port that a script opens with Broker::listen",
            "without native peering, events can be exchanged over Zeek's WebSocket API",
        ],
        Stranger::Echo => {
            &["its answer has the id of this probe, which no other endpoint has; check the port"]
        }
        _ => &[],
    }
}

/// Whether it asks for a certificate, and lets nobody in without one.
fn is_mutual(found: &CertificateTls) -> bool {
    found.asks_for.is_some() && matches!(found.without, Answer::Tls(_) | Answer::Other(Stranger::Closed))
}

/// What TLS with a certificate comes to.
fn certificate(found: &CertificateTls) -> (String, Option<Exit>) {
    let mutual = is_mutual(found);
    match (&found.with_ours, &found.without) {
        (Some(Answer::Broker(_)), _) if mutual => ("a Broker with mutual TLS".into(), None),
        (Some(Answer::Tls(error)), _) => {
            (format!("TLS with certificates, and with ours it fails: {error}"), Some(Exit::Refused))
        }
        (Some(Answer::Broker(_)), _) | (None, Answer::Broker(_)) => {
            ("a Broker with TLS that lets everybody in, as no Zeek does".into(), None)
        }
        (None, _) if mutual => ("mutual TLS, as a Zeek with certificates has it".into(), None),
        (None, Answer::Other(Stranger::Http(line))) => {
            (format!("no Broker: a web server over TLS (HTTPS): {line}"), Some(Exit::Protocol))
        }
        (Some(answer), _) | (None, answer) => {
            (format!("TLS, but no Broker in it: {}", said(answer)), exit_of(answer))
        }
    }
}

fn said(answer: &Answer) -> String {
    match answer {
        Answer::Other(stranger) => stranger.to_string(),
        Answer::Tls(error) => error.to_string(),
        _ => String::new(),
    }
}

fn exit_of(answer: &Answer) -> Option<Exit> {
    Some(match answer {
        Answer::Other(Stranger::Silent) => Exit::Timeout,
        Answer::Tls(_) => Exit::Refused,
        _ => Exit::Protocol,
    })
}

/// What was heard of a Broker, if anything.
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
    let mut line = |name: &str, words: String| lines.push(format!("  {name:<12} {words}"));
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
            let topics: Vec<_> = filter.topics().iter().map(|topic| topic.as_bytes()).map(word).collect();
            line("filter", if topics.is_empty() { "nothing".into() } else { topics.join(" ") });
        }
        if let Some(why) = &broker.cut_short {
            line("but", why.clone());
        }
    }
    if let Some(reach) = &verdict.reach {
        line(
            "reach it by",
            reach.options.iter().map(|option| word(option.as_bytes())).collect::<Vec<_>>().join(" "),
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

/// Bytes as a word for a shell: printable, in quotes where it needs them.
fn word(bytes: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-./:,=@%+".contains(byte);
    if !bytes.is_empty() && bytes.iter().all(plain) {
        String::from_utf8_lossy(bytes).into_owned()
    } else {
        format!("'{}'", bytes.escape_ascii())
    }
}
