//! Commands that git runs because of options and settings. The tables are frozen (CONTRIBUTING.md).

use crate::shell::grammars::GIT;
use crate::shell::options::{OptionGrammar, letters};
use crate::shell::reasons::{EXT, GIT_SETTING, NO_OPTION};
use crate::shell::script_walk::TextReader;
use crate::shell::syntax::{HOLE, Word};
use crate::shell::wrappers::{Done, WrapperCall};

impl<'a> WrapperCall<'_, '_, 'a> {
    pub(super) fn git(&mut self) -> Done {
        let Some(options) = self.options(&GIT) else { return Ok(()) };
        for value in options.values(&["c"]) {
            let value = value.clone();
            self.git_setting(&value)?;
        }
        for value in options.values(&["config-env", "exec-path"]) {
            self.finding.unknown(
                value,
                "with this option, git runs programs that the script does not name: use `git -c name=value` instead",
                self.inside,
            );
        }
        let Some((command, arguments)) = options.rest.split_first() else { return Ok(()) };
        let Some(command) = command.exactly() else {
            self.unknown(command, "the command after `git` is not literal text: write the command itself");
            return Ok(());
        };
        let literal: Vec<&str> = arguments.iter().map(|word| word.exactly().unwrap_or_default()).collect();
        self.git_options(command, arguments)?;
        if let Some(at) = literal.iter().position(|word| TALKS.contains(&command) && names_a_helper(word)) {
            self.unknown(&arguments[at], "git runs a program that the address names: use a path, https or ssh");
        }
        if let Some(at) = strategy(command, &literal) {
            self.unknown(
                &arguments[at],
                "git runs this strategy as a program: use a built-in strategy, for example `ort`",
            );
        }
        match (command, literal.first().copied()) {
            ("bisect", Some("run")) => self.finding.resolve(&arguments[1..], self.inside)?,
            ("submodule", _) if literal.contains(&"foreach") => {
                let at = literal.iter().position(|word| *word == "foreach").unwrap_or_default();
                let mut words: Vec<&Word> = arguments[at + 1..].iter().collect();
                while words.first().and_then(|word| word.exactly()).is_some_and(|word| word.starts_with("--")) {
                    words.remove(0);
                }
                self.finding.text(&words, TextReader::Sh, self.inside)?;
            }
            ("remote-ext" | "remote-fd" | "shell" | "for-each-repo" | "hook" | "p4", _) => {
                self.unknown(self.name, "this git command runs other commands: run these commands separately");
            }
            ("filter-branch", _) => self
                .unknown(self.name, "`git filter-branch` runs filters: use `git rebase`, or edit the files and commit"),
            ("merge-index", _) => {
                let Some(options) = self.options_of(&MERGE_INDEX, arguments) else { return Ok(()) };
                let words: Vec<Word> =
                    options.rest.iter().take(1).cloned().chain([Word::unknown(self.name.at)]).collect();
                self.finding.resolve(&words, self.inside)?;
            }
            ("config", _) => {
                let renames = |word: &&str| word.len() > "--re".len() && "--rename-section".starts_with(word);
                if literal.iter().any(renames) || literal.first() == Some(&"rename-section") {
                    self.unknown(
                        self.name,
                        "git renames settings, and a renamed setting may run a command: set each setting by its name",
                    );
                }
                for pair in arguments.windows(2) {
                    if pair[0].exactly().is_some_and(runs_its_value) {
                        let value = Word { text: format!("{}={}", pair[0].text, pair[1].text), ..pair[1].clone() };
                        self.git_setting(&value)?;
                    } else if pair[0].exactly().is_none() {
                        self.unknown(&pair[0], GIT_SETTING);
                    }
                }
            }
            // The git command is an alias or the program `git-NAME`.
            _ if OWN.binary_search(&command).is_err() => {
                self.finding.runs(&format!("git-{command}"), self.name, self.inside);
            }
            _ => {}
        }
        Ok(())
    }

