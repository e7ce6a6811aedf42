//! The list of programs and builtins that run other programs. The shell parser, the checks of templates and policy use
//! this list.
//!
//! The parser reads the arguments of everyday programs exactly. For the other programs of this list, the parser only
//! reports that their commands are unknown, because a table of all arguments would have no end. If this list lacks a
//! program that runs others, only the list of programs of a run restricts what the program starts. The list is frozen
//! (CONTRIBUTING.md).

use std::{collections::HashMap, sync::LazyLock};

use crate::{HOLE, Word};

/// What the shell parser reads in the arguments of a program.
#[derive(Clone, Copy, PartialEq)]
pub enum ArgumentReading {
    /// The commands that a process of the run starts from the arguments.
    Exact,
    /// The commands that the program starts as another user or with other rights. If such a command is unknown, the run
    /// needs a permission for it even with a list of programs.
    Elsewhere,
    /// The variables that a builtin sets.
    Variables,
    /// Only whether an argument can start another program.
    Options(StartOptions),
    /// Only whether git starts a program that the script chooses.
    Git,
    /// The commands on the other host, if ssh has only everyday options. Everything unknown behind ssh may be a denied
    /// command.
    Ssh,
    /// Nothing: the commands are unknown.
    Unknown,
    /// Nothing: the program counts as a plain command. Only the checks of templates use the rows of these programs.
    Plain,
}

/// Arguments with which a program can start another program. Names are separated by blanks.
#[derive(Clone, Copy, PartialEq)]
pub struct StartOptions {
    /// Letters of short options, also in clusters.
    short: &'static str,
    /// Long options, which a script may abbreviate.
    long: &'static str,
    /// Beginnings of other arguments.
    words: &'static str,
    /// True for a builtin whose arguments must be literal text.
    literal: bool,
}

/// Uses of a program, which decide about placeholders of templates. Each use is a bit.
pub mod uses {
    /// Every argument may be evaluated, or may run at another place.
    pub const EVALUATES: u16 = 1;
    /// Both the arguments and the input run as code.
    pub const RUNS_TEXT: u16 = 2;
    /// The program runs its arguments.
    pub const RUNS_ARGUMENTS: u16 = 4;
    /// The standard input contains a program, or the arguments of a program.
    pub const READS_PROGRAM: u16 = 8;
    /// A client of a database.
    pub const DATABASE: u16 = 16;
    /// The subcommand `ssh` runs a command on another host.
    pub const HAS_SSH: u16 = 32;
    /// An interpreter of a language other than shell.
    pub const INTERPRETER: u16 = 64;
    /// A shell.
    pub const SHELL: u16 = 128;
    /// A builtin that starts programs from its text, from a file or from its arguments. Policy reads this use.
    pub const STARTER: u16 = 256;
}

use ArgumentReading::{Elsewhere, Exact, Git, Plain, Ssh, Unknown, Variables};
use uses::{
    DATABASE, EVALUATES, HAS_SSH, INTERPRETER, READS_PROGRAM, RUNS_ARGUMENTS, RUNS_TEXT, SHELL,
    STARTER,
};

