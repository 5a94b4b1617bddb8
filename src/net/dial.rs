//! Connects to an address, or listens on it. The address has the form that users write. Endpoints use this module, and so
//! do the commands that connect to a peer or listen for peers.
//!
//! A name may have several addresses. Some of them may be silent, because a firewall drops the packets or the network does
//! not route the address family. [`dial`] tries them in parallel, as described in RFC 8305 ("Happy Eyeballs").

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::address::{HostPort, ResolveError};
use super::address_error::AddressError;
use super::timer::after;
use super::url::{Scheme, Url};
use crate::peering::ErrorKind;

/// The time between the start of an attempt and the start of the next: the "Connection Attempt Delay" that RFC 8305, section 5,
/// recommends.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The minimum delay that RFC 8305, section 5, allows.
const MIN_ATTEMPT_DELAY: Duration = Duration::from_millis(10);

/// The maximum number of addresses of a name that are tried. Each attempt needs a socket and a part of the error message,
/// and a name may have thousands of addresses.
const MAX_ADDRESSES: usize = 16;

/// Why there is no connection.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The text is not an address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The host was not found, or the zone of an IPv6 address is not a network interface of this host.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The resolver did not answer in time.
    #[error("cannot find the host: the resolver did not answer within {:.1} s; check this host's resolver", .0.as_secs_f64())]
    ResolveTimeout(Duration),
    /// No address could be connected to.
    #[error("cannot connect: {}", Unreachable { attempts, by_name: *by_name })]
    Connect {
        /// All addresses (at most 16), and why each one failed. An address that was not tried before the deadline has the
        /// cause [`AttemptError::Timeout`].
        attempts: Vec<FailedAttempt>,
        /// Whether the message must contain the addresses, because the target was a name or has several ports.
        by_name: bool,
    },
}

/// An address that could not be connected to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FailedAttempt {
    /// The address.
    pub address: SocketAddr,
    /// Why there is no connection.
    pub cause: AttemptError,
}

/// Why an address could not be connected to.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttemptError {
    /// The operating system's error: the connection was refused, or there is no route. `Error::source` returns the `Arc`,
    /// so a downcast to [`io::Error`] fails. To get the [`io::Error`], match this variant.
    #[error("{0}")]
    Io(#[source] Arc<io::Error>),
    /// Nothing answered in this time, or the address was not tried in this time.
    #[error("no answer within {:.1} s", .0.as_secs_f64())]
    Timeout(Duration),
}

impl DialError {
    /// Returns the kind of error as one word from a fixed set, for counters.
    #[must_use]
    pub fn cause(&self) -> &'static str {
        match self {
            DialError::Address(_) => "address",
            DialError::Resolve(_) | DialError::ResolveTimeout(_) => "resolve",
            DialError::Connect { .. } if self.is_timeout() => "connect_timeout",
            DialError::Connect { .. } => "connect",
        }
    }

    /// Returns the category of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            DialError::Address(_) | DialError::Resolve(ResolveError::Zone(_)) => ErrorKind::Local,
            DialError::Resolve(ResolveError::Name(_)) => ErrorKind::Io,
            DialError::ResolveTimeout(_) => ErrorKind::TimedOut,
            DialError::Connect { .. } if self.is_timeout() => ErrorKind::TimedOut,
            DialError::Connect { .. } => ErrorKind::Io,
        }
    }

    /// Returns whether the time was exceeded: by the resolver, or by every address.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        match self {
            DialError::ResolveTimeout(_) => true,
            DialError::Connect { attempts, .. } => attempts.iter().all(|attempt| attempt.cause.is_timeout()),
            DialError::Address(_) | DialError::Resolve(_) => false,
        }
    }

    /// Returns the error number of the operating system for every address that has one.
    pub fn raw_os_errors(&self) -> impl Iterator<Item = i32> {
        let attempts = if let DialError::Connect { attempts, .. } = self { attempts.as_slice() } else { &[] };
        attempts.iter().filter_map(|attempt| match &attempt.cause {
            AttemptError::Io(error) => error.raw_os_error(),
            AttemptError::Timeout(_) => None,
        })
    }
}

