//! Failures of dispatches.

/// The reason why a node cannot run a dispatch. The text of the error is sent to the agent. If Zeek's own nodes report
/// the same failure, they use the same text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DispatchError {
    /// The action of the request is empty.
    #[error("no dispatch arguments provided")]
    NoAction,
    /// The node does not know this action.
    #[error("dispatch {0} unknown")]
    UnknownAction(String),
    /// The action is [`GET_ID_VALUE`](super::GET_ID_VALUE), but the name of the variable is missing.
    #[error("get_id_value expects name of global identifier")]
    NoName,
    /// There is no variable of that name.
    #[error("unknown id")]
    UnknownId,
    /// The identifier has no value; it is a type, for example.
    #[error("no ID value")]
    NoValue,
    /// The action or one of its arguments is not UTF-8. Zeek's own nodes do not report this failure, because they
    /// accept any bytes.
    #[error("the action or one of its arguments is not UTF-8")]
    NotUtf8,
    /// Any other failure, with its text.
    #[error("{0}")]
    Other(String),
}

impl From<String> for DispatchError {
    fn from(text: String) -> Self {
        DispatchError::Other(text)
    }
}

impl From<&str> for DispatchError {
    fn from(text: &str) -> Self {
        DispatchError::Other(text.to_owned())
    }
}

impl From<DispatchError> for String {
    fn from(error: DispatchError) -> Self {
        error.to_string()
    }
}
