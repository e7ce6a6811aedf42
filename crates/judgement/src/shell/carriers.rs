//! Programs that run a command from an option, or whose options the parser does not know. The table is frozen
//! (CONTRIBUTING.md).

use crate::shell::grammars::{LOADER, START_STOP_DAEMON};
use crate::shell::options::{OptionGrammar, letters};
use crate::shell::script_walk::TextReader;
use crate::shell::syntax::Word;
use crate::shell::wrappers::{Done, WrapperCall};

/// Meaning of an option's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    /// A program to run, or text that a shell runs.
    Runs,
    /// A value with which the program may run other programs that the parser does not know.
    Unknown,
    /// An ssh option.
    Ssh,
}

struct Carrier {
    name: &'static str,
    /// Long options, which a script may abbreviate.
    long: &'static [(&'static str, Value)],
    /// Short options.
    short: &'static [(char, Value)],
    /// Other option letters that take a value.
    values: &'static str,
    /// Beginnings of words that are no options but can name a command to run.
    words: &'static [&'static str],
}

use Value::{Runs, Ssh, Unknown};

const CARRIERS: &[Carrier] = &[
    Carrier {
        name: "rsync",
        long: &[("rsh", Runs), ("rsync-path", Runs), ("remote-option", Unknown)],
        short: &[('e', Runs), ('M', Unknown)],
        values: "fBT@",
        words: &[],
    },
    Carrier {
        name: "tar",
        long: &[
            ("to-command", Runs),
            ("checkpoint-action", Unknown),
            ("use-compress-program", Runs),
            ("rsh-command", Runs),
            ("rmt-command", Runs),
            ("info-script", Runs),
            ("new-volume-script", Runs),
        ],
        short: &[('I', Runs), ('F', Runs)],
        values: "bfCKNTVXgHL",
        words: &[],
    },
    Carrier {
        name: "scp",
        long: &[],
        short: &[('S', Runs), ('D', Unknown), ('o', Ssh), ('F', Unknown)],
        values: "cijlPXJ",
        words: &[],
    },
    Carrier {
        name: "sftp",
        long: &[],
        short: &[('S', Runs), ('D', Unknown), ('o', Ssh), ('F', Unknown), ('b', Unknown), ('s', Unknown)],
        values: "BciJlPRX",
        words: &[],
    },
    Carrier { name: "sort", long: &[("compress-program", Runs)], short: &[], values: "koStT", words: &[] },
    Carrier {
        name: "man",
        long: &[("pager", Runs), ("html", Unknown), ("preprocessor", Unknown), ("config-file", Unknown)],
        short: &[('P', Runs), ('H', Unknown), ('C', Unknown)],
        values: "RLmMSserpTXE",
        words: &[],
    },
    Carrier { name: "zip", long: &[("unzip-command", Runs)], short: &[], values: "", words: &[] },
    Carrier {
        name: "make",
        long: &[("eval", Unknown)],
        short: &[('E', Unknown)],
        values: "CfIoWjlO",
        words: &["SHELL", ".SHELL", "MAKE", "GNUMAKE", "COMPILE.", "LINK."],
    },
    Carrier {
        name: "vim",
        long: &[("cmd", Unknown), ("remote", Unknown), ("startuptime", Unknown)],
        short: &[('c', Unknown), ('S', Unknown), ('s', Unknown), ('u', Unknown), ('U', Unknown), ('q', Unknown)],
        values: "tTiwW",
        words: &["+"],
    },
    Carrier {
        name: "apt-get",
        long: &[("option", Unknown), ("config-file", Unknown)],
        short: &[('o', Unknown), ('c', Unknown)],
        values: "ta",
        words: &[],
    },
    Carrier {
        name: "borg",
        long: &[("rsh", Runs), ("remote-path", Runs)],
        short: &[],
        values: "",
        words: &["with-lock"],
    },
    Carrier {
        name: "certbot",
        long: &[
            ("deploy-hook", Runs),
            ("renew-hook", Runs),
            ("pre-hook", Runs),
            ("post-hook", Runs),
            ("manual-auth-hook", Runs),
            ("manual-cleanup-hook", Runs),
        ],
        short: &[],
        values: "dmwnc",
        words: &[],
    },
    Carrier { name: "cpio", long: &[("rsh-command", Runs)], short: &[], values: "CDEFHIMOR", words: &[] },
    Carrier { name: "diff3", long: &[("diff-program", Runs)], short: &[], values: "L", words: &[] },
    Carrier {
        name: "dpkg",
        long: &[("pre-invoke", Runs), ("post-invoke", Runs), ("status-logger", Runs)],
        short: &[],
        values: "D",
        words: &[],
    },
    Carrier { name: "rclone", long: &[("password-command", Runs)], short: &[], values: "", words: &[] },
    Carrier {
        name: "restic",
        long: &[("password-command", Runs), ("option", Unknown)],
        short: &[('o', Unknown)],
        values: "rpe",
        words: &[],
    },
    Carrier { name: "sdiff", long: &[("diff-program", Runs)], short: &[], values: "oIw", words: &[] },
    Carrier { name: "npm", long: &[("editor", Runs)], short: &[], values: "", words: &[] },
    Carrier { name: "prove", long: &[("exec", Runs)], short: &[('e', Runs)], values: "IMP", words: &[] },
    Carrier { name: "install", long: &[("strip-program", Runs)], short: &[], values: "gmotS", words: &[] },
    Carrier { name: "tcpdump", long: &[], short: &[('z', Runs)], values: "BcCEFGijmMrQsTVwWyZ", words: &[] },
    Carrier { name: "split", long: &[("filter", Runs)], short: &[], values: "abClntnN", words: &[] },
    Carrier {
        name: "wget",
        long: &[("use-askpass", Runs), ("execute", Unknown), ("config", Unknown)],
        short: &[('e', Unknown)],
        values: "aBDGiIlAoOPQRtTUwX",
        words: &[],
    },
];

