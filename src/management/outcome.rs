//! The answers of nodes to a request.

use std::collections::{BTreeMap, BTreeSet};

use serde_core::de::DeserializeOwned;

use super::{AnswerError, ManagementResult};

/// The answers of nodes to a request, and the nodes that did not answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// The results of the nodes, by name.
    pub answers: BTreeMap<String, ManagementResult>,
    /// The nodes that did not respond in time.
    pub missing: BTreeSet<String>,
}

impl Outcome {
    /// Converts each answer to `T`, as [`ManagementResult::value`] does. Returns the results by the name of the node.
    /// The result of a missing node is [`AnswerError::NoAnswer`].
    #[must_use]
    pub fn into_values<T: DeserializeOwned>(self) -> BTreeMap<String, Result<T, AnswerError>> {
        let answered = self.answers.into_iter().map(|(node, result)| (node, result.value()));
        let missing = self.missing.into_iter().map(|node| (node, Err(AnswerError::NoAnswer)));
        answered.chain(missing).collect()
    }
}
