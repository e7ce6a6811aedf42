//! The command line for people and agents.
//!
//! Each command has its own file with the type `Args` and the function `run`. Commands print data to the standard
//! output and messages to the standard error.
pub mod approve;
pub mod audit;
#[cfg(feature = "boundary")]
mod boundary_commands;
pub mod cancel;
pub mod client_build;
pub mod clock;
pub mod completions;
#[cfg(feature = "boundary")]
pub mod configured;
#[cfg(feature = "boundary")]
pub mod demo;
pub mod deny;
#[cfg(feature = "boundary")]
pub mod doctor;
#[cfg(feature = "boundary")]
mod doctor_access;
#[cfg(feature = "boundary")]
mod doctor_programs;
pub mod gate;
pub mod global;
#[cfg(feature = "boundary")]
pub mod hardening;
pub mod inbox;
#[cfg(feature = "boundary")]
pub mod init;
#[cfg(feature = "boundary")]
mod inspected_boundary;
pub mod key;
pub mod log;
pub mod log_source_options;
pub mod man;
pub mod mcp;
pub mod mcp_configuration;
#[cfg(feature = "boundary")]
mod network_programs;
pub mod output;
mod own_program;
#[cfg(feature = "boundary")]
pub mod policy;
pub mod proposals;
pub mod propose;
pub mod registry;
pub mod review;
pub mod review_subject;
pub mod roster;
#[cfg(feature = "boundary")]
pub mod run;
#[cfg(feature = "boundary")]
pub mod sandbox;
#[cfg(feature = "boundary")]
mod sandbox_programs;
#[cfg(feature = "boundary")]
pub mod schema;
#[cfg(feature = "boundary")]
pub mod serve;
pub mod session;
#[cfg(feature = "boundary")]
pub mod store;
#[cfg(feature = "boundary")]
mod stored_log;
pub mod submit;
#[cfg(feature = "boundary")]
pub mod test;
#[cfg(feature = "boundary")]
pub mod token;
pub mod verify;
pub mod version;
pub mod wait;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::cli::client_build::{LACKING_BELOW, VERSION, lacks};
use crate::cli::global::GlobalOptions;
use crate::cli::version::BuildFacts;
use crate::terminal::exit::{CommandFailure, Exit};
use crate::terminal::streams::{Terminal, eprintln_quietly};

/// Parses the arguments and runs the command. `commit` is the commit of the source, if the build names it.
#[must_use]
pub fn main(commit: Option<&str>) -> ExitCode {
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            if let Some(advice) = later(&error).or_else(|| lacking(&error, std::env::args_os().skip(1))) {
                eprintln_quietly(&advice);
                return ExitCode::from(Exit::Usage.code());
            }
            if let Some(terminal) = asks_for_long_version(&error, std::env::args_os().skip(1)) {
                return ended(BuildFacts::new(commit).print(&terminal), &terminal);
            }
            // Help and version end with exit code 0, every other parse error with the code for wrong usage. A closed
            // pipe must not cause a panic, so an error of printing is ignored.
            let _ = error.print();
            if !error.use_stderr() && is_decided_by_exit_code(std::env::args_os().skip(1)) {
                eprintln_quietly(
                    "nothing was checked: --help among other arguments is wrong usage of this command, because a \
                     job could treat the help text as a success",
                );
                return ExitCode::from(Exit::Usage.code());
            }
            return ExitCode::from(if error.use_stderr() { Exit::Usage.code() } else { 0 });
        }
    };
    let terminal = Terminal::new(cli.global.json);
    ended(cli.run(&terminal), &terminal)
}

fn ended(result: Result<Exit, CommandFailure>, terminal: &Terminal) -> ExitCode {
    match result {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(failure) => {
            terminal.fail(&failure);
            ExitCode::from(failure.exit.code())
        }
    }
}