/// Each row contains names of programs. Each name is in only one row.
const PROGRAMS: &[(ArgumentReading, u16, &str)] = &[
    (Exact, EVALUATES | STARTER, ". eval source"),
    (Exact, EVALUATES, "alias mapfile readarray trap"),
    (Exact, RUNS_ARGUMENTS | STARTER, "exec"),
    (
        Exact,
        RUNS_ARGUMENTS,
        "builtin command env find ionice nice nohup setsid stdbuf time timeout",
    ),
    (Exact, RUNS_ARGUMENTS | READS_PROGRAM, "xargs"),
    (Exact, SHELL, "ash bash dash rbash sh"),
    (Elsewhere, 0, "ssh-agent"),
    (Elsewhere, RUNS_ARGUMENTS, "sudo"),
    (
        Variables,
        0,
        "[ declare export local printf readonly set shopt test typeset wait",
    ),
    (Variables, EVALUATES, "getopts let read unset"),
    (Git, 0, "git"),
    (Ssh, EVALUATES | READS_PROGRAM, "ssh"),
    (
        options("oc", "option config-file", ""),
        0,
        "apt apt-cache apt-get",
    ),
    (options("", "rsh remote-path", "with-lock"), 0, "borg"),
    (
        options(
            "",
            "deploy-hook renew-hook pre-hook post-hook manual-auth-hook manual-cleanup-hook",
            "",
        ),
        0,
        "certbot",
    ),
    (options("", "rsh-command", ""), 0, "cpio"),
    (options("", "diff-program", ""), 0, "diff3 sdiff"),
    (
        options("", "pre-invoke post-invoke status-logger", ""),
        0,
        "dpkg",
    ),
    (options("", "strip-program", ""), 0, "install"),
    (
        options("E", "eval", "SHELL .SHELL MAKE GNUMAKE COMPILE. LINK."),
        0,
        "make gmake",
    ),
    (
        options("PHC", "pager html preprocessor config-file", ""),
        0,
        "man",
    ),
    (options("", "editor", ""), RUNS_ARGUMENTS, "npm"),
    (options("e", "exec", ""), 0, "prove"),
    (options("", "password-command", ""), 0, "rclone"),
    (options("o", "password-command option", ""), 0, "restic"),
    (
        options("eM", "rsh rsync-path remote-option", ""),
        0,
        "rsync",
    ),
    (options("SDoF", "", ""), EVALUATES, "scp"),
    (options("SDoFbs", "", ""), EVALUATES | READS_PROGRAM, "sftp"),
    (options("", "compress-program", ""), 0, "sort"),
    (options("", "filter", ""), 0, "split"),
    (
        options(
            "IF",
            "to-command checkpoint-action use-compress-program rsh-command rmt-command info-script new-volume-script",
            "",
        ),
        0,
        "tar bsdtar",
    ),
    (options("z", "", ""), 0, "tcpdump"),
    (
        options("cSsuUq", "cmd remote startuptime", "+"),
        RUNS_TEXT,
        "vi view vim",
    ),
    (options("e", "use-askpass execute config", ""), 0, "wget"),
    (options("", "unzip-command", ""), 0, "zip"),
    (literal("CWxfF"), EVALUATES, "bind compgen complete"),
    (literal("f"), EVALUATES, "enable"),
    (literal("p"), EVALUATES, "hash"),
    (literal("x"), 0, "jobs"),
    (
        Unknown,
        0,
        "bwrap clush coreutils dbus-run-session debconf i386 newgrp pdsh run-parts run0 sem setuidgid sg \
         sshpass sudoedit systemd-cat systemd-inhibit systemd-nspawn valgrind x86_64 xvfb-run",
    ),
    (Unknown, EVALUATES, "autossh fc script watch"),
    (
        Unknown,
        EVALUATES | READS_PROGRAM,
        "at batch parallel runuser su",
    ),
    (
        Unknown,
        RUNS_ARGUMENTS,
        "chroot chrt doas dumb-init fakeroot flock gosu linux32 linux64 ltrace nsenter pkexec prlimit setarch setpriv \
         start-stop-daemon strace su-exec systemd-run taskset tini unbuffer unshare",
    ),
    (Unknown, RUNS_TEXT, "ed ex gdb"),
    (
        Unknown,
        SHELL,
        "busybox csh fish ksh mksh pwsh tcsh toybox yash zsh",
    ),
    (
        Plain,
        EVALUATES,
        "ansible ansible-console ansible-playbook cmd compopt concurrently hyperfine lftp nawk ncat salt screen socat tmux \
         watchexec",
    ),
    (
        Plain,
        EVALUATES | READS_PROGRAM,
        "awk bun crontab deno duckdb gawk mawk sqlite3",
    ),
    (
        Plain,
        HAS_SSH,
        "az doctl eb fly flyctl gcloud heroku limactl multipass railway tailscale",
    ),
    (Plain, HAS_SSH | RUNS_ARGUMENTS, "vagrant"),
    (
        Plain,
        INTERPRETER,
        "R Rscript expect ghci gnuplot groovy guile irb jshell julia lua luajit node nodejs octave osascript perl php \
         powershell pypy python ruby runghc tclsh ts-node wish",
    ),
    (Plain, READS_PROGRAM, "ftp telnet"),
    (
        Plain,
        READS_PROGRAM | DATABASE,
        "mariadb mongo mongosh mysql psql redis-cli",
    ),
    (
        Plain,
        RUNS_ARGUMENTS,
        "bundle conda coproc docker docker-compose entr kubectl lxc nerdctl nix-shell npx oc pipenv pnpm podman poetry \
         uv yarn",
    ),
    (Plain, RUNS_TEXT, "bc dc m4 nvim"),
];

