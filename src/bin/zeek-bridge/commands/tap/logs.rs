//! `tap --logs`: receives the logs of a ZeroMQ cluster, and prints a line for each row.

use std::time::Duration;

use zeek_bridge::endpoint::{EndpointConfig, LogListener, QueueLimits, ReceivedLogs};
use zeek_bridge::net::tls::Tls;
use zeek_bridge::zeromq::{LogHeader, LogRow};

use super::{LAST_LINES, TapArgs};
use crate::deadline::{self, until};
use crate::network;
use crate::output::{BackgroundOutput, Exit, Failure, harmless, stderr, stdout_closed};
use crate::signals::Signals;

/// The limits of the batches that are received, but not printed yet. Further batches stay in the queues of the nodes.
const QUEUE: QueueLimits = QueueLimits { messages: 1, bytes: 16 * 1024 * 1024 };

/// The reason why nothing more is printed.
enum End {
    Complete,
    Timeout,
    Interrupted,
}

pub(super) async fn run(args: TapArgs) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let timeout_at = args.timeout.map(|time| deadline::after(time.0));
    let is_text = args.format.is_text();
    let (address, zeromq) = network::logger(args.network, &args.websocket, args.curve)?;
    let has_curve = zeromq.server.is_some();
    let config = EndpointConfig { subscriber_queue: QUEUE, zeromq, ..EndpointConfig::default() };
    let endpoint = network::endpoint_with(config)?;
    if !has_curve {
        network::warn_of_exposure(&Tls::Off, &address);
    }
    let mut logs = endpoint.listen_for_logs(&*address).await.map_err(|error| {
        let hint = "use an address of this host and a free port, or port 0";
        Failure::Error(Exit::Unconnected, format!("cannot listen on {address}: {error}; {hint}"))
    })?;
    stderr::print_line(format_args!("listening on zeromq://{}", logs.local_addr()));
    let output = BackgroundOutput::start();
    let mut printed = 0;
    let end = tokio::select! {
        () = print(&mut logs, &output, is_text, args.count, &mut printed) => Ok(End::Complete),
        () = output.ended() => Ok(End::Complete),
        () = stdout_closed() => Err(Failure::StdoutClosed),
        () = until(timeout_at) => Ok(End::Timeout),
        () = signals.next() => Ok(End::Interrupted),
    };
    drop(logs);
    network::leave(&endpoint, &mut signals).await;
    let patience = if matches!(end, Ok(End::Complete)) { Duration::MAX } else { LAST_LINES };
    let written = tokio::select! {
        written = output.finish(patience) => written,
        () = signals.next() => return Err(Failure::failed("interrupted: the last rows were not written to stdout")),
    };
    let end = end?;
    written.result?;
    if written.unwritten > 0 {
        return Err(Failure::failed(format!(
            "the last {} rows were not written to stdout completely before the end",
            written.unwritten
        )));
    }
    match (end, args.count.filter(|count| *count != printed)) {
        (End::Timeout, Some(count)) => {
            Err(Failure::timeout(format!("timeout: received {printed} of {count} rows")))
        }
        (End::Interrupted, Some(count)) => {
            Err(Failure::failed(format!("interrupted: received {printed} of {count} rows")))
        }
        _ => Ok(()),
    }
}

/// Prints until `count` rows are printed. While stdout accepts no lines, the nodes keep their batches.
async fn print(
    logs: &mut LogListener,
    output: &BackgroundOutput,
    is_text: bool,
    count: Option<u64>,
    printed: &mut u64,
) {
    while count != Some(*printed)
        && let Some(received) = logs.recv().await
    {
        print_batch(&received, output, is_text, count, printed).await;
    }
}

/// Prints the rows of a batch one by one. Each line contains the names of all fields, so the lines of all rows could need much more
/// memory than the batch.
async fn print_batch(
    received: &ReceivedLogs,
    output: &BackgroundOutput,
    is_text: bool,
    count: Option<u64>,
    printed: &mut u64,
) {
    let batch = match received.decode() {
        Ok(batch) => batch,
        Err(error) => {
            let sender = received.sender_name();
            tracing::warn!(sender, "dropped a malformed log batch: {error}");
            return;
        }
    };
    for row in batch.rows() {
        if count == Some(*printed) {
            return;
        }
        output.line(line(batch.header(), &row, is_text)).await;
        *printed = printed.saturating_add(1);
    }
}

/// Returns a row as JSON, with the names of its batch, or as text: the path, and the row as JSON.
fn line(header: &LogHeader<'_>, row: &LogRow<'_, '_>, is_text: bool) -> Vec<u8> {
    let mut json = Vec::new();
    // Cannot fail: writing to memory.
    let _ = row.write_json(&mut json);
    let row = String::from_utf8(json).unwrap_or_default();
    let name = |bytes: &[u8]| serde_json::Value::from(String::from_utf8_lossy(bytes)).to_string();
    let LogHeader { stream, writer, filter, path, .. } = *header;
    let line = if is_text {
        let path = name(path);
        let unquoted = path.strip_prefix('"').and_then(|path| path.strip_suffix('"'));
        format!("{} {row}", unquoted.unwrap_or(&path))
    } else {
        let [stream, path, writer, filter] = [stream, path, writer, filter].map(name);
        format!(r#"{{"stream":{stream},"path":{path},"writer":{writer},"filter":{filter},"row":{row}}}"#)
    };
    harmless(line.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeek_bridge::wire::Limits;
    use zeek_bridge::zeromq::{LogBatch, LogField, LogValue, TypeTag};

    #[test]
    fn a_row_is_a_line_with_the_names_of_its_batch() {
        let header = LogHeader {
            stream: b"Conn::LOG",
            writer: b"Log::WRITER_ASCII",
            filter: b"default",
            path: b"conn\x1b\xff",
            fields: vec![LogField::new("id.orig_h", TypeTag::String), LogField::new("n", TypeTag::Count)],
        };
        let mut bytes = Vec::new();
        let row = vec![LogValue::String("\u{9b}x\n".as_bytes()), LogValue::Count(7)];
        header.encode(&[row], &mut bytes).unwrap();
        let batch = LogBatch::decode(&bytes, &Limits::DEFAULT).unwrap();
        let row = batch.rows().next().unwrap();
        let expected = r#"{"id.orig_h":"\u009bx\n","n":7}"#;
        let line = |is_text| String::from_utf8(line(batch.header(), &row, is_text)).unwrap();
        assert_eq!(line(true), format!("conn\\u001b\u{fffd} {expected}"));
        assert_eq!(
            line(false),
            format!(
                "{{\"stream\":\"Conn::LOG\",\"path\":\"conn\\u001b\u{fffd}\",\"writer\":\"Log::WRITER_ASCII\",\
                 \"filter\":\"default\",\"row\":{expected}}}"
            )
        );
    }

    #[test]
    fn quotation_marks_of_a_path_remain() {
        let (stream, writer, filter) = (&b"S"[..], &b"W"[..], &b"f"[..]);
        let fields = vec![LogField::new("n", TypeTag::Count)];
        let header = LogHeader { stream, writer, filter, path: b"\"conn\"", fields };
        let mut bytes = Vec::new();
        header.encode(&[vec![LogValue::Count(7)]], &mut bytes).unwrap();
        let batch = LogBatch::decode(&bytes, &Limits::DEFAULT).unwrap();
        let row = batch.rows().next().unwrap();
        let line = String::from_utf8(line(batch.header(), &row, true)).unwrap();
        assert_eq!(line, r#"\"conn\" {"n":7}"#);
    }
}
