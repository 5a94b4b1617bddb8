//! Documents that several requests share.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// The maximum age of a shared document. It bounds the CPU time that requests in a loop can use.
const MAX_AGE: Duration = Duration::from_secs(1);

/// Why a document is missing.
pub(super) type Failed = String;

/// A document that is made on request, and shared by all requests of the next second.
#[derive(Default)]
pub(super) struct Cache(Mutex<Option<(Instant, Bytes)>>);

impl Cache {
    /// Returns the document. Requests that arrive while it is made wait for it.
    pub(super) async fn get(
        &self,
        make: impl FnOnce() -> serde_json::Result<Vec<u8>> + Send + 'static,
    ) -> Result<Bytes, Failed> {
        let mut cached = self.0.lock().await;
        if let Some((made, document)) = cached.as_ref()
            && made.elapsed() < MAX_AGE
        {
            return Ok(document.clone());
        }
        // The previous document may be large, so free it before the next one is made.
        *cached = None;
        let document = in_blocking_thread(make).await?;
        *cached = Some((Instant::now(), document.clone()));
        Ok(document)
    }

    /// Frees the document if it is old, so that a bridge without requests keeps no large document.
    pub(super) fn expire(&self) {
        // If it is locked, it is in use.
        if let Ok(mut cached) = self.0.try_lock()
            && cached.as_ref().is_some_and(|(made, _)| made.elapsed() >= MAX_AGE)
        {
            *cached = None;
        }
    }
}

/// Makes a document in a thread for blocking code, because it may take milliseconds.
pub(super) async fn in_blocking_thread(
    make: impl FnOnce() -> serde_json::Result<Vec<u8>> + Send + 'static,
) -> Result<Bytes, Failed> {
    match tokio::task::spawn_blocking(make).await {
        Ok(made) => made.map(Bytes::from).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
