//! Runs the command line of a program: the client, or the whole program, which has more commands.
//!
//! The client is the program for proposers, approvers, auditors and CI.
//!
//! The module also prints the long form of `countersign --version`: the exact source, features and dependencies of this
//! program.

use std::{ffi::OsString, process::ExitCode};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand, parser::ValueSource};
use serde_json::json;

use crate::{
    CommandResult, Exit, GlobalOptions, OpenStoredLog, Terminal, approve,
    commands::{
        audit, boundary, cancel,
        completions::{self, with_values},
        freeze, gate,
        global::{GivenOptions, REPLACED_BY_LIST, lacks},
        grant, inbox, log, man, mcp, output, proposals, propose, review, session, submit, verify,
        wait,
    },
    deny, eprintln_quietly, key, registry, review_run, revoke, roster, show_own_letters, unsettled,
};
use documents::{hex, sha256};

/// The commands of a program, with what differs between the client and the whole program.
pub trait CommandSet: Subcommand {
    /// Name of the program.
    const NAME: &'static str = "countersign";
    /// Version in `--version`.
    const VERSION: &'static str;
    /// Parts of the program, as `--version --long` lists them.
    const FEATURES: &'static [&'static str];
    /// Function that opens a store, or `None` for a program without a database.
    const OPEN_STORE: Option<OpenStoredLog>;

    /// Runs the command.
    ///
    /// # Errors
    /// Returns the error of the command.
    fn run(&self, global: &GlobalOptions, terminal: &Terminal) -> CommandResult;
}

/// Parses the arguments and runs the command. `commit` is the commit of the source, if the build names it.
pub fn main<P: CommandSet>(commit: Option<&str>) -> ExitCode {
    completions::answer(command::<P>);
    let cli = match Cli::<P>::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            let words: Vec<OsString> = std::env::args_os().skip(1).collect();
            return not_read::<P>(&error, &words, commit);
        }
    };
    let terminal = Terminal::new(cli.global.json);
    if let Err(failure) = show_own_letters(false) {
        eprintln_quietly(&format!(
            "note: {failure}. Until then, letters beyond ASCII are escapes"
        ));
    }
    let Cli { global, command } = cli;
    let result = global
        .choose()
        .and_then(|global| command.run(&global, &terminal));
    ended(result, &terminal)
}

/// Prints the help, the version, or why the arguments name no command to run. Returns the exit code.
fn not_read<P: CommandSet>(
    error: &clap::Error,
    words: &[OsString],
    commit: Option<&str>,
) -> ExitCode {
    if let Some(advice) = replaced(error, words).or_else(|| lacking::<P>(error, words)) {
        eprintln_quietly(&advice);
        return ExitCode::from(Exit::Usage.code());
    }
    if let Some(terminal) = asks_for_long_version(error, words) {
        return ended(print_build(commit, P::FEATURES, &terminal), &terminal);
    }
    // Help and version end with exit code 0, every other parse error with the code for wrong usage. A closed
    // pipe must not cause a panic, so an error of printing is ignored.
    let _ = error.print();
    let is_help = !error.use_stderr();
    if is_help && is_decided_by_exit_code(words) {
        eprintln_quietly(
            "nothing was checked: --help among other arguments is wrong usage of this command, because a \
             job could treat the help text as a success",
        );
    } else if is_help {
        return ExitCode::SUCCESS;
    }
    ExitCode::from(Exit::Usage.code())
}

fn ended(result: CommandResult, terminal: &Terminal) -> ExitCode {
    match result {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(failure) => {
            terminal.fail(&failure);
            ExitCode::from(failure.exit.code())
        }
    }
}

/// Returns the terminal for the long version if the arguments are `--version --long`, also with `--json`.
fn asks_for_long_version(error: &clap::Error, arguments: &[OsString]) -> Option<Terminal> {
    let has = |name: &str| arguments.iter().any(|word| word == name);
    let only = ["--version", "-V", "--long", "--json"];
    (error.kind() == clap::error::ErrorKind::DisplayVersion
        && has("--long")
        && arguments
            .iter()
            .all(|word| only.iter().any(|name| word == name)))
    .then(|| Terminal::new(has("--json")))
}

