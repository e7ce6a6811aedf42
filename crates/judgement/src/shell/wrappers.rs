//! Programs and builtins that run their arguments.
//!
//! A program that is not in the table is assumed to run nothing (docs/design.md lists the resulting gaps). An entry of
//! the table contains the options of a program and the meaning of its operands. After a word that may be an option, the
//! meaning of the words is unknown.
//!
//! The table is frozen (CONTRIBUTING.md): a closed list of programs holds what the table does not know.

use crate::shell::found::UnknownReason;
use crate::shell::grammars::{
    CHROOT, CHRT, DOAS, IONICE, NSENTER, PKEXEC, PRLIMIT, READ, SETARCH, SETPRIV, SETSID, SSH_AGENT, STDBUF, SU,
    TASKSET, TIME, TIMEOUT, UNSHARE,
};
use crate::shell::known::{is_loader, is_shell, is_vim};
use crate::shell::options::{OptionGrammar, ReadOptions, read};
use crate::shell::reasons::{MAY_BE_COMMAND, MAY_BE_OPTION, OTHER_SHELL, SEVERAL_WORDS};
use crate::shell::script_walk::{Context, ScriptWalk, TextReader};
use crate::shell::syntax::{SyntaxFlaw, Word};

/// Result of reading a call of a wrapper.
pub(super) type Done = Result<(), SyntaxFlaw>;

/// Finds the commands that the wrapper `base`, written as `name` in the script, runs from its `arguments`. `outside` is
/// the context of the wrapper, and `inside` that of the commands.
pub(super) fn run(
    finding: &mut ScriptWalk<'_>,
    base: &str,
    name: &Word,
    arguments: &[Word],
    inside: Context<'_>,
    outside: Context<'_>,
) -> Done {
    let mut call = WrapperCall { finding, name, arguments, inside, outside };
    match base {
        "sh" => call.shell(TextReader::Sh),
        "bash" | "rbash" => call.shell(TextReader::Bash),
        "dash" | "ash" => call.shell(TextReader::Dash),
        "zsh" | "ksh" | "mksh" | "yash" | "csh" | "tcsh" | "fish" => {
            call.unknown(name, OTHER_SHELL);
            call.shell(TextReader::Sh)
        }
        "eval" => call.eval(),
        "." | "source" => call.source(),
        "trap" => call.trap(),
        "alias" => call.alias(),
        "command" => call.lookup(),
        "builtin" => call.resolve(arguments, 0, false),
        "exec" => call.exec(),
        "env" => call.env(),
        "xargs" => call.xargs(),
        "find" => call.find(),
        "git" => call.git(),
        "ssh" => call.ssh(),
        "su" => call.su(&SU),
        "runuser" => call.runuser(),
        "sudo" => call.sudo(),
        "busybox" | "toybox" => call.plain(&OptionGrammar::NONE, 0),
        "watch" => call.watch(),
        "script" => call.script(),
        "flock" => call.flock(),
        "parallel" => call.parallel(),
        "systemd-run" => call.systemd_run(),
        "strace" => call.strace(),
        "ltrace" => call.not_read(),
        "debconf" | "nohup" | "fakeroot" | "pkexec" => {
            call.plain(if base == "pkexec" { &PKEXEC } else { &OptionGrammar::NONE }, 0)
        }
        "gosu" | "su-exec" => call.plain(&OptionGrammar::NONE, 1),
        "time" => call.plain(&TIME, 0),
        "timeout" => call.plain(&TIMEOUT, 1),
        "nice" => call.nice(),
        "ionice" => call.plain(&IONICE, 0),
        "setsid" => call.plain(&SETSID, 0),
        "stdbuf" => call.plain(&STDBUF, 0),
        "chroot" => call.login(&CHROOT, 1),
        "unshare" => call.login(&UNSHARE, 0),
        "nsenter" => call.login(&NSENTER, 0),
        "setarch" => call.setarch(),
        "linux32" | "linux64" | "i386" | "x86_64" => call.login(&SETARCH, 0),
        "coreutils" => call.coreutils(),
        "start-stop-daemon" => call.start_stop_daemon(),
        "ssh-agent" => call.plain(&SSH_AGENT, 0),
        "apt" | "apt-cache" | "apt-get" | "borg" | "certbot" | "cpio" | "diff3" | "dpkg" | "rclone" | "restic"
        | "sdiff" | "install" | "tcpdump" | "rsync" | "tar" | "bsdtar" | "scp" | "sftp" | "sort" | "man" | "zip"
        | "make" | "gmake" | "vim" | "vi" | "view" | "split" | "wget" | "npm" | "prove" => call.option_runs(base),
        "ed" | "ex" => {
            call.unknown(name, "an editor runs commands from its input: use `sed`, or edit the file in another way");
            Ok(())
        }
        _ if is_vim(base) => call.option_runs("vim"),
        "sem" | "setuidgid" | "sg" | "newgrp" | "sudoedit" | "valgrind" | "unbuffer" | "dumb-init" | "tini"
        | "bwrap" | "dbus-run-session" | "xvfb-run" | "at" | "batch" | "autossh" | "clush" | "pdsh" | "run0"
        | "sshpass" | "systemd-cat" | "systemd-inhibit" | "systemd-nspawn" | "run-parts" | "gdb" => call.not_read(),
        _ if is_loader(base) => call.loader(),
        _ if is_shell(base) => {
            call.unknown(name, OTHER_SHELL);
            call.shell(TextReader::Sh)
        }
        "setpriv" => call.plain(&SETPRIV, 0),
        "taskset" => call.scheduled(&TASKSET),
        "chrt" => call.scheduled(&CHRT),
        "prlimit" => call.plain(&PRLIMIT, 0),
        "doas" => call.login(&DOAS, 0),
        "export" | "readonly" | "declare" | "typeset" | "local" => call.declare(base),
        "read" => call.names(&READ, 0),
        "mapfile" | "readarray" => call.mapfile(),
        "getopts" => call.names(&OptionGrammar::NONE, 1),
        "printf" => call.printf(),
        "wait" => call.wait(),
        "unset" => call.unset(),
        "let" => call.arithmetic(),
        "test" | "[" => call.test(),
        "set" | "shopt" => call.set(),
        "hash" => call.hash(),
        "enable" => call.enable(),
        "jobs" => call.jobs(),
        "fc" => {
            call.unknown(name, "`fc` runs commands of the history: write the command itself");
            Ok(())
        }
        "bind" | "complete" | "compgen" => call.complete(),
        _ => Ok(()),
    }
}

