//! What git runs by its options and settings.

use crate::shell::finding::Reader;
use crate::shell::grammars::GIT;
use crate::shell::syntax::{HOLE, Word};
use crate::shell::wrappers::{Call, Done};

impl<'a> Call<'_, '_, 'a> {
    pub(super) fn git(&mut self) -> Done {
        let Some(options) = self.options(&GIT) else { return Ok(()) };
        for value in options.values(&["c"]) {
            let value = value.clone();
            self.git_setting(&value)?;
        }
        for value in options.values(&["config-env", "exec-path"]) {
            self.finding.unknown(value, "git takes what it runs from elsewhere", self.inside);
        }
        let Some((command, arguments)) = options.rest.split_first() else { return Ok(()) };
        let Some(command) = command.exactly() else {
            self.unknown(command, "which command of git runs is not written out");
            return Ok(());
        };
        let literal: Vec<&str> = arguments.iter().map(|word| word.exactly().unwrap_or_default()).collect();
        for (at, word) in arguments.iter().enumerate() {
            let text = word.text.as_str();
            let next = arguments.get(at + 1);
            for option in [
                "--upload-pack",
                "--receive-pack",
                "--exec",
                "--extcmd",
                "--open-files-in-pager",
                "--to-cmd",
                "--cc-cmd",
                "--smtp-server",
            ] {
                if let Some(value) = text.strip_prefix(option) {
                    match value.strip_prefix('=') {
                        Some(value) => self.git_text(word, value)?,
                        None if value.is_empty() => {
                            if let Some(next) = next {
                                self.finding.text(&[next], Reader::Sh, self.inside)?;
                            }
                        }
                        None => {}
                    }
                }
            }
            // Git takes abbreviations.
            let begun = text.split_once('=').map_or(text, |(name, _)| name);
            if begun.len() > 3
                && ["--upload-pack", "--receive-pack", "--extcmd"].iter().any(|o| o.starts_with(begun) && *o != begun)
            {
                self.unknown(word, "an option of git that may name a program");
            }
            let short = match command {
                "clone" | "ls-remote" | "fetch-pack" => "-u",
                "rebase" => "-x",
                "difftool" => "-x",
                "grep" => "-O",
                _ => "",
            };
            if !short.is_empty() && text.starts_with(short) && !text.starts_with("--") {
                match &text[2..] {
                    "" => {
                        if let Some(next) = next.filter(|_| short != "-O") {
                            self.finding.text(&[next], Reader::Sh, self.inside)?;
                        }
                    }
                    value => self.git_text(word, value)?,
                }
            }
            if command == "clone" && (text == "-c" || text == "--config") {
                if let Some(next) = next {
                    self.git_setting(next)?;
                }
            } else if command == "clone" && text.starts_with("--config=") {
                let value = Word { text: text["--config=".len()..].to_owned(), ..word.clone() };
                self.git_setting(&value)?;
            }
            if text.starts_with("ext::") || text.contains("://ext::") {
                self.unknown(word, "git runs what an `ext::` address says");
            }
        }
        match (command, literal.first().copied()) {
            ("bisect", Some("run")) => self.finding.resolve(&arguments[1..], self.inside)?,
            ("submodule", _) if literal.contains(&"foreach") => {
                let at = literal.iter().position(|word| *word == "foreach").unwrap_or_default();
                let mut words: Vec<&Word> = arguments[at + 1..].iter().collect();
                while words.first().and_then(|word| word.exactly()).is_some_and(|word| word.starts_with("--")) {
                    words.remove(0);
                }
                self.finding.text(&words, Reader::Sh, self.inside)?;
            }
            ("filter-branch", _) => self.unknown(self.name, "`git filter-branch` runs filters"),
            ("config", _) => {
                for pair in arguments.windows(2) {
                    if pair[0].exactly().is_some_and(runs_its_value) {
                        let value = Word { text: format!("{}={}", pair[0].text, pair[1].text), ..pair[1].clone() };
                        self.git_setting(&value)?;
                    } else if pair[0].exactly().is_none() {
                        self.unknown(&pair[0], "which setting of git is changed is not written out");
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A program or a text that git runs.
    pub(super) fn git_text(&mut self, word: &Word, text: &str) -> Done {
        let value = Word {
            text: text.to_owned(),
            exact: word.exact,
            one: true,
            raw: Some(word.source().into()),
            at: word.at,
            ..Word::default()
        };
        self.finding.text(&[&value], Reader::Sh, self.inside)
    }

    /// `name=value` of git's configuration.
    pub(super) fn git_setting(&mut self, word: &Word) -> Done {
        let Some((key, value)) = word.text.split_once('=').filter(|(key, _)| !key.contains(HOLE)) else {
            if !word.exact {
                self.unknown(word, "which setting of git is changed is not written out");
            }
            return Ok(());
        };
        if !runs_its_value(key) {
            return Ok(());
        }
        if key.to_ascii_lowercase().starts_with("alias.") {
            return match value.strip_prefix('!') {
                Some(text) => self.git_text(word, text),
                None if value.contains("-c") || value.contains("--") || value.contains(HOLE) => {
                    self.unknown(word, "an alias of git with options");
                    Ok(())
                }
                None => Ok(()),
            };
        }
        match value.strip_prefix('!').unwrap_or(value) {
            "" | "true" | "false" | "auto" | "always" | "never" => Ok(()),
            text => self.git_text(word, text),
        }
    }
}

/// Settings of git whose value is a program, a text that runs, or a place to take them from.
pub(super) fn runs_its_value(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let last = key.rsplit_once('.').map_or(key.as_str(), |(_, last)| last);
    key.starts_with("alias.")
        || key.starts_with("pager.")
        || key.starts_with("includeif.")
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
        )
}
