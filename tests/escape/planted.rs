//! The resources that the scripts try to reach, and the checks whether a script reached them.

use std::cell::RefCell;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// All resources on the host that the scripts try to reach.
pub struct Planted {
    home: PathBuf,
    token: String,
    port: u16,
    udp: u16,
    name: String,
    shm_key: u32,
    shm_file: PathBuf,
    tmp_file: PathBuf,
    sleeper: RefCell<Child>,
    hits: Vec<(&'static str, Arc<AtomicUsize>)>,
}

impl Planted {
    /// Creates all resources below `home`. The canary file must exist.
    pub fn new(home: &Path, token: &str) -> Self {
        for (name, mode) in [
            ("work", 0o777),
            ("out", 0o777),
            ("tmp", 0o777),
            (
                "boundary",
                if rustix::process::geteuid().is_root() {
                    0o700
                } else {
                    0o755
                },
            ),
            ("runbooks", 0o755),
            ("scratch", 0o711),
            ("spool", 0o700),
        ] {
            std::fs::create_dir(home.join(name)).expect("a directory");
            std::fs::set_permissions(home.join(name), std::fs::Permissions::from_mode(mode))
                .expect("mode");
        }
        for name in ["key.pem", "roster.json", "policy.yaml", "countersign.toml"] {
            let file = home.join("boundary").join(name);
            std::fs::write(&file, format!("{token}\n")).expect("a file");
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o666)).expect("mode");
        }
        let store = "import sqlite3,sys\nc=sqlite3.connect(sys.argv[1]); c.execute('create table canary(t)'); c.execute('insert into canary values(?)',(sys.argv[2],)); c.commit()";
        tool(
            store,
            &[
                home.join("boundary/countersign.db")
                    .to_str()
                    .expect("UTF-8"),
                token,
            ],
        );
        let unique = format!("{}-{}", std::process::id(), &token[token.len() - 8..]);
        let shm_key = u32::from_str_radix(&token[token.len() - 7..], 16).expect("hex") | 1;
        let segment = "import ctypes,sys\nL=ctypes.CDLL(None); L.shmat.restype=ctypes.c_void_p\ni=L.shmget(int(sys.argv[1]),4096,0o1666); a=L.shmat(i,None,0); t=sys.argv[2].encode()+b'\\0'\nassert i>=0\nctypes.memmove(a,t,len(t))";
        tool(segment, &[&shm_key.to_string(), token]);
        let (shm_file, tmp_file) = (
            PathBuf::from(format!("/dev/shm/cs-{unique}")),
            PathBuf::from(format!("/tmp/cs-{unique}")),
        );
        for file in [&shm_file, &tmp_file] {
            std::fs::write(file, format!("{token}\n")).expect("a file");
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).expect("mode");
        }
        let mut planted = Self {
            home: home.to_owned(),
            token: token.to_owned(),
            port: 0,
            udp: 0,
            name: format!("countersign-escape-{unique}"),
            shm_key,
            shm_file,
            tmp_file,
            sleeper: RefCell::new(sleeper()),
            hits: vec![],
        };
        planted.listen();
        planted
    }

    /// Starts listeners that send the token to every client and count the clients.
    fn listen(&mut self) {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a listener");
        self.port = tcp.local_addr().expect("an address").port();
        let (token, hits) = (self.token.clone(), self.counter("TCP"));
        std::thread::spawn(move || {
            for mut stream in tcp.incoming().flatten() {
                answer(&mut stream, &token, &hits)
            }
        });
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        self.udp = udp.local_addr().expect("an address").port();
        let (token, hits) = (self.token.clone(), self.counter("UDP"));
        std::thread::spawn(move || {
            while let Ok((_, from)) = udp.recv_from(&mut [0; 64]) {
                hits.fetch_add(1, Ordering::SeqCst);
                let _ = udp.send_to(token.as_bytes(), from);
            }
        });
        let path = self.home.join("socket");
        let address = |name: &str| SocketAddr::from_abstract_name(name).expect("a name");
        let abstract_ = UnixListener::bind_addr(&address(&self.name)).expect("a listener");
        for (what, listener) in [
            ("abstract", abstract_),
            ("socket", UnixListener::bind(&path).expect("a listener")),
        ] {
            let (token, hits) = (self.token.clone(), self.counter(what));
            std::thread::spawn(move || {
                for mut stream in listener.incoming().flatten() {
                    answer(&mut stream, &token, &hits)
                }
            });
        }
        let control =
            UnixListener::bind(self.home.join("boundary/control.sock")).expect("a listener");
        let hits = self.counter("the control socket");
        std::thread::spawn(move || {
            for _ in control.incoming() {
                hits.fetch_add(1, Ordering::SeqCst);
            }
        });
        let datagram = PathBuf::from(format!("{}-d", path.display()));
        let abstract_ =
            UnixDatagram::bind_addr(&address(&format!("{}-d", self.name))).expect("a socket");
        for (what, socket) in [
            ("abstract datagram", abstract_),
            ("datagram", UnixDatagram::bind(&datagram).expect("a socket")),
        ] {
            let hits = self.counter(what);
            std::thread::spawn(move || {
                while socket.recv(&mut [0; 64]).is_ok() {
                    hits.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for path in [&path, &datagram, &self.home.join("boundary/control.sock")] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).expect("mode");
        }
    }

    fn counter(&mut self, what: &'static str) -> Arc<AtomicUsize> {
        let hits = Arc::new(AtomicUsize::new(0));
        self.hits.push((what, hits.clone()));
        hits
    }

    pub fn work(&self) -> PathBuf {
        self.home.join("work")
    }

    pub fn tmp(&self) -> PathBuf {
        self.home.join("tmp")
    }

    pub fn boundary(&self) -> PathBuf {
        self.home.join("boundary")
    }

    pub fn runbooks(&self) -> PathBuf {
        self.home.join("runbooks")
    }

    pub fn scratch(&self) -> PathBuf {
        self.home.join("scratch")
    }

    pub fn spool(&self) -> PathBuf {
        self.home.join("spool")
    }

    fn secret(&self) -> String {
        format!("{}\n", self.token)
    }

    /// Creates the work tree again: `.env`, a hard link to the file, and a second `.env` in a subdirectory, all with
    /// the token.
    pub fn renew(&self) {
        for name in ["work", "out", "tmp"] {
            for entry in std::fs::read_dir(self.home.join(name))
                .expect("a directory")
                .flatten()
            {
                let path = entry.path();
                let _ = if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    std::fs::remove_dir_all(&path)
                } else {
                    std::fs::remove_file(&path)
                };
            }
        }
        let work = self.work();
        for name in ["sub", "deep", "deep/a"] {
            std::fs::create_dir(work.join(name)).expect("a directory");
            std::fs::set_permissions(work.join(name), std::fs::Permissions::from_mode(0o777))
                .expect("mode");
        }
        for name in [".env", "deep/a/.env"] {
            std::fs::write(work.join(name), self.secret()).expect("a file");
            std::fs::set_permissions(work.join(name), std::fs::Permissions::from_mode(0o644))
                .expect("mode");
        }
        std::fs::hard_link(work.join(".env"), work.join("sub/notes.txt")).expect("a link");
        std::fs::write(work.join("plain.txt"), "nothing special\n").expect("a file");
        let _ = std::fs::remove_file(self.home.join("runbooks/pwned.md"));
        std::fs::write(self.home.join("boundary/roster.json"), self.secret()).expect("a file");
        for (_, hits) in &self.hits {
            hits.store(0, Ordering::SeqCst);
        }
        let mut before = self.sleeper.borrow_mut();
        let _ = before.kill();
        let _ = before.wait();
        *before = sleeper();
    }

    /// Returns the approved environment of the step. `on_host`: the step has the host's root directory, not its own.
    pub fn environment(&self, case: &str, on_host: bool) -> Vec<(String, String)> {
        let path = |name: &str| self.home.join(name).display().to_string();
        [
            ("CS_WORK", path("work")),
            ("CS_CANARY", path("canary")),
            ("CS_OUTDIR", path("out")),
            ("CS_PORT", self.port.to_string()),
            ("CS_UDP", self.udp.to_string()),
            ("CS_ABSTRACT", self.name.clone()),
            ("CS_SOCK", path("socket")),
            ("CS_HOSTPID", self.sleeper.borrow().id().to_string()),
            ("CS_SHMKEY", self.shm_key.to_string()),
            ("CS_SHM", self.shm_file.display().to_string()),
            ("CS_TMP", self.tmp_file.display().to_string()),
            ("CS_BOUNDARY", path("boundary")),
            ("CS_RUNBOOKS", path("runbooks")),
            ("CS_ROOT", if on_host { "host" } else { "own" }.to_owned()),
            ("CS_RUN", self.mark(case)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    fn mark(&self, case: &str) -> String {
        format!("{}/{case}", self.name)
    }

    /// Returns all escapes that the output of the run or the state of the host shows.
    pub fn breaches(&self, said: &str) -> Vec<String> {
        let mut found = Vec::new();
        if said.contains("ESCAPED") {
            let line = said
                .lines()
                .find(|line| line.contains("ESCAPED"))
                .unwrap_or_default();
            found.push(format!(
                "it says {}",
                line.chars().take(200).collect::<String>()
            ));
        }
        if said.contains(&self.token) {
            found.push("the token is in what is recorded".to_owned());
        }
        // The listener threads need a moment to count a datagram or a connection.
        std::thread::sleep(std::time::Duration::from_millis(10));
        for (what, hits) in &self.hits {
            if hits.load(Ordering::SeqCst) > 0 {
                found.push(format!("{what} was reached"));
            }
        }
        if std::fs::read_dir(self.home.join("out"))
            .is_ok_and(|mut entries| entries.next().is_some())
        {
            found.push("the directory outside was written".to_owned());
        }
        for name in [
            "canary",
            "work/.env",
            "work/sub/notes.txt",
            "work/deep/a/.env",
            "boundary/roster.json",
            "boundary/key.pem",
        ] {
            if std::fs::read_to_string(self.home.join(name))
                .ok()
                .as_deref()
                != Some(&self.secret())
            {
                found.push(format!("{name} is changed on the host"));
            }
        }
        for entry in std::fs::read_dir(self.work())
            .expect("the work tree")
            .flatten()
        {
            if entry
                .metadata()
                .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o6000 != 0)
            {
                found.push(format!(
                    "{} runs as its owner on the host",
                    entry.path().display()
                ));
            }
        }
        if self.home.join("runbooks/pwned.md").exists() {
            found.push("a runbook was written".to_owned());
        }
        for name in [
            "/etc/cs-pwned",
            "/usr/bin/cs-pwned",
            "/root/cs-pwned",
            "/var/cs-pwned",
            "/cs-pwned",
            "/dev/cs-pwned",
        ] {
            if std::fs::remove_file(name).is_ok() {
                found.push(format!("{name} stands on the host"));
            }
        }
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.sleeper.borrow().id()))
                .unwrap_or_default();
        if !status.contains("State:\tS") {
            found.push("the host's process is not what it was".to_owned());
        }
        if !status.contains("TracerPid:\t0") {
            found.push("the host's process is traced".to_owned());
        }
        found
    }

    /// Returns the living processes of a script's run.
    pub fn alive(&self, case: &str) -> Vec<u32> {
        let wanted = format!("CS_RUN={}\0", self.mark(case));
        let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| {
            std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| {
                environ
                    .windows(wanted.len())
                    .any(|window| window == wanted.as_bytes())
            })
        })
        .collect()
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        let _ = self.sleeper.borrow_mut().kill();
        let _ = self.sleeper.borrow_mut().wait();
        for file in [&self.shm_file, &self.tmp_file] {
            let _ = std::fs::remove_file(file);
        }
        tool(
            "import ctypes,sys\nL=ctypes.CDLL(None); L.shmctl(L.shmget(int(sys.argv[1]),0,0),0,None)",
            &[&self.shm_key.to_string()],
        );
    }
}

/// Starts a process on the host and waits until the process sleeps.
fn sleeper() -> Child {
    let child = Command::new("sleep")
        .arg("900")
        .stdin(Stdio::null())
        .spawn()
        .expect("a process of the host");
    let status =
        || std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    while !status().contains("Name:\tsleep") || !status().contains("State:\tS") {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    child
}

/// Kills leftover processes.
pub fn end(pids: &[u32]) {
    for pid in pids {
        if let Some(pid) = rustix::process::Pid::from_raw(i32::try_from(*pid).unwrap_or(0)) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

fn answer(stream: &mut impl std::io::Write, token: &str, hits: &AtomicUsize) {
    hits.fetch_add(1, Ordering::SeqCst);
    let _ = stream.write_all(token.as_bytes());
}

fn tool(script: &str, arguments: &[&str]) {
    let done = Command::new("/usr/bin/python3")
        .arg("-c")
        .arg(script)
        .args(arguments)
        .status()
        .expect("python3");
    assert!(done.success(), "{script}");
}
