//! Option grammars of the programs in the table of the module `wrappers`.

use crate::shell::options::{OptionGrammar, OptionValue};

use OptionValue::{Nothing, Optional, Value};

pub(super) const EXEC: OptionGrammar = OptionGrammar { flags: "cl", values: "a", ..OptionGrammar::NONE };

pub(super) const PKEXEC: OptionGrammar = OptionGrammar {
    long: &[("user", Value), ("disable-internal-agent", Nothing), ("keep-cwd", Nothing)],
    ..OptionGrammar::NONE
};

pub(super) const ENV: OptionGrammar = OptionGrammar {
    flags: "i0v",
    values: "uCSa",
    long: &[
        ("argv0", Value),
        ("block-signal", Optional),
        ("chdir", Value),
        ("debug", Nothing),
        ("default-signal", Optional),
        ("ignore-environment", Nothing),
        ("ignore-signal", Optional),
        ("list-signal-handling", Nothing),
        ("null", Nothing),
        ("split-string", Value),
        ("unset", Value),
    ],
    ..OptionGrammar::NONE
};

pub(super) const TIME: OptionGrammar = OptionGrammar {
    flags: "pvaqlhV",
    values: "of",
    long: &[
        ("append", Nothing),
        ("format", Value),
        ("output", Value),
        ("portability", Nothing),
        ("quiet", Nothing),
        ("verbose", Nothing),
    ],
    ..OptionGrammar::NONE
};

pub(super) const TIMEOUT: OptionGrammar = OptionGrammar {
    flags: "vfp",
    values: "ks",
    long: &[
        ("foreground", Nothing),
        ("kill-after", Value),
        ("preserve-status", Nothing),
        ("signal", Value),
        ("verbose", Nothing),
    ],
    ..OptionGrammar::NONE
};

pub(super) const NICE: OptionGrammar =
    OptionGrammar { values: "n", long: &[("adjustment", Value)], ..OptionGrammar::NONE };

pub(super) const IONICE: OptionGrammar = OptionGrammar {
    flags: "t",
    values: "cnpPu",
    long: &[
        ("class", Value),
        ("classdata", Value),
        ("ignore", Nothing),
        ("pgid", Value),
        ("pid", Value),
        ("uid", Value),
    ],
    ..OptionGrammar::NONE
};

pub(super) const SETSID: OptionGrammar = OptionGrammar {
    flags: "cfw",
    long: &[("ctty", Nothing), ("fork", Nothing), ("wait", Nothing)],
    ..OptionGrammar::NONE
};

pub(super) const SSH_AGENT: OptionGrammar = OptionGrammar { flags: "cDdksTv", values: "aEOPt", ..OptionGrammar::NONE };

pub(super) const STDBUF: OptionGrammar = OptionGrammar {
    values: "ioe",
    long: &[("error", Value), ("input", Value), ("output", Value)],
    ..OptionGrammar::NONE
};

pub(super) const CHROOT: OptionGrammar =
    OptionGrammar { long: &[("groups", Value), ("skip-chdir", Nothing), ("userspec", Value)], ..OptionGrammar::NONE };

pub(super) const UNSHARE: OptionGrammar = OptionGrammar {
    flags: "muinpCUTrcfh",
    values: "RwSGl",
    long: &[
        ("boottime", Value),
        ("cgroup", Optional),
        ("fork", Nothing),
        ("ipc", Optional),
        ("keep-caps", Nothing),
        ("kill-child", Optional),
        ("load-interp", Value),
        ("map-auto", Nothing),
        ("map-current-user", Nothing),
        ("map-group", Value),
        ("map-groups", Value),
        ("map-root-user", Nothing),
        ("map-user", Value),
        ("map-users", Value),
        ("monotonic", Value),
        ("mount", Optional),
        ("mount-proc", Optional),
        ("net", Optional),
        ("pid", Optional),
        ("propagation", Value),
        ("root", Value),
        ("setgid", Value),
        ("setgroups", Value),
        ("setuid", Value),
        ("time", Optional),
        ("user", Optional),
        ("uts", Optional),
        ("wd", Value),
    ],
    ..OptionGrammar::NONE
};

pub(super) const NSENTER: OptionGrammar = OptionGrammar {
    flags: "aFeZc",
    values: "tSG",
    optional: "muinpCUTrwW",
    long: &[
        ("all", Nothing),
        ("cgroup", Optional),
        ("env", Nothing),
        ("follow-context", Nothing),
        ("ipc", Optional),
        ("mount", Optional),
        ("net", Optional),
        ("no-fork", Nothing),
        ("pid", Optional),
        ("preserve-credentials", Nothing),
        ("root", Optional),
        ("setgid", Value),
        ("setuid", Value),
        ("target", Value),
        ("time", Optional),
        ("user", Optional),
        ("uts", Optional),
        ("wd", Optional),
        ("wdns", Optional),
    ],
    ..OptionGrammar::NONE
};

