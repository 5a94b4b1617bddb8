//! Starting tasks.

use std::pin::Pin;

use tokio::task::JoinHandle;

/// Starts a task.
///
/// The future is boxed, because tokio's code of a task is otherwise compiled twice for each future: for the runtime with one
/// thread, and for the one with several.
pub(crate) fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    let task: Pin<Box<dyn Future<Output = T> + Send>> = Box::pin(task);
    tokio::spawn(task)
}
