//! Programs and builtins that run their arguments.
//!
//! A closed table: what is not in it is taken to run nothing (SECURITY.md lists what that misses). Each entry is the program's option
//! grammar and what its operands are; where a word can't be told apart from an option, what follows is unknown.

use crate::shell::finding::{Context, Finding, Reader};
use crate::shell::grammars::{
    CHROOT, CHRT, DOAS, EXEC, IONICE, NSENTER, PKEXEC, PRLIMIT, READ, SETARCH, SETPRIV, SETSID, STDBUF, SU, TASKSET,
    TIME, TIMEOUT, UNSHARE,
};
use crate::shell::options::{Grammar, Options, read};
use crate::shell::syntax::{Flaw, Word};

/// Whether `name` is in the table.
pub(super) fn is_known(name: &str) -> bool {
    NAMES.binary_search(&name).is_ok()
}

/// In order.
const NAMES: &[&str] = &[
    ".",
    "[",
    "alias",
    "ash",
    "bash",
    "bind",
    "builtin",
    "busybox",
    "chroot",
    "chrt",
    "command",
    "compgen",
    "complete",
    "csh",
    "dash",
    "declare",
    "doas",
    "enable",
    "env",
    "eval",
    "exec",
    "export",
    "fakeroot",
    "fc",
    "find",
    "fish",
    "flock",
    "getopts",
    "git",
    "gosu",
    "hash",
    "ionice",
    "jobs",
    "ksh",
    "let",
    "local",
    "ltrace",
    "mapfile",
    "mksh",
    "nice",
    "nohup",
    "nsenter",
    "parallel",
    "pkexec",
    "printf",
    "prlimit",
    "rbash",
    "read",
    "readarray",
    "readonly",
    "runuser",
    "script",
    "set",
    "setarch",
    "setpriv",
    "setsid",
    "sh",
    "shopt",
    "source",
    "ssh",
    "stdbuf",
    "strace",
    "su",
    "su-exec",
    "sudo",
    "systemd-run",
    "taskset",
    "tcsh",
    "test",
    "time",
    "timeout",
    "toybox",
    "trap",
    "typeset",
    "unset",
    "unshare",
    "wait",
    "watch",
    "xargs",
    "yash",
    "zsh",
];

/// What reading a call gives.
pub(super) type Done = Result<(), Flaw>;

/// What the wrapper `base`, written as `name`, runs of its `arguments`. `inside` is the context of what it runs, `outside` its own.
pub(super) fn run(
    finding: &mut Finding<'_>,
    base: &str,
    name: &Word,
    arguments: &[Word],
    inside: Context<'_>,
    outside: Context<'_>,
) -> Done {
    let mut call = Call { finding, name, arguments, inside, outside };
    match base {
        "sh" => call.shell(Reader::Sh),
        "bash" | "rbash" => call.shell(Reader::Bash),
        "dash" | "ash" => call.shell(Reader::Dash),
        "zsh" | "ksh" | "mksh" | "yash" | "csh" | "tcsh" | "fish" => {
            call.unknown(name, "a shell whose grammar is not read here");
            call.shell(Reader::Sh)
        }
        "eval" => call.eval(),
        "." | "source" => call.source(),
        "trap" => call.trap(),
        "alias" => call.alias(),
        "command" => call.lookup(),
        "builtin" => call.resolve(arguments, 0, true),
        "exec" => call.plain(&EXEC, 0),
        "env" => call.env(),
        "xargs" => call.xargs(),
        "find" => call.find(),
        "git" => call.git(),
        "ssh" => call.ssh(),
        "su" => call.su(&SU),
        "runuser" => call.runuser(),
        "sudo" => call.sudo(),
        "busybox" | "toybox" => call.plain(&Grammar::NONE, 0),
        "watch" => call.watch(),
        "script" => call.script(),
        "flock" => call.flock(),
        "parallel" => call.parallel(),
        "systemd-run" => call.systemd_run(),
        "strace" | "ltrace" => call.strace(),
        "nohup" | "fakeroot" | "pkexec" => call.plain(if base == "pkexec" { &PKEXEC } else { &Grammar::NONE }, 0),
        "gosu" | "su-exec" => call.plain(&Grammar::NONE, 1),
        "time" => call.plain(&TIME, 0),
        "timeout" => call.plain(&TIMEOUT, 1),
        "nice" => call.nice(),
        "ionice" => call.plain(&IONICE, 0),
        "setsid" => call.plain(&SETSID, 0),
        "stdbuf" => call.plain(&STDBUF, 0),
        "chroot" => call.login(&CHROOT, 1),
        "unshare" => call.login(&UNSHARE, 0),
        "nsenter" => call.login(&NSENTER, 0),
        "setarch" => call.login(&SETARCH, 1),
        "setpriv" => call.plain(&SETPRIV, 0),
        "taskset" => call.plain(&TASKSET, 1),
        "chrt" => call.plain(&CHRT, 1),
        "prlimit" => call.plain(&PRLIMIT, 0),
        "doas" => call.login(&DOAS, 0),
        "export" | "readonly" | "declare" | "typeset" | "local" => call.declare(base),
        "read" => call.names(&READ, 0),
        "mapfile" | "readarray" => call.mapfile(),
        "getopts" => call.names(&Grammar::NONE, 1),
        "printf" => call.printf(),
        "wait" => call.wait(),
        "unset" => call.unset(),
        "let" => {
            call.finding.evaluates = true;
            Ok(())
        }
        "test" | "[" => {
            call.finding.evaluates |=
                arguments.iter().any(|word| matches!(word.text.as_str(), "-v" | "-R") || !word.one);
            Ok(())
        }
        "set" | "shopt" => call.set(),
        "hash" => call.hash(),
        "enable" => call.enable(),
        "jobs" => call.jobs(),
        "fc" => {
            call.unknown(name, "runs commands of the history");
            Ok(())
        }
        "bind" | "complete" | "compgen" => call.complete(),
        _ => Ok(()),
    }
}