impl<'a> WrapperCall<'_, '_, 'a> {
    pub(super) fn option_runs(&mut self, base: &str) -> Done {
        let same = match base {
            "bsdtar" => "tar",
            "gmake" => "make",
            "apt" | "apt-cache" => "apt-get",
            "vi" | "view" => "vim",
            base => base,
        };
        let Some(carrier) = CARRIERS.iter().find(|carrier| carrier.name == same) else { return Ok(()) };
        // In `tar cIf program file`, the letters have no dash, and their values follow in order.
        if same == "tar"
            && let Some(first) = self.arguments.first().filter(|word| !word.known().starts_with('-'))
            && (first.known().contains(['I', 'F']) || !first.exact)
        {
            self.unknown(first, "the options of tar have no dash: write each option with a dash, `tar -x -f ...`");
        }
        for (at, word) in self.arguments.iter().enumerate() {
            let text = word.text.as_str();
            let next = self.arguments.get(at + 1);
            if carrier.words.iter().any(|begin| text.starts_with(begin))
                || same == "make" && (text.contains("$(") || text.contains("${") || text.contains("!="))
                || same == "zip" && text.starts_with('-') && text.contains("TT")
            {
                self.unknown(
                    word,
                    "this argument can start another program: leave the argument out, or write the other program as a \
                     separate command",
                );
            } else if let Some(long) = text.strip_prefix("--") {
                let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
                let option = carrier.long.iter().find(|(known, _)| !name.is_empty() && known.starts_with(name));
                if let Some((_, kind)) = option {
                    self.carried(*kind, word, value, next)?;
                }
            } else if let Some((letter, value)) =
                letters(word, carrier.values, |letter| carrier.short.iter().any(|(known, _)| *known == letter))
            {
                let kind = carrier.short.iter().find(|(known, _)| *known == letter).map_or(Unknown, |(_, kind)| *kind);
                self.carried(kind, word, Some(value).filter(|value| !value.is_empty()), next)?;
            }
        }
        Ok(())
    }

    /// Reads the value of an option. The value is `value`, or the next word if `value` is `None`.
    fn carried(&mut self, kind: Value, word: &Word, value: Option<&str>, next: Option<&Word>) -> Done {
        let value = match (value, next) {
            (Some(value), _) => Word { text: value.to_owned(), raw: Some(word.source().into()), ..word.clone() },
            (None, Some(next)) => next.clone(),
            (None, None) => return Ok(()),
        };
        match kind {
            Value::Runs => self.finding.text_and_more(&value, TextReader::Sh, self.inside),
            Value::Ssh => self.ssh_option(&value),
            Value::Unknown => {
                self.unknown(
                    &value,
                    "this option can start another program: leave the option out, or write the other program as a \
                     separate command",
                );
                Ok(())
            }
        }
    }

    /// Reads a program that runs its arguments, but whose options the parser does not know.
    pub(super) fn not_read(&mut self) -> Done {
        self.unknown(
            self.name,
            "this program starts another program, but its options can't be parsed: start the other program directly, \
             or with `env`, `timeout` or `nice`",
        );
        let options = self.before_command(&OptionGrammar::NONE, self.arguments, 0);
        self.command(options.rest, 0)
    }

    /// `ld.so`
    pub(super) fn loader(&mut self) -> Done {
        let options = self.before_command(&LOADER, self.arguments, 0);
        for value in options.values(&["preload", "audit", "library-path"]) {
            self.finding.unknown(
                value,
                "the loader loads code from this path: run the program without the loader",
                self.inside,
            );
        }
        self.command(options.rest, 0)
    }

    /// `coreutils --coreutils-prog=rm`
    pub(super) fn coreutils(&mut self) -> Done {
        let Some((first, rest)) = self.arguments.split_first() else { return Ok(()) };
        let program = first
            .exactly()
            .and_then(|text| text.strip_prefix("--coreutils-prog"))
            .and_then(|text| text.split_once('='));
        let Some((_, program)) = program else {
            self.unknown(
                first,
                "the program name after `coreutils` is not literal text: call that program by its name",
            );
            return Ok(());
        };
        let mut words = vec![Word { raw: Some(first.source().into()), ..Word::literal(program, first.at) }];
        words.extend(rest.iter().cloned());
        self.finding.resolve(&words, self.inside)
    }

    pub(super) fn start_stop_daemon(&mut self) -> Done {
        let Some(options) = self.options(&START_STOP_DAEMON) else { return Ok(()) };
        for value in options.values(&["x", "exec", "a", "startas"]) {
            let mut words = vec![value.clone()];
            words.extend(options.operands.iter().map(|word| (*word).clone()));
            words.extend(options.rest.iter().cloned());
            self.finding.resolve(&words, self.inside)?;
        }
        Ok(())
    }
}