/// Returns true if a CI job uses the exit code of this command as a decision. In such a command, `--help` among other
/// arguments must not end with 0, because `gate -p "$X"` with `--help` in X would let a job continue. `--help` without
/// other arguments ends with 0.
fn is_decided_by_exit_code(arguments: &[OsString]) -> bool {
    let has = |names: &[&str]| {
        arguments
            .iter()
            .any(|word| names.iter().any(|name| word == name))
    };
    let decides = has(&["gate", "verify", "audit"]) && arguments.len() > 2;
    let decides_below = has(&["registry"]) && has(&["check", "diff"]);
    decides || (decides_below && arguments.len() > 3)
}

/// Commands that other commands replaced, each with its new command line.
const REPLACED: [(&str, &str, &str); 2] = [
    (
        "policy",
        "check",
        "`countersign registry check FILE --policy POLICY` for a runbook, or `countersign policy explain SCRIPT`",
    ),
    (
        "registry",
        "import",
        "`countersign registry check DIR --write-policy FILE`",
    ),
];

fn unknown_command(error: &clap::Error) -> Option<&str> {
    use clap::error::{ContextKind, ContextValue};
    match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(name)) => Some(name),
        _ => None,
    }
}

/// Returns the advice for a command that another command replaced.
fn replaced(error: &clap::Error, arguments: &[OsString]) -> Option<String> {
    let name = unknown_command(error)?;
    let is_replaced = |(above, below, _): &&(&str, &str, &str)| {
        *below == name && arguments.iter().any(|word| word == above)
    };
    let (above, below, now) = REPLACED.iter().find(is_replaced)?;
    Some(format!(
        "countersign: `{above} {below}` does not exist any more: use {now}"
    ))
}

/// Returns the message for a command that only the whole program has.
fn lacking<P: CommandSet>(error: &clap::Error, arguments: &[OsString]) -> Option<String> {
    let name = unknown_command(error)?;
    let missing = lacking_commands::<P>();
    let above = LACKING_BELOW
        .iter()
        .find(|(above, below)| below.contains(&name) && arguments.iter().any(|word| word == above));
    let command = match above {
        _ if missing.is_empty() => return None,
        _ if missing.contains(&name) => format!("`{name}`"),
        above => format!("`{} {name}`", above?.0),
    };
    Some(format!("countersign: {}", lacks(&command)))
}

/// Returns the commands of the whole program that this build does not have.
pub fn lacking_commands<P: CommandSet>() -> Vec<&'static str> {
    let own = Cli::<P>::command();
    let listed = ROLES.iter().flat_map(|(_, names)| names.iter().copied());
    listed
        .chain(HIDDEN)
        .filter(|name| *name != "help" && own.find_subcommand(name).is_none())
        .collect()
}

/// Countersign is a signed-approval execution boundary: agents propose, people sign, a sandbox runs, anyone verifies
/// the receipt.
#[derive(Parser)]
#[command(
    name = P::NAME,
    version = P::VERSION,
    about = "A signed-approval execution boundary: agents propose, people countersign, it runs once, anyone verifies the receipt",
    max_term_width = 110,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(
    after_help = "Exit codes: 0 done; 1 a check failed; 2 you gave something wrong (an argument, a parameter, a file, an \
id), or there is no trusted roster to check with; 123 people said no; 124 expired or timed out; 125 boundary \
unreachable or faulty; 126 refused by policy, state or boundary, or cancelled; 127 unknown step; 128+n ended by signal \
n. Commands that wait for a run exit with the code of the step if it ran. With --json the output names the case."
)]
pub struct Cli<P: CommandSet> {
    #[command(flatten)]
    global: GlobalOptions,
    #[command(subcommand)]
    command: P,
}