/// One call of a wrapper.
pub(super) struct Call<'f, 's, 'a> {
    pub(super) finding: &'f mut Finding<'s>,
    pub(super) name: &'a Word,
    pub(super) arguments: &'a [Word],
    pub(super) inside: Context<'a>,
    pub(super) outside: Context<'a>,
}

impl<'a> Call<'_, '_, 'a> {
    pub(super) fn unknown(&mut self, word: &Word, why: &'static str) {
        self.finding.unknown(word, why, self.inside);
    }

    /// The context of what this shell itself runs for the wrapper.
    pub(super) fn shell_context(&self, functions: bool) -> Context<'a> {
        self.inside.within(self.outside, functions)
    }

    pub(super) fn resolve(&mut self, words: &[Word], skip: usize, functions: bool) -> Done {
        let context = self.shell_context(functions);
        // `command -- x`, `builtin -- x`
        let words = &words[skip.min(words.len())..];
        let words = match words.split_first() {
            Some((first, rest)) if first.exactly() == Some("--") => rest,
            _ => words,
        };
        self.finding.resolve(words, context)
    }

    pub(super) fn options(&mut self, grammar: &Grammar) -> Option<Options<'a>> {
        self.options_of(grammar, self.arguments)
    }

    /// The options before a command that stands behind `operands` words. Where they can't be told, that is said, and what stands there is
    /// read as the command all the same: a name that a policy denies is seen also then.
    pub(super) fn before_command<'w>(&mut self, grammar: &Grammar, words: &'w [Word], operands: usize) -> Options<'w> {
        match read(grammar, words) {
            Ok(options) => options,
            Err((word, why)) => {
                self.finding.unknown(word, why, self.inside);
                let stuck = words.iter().position(|other| std::ptr::eq(other, word)).unwrap_or(words.len());
                let from = if operands > 0 { stuck } else { (stuck + 1).min(words.len()) };
                Options { rest: &words[from..], ..Options::default() }
            }
        }
    }

    pub(super) fn options_of<'w>(&mut self, grammar: &Grammar, words: &'w [Word]) -> Option<Options<'w>> {
        match read(grammar, words) {
            Ok(options) => Some(options),
            Err((word, why)) => {
                self.finding.unknown(word, why, self.inside);
                None
            }
        }
    }

    /// Options, then `operands` words, then a command.
    pub(super) fn plain(&mut self, grammar: &Grammar, operands: usize) -> Done {
        let options = self.before_command(grammar, self.arguments, operands);
        self.command(options.rest, operands)
    }

    pub(super) fn command(&mut self, rest: &[Word], operands: usize) -> Done {
        for word in rest.iter().take(operands) {
            if !word.one {
                self.unknown(word, "may become several words, or none, before the command is named");
            }
        }
        self.finding.resolve(&rest[operands.min(rest.len())..], self.inside)
    }

    /// As `plain`; without a command a shell is started.
    pub(super) fn login(&mut self, grammar: &Grammar, operands: usize) -> Done {
        let options = self.before_command(grammar, self.arguments, operands);
        if options.has(&["s", "S"]) && grammar.flags.contains('s') || options.rest.len() <= operands {
            return self.standard_input(Reader::Sh);
        }
        self.command(options.rest, operands)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order() {
        assert!(NAMES.is_sorted());
    }
}