    /// Reads the options of a git command that name programs to run. Git accepts abbreviated options, clusters of
    /// letters, and options after operands.
    fn git_options(&mut self, command: &str, arguments: &[Word]) -> Done {
        let sub = SUBS.iter().find(|sub| sub.names.contains(&command)).unwrap_or(&OTHER);
        let mut operands = false;
        for (at, word) in arguments.iter().enumerate() {
            let text = word.text.as_str();
            let next = arguments.get(at + 1);
            if is_ext(text) {
                self.unknown(word, EXT);
            }
            // After an option, `--` may be its value.
            operands |= text == "--" && !(at > 0 && may_be_option(&arguments[at - 1]));
            if operands {
                continue;
            }
            if let Some(long) = text.strip_prefix("--") {
                let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
                if name.is_empty() || sub.safe.contains(&name) {
                    continue;
                }
                // An unknown part of a name may complete it to any option that begins with the known part.
                let name = name.split(HOLE).next().unwrap_or_default();
                for (known, does) in sub.long {
                    if known.starts_with(name) {
                        self.git_value(*does, word, value, next)?;
                    }
                }
            } else if let Some((letter, value)) = letters(word, sub.values, |letter| {
                letter == HOLE || sub.short.iter().any(|(known, _)| *known == letter)
            }) {
                match sub.short.iter().find(|(known, _)| *known == letter) {
                    Some((_, does)) => {
                        self.git_value(*does, word, Some(value).filter(|value| !value.is_empty()), next)?;
                    }
                    None if sub.short.is_empty() => {}
                    None => self.unknown(word, NO_OPTION),
                }
            }
        }
        Ok(())
    }

    fn git_value(&mut self, does: Does, word: &Word, value: Option<&str>, next: Option<&Word>) -> Done {
        let value = match (value, next) {
            (Some(value), _) => Word {
                text: value.to_owned(),
                raw: Some(word.source().into()),
                exact: !value.contains(HOLE),
                one: true,
                ..word.clone()
            },
            // The value of the option must be in the same word.
            (None, _) if does == Does::Glued => return Ok(()),
            (None, Some(next)) => next.clone(),
            (None, None) => return Ok(()),
        };
        match does {
            Does::Runs | Does::Glued => self.finding.text_and_more(&value, TextReader::Sh, self.inside),
            Does::Sets => self.git_setting(&value),
            Does::Unknown => {
                self.unknown(&value, "this option of git may name a program: leave the option out");
                Ok(())
            }
        }
    }

    /// Reads a program name or a shell text that git runs.
    pub(super) fn git_text(&mut self, word: &Word, text: &str) -> Done {
        let value = Word {
            text: text.to_owned(),
            exact: word.exact,
            one: true,
            raw: Some(word.source().into()),
            at: word.at,
            ..Word::default()
        };
        self.finding.text_and_more(&value, TextReader::Sh, self.inside)
    }

    /// Reads a word `name=value` that sets git configuration.
    fn git_setting(&mut self, word: &Word) -> Done {
        let Some((key, value)) = word.text.split_once('=').filter(|(key, _)| !key.contains(HOLE)) else {
            if !word.exact {
                self.unknown(word, GIT_SETTING);
            }
            return Ok(());
        };
        if !runs_its_value(key) {
            return Ok(());
        }
        if key.to_ascii_lowercase().starts_with("alias.") {
            return match value.strip_prefix('!') {
                Some(text) => self.git_text(word, text),
                None => {
                    let mut words = value.split_ascii_whitespace();
                    let harmless = words.next().is_some_and(|first| RUNS_NOTHING.contains(&first));
                    if !harmless || !word.exact {
                        self.unknown(word, "this git alias may run another program: call the command itself");
                    }
                    Ok(())
                }
            };
        }
        let lower = key.to_ascii_lowercase();
        let last = lower.rsplit_once('.').map_or(lower.as_str(), |(_, last)| last);
        if is_ext(value) || is_ext(&lower) || lower.starts_with("protocol.") {
            self.unknown(word, EXT);
            return Ok(());
        }
        if matches!(last, "url" | "pushurl" | "insteadof" | "pushinsteadof") {
            if !word.exact {
                self.unknown(word, EXT);
            }
            return Ok(());
        }
        if last == "update" && !value.starts_with('!') && word.exact {
            return Ok(());
        }
        if matches!(last, "hookspath" | "path" | "templatedir" | "template" | "attributesfile" | "vcs") {
            self.unknown(word, "with this setting, git runs programs from another directory: leave the setting out");
            return Ok(());
        }
        match value.strip_prefix('!').unwrap_or(value) {
            "" | "true" | "false" | "auto" | "always" | "never" => Ok(()),
            text => self.git_text(word, text),
        }
    }
}

