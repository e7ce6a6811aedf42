//! The command line of the whole program: the commands of the client, and those of operators and authors of runbooks.
pub mod configured;
pub mod demo;
pub mod doctor;
mod doctor_programs;
mod hardening;
pub mod init;
pub mod node;
pub mod notify;
pub mod open;
pub mod policy;
pub mod registry;
pub mod roster;
pub mod run;
pub mod sandbox;
pub mod sandbox_programs;
pub mod schema;
pub mod seal;
pub mod serve;
pub mod store;
mod store_move;
pub mod test;
pub mod thaw;
pub mod token;

use clap::Subcommand;
use client::{CommandResult, CommandSet, GlobalOptions, OpenStoredLog, SharedCommand, Terminal};
use console::command as pages;

/// The commands of the whole program.
#[derive(Subcommand)]
pub enum WholeProgram {
    /// The commands of every program.
    #[command(flatten)]
    Shared(Box<SharedCommand>),
    /// Show the roster and the digest to pin, and change the roster
    Roster(roster::Args),
    /// List, show, check and lock steps
    Registry(registry::Args),
    /// Run the steps of a runbook yourself, at a terminal
    Run(run::Args),
    /// Open a runbook in a browser, and run its steps there
    Open(open::Args),
    /// Decide in a browser on this machine, or check evidence there
    Console(pages::Args),
    /// Run the tests of a Gruntwork runbook: its file runbook_test.yml
    Test(test::Args),
    /// Show a whole run in seconds, then attacks that are refused
    Demo(demo::Args),
    /// Play the whole story with your own runbook: propose, review, two approvals, run, and verify the receipt
    Try(demo::own_runbook::Args),
    /// Make the directory of a boundary
    Init(init::Args),
    /// Serve a boundary
    Serve(serve::Args),
    /// Check this host and list the problems to fix
    Doctor(doctor::Args),
    /// Try a command in a sandbox
    Sandbox(sandbox::Args),
    /// Make, list and revoke tokens
    Token(token::Args),
    /// Put changed files in force: runbooks, signed rosters, the policy and the limits
    Seal(seal::Args),
    /// End a freeze with a new epoch
    Thaw(thaw::Args),
    /// Show and test the targets of messages
    Notify(notify::Args),
    /// Check, back up and restore the store
    Store(store::Args),
    /// List the nodes of a boundary, or say that a node will never come back
    #[command(alias = "nodes")]
    Node(node::Args),
    /// Show how policy decides about a script, and show the rules of policy
    Policy(policy::Args),
    /// Write or check the JSON Schemas and OpenAPI
    #[command(hide = true)]
    Schema(schema::Args),
}

impl CommandSet for WholeProgram {
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const FEATURES: &'static [&'static str] = &["boundary", "client"];
    const OPEN_STORE: Option<OpenStoredLog> = Some(node::stored_log);

    fn run(&self, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
        match self {
            Self::Shared(shared) => shared.run::<Self>(global, terminal),
            Self::Roster(args) => roster::run(args, global, terminal),
            Self::Registry(args) => registry::run(args, global, terminal),
            Self::Run(args) => run::run(args, terminal),
            Self::Open(args) => open::run(args, global, terminal),
            Self::Console(args) => pages::run(args, global, terminal),
            Self::Test(args) => test::run(args, terminal),
            Self::Demo(args) => demo::run(args, terminal),
            Self::Try(args) => demo::own_runbook::run(args, terminal),
            Self::Init(args) => init::run(args, terminal),
            Self::Serve(args) => serve::run(args, terminal),
            Self::Doctor(args) => doctor::run(args, terminal),
            Self::Sandbox(args) => sandbox::run(args, terminal),
            Self::Token(args) => token::run(args, terminal),
            Self::Seal(args) => seal::run(args, terminal),
            Self::Thaw(args) => thaw::run(args, terminal),
            Self::Notify(args) => notify::run(args, terminal),
            Self::Store(args) => store::run(args, terminal),
            Self::Node(args) => node::run(args, terminal),
            Self::Policy(args) => policy::run(args, terminal),
            Self::Schema(args) => schema::run(args, terminal),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use client::{ClientProgram, LACKING_BELOW, ROLES, lacking_commands, program};

    use super::*;

    type Cli = program::Cli<WholeProgram>;

    fn check_command_line<P: CommandSet>(is_whole: bool) {
        let built = client::program::command::<P>();
        built.clone().debug_assert();
        let lacking = lacking_commands::<P>();
        assert_eq!(lacking.is_empty(), is_whole, "{lacking:?}");
        let mut listed: Vec<&str> = ROLES
            .iter()
            .flat_map(|(_, names)| names.iter().copied())
            .collect();
        listed.retain(|name| *name != "help" && !lacking.contains(name));
        listed.sort_unstable();
        let mut shown: Vec<&str> = built
            .get_subcommands()
            .filter(|one| !one.is_hide_set())
            .map(clap::Command::get_name)
            .collect();
        shown.sort_unstable();
        assert_eq!(listed, shown);
        for (above, below) in LACKING_BELOW {
            let command = built.find_subcommand(above).expect("a shared command");
            for name in below {
                assert_eq!(
                    command.find_subcommand(name).is_some(),
                    is_whole,
                    "{above} {name}"
                );
            }
        }
    }

    #[test]
    fn both_programs_list_each_of_their_commands_once_and_the_client_lacks_exactly_the_listed_ones()
    {
        check_command_line::<WholeProgram>(true);
        check_command_line::<ClientProgram>(false);
    }

    #[test]
    fn only_commands_that_call_a_boundary_have_the_url_option() {
        let help = |words: &[&str]| {
            let error = Cli::read(words.iter().map(Into::into)).err();
            error.expect("help").to_string()
        };
        for words in [
            &["countersign", "key", "generate", "--help"][..],
            &["countersign", "policy", "--help"],
        ] {
            assert!(!help(words).contains("--url"), "{words:?}");
        }
        assert!(help(&["countersign", "log", "export", "--help"]).contains("--url"));
        let first = help(&["countersign", "--help"]);
        assert!(
            first.contains("Approve:\n  inbox ") && !first.contains("  schema "),
            "{first}"
        );
    }

    #[test]
    fn every_command_has_examples_in_its_help() {
        for command in Cli::command().get_subcommands() {
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(
                help.contains("countersign ") || command.has_subcommands(),
                "{} has no example",
                command.get_name()
            );
        }
    }
}
