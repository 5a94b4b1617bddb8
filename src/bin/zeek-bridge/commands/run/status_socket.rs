//! The Unix socket that `zeek-bridge status` connects to. Each client receives one JSON document, the snapshot.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::future::Future;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use super::serve::{Limits, serve_each};
use super::view::View;

const LIMITS: Limits = Limits { connections: 8, time: Duration::from_secs(5) };

/// Maximum time for the bridge that may own an existing socket to accept a connection. After this time, the socket counts as in
/// use.
const ACCEPT: Duration = Duration::from_secs(1);

/// A bound server that does not accept connections yet.
pub(super) struct Server {
    listener: UnixListener,
    file: SocketFile,
}

/// The file of a socket, which is removed on drop.
pub(super) struct SocketFile {
    path: PathBuf,
    metadata: Metadata,
}

impl SocketFile {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Remove the file, unless a different bridge has replaced it.
        let same = |found: Metadata| (found.dev(), found.ino()) == (self.metadata.dev(), self.metadata.ino());
        if fs::symlink_metadata(&self.path).is_ok_and(same) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Server {
    pub(super) async fn bind(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let failed = |error: io::Error| {
            format!(
                "cannot create the socket {shown}: {error}; use a path of at most 92 bytes in a directory that this \
                 user may write to"
            )
        };
        let in_use =
            || format!("another bridge uses the status socket {shown}; stop it, or use another path");
        std::os::unix::net::SocketAddr::from_pathname(path).map_err(failed)?;
        let directory = match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => return Err(failed(ErrorKind::IsADirectory.into())),
        };
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        match inspect(path).await.map_err(failed)? {
            Found::Nothing => {}
            Found::Dead => fs::remove_file(path).map_err(failed)?,
            Found::Alive => return Err(in_use()),
            Found::Other => {
                return Err(format!("{shown} exists and is not a socket; move it, or use another path"));
            }
        }
        // Create the socket in a private directory, so that no other user can connect before its permissions are set. The
        // hard link to its final path then fails if a different bridge has created a socket there in the meantime.
        let private = PrivateDir::new(directory).map_err(failed)?;
        let socket = private.0.join("s");
        let listener = UnixListener::bind(&socket).map_err(failed)?;
        fs::set_permissions(&socket, Permissions::from_mode(0o600)).map_err(failed)?;
        let metadata = fs::symlink_metadata(&socket).map_err(failed)?;
        match fs::hard_link(&socket, path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(in_use()),
            linked => linked.map_err(failed)?,
        }
        Ok(Server { listener, file: SocketFile { path: path.to_owned(), metadata } })
    }

    /// Returns the file of the socket, and the server. The file is removed when its [`SocketFile`] is dropped.
    pub(super) fn serve(self, view: Arc<View>) -> (SocketFile, impl Future<Output = ()> + Send) {
        // A file belongs to the user of the process that created it.
        let user = self.file.metadata.uid();
        let serving = async move {
            serve_each(self.listener, LIMITS, |stream, _| serve(stream, user, view.clone())).await
        };
        (self.file, serving)
    }
}

/// The kind of file at a path.
enum Found {
    Nothing,
    /// A socket that no process listens on.
    Dead,
    /// A socket that a process listens on.
    Alive,
    /// Not a socket.
    Other,
}

async fn inspect(path: &Path) -> io::Result<Found> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
        found if !found.as_ref().is_ok_and(|found| found.file_type().is_socket()) => {
            return found.map(|_| Found::Other);
        }
        _ => {}
    }
    match timeout(ACCEPT, UnixStream::connect(path)).await {
        Ok(Err(error)) => match error.kind() {
            // ConnectionReset: the process ended after it had accepted the connection.
            ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Ok(Found::Dead),
            ErrorKind::NotFound => Ok(Found::Nothing),
            // The backlog of the socket is full.
            ErrorKind::WouldBlock => Ok(Found::Alive),
            _ => Err(error),
        },
        Ok(Ok(_)) | Err(_) => Ok(Found::Alive),
    }
}

/// A directory that only this user can access. It is removed with its content on drop.
struct PrivateDir(PathBuf);

impl PrivateDir {
    fn new(parent: &Path) -> io::Result<Self> {
        // A socket path has at most 107 bytes. The configuration limits the path of the socket, so that this longer path is
        // also within that limit.
        let path = parent.join(format!(".zb-{:08x}", fastrand::u32(..)));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(PrivateDir(path))
    }
}

