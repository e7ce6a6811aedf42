//! Option grammars of the programs whose arguments the parser reads exactly.

use crate::{OptionGrammar, shell::options::OptionValue};

use OptionValue::{Nothing, Optional, Value};

pub const EXEC: OptionGrammar = OptionGrammar {
    flags: "cl",
    values: "a",
    ..OptionGrammar::NONE
};

pub const ENV: OptionGrammar = OptionGrammar {
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

pub const TIME: OptionGrammar = OptionGrammar {
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

pub const TIMEOUT: OptionGrammar = OptionGrammar {
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

pub const NICE: OptionGrammar = OptionGrammar {
    values: "n",
    long: &[("adjustment", Value)],
    ..OptionGrammar::NONE
};

pub const IONICE: OptionGrammar = OptionGrammar {
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

pub const SETSID: OptionGrammar = OptionGrammar {
    flags: "cfw",
    long: &[("ctty", Nothing), ("fork", Nothing), ("wait", Nothing)],
    ..OptionGrammar::NONE
};

pub const SSH_AGENT: OptionGrammar = OptionGrammar {
    flags: "cDdksTv",
    values: "aEOPt",
    ..OptionGrammar::NONE
};

/// Everyday options of ssh. With the others, ssh may read commands from a file (`-F`), load code (`-I`) or run no command.
pub const SSH: OptionGrammar = OptionGrammar {
    flags: "46AaCfKkMNnqTtVvXxYy",
    values: "BbcDEeiJLlmopRSw",
    ..OptionGrammar::NONE
};

/// Options of flock, but for `-c`, which runs a command.
pub const FLOCK: OptionGrammar = OptionGrammar {
    flags: "sxeunoF",
    values: "wE",
    long: &[
        ("exclusive", Nothing),
        ("nonblock", Nothing),
        ("shared", Nothing),
        ("timeout", Value),
        ("unlock", Nothing),
    ],
    ..OptionGrammar::NONE
};

pub const STDBUF: OptionGrammar = OptionGrammar {
    values: "ioe",
    long: &[("error", Value), ("input", Value), ("output", Value)],
    ..OptionGrammar::NONE
};

pub const XARGS: OptionGrammar = OptionGrammar {
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
};

pub const SUDO: OptionGrammar = OptionGrammar {
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

pub const READ: OptionGrammar = OptionGrammar {
    flags: "ers",
    values: "adinNptu",
    ..OptionGrammar::NONE
};

pub const MAPFILE: OptionGrammar = OptionGrammar {
    flags: "t",
    values: "dnOsuCc",
    ..OptionGrammar::NONE
};
