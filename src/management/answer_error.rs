//! The reasons why an answer has no value.

/// The reason why a node's answer to a request cannot be converted to a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// The node did not answer in time.
    #[error("no answer in time")]
    NoAnswer,
    /// The node could not run the action. Contains the text of the node's error, such as `unknown id`.
    #[error("{0}")]
    Failed(String),
    /// The answer contains no data, although the action succeeded.
    #[error("the answer contains no data")]
    NoData,
    /// The data is not JSON, or has a different type than requested.
    #[error("the data of the answer cannot be read: {0}")]
    Data(String),
}
