//! Streams after their handshake.

use std::io::IoSlice;

use tokio::io::AsyncWrite;

use super::pki::Ca;
use super::*;

/// Returns an established connection for each pair of back ends.
async fn established(version: Version) -> Vec<(Stream, Stream)> {
    let ca = Ca::new("ca");
    let end = |backend: Backend| End::load(&ca.credentials().backend(backend), &[version]);
    let mut pairs = Vec::new();
    for one in BACKENDS {
        for other in BACKENDS {
            let (a, b) = connect_ends(&end(*one), &end(*other)).await;
            pairs.push((a.unwrap(), b.unwrap()));
        }
    }
    if let Ok(anonymous) = Tls::anonymous() {
        let anonymous = End::Ours(anonymous);
        let (a, b) = connect_ends(&anonymous, &anonymous).await;
        pairs.push((a.unwrap(), b.unwrap()));
    }
    pairs
}

async fn plain() -> (Stream, Stream) {
    let (a, b) = tcp_pair().await;
    (Tls::Off.connect(a).await.unwrap(), Tls::Off.accept(b).await.unwrap())
}

/// Writes to `from` and drops it without a `close_notify` (neither rustls nor this crate sends one on drop).
async fn assert_read_to_end(mut from: Stream, mut to: Stream) {
    from.write_all(b"last words").await.unwrap();
    from.flush().await.unwrap();
    drop(from);
    let mut all = Vec::new();
    to.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"last words");
    // Later reads return the end of the stream again.
    assert_eq!(to.read(&mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_connection_closed_without_close_notify_reads_as_end_of_stream() {
    for version in VERSIONS {
        for (a, b) in established(version).await {
            assert_read_to_end(a, b).await;
        }
        for (a, b) in established(version).await {
            assert_read_to_end(b, a).await;
        }
    }
    let (a, b) = plain().await;
    assert_read_to_end(a, b).await;
}

#[tokio::test]
async fn close_notify_ends_one_direction_and_leaves_the_other_open() {
    for version in VERSIONS {
        for (mut a, mut b) in established(version).await {
            a.shutdown().await.unwrap();
            assert_eq!(b.read(&mut [0; 8]).await.unwrap(), 0);
            b.write_all(b"still here").await.unwrap();
            b.shutdown().await.unwrap();
            let mut all = Vec::new();
            a.read_to_end(&mut all).await.unwrap();
            assert_eq!(all, b"still here");
        }
    }
}

async fn assert_transferred(mut a: Stream, mut b: Stream) {
    let sent: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
    let (head, tail) = sent.split_at(1_000_000);
    let send = async {
        assert!(a.is_write_vectored());
        let written = a.write_vectored(&[IoSlice::new(head), IoSlice::new(tail)]).await.unwrap();
        assert!(written > 0);
        a.write_all(&sent[written..]).await.unwrap();
        a.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    let ((), n) = tokio::join!(send, b.read_to_end(&mut received));
    assert_eq!(n.unwrap(), sent.len());
    assert!(received == sent);
}

#[tokio::test]
async fn large_data_arrives_complete_and_in_order() {
    for version in VERSIONS {
        for (a, b) in established(version).await {
            assert_transferred(a, b).await;
        }
    }
    let (a, b) = plain().await;
    assert_transferred(a, b).await;
}

#[tokio::test]
async fn a_plain_stream_has_no_certificate() {
    let (a, _b) = plain().await;
    assert!(!a.is_tls());
    assert_eq!(a.peer_certificate(), None);
}

#[tokio::test]
async fn bytes_that_are_not_tls_are_an_error_and_not_the_end_of_the_stream() {
    for (version, backend) in VERSIONS.into_iter().flat_map(|v| BACKENDS.iter().map(move |b| (v, *b))) {
        let ca = Ca::new("ca");
        let (a, mut b) = tcp_pair().await;
        let ours = End::load(&ca.credentials().backend(backend), &[version]);
        let theirs = ca.leaf(|_| ());
        let End::Bare(_, acceptor) = End::bare(Some(theirs.certified_key()), &[version]) else {
            unreachable!()
        };
        let (ours, theirs) = tokio::join!(ours.connect(a), acceptor.accept(&mut b));
        drop(theirs.unwrap());
        // A record of application data that is not encrypted with the session key.
        b.write_all(&[23, 3, 3, 0, 32]).await.unwrap();
        b.write_all(&[7; 32]).await.unwrap();
        let error = ours.unwrap().read(&mut [0; 8]).await.unwrap_err();
        let error = TlsError::from_io(&error).unwrap();
        assert!(matches!(error, TlsError::Protocol(_)), "{error:?}");
    }
}

#[test]
fn io_errors_without_a_tls_cause_are_not_converted() {
    assert!(TlsError::from_io(&std::io::ErrorKind::ConnectionReset.into()).is_none());
    assert!(TlsError::from_io(&std::io::Error::other("something else")).is_none());
}