/// The commands of every program that are the same in each.
#[derive(Subcommand)]
pub enum SharedCommand {
    /// Propose to run one step once
    Propose(propose::Args),
    /// Wait for the end of a proposal and print its output
    Wait(wait::Args),
    /// List your proposals, with their status and result
    Proposals(proposals::Args),
    /// Print the output of a run
    Output(output::Args),
    /// Withdraw a proposal, or end its run
    Cancel(cancel::Args),
    /// Create, show, reset and end sessions
    Session(session::Args),
    /// Serve the Model Context Protocol for an agent
    Mcp(mcp::Args),
    /// List the proposals that your signature can advance
    Inbox(inbox::Args),
    /// Show what a signature would cover; never signs
    Review(review::Args),
    /// Show the review, ask, then sign exactly the bytes shown
    Approve(approve::Args),
    /// Sign a denial
    Deny(deny::Args),
    /// Draft, list and show standing grants
    Grant(grant::Args),
    /// List the runs that people must review
    Unsettled(unsettled::Args),
    /// Sign a review of an emergency, or of a run whose end nobody saw
    ReviewRun(review_run::Args),
    /// Revoke a key, a token or a grant
    Revoke(revoke::Args),
    /// Stop everything: all proposals and runs end, and nothing runs until a thaw
    Freeze(freeze::Args),
    /// Submit an envelope that was signed elsewhere
    Submit(submit::Args),
    /// Check bundles offline against a roster that you trust
    Verify(verify::Args),
    /// Let a job continue only with the receipt of the expected run
    Gate(gate::Args),
    /// Read a whole log and repeat every decision of the boundary
    Audit(audit::Args),
    /// Print the signed head of the log, or copy the log
    Log(log::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
    /// Make keys and show keys
    Key(key::Args),
    /// Keep a list of your boundaries
    Boundary(boundary::Args),
    /// Write a man page for each command
    #[command(hide = true)]
    Man(man::Args),
}

/// Commands in the order of the help, grouped by their users. The commands `schema` and `man` are only for developers
/// and packages of this program.
pub const ROLES: [(&str, &[&str]); 6] = [
    (
        "Propose",
        &[
            "propose",
            "wait",
            "proposals",
            "output",
            "cancel",
            "submit",
            "session",
            "mcp",
        ],
    ),
    (
        "Approve",
        &[
            "inbox",
            "review",
            "approve",
            "deny",
            "grant",
            "unsettled",
            "review-run",
            "revoke",
            "freeze",
            "console",
            "boundary",
        ],
    ),
    ("Verify", &["verify", "gate", "audit", "log"]),
    (
        "Operate",
        &[
            "init", "serve", "doctor", "key", "token", "roster", "seal", "thaw", "notify", "store",
            "node",
        ],
    ),
    (
        "Write",
        &["registry", "policy", "sandbox", "run", "open", "test"],
    ),
    ("Learn", &["demo", "try", "completions", "help"]),
];

/// Commands that have subcommands of which the client lacks some, each with those subcommands.
pub const LACKING_BELOW: [(&str, &[&str]); 2] = [
    ("registry", &["lock", "check", "diff"]),
    ("roster", &["add", "remove", "set"]),
];

/// The command that `countersign-console`, the client with pages, has too.
const PAGES: &str = "console";

/// Commands that no help lists.
const HIDDEN: [&str; 2] = ["schema", "man"];

/// Commands that send no request to `--url`, so that their help does not list the options for a boundary.
const WITHOUT_URL: [&str; 19] = [
    "verify",
    "gate",
    "init",
    "serve",
    "doctor",
    "key",
    "token",
    "seal",
    "store",
    "node",
    "policy",
    "sandbox",
    "run",
    "test",
    "demo",
    "try",
    "completions",
    "schema",
    "man",
];

/// Builds the command line for clap.
pub fn command<P: CommandSet>() -> clap::Command {
    let long = clap::Arg::new("long")
        .long("long")
        .action(clap::ArgAction::SetTrue)
        .requires("version")
        .help(
            "With --version: also print the commit, the features, and the digest of the lock file",
        );
    let command = Cli::<P>::command().arg(long);
    let of_url: Vec<clap::Arg> = command
        .get_arguments()
        .filter(|argument| {
            [
                "url",
                "token",
                "token_file",
                "cacert",
                "cert",
                "cert_key",
                "proxy",
            ]
            .contains(&argument.get_id().as_str())
        })
        .map(|argument| argument.clone().hide(true))
        .collect();
    let lacking = lacking_commands::<P>();
    let mut list = String::new();
    for (role, names) in ROLES {
        list += &format!("{role}:\n");
        for name in names.iter().filter(|name| !lacking.contains(name)) {
            let about = command
                .find_subcommand(name)
                .and_then(clap::Command::get_about);
            let about = about.map_or_else(
                || "Print the help of a command".to_owned(),
                ToString::to_string,
            );
            list += &format!("  {name:<12} {about}\n");
        }
        list.push('\n');
    }
    if !lacking.is_empty() {
        let is_whole = |name: &&str| !HIDDEN.contains(name) && *name != PAGES;
        let named: Vec<&str> = lacking.iter().copied().filter(is_whole).collect();
        list += &format!(
            "This program is the client. Only the whole program has: {}\n",
            named.join(", ")
        );
        if lacking.contains(&PAGES) {
            list += &format!("The whole program and countersign-console have: {PAGES}\n");
        }
        list.push('\n');
    }
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{list}Options:\n{{options}}{{after-help}}"
    );
    // These commands choose the address themselves, or have another option `--boundary`.
    let without_list =
        |name: &str| WITHOUT_URL.contains(&name) || ["audit", "boundary"].contains(&name);
    let named: Vec<String> = command
        .get_subcommands()
        .map(|one| one.get_name().to_owned())
        .collect();
    let listed = named.into_iter().filter(|name| !without_list(name)).fold(
        command.arg(listed_option()),
        |command, name| {
            command.mut_subcommand(name, |below| {
                with_values(below, line::<P>).arg(listed_option().global(true))
            })
        },
    );
    // A command that defines an argument itself does not inherit the global argument with the same name.
    let hide = |command: clap::Command, name: &str| {
        command.mut_subcommand(name, |below| below.args(of_url.clone()))
    };
    WITHOUT_URL
        .into_iter()
        .filter(|name| !lacking.contains(name))
        .fold(listed, hide)
        .help_template(template)
}

