//! Names of programs that start other programs, and of builtins that the parser evaluates. The table is frozen
//! (CONTRIBUTING.md).

/// Returns true if the table of programs contains `name`.
pub(super) fn is_known(name: &str) -> bool {
    NAMES.binary_search(&name).is_ok() || is_loader(name) || is_shell(name) || is_vim(name)
}

/// Returns true for a wrapper that starts its commands only as processes of the run, with every option. False for
/// programs that also start commands elsewhere (`ssh`, `parallel`, `systemd-run`, `git`), as another user (`sudo`), or
/// without an execution (`busybox`).
pub(super) fn is_local(name: &str) -> bool {
    let plain = matches!(
        name,
        "." | "alias"
            | "ash"
            | "builtin"
            | "command"
            | "env"
            | "eval"
            | "exec"
            | "find"
            | "fish"
            | "flock"
            | "ionice"
            | "mapfile"
            | "nice"
            | "nohup"
            | "readarray"
            | "setsid"
            | "sh"
            | "source"
            | "stdbuf"
            | "time"
            | "timeout"
            | "trap"
            | "watch"
            | "xargs"
    );
    plain || is_shell(name)
}

/// Returns true for Debian's builds of vim, for example `vim.basic` and `vim.tiny`.
pub(super) fn is_vim(name: &str) -> bool {
    name.starts_with("vim.")
}

/// Returns true for the dynamic loader, which runs the program in its first operand.
pub(super) fn is_loader(name: &str) -> bool {
    (name.starts_with("ld-") || name.starts_with("ld.")) && name.contains(".so")
}

/// Returns true for shells with other names, for example `bash-static`, `ksh93`, `oksh` and `zsh5`.
pub(super) fn is_shell(name: &str) -> bool {
    let plain = name.trim_end_matches(|letter: char| letter.is_ascii_digit() || matches!(letter, '.' | '-'));
    let plain = plain.strip_suffix("-static").unwrap_or(plain);
    plain.ends_with("sh") && SHELLS.iter().any(|shell| plain.ends_with(shell)) && plain.len() <= 6
}

pub(super) const SHELLS: &[&str] =
    &["bash", "dash", "ksh", "zsh", "yash", "posh", "hush", "csh", "sash", "nush", "pwsh", "osh", "elvish"];

/// Names of programs and builtins, sorted for binary search.
pub(super) const NAMES: &[&str] = &[
    ".",
    "[",
    "alias",
    "apt",
    "apt-cache",
    "apt-get",
    "ash",
    "at",
    "autossh",
    "bash",
    "batch",
    "bind",
    "borg",
    "bsdtar",
    "builtin",
    "busybox",
    "bwrap",
    "certbot",
    "chroot",
    "chrt",
    "clush",
    "command",
    "compgen",
    "complete",
    "coreutils",
    "cpio",
    "csh",
    "dash",
    "dbus-run-session",
    "debconf",
    "declare",
    "diff3",
    "doas",
    "dpkg",
    "dumb-init",
    "ed",
    "enable",
    "env",
    "eval",
    "ex",
    "exec",
    "export",
    "fakeroot",
    "fc",
    "find",
    "fish",
    "flock",
    "gdb",
    "getopts",
    "git",
    "gmake",
    "gosu",
    "hash",
    "i386",
    "install",
    "ionice",
    "jobs",
    "ksh",
    "let",
    "linux32",
    "linux64",
    "local",
    "ltrace",
    "make",
    "man",
    "mapfile",
    "mksh",
    "newgrp",
    "nice",
    "nohup",
    "npm",
    "nsenter",
    "parallel",
    "pdsh",
    "pkexec",
    "printf",
    "prlimit",
    "prove",
    "rbash",
    "rclone",
    "read",
    "readarray",
    "readonly",
    "restic",
    "rsync",
    "run-parts",
    "run0",
    "runuser",
    "scp",
    "script",
    "sdiff",
    "sem",
    "set",
    "setarch",
    "setpriv",
    "setsid",
    "setuidgid",
    "sftp",
    "sg",
    "sh",
    "shopt",
    "sort",
    "source",
    "split",
    "ssh",
    "ssh-agent",
    "sshpass",
    "start-stop-daemon",
    "stdbuf",
    "strace",
    "su",
    "su-exec",
    "sudo",
    "sudoedit",
    "systemd-cat",
    "systemd-inhibit",
    "systemd-nspawn",
    "systemd-run",
    "tar",
    "taskset",
    "tcpdump",
    "tcsh",
    "test",
    "time",
    "timeout",
    "tini",
    "toybox",
    "trap",
    "typeset",
    "unbuffer",
    "unset",
    "unshare",
    "valgrind",
    "vi",
    "view",
    "vim",
    "wait",
    "watch",
    "wget",
    "x86_64",
    "xargs",
    "xvfb-run",
    "yash",
    "zip",
    "zsh",
];