/// Returns the terminal for the long version if the arguments are `--version --long`, also with `--json`.
fn asks_for_long_version(error: &clap::Error, arguments: impl Iterator<Item = OsString>) -> Option<Terminal> {
    let arguments: Vec<OsString> = arguments.collect();
    let has = |name: &str| arguments.iter().any(|word| word == name);
    let only = ["--version", "-V", "--long", "--json"];
    (error.kind() == clap::error::ErrorKind::DisplayVersion
        && has("--long")
        && arguments.iter().all(|word| only.iter().any(|name| word == name)))
    .then(|| Terminal::new(has("--json")))
}

/// Returns true if a CI job uses the exit code of this command as a decision. In such a command, `--help` among other
/// arguments must not end with 0, because `gate -p "$X"` with `--help` in X would let a job continue. `--help` without
/// other arguments ends with 0.
fn is_decided_by_exit_code(arguments: impl Iterator<Item = OsString>) -> bool {
    let arguments: Vec<OsString> = arguments.collect();
    let has = |names: &[&str]| arguments.iter().any(|word| names.iter().any(|name| word == name));
    let decides = has(&["gate", "verify", "audit"]) && arguments.len() > 2;
    let decides_below = has(&["policy", "registry"]) && has(&["check", "diff"]);
    decides || (decides_below && arguments.len() > 3)
}

/// Commands of later versions, with the advice for this version.
const LATER: [(&str, &str); 6] = [
    ("freeze", "stop the service"),
    ("thaw", "start the service again"),
    ("console", "`countersign inbox`, `countersign review` and `countersign approve`"),
    ("notify", "`countersign inbox --watch --exec CMD` runs a command for each new proposal"),
    ("grant", "each run needs its own approvals"),
    (
        "revoke",
        "`countersign deny` stops one run; remove a lost key in the next version of the roster with `countersign \
         roster remove`",
    ),
];

