//! Server-sent events for one viewer.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::settings::Settings;

/// The first frame: a browser that has lost the connection connects again after one second.
const RETRY: &[u8] = b"retry: 1000\n\n";

/// Returns an event with this data, which is one line.
pub(super) fn frame(event: &str, json: &[u8]) -> Vec<u8> {
    [b"event: ", event.as_bytes(), b"\ndata: ", json, b"\n\n"].concat()
}

/// The frames for one viewer. The viewer is counted until this is dropped.
pub(super) struct Feed {
    status: watch::Receiver<Bytes>,
    sample: watch::Receiver<Bytes>,
    settings: watch::Receiver<Arc<Settings>>,
    has_begun: bool,
    _permit: OwnedSemaphorePermit,
}

impl Feed {
    pub(super) fn new(
        status: watch::Receiver<Bytes>,
        sample: watch::Receiver<Bytes>,
        settings: watch::Receiver<Arc<Settings>>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Feed { status, sample, settings, has_begun: false, _permit: permit }
    }

    /// Waits for the next frame. Returns `None` if the viewer must connect again, because its token may no longer be valid, or
    /// because the server ends.
    async fn next(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.has_begun, true) {
            return Some(Bytes::from_static(RETRY));
        }
        let source = tokio::select! {
            biased;
            _ = self.settings.changed() => return None,
            changed = self.sample.changed() => changed.map(|()| &mut self.sample),
            changed = self.status.changed() => changed.map(|()| &mut self.status),
        };
        source.ok().map(|source| source.borrow_and_update().clone())
    }
}

type Next = Pin<Box<dyn Future<Output = Option<(Bytes, Feed)>> + Send>>;

/// The body of the response. The server polls it only when the client has read the previous frames.
pub(super) struct Events(Option<Next>);

impl Events {
    pub(super) fn new(feed: Feed) -> Self {
        Events(Some(Self::next(feed)))
    }

    fn next(mut feed: Feed) -> Next {
        Box::pin(async move { feed.next().await.map(|frame| (frame, feed)) })
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let Some(next) = &mut this.0 else { return Poll::Ready(None) };
        let frame = ready!(next.as_mut().poll(cx)).map(|(frame, feed)| {
            this.0 = Some(Self::next(feed));
            Ok(Frame::data(frame))
        });
        if frame.is_none() {
            this.0 = None;
        }
        Poll::Ready(frame)
    }
}
