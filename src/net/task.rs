//! Starting tasks.

use std::pin::Pin;

use tokio::task::JoinHandle;

/// A task of any type.
pub(crate) type BoxedTask<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Starts a task.
pub(crate) fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(boxed(task))
}

/// Boxes a task before it is spawned.
///
/// Otherwise tokio's code of a task is compiled twice for each type of future: for the runtime with one thread, and for the one
/// with several.
pub(crate) fn boxed<T>(task: impl Future<Output = T> + Send + 'static) -> BoxedTask<T> {
    Box::pin(task)
}
