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

/// Returns an established connection between rustls and each back end, with this version of TLS.
async fn established_with_rustls(version: Version) -> Vec<(Stream, Stream)> {
    let ca = Ca::new("ca");
    let end = |backend: Backend| End::load(&ca.credentials().backend(backend), &[version]);
    let mut pairs = Vec::new();
    for backend in BACKENDS {
        let (a, b) = connect_ends(&end(Backend::Rustls), &end(*backend)).await;
        pairs.push((a.unwrap(), b.unwrap()));
    }
    pairs
}

#[tokio::test]
async fn plaintext_for_which_the_reader_has_no_room_is_kept_in_order_while_the_stream_writes() {
    for version in VERSIONS {
        for (mut a, mut b) in established_with_rustls(version).await {
            let sent: Vec<u8> = (0..=250).cycle().take(100_000).collect();
            let send = async {
                // Records of many lengths.
                for (index, part) in sent.chunks(997).enumerate() {
                    b.write_all(&part[..index % 997]).await.unwrap();
                    b.write_all(&part[index % 997..]).await.unwrap();
                }
                b.flush().await.unwrap();
                let mut answers = [0; 1000];
                b.read_exact(&mut answers).await.unwrap();
                assert_eq!(answers, [7; 1000]);
            };
            let receive = async {
                let mut received = Vec::new();
                while received.len() < sent.len() {
                    let mut part = [0; 100];
                    let length = a.read(&mut part).await.unwrap();
                    received.extend_from_slice(&part[..length]);
                    // Between two reads, the stream has input that it has not processed.
                    if received.len() % 7 == 0 {
                        tokio::task::yield_now().await;
                    }
                    if received.len() <= 100_000 && received.len() > 50_000 && received.len() <= 50_100 {
                        a.write_all(&[7; 1000]).await.unwrap();
                        a.flush().await.unwrap();
                    }
                }
                assert!(received == sent);
            };
            tokio::join!(send, receive);
        }
    }
}

#[tokio::test]
async fn an_alert_is_returned_after_the_data_before_it() {
    for version in VERSIONS {
        let ca = Ca::new("ca");
        let end = End::load(&ca.credentials().backend(Backend::Rustls), &[version]);
        let (a, b) = connect_ends(&end, &end).await;
        let (mut a, mut b) = (a.unwrap(), b.unwrap());
        b.write_all(b"before").await.unwrap();
        b.flush().await.unwrap();
        // A record that is not encrypted with the session key.
        let mut record = [7; 37];
        record[..5].copy_from_slice(&[23, 3, 3, 0, 32]);
        assert_eq!(b.tcp().try_write(&record).unwrap(), record.len());
        let mut read = [0; 100];
        assert_eq!(a.read(&mut read).await.unwrap(), 6);
        let error = a.read(&mut read).await.unwrap_err();
        assert!(matches!(TlsError::from_io(&error), Some(TlsError::Protocol(_))), "{error}");
        // The failed stream can still be used, without effect.
        assert_eq!(a.read(&mut read).await.unwrap(), 0);
        assert!(a.write_all(b"after").await.is_err());
        a.shutdown().await.unwrap();
        // The peer was told.
        let error = b.read(&mut read).await.unwrap_err();
        assert!(matches!(TlsError::from_io(&error), Some(TlsError::Refused(_))), "{error}");
    }
}

#[tokio::test]
async fn a_record_that_arrives_in_small_parts_is_read() {
    for version in VERSIONS {
        let ca = Ca::new("ca");
        let end = End::load(&ca.credentials().backend(Backend::Rustls), &[version]);
        let (a, relay_a) = tcp_pair().await;
        let (relay_b, b) = tcp_pair().await;
        // Forwards every byte on its own.
        let forward = |mut from: tokio::net::tcp::OwnedReadHalf, mut to: tokio::net::tcp::OwnedWriteHalf| async move {
            while let Ok(byte) = from.read_u8().await {
                to.write_u8(byte).await.unwrap();
            }
        };
        relay_a.set_nodelay(true).unwrap();
        relay_b.set_nodelay(true).unwrap();
        let (from_a, to_a) = relay_a.into_split();
        let (from_b, to_b) = relay_b.into_split();
        tokio::spawn(forward(from_a, to_b));
        tokio::spawn(forward(from_b, to_a));
        let (a, b) = tokio::join!(end.connect(a), end.accept(b));
        let (mut a, mut b) = (a.unwrap(), b.unwrap());
        let sent: Vec<u8> = (0..=250).cycle().take(20_000).collect();
        let mut received = vec![0; sent.len()];
        let (written, read) = tokio::join!(
            async {
                a.write_all(&sent).await?;
                a.flush().await
            },
            b.read_exact(&mut received)
        );
        written.unwrap();
        read.unwrap();
        assert!(received == sent);
    }
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