pub(super) const SETARCH: OptionGrammar = OptionGrammar {
    flags: "BFILRSTXZv3",
    long: &[
        ("3gb", Nothing),
        ("4gb", Nothing),
        ("32bit", Nothing),
        ("addr-compat-layout", Nothing),
        ("addr-no-randomize", Nothing),
        ("fdpic-funcptrs", Nothing),
        ("mmap-page-zero", Nothing),
        ("read-implies-exec", Nothing),
        ("short-inode", Nothing),
        ("sticky-timeouts", Nothing),
        ("uname-2.6", Nothing),
        ("verbose", Nothing),
        ("whole-seconds", Nothing),
    ],
    ..OptionGrammar::NONE
};

pub(super) const SETPRIV: OptionGrammar = OptionGrammar {
    flags: "d",
    long: &[
        ("ambient-caps", Value),
        ("apparmor-profile", Value),
        ("bounding-set", Value),
        ("clear-groups", Nothing),
        ("egid", Value),
        ("euid", Value),
        ("groups", Value),
        ("inh-caps", Value),
        ("init-groups", Nothing),
        ("keep-groups", Nothing),
        ("no-new-privs", Nothing),
        ("nnp", Nothing),
        ("pdeathsig", Value),
        ("regid", Value),
        ("reset-env", Nothing),
        ("reuid", Value),
        ("rgid", Value),
        ("ruid", Value),
        ("securebits", Value),
        ("selinux-label", Value),
    ],
    ..OptionGrammar::NONE
};

pub(super) const TASKSET: OptionGrammar = OptionGrammar {
    flags: "apc",
    long: &[("all-tasks", Nothing), ("cpu-list", Nothing), ("pid", Nothing)],
    ..OptionGrammar::NONE
};

pub(super) const CHRT: OptionGrammar = OptionGrammar {
    flags: "abdfGimoprRvR",
    values: "TPD",
    long: &[
        ("all-tasks", Nothing),
        ("batch", Nothing),
        ("deadline", Nothing),
        ("fifo", Nothing),
        ("idle", Nothing),
        ("other", Nothing),
        ("reset-on-fork", Nothing),
        ("rr", Nothing),
        ("sched-deadline", Value),
        ("sched-period", Value),
        ("sched-runtime", Value),
        ("verbose", Nothing),
    ],
    ..OptionGrammar::NONE
};

pub(super) const PRLIMIT: OptionGrammar = OptionGrammar {
    values: "op",
    optional: "cdefilmnqrstuvxy",
    long: &[
        ("as", Optional),
        ("core", Optional),
        ("cpu", Optional),
        ("data", Optional),
        ("fsize", Optional),
        ("memlock", Optional),
        ("nofile", Optional),
        ("noheadings", Nothing),
        ("nproc", Optional),
        ("output", Value),
        ("pid", Value),
        ("raw", Nothing),
        ("rss", Optional),
        ("stack", Optional),
    ],
    ..OptionGrammar::NONE
};

pub(super) const XARGS: OptionGrammar = OptionGrammar {
    flags: "0oprtx",
    values: "adEILnPs",
    optional: "eil",
    long: &[
        ("arg-file", Value),
        ("delimiter", Value),
        ("eof", Optional),
        ("exit", Nothing),
        ("interactive", Nothing),
        ("max-args", Value),
        ("max-chars", Value),
        ("max-lines", Optional),
        ("max-procs", Value),
        ("no-run-if-empty", Nothing),
        ("null", Nothing),
        ("open-tty", Nothing),
        ("process-slot-var", Value),
        ("replace", Optional),
        ("show-limits", Nothing),
        ("verbose", Nothing),
    ],
    ..OptionGrammar::NONE
};

pub(super) const GIT: OptionGrammar = OptionGrammar {
    flags: "pPvh",
    values: "Cc",
    long: &[
        ("attr-source", Value),
        ("bare", Nothing),
        ("config-env", Value),
        ("exec-path", Optional),
        ("git-dir", Value),
        ("glob-pathspecs", Nothing),
        ("html-path", Nothing),
        ("icase-pathspecs", Nothing),
        ("info-path", Nothing),
        ("list-cmds", Optional),
        ("literal-pathspecs", Nothing),
        ("man-path", Nothing),
        ("namespace", Value),
        ("no-advice", Nothing),
        ("no-lazy-fetch", Nothing),
        ("no-optional-locks", Nothing),
        ("no-pager", Nothing),
        ("no-replace-objects", Nothing),
        ("noglob-pathspecs", Nothing),
        ("paginate", Nothing),
        ("super-prefix", Value),
        ("work-tree", Value),
    ],
    ..OptionGrammar::NONE
};

