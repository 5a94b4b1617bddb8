//! TLS over loopback TCP, with each valid and invalid combination of two ends.

mod algorithms;
mod backends;
mod broken;
mod credentials;
mod files;
mod identities;
mod one_sided;
mod openssl;
mod pairings;
mod parts;
mod pki;
mod renewal;
mod streams;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::mutual::MutualTls;
use super::{Backend, CertificateFault, Credentials, Stream, Tls, TlsError};

type Version = &'static SupportedProtocolVersion;

/// The back ends that this build supports.
const BACKENDS: &[Backend] =
    if cfg!(feature = "openssl") { &[Backend::Rustls, Backend::OpenSsl] } else { &[Backend::Rustls] };

/// The supported TLS versions. A test can configure an end with only one of them.
const VERSIONS: [Version; 2] = [&TLS12, &TLS13];

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(fixture_path(name)).unwrap()
}

fn fixture_path(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tls").join(name)
}

/// Returns the path of a copy of a key that only its owner can read. The permissions of a checkout may be wider.
fn private_copy(name: &str) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    static COPIES: std::sync::LazyLock<tempfile::TempDir> =
        std::sync::LazyLock::new(|| tempfile::tempdir().unwrap());
    static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let copy = COPIES.path().join(format!("{count}.{name}"));
    std::fs::write(&copy, fixture(name)).unwrap();
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o600)).unwrap();
    copy
}

/// One end of a connection.
#[derive(Clone)]
enum End {
    /// An end of this crate.
    Ours(Tls),
    /// rustls without our checks: presents any certificate, or none.
    Bare(TlsConnector, TlsAcceptor),
}

impl End {
    fn load(credentials: &Credentials, versions: &[Version]) -> End {
        End::Ours(Tls::Mutual(MutualTls::new(credentials, versions).unwrap()))
    }

    fn bare(certificate: Option<CertifiedKey>, versions: &[Version]) -> End {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let certificate = certificate.map(|key| Arc::new(SingleCertAndKey::from(key)));
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(pki::AcceptAnyCertificate));
        let client = match &certificate {
            Some(key) => client.with_client_cert_resolver(key.clone()),
            None => client.with_no_client_auth(),
        };
        let server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_client_cert_verifier(Arc::new(pki::AcceptAnyCertificate));
        // The builder requires a resolver even if there is no certificate. Such an end can only connect.
        let server = match certificate {
            Some(key) => server.with_cert_resolver(key),
            None => server.with_cert_resolver(Arc::new(pki::NoCertificate)),
        };
        End::Bare(Arc::new(client).into(), Arc::new(server).into())
    }

    async fn connect(&self, tcp: TcpStream) -> Result<Stream, TlsError> {
        match self {
            End::Ours(tls) => tls.connect(tcp).await,
            End::Bare(connector, _) => {
                let tls = connector.connect(IpAddr::V4(Ipv4Addr::LOCALHOST).into(), tcp).await;
                Ok(Stream::from_rustls(tls.map_err(TlsError::from_handshake)?))
            }
        }
    }

    async fn accept(&self, tcp: TcpStream) -> Result<Stream, TlsError> {
        match self {
            End::Ours(tls) => tls.accept(tcp).await,
            End::Bare(_, acceptor) => {
                Ok(Stream::from_rustls(acceptor.accept(tcp).await.map_err(TlsError::from_handshake)?))
            }
        }
    }
}

/// Returns the two ends of a TCP connection over loopback: first the connector's end, then the listener's end.
async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (connector, accepted) =
        tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (connector.unwrap(), accepted.unwrap().0)
}

/// Sends and receives a greeting, so that both ends know whether the handshake succeeded.
async fn greet(stream: Result<Stream, TlsError>) -> Result<Stream, TlsError> {
    let mut stream = stream?;
    // If the peer has refused us, the write may fail. The read then returns the reason.
    let _ = stream.write_all(b"hello").await;
    let mut greeting = [0; 5];
    match stream.read(&mut greeting).await {
        Ok(0) => Err(TlsError::Closed),
        Ok(n) => {
            assert_eq!(&greeting[..n], &b"hello"[..n]);
            Ok(stream)
        }
        Err(error) => Err(TlsError::from_io(&error).unwrap_or_else(|| TlsError::from_handshake(error))),
    }
}

/// Connects the two ends. Returns the results of the connector and of the listener.
async fn connect_ends(
    connector: &End,
    listener: &End,
) -> (Result<Stream, TlsError>, Result<Stream, TlsError>) {
    let (a, b) = tcp_pair().await;
    tokio::join!(async { greet(connector.connect(a).await).await }, async {
        greet(listener.accept(b).await).await
    })
}
