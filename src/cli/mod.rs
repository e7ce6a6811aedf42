//! The command line: what people and agents call.
//!
//! One file a command with its `Args` and `run`. Data goes to the standard output, messages to the standard error.
pub mod approve;
pub mod audit;
pub mod cancel;
pub mod clock;
pub mod completions;
pub mod configured;
pub mod demo;
pub mod deny;
pub mod doctor;
pub mod gate;
pub mod global;
pub mod hardening;
pub mod inbox;
pub mod init;
pub mod key;
pub mod log;
pub mod log_source;
pub mod output;
pub mod policy;
pub mod propose;
pub mod registry;
pub mod review;
pub mod review_subject;
pub mod roster;
pub mod run;
pub mod sandbox;
pub mod schema;
pub mod serve;
pub mod store;
pub mod submit;
pub mod token;
pub mod verify;
pub mod wait;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::cli::global::Global;
use crate::terminal::exit::{Exit, Failure};
use crate::terminal::streams::{Terminal, eprintln_quietly};

/// Reads the arguments and does what they say.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            if let Some(advice) = later(&error) {
                eprintln_quietly(&advice);
                return ExitCode::from(Exit::Usage.code());
            }
            // Help and version are answers, the rest is wrong usage. A reader that went away is no reason to panic.
            let _ = error.print();
            if !error.use_stderr() && is_decided_by_exit_code(std::env::args_os().skip(1)) {
                eprintln_quietly(
                    "nothing was checked: help among other arguments is wrong usage here, lest a job take it for a yes",
                );
                return ExitCode::from(Exit::Usage.code());
            }
            return ExitCode::from(if error.use_stderr() { Exit::Usage.code() } else { 0 });
        }
    };
    let terminal = Terminal::new(cli.global.json);
    match cli.run(&terminal) {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(failure) => {
            terminal.fail(&failure);
            ExitCode::from(failure.exit.code())
        }
    }
}

/// Whether a job may go on because this call ends well: `gate -p "$X"` with `--help` in X must not. The mere help of
/// these commands is an answer as elsewhere.
fn is_decided_by_exit_code(arguments: impl Iterator<Item = OsString>) -> bool {
    let arguments: Vec<OsString> = arguments.collect();
    let has = |names: &[&str]| arguments.iter().any(|word| names.iter().any(|name| word == name));
    let decides = has(&["gate", "verify", "audit"]) && arguments.len() > 2;
    decides || (has(&["policy"]) && has(&["check"]) && arguments.len() > 3)
}

/// Commands of later versions, with what there is until then.
const LATER: [(&str, &str); 7] = [
    ("grant", "each run takes its own approvals"),
    (
        "revoke",
        "`countersign deny` stops one run; a lost key goes with the next version of the roster, `countersign roster remove`",
    ),
    ("void-all", "stop the boundary, or let proposals expire"),
    ("mcp", "agents call `countersign propose --json`, or HTTP"),
    ("lock", "approvers sign a step's digest; `countersign registry list` shows it"),
    ("check", "`countersign registry list --dir DIR` says every error of the files"),
    ("diff", "`countersign review` shows what changed since the last successful run"),
];