pub(super) const SSH: OptionGrammar =
    OptionGrammar { flags: "46AaCfGgKkMNnqsTtVvXxYy", values: "BbcDEeFIiJLlmOopQRSWwP", ..OptionGrammar::NONE };

pub(super) const SU: OptionGrammar = OptionGrammar {
    flags: "flmpPTh",
    values: "cgGsw",
    long: &[
        ("command", Value),
        ("fast", Nothing),
        ("group", Value),
        ("login", Nothing),
        ("no-pty", Nothing),
        ("preserve-environment", Nothing),
        ("pty", Nothing),
        ("session-command", Value),
        ("shell", Value),
        ("supp-group", Value),
        ("whitelist-environment", Value),
    ],
    permutes: true,
    ..OptionGrammar::NONE
};

pub(super) const RUNUSER: OptionGrammar = OptionGrammar {
    flags: "flmpPTh",
    values: "cgGsuw",
    long: &[
        ("command", Value),
        ("fast", Nothing),
        ("group", Value),
        ("login", Nothing),
        ("no-pty", Nothing),
        ("preserve-environment", Nothing),
        ("pty", Nothing),
        ("session-command", Value),
        ("shell", Value),
        ("supp-group", Value),
        ("user", Value),
        ("whitelist-environment", Value),
    ],
    permutes: true,
    ..OptionGrammar::NONE
};

pub(super) const SUDO: OptionGrammar = OptionGrammar {
    flags: "AbBEeHiKklNnPSsVv",
    values: "aCcDghpRrTtUu",
    long: &[
        ("askpass", Nothing),
        ("auth-type", Value),
        ("background", Nothing),
        ("bell", Nothing),
        ("chdir", Value),
        ("chroot", Value),
        ("close-from", Value),
        ("command-timeout", Value),
        ("edit", Nothing),
        ("group", Value),
        ("host", Value),
        ("list", Nothing),
        ("login", Nothing),
        ("login-class", Value),
        ("no-update", Nothing),
        ("non-interactive", Nothing),
        ("other-user", Value),
        ("preserve-env", Optional),
        ("preserve-groups", Nothing),
        ("prompt", Value),
        ("remove-timestamp", Nothing),
        ("reset-timestamp", Nothing),
        ("role", Value),
        ("set-home", Nothing),
        ("shell", Nothing),
        ("stdin", Nothing),
        ("type", Value),
        ("user", Value),
        ("validate", Nothing),
    ],
    ..OptionGrammar::NONE
};

pub(super) const DOAS: OptionGrammar = OptionGrammar { flags: "Lns", values: "aCu", ..OptionGrammar::NONE };

pub(super) const WATCH: OptionGrammar = OptionGrammar {
    flags: "bcegptwxrCh",
    values: "nqs",
    optional: "d",
    long: &[
        ("beep", Nothing),
        ("chgexit", Nothing),
        ("color", Nothing),
        ("differences", Optional),
        ("equexit", Value),
        ("errexit", Nothing),
        ("exec", Nothing),
        ("interval", Value),
        ("no-color", Nothing),
        ("no-rerun", Nothing),
        ("no-title", Nothing),
        ("no-wrap", Nothing),
        ("precise", Nothing),
        ("shotsdir", Value),
    ],
    ..OptionGrammar::NONE
};

pub(super) const SCRIPT: OptionGrammar = OptionGrammar {
    flags: "aefqh",
    values: "BcEIOTmo",
    optional: "t",
    long: &[
        ("append", Nothing),
        ("command", Value),
        ("echo", Value),
        ("flush", Nothing),
        ("force", Nothing),
        ("log-in", Value),
        ("log-io", Value),
        ("log-out", Value),
        ("log-timing", Value),
        ("logging-format", Value),
        ("output-limit", Value),
        ("quiet", Nothing),
        ("return", Nothing),
        ("timing", Optional),
    ],
    permutes: true,
};

pub(super) const FLOCK: OptionGrammar = OptionGrammar {
    flags: "sxeunoFvh",
    values: "wE",
    long: &[
        ("close", Nothing),
        ("conflict-exit-code", Value),
        ("exclusive", Nothing),
        ("fcntl", Nothing),
        ("nb", Nothing),
        ("no-fork", Nothing),
        ("nonblock", Nothing),
        ("nonblocking", Nothing),
        ("shared", Nothing),
        ("timeout", Value),
        ("unlock", Nothing),
        ("verbose", Nothing),
        ("wait", Value),
    ],
    ..OptionGrammar::NONE
};

