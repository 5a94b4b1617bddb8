//! Errors that a peer reports while the session continues.

use std::fmt;
use std::sync::Arc;

/// An error that the peer reports about one message, without ending the session (`PROTOCOL.md`, section 10). The protocol
/// does not identify the message.
///
/// `Display` writes the code and the context of the peer, and a hint for the errors that Zeek is known to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The code, such as `deserialization_failed`: at most 256 characters, without control characters.
    pub code: Arc<str>,
    /// The description: at most 256 characters, without control characters.
    pub context: Arc<str>,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the peer reports {}: {}", self.code, self.context)?;
        let hint = match (&*self.code, &*self.context) {
            ("deserialization_failed", "failed to create Zeek event") => {
                "the Zeek there has no handler for the event, or declares it with other arguments"
            }
            ("broker_error", context) if context.starts_with("Could not process remote event") => {
                "the Zeek there has no handler for an event that this endpoint subscribes to, or declares it with other \
                 arguments"
            }
            _ => return Ok(()),
        };
        write!(f, "; {hint}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_undeclared_event_has_a_hint() {
        let text =
            |code: &str, context: &str| Notice { code: code.into(), context: context.into() }.to_string();
        assert_eq!(
            text("deserialization_failed", "failed to create Zeek event"),
            "the peer reports deserialization_failed: failed to create Zeek event; the Zeek there has no handler for the \
             event, or declares it with other arguments"
        );
        let context = "Could not process remote event on topic '/t'";
        assert!(text("broker_error", context).contains("the Zeek there has no handler for"));
        for code in ["code", "broker_error"] {
            assert_eq!(text(code, "context"), format!("the peer reports {code}: context"));
        }
    }
}
