//! Programs and builtins whose arguments or input are code, so that a value may not become part of them. The list of
//! these programs is in `shell::programs`.
//!
//! These rules decide where a placeholder is allowed. They belong to the checks of this version, and no verifier
//! applies them.

use crate::{
    CommandList, HOLE, ShellNode, SimpleCommand, Word, is_used_for,
    shell::programs::{
        EVALUATES_BEHIND, MAKE_PROGRAMS, MAKE_RULES, PROGRAM_OPTIONS, RUNS_PROGRAM,
        uses::{
            DATABASE, EVALUATES, HAS_SSH, INTERPRETER, READS_PROGRAM, RUNS_ARGUMENTS, RUNS_TEXT,
            SHELL,
        },
    },
};

/// What a slot may contain, beyond its quoting.
#[derive(Debug, Clone, Default)]
pub struct SlotRule {
    /// True if the value begins an argument, so that it may not begin with `-` unless the schema allows it.
    pub argument: bool,
    /// True if the value may never begin with `-`.
    pub never_dash: bool,
    /// True if the value must be a whole number.
    pub number: bool,
    /// True if the value may not begin with `(`, because the shell might read it as elements of an array.
    pub no_array: bool,
    /// True if `make` reads the value, which can run a part of it.
    pub make: bool,
    /// True if the shell evaluates the variable with this value as arithmetic.
    pub evaluated: bool,
    /// True if the shell splits the output of the surrounding command into words.
    pub split: bool,
}

impl SlotRule {
    /// Adds the rule of an argument.
    pub fn add(&mut self, other: &Self) {
        self.never_dash |= other.never_dash;
        self.number |= other.number;
        self.no_array |= other.no_array;
        self.make |= other.make;
    }
}

/// Returns true for the name of a `make` program.
pub fn is_make(name: &str) -> bool {
    matches!(name, "make" | "gmake" | "bmake")
}

/// Returns true for `NAME=value` if `make` runs the value, or a recipe usually does: `CC=value`, also with another sign
/// of an assignment (`CC:=value`), and `X!=value`.
pub fn is_program_of_make(text: &str) -> bool {
    let Some((name, _)) = text.split_once('=') else {
        return false;
    };
    let plain = name.trim_end_matches([':', '+', '?', '!']).trim();
    name.ends_with('!')
        || MAKE_PROGRAMS
            .split_ascii_whitespace()
            .any(|known| known == plain)
        || MAKE_RULES.iter().any(|begin| plain.starts_with(begin))
}