pub(super) const PARALLEL: OptionGrammar = OptionGrammar {
    flags: "0kmXqtuv",
    values: "aCIjLnNPs",
    long: &[
        ("arg-file", Value),
        ("bar", Nothing),
        ("block", Value),
        ("colsep", Value),
        ("delay", Value),
        ("dry-run", Nothing),
        ("eta", Nothing),
        ("group", Nothing),
        ("halt", Value),
        ("jobs", Value),
        ("joblog", Value),
        ("keep-order", Nothing),
        ("line-buffer", Nothing),
        ("load", Value),
        ("max-args", Value),
        ("max-procs", Value),
        ("no-notice", Nothing),
        ("no-run-if-empty", Nothing),
        ("null", Nothing),
        ("pipe", Nothing),
        ("progress", Nothing),
        ("quote", Nothing),
        ("results", Value),
        ("resume", Nothing),
        ("retries", Value),
        ("tag", Nothing),
        ("timeout", Value),
        ("ungroup", Nothing),
        ("verbose", Nothing),
        ("will-cite", Nothing),
        ("xargs", Nothing),
    ],
    ..OptionGrammar::NONE
};

pub(super) const SYSTEMD_RUN: OptionGrammar = OptionGrammar {
    flags: "rPqGdSth",
    values: "HMEpu",
    long: &[
        ("collect", Nothing),
        ("description", Value),
        ("expand-environment", Value),
        ("gid", Value),
        ("host", Value),
        ("machine", Value),
        ("nice", Value),
        ("no-ask-password", Nothing),
        ("no-block", Nothing),
        ("on-active", Value),
        ("on-boot", Value),
        ("on-calendar", Value),
        ("on-clock-change", Nothing),
        ("on-startup", Value),
        ("on-timezone-change", Nothing),
        ("on-unit-active", Value),
        ("on-unit-inactive", Value),
        ("path-property", Value),
        ("pipe", Nothing),
        ("property", Value),
        ("pty", Nothing),
        ("quiet", Nothing),
        ("remain-after-exit", Nothing),
        ("same-dir", Nothing),
        ("scope", Nothing),
        ("send-sighup", Nothing),
        ("service-type", Value),
        ("setenv", Value),
        ("shell", Nothing),
        ("slice", Value),
        ("slice-inherit", Nothing),
        ("socket-property", Value),
        ("system", Nothing),
        ("timer-property", Value),
        ("uid", Value),
        ("unit", Value),
        ("user", Nothing),
        ("wait", Nothing),
        ("working-directory", Value),
    ],
    ..OptionGrammar::NONE
};

pub(super) const STRACE: OptionGrammar = OptionGrammar {
    flags: "cCdDfFhiknqrtTvVwxyYzZ",
    values: "abeEIoOpPsSuUX",
    long: &[
        ("columns", Value),
        ("env", Value),
        ("follow-forks", Nothing),
        ("no-abbrev", Nothing),
        ("output", Value),
        ("output-append-mode", Nothing),
        ("quiet", Optional),
        ("string-limit", Value),
        ("summary-only", Nothing),
        ("trace", Value),
        ("user", Value),
    ],
    ..OptionGrammar::NONE
};

pub(super) const READ: OptionGrammar = OptionGrammar { flags: "ers", values: "adinNptu", ..OptionGrammar::NONE };

pub(super) const MAPFILE: OptionGrammar = OptionGrammar { flags: "t", values: "dnOsuCc", ..OptionGrammar::NONE };

pub(super) const LOADER: OptionGrammar = OptionGrammar {
    long: &[
        ("argv0", Value),
        ("audit", Value),
        ("glibc-hwcaps-mask", Value),
        ("glibc-hwcaps-prepend", Value),
        ("inhibit-cache", Nothing),
        ("inhibit-rpath", Value),
        ("library-path", Value),
        ("list", Nothing),
        ("preload", Value),
        ("verify", Nothing),
    ],
    ..OptionGrammar::NONE
};

pub(super) const START_STOP_DAEMON: OptionGrammar = OptionGrammar {
    flags: "SKTHtobmqvVCi",
    values: "xapnuscgrkNPIdRO",
    long: &[
        ("background", Nothing),
        ("chdir", Value),
        ("chroot", Value),
        ("chuid", Value),
        ("exec", Value),
        ("group", Value),
        ("iosched", Value),
        ("make-pidfile", Nothing),
        ("name", Value),
        ("nicelevel", Value),
        ("no-close", Nothing),
        ("notify-await", Nothing),
        ("notify-timeout", Value),
        ("oknodo", Nothing),
        ("output", Value),
        ("pid", Value),
        ("pidfile", Value),
        ("ppid", Value),
        ("procsched", Value),
        ("quiet", Nothing),
        ("remove-pidfile", Nothing),
        ("retry", Value),
        ("signal", Value),
        ("start", Nothing),
        ("startas", Value),
        ("status", Nothing),
        ("stop", Nothing),
        ("test", Nothing),
        ("umask", Value),
        ("user", Value),
        ("verbose", Nothing),
    ],
    permutes: true,
    ..OptionGrammar::NONE
};