impl AttemptError {
    fn is_timeout(&self) -> bool {
        matches!(self, AttemptError::Timeout(_))
    }
}

/// Formats the text of [`DialError::Connect`].
struct Unreachable<'a> {
    attempts: &'a [FailedAttempt],
    by_name: bool,
}

impl fmt::Display for Unreachable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, FailedAttempt { address, cause }) in self.attempts.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { ", " })?;
            if self.by_name {
                write!(f, "{address}: ")?;
            }
            write!(f, "{cause}")?;
        }
        f.write_str(if self.attempts.iter().all(|failed| failed.cause.is_timeout()) {
            "; check the address, and whether a firewall drops packets"
        } else {
            "; is a Zeek or zeek-bridge listening there?"
        })
    }
}

/// Connects to `target` (`host:port`, or a [`Url`], whose scheme is ignored) within `timeout`, which includes the lookup of
/// the name. On the returned stream, Nagle's algorithm is disabled.
///
/// The addresses of a name are tried in the resolver's order, but alternating between IPv6 and IPv4. Each attempt starts
/// 250 ms after the previous one, or earlier if an attempt fails. With many addresses or a short `timeout`, the delay is
/// shorter, but at least 10 ms. The last attempt then normally starts at most half of `timeout` after the first. The first
/// established connection is returned, and the remaining attempts are cancelled. At most 16 addresses are tried.
///
/// # Errors
/// Fails if `target` is not an address, or cannot be resolved or connected to. If no connection is established, the error
/// contains every address, up to 16, and why it failed.
pub async fn dial(target: &str, timeout: Duration) -> Result<TcpStream, DialError> {
    dial_with_address(target, timeout).await.map(|(_, tcp)| tcp)
}

/// Like [`dial`], but also returns the peer's address. The socket no longer has this address after the peer has reset the
/// connection.
pub(crate) async fn dial_with_address(
    target: &str,
    timeout: Duration,
) -> Result<(SocketAddr, TcpStream), DialError> {
    let url = Url::to_connect(target)?;
    let target = url.host_port();
    dial_host(target, timeout, target.ip().is_none()).await
}

/// Like [`dial_with_address`]. If `names_addresses`, the text of an error contains the addresses that were tried.
pub(crate) async fn dial_host(
    target: &HostPort,
    timeout: Duration,
    names_addresses: bool,
) -> Result<(SocketAddr, TcpStream), DialError> {
    let deadline = after(timeout);
    let resolving = timeout_at(deadline, target.resolve_in_background());
    let addresses = resolving.await.map_err(|_| DialError::ResolveTimeout(timeout))??;
    let raced = race(interleave(addresses), timeout, deadline, TcpStream::connect).await;
    let (address, tcp) =
        raced.map_err(|attempts| DialError::Connect { attempts, by_name: names_addresses })?;
    let _ = tcp.set_nodelay(true);
    Ok((address, tcp))
}

/// Listens on `address` (`host:port`, or a [`Url`], whose scheme is ignored; port 0 lets the system choose). If the host is
/// a name, uses its first address that can be listened on.
///
/// # Errors
/// Fails if `address` is not an address, cannot be resolved or cannot be listened on, and for a `zeromq://` URL, which has two
/// ports.
pub async fn bind(address: &str) -> io::Result<TcpListener> {
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
    let url = Url::to_listen(address).map_err(invalid)?;
    if url.scheme() == Scheme::ZeroMq {
        return Err(invalid(AddressError::ListenZeroMq));
    }
    bind_first(url.host_port(), TcpListener::bind::<SocketAddr>).await
}

/// Like [`bind`], for the address of a logger of a ZeroMQ cluster.
pub(crate) async fn bind_logger(address: &HostPort) -> io::Result<TcpListener> {
    bind_first(address, TcpListener::bind).await
}