/// Returns the rule for a value in the word `at` of a command, or the reason why no value is allowed there.
pub fn argument_rule(words: &[Word], at: usize) -> Result<SlotRule, &'static str> {
    if !words[0].exact {
        return Err(UNKNOWN_NAME);
    }
    let mut rule = SlotRule::default();
    if matches!(base(&words[0]), "command" | "builtin") && at > 1 && !words[1].text.starts_with('-')
    {
        return argument_rule(&words[1..], at - 1);
    }
    let replaces = |word: &Word| {
        ["-I", "-i", "--replace"]
            .iter()
            .any(|option| word.text.starts_with(option))
    };
    if words[..at].iter().any(|word| base(word) == "xargs") && words[..at].iter().any(replaces) {
        return Err(EVALUATED);
    }
    match base(&words[0]) {
        "test" | "[" => return test_rule(words, at),
        "printf"
            if at == 1
                || !words[1].exact
                || words[1].text.starts_with('-')
                || words[1].text.contains("%n") =>
        {
            return Err(FORMAT);
        }
        "export" | "readonly" | "local" | "declare" | "typeset" => return declare_rule(words, at),
        "set" | "shopt" if words[1].text != "--" || at == 1 => return Err(SETTINGS),
        name if TAKES_DATA.contains(&name) => return Ok(rule),
        _ => {}
    }
    let option = |name: &str| {
        at > 1 && words[at - 1].text == name
            || words[at]
                .text
                .strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('='))
    };
    // A command for another host: `gcloud compute ssh HOST -- COMMAND`, `aws ssm send-command --parameters COMMAND`.
    let has = |name: &str| words[1..at].iter().any(|word| word.text == name);
    let evaluates = |(name, subcommands): &(&str, &[&str])| {
        base(&words[0]) == *name && subcommands.iter().any(|subcommand| has(subcommand))
    };
    let remote = is_used_for(base(&words[0]), HAS_SSH) && has("ssh")
        || has("send-command")
        || EVALUATES_BEHIND.iter().any(evaluates);
    let nc = matches!(base(&words[0]), "nc" | "netcat") && (option("-e") || option("-c"));
    if remote
        || nc
        || ["--command", "--exec", "-exec", "--scripts"]
            .into_iter()
            .any(option)
    {
        return Err(EVALUATED);
    }
    let runner = is_used_for(base(&words[0]), RUNS_ARGUMENTS);
    if option("--entrypoint")
        || option("--post-renderer")
        || runner && words[at - 1].text == "--"
        || is_program(words, at)
    {
        return Err(DECIDES);
    }
    let setting = base(&words[0]) == "git" && words[at - 1].text == "-c";
    if names_package(words, at) || setting && !has_plain_key(&words[at]) {
        return Err(DECIDES);
    }
    for index in 0..at {
        let name = base(&words[index]);
        if !words[index].exact {
            continue;
        }
        let next = words.get(index + 1).filter(|_| index + 1 < at);
        let script = next.filter(|script| {
            script.exact && !script.text.starts_with(['-', '+']) && !script.text.is_empty()
        });
        if index > 0 && !runner {
            // An unknown program may run its arguments, for example `sh -c`.
            if is_interpreter(name) && next.is_some_and(|next| next.text.starts_with('-')) {
                return Err(EVALUATED);
            }
            continue;
        }
        if is_used_for(name, EVALUATES | RUNS_TEXT) {
            return Err(EVALUATED);
        }
        let joined = |option: &str| option.len() == 2 && words[at].text.starts_with(option);
        let names_program = |(names, options): &(&[&str], &[&str])| {
            names.iter().any(|known| is_named(name, known))
                && options.iter().any(|known| option(known) || joined(known))
        };
        if PROGRAM_OPTIONS.iter().any(names_program) {
            return Err(DECIDES);
        }
        if is_interpreter(name) && script.is_none() && !is_module(name, &words[index + 1..at]) {
            return Err(EVALUATED);
        }
        if name == "jq" && at >= 2 && matches!(words[at - 2].text.as_str(), "--arg" | "--argjson") {
            continue;
        }
        if matches!(name, "sed" | "gsed" | "jq" | "yq") {
            let mode = |word: &&Word| {
                name == "yq" && matches!(word.text.as_str(), "e" | "ea" | "eval" | "eval-all")
            };
            let mut rest = words[index + 1..at]
                .iter()
                .skip_while(|word| word.exact && is_plain_flag(name, &word.text))
                .skip_while(mode)
                .skip_while(|word| word.exact && is_plain_flag(name, &word.text));
            if !rest
                .next()
                .is_some_and(|program| program.exact && !program.text.starts_with('-'))
            {
                return Err(EVALUATED);
            }
            rule.never_dash = true;
        }
        if is_make(name) {
            let file = |word: &Word| {
                word.text.starts_with("-f")
                    || word.text.starts_with("--file")
                    || word.text.starts_with("--makefile")
            };
            if file(&words[at]) || file(&words[at - 1]) {
                return Err(EVALUATED);
            }
            if is_program_of_make(&words[at].text) {
                return Err(DECIDES);
            }
            rule.make = true;
        }
        if is_used_for(name, DATABASE)
            && words[index + 1..=at]
                .iter()
                .any(|word| is_program_option(&word.text))
        {
            return Err(EVALUATED);
        }
    }
    Ok(rule)
}

/// Returns true if the word `at` is the program that a command of [`RUNS_PROGRAM`] runs, for example `docker exec web
/// PROGRAM`.
fn is_program(words: &[Word], at: usize) -> bool {
    let runs = |(names, subcommand, operands, letters): &(&[&str], &str, usize, &str)| {
        let named = |word: &Word| subcommand.split('|').any(|name| word.text == name);
        let start = if subcommand.is_empty() {
            Some(1)
        } else {
            words[..at].iter().position(named).map(|sub| sub + 1)
        };
        let (Some(mut next), true) = (start, names.contains(&base(&words[0]))) else {
            return false;
        };
        if next < at && words[at - 1].text == "--" {
            return true;
        }
        let mut left = *operands;
        while next < at {
            let text = words[next].text.as_str();
            if !text.starts_with('-') {
                if left == 0 {
                    return false;
                }
                left -= 1;
            } else if !is_flag(text, letters) {
                next += 1;
            }
            next += 1;
        }
        next == at && left == 0 && !words[at].text.starts_with('-')
    };
    RUNS_PROGRAM.iter().any(runs)
}