/// Programs that run a program after one of these subcommands, with the number of operands before the program, and the
/// letters of options without a value.
pub const RUNS_PROGRAM: &[(&[&str], &str, usize, &str)] = &[
    (
        &[
            "docker",
            "podman",
            "nerdctl",
            "docker-compose",
            "kubectl",
            "oc",
            "lxc",
            "incus",
        ],
        "exec|run",
        1,
        "ditTPq",
    ),
    (&["ip", "machinectl"], "exec|shell", 1, "q"),
    (
        &[
            "poetry", "uv", "pipenv", "conda", "bundle", "heroku", "consul",
        ],
        "exec|run",
        0,
        "qvx",
    ),
    (&["oc"], "rsh", 1, "Tt"),
    (&["crictl"], "exec", 1, "ist"),
    (&["aws-vault", "chamber", "direnv"], "exec", 1, ""),
    (
        &["asdf", "mise", "nodenv", "pyenv", "rbenv"],
        "exec|x",
        0,
        "q",
    ),
    (&["doppler", "infisical", "op"], "run", 0, ""),
    (&["redis-cli"], "", 0, "23cxX"),
    (&["perf"], "record|stat", 0, "agqsv"),
    (&["entr", "firejail"], "", 0, "*"),
    (&["rlwrap"], "", 0, "cinr"),
];

/// Programs with options whose value is a program, or a file with code. The templates read this table.
pub const PROGRAM_OPTIONS: &[(&[&str], &[&str])] = &[
    (
        &["c++", "cc", "clang", "clang++", "g++", "gcc"],
        &["-B", "-fplugin", "-specs", "--specs", "-wrapper"],
    ),
    (&["fd", "fdfind"], &["-X", "-x", "--exec-batch"]),
    (&["nix-shell"], &["--run"]),
    (&["nmap"], &["--script"]),
    (&["rg"], &["--pre"]),
];

/// Commands that evaluate each argument behind the subcommand. The templates read this table.
pub const EVALUATES_BEHIND: &[(&str, &[&str])] = &[
    ("kamal", &["exec"]),
    (
        "redis-cli",
        &[
            "eval", "eval_ro", "EVAL", "EVAL_RO", "function", "FUNCTION", "script", "SCRIPT",
        ],
    ),
];

/// Variables on the command line of `make` whose value is a program or a makefile. The built-in rules of `make` or many
/// makefiles use these variables. The checks of templates read this table.
pub const MAKE_PROGRAMS: &str = "AR AS AWK BASH CC CHECKOUT CO CPP CROSS_COMPILE CTANGLE CURL CWEAVE CXX DOCKER \
     F77 FC GET GNUMAKEFLAGS GO GREP HELM HOSTCC HOSTCXX INSTALL JAVA KUBECTL LD LEX LINT M2C MAKE MAKEFILES MAKEFLAGS \
     MAKEINFO MAKE_COMMAND MFLAGS NM NODE NPM OBJC OBJCOPY OBJDUMP PC PERL PIP PKG_CONFIG PYTHON PYTHON3 RANLIB RM RUBY SED \
     SHELL STRIP TANGLE TERRAFORM TEX TEXI2DVI WEAVE WGET YACC";

/// Beginnings of further variables of this kind, for example of `COMPILE.c`.
pub const MAKE_RULES: &[&str] = &[
    ".SHELL",
    "COMPILE.",
    "LEX.",
    "LINK.",
    "LINT.",
    "PREPROCESS.",
    "YACC.",
];

/// Names of shells, which may have a version or `-static` after the name, and one or two letters before it.
const SHELLS: &[&str] = &[
    "bash", "dash", "ksh", "zsh", "yash", "posh", "hush", "csh", "sash", "nush", "pwsh", "osh",
    "elvish",
];

const fn options(short: &'static str, long: &'static str, words: &'static str) -> ArgumentReading {
    ArgumentReading::Options(StartOptions {
        short,
        long,
        words,
        literal: false,
    })
}

const fn literal(short: &'static str) -> ArgumentReading {
    ArgumentReading::Options(StartOptions {
        short,
        long: "",
        words: "",
        literal: true,
    })
}

static BY_NAME: LazyLock<HashMap<&'static str, (ArgumentReading, u16)>> = LazyLock::new(|| {
    let names = |(reading, uses, names): &(ArgumentReading, u16, &'static str)| {
        let (reading, uses) = (*reading, *uses);
        names
            .split_ascii_whitespace()
            .map(move |name| (name, (reading, uses)))
    };
    PROGRAMS.iter().flat_map(names).collect()
});