/// Id of the option `--boundary` that names a boundary in the list. `audit`, `gate` and `policy` have another option with
/// this name.
const LISTED: &str = "listed_boundary";

fn listed_option() -> clap::Arg {
    let option = clap::Arg::new(LISTED)
        .long("boundary")
        .value_name("NAME|URL")
        .add(completions::boundaries());
    option.help_heading("Everywhere").help(
        "A boundary of your list (`countersign boundary`), or an address, in place of --url; `inbox`, `proposals`, \
         `unsettled`, `grant list`, `approve ID`, `console`, `freeze` and `mcp` also take `all`",
    )
}

/// Returns the values of an argument before or after the command.
fn given_values(matches: &clap::ArgMatches, id: &str) -> Vec<OsString> {
    let own = matches
        .try_get_raw(id)
        .ok()
        .flatten()
        .map(|values| values.map(Into::into).collect());
    own.or_else(|| {
        matches
            .subcommand()
            .map(|(_, below)| given_values(below, id))
    })
    .unwrap_or_default()
}

/// Returns which options the person gave.
fn given_options(matches: &clap::ArgMatches) -> GivenOptions {
    let source = |id: &str| {
        matches
            .try_contains_id(id)
            .ok()
            .and_then(|_| matches.value_source(id))
    };
    let typed = |id: &&'static str| source(id) == Some(ValueSource::CommandLine);
    let address = matches!(
        source("url"),
        Some(ValueSource::CommandLine | ValueSource::EnvVariable)
    );
    GivenOptions {
        on_line: REPLACED_BY_LIST.into_iter().filter(typed).collect(),
        address,
        listed: given_values(matches, LISTED)
            .pop()
            .and_then(|name| name.into_string().ok()),
    }
}

/// Reads a line that is not complete, as [`completions::ReadLine`] says.
fn line<P: CommandSet>(id: &str) -> Option<(GlobalOptions, Option<OsString>)> {
    let mut words: Vec<OsString> = std::env::args_os().skip(2).collect();
    // Replace the incomplete word by a word that is valid for each argument that `with_values` completes.
    *words.last_mut()? = "a:b".into();
    let command = without_empty_variables(command::<P>()).ignore_errors(true);
    let matches = command.try_get_matches_from(words).ok()?;
    // After an error, clap does not read the rest of the line, which could name another boundary. `--dir` replaces the boundary.
    if given_values(&matches, id).last()? != "a:b" || !given_values(&matches, "dirs").is_empty() {
        return None;
    }
    let mut global = GlobalOptions::from_arg_matches(&matches).ok()?;
    global.given = given_options(&matches);
    Some((global.choose().ok()?, given_values(&matches, "key").pop()))
}

/// Makes clap ignore each variable that is set to an empty text, because CI systems pass unset values in this way.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |argument: &clap::Arg| {
        argument
            .get_env()
            .and_then(std::env::var_os)
            .is_some_and(|value| value.is_empty())
    };
    command
        .mut_args(|argument| {
            if is_empty(&argument) {
                argument.env(clap::builder::Resettable::Reset)
            } else {
                argument
            }
        })
        .mut_subcommands(without_empty_variables)
}