/// Listens on both ports of the proxy of a ZeroMQ cluster: the first one for its XPUB, the second one for its XSUB. If the host
/// is a name, uses its first address at which both ports can be bound.
///
/// # Errors
/// Fails like [`bind`]. The error names the port.
pub(crate) async fn bind_proxy(xpub: &HostPort, xsub_port: u16) -> io::Result<[TcpListener; 2]> {
    // Not an async closure, whose future would not be `Send` for every lifetime.
    bind_first(xpub, |xpub| async move {
        let named = |socket: &str, port: u16, error: io::Error| {
            io::Error::new(error.kind(), format!("port {port} ({socket}): {error}"))
        };
        let (mut xsub, xpub_port) = (xpub, xpub.port());
        xsub.set_port(xsub_port);
        let xpub = TcpListener::bind(xpub).await.map_err(|error| named("XPUB", xpub_port, error))?;
        let xsub = TcpListener::bind(xsub).await.map_err(|error| named("XSUB", xsub_port, error))?;
        Ok([xpub, xsub])
    })
    .await
}

/// Calls `bind` with the addresses of the host until it succeeds. Otherwise, returns the first error.
async fn bind_first<L, F: Future<Output = io::Result<L>>>(
    host_port: &HostPort,
    bind: impl Fn(SocketAddr) -> F,
) -> io::Result<L> {
    let not_found = |error| io::Error::new(io::ErrorKind::NotFound, error);
    let mut first_error = None;
    for address in host_port.resolve_in_background().await.map_err(not_found)? {
        match bind(address).await {
            Ok(listener) => return Ok(listener),
            Err(error) => _ = first_error.get_or_insert(error),
        }
    }
    Err(first_error.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()))
}

/// Sorts the addresses so that the families alternate (RFC 8305, section 4), beginning with the family of the first
/// address. Returns at most [`MAX_ADDRESSES`].
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_ipv4 = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (first, second): (VecDeque<_>, VecDeque<_>) =
        addresses.into_iter().partition(|address| address.is_ipv4() == first_is_ipv4);
    let mut families = [first, second];
    let mut order = Vec::new();
    while order.len() < MAX_ADDRESSES && families.iter().any(|family| !family.is_empty()) {
        order.extend(families.iter_mut().filter_map(VecDeque::pop_front));
    }
    order.truncate(MAX_ADDRESSES);
    order
}