/// Returns true for a git setting whose value is a program, a text that a shell runs, or a source of programs.
fn runs_its_value(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let last = key.rsplit_once('.').map_or(key.as_str(), |(_, last)| last);
    key.starts_with("alias.")
        || key.starts_with("pager.")
        || key.starts_with("includeif.")
        || key.starts_with("protocol.")
        || key.starts_with("submodule.") && last == "update"
        || is_ext(&key)
        || matches!(
            last,
            "sshcommand"
                | "editor"
                | "pager"
                | "fsmonitor"
                | "hookspath"
                | "askpass"
                | "gitproxy"
                | "cmd"
                | "command"
                | "helper"
                | "program"
                | "external"
                | "textconv"
                | "driver"
                | "clean"
                | "smudge"
                | "process"
                | "uploadpack"
                | "receivepack"
                | "upload-pack"
                | "packobjectshook"
                | "alternaterefscommand"
                | "sequenceeditor"
                | "path"
                | "browser"
                | "cccmd"
                | "tocmd"
                | "smtpserver"
                | "diffilter"
                | "difffilter"
                | "vcs"
                | "attributesfile"
                | "template"
                | "templatedir"
                | "proxy"
                | "url"
                | "pushurl"
                | "insteadof"
                | "pushinsteadof"
                | "defaultkeycommand"
                | "sendmailcmd"
                | "headercmd"
                | "tunnel"
                | "recentobjectshook"
                | "httpd"
        )
}

/// Git commands that take the address of a repository.
const TALKS: [&str; 10] =
    ["archive", "clone", "fetch", "fetch-pack", "ls-remote", "pull", "push", "remote", "send-pack", "submodule"];

/// Returns true if an address names a remote helper program (`helper::address`, gitremote-helpers(7)).
fn names_a_helper(address: &str) -> bool {
    let helper = address.split_once("::").map_or("", |(helper, _)| helper);
    !helper.is_empty() && helper.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-_".contains(&byte))
}

/// Returns the index of the argument that names a merge strategy. A merge strategy may be a program.
fn strategy(command: &str, arguments: &[&str]) -> Option<usize> {
    const STRATEGIES: [&str; 6] = ["octopus", "ort", "ours", "recursive", "resolve", "subtree"];
    if !matches!(command, "merge" | "pull" | "rebase" | "cherry-pick" | "revert") {
        return None;
    }
    let short = matches!(command, "merge" | "pull" | "rebase");
    (0..arguments.len()).find(|at| {
        let word = arguments[*at];
        let next = || arguments.get(at + 1).copied().unwrap_or_default();
        let named = match word.strip_prefix("-s").filter(|_| short) {
            Some("") => Some(next()),
            Some(glued) => Some(glued),
            None => {
                let (option, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
                let is = "--strategy".starts_with(option) && option.len() > "--s".len();
                is.then(|| value.unwrap_or_else(next))
            }
        };
        named.is_some_and(|name| !name.is_empty() && !STRATEGIES.contains(&name))
    })
}

/// Returns true if a word is or may be an option.
fn may_be_option(word: &Word) -> bool {
    word.text.starts_with('-') || !word.exact && word.known().is_empty()
}

/// Returns true if `text` contains an `ext::` address, whose command git runs.
fn is_ext(text: &str) -> bool {
    text.match_indices("ext::").any(|(at, _)| !text[..at].ends_with(|letter: char| letter.is_ascii_alphanumeric()))
}

/// Meaning of the value of a git option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    /// A program that runs or a text that a shell runs.
    Runs,
    /// A program or a text that runs, but only if the value is in the same word as the option.
    Glued,
    /// A git setting.
    Sets,
    /// A source of programs, or the name of a program that runs.
    Unknown,
}

