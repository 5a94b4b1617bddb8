//! A subscription as a [`Stream`].

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;

use super::message::Message;
use super::queue::Popped;
use super::subscriber::{Subscriber, Wait};

/// The messages, as [`Subscriber::recv`] returns them. Ends when the endpoint has shut down and all messages were received.
///
/// `recv` and the stream can be used in turn. Requires the feature `stream`.
impl Stream for Subscriber {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Message>> {
        let subscriber = &mut *self;
        let wait = match &mut subscriber.wait {
            Some(wait) => wait,
            // Nothing is allocated if there is a message already.
            None => match subscriber.queue.try_pop() {
                Popped::Message(message) => return Poll::Ready(Some(message)),
                Popped::Ended(_) => return Poll::Ready(None),
                Popped::Empty => {
                    let queue = subscriber.queue.clone();
                    subscriber.wait.insert(Wait(Box::pin(async move { queue.pop().await })))
                }
            },
        };
        let next = ready!(wait.0.as_mut().poll(context));
        subscriber.wait = None;
        Poll::Ready(next)
    }
}