/// Returns true if a program has this name, perhaps with a version or for another machine: `gcc-12`,
/// `x86_64-linux-gnu-gcc`.
fn is_named(name: &str, known: &str) -> bool {
    let plain = name.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-'));
    plain == known
        || plain
            .strip_suffix(known)
            .is_some_and(|before| before.ends_with('-'))
}

/// Returns true for an option whose value is not the next word. `letters` are the short options without a value, or `*`
/// if no option has its value in the next word.
fn is_flag(text: &str, letters: &str) -> bool {
    let short = text
        .strip_prefix('-')
        .is_some_and(|rest| rest.chars().all(|c| letters.contains(c)));
    short
        || letters == "*"
        || text == "--"
        || text.contains('=')
        || LONG_FLAGS.split(' ').any(|flag| flag == text)
}

/// Returns true if the word `at` names the package that a command downloads and runs, for example `npx PACKAGE`.
fn names_package(words: &[Word], at: usize) -> bool {
    let first = base(&words[0]);
    let second = words.get(1).map_or("", |word| word.text.as_str());
    let start = match first {
        "npx" | "bunx" | "uvx" => 1,
        "npm" | "pnpm" | "yarn" | "pipx" | "go" | "bun"
            if matches!(second, "exec" | "x" | "dlx" | "run") =>
        {
            2
        }
        _ => return false,
    };
    // The scripts of `npm run` are those of the project's own `package.json`.
    let own = second == "run" && !matches!(first, "pipx" | "go");
    !own && at >= start
        && words[start..at]
            .iter()
            .all(|word| word.text.starts_with('-'))
}

/// Returns true for `NAME=value` if no parameter decides the name.
fn has_plain_key(word: &Word) -> bool {
    word.text
        .split_once('=')
        .is_some_and(|(key, _)| key.bytes().all(|byte| byte.is_ascii_graphic()))
}

/// Returns true for `python -m module`, after which all words are arguments of the module.
fn is_module(name: &str, words: &[Word]) -> bool {
    name.starts_with("python")
        && matches!(words, [option, module, ..] if option.text == "-m" && module.exact)
}

/// Returns true for an option of `sed` or `jq` without a value.
fn is_plain_flag(name: &str, text: &str) -> bool {
    let letters = if name.ends_with("sed") {
        "nErszu"
    } else {
        "rnecsMCSaj"
    };
    let edits = name.ends_with("sed") && (text.starts_with("-i") || text == "--in-place");
    edits
        || text
            .strip_prefix('-')
            .is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| letters.contains(c)))
}

/// Returns true if the text is an option of a database client whose value is a program.
fn is_program_option(text: &str) -> bool {
    [
        "-c",
        "-e",
        "-f",
        "--command",
        "--execute",
        "--eval",
        "--file",
        "--init-command",
    ]
    .iter()
    .any(|option| text.starts_with(option))
}

/// `[ -n "value" ]` and `[ "value" = text ]`. With more words, a value could become an operator.
fn test_rule(words: &[Word], at: usize) -> Result<SlotRule, &'static str> {
    let end = words.len() - usize::from(base(&words[0]) == "[");
    let arguments = &words[1..end.max(1)];
    let negated =
        usize::from(arguments.len() > 2 && arguments[0].exact && arguments[0].text == "!");
    let arguments = &arguments[negated..];
    match arguments {
        [one, _]
            if at == negated + 2 && one.exactly().is_some_and(|one| ONE_OPERAND.contains(&one)) =>
        {
            Ok(SlotRule::default())
        }
        [_, middle, _] if at != negated + 2 => match middle.exactly().unwrap_or_default() {
            "=" | "==" | "!=" | "<" | ">" | "-nt" | "-ot" | "-ef" => Ok(SlotRule::default()),
            "-eq" | "-ne" | "-lt" | "-le" | "-gt" | "-ge" => Ok(SlotRule {
                number: true,
                ..SlotRule::default()
            }),
            _ => Err(TEST),
        },
        _ => Err(TEST),
    }
}