/// Options with which a git command can run programs.
struct Sub {
    names: &'static [&'static str],
    long: &'static [(&'static str, Does)],
    short: &'static [(char, Does)],
    /// Other letters that take a value, which is the rest of the word or the next word.
    values: &'static str,
    /// Long options that run nothing, although longer options with the same beginning do.
    safe: &'static [&'static str],
}

const SUBS: &[Sub] = &[
    Sub {
        names: &["clone"],
        long: &[("upload-pack", Does::Runs), ("config", Does::Sets), ("template", Does::Unknown)],
        short: &[('u', Does::Runs), ('c', Does::Sets)],
        values: "objC",
        safe: &[],
    },
    Sub {
        names: &["ls-remote"],
        long: &[("upload-pack", Does::Runs), ("exec", Does::Runs)],
        short: &[('u', Does::Runs)],
        values: "o",
        safe: &[],
    },
    Sub {
        names: &["fetch", "pull", "fetch-pack", "push", "send-pack", "archive"],
        long: &[("upload-pack", Does::Runs), ("receive-pack", Does::Runs), ("exec", Does::Runs)],
        short: &[],
        values: "ojsXS",
        safe: &[],
    },
    Sub { names: &["rebase"], long: &[("exec", Does::Runs)], short: &[('x', Does::Runs)], values: "sXCS", safe: &[] },
    Sub {
        names: &["difftool", "mergetool"],
        long: &[("extcmd", Does::Runs)],
        short: &[('x', Does::Runs)],
        values: "t",
        safe: &[],
    },
    Sub {
        names: &["grep"],
        long: &[("open-files-in-pager", Does::Glued)],
        short: &[('O', Does::Glued)],
        values: "efABCm",
        safe: &[],
    },
    Sub {
        names: &["send-email"],
        long: &[
            ("to-cmd", Does::Runs),
            ("cc-cmd", Does::Runs),
            ("header-cmd", Does::Runs),
            ("sendmail-cmd", Does::Runs),
            ("smtp-server", Does::Runs),
        ],
        short: &[],
        values: "",
        safe: &["to", "cc"],
    },
    Sub {
        names: &["daemon", "instaweb", "web--browse", "init"],
        long: &[
            ("access-hook", Does::Runs),
            ("httpd", Does::Runs),
            ("browser", Does::Runs),
            ("template", Does::Unknown),
        ],
        short: &[('d', Does::Runs)],
        values: "bp",
        safe: &[],
    },
];

/// Options of all git commands that have no entry of their own.
const OTHER: Sub = Sub {
    names: &[],
    long: &[
        ("upload-pack", Does::Runs),
        ("receive-pack", Does::Runs),
        ("exec", Does::Runs),
        ("extcmd", Does::Runs),
        ("open-files-in-pager", Does::Runs),
    ],
    short: &[],
    values: "",
    safe: &["u", "r", "e", "o", "ex"],
};

/// Git commands without options that can run programs.
const RUNS_NOTHING: &[&str] = &[
    "add",
    "blame",
    "branch",
    "checkout",
    "cherry-pick",
    "commit",
    "describe",
    "diff",
    "log",
    "merge",
    "reflog",
    "reset",
    "restore",
    "rev-parse",
    "shortlog",
    "show",
    "stash",
    "status",
    "switch",
    "tag",
];

/// `git merge-index [-o] [-q] program …`
const MERGE_INDEX: OptionGrammar = OptionGrammar { flags: "oq", ..OptionGrammar::NONE };