/// Returns the advice for a command that this version does not have.
fn later(error: &clap::Error) -> Option<String> {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    let Some(ContextValue::String(name)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    let (name, instead) = LATER.iter().find(|(later, _)| later == name)?;
    (error.kind() == ErrorKind::InvalidSubcommand)
        .then(|| format!("countersign: `{name}` comes with a later version; until then: {instead}"))
}

/// Returns the message for a command that only the whole program has.
fn lacking(error: &clap::Error, arguments: impl Iterator<Item = OsString>) -> Option<String> {
    use clap::error::{ContextKind, ContextValue};
    let Some(ContextValue::String(name)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    if lacking_commands().contains(&name.as_str()) {
        return Some(format!("countersign: {}", lacks(&format!("`{name}`"))));
    }
    if cfg!(feature = "boundary") {
        return None;
    }
    let arguments: Vec<OsString> = arguments.collect();
    let (above, _) = LACKING_BELOW
        .iter()
        .find(|(above, below)| below.contains(&name.as_str()) && arguments.iter().any(|word| word == above))?;
    Some(format!("countersign: {}", lacks(&format!("`{above} {name}`"))))
}

/// Returns the commands of the whole program that this build does not have.
fn lacking_commands() -> Vec<&'static str> {
    let own = Cli::command();
    let listed = ROLES.iter().flat_map(|(_, names)| names.iter().copied());
    listed.chain(HIDDEN).filter(|name| *name != "help" && own.find_subcommand(name).is_none()).collect()
}

/// Countersign is a signed-approval execution boundary: agents propose, people sign, a sandbox runs, anyone verifies
/// the receipt.
#[derive(Debug, Parser)]
#[command(
    name = "countersign",
    version = VERSION,
    about,
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
pub struct Cli {
    #[command(flatten)]
    global: GlobalOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
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
    /// Show the roster and the digest to pin, and change the roster
    Roster(roster::Args),
    /// List, show, check and lock steps
    #[cfg_attr(not(feature = "boundary"), command(about = "List and show the steps of a boundary"))]
    Registry(registry::Args),
    /// Write a man page for each command
    #[command(hide = true)]
    Man(man::Args),
    #[cfg(feature = "boundary")]
    #[command(flatten)]
    OfBoundary(boundary_commands::BoundaryCommand),
}

/// Commands in the order of the help, grouped by their users. The commands `schema` and `man` are only for developers
/// and packages of this program.
const ROLES: [(&str, &[&str]); 6] = [
    ("Propose", &["propose", "wait", "proposals", "output", "cancel", "submit", "session", "mcp"]),
    ("Approve", &["inbox", "review", "approve", "deny"]),
    ("Verify", &["verify", "gate", "audit", "log"]),
    ("Operate", &["init", "serve", "doctor", "key", "token", "roster", "store"]),
    ("Write", &["registry", "policy", "sandbox", "run", "test"]),
    ("Learn", &["demo", "completions", "help"]),
];

/// Commands that no help lists.
const HIDDEN: [&str; 2] = ["schema", "man"];

/// Commands that send no request to `--url`, so that their help does not list the options for a boundary.
const WITHOUT_URL: [&str; 17] = [
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
    "test",
    "demo",
    "completions",
    "schema",
    "man",
];

/// Builds the command line for clap.
fn command() -> clap::Command {
    let long = clap::Arg::new("long")
        .long("long")
        .action(clap::ArgAction::SetTrue)
        .requires("version")
        .help("With --version: also print the commit, the features, and the digest of the lock file");
    let command = Cli::command().arg(long);
    let of_url: Vec<clap::Arg> = command
        .get_arguments()
        .filter(|argument| {
            ["url", "token", "token_file", "cacert", "cert", "cert_key"].contains(&argument.get_id().as_str())
        })
        .map(|argument| argument.clone().hide(true))
        .collect();
    let lacking = lacking_commands();
    let mut list = String::new();
    for (role, names) in ROLES {
        list.push_str(&format!("{role}:\n"));
        for name in names.iter().filter(|name| !lacking.contains(name)) {
            let about = command.find_subcommand(name).and_then(clap::Command::get_about);
            let about = about.map_or_else(|| "Print the help of a command".to_owned(), ToString::to_string);
            list.push_str(&format!("  {name:<12} {about}\n"));
        }
        list.push('\n');
    }
    if !lacking.is_empty() {
        let named: Vec<&str> = lacking.iter().copied().filter(|name| !HIDDEN.contains(name)).collect();
        list.push_str(&format!("This program is the client. Only the whole program has: {}\n\n", named.join(", ")));
    }
    let template =
        format!("{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{list}Options:\n{{options}}{{after-help}}");
    // A command that defines an argument itself does not inherit the global argument with the same name.
    let hide = |command: clap::Command, name: &str| command.mut_subcommand(name, |below| below.args(of_url.clone()));
    WITHOUT_URL.into_iter().filter(|name| !lacking.contains(name)).fold(command, hide).help_template(template)
}

/// Makes clap ignore each variable that is set to an empty text, because CI systems pass unset values in this way.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty =
        |argument: &clap::Arg| argument.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    command
        .mut_args(
            |argument| if is_empty(&argument) { argument.env(clap::builder::Resettable::Reset) } else { argument },
        )
        .mut_subcommands(without_empty_variables)
}

