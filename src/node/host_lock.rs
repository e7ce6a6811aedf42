//! Host-wide lock, so that no two services serve copies of the same boundary.
//!
//! The store's lock file is in the store's directory, so a copied directory has its own lock file. Therefore this
//! module takes a second lock: an abstract Unix socket with the boundary's id in its name. The kernel allows one such
//! socket in each network namespace and removes it when the process ends. This lock does not detect a copy in another
//! network namespace or on another host. Such a copy is detected by comparison with a checkpoint that is stored on
//! another host.

use std::{
    io::{self, Read as _},
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{io::AsyncWriteExt as _, task::JoinHandle};

use crate::{Config, InFile as _, node::control::is_trusted};
use documents::SealDigest;
use reading::FileProblem;

/// Lock on the boundary's id. Dropping the value releases the lock.
pub struct HostLock(JoinHandle<()>);

impl Drop for HostLock {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl HostLock {
    /// Takes the lock of the boundary `id`.
    ///
    /// # Errors
    /// Returns an error if another process on this host holds the lock. The error names this process and its directory.
    pub async fn take(config: &Config, id: &SealDigest) -> Result<Self, FileProblem> {
        // Each node of a boundary has a lock of its own. The shared database ensures that only one node is active.
        let node = config
            .database
            .node()
            .map(|node| format!("/{node}"))
            .unwrap_or_default();
        let name = format!("countersign/{}{node}", id.hex());
        let failed = |error: io::Error| {
            FileProblem::whole(
                &config.data,
                format!(
                    "the lock of this boundary, the abstract socket @{name}, can't be taken: {error}"
                ),
            )
        };
        let address = SocketAddr::from_abstract_name(&name).map_err(failed)?;
        let mut tries = 0;
        let listener = loop {
            match UnixListener::bind_addr(&address) {
                Ok(listener) => break listener,
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => match holder(&address) {
                    Some(holder) => {
                        return Err(holder.words(&name)).at(&config.data);
                    }
                    // The other process has just ended, or does not answer on the socket yet.
                    None if tries < MOST_TRIES => {
                        tries += 1;
                        tokio::time::sleep(PAUSE).await;
                    }
                    None => return Err(failed(error)),
                },
                Err(error) => return Err(failed(error)),
            }
        };
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = tokio::net::UnixListener::from_std(listener).map_err(failed)?;
        Ok(Self(tokio::spawn(answer(listener, config.data.clone()))))
    }
}

/// Sends the path of the private directory to root and to the service's own user (SO_PEERCRED).
async fn answer(listener: tokio::net::UnixListener, directory: PathBuf) {
    use std::os::unix::ffi::OsStrExt as _;
    loop {
        let Ok((mut stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        if is_trusted(&stream) {
            // The socket's buffer is large enough for a path, so this write does not block.
            let _ = tokio::time::timeout(PAUSE, stream.write_all(directory.as_os_str().as_bytes()))
                .await;
        }
    }
}

struct Holder {
    pid: i32,
    uid: u32,
    directory: Option<PathBuf>,
}

fn holder(address: &SocketAddr) -> Option<Holder> {
    use std::os::unix::ffi::OsStringExt as _;
    let stream = UnixStream::connect_addr(address).ok()?;
    // SO_PEERCRED of the socket returns the process that called listen().
    let peer = rustix::net::sockopt::socket_peercred(&stream).ok()?;
    let mut path = Vec::new();
    let told = stream.set_read_timeout(Some(ANSWER)).is_ok()
        && (&stream).take(MAX_PATH).read_to_end(&mut path).is_ok()
        && path.first() == Some(&b'/');
    let directory = told.then(|| PathBuf::from(std::ffi::OsString::from_vec(path)));
    Some(Holder {
        pid: peer.pid.as_raw_nonzero().get(),
        uid: peer.uid.as_raw(),
        directory,
    })
}

impl Holder {
    fn words(&self, name: &str) -> String {
        let Self {
            pid,
            uid,
            directory,
        } = self;
        match directory.as_deref().map(Path::display) {
            Some(other) => format!(
                "this directory is a copy of a boundary that process {pid} already serves from {other}: two services \
                 with one key would write two histories under one name; end that service first, or create a new \
                 boundary with `countersign init`"
            ),
            None => format!(
                "process {pid} of user {uid} holds the lock of this boundary, the abstract socket @{name}: the \
                 process serves a copy of this directory, or another user blocks this boundary; find out what the \
                 process is, and end it"
            ),
        }
    }
}

/// Maximum number of attempts if the holder of the lock does not answer.
const MOST_TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);
/// Time limit for the holder of the lock to send its directory's path.
const ANSWER: Duration = Duration::from_secs(1);
/// Maximum length of a path in bytes (PATH_MAX).
const MAX_PATH: u64 = 4096;