/// Commands that belong to git (`git --list-cmds=main` of several versions), sorted for binary search.
const OWN: &[&str] = &[
    "add",
    "am",
    "annotate",
    "apply",
    "archimport",
    "archive",
    "backfill",
    "bisect",
    "bisect--helper",
    "blame",
    "branch",
    "bugreport",
    "bundle",
    "cat-file",
    "check-attr",
    "check-ignore",
    "check-mailmap",
    "check-ref-format",
    "checkout",
    "checkout--worker",
    "checkout-index",
    "cherry",
    "cherry-pick",
    "citool",
    "clean",
    "clone",
    "column",
    "commit",
    "commit-graph",
    "commit-tree",
    "config",
    "count-objects",
    "credential",
    "credential-cache",
    "credential-cache--daemon",
    "credential-store",
    "cvsexportcommit",
    "cvsimport",
    "cvsserver",
    "daemon",
    "describe",
    "diagnose",
    "diff",
    "diff-files",
    "diff-index",
    "diff-pairs",
    "diff-tree",
    "difftool",
    "difftool--helper",
    "fast-export",
    "fast-import",
    "fetch",
    "fetch-pack",
    "filter-branch",
    "fmt-merge-msg",
    "for-each-ref",
    "for-each-repo",
    "format-patch",
    "format-rev",
    "fsck",
    "fsck-objects",
    "fsmonitor--daemon",
    "gc",
    "get-tar-commit-id",
    "grep",
    "gui",
    "hash-object",
    "help",
    "history",
    "hook",
    "http-backend",
    "http-fetch",
    "http-push",
    "imap-send",
    "index-pack",
    "init",
    "init-db",
    "instaweb",
    "interpret-trailers",
    "last-modified",
    "log",
    "ls-files",
    "ls-remote",
    "ls-tree",
    "mailinfo",
    "mailsplit",
    "maintenance",
    "merge",
    "merge-base",
    "merge-file",
    "merge-index",
    "merge-octopus",
    "merge-one-file",
    "merge-ours",
    "merge-recursive",
    "merge-recursive-ours",
    "merge-recursive-theirs",
    "merge-resolve",
    "merge-subtree",
    "merge-tree",
    "mergetool",
    "mktag",
    "mktree",
    "multi-pack-index",
    "mv",
    "name-rev",
    "notes",
    "p4",
    "pack-objects",
    "pack-redundant",
    "pack-refs",
    "parse-remote",
    "patch-id",
    "pickaxe",
    "prune",
    "prune-packed",
    "pull",
    "push",
    "quiltimport",
    "range-diff",
    "read-tree",
    "rebase",
    "rebase--interactive",
    "receive-pack",
    "reflog",
    "refs",
    "remote",
    "remote-ext",
    "remote-fd",
    "remote-ftp",
    "remote-ftps",
    "remote-http",
    "remote-https",
    "repack",
    "replace",
    "replay",
    "repo",
    "request-pull",
    "rerere",
    "reset",
    "restore",
    "rev-list",
    "rev-parse",
    "revert",
    "rm",
    "send-email",
    "send-pack",
    "sh-i18n--envsubst",
    "sh-setup",
    "shell",
    "shortlog",
    "show",
    "show-branch",
    "show-index",
    "show-ref",
    "sparse-checkout",
    "stage",
    "stash",
    "status",
    "stripspace",
    "submodule",
    "submodule--helper",
    "subtree",
    "survey",
    "svn",
    "switch",
    "symbolic-ref",
    "tag",
    "unpack-file",
    "unpack-objects",
    "update-index",
    "update-ref",
    "update-server-info",
    "upload-archive",
    "upload-archive--writer",
    "upload-pack",
    "var",
    "verify-commit",
    "verify-pack",
    "verify-tag",
    "version",
    "web--browse",
    "whatchanged",
    "worktree",
    "write-tree",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_git_commands_are_sorted() {
        assert!(OWN.is_sorted());
    }
}
