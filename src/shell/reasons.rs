//! Reasons why a command is unknown, each with a correction of the script.

/// Reason for a word that precedes a command and may become several words.
pub(super) const SEVERAL_WORDS: &str =
    "may become several words, or none, before the command is named: put it in double quotes";

/// Reason for a command whose name is unknown.
pub(super) const NO_NAME: &str =
    "the name of the command is not written out: write the name itself, or choose among written ones with `case`";

/// Reason for text that a shell runs but that is not completely known.
pub(super) const NO_TEXT: &str = "the text that runs is not written out: write it in single quotes, and hand values on as arguments (`sh -c 'ls -- \"$1\"' _ \"$x\"`) or as variables";

/// Reason for a shell setting that changes how the shell parses the script.
pub(super) const READING: &str = "a setting that changes how the script is read: leave it out";

/// Reason for a word that may change how the shell parses the script.
pub(super) const MAY_BE_READING: &str =
    "may be a setting that changes how the script is read: write the setting out, or `set -- \"$x\"` for parameters";

/// Reason for an assignment to a variable whose name is the result of an expansion.
pub(super) const NOT_NAMED: &str = "sets a variable whose name is not written out: write the name";

/// Reason for a git address that contains a command.
pub(super) const EXT: &str = "git runs the command in an `ext::` address: use a path, https or ssh";

/// Reason for an option whose name is unknown.
pub(super) const NO_OPTION: &str =
    "is an option that is not written out: write the option's name, with only its value in a variable";

/// Reason for an option that is not in the grammar of its program.
pub(super) const UNKNOWN_OPTION: &str =
    "is an option that is not known here: leave it out, or use its documented long form";

/// Reason for a git setting whose name is unknown.
pub(super) const GIT_SETTING: &str = "the name of the git setting is not written out: write the name";

/// Reason for an argument of a shell that is unknown.
pub(super) const SHELL_ARGUMENT: &str =
    "an argument of a shell is not written out: write its options out, and put values behind the text and `_`";

/// Reason for a shell whose grammar the parser does not know.
pub(super) const OTHER_SHELL: &str = "a shell whose grammar is not read here: use bash or sh";

/// Reason for an argument of `find` that may be an action.
pub(super) const FIND_ACTION: &str =
    "may become an action of `find`: put paths before the options as \"./$x\", and write tests and actions out";

/// Reason for an ssh option that names another source of commands.
pub(super) const SSH_ELSEWHERE: &str =
    "ssh takes commands to run from another place: leave the option out, or set single options with `-o`";

/// Reason for a word that may be an option and is followed by the option's value.
pub(super) const MAY_BE_OPTION: &str = "may be an option: write `--` before it";

/// Reason for a word that may be an option or may be the command.
pub(super) const MAY_BE_COMMAND: &str = "may be an option, or the command: write the command's name out";

/// Reason for a command below `/proc` or `/dev`.
pub(super) const OF_THE_KERNEL: &str =
    "a file below `/proc` or `/dev`, which may be any program: call the program by its name";

/// Reason for a text that bash may evaluate a second time.
pub(super) const TRAP: &str = "a text that could run a command, in a script that evaluates variables as arithmetic: write it without `$(`, backticks and `name[$x`, or keep the two in separate steps";

/// Bash options that change how bash parses the script.
pub(super) const CHANGES_READING: [&str; 4] = ["keyword", "history", "histexpand", "extdebug"];

/// Reason for a login shell, because the script may have written the profile files.
pub(super) const LOGIN: &str = "a login shell first runs a profile that is not in the script: leave `-l` out";
