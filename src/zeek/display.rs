//! Zeek messages as text for people.

use std::fmt::{self, Display, Formatter};

use super::{Event, ZeekMessage};

/// Writes `name(argument, argument)` in Zeek's notation, without metadata. The sender of an event chooses its name and
/// arguments. Before you print them to a terminal, escape all characters for which
/// [`steers_terminal`](crate::data::steers_terminal) returns true.
impl Display for Event {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.name)?;
        for (index, argument) in self.args.iter().enumerate() {
            write!(f, "{}{argument}", if index == 0 { "" } else { ", " })?;
        }
        f.write_str(")")
    }
}

/// Writes an event in the same way as [`Event`] does. For all other messages, writes the main parts, such as
/// `log write Conn::LOG to conn: 120 bytes`. The sender chooses most of the text. Before you print it to a terminal, escape
/// all characters for which [`steers_terminal`](crate::data::steers_terminal) returns true.
impl Display for ZeekMessage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            ZeekMessage::Event(event) => write!(f, "{event}"),
            ZeekMessage::LogCreate(create) => write!(f, "log create {} by {}", create.stream, create.writer),
            ZeekMessage::LogWrite(write) => {
                write!(f, "log write {} to {}: {} bytes", write.stream, write.path, write.rows.len())
            }
            ZeekMessage::IdentifierUpdate(update) => write!(f, "identifier {} = {}", update.id, update.value),
            ZeekMessage::Batch(messages) => {
                f.write_str("batch [")?;
                for (index, message) in messages.iter().enumerate() {
                    write!(f, "{}{message}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Value;
    use crate::zeek::{IdentifierUpdate, LogCreate, LogWrite};

    #[test]
    fn every_kind_of_message_has_a_text() {
        let (stream, writer) = (|| "Conn::LOG".into(), || "Log::WRITER_ASCII".into());
        let event = || ZeekMessage::from(Event::new("Example::ping", ("hello", 7u64)));
        let create =
            LogCreate { stream: stream(), writer: writer(), writer_info: Value::None, fields: Value::None };
        let write =
            LogWrite { stream: stream(), writer: writer(), path: "conn".into(), rows: "\0\x01".into() };
        let update = IdentifierUpdate { id: "Site::n".into(), value: Value::count(3) };
        for (message, text) in [
            (event(), "Example::ping(hello, 7)"),
            (create.into(), "log create Conn::LOG by Log::WRITER_ASCII"),
            (write.into(), "log write Conn::LOG to conn: 2 bytes"),
            (update.into(), "identifier Site::n = 3"),
            (
                ZeekMessage::Batch(vec![event(), event()]),
                "batch [Example::ping(hello, 7), Example::ping(hello, 7)]",
            ),
            (ZeekMessage::Batch(vec![]), "batch []"),
        ] {
            assert_eq!(message.to_string(), text);
        }
    }
}