impl Drop for PrivateDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn serve(mut stream: UnixStream, user: u32, view: Arc<View>) {
    match stream.peer_cred() {
        Ok(peer) if is_allowed(peer.uid(), user) => {}
        Ok(peer) => {
            return tracing::warn!(uid = peer.uid(), "refused the status to another user");
        }
        Err(error) => return tracing::warn!("cannot read the credentials of a status client: {error}"),
    }
    let sent = async {
        let mut document = serde_json::to_vec(&view.document())?;
        document.push(b'\n');
        stream.write_all(&document).await?;
        stream.shutdown().await
    };
    if let Err(error) = sent.await {
        tracing::debug!("cannot send the status: {error}");
    }
}

/// Allows the user of the bridge, and root.
fn is_allowed(client: u32, user: u32) -> bool {
    client == user || client == 0
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use zeek_bridge::bridge::Snapshot;

    use super::*;
    use crate::commands::run::Document;
    use crate::commands::run::tests::snapshot;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn names_in(directory: &Path) -> Vec<String> {
        let names = fs::read_dir(directory).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    async fn ask(path: &Path) -> Snapshot {
        let mut answer = Vec::new();
        UnixStream::connect(path).await.unwrap().read_to_end(&mut answer).await.unwrap();
        let Document { started, snapshot, .. } = serde_json::from_slice(&answer).unwrap();
        assert!(started.ends_with('Z'), "{started}");
        snapshot
    }

    #[tokio::test]
    async fn the_socket_is_private_to_its_user_and_removed_with_its_server() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("created/with parents");
        let path = directory.join("s.sock");
        let server = Server::bind(&path).await.unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(&directory), 0o700);
        assert_eq!(names_in(&directory), ["s.sock"]);
        let (file, serving) = server.serve(Arc::new(View::new(snapshot)));
        let task = tokio::spawn(serving);
        assert_eq!(ask(&path).await, snapshot());
        assert_eq!(ask(&path).await, snapshot());
        task.abort();
        drop(file);
        assert!(names_in(&directory).is_empty());
    }

    #[tokio::test]
    async fn a_socket_without_listener_is_replaced_and_one_in_use_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sock");
        // The file remains after the socket is closed, as it does when a process is killed.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let server = Server::bind(&path).await.unwrap();
        let error = Server::bind(&path).await.err().unwrap();
        assert!(error.contains("another bridge uses") && error.contains("another path"), "{error}");
        let (_file, serving) = server.serve(Arc::new(View::new(snapshot)));
        let _serving = tokio::spawn(serving);
        assert_eq!(ask(&path).await, snapshot());
        assert_eq!(names_in(folder.path()), ["s.sock"]);
    }

    #[tokio::test]
    async fn a_file_that_is_not_a_socket_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("precious");
        fs::write(&path, "data").unwrap();
        let error = Server::bind(&path).await.err().unwrap();
        assert!(error.contains("is not a socket"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"data");
        let error = Server::bind(&path.join("below")).await.err().unwrap();
        assert!(error.contains("cannot create the socket") && error.contains("may write to"), "{error}");
        let long = folder.path().join("x".repeat(120));
        let error = Server::bind(&long).await.err().unwrap();
        assert!(error.contains("at most 92 bytes"), "{error}");
        assert_eq!(names_in(folder.path()), ["precious"]);
    }

    #[tokio::test]
    async fn the_socket_of_a_successor_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sock");
        let first = Server::bind(&path).await.unwrap();
        fs::remove_file(&path).unwrap();
        let _second = Server::bind(&path).await.unwrap();
        drop(first);
        assert_eq!(names_in(folder.path()), ["s.sock"]);
    }

    #[test]
    fn only_the_user_of_the_bridge_and_root_are_allowed() {
        assert!(is_allowed(1000, 1000) && is_allowed(0, 1000));
        assert!(!is_allowed(1001, 1000) && !is_allowed(1000, 0));
    }

    // With the clock paused, time advances only when all tasks are idle.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_disconnected_at_the_time_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sock");
        let view = View::new(|| {
            // More than the buffers of a socket hold.
            let refused = [("x".repeat(1 << 20), 1)].into();
            Snapshot { refused, ..Snapshot::default() }
        });
        let (_file, serving) = Server::bind(&path).await.unwrap().serve(Arc::new(view));
        let _serving = tokio::spawn(serving);
        let mut idle = Vec::new();
        for _ in 0..LIMITS.connections {
            idle.push(UnixStream::connect(&path).await.unwrap());
        }
        // Without a free slot, the oldest connection is closed for the new one.
        let start = tokio::time::Instant::now();
        let newest = UnixStream::connect(&path).await.unwrap();
        newest.readable().await.unwrap();
        assert!(start.elapsed() < LIMITS.time, "{:?}", start.elapsed());
        tokio::time::sleep(LIMITS.time * 2).await;
        for mut stream in [idle.remove(0), newest] {
            let mut cut = Vec::new();
            let _ = stream.read_to_end(&mut cut).await;
            assert!(cut.len() < 1 << 20, "{}", cut.len());
        }
    }
}
