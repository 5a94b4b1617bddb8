//! Failures of dispatches.

/// The reason for which a node cannot run a dispatch. Its text is sent to the agent. Where Zeek's own nodes have the same
/// failure, the text is the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DispatchError {
    /// The action of the request is empty.
    #[error("no dispatch arguments provided")]
    NoAction,
    /// The node does not know this action.
    #[error("dispatch {0} unknown")]
    UnknownAction(String),
    /// [`GET_ID_VALUE`](super::GET_ID_VALUE) without the name of a variable.
    #[error("get_id_value expects name of global identifier")]
    NoName,
    /// There is no variable of that name.
    #[error("unknown id")]
    UnknownId,
    /// The identifier has no value; it is a type, for example.
    #[error("no ID value")]
    NoValue,
    /// The action or one of its arguments is not UTF-8. Zeek's own nodes have no such failure: they accept any bytes.
    #[error("the action or an argument of it is not UTF-8")]
    NotUtf8,
    /// Another failure.
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