/// Replaces the usage line of clap in the error, because that line lists arguments from the environment as if the user
/// had to type them.
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
        let read = without_empty_variables(command())
            .try_get_matches_from(&arguments)
            .and_then(|matches| Self::from_arg_matches(&matches));
        read.map_err(|error| with_plain_usage(error, arguments.get(1..).unwrap_or_default()))
    }

    fn run(&self, terminal: &Terminal) -> Result<Exit, CommandFailure> {
        let global = &self.global;
        match &self.command {
            Command::Propose(args) => propose::run(args, global, terminal),
            Command::Audit(args) => audit::run(args, global, terminal),
            Command::Log(args) => log::run(args, global, terminal),
            Command::Wait(args) => wait::run(args, global, terminal),
            Command::Proposals(args) => proposals::run(args, global, terminal),
            Command::Output(args) => output::run(args, global, terminal),
            Command::Cancel(args) => cancel::run(args, global, terminal),
            Command::Session(args) => session::run(args, global, terminal),
            Command::Mcp(args) => mcp::run(args, global, terminal),
            Command::Inbox(args) => inbox::run(args, global, terminal),
            Command::Review(args) => review::run(args, global, terminal),
            Command::Approve(args) => approve::run(args, global, terminal),
            Command::Deny(args) => deny::run(args, global, terminal),
            Command::Submit(args) => submit::run(args, global, terminal),
            Command::Verify(args) => verify::run(args, terminal),
            Command::Gate(args) => gate::run(args, terminal),
            Command::Completions(args) => completions::run(args, &mut command(), terminal),
            Command::Key(args) => key::run(args, terminal),
            Command::Roster(args) => roster::run(args, terminal),
            Command::Registry(args) => registry::run(args, global, terminal),
            #[cfg(feature = "boundary")]
            Command::OfBoundary(command) => command.run(terminal),
            Command::Man(args) => man::run(args, command(), terminal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clap_command_definitions_are_consistent() {
        command().debug_assert();
    }

    #[test]
    fn each_command_is_listed_once_and_has_the_url_option_only_if_it_calls_a_boundary() {
        let mut listed: Vec<&str> = ROLES.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        let lacking = lacking_commands();
        assert_eq!(lacking.is_empty(), cfg!(feature = "boundary"), "{lacking:?}");
        listed.retain(|name| *name != "help" && !lacking.contains(name));
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
        for words in [&["countersign", "key", "generate", "--help"][..], &["countersign", "roster", "--help"]] {
            assert!(!help(words).contains("--url"), "{words:?}");
        }
        assert!(help(&["countersign", "log", "export", "--help"]).contains("--url"));
        let first = help(&["countersign", "--help"]);
        assert!(first.contains("Approve:\n  inbox ") && !first.contains("  schema "), "{first}");
    }

    #[test]
    fn the_usage_line_omits_optional_options() {
        // The test gives the option on the command line instead of in a variable. For clap there is no difference.
        let words = ["countersign", "propose", "--url", "http://127.0.0.1:1"].map(OsString::from);
        let text = Cli::read(words.into_iter()).expect_err("no step").to_string();
        assert!(text.contains("Usage: countersign propose [OPTIONS] <STEP>"), "{text}");
    }

    #[test]
    fn the_client_lacks_exactly_the_listed_subcommands_of_the_commands_that_it_shares() {
        for (above, below) in LACKING_BELOW {
            let whole = Cli::command();
            let command = whole.find_subcommand(above).expect("a shared command");
            for name in below {
                let found = command.find_subcommand(name).is_some();
                assert_eq!(found, cfg!(feature = "boundary"), "{above} {name}");
            }
        }
    }

    #[test]
    fn every_command_has_examples_in_its_help() {
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
        for later in ["freeze", "thaw", "console", "notify"] {
            assert!(advice(&format!("countersign {later}")).is_some_and(|advice| advice.contains("later version")));
        }
        // The design has no such command any more.
        for line in ["countersign void-all", "countersign nonsense", "countersign propose"] {
            assert_eq!(advice(line), None, "{line}");
        }
        for (name, _) in LATER {
            assert!(Cli::command().find_subcommand(name).is_none(), "{name} is there now: take it off the list");
        }
    }

    #[test]
    fn a_help_option_among_other_arguments_of_gate_or_verify_is_no_success() {
        let decides = |line: &str| is_decided_by_exit_code(line.split(' ').map(OsString::from));
        for line in [
            "gate x --help",
            "gate -p --help",
            "--json verify -h",
            "audit --roster r --help",
            "policy check x -h",
            "registry check --dir x -h",
        ] {
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
    fn an_unattended_approval_requires_the_expected_digest() {
        let parse = |line: &str| Cli::read(line.split(' ').map(OsString::from));
        assert!(parse("countersign approve --yes").is_err());
        assert!(parse(&format!("countersign approve --yes --expect sha256:{}", "a".repeat(64))).is_ok());
        assert!(parse("countersign approve --yes --expect sha256:12").is_err());
    }
}