/// Replaces the usage line of clap in the error, because that line lists arguments from the environment as if the user
/// had to type them.
fn with_plain_usage<P: CommandSet>(mut error: clap::Error, arguments: &[OsString]) -> clap::Error {
    use clap::error::{ContextKind, ContextValue};
    if error.get(ContextKind::Usage).is_some() {
        let mut whole = command::<P>();
        whole.build();
        let mut meant = &whole;
        for word in arguments {
            meant = meant.find_subcommand(word).unwrap_or(meant);
        }
        error.insert(
            ContextKind::Usage,
            ContextValue::StyledStr(meant.clone().render_usage()),
        );
    }
    error
}

impl<P: CommandSet> Cli<P> {
    /// Reads the arguments of a process.
    ///
    /// # Errors
    /// Returns clap's error, also for help and version.
    pub fn read(arguments: impl Iterator<Item = OsString>) -> Result<Self, clap::Error> {
        let arguments: Vec<OsString> = arguments.collect();
        let read = without_empty_variables(command::<P>())
            .try_get_matches_from(&arguments)
            .and_then(|matches| Self::from_arg_matches(&matches).map(|cli| (cli, matches)));
        let (mut cli, matches) = read.map_err(|error| {
            with_plain_usage::<P>(error, arguments.get(1..).unwrap_or_default())
        })?;
        cli.global.open_store = P::OPEN_STORE;
        cli.global.given = given_options(&matches);
        Ok(cli)
    }
}

impl SharedCommand {
    /// Runs the command in the program `P`.
    ///
    /// # Errors
    /// Returns the error of the command.
    pub fn run<P: CommandSet>(&self, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
        match self {
            Self::Propose(args) => propose::run(args, global, terminal),
            Self::Audit(args) => audit::run(args, global, terminal),
            Self::Log(args) => log::run(args, global, terminal),
            Self::Wait(args) => wait::run(args, global, terminal),
            Self::Proposals(args) => proposals::run(args, global, terminal),
            Self::Output(args) => output::run(args, global, terminal),
            Self::Cancel(args) => cancel::run(args, global, terminal),
            Self::Session(args) => session::run(args, global, terminal),
            Self::Mcp(args) => mcp::run(args, global, terminal),
            Self::Inbox(args) => inbox::run(args, global, terminal),
            Self::Review(args) => review::run(args, global, terminal),
            Self::Approve(args) => approve::run(args, global, terminal),
            Self::Deny(args) => deny::run(args, global, terminal),
            Self::Grant(args) => grant::run(args, global, terminal),
            Self::Unsettled(args) => unsettled::run(args, global, terminal),
            Self::ReviewRun(args) => review_run::run(args, global, terminal),
            Self::Revoke(args) => revoke::run(args, global, terminal),
            Self::Freeze(args) => freeze::run(args, global, terminal),
            Self::Submit(args) => submit::run(args, global, terminal),
            Self::Verify(args) => verify::run(args, terminal),
            Self::Gate(args) => gate::run(args, terminal),
            Self::Completions(args) => completions::run(args, P::NAME, terminal),
            Self::Key(args) => key::run(args, terminal),
            Self::Boundary(args) => boundary::run(args, global, terminal),
            Self::Man(args) => man::run(args, command::<P>(), terminal),
        }
    }
}

/// The commands of the client.
#[derive(Subcommand)]
pub enum ClientProgram {
    /// The commands of every program.
    #[command(flatten)]
    Shared(Box<SharedCommand>),
    /// Show the roster and the digest to pin, and change the roster
    Roster(roster::Args),
    /// List and show the steps of a boundary
    Registry(registry::Args),
}

impl CommandSet for ClientProgram {
    const VERSION: &'static str =
        concat!(env!("CARGO_PKG_VERSION"), " (client, without a boundary)");
    const FEATURES: &'static [&'static str] = &["client"];
    const OPEN_STORE: Option<OpenStoredLog> = None;

    fn run(&self, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
        match self {
            Self::Shared(shared) => shared.run::<Self>(global, terminal),
            Self::Roster(args) => roster::run(args, global, terminal),
            Self::Registry(args) => registry::run(args, global, terminal),
        }
    }
}

