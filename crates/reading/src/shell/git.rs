//! Everyday commands of git, and the arguments with which git starts a program that the script chooses.
//!
//! The programs of the repository's own settings and hooks do not count.

use std::iter;

use crate::{
    HOLE, OptionGrammar, Word,
    shell::{
        options::{
            OptionValue::{Nothing, Optional, Value},
            read,
        },
        programs::{is_option, with_values},
    },
};

/// Returns the words of a git command with which git may start programs that the script chooses. Everyday commands have
/// no such words. `name` is the word `git`.
pub fn starts<'w>(name: &'w Word, arguments: &'w [Word]) -> Vec<Vec<&'w Word>> {
    let all = || vec![iter::once(name).chain(arguments).collect()];
    let Ok(options) = read(&GLOBAL, arguments) else {
        return all();
    };
    let harmless = |setting: &Word| {
        setting
            .known()
            .split_once('=')
            .is_some_and(|(key, _)| is_harmless_key(key))
            && !is_ext(&setting.text)
    };
    if !options.values(&["c"]).all(harmless) || options.values(&["exec-path"]).next().is_some() {
        return all();
    }
    let Some((command, arguments)) = options.rest.split_first() else {
        return Vec::new();
    };
    let is_in = |names: &str| is_one_of(command, names);
    let runs = |word: &Word| matches!(word.exactly(), Some("foreach" | "run"));
    let operand = arguments.iter().find(|word| !word.known().starts_with('-'));
    if !is_in(COMMANDS)
        || is_in("config") && !is_harmless_config(arguments)
        || is_in("bisect submodule")
            && (operand.is_some_and(|word| !word.exact) || arguments.iter().any(runs))
    {
        return all();
    }
    let starts = |word: &Word| {
        let text = word.text.as_str();
        let cluster = text.starts_with('-') && !text.starts_with("--");
        let option = OPTIONS
            .iter()
            .filter(|(commands, ..)| commands.is_empty() || is_in(commands))
            .any(|(_, short, long)| {
                is_option(text, short, long) || !short.is_empty() && cluster && text.contains(HOLE)
            });
        option || is_ext(text) || is_in(TAKE_ADDRESSES) && names_a_helper(text)
    };
    with_values(arguments, starts)
}

/// Returns true if the word is one of the names, which blanks separate.
fn is_one_of(word: &Word, names: &str) -> bool {
    names
        .split_ascii_whitespace()
        .any(|name| word.exactly() == Some(name))
}

/// Returns true if `git config` with these arguments reads settings, or sets a harmless setting.
fn is_harmless_config(arguments: &[Word]) -> bool {
    let is_option = |word: &&Word| word.known().starts_with('-');
    if !arguments
        .iter()
        .filter(is_option)
        .all(|word| is_one_of(word, CONFIG_READS) || is_one_of(word, CONFIG_OPTIONS))
    {
        return false;
    }
    let mut operands = arguments.iter().filter(|word| !is_option(word)).peekable();
    operands.next_if(|word| is_one_of(word, "get list set unset"));
    match (operands.next(), operands.next()) {
        (Some(key), Some(_)) => is_harmless_key(key.known()),
        _ => true,
    }
}

/// Returns true for a setting that names no program, no file and no address.
fn is_harmless_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let mut known = SETTINGS.split_ascii_whitespace();
    known.any(|known| {
        if known.ends_with(['.', '/']) {
            key.starts_with(known)
        } else {
            key == known
        }
    })
}

/// Returns true if an address names a remote helper program (`helper::address`, gitremote-helpers(7)).
fn names_a_helper(address: &str) -> bool {
    let helper = address.split_once("::").map_or("", |(helper, _)| helper);
    !helper.is_empty()
        && helper
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-_".contains(&byte))
}

/// Returns true if `text` contains an `ext::` address, whose command git runs.
fn is_ext(text: &str) -> bool {
    text.match_indices("ext::")
        .any(|(at, _)| !text[..at].ends_with(|letter: char| letter.is_ascii_alphanumeric()))
}

/// Options between `git` and its command.
const GLOBAL: OptionGrammar = OptionGrammar {
    flags: "pPvh",
    values: "Cc",
    long: &[
        ("bare", Nothing),
        ("exec-path", Optional),
        ("git-dir", Value),
        ("literal-pathspecs", Nothing),
        ("no-advice", Nothing),
        ("no-optional-locks", Nothing),
        ("no-pager", Nothing),
        ("no-replace-objects", Nothing),
        ("paginate", Nothing),
        ("work-tree", Value),
    ],
    ..OptionGrammar::NONE
};

/// Everyday commands. The lists of this file separate names by blanks.
const COMMANDS: &str = "add am annotate apply archive bisect blame branch bundle cat-file check-attr check-ignore check-ref-format checkout \
     checkout-index cherry cherry-pick clean clone commit commit-tree config count-objects describe diff diff-files \
     diff-index diff-tree fast-export fetch for-each-ref format-patch fsck gc grep hash-object help index-pack init \
     interpret-trailers log ls-files ls-remote ls-tree mailinfo mailsplit merge merge-base merge-file merge-tree mktree mv name-rev notes \
     pack-refs patch-id prune pull push range-diff read-tree rebase reflog remote repack replace rerere reset restore rev-list \
     rev-parse revert rm shortlog show show-branch show-ref sparse-checkout stash status stripspace submodule subtree switch \
     symbolic-ref tag unpack-file unpack-objects update-index update-ref update-server-info var verify-commit verify-pack verify-tag \
     version whatchanged worktree write-tree";

/// Options with which git starts a program: the commands (none for all commands), letters, long options.
const OPTIONS: [(&str, &str, &str); 8] = [
    (
        "",
        "",
        "exec extcmd open-files-in-pager receive-pack upload-pack",
    ),
    ("clone", "cu", "config template"),
    ("init", "", "template"),
    ("ls-remote", "u", ""),
    ("grep", "O", ""),
    ("merge pull", "s", "strategy"),
    ("cherry-pick revert", "", "strategy"),
    ("rebase", "sx", "strategy"),
];

/// Commands that take the address of a repository.
const TAKE_ADDRESSES: &str = "archive clone fetch ls-remote pull push remote submodule subtree";

const CONFIG_READS: &str = "--get --get-all --get-regexp --list -l";
const CONFIG_OPTIONS: &str = "--add --bool --global --int --local --name-only --replace-all --show-origin --system --type=bool \
                              --type=int --unset --unset-all --worktree -z";

/// Settings that name no program. An entry that ends with `.` or `/` matches all names that begin with the entry.
const SETTINGS: &str = "advice. color.branch color.diff color.status color.ui commit.gpgsign core.abbrev core.autocrlf core.bare core.compression core.eol core.filemode \
     core.ignorecase core.longpaths core.quotepath core.safecrlf core.sparsecheckout core.symlinks fetch.prune gc.auto \
     http.lowspeedlimit http.lowspeedtime http.postbuffer http.sslverify http.version init.defaultbranch log.date \
     merge.conflictstyle pull.ff pull.rebase push.autosetupremote push.default push.followtags rebase.autosquash \
     rebase.autostash rerere.enabled safe.directory tag.gpgsign url.https:// user.";