/// Returns the name of a program without its directory.
pub fn base_name(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

/// Returns what the parser reads in the arguments of the program `name`, a name without a directory.
pub fn reading(name: &str) -> ArgumentReading {
    match BY_NAME.get(name) {
        Some((reading, _)) => *reading,
        // Debian's builds of vim, for example `vim.basic`.
        None if name.starts_with("vim.") => reading("vim"),
        None if is_loader(name) || is_shell(name) => Unknown,
        None => Plain,
    }
}

/// Returns true if the parser reads more of the program than its name.
pub fn is_known(name: &str) -> bool {
    reading(name) != Plain
}

/// Returns true if the program has one of these uses.
pub fn is_used_for(name: &str, uses: u16) -> bool {
    BY_NAME.get(name).is_some_and(|(_, has)| has & uses != 0)
}

/// Returns true for the dynamic loader, which runs the program in its first operand.
fn is_loader(name: &str) -> bool {
    (name.starts_with("ld-") || name.starts_with("ld.")) && name.contains(".so")
}

/// Returns true for shells with other names, for example `bash-static`, `ksh93`, `oksh` and `zsh5`.
fn is_shell(name: &str) -> bool {
    let plain = name
        .trim_end_matches(|letter: char| letter.is_ascii_digit() || matches!(letter, '.' | '-'));
    let plain = plain.strip_suffix("-static").unwrap_or(plain);
    plain.ends_with("sh") && SHELLS.iter().any(|shell| plain.ends_with(shell)) && plain.len() <= 6
}

impl StartOptions {
    /// Returns each argument with which the program `name` can start another program, with the argument's value.
    pub fn starts<'w>(&self, name: &str, arguments: &'w [Word]) -> Vec<Vec<&'w Word>> {
        // In `tar cIf program file`, the letters have no dash.
        let old = |word: &Word| {
            matches!(name, "tar" | "bsdtar")
                && !word.known().starts_with('-')
                && (!word.exact || word.text.contains(['I', 'F']))
        };
        let starts = |word: &Word| {
            let text = word.text.as_str();
            is_option(text, self.short, self.long)
                || self.literal
                    && (!word.exact
                        || text.starts_with("--")
                            && text.contains(|letter: char| self.short.contains(letter)))
                || self
                    .words
                    .split_ascii_whitespace()
                    .any(|begin| text.starts_with(begin))
                || matches!(name, "make" | "gmake")
                    && ["$(", "${", "!="].iter().any(|sign| text.contains(sign))
                || name == "zip" && text.starts_with('-') && text.contains("TT")
        };
        let found = with_values(arguments, starts);
        // After `jobs -x`, all words are the command.
        let all = arguments.first().is_some_and(old) || self.literal && !found.is_empty();
        if all {
            vec![arguments.iter().collect()]
        } else {
            found
        }
    }
}

/// Returns each word for which `starts` is true, with the next word if this word may be the value of an option.
pub fn with_values(words: &[Word], starts: impl Fn(&Word) -> bool) -> Vec<Vec<&Word>> {
    let found = (0..words.len()).filter(|at| starts(&words[*at]));
    let is_joined = |word: &Word| word.text.starts_with("--") && word.text.contains('=');
    found
        .map(|at| {
            words[at..]
                .iter()
                .take(2 - usize::from(is_joined(&words[at])))
                .collect()
        })
        .collect()
}