/// Prints facts about the build of this program. Only `src/main.rs` reads the commit, so that only that small file is
/// compiled again for a new commit.
fn print_build(commit: Option<&str>, features: &[&str], terminal: &Terminal) -> CommandResult {
    let commit = commit.and_then(commit_of);
    let (version, target, lock) = (env!("CARGO_PKG_VERSION"), target(), lock_digest());
    let words = format!(
        "countersign {version}\ncommit    {}\nfeatures  {}\ntarget    {target}\nlock      {lock}",
        commit.as_deref().unwrap_or("unknown"),
        features.join(", ")
    );
    let facts = json!({"version": version, "commit": commit, "features": features, "target": target, "lock": lock});
    terminal.answer(facts, words)
}

/// Returns the text in lower case if it is the digest of a commit.
fn commit_of(text: &str) -> Option<String> {
    let is_commit =
        matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_commit.then(|| text.to_ascii_lowercase())
}

/// Returns the digest of the file Cargo.lock in the source of this program. Cargo uses exactly these dependencies if
/// the build has the option `--locked`.
pub fn lock_digest() -> String {
    format!(
        "sha256:{}",
        hex(&sha256(include_bytes!("../../../../Cargo.lock")))
    )
}

/// Returns the processor, the system and the C library, for example `x86_64-linux-musl`.
fn target() -> String {
    let (processor, system) = (std::env::consts::ARCH, std::env::consts::OS);
    let library = match () {
        () if cfg!(target_env = "musl") => "-musl",
        () if cfg!(target_env = "gnu") => "-gnu",
        () => "",
    };
    format!("{processor}-{system}{library}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ClientProgram;

    type Cli = super::Cli<ClientProgram>;

    #[test]
    fn the_usage_line_omits_optional_options() {
        // The test gives the option on the command line instead of in a variable. For clap there is no difference.
        let words = ["countersign", "propose", "--url", "http://127.0.0.1:1"].map(OsString::from);
        let error = Cli::read(words.into_iter()).err();
        let text = error.expect("no step").to_string();
        assert!(
            text.contains("Usage: countersign propose [OPTIONS] <STEP>"),
            "{text}"
        );
    }

    #[test]
    fn a_replaced_command_is_refused_with_the_new_one() {
        let advice = |line: &str| {
            let words: Vec<_> = line.split(' ').map(OsString::from).collect();
            let error = Cli::read(words.iter().cloned()).err()?;
            replaced(&error, &words)
        };
        assert!(
            advice("countersign registry import x")
                .is_some_and(|advice| advice.contains("--write-policy FILE"))
        );
        for line in [
            "countersign notify me",
            "countersign nonsense",
            "countersign propose",
        ] {
            assert_eq!(advice(line), None, "{line}");
        }
    }

    #[test]
    fn a_help_option_among_other_arguments_of_gate_or_verify_is_no_success() {
        let decides = |line: &str| {
            let words: Vec<_> = line.split(' ').map(OsString::from).collect();
            is_decided_by_exit_code(&words)
        };
        for line in [
            "gate x --help",
            "gate -p --help",
            "--json verify -h",
            "audit --roster r --help",
            "registry check x -h",
            "registry check x --policy y --help",
        ] {
            assert!(decides(line), "{line}");
        }
        for line in [
            "gate --help",
            "registry check --help",
            "policy show x -h",
            "help gate",
            "verify -h",
            "propose a:b --help",
            "--help",
        ] {
            assert!(!decides(line), "{line}");
        }
    }

    #[test]
    fn an_unattended_approval_requires_the_expected_digest() {
        let parse = |line: &str| Cli::read(line.split(' ').map(OsString::from));
        assert!(parse("countersign approve --yes").is_err());
        assert!(
            parse(&format!(
                "countersign approve --yes --expect sha256:{}",
                "a".repeat(64)
            ))
            .is_ok()
        );
        assert!(parse("countersign approve --yes --expect sha256:12").is_err());
    }
}

#[cfg(test)]
mod version_tests {
    use super::commit_of;

    #[test]
    fn a_commit_is_a_digest_of_git_and_nothing_else() {
        assert_eq!(commit_of(&"aB".repeat(20)), Some("ab".repeat(20)));
        assert_eq!(commit_of(&"0".repeat(64)), Some("0".repeat(64)));
        for text in [
            "",
            "main",
            "1234567",
            &"g".repeat(40),
            &format!("{}\n", "a".repeat(40)),
        ] {
            assert_eq!(commit_of(text), None, "{text:?}");
        }
    }
}
