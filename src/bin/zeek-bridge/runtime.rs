//! The runtime of the commands that use the network.

use std::future::Future;
use std::io;

use tokio::runtime::Runtime;

use crate::output::Failure;

/// Runs a command to its end, on one thread per core.
pub(crate) fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    block_on_with(Runtime::new(), command)
}

/// Runs a command to its end on this runtime. Does not wait for tasks that are still running then.
pub(crate) fn block_on_with(
    runtime: io::Result<Runtime>,
    command: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let runtime = runtime.map_err(|error| Failure::failed(format!("cannot start threads: {error}")))?;
    let result = runtime.block_on(command);
    runtime.shutdown_background();
    result
}
