//! Reasons why a command is unknown, each with a correction of the script.
//!
//! A reason is about programs only if a process of this run starts them. The kernel then restricts them to the list of
//! the run, so that no person must decide about them. All other reasons are about words, or about a program of the list of
//! programs that start other programs.

use crate::{UnknownPart, UnknownReason};

/// Reason for a word that precedes a command and may become several words.
pub const SEVERAL_WORDS: UnknownReason = UnknownReason::words(
    "this word comes before the command and may become several words, or none: put the word in double quotes",
);

/// Reason for a command whose name is unknown.
pub const NO_NAME: UnknownReason = UnknownReason::programs(
    "the name of the command is not literal text: write the name itself, or choose a literal name with `case`",
);

/// Reason for text that a shell runs but that is not completely known.
pub const NO_TEXT: UnknownReason = UnknownReason::programs(
    "the text that the shell runs is not literal: put the text in single quotes, and pass values as arguments (`sh -c 'ls -- \"$1\"' _ \"$x\"`) or as variables",
);

/// Reason for a shell setting that changes how the shell parses the script.
pub const READING: UnknownReason = UnknownReason::words(
    "this setting changes how the shell parses the script: leave the setting out",
);

/// Reason for a word that may change how the shell parses the script.
pub const MAY_BE_READING: UnknownReason = UnknownReason::words(
    "this word may be a setting that changes how the shell parses the script: write a literal setting, or \
     `set -- \"$x\"` for parameters",
);

/// Reason for an assignment to a variable whose name is the result of an expansion.
pub const NOT_NAMED: UnknownReason =
    UnknownReason::words("the name of the variable is not literal text: write the name itself");

/// Reason for an option whose name is unknown.
pub const NO_OPTION: UnknownReason = UnknownReason::words(
    "the name of this option is not literal text: write the name itself, with only the value in a variable",
);

/// Reason for an option that is not in the grammar of its program.
pub const UNKNOWN_OPTION: UnknownReason = UnknownReason::words(
    "this option is unknown: leave the option out, or use its documented long form",
);

/// Reason for an argument of a shell that is unknown.
pub const SHELL_ARGUMENT: UnknownReason = UnknownReason::programs(
    "an argument of the shell is not literal text: write literal options, and put values after the text and `_`",
);

/// Reason for a program whose arguments the parser does not read.
pub const STARTS_OTHERS: UnknownReason = UnknownReason {
    part: UnknownPart::Started,
    text: "the program can start other programs here, and the parser does not read which: write the other programs as separate \
           commands, or use `env`, `timeout`, `xargs`, `find` or `sh -c`",
};

/// Reason for an option of ssh with which ssh may start a program.
pub const SSH_OPTION: UnknownReason = UnknownReason::words(
    "with this option, ssh may start a program: leave the option out, or write an everyday option, such as `-p`, before the \
     host",
);

/// Reason for an argument of `find` that may be an action.
pub const FIND_ACTION: UnknownReason = UnknownReason::words(
    "this word may become an action of `find`: put paths first, as \"./$x\", and write literal tests and actions",
);

/// Reason for a word that may be an option and is followed by the option's value.
pub const MAY_BE_OPTION: UnknownReason =
    UnknownReason::words("this word may be an option: write `--` before the word");

/// Reason for a word that may be an option or may be the command.
pub const MAY_BE_COMMAND: UnknownReason = UnknownReason::programs(
    "this word may be an option or the command: write the literal name of the command",
);

/// Reason for a command below `/proc` or `/dev`.
pub const OF_THE_KERNEL: UnknownReason = UnknownReason::programs(
    "a file below `/proc` or `/dev` may be any program: call the program by its name",
);

/// Reason for a text that bash may evaluate a second time.
pub const TRAP: UnknownReason = UnknownReason::programs(
    "this text could run a command, because the script evaluates variables as arithmetic: write the text without `$(`, backticks and `name[$x`, or put the text and the arithmetic into separate steps",
);

/// Bash options that change how bash parses the script.
pub const CHANGES_READING: [&str; 4] = ["keyword", "history", "histexpand", "extdebug"];

/// Reason for a login shell, because the script may have written the profile files.
pub const LOGIN: UnknownReason = UnknownReason::programs(
    "a login shell first runs a profile that is not in the script: leave `-l` out",
);
