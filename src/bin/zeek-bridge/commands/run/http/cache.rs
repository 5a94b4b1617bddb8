//! Documents that several requests share.

use std::sync::Arc;
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
pub(super) struct Cache(Arc<Mutex<Option<(Instant, Bytes)>>>);

impl Cache {
    /// Returns the document. Requests that arrive while it is made wait for it.
    pub(super) async fn get(
        &self,
        make: impl FnOnce() -> serde_json::Result<Vec<u8>> + Send + 'static,
    ) -> Result<Bytes, Failed> {
        let mut cached = self.0.clone().lock_owned().await;
        if let Some((made, document)) = cached.as_ref()
            && made.elapsed() < MAX_AGE
        {
            return Ok(document.clone());
        }
        // The previous document may be large, so free it before the next one is made.
        *cached = None;
        // The thread owns the lock. If the client disconnects, this future is dropped, but no second document is made until the
        // thread has ended. Otherwise, a client that connects and disconnects in a loop could use up the memory.
        in_blocking_thread(move || {
            let document = Bytes::from(make()?);
            *cached = Some((Instant::now(), document.clone()));
            Ok(document)
        })
        .await
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
pub(super) async fn in_blocking_thread<D: Into<Bytes> + Send + 'static>(
    make: impl FnOnce() -> serde_json::Result<D> + Send + 'static,
) -> Result<Bytes, Failed> {
    match tokio::task::spawn_blocking(make).await {
        Ok(made) => made.map(Into::into).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn a_request_that_is_dropped_starts_no_second_job() {
        let cache = Cache::default();
        let (started, is_started) = tokio::sync::oneshot::channel();
        let (release, released) = std::sync::mpsc::channel();
        {
            let first = pin!(cache.get(move || {
                started.send(()).unwrap();
                released.recv().unwrap();
                Ok(b"first".to_vec())
            }));
            tokio::select! {
                _ = first => panic!("the job has ended"),
                started = is_started => started.unwrap(),
            }
        }
        let second = cache.get(|| Ok(b"second".to_vec()));
        release.send(()).unwrap();
        assert_eq!(second.await.unwrap(), "first");
    }
}
