//! The Unix socket at which `zeek-bridge status` asks. Whoever connects is given one JSON document, the snapshot.

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

use super::doors::{Bounds, View, serve_each};

const BOUNDS: Bounds = Bounds { connections: 8, time: Duration::from_secs(5) };

/// How long another bridge may take to accept.
const ACCEPT: Duration = Duration::from_secs(1);

/// One that has its path, and does not answer yet.
pub(super) struct Server {
    listener: UnixListener,
    file: SocketFile,
}

/// The file of a socket, which is removed with this.
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
        // Unless another has taken its place.
        let same = |there: Metadata| (there.dev(), there.ino()) == (self.metadata.dev(), self.metadata.ino());
        if fs::symlink_metadata(&self.path).is_ok_and(same) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Server {
    pub(super) async fn bind(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let wrong = |error: io::Error| {
            format!(
                "cannot make the socket {shown}: {error}; give a path in a directory that this user may write to, \
                 shorter than 90 bytes"
            )
        };
        let taken = || {
            format!(
                "another bridge is running with this status socket, {shown}; stop it, or give another path"
            )
        };
        std::os::unix::net::SocketAddr::from_pathname(path).map_err(wrong)?;
        let directory = match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => return Err(wrong(ErrorKind::IsADirectory.into())),
        };
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(wrong)?;
        match look(path).await.map_err(wrong)? {
            There::Nothing => {}
            There::Dead => fs::remove_file(path).map_err(wrong)?,
            There::Alive => return Err(taken()),
            There::Other => {
                return Err(format!("{shown} is there and is no socket; move it away, or give another path"));
            }
        }
        // Where nobody else can reach it until its permissions are right, and then, unless another bridge was faster,
        // to its place.
        let nursery = Nursery::new(directory).map_err(wrong)?;
        let socket = nursery.0.join("s");
        let listener = UnixListener::bind(&socket).map_err(wrong)?;
        fs::set_permissions(&socket, Permissions::from_mode(0o600)).map_err(wrong)?;
        let metadata = fs::symlink_metadata(&socket).map_err(wrong)?;
        match fs::hard_link(&socket, path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(taken()),
            linked => linked.map_err(wrong)?,
        }
        Ok(Server { listener, file: SocketFile { path: path.to_owned(), metadata } })
    }

    /// Its file, which stays as long as it is kept, and its work.
    pub(super) fn serve(self, view: Arc<View>) -> (SocketFile, impl Future<Output = ()> + Send) {
        // What this process makes is its user's.
        let user = self.file.metadata.uid();
        let serving = async move {
            serve_each(self.listener, BOUNDS, |stream| serve(stream, user, view.clone())).await
        };
        (self.file, serving)
    }
}

/// What stands at a path.
enum There {
    Nothing,
    /// The socket of a process that is gone.
    Dead,
    Alive,
    Other,
}

async fn look(path: &Path) -> io::Result<There> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(There::Nothing),
        there if !there.as_ref().is_ok_and(|there| there.file_type().is_socket()) => {
            return there.map(|_| There::Other);
        }
        _ => {}
    }
    match timeout(ACCEPT, UnixStream::connect(path)).await {
        Ok(Err(error)) => match error.kind() {
            // The second: it is dying just now.
            ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Ok(There::Dead),
            ErrorKind::NotFound => Ok(There::Nothing),
            // Too many wait for it.
            ErrorKind::WouldBlock => Ok(There::Alive),
            _ => Err(error),
        },
        Ok(Ok(_)) | Err(_) => Ok(There::Alive),
    }
}

/// A directory for this process alone, which goes with all that is in it.
struct Nursery(PathBuf);

impl Nursery {
    fn new(beside: &Path) -> io::Result<Self> {
        // Short, for the path of a socket may have no more than 107 bytes.
        let path = beside.join(format!(".zb-{:08x}", fastrand::u32(..)));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Nursery(path))
    }
}

