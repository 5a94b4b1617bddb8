//! The texts of failed dispatches: those of Zeek's own nodes, and what those have no text for.

/// The request's action was empty.
pub const NO_ACTION: &str = "no dispatch arguments provided";

/// [`GET_ID_VALUE`](super::GET_ID_VALUE) without the name of a variable.
pub const NO_NAME: &str = "get_id_value expects name of global identifier";

/// There is no variable of that name.
pub const UNKNOWN_ID: &str = "unknown id";

/// The name stands for something without a value, such as a type.
pub const NO_VALUE: &str = "no ID value";

/// The action, or an argument of it, is not UTF-8, which no action of this crate's nodes can be. Not a text of Zeek's.
pub const NOT_UTF8: &str = "the action or an argument of it is not UTF-8";

/// The node does not know this action.
#[must_use]
pub fn unknown_dispatch(action: &str) -> String {
    format!("dispatch {action} unknown")
}
