//! The runtime of the commands that use the network.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::output::Failure;

/// Runs a command to its end, on one thread per core.
pub(crate) fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    block_on_with(Runtime::new(), pin!(command))
}

/// Runs a command to its end on this runtime. Does not wait for tasks that are still running then.
///
/// Does not depend on the type of the future, because tokio's `block_on` is otherwise compiled once for each command.
pub(crate) fn block_on_with(
    runtime: io::Result<Runtime>,
    command: Pin<&mut dyn Future<Output = Result<(), Failure>>>,
) -> Result<(), Failure> {
    let runtime = runtime.map_err(|error| Failure::failed(format!("cannot start threads: {error}")))?;
    let result = runtime.block_on(command);
    runtime.shutdown_background();
    result
}

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