/// What to do instead of a command that this version does not have.
fn later(error: &clap::Error) -> Option<String> {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    let Some(ContextValue::String(name)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    let (name, instead) = LATER.iter().find(|(later, _)| later == name)?;
    (error.kind() == ErrorKind::InvalidSubcommand)
        .then(|| format!("countersign: `{name}` comes with a later version; until then: {instead}"))
}

/// A signed-approval execution boundary: agents propose, people countersign, it runs once, anyone verifies the receipt.
#[derive(Debug, Parser)]
#[command(
    name = "countersign",
    version,
    about,
    max_term_width = 110,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(
    after_help = "Exit codes: 0 done; 1 a check said no; 2 wrong usage, or no trust to check with. Commands that wait for a run give the \
step's own code, else 124 expired or timed out, 125 boundary unreachable or faulty, 126 denied, refused or cancelled, 127 unknown step, 128+n \
ended by signal n; --json tells them apart."
)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Propose to run one step, once
    Propose(propose::Args),
    /// Wait for a proposal's end, with its output
    Wait(wait::Args),
    /// Print what a run wrote
    Output(output::Args),
    /// Withdraw a proposal, or end its run
    Cancel(cancel::Args),
    /// List what your signature can move
    Inbox(inbox::Args),
    /// Show what a signature would cover; never signs
    Review(review::Args),
    /// Show the same, ask, then sign exactly the bytes shown
    Approve(approve::Args),
    /// Say no, signed
    Deny(deny::Args),
    /// Hand in an envelope that was signed elsewhere
    Submit(submit::Args),
    /// Check bundles offline against a roster that you trust
    Verify(verify::Args),
    /// Run a runbook's steps yourself, at a terminal
    Run(run::Args),
    /// Let a job go on only with the receipt that it needs
    Gate(gate::Args),
    /// Read a whole log and decide every decision again
    Audit(audit::Args),
    /// Print the log's signed head, or copy the log
    Log(log::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
    /// Show the whole story in seconds, then the attacks that are refused
    Demo(demo::Args),
    /// Make a boundary's directory
    Init(init::Args),
    /// Serve a boundary
    Serve(serve::Args),
    /// Say what holds on this host, and what to fix
    Doctor(doctor::Args),
    /// Try what a sandbox leaves to a command
    Sandbox(sandbox::Args),
    /// Make keys, show keys
    Key(key::Args),
    /// Make, list and end tokens
    Token(token::Args),
    /// Check, back up, restore and upgrade the store
    Store(store::Args),
    /// Say who is who, and the digest to pin
    Roster(roster::Args),
    /// List and show steps
    Registry(registry::Args),
    /// Say what policy says of a script, and show its rules
    Policy(policy::Args),
    /// Write or check the JSON Schemas and OpenAPI
    #[command(hide = true)]
    Schema(schema::Args),
}

/// The commands by who uses them, as the help lists them. `schema` is for developers and listed nowhere.
const ROLES: [(&str, &[&str]); 6] = [
    ("Propose", &["propose", "wait", "output", "cancel", "submit"]),
    ("Approve", &["inbox", "review", "approve", "deny"]),
    ("Verify", &["verify", "gate", "audit", "log"]),
    ("Operate", &["init", "serve", "doctor", "key", "token", "roster", "store"]),
    ("Write", &["registry", "policy", "sandbox", "run"]),
    ("Learn", &["demo", "completions", "help"]),
];

/// Commands that ask no boundary at `--url`: their help does not list the options of one.
const WITHOUT_URL: [&str; 15] = [
    "verify",
    "gate",
    "init",
    "serve",
    "doctor",
    "key",
    "token",
    "roster",
    "store",
    "policy",
    "sandbox",
    "run",
    "demo",
    "completions",
    "schema",
];

/// The command line as clap reads it.
fn command() -> clap::Command {
    let command = Cli::command();
    let of_url: Vec<clap::Arg> = command
        .get_arguments()
        .filter(|argument| ["url", "token", "token_file"].contains(&argument.get_id().as_str()))
        .map(|argument| argument.clone().hide(true))
        .collect();
    let mut list = String::new();
    for (role, names) in ROLES {
        list.push_str(&format!("{role}:\n"));
        for name in names {
            let about = command.find_subcommand(name).and_then(clap::Command::get_about);
            let about = about.map_or_else(|| "Print the help of a command".to_owned(), ToString::to_string);
            list.push_str(&format!("  {name:<12} {about}\n"));
        }
        list.push('\n');
    }
    let template =
        format!("{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{list}Options:\n{{options}}{{after-help}}");
    // An argument that a command has already is not taken from above.
    let hide = |command: clap::Command, name: &str| command.mut_subcommand(name, |below| below.args(of_url.clone()));
    WITHOUT_URL.into_iter().fold(command, hide).help_template(template)
}

/// The usage of the command that was meant. clap's own shows what the environment gave as if it had to be written.
fn with_plain_usage(mut error: clap::Error, arguments: &[OsString]) -> clap::Error {
    use clap::error::{ContextKind, ContextValue};
    if error.get(ContextKind::Usage).is_some() {
        let mut whole = command();
        whole.build();
        let mut meant = &whole;
        for word in arguments {
            meant = meant.find_subcommand(word).unwrap_or(meant);
        }
        error.insert(ContextKind::Usage, ContextValue::StyledStr(meant.clone().render_usage()));
    }
    error
}

impl Cli {
    fn read(arguments: impl Iterator<Item = OsString>) -> Result<Self, clap::Error> {
        let arguments: Vec<OsString> = arguments.collect();
        let read = command().try_get_matches_from(&arguments).and_then(|matches| Self::from_arg_matches(&matches));
        read.map_err(|error| with_plain_usage(error, arguments.get(1..).unwrap_or_default()))
    }

    fn run(&self, terminal: &Terminal) -> Result<Exit, Failure> {
        let global = &self.global;
        match &self.command {
            Command::Propose(args) => propose::run(args, global, terminal),
            Command::Audit(args) => audit::run(args, global, terminal),
            Command::Log(args) => log::run(args, global, terminal),
            Command::Wait(args) => wait::run(args, global, terminal),
            Command::Output(args) => output::run(args, global, terminal),
            Command::Cancel(args) => cancel::run(args, global, terminal),
            Command::Inbox(args) => inbox::run(args, global, terminal),
            Command::Review(args) => review::run(args, global, terminal),
            Command::Approve(args) => approve::run(args, global, terminal),
            Command::Deny(args) => deny::run(args, global, terminal),
            Command::Submit(args) => submit::run(args, global, terminal),
            Command::Verify(args) => verify::run(args, terminal),
            Command::Run(args) => run::run(args, terminal),
            Command::Gate(args) => gate::run(args, terminal),
            Command::Completions(args) => completions::run(args, &mut command(), terminal),
            Command::Demo(args) => demo::run(args, terminal),
            Command::Init(args) => init::run(args, terminal),
            Command::Serve(args) => serve::run(args, terminal),
            Command::Doctor(args) => doctor::run(args, terminal),
            Command::Sandbox(args) => sandbox::run(args, terminal),
            Command::Key(args) => key::run(args, terminal),
            Command::Token(args) => token::run(args, terminal),
            Command::Store(args) => store::run(args, terminal),
            Command::Roster(args) => roster::run(args, terminal),
            Command::Registry(args) => registry::run(args, global, terminal),
            Command::Policy(args) => policy::run(args, terminal),
            Command::Schema(args) => schema::run(args, terminal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_definitions_are_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_command_is_listed_once_and_only_remote_commands_show_a_boundary_address() {
        let mut listed: Vec<&str> = ROLES.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        listed.retain(|name| *name != "help");
        listed.sort_unstable();
        let whole = command();
        let mut shown: Vec<&str> =
            whole.get_subcommands().filter(|one| !one.is_hide_set()).map(clap::Command::get_name).collect();
        shown.sort_unstable();
        assert_eq!(listed, shown);
        let help = |words: &[&str]| {
            let error = Cli::read(words.iter().map(OsString::from)).expect_err("help");
            error.to_string()
        };
        for words in [&["countersign", "key", "generate", "--help"][..], &["countersign", "init", "--help"]] {
            assert!(!help(words).contains("--url"), "{words:?}");
        }
        assert!(help(&["countersign", "log", "export", "--help"]).contains("--url"));
        let first = help(&["countersign", "--help"]);
        assert!(first.contains("Approve:\n  inbox ") && !first.contains("  schema "), "{first}");
    }

    #[test]
    fn usage_shows_no_option_that_need_not_be_written() {
        // As if the environment gave it: clap can't tell the two apart.
        let words = ["countersign", "propose", "--url", "http://127.0.0.1:1"].map(OsString::from);
        let text = Cli::read(words.into_iter()).expect_err("no step").to_string();
        assert!(text.contains("Usage: countersign propose [OPTIONS] <STEP>"), "{text}");
    }

    #[test]
    fn every_command_has_examples() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(
                help.contains("countersign ") || command.has_subcommands(),
                "{} has no example",
                command.get_name()
            );
        }
    }

    #[test]
    fn commands_of_later_versions_are_refused_by_name() {
        let advice = |line: &str| Cli::read(line.split(' ').map(OsString::from)).err().and_then(|error| later(&error));
        assert!(advice("countersign revoke me").is_some_and(|advice| advice.contains("countersign deny")));
        assert!(advice("countersign registry lock").is_some_and(|advice| advice.contains("later version")));
        assert_eq!((advice("countersign nonsense"), advice("countersign propose")), (None, None));
        for (name, _) in LATER {
            assert!(Cli::command().find_subcommand(name).is_none(), "{name} is there now: take it off the list");
        }
    }

    #[test]
    fn a_request_for_help_never_confirms_a_decision() {
        let decides = |line: &str| is_decided_by_exit_code(line.split(' ').map(OsString::from));
        for line in
            ["gate x --help", "gate -p --help", "--json verify -h", "audit --roster r --help", "policy check x -h"]
        {
            assert!(decides(line), "{line}");
        }
        for line in [
            "gate --help",
            "policy check --help",
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
    fn an_unattended_approval_must_name_its_expectations() {
        let parse = |line: &str| Cli::read(line.split(' ').map(OsString::from));
        assert!(parse("countersign approve --yes").is_err());
        assert!(parse(&format!("countersign approve --yes --expect sha256:{}", "a".repeat(64))).is_ok());
        assert!(parse("countersign approve --yes --expect sha256:12").is_err());
    }
}
