//! `--tls auto`: finds the TLS mode of a peer that requires no certificates.

use std::time::Duration;

use tokio::time::sleep;
use zeek_bridge::endpoint::Retry;
use zeek_bridge::net::probe::{Answer, Found, OtherProtocol, ProbeReport, probe};
use zeek_bridge::net::tls::Tls;

use crate::args::tls;
use crate::output::{Exit, Failure, printable, stderr};
use crate::verdict::Verdict;

/// Maximum time for each attempt of a probe.
const WAIT: Duration = Duration::from_secs(5);

/// Probes the address, and returns the TLS mode: anonymous or off. Reports the choice on stderr. If the peer cannot be reached
/// yet, probes again after the delays of `retry`, if there are any.
///
/// # Errors
/// Fails if the peer requires a certificate, or is not a Broker endpoint.
pub(crate) async fn choose(target: &str, retry: Option<Retry>) -> Result<Tls, Failure> {
    let mut delay = retry.map(|retry| retry.first);
    loop {
        let report = probe(target, None, WAIT)
            .await
            .map_err(|error| Failure::failed(format!("no random number for an endpoint id: {error}")))?;
        let (tls, option, name) = match &report.found {
            Found::Plain(_) => (Tls::Off, "--tls off", "no TLS"),
            Found::Anonymous(None | Some(Answer::Broker(_))) => {
                let option = "--tls anonymous";
                (tls::anonymous(option)?, option, "anonymous TLS")
            }
            found => {
                let failure = refused(&report);
                let (true, Some(retry), Some(now)) = (is_temporary(found), retry, delay) else {
                    return Err(failure);
                };
                if let Failure::Error(_, message) = failure {
                    tracing::warn!("{message}; retrying in {}", humantime::format_duration(now));
                }
                sleep(now).await;
                delay = Some(now.saturating_mul(2).min(retry.cap));
                continue;
            }
        };
        stderr::print_line(format_args!("{target} uses {name}; to connect without a probe, use {option}"));
        return Ok(tls);
    }
}

/// Returns whether a later probe may succeed, because the peer may not be ready yet.
fn is_temporary(found: &Found) -> bool {
    matches!(found, Found::Nothing(_) | Found::Other(OtherProtocol::Closed | OtherProtocol::Silent))
}

/// Reports why neither anonymous TLS nor plain TCP reaches the peer.
fn refused(report: &ProbeReport) -> Failure {
    let verdict = Verdict::of(report, &[]);
    let mut message = format!("--tls auto: {}: {}", report.target, verdict.summary);
    if let (Some(reach), Found::Certificate(_)) = (&verdict.reach, &report.found) {
        let options = reach.options.get(2..).unwrap_or_default().join(" ");
        message = format!("{message}; auto never uses certificates: use {options}");
    }
    for note in &verdict.notes {
        message = format!("{message}; {note}");
    }
    Failure::Error(verdict.exit.unwrap_or(Exit::Refused), printable(&message))
}