impl Drop for Nursery {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

async fn serve(mut stream: UnixStream, user: u32, view: Arc<View>) {
    match stream.peer_cred() {
        Ok(peer) if may_ask(peer.uid(), user) => {}
        Ok(peer) => {
            return tracing::warn!(uid = peer.uid(), "another user asked for the status, and was refused");
        }
        Err(error) => return tracing::warn!("the status was asked for, and nobody knows by whom: {error}"),
    }
    let answered = async {
        let mut document = serde_json::to_vec(&view.snapshot())?;
        document.push(b'\n');
        stream.write_all(&document).await?;
        stream.shutdown().await
    };
    if let Err(error) = answered.await {
        tracing::debug!("the status was asked for, and could not be told: {error}");
    }
}

/// The bridge's own user, and root.
fn may_ask(who: u32, user: u32) -> bool {
    who == user || who == 0
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use zeek_bridge::bridge::Snapshot;

    use super::*;
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
        serde_json::from_slice(&answer).unwrap()
    }

    #[tokio::test]
    async fn the_socket_is_its_owners_and_goes_with_its_server() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("made/on the way");
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
    async fn a_dead_socket_is_replaced_and_a_living_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sock");
        // The file outlives the socket, as when a process is killed.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let server = Server::bind(&path).await.unwrap();
        let error = Server::bind(&path).await.err().unwrap();
        assert!(error.contains("another bridge is running") && error.contains("another path"), "{error}");
        let (_file, serving) = server.serve(Arc::new(View::new(snapshot)));
        let _serving = tokio::spawn(serving);
        assert_eq!(ask(&path).await, snapshot());
        assert_eq!(names_in(folder.path()), ["s.sock"]);
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("precious");
        fs::write(&path, "data").unwrap();
        let error = Server::bind(&path).await.err().unwrap();
        assert!(error.contains("is no socket"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"data");
        let error = Server::bind(&path.join("below")).await.err().unwrap();
        assert!(error.contains("cannot make the socket") && error.contains("may write to"), "{error}");
        let long = folder.path().join("x".repeat(120));
        let error = Server::bind(&long).await.err().unwrap();
        assert!(error.contains("shorter than"), "{error}");
        assert_eq!(names_in(folder.path()), ["precious"]);
    }

    #[tokio::test]
    async fn the_file_of_a_successor_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sock");
        let first = Server::bind(&path).await.unwrap();
        fs::remove_file(&path).unwrap();
        let _second = Server::bind(&path).await.unwrap();
        drop(first);
        assert_eq!(names_in(folder.path()), ["s.sock"]);
    }

    #[test]
    fn only_its_user_and_root_may_ask() {
        assert!(may_ask(1000, 1000) && may_ask(0, 1000));
        assert!(!may_ask(1001, 1000) && !may_ask(1000, 0));
    }

    // With the clock stopped, time passes only while everybody waits.
    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_has_its_time_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sock");
        let view = View::new(|| {
            // More than a socket takes.
            let refused = [("x".repeat(1 << 20), 1)].into();
            Snapshot { refused, ..Snapshot::default() }
        });
        let (_file, serving) = Server::bind(&path).await.unwrap().serve(Arc::new(view));
        let _serving = tokio::spawn(serving);
        let mut idle = Vec::new();
        for _ in 0..BOUNDS.connections {
            idle.push(UnixStream::connect(&path).await.unwrap());
        }
        // Without a free slot, the oldest connection is closed for the new one.
        let start = tokio::time::Instant::now();
        let newest = UnixStream::connect(&path).await.unwrap();
        newest.readable().await.unwrap();
        assert!(start.elapsed() < BOUNDS.time, "{:?}", start.elapsed());
        tokio::time::sleep(BOUNDS.time * 2).await;
        for mut stream in [idle.remove(0), newest] {
            let mut cut = Vec::new();
            let _ = stream.read_to_end(&mut cut).await;
            assert!(cut.len() < 1 << 20, "{}", cut.len());
        }
    }
}