/// Starts an attempt for each address, with a delay between the starts, until one attempt succeeds.
async fn race<S, C>(
    addresses: Vec<SocketAddr>,
    timeout: Duration,
    deadline: Instant,
    connect: impl Fn(SocketAddr) -> C,
) -> Result<(SocketAddr, S), Vec<FailedAttempt>>
where
    S: Send + 'static,
    C: Future<Output = io::Result<S>> + Send + 'static,
{
    let count = u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let share = timeout.checked_div(count.saturating_mul(2)).unwrap_or_default();
    let delay = share.clamp(MIN_ATTEMPT_DELAY, ATTEMPT_DELAY);
    let mut waiting = addresses.iter().copied();
    let mut next = waiting.next();
    let mut due = Instant::now();
    let mut failed: Vec<(SocketAddr, io::Error)> = Vec::new();
    // Dropping the set cancels the attempts in progress.
    let mut attempts = JoinSet::new();
    while next.is_some() || !attempts.is_empty() {
        tokio::select! {
            // A connection is used even if the deadline passes at the same time.
            biased;
            Some(attempt) = attempts.join_next() => match attempt {
                Ok((address, Ok(stream))) => return Ok((address, stream)),
                Ok((address, Err(error))) => {
                    failed.push((address, error));
                    due = Instant::now();
                }
                // Unreachable: an attempt neither panics nor is cancelled elsewhere.
                Err(_) => {}
            },
            () = sleep_until(deadline) => break,
            () = sleep_until(due), if next.is_some() => {
                if let Some(address) = next {
                    let connecting = connect(address);
                    attempts.spawn(async move { (address, connecting.await) });
                }
                next = waiting.next();
                due = after(delay);
            }
        }
    }
    let causes = addresses.into_iter().map(|address| {
        let error = failed.iter().position(|(other, _)| *other == address).map(|at| failed.swap_remove(at).1);
        let cause = error.map_or(AttemptError::Timeout(timeout), |error| AttemptError::Io(Arc::new(error)));
        FailedAttempt { address, cause }
    });
    Err(causes.collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);

    fn addresses<const N: usize>(texts: [&str; N]) -> Vec<SocketAddr> {
        texts.map(|text| text.parse().unwrap()).to_vec()
    }

    /// The result of a connection attempt in a test, and its delay in milliseconds.
    #[derive(Clone, Copy)]
    enum Does {
        Connect(u64),
        Refuse(u64),
        Nothing,
    }

    /// Records the address of an attempt that is dropped before its end.
    struct Cancelled(Arc<Mutex<Vec<SocketAddr>>>, SocketAddr, bool);

    impl Cancelled {
        fn finish(mut self) {
            self.2 = true;
        }
    }

    impl Drop for Cancelled {
        fn drop(&mut self) {
            if !self.2 {
                self.0.lock().unwrap().push(self.1);
            }
        }
    }

    type Started = Arc<Mutex<Vec<(SocketAddr, u128)>>>;

    struct Raced {
        outcome: Result<(SocketAddr, ()), Vec<FailedAttempt>>,
        /// The time from the start to the outcome, in milliseconds.
        took: u128,
        started: Vec<(SocketAddr, u128)>,
        cancelled: Vec<SocketAddr>,
    }

    async fn raced(does: &[(&str, Does)]) -> Raced {
        let start = Instant::now();
        let does: Vec<(SocketAddr, Does)> =
            does.iter().map(|(text, does)| (text.parse().unwrap(), *does)).collect();
        let (started, cancelled) = (Started::default(), Arc::default());
        let all = does.iter().map(|(address, _)| *address).collect();
        let outcome = race(all, TIMEOUT, after(TIMEOUT), |address| {
            started.lock().unwrap().push((address, start.elapsed().as_millis()));
            let does = does.iter().find(|(other, _)| *other == address).unwrap().1;
            let cancelled = Cancelled(Arc::clone(&cancelled), address, false);
            async move {
                let outcome = match does {
                    Does::Connect(after) => {
                        tokio::time::sleep(Duration::from_millis(after)).await;
                        Ok(())
                    }
                    Does::Refuse(after) => {
                        tokio::time::sleep(Duration::from_millis(after)).await;
                        Err(io::ErrorKind::ConnectionRefused.into())
                    }
                    Does::Nothing => std::future::pending().await,
                };
                cancelled.finish();
                outcome
            }
        })
        .await;
        let took = start.elapsed().as_millis();
        // Cancelled attempts are dropped by the runtime.
        tokio::task::yield_now().await;
        let (started, cancelled) = (started.lock().unwrap().clone(), cancelled.lock().unwrap().clone());
        Raced { outcome, took, started, cancelled }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_address_does_not_keep_the_others_from_being_tried() {
        let raced = raced(&[("192.0.2.1:1", Does::Nothing), ("192.0.2.2:1", Does::Connect(5))]).await;
        assert_eq!(raced.outcome.unwrap().0, "192.0.2.2:1".parse().unwrap());
        assert!((255..=260).contains(&raced.took), "{}", raced.took);
        assert_eq!(raced.cancelled, addresses(["192.0.2.1:1"]), "the other attempt is cancelled");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_attempt_starts_the_next_one_immediately() {
        let raced = raced(&[("192.0.2.1:1", Does::Refuse(3)), ("192.0.2.2:1", Does::Connect(5))]).await;
        assert_eq!(raced.outcome.unwrap().0, "192.0.2.2:1".parse().unwrap());
        assert!(raced.took <= 20, "{}", raced.took);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_first_attempt_can_still_succeed() {
        let raced = raced(&[("192.0.2.1:1", Does::Connect(400)), ("192.0.2.2:1", Does::Nothing)]).await;
        assert_eq!(raced.outcome.unwrap().0, "192.0.2.1:1".parse().unwrap());
        assert_eq!(raced.started.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_names_every_address_with_its_cause() {
        let raced = raced(&[("192.0.2.1:1", Does::Refuse(3)), ("[2001:db8::1]:1", Does::Nothing)]).await;
        let error = DialError::Connect { attempts: raced.outcome.unwrap_err(), by_name: true };
        assert!((9_990..=10_010).contains(&raced.took), "{}", raced.took);
        let text = error.to_string();
        assert_eq!(
            text,
            "cannot connect: 192.0.2.1:1: connection refused, [2001:db8::1]:1: no answer within 10.0 s; \
             is a Zeek or zeek-bridge listening there?"
        );
        assert!(!error.is_timeout());
        let DialError::Connect { attempts, .. } = error else { return };
        let of_one = DialError::Connect { attempts: attempts[..1].to_vec(), by_name: false };
        let text = "cannot connect: connection refused; is a Zeek or zeek-bridge listening there?";
        assert_eq!(of_one.to_string(), text);
    }

    #[tokio::test(start_paused = true)]
    async fn many_silent_addresses_are_all_tried_in_half_of_the_time() {
        let texts: Vec<String> = (0..MAX_ADDRESSES).map(|n| format!("192.0.2.{n}:1")).collect();
        let silent: Vec<_> = texts.iter().map(|text| (text.as_str(), Does::Nothing)).collect();
        let raced = raced(&silent).await;
        assert!(raced.outcome.unwrap_err().iter().all(|attempt| attempt.cause.is_timeout()));
        assert_eq!(raced.started.len(), MAX_ADDRESSES);
        assert!(
            raced.started.iter().all(|(_, started)| *started <= TIMEOUT.as_millis() / 2),
            "{:?}",
            raced.started
        );
    }

    #[test]
    fn families_alternate() {
        let mixed = addresses(["[::1]:1", "[::2]:1", "[::3]:1", "127.0.0.1:1", "127.0.0.2:1"]);
        let expected = addresses(["[::1]:1", "127.0.0.1:1", "[::2]:1", "127.0.0.2:1", "[::3]:1"]);
        assert_eq!(interleave(mixed), expected);
        let many = (0..100).map(|n| SocketAddr::from(([192, 0, 2, n], 1))).collect();
        assert_eq!(interleave(many).len(), MAX_ADDRESSES);
        assert!(interleave(Vec::new()).is_empty());
    }

    #[tokio::test]
    async fn an_invalid_address_is_not_resolved() {
        let error = dial("localhost", TIMEOUT).await.unwrap_err();
        assert!(matches!(error, DialError::Address(AddressError::NoPort)), "{error}");
        let error = dial("127.0.0.1:0", TIMEOUT).await.unwrap_err();
        assert!(matches!(error, DialError::Address(AddressError::PortZero)), "{error}");
        let error = bind("localhost").await.unwrap_err();
        assert!(error.to_string().contains("no port"), "{error}");
    }

    /// Endpoints and commands listen for peers with `bind`, and connect to peers with `dial` or `dial_with_address`.
    #[tokio::test]
    async fn an_address_with_a_zone_can_be_listened_on_and_connected_to() {
        let Ok(listener) = bind("[::1%lo]:0").await else {
            eprintln!("skipped: there is no IPv6 loopback interface named lo");
            return;
        };
        let target = format!("[::1%lo]:{}", listener.local_addr().unwrap().port());
        let (dialed, accepted) = tokio::join!(dial(&target, TIMEOUT), listener.accept());
        assert_eq!(dialed.unwrap().local_addr().unwrap().ip(), accepted.unwrap().1.ip());
    }
}
