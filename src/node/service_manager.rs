//! Messages to the service manager (systemd), and the sockets that it passes.
//!
//! A service manager that sets the variables of sd_notify(3), sd_watchdog_enabled(3) and sd_listen_fds(3) works like
//! systemd. Without these variables, every function of this file does nothing.

use std::{
    ffi::{OsStr, OsString},
    io,
    net::TcpListener,
    os::{
        fd::{FromRawFd as _, OwnedFd},
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustix::net::{AddressFamily, SocketType, ipproto, sockopt};
use sd_notify::NotifyState;

/// Variable with the address of the service manager's socket.
const SOCKET: &str = "NOTIFY_SOCKET";
/// All variables that the service manager may set.
const VARIABLES: [&str; 6] = [
    SOCKET,
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
];
/// Maximum time to send a message. A message is lost if the service manager does not read for longer.
const SEND_DEADLINE: Duration = Duration::from_secs(2);

/// What the service manager passed to this process in its environment.
#[derive(Default)]
pub struct ServiceManager {
    /// Sender of messages.
    pub notifier: Notifier,
    /// Time after which the service manager restarts the service, if it got no message of the watchdog.
    pub watchdog: Option<Duration>,
    sockets: Vec<OwnedFd>,
}

impl ServiceManager {
    /// Reads the variables of the service manager and removes them from the environment, so that no program that this
    /// process starts can use them. The passed sockets are closed in every program that this process starts.
    ///
    /// # Errors
    /// Returns an error if the variables name sockets that this process does not have.
    pub fn take() -> Result<Self, String> {
        if VARIABLES
            .iter()
            .all(|name| std::env::var_os(name).is_none())
        {
            return Ok(Self::default());
        }
        if std::fs::read_dir("/proc/self/task")
            .map(Iterator::count)
            .ok()
            != Some(1)
        {
            return Err(
                "the variables of systemd can't be removed, because the process has several threads or /proc is not \
                        mounted: mount /proc"
                    .to_owned(),
            );
        }
        let socket = std::env::var_os(SOCKET);
        #[expect(
            unsafe_code,
            reason = "changes of the environment are unsafe if the process has other threads"
        )]
        // SAFETY: the check above found one thread, so no other thread uses the environment now.
        let (watchdog, passed) = unsafe {
            std::env::remove_var(SOCKET);
            (
                sd_notify::watchdog_enabled_and_unset_env(),
                sd_notify::listen_fds_with_names_and_unset_env(),
            )
        };
        let passed = passed.map_err(|error| {
            format!("the sockets that systemd announces (LISTEN_FDS) can't be used ({error}): check the socket unit")
        })?;
        #[expect(
            unsafe_code,
            reason = "LISTEN_FDS states the numbers of descriptors, and not their owners"
        )]
        // SAFETY: the descriptors are open, because `sd_notify` has just set their close-on-exec flag. The service
        // manager passed them for this process (LISTEN_PID), and no code of this process has used them before.
        let sockets = passed
            .map(|(number, _)| unsafe { OwnedFd::from_raw_fd(number) })
            .collect();
        let watchdog = watchdog.filter(|interval| !interval.is_zero());
        Ok(Self {
            notifier: Notifier::new(socket),
            watchdog,
            sockets,
        })
    }

    /// Returns the listener that the service manager passed, or `None` without such a socket.
    ///
    /// # Errors
    /// Returns an error if there are several sockets, or if the socket is not a listening TCP socket.
    pub fn listener(&mut self) -> Result<Option<TcpListener>, String> {
        if self.sockets.len() > 1 {
            return Err(format!(
                "systemd passed {} sockets, and the boundary uses one: keep one `ListenStream=` in the socket unit",
                self.sockets.len()
            ));
        }
        let Some(socket) = self.sockets.pop() else {
            return Ok(None);
        };
        if !is_tcp_listener(&socket) {
            return Err(
                "the socket that systemd passed is not a listening TCP socket: write an address with a port in \
                        the socket unit, for example `ListenStream=127.0.0.1:7433`, without `Accept=yes`"
                    .to_owned(),
            );
        }
        let listener = TcpListener::from(socket);
        listener
            .set_nonblocking(true)
            .map_err(|error| format!("the socket that systemd passed can't be used ({error})"))?;
        Ok(Some(listener))
    }
}