/// Returns true if `text` is an option cluster with a letter of `short`, or may be an abbreviation of a name in `long`.
pub fn is_option(text: &str, short: &str, long: &str) -> bool {
    match (text.strip_prefix("--"), text.strip_prefix('-')) {
        (Some(""), _) | (_, None) => false,
        (Some(name), _) => {
            let name = name.split(['=', HOLE]).next().unwrap_or_default();
            long.split_ascii_whitespace()
                .any(|known| known.starts_with(name))
        }
        (None, Some(cluster)) => cluster.contains(|letter: char| short.contains(letter)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FoundKind, ReadLimit, Shell, UnknownPart, find_in};

    fn is_unknown(script: &str) -> bool {
        let found = find_in(Shell::Sh, script, ReadLimit::Step).expect(script);
        found.iter().any(
            |one| matches!(one.what, FoundKind::Unknown(why) if why.part == UnknownPart::Started),
        )
    }

    #[test]
    fn each_argument_that_starts_a_program_is_unknown() {
        for (script, expected) in [
            (
                "rsync -e a -M b --rsh=c d e",
                &["-e a@1", "-M b@1", "--rsh=c@1"][..],
            ),
            (
                "tar -I a -x --to-command=b",
                &["-I a@1", "--to-command=b@1"],
            ),
            ("git rebase -x a --exec=b", &["-x a@1", "--exec=b@1"]),
            ("jobs -x rsync -e ssh a", &["-x rsync -e ssh a@1"]),
            ("su a <<E\nrm\nE", &["su a rm\n@1"]),
            ("flock -n 9", &[]),
            ("flock -x -w 5 200", &[]),
            ("flock 9 rm", &["flock 9 rm@1"]),
            ("flock 9 -c rm", &["flock 9 -c rm@1"]),
            ("flock -n a", &["flock -n a@1"]),
            ("flock $a", &["flock $a@1"]),
            ("start-stop-daemon --stop --exec a", &[]),
            (
                "start-stop-daemon --stop $a",
                &["start-stop-daemon --stop $a@1"],
            ),
            ("f() { tar -x \"$@\"; }; f a", &[]),
            (
                "f() { set -- a; }; f() { tar -x \"$@\"; }; f b",
                &["tar -x \"$@\"@1"],
            ),
            (
                "f() { shift 2; env rsync \"$@\"; }; f b",
                &["rsync \"$@\"@1"],
            ),
            (
                "f() { f a \"$@\"; git push \"$@\"; }; f b",
                &["git push \"$@\"@1"],
            ),
            (
                "f() { tar -x \"$@\"; }; export -f f; f b",
                &["tar -x \"$@\"@1"],
            ),
        ] {
            let found = find_in(Shell::Sh, script, ReadLimit::Step).expect(script);
            let unknown = found
                .iter()
                .filter(|one| matches!(one.what, FoundKind::Unknown(_)));
            let sources: Vec<String> = unknown
                .map(|one| format!("{}@{}", one.source, one.place.line))
                .collect();
            assert_eq!(sources, expected, "{script}");
        }
    }

    #[test]
    fn each_program_is_in_one_row() {
        let names = PROGRAMS
            .iter()
            .flat_map(|(_, _, names)| names.split_ascii_whitespace());
        assert_eq!(names.count(), BY_NAME.len());
    }

    #[test]
    fn everything_unknown_behind_ssh_may_be_a_denied_command() {
        for call in [
            "-- \"$h\" uptime",
            "-qp 22 -o BatchMode=yes -i k a@h 'ls | wc'",
            "-N h",
            "h <<E\nls\nE",
            "-V",
        ] {
            assert!(!is_unknown(&format!("ssh {call}")), "{call}");
        }
        for call in [
            "\"$h\" ls",
            "-- $h ls",
            "h",
            "h \"$x\"",
            "h '$x y'",
            "h sudo '$x'",
            "h timeout '\"$x\"' ls",
            "-z h ls",
            "-F f h ls",
            "-s h sftp",
            "-o ProxyCommand=x h ls",
            "-oLocalCommand=x h ls",
            "-o 'ProxyCommand x' h ls",
            "-o \"$x\" h ls",
            "h -o ProxyCommand=x ls",
            "-- h -p 22 ls",
        ] {
            assert!(
                is_unknown(&format!("ssh {call}")) && is_unknown(&format!("env nice ssh {call}")),
                "{call}"
            );
        }
    }

    #[test]
    fn each_program_of_the_list_is_unknown_where_it_can_start_another_program() {
        let others = [
            "vim.basic -c x",
            "ld-linux-x86-64.so.2 /bin/rm",
            "ksh93 -c rm",
            "bash-static -c rm",
            "oksh x",
        ];
        assert!(others.into_iter().all(is_unknown));
        for (reading, _, names) in PROGRAMS {
            for name in names.split_ascii_whitespace() {
                match reading {
                    Unknown => {
                        for call in [
                            name.to_owned(),
                            format!("{name} x"),
                            format!("sh -c \"{name} $x\""),
                            format!("/opt/{name} --help x"),
                        ] {
                            assert!(is_unknown(&call), "{call}");
                        }
                        assert!(!is_unknown(&format!("{name} --version")), "{name}");
                    }
                    ArgumentReading::Options(options) => {
                        assert!(!is_unknown(&format!("{name} -- x -")), "{name}");
                        assert_eq!(
                            is_unknown(&format!("{name} \"$x\"")),
                            options.literal || name.ends_with("tar"),
                            "{name}"
                        );
                        let short = options
                            .short
                            .chars()
                            .flat_map(|letter| [format!("-{letter}"), format!("-0{letter}rm")]);
                        let long = options.long.split_ascii_whitespace();
                        let long = long.flat_map(|long| {
                            [
                                format!("--{long}=rm"),
                                format!("--{}", &long[..long.len() - 1]),
                            ]
                        });
                        let words = options
                            .words
                            .split_ascii_whitespace()
                            .map(|word| format!("{word}x"));
                        for argument in short.chain(long).chain(words) {
                            let call = format!("{name} a {argument} rm");
                            assert!(is_unknown(&call), "{call}");
                        }
                    }
                    Ssh => {}
                    _ => assert!(!is_unknown(&format!("{name} status")), "{name}"),
                }
            }
        }
    }
}