/// One call of a wrapper.
pub(super) struct WrapperCall<'f, 's, 'a> {
    pub(super) finding: &'f mut ScriptWalk<'s>,
    pub(super) name: &'a Word,
    pub(super) arguments: &'a [Word],
    pub(super) inside: Context<'a>,
    pub(super) outside: Context<'a>,
}

impl<'a> WrapperCall<'_, '_, 'a> {
    pub(super) fn unknown(&mut self, word: &Word, why: impl Into<UnknownReason>) {
        self.finding.unknown(word, why, self.inside);
    }

    /// Returns the context of a command that the surrounding shell runs for the wrapper.
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

    pub(super) fn options(&mut self, grammar: &OptionGrammar) -> Option<ReadOptions<'a>> {
        self.options_of(grammar, self.arguments)
    }

    /// Reads the options of a wrapper whose command follows after `operands` words. If the options cannot be read, the
    /// problem is recorded, but the following words still count as the command, so that a denied name among them is
    /// found.
    pub(super) fn before_command<'w>(
        &mut self,
        grammar: &OptionGrammar,
        words: &'w [Word],
        operands: usize,
    ) -> ReadOptions<'w> {
        match read(grammar, words) {
            Ok(options) => options,
            Err((word, why)) => {
                let why = if why == MAY_BE_OPTION && operands == 0 { MAY_BE_COMMAND } else { why };
                self.finding.unknown(word, why, self.inside);
                let stuck = words.iter().position(|other| std::ptr::eq(other, word)).unwrap_or(words.len());
                let from = if operands > 0 { stuck } else { (stuck + 1).min(words.len()) };
                ReadOptions { rest: &words[from..], ..ReadOptions::default() }
            }
        }
    }

    pub(super) fn options_of<'w>(&mut self, grammar: &OptionGrammar, words: &'w [Word]) -> Option<ReadOptions<'w>> {
        match read(grammar, words) {
            Ok(options) => Some(options),
            Err((word, why)) => {
                self.finding.unknown(word, why, self.inside);
                None
            }
        }
    }

    /// Reads options, then as many words as `operands`, then a command.
    pub(super) fn plain(&mut self, grammar: &OptionGrammar, operands: usize) -> Done {
        let options = self.before_command(grammar, self.arguments, operands);
        self.command(options.rest, operands)
    }

    pub(super) fn command(&mut self, rest: &[Word], operands: usize) -> Done {
        for word in rest.iter().take(operands) {
            if !word.one {
                self.unknown(word, SEVERAL_WORDS);
            }
        }
        if operands > 0 && rest.len() <= operands && !rest.is_empty() {
            // Other versions of the program have fewer words before the command.
            self.unknown(self.name, "the command has fewer arguments than its known form: write all arguments");
        }
        self.finding.resolve(&rest[operands.min(rest.len())..], self.inside)
    }

    /// Reads a command after a CPU mask or a priority. With `-p`, the program changes a running process and starts
    /// none.
    fn scheduled(&mut self, grammar: &OptionGrammar) -> Done {
        let options = self.before_command(grammar, self.arguments, 1);
        if options.has(&["p", "pid"]) && options.rest.len() <= 2 {
            return Ok(());
        }
        self.command(options.rest, 1)
    }

    /// `setarch [architecture] [options] [command]`
    fn setarch(&mut self) -> Done {
        match self.arguments.split_first() {
            Some((first, rest)) if first.exactly().is_some_and(|text| !text.starts_with('-')) => {
                self.arguments = rest;
                self.login(&SETARCH, 0)
            }
            _ => self.login(&SETARCH, 0),
        }
    }

    /// Like `plain`, but a missing command means that a shell starts.
    pub(super) fn login(&mut self, grammar: &OptionGrammar, operands: usize) -> Done {
        let options = self.before_command(grammar, self.arguments, operands);
        if options.has(&["s", "S"]) && grammar.flags.contains('s') || options.rest.len() <= operands {
            return self.standard_input(TextReader::Sh);
        }
        self.command(options.rest, operands)
    }
}

#[cfg(test)]
mod tests {

    #[test]
    fn the_table_of_wrappers_is_sorted() {
        assert!(crate::shell::known::NAMES.is_sorted());
    }
}