fn is_tcp_listener(socket: &OwnedFd) -> bool {
    let family = sockopt::socket_domain(socket);
    matches!(family, Ok(AddressFamily::INET | AddressFamily::INET6))
        && sockopt::socket_type(socket) == Ok(SocketType::STREAM)
        && sockopt::socket_protocol(socket) == Ok(Some(ipproto::TCP))
        && sockopt::socket_acceptconn(socket) == Ok(true)
}

/// Sender of messages to the service manager. If a message can't be sent, the service continues without it.
#[derive(Clone, Default)]
pub struct Notifier(Option<Arc<NotifySocket>>);

struct NotifySocket {
    name: OsString,
    /// True if the last message was lost.
    is_failing: AtomicBool,
}

impl Notifier {
    fn new(name: Option<OsString>) -> Self {
        let name = name.filter(|name| !name.is_empty());
        Self(name.map(|name| {
            Arc::new(NotifySocket {
                name,
                is_failing: AtomicBool::new(false),
            })
        }))
    }

    /// Returns true if a service manager waits for messages.
    pub fn is_connected(&self) -> bool {
        self.0.is_some()
    }

    /// Reports that the service accepts requests.
    pub fn ready(&self, status: &str) {
        self.send(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// Reports that the service loads changed files. The service must call [`Notifier::ready`] afterwards.
    pub fn reloading(&self) {
        let mut states = vec![NotifyState::Reloading];
        // systemd 253 needs the time with `Type=notify-reload`.
        states.extend(NotifyState::monotonic_usec_now());
        states.push(NotifyState::Status("loading the runbooks"));
        self.send(&states);
    }

    /// Reports that the service ends.
    pub fn stopping(&self) {
        self.send(&[
            NotifyState::Stopping,
            NotifyState::Status("waiting for the end of the runs"),
        ]);
    }

    /// Shows this line in `systemctl status`.
    pub fn status(&self, status: &str) {
        self.send(&[NotifyState::Status(status)]);
    }

    /// Reports that the service works.
    pub fn alive(&self) {
        self.send(&[NotifyState::Watchdog]);
    }

    /// Requests this much time, from now on, for the start or the end of the service.
    pub fn extend(&self, time: Duration) {
        self.send(&[NotifyState::ExtendTimeoutUsec(
            u32::try_from(time.as_micros()).unwrap_or(u32::MAX),
        )]);
    }

    fn send(&self, states: &[NotifyState<'_>]) {
        let Some(socket) = &self.0 else { return };
        let lines: Vec<String> = states.iter().map(ToString::to_string).collect();
        // If the last message was lost, do not wait again.
        let was_failing = socket.is_failing.load(Ordering::Relaxed);
        let wait = (!was_failing).then_some(SEND_DEADLINE);
        let sent = send_to(&socket.name, &lines.join("\n"), wait);
        socket.is_failing.store(sent.is_err(), Ordering::Relaxed);
        if let (Err(error), false) = (sent, was_failing) {
            tracing::warn!(
                "systemd does not get messages of this service: {SOCKET}={}: {error}; the service works without them",
                socket.name.to_string_lossy().escape_debug()
            );
        }
    }
}

/// Sends a message with a new socket, because the service manager may have been restarted since the last message.
fn send_to(name: &OsStr, message: &str, wait: Option<Duration>) -> io::Result<()> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "neither a path nor an abstract name",
            ));
        }
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(wait.is_none())?;
    socket.set_write_timeout(wait)?;
    socket.send_to_addr(message.as_bytes(), &address).map(drop)
}
