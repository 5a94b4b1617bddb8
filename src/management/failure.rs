//! The words in which Zeek's own nodes say that a dispatch failed.

/// The request's action was empty.
pub const NO_ACTION: &str = "no dispatch arguments provided";

/// [`GET_ID_VALUE`](super::GET_ID_VALUE) without the name of a variable.
pub const NO_NAME: &str = "get_id_value expects name of global identifier";

/// There is no variable of that name.
pub const UNKNOWN_ID: &str = "unknown id";

/// The name stands for something without a value, such as a type.
pub const NO_VALUE: &str = "no ID value";

/// The node does not know this action.
#[must_use]
pub fn unknown_dispatch(action: &str) -> String {
    format!("dispatch {action} unknown")
}
