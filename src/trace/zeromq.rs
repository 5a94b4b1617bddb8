//! The JSON of the parts of a session of the ZeroMQ back end.

use serde_json::json;

use super::LIMITS;
use super::json::{put_member, put_name};
use super::message::write_message;
use crate::data::AsJson;
use crate::zeromq::{LogBatch, Part};

/// The maximum size of the rows of a log batch as JSON, as a multiple of the size of the batch. The JSON repeats the names of
/// the fields in each row. A usual batch needs less than three times its size.
const MAX_EXPANSION: usize = 32;

/// Appends `kind` and the members of this kind.
///
/// # Errors
/// Returns the reason if the JSON would be too large.
pub(super) fn write_members(part: &Part, to: &mut Vec<u8>) -> Result<(), String> {
    match part {
        Part::Greeting { version: [major, minor], mechanism, as_server } => {
            put_member(to, "kind", "greeting");
            put_member(to, "version", format!("{major}.{minor}"));
            put_member(to, "mechanism", mechanism.as_str());
            put_member(to, "as_server", *as_server);
        }
        Part::Ready(properties) => {
            put_command(to, b"READY");
            put_name(to, "properties");
            to.push(b'{');
            for (name, value) in properties {
                put_text_name(to, name);
                put_text(to, value);
            }
            to.push(b'}');
        }
        Part::Error(text) => {
            put_command(to, b"ERROR");
            put_bytes(to, "text", text);
        }
        Part::Subscription { subscribe, topic, is_command } => {
            match (is_command, subscribe) {
                (true, true) => put_command(to, b"SUBSCRIBE"),
                (true, false) => put_command(to, b"CANCEL"),
                (false, _) => {
                    put_member(to, "kind", "subscription");
                    put_member(to, "subscribe", *subscribe);
                }
            }
            put_bytes(to, "topic", topic);
        }
        Part::Ping(context) => {
            put_command(to, b"PING");
            put_bytes(to, "context", context);
        }
        Part::Pong(context) => {
            put_command(to, b"PONG");
            put_bytes(to, "context", context);
        }
        Part::Command(name) => put_command(to, name),
        Part::Event { sender, format, envelope } => {
            write_message(envelope, to);
            put_bytes(to, "sender", sender);
            put_member(to, "format", format.name());
        }
        Part::Logs { sender, batch } => return write_logs(sender, batch, to),
        Part::Encrypted => put_member(to, "kind", "encrypted"),
    }
    Ok(())
}

fn write_logs(sender: &[u8], bytes: &[u8], to: &mut Vec<u8>) -> Result<(), String> {
    // Cannot fail: the batch was decoded when the message was read.
    let batch = LogBatch::decode(bytes, LIMITS).map_err(|error| error.to_string())?;
    let header = batch.header();
    put_member(to, "kind", "logs");
    put_bytes(to, "stream", header.stream);
    put_bytes(to, "path", header.path);
    put_bytes(to, "writer", header.writer);
    put_bytes(to, "filter", header.filter);
    put_bytes(to, "sender", sender);
    put_name(to, "rows");
    to.push(b'[');
    let most = bytes.len().saturating_mul(MAX_EXPANSION).saturating_add(to.len());
    for (index, row) in batch.rows().enumerate() {
        if index > 0 {
            to.push(b',');
        }
        // Cannot fail: it writes to memory.
        let _ = row.write_json(to);
        if to.len() > most {
            return Err(format!(
                "the log rows as JSON are more than {MAX_EXPANSION} times as large as the batch"
            ));
        }
    }
    to.push(b']');
    Ok(())
}

fn put_command(to: &mut Vec<u8>, name: &[u8]) {
    put_member(to, "kind", "command");
    put_bytes(to, "name", name);
}

fn put_bytes(to: &mut Vec<u8>, name: &str, bytes: &[u8]) {
    put_member(to, name, json!(AsJson(bytes)));
}

/// Appends the name of a member that the peer has chosen.
fn put_text_name(to: &mut Vec<u8>, name: &[u8]) {
    if to.last() != Some(&b'{') {
        to.push(b',');
    }
    to.extend_from_slice(json!(String::from_utf8_lossy(name)).to_string().as_bytes());
    to.push(b':');
}

fn put_text(to: &mut Vec<u8>, value: &[u8]) {
    to.extend_from_slice(json!(AsJson(value)).to_string().as_bytes());
}

#[cfg(test)]
mod tests;