/// `export NAME=value`, and similar builtins.
fn declare_rule(words: &[Word], at: usize) -> Result<SlotRule, &'static str> {
    let options = words[1..at]
        .iter()
        .filter(|word| word.text.starts_with(['-', '+']));
    for option in options {
        if !option.exact
            || !matches!(
                option.text.as_str(),
                "-x" | "-r" | "-g" | "-rx" | "-xr" | "-gx" | "-gr" | "--"
            )
        {
            return Err(DECLARED);
        }
    }
    let name = words[at].text.split('=').next().unwrap_or_default();
    let plain = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !plain || !words[at].text.contains('=') {
        return Err(VARIABLE_NAME);
    }
    Ok(SlotRule {
        no_array: true,
        ..SlotRule::default()
    })
}

/// Returns true if a command evaluates one of its words that is known only at run time, for example `eval "$1"`.
pub fn evaluates_words(simple: &SimpleCommand, functions: &[String]) -> bool {
    let words = &simple.words;
    if words.len() > MAX_WORDS {
        return words.iter().any(|word| !word.exact);
    }
    let unknown = (1..words.len()).filter(|at| !words[*at].exact);
    let Some(name) = words.first() else {
        return false;
    };
    // In `"$@"` and `$1 x`, an argument of the function is the name of the command.
    let runs_all = |word: &Word| !word.exact && !word.one;
    let runner = is_used_for(base(name), RUNS_ARGUMENTS);
    // In `timeout 9 "$@"`, an argument of the function is the program.
    // The word after an option may be the value of the option.
    let may_be_program = |at: &usize| {
        words[*at].exact
            && words[*at]
                .text
                .starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
            && !words[*at - 1].text.starts_with('-')
    };
    let first_program = (1..words.len()).find(may_be_program);
    let decides = |at: usize| runner && first_program.is_none_or(|program| at < program);
    let evaluated = |at: usize| matches!(argument_rule(words, at), Err(why) if why == EVALUATED || why == DECIDES);
    !name.exact
        || runner && words.iter().any(runs_all)
        || unknown
            .into_iter()
            .any(|at| functions.contains(&name.text) || decides(at) || evaluated(at))
}

/// Returns why no value is allowed anywhere in a script with this command.
pub fn hazard(simple: &SimpleCommand) -> Option<&'static str> {
    let first = simple
        .words
        .iter()
        .find(|word| !matches!(base(word), "command" | "builtin"))?;
    let history = |word: &Word| {
        word.text.contains("hist") || word.text.starts_with(['-', '+']) && word.text.contains('H')
    };
    match base(first) {
        "alias" => Some(ALIAS),
        "hash"
            if simple
                .words
                .iter()
                .any(|word| word.text.starts_with('-') && word.text.contains('p')) =>
        {
            Some(ALIAS)
        }
        "set" if simple.words.iter().any(history) => Some(HISTORY),
        _ => None,
    }
}

/// Returns why no value is allowed anywhere in a script with this text.
pub fn text_hazard(script: &str) -> Option<&'static str> {
    let mut names = script.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let evaluated =
        names.any(|name| matches!(name, "PS4" | "BASH_ENV" | "command_not_found_handle"));
    (evaluated || script.contains("@P}")).then_some(TEXT_HAZARD)
}

/// Returns true if a command of the lists, or of a list in them, reads a program from its standard input.
pub fn any_reads_code<'l>(
    lists: impl IntoIterator<Item = &'l CommandList>,
    functions: &[String],
) -> bool {
    lists
        .into_iter()
        .flatten()
        .flat_map(|pipeline| &pipeline.nodes)
        .any(|node| reads_code(node, functions))
}

/// Returns true if a command reads a program from its standard input.
pub fn reads_code(node: &ShellNode, functions: &[String]) -> bool {
    match node {
        ShellNode::Simple(simple) => simple_reads_code(simple, functions),
        ShellNode::Compound(compound) => any_reads_code(&compound.lists, functions),
        ShellNode::Function { .. } => false,
    }
}

