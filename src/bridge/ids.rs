//! Identifiers of links and rules within one bridge.

/// The slot of a link. A link keeps its slot as long as it runs, and no later link of the same bridge reuses it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LinkId(pub(crate) usize);

/// The index of a rule in the configuration that the bridge runs with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RuleId(pub(crate) usize);

impl RuleId {
    /// The id for messages that are forwarded without a rule. It has no counter and no name.
    pub(crate) const NONE: RuleId = RuleId(usize::MAX);
}
