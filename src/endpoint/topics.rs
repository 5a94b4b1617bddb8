//! Conversion of arguments to the topics of a subscription.

use std::collections::BTreeSet;

use crate::data::{Filter, Topic};

/// Types that can be the topics of a subscription: one topic, or several in an array, slice, vector or set, or a
/// reference to a [`Filter`].
///
/// ```
/// use zeek_bridge::data::Topic;
/// use zeek_bridge::endpoint::IntoTopics;
///
/// assert_eq!("zeek/".into_topics(), [Topic::from("zeek/")]);
/// assert_eq!(["/a", "/b"].into_topics(), [Topic::from("/a"), Topic::from("/b")]);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a topic or several topics",
    note = "use text, a `Topic`, or an array or vector of them; collect an iterator into a vector"
)]
pub trait IntoTopics {
    /// Converts to topics.
    fn into_topics(self) -> Vec<Topic>;
}

/// Implements the conversion of a single topic.
macro_rules! one {
    ($($type:ty),*) => {$(
        impl IntoTopics for $type {
            fn into_topics(self) -> Vec<Topic> {
                vec![self.into()]
            }
        }
    )*};
}

one!(Topic, &Topic, &str, String, &String);

/// Implements the conversion of a collection of topics.
macro_rules! several {
    ($([$($generics:tt)*] $type:ty;)*) => {$(
        impl<T: Clone + Into<Topic>, $($generics)*> IntoTopics for $type {
            fn into_topics(self) -> Vec<Topic> {
                self.iter().cloned().map(Into::into).collect()
            }
        }
    )*};
}

several! {
    [] Vec<T>;
    [] BTreeSet<T>;
    [] &[T];
    [const N: usize] [T; N];
    [const N: usize] &[T; N];
}

impl IntoTopics for &Filter {
    fn into_topics(self) -> Vec<Topic> {
        self.topics().to_vec()
    }
}