pub fn simple_reads_code(simple: &SimpleCommand, functions: &[String]) -> bool {
    let words = &simple.words;
    let Some(first) = words.first() else {
        return false;
    };
    if !first.exact || functions.contains(&first.text) {
        return true;
    }
    let most = if is_used_for(base(first), RUNS_ARGUMENTS) {
        words.len()
    } else {
        1
    };
    words.iter().enumerate().take(most).any(|(index, word)| {
        let name = base(word);
        let next = words
            .get(index + 1)
            .filter(|next| next.exact)
            .map_or("", |next| next.text.as_str());
        if !word.exact {
            return false;
        }
        if matches!(name, "." | "source" | "eval") || is_used_for(name, READS_PROGRAM | RUNS_TEXT) {
            return true;
        }
        if matches!(name, "make" | "sed" | "gsed" | "jq" | "yq") {
            return words.iter().any(|word| {
                word.text == "-"
                    || word.text.ends_with("=-")
                    || word.text == "-f-"
                    || word.text.contains("/dev/")
            });
        }
        if is_used_for(name, HAS_SSH) && words.iter().any(|word| word.text == "ssh") {
            return true;
        }
        is_interpreter(name)
            && (next.is_empty() || next.starts_with(['-', '+', '/']) && !has_program(name, next))
    })
}

/// Returns true if the argument after the name of an interpreter names the program to run, or contains it.
fn has_program(name: &str, next: &str) -> bool {
    if next.starts_with('/') {
        return !next.starts_with("/dev/") && !next.starts_with("/proc/");
    }
    matches!(next, "-c" | "-m" | "-e" | "-ne" | "-pe" | "-p" | "-ec" | "-euc" | "--version" | "-V")
        && !(next == "-p" && name != "node")
        // For a shell, `-e` is a setting and not a program.
        && (!is_used_for(name, SHELL) || next.ends_with('c'))
}

fn is_interpreter(name: &str) -> bool {
    let plain = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    is_used_for(plain, SHELL | INTERPRETER)
}

/// Returns the name of a program without its directory.
fn base(word: &Word) -> &str {
    let text = word.text.trim_matches(HOLE);
    text.rsplit('/').next().unwrap_or_default()
}

/// Maximum number of words of a command in a function. The check of a command needs quadratic time.
const MAX_WORDS: usize = 256;
const LONG_FLAGS: &str = "--build --csv --detach --init --interactive --json --leave-stdin-open --no-TTY --no-auth-warning \
                          --no-deps --no-healthcheck --no-raw --oom-kill-disable --privileged --publish-all --quiet \
                          --quiet-pull --raw --read-only --remove-orphans --rm --service-ports --sig-proxy --stdin --tls \
                          --tty --use-aliases";
/// Commands whose arguments are only data, also if an argument is the name of an interpreter.
const TAKES_DATA: &[&str] = &[
    "echo", "printf", "true", "false", ":", "exit", "return", "cd", "pwd", "mkdir", "rmdir", "rm",
    "cp", "mv", "ls", "cat", "touch", "ln", "basename", "dirname", "grep", "seq", "head", "tail",
    "wc", "cut", "tr", "sleep",
];
/// Operators of `test` with one operand that never evaluate the operand.
const ONE_OPERAND: &[&str] = &[
    "-n", "-z", "-f", "-d", "-e", "-s", "-r", "-w", "-x", "-L", "-h", "-b", "-c", "-p", "-S", "-g",
    "-u", "-k", "-O", "-G",
];

const UNKNOWN_NAME: &str = "the name of this command is known only at run time, so the command may evaluate the value: write the name itself";
const ALIAS: &str = "an alias can make an argument of a later command run as code: define a function instead of the alias";
const TEXT_HAZARD: &str = "bash runs the text of `${NAME@P}`, of the variables PS4 and BASH_ENV, and of the arguments of \
                           command_not_found_handle: leave them out of a script with placeholders";
const HISTORY: &str = "history expansion changes the text of later commands: leave `set -H` out";
const FORMAT: &str =
    "`printf` interprets this argument: write `printf '%s' ...`, with the value after the format";
const SETTINGS: &str = "the value could become a setting of the shell: write `set -- ...`";
const EVALUATED: &str = "the command may evaluate this argument as code: write `\"$PARAM_NAME\"` as an argument of its own, \
                         behind `--` if the command has options (`ssh -- \"$PARAM_NAME\" uptime`), or read this variable \
                         inside the code";
pub const DECIDES: &str =
    "the value would decide which program runs: write the name of the program itself";
const TEST: &str = "a value in this test could become an operator: write one comparison, for example `[ \"a\" = \"b\" ]`, and \
                    join comparisons with `&&`";
const DECLARED: &str = "these options change how the shell reads the value: write `NAME=...` on a line, and the declaration before it";
pub const VARIABLE_NAME: &str =
    "the name of a variable can't come from a parameter: write the name itself";
