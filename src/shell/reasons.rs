//! Why something is unknown, and what to write instead: the reasons that stand in several places.

/// A word behind which a command stands.
pub(super) const SEVERAL_WORDS: &str =
    "may become several words, or none, before the command is named: put it in double quotes";

/// A command's name.
pub(super) const NO_NAME: &str =
    "the name of the command is not written out: write the name itself, or choose among written ones with `case`";

/// A text that a shell runs.
pub(super) const NO_TEXT: &str = "the text that runs is not written out: write it in single quotes, and hand values on as arguments (`sh -c 'ls -- \"$1\"' _ \"$x\"`) or as variables";

/// A setting of the shell.
pub(super) const READING: &str = "a setting that changes how the script is read: leave it out";

/// A word that may be one.
pub(super) const MAY_BE_READING: &str =
    "may be a setting that changes how the script is read: write the setting out, or `set -- \"$x\"` for parameters";

/// An assignment to an expanded name.
pub(super) const NOT_NAMED: &str = "sets a variable whose name is not written out: write the name";

/// An address of git.
pub(super) const EXT: &str = "git runs what an `ext::` address says: use a path, https or ssh";

/// An option.
pub(super) const NO_OPTION: &str =
    "is an option that is not written out: write the option's name, with only its value in a variable";

/// An option that its grammar does not have.
pub(super) const UNKNOWN_OPTION: &str =
    "is an option that is not known here: leave it out, or use its documented long form";

/// A setting of git.
pub(super) const GIT_SETTING: &str = "which setting of git is changed is not written out: write its name";

/// An argument of a shell.
pub(super) const SHELL_ARGUMENT: &str =
    "an argument of a shell is not written out: write its options out, and put values behind the text and `_`";

/// Another shell.
pub(super) const OTHER_SHELL: &str = "a shell whose grammar is not read here: use bash or sh";

/// A word of `find`.
pub(super) const FIND_ACTION: &str =
    "may become an action of `find`: put paths before the options as \"./$x\", and write tests and actions out";

/// An option of ssh.
pub(super) const SSH_ELSEWHERE: &str =
    "ssh takes what it runs from elsewhere: leave the option out, or set single options with `-o`";

/// A word that may be an option, before a value.
pub(super) const MAY_BE_OPTION: &str = "may be an option: write `--` before it";

/// The same, before a command.
pub(super) const MAY_BE_COMMAND: &str = "may be an option, or the command: write the command's name out";

/// A command below `/proc` or `/dev`.
pub(super) const OF_THE_KERNEL: &str =
    "a file below `/proc` or `/dev`, which may be any program: call the program by its name";

/// A text that is evaluated.
pub(super) const TRAP: &str = "a text that could run a command, in a script that evaluates variables as arithmetic: write it without `$(`, backticks and `name[$x`, or keep the two in separate steps";

/// Options of bash by which it reads the text otherwise.
pub(super) const CHANGES_READING: [&str; 4] = ["keyword", "history", "histexpand", "extdebug"];

/// Files in the home folder, which a script may have written.
pub(super) const LOGIN: &str = "a login shell runs a profile first, which is not in view: leave `-l` out";
