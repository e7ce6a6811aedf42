//! `roster`: who is who, and how that changes: drafted, signed, merged, taken at the next start.

pub mod change;
pub mod draft;
pub mod proposed;
pub mod show;
pub mod sign;

use std::path::PathBuf;

use crate::cli::configured::ConfigArgs;
use crate::cli::keys::KeyArgs;
use crate::cli::trust::TrustArgs;
use crate::crypto::digest::RosterDigest;
use crate::crypto::sshsig::KeyId;
use crate::node::roster_edit::Table;
use crate::terminal::exit::{Exit, Failure};
use crate::terminal::streams::Terminal;

/// Who is who.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  countersign roster show
  countersign roster show --json > roster.json       # what verifiers take with --roster
  countersign roster show --allowed-signers          # for ssh-keygen -Y verify -n countersign
  countersign roster add approver dave --key dave.pub --group ops
  countersign roster remove approver bob
  countersign roster add boundary prod --key boundary/key-2.pub
  countersign roster draft                           # after an edit of roster.toml or the policy
  countersign roster sign 2.json                     # each approver, on a machine of their own
  countersign roster merge boundary/roster.d/2.json from-alice.json from-bob.json

A later version is signed by the threshold of the one before and by its own. It lies in roster.d beside roster.toml, and \
the next start of the boundary takes it when nothing is missing; until then what is sealed stays in force. With the same \
steps another policy comes into force: a version of the roster names it. An approver whose key changes signs with both keys: the \
old one counts for the version before, the new one for the next.")]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print a roster and its digest; with --json the statement that verifiers take
    Show {
        /// A roster statement (JSON); by default the roster in force, as far as the configuration's files tell
        file: Option<PathBuf>,
        /// Print the approvers as OpenSSH's allowed_signers
        #[arg(long)]
        allowed_signers: bool,
    },
    /// Add an entry, or keys and groups to one, and draft the next version
    Add(AddArgs),
    /// Remove an entry, or one of its keys for good, and draft the next version
    Remove(RemoveArgs),
    /// Write the next version's statement from roster.toml and the policy as they are
    Draft {
        #[command(flatten)]
        draft: DraftArgs,
    },
    /// Show what a next version changes, ask, and add your signature to its file
    Sign(SignArgs),
    /// Collect signatures of one version from several files into the first
    Merge(MergeArgs),
}

/// How a draft treats one that is there.
#[derive(Debug, Clone, clap::Args)]
pub struct DraftArgs {
    /// Write a draft anew that people signed already: their signatures are lost
    #[arg(long)]
    drop_signatures: bool,
}

/// What is added.
#[derive(Debug, clap::Args)]
pub struct AddArgs {
    /// Which table
    #[arg(value_enum)]
    table: TableArg,
    /// Whose entry
    name: String,
    /// A public key: an OpenSSH line, or a file that holds one
    #[arg(long = "key", value_name = "FILE|LINE", required = true)]
    keys: Vec<String>,
    /// A group of an approver
    #[arg(long = "group", value_name = "NAME")]
    groups: Vec<String>,
    /// Who controls a proposer
    #[arg(long = "owner", value_name = "NAME")]
    owners: Vec<String>,
    /// From when on an approver's signatures count, as 2026-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    valid_after: Option<String>,
    /// Until when
    #[arg(long, value_name = "TIME")]
    valid_before: Option<String>,
    #[command(flatten)]
    draft: DraftArgs,
}

/// What is removed.
#[derive(Debug, clap::Args)]
pub struct RemoveArgs {
    /// Which table
    #[arg(value_enum)]
    table: TableArg,
    /// Whose entry
    name: String,
    /// Only this key of it
    #[arg(long, value_name = "SHA256:…")]
    key: Option<KeyId>,
    #[command(flatten)]
    draft: DraftArgs,
}

/// A table, as people type it.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum TableArg {
    /// Who may sign approvals, and the roster's next version
    Approver,
    /// Who may stop a run and revoke
    Operator,
    /// Who may propose by a key
    Proposer,
    /// A boundary and its keys
    Boundary,
}

impl From<TableArg> for Table {
    fn from(table: TableArg) -> Self {
        match table {
            TableArg::Approver => Self::Approver,
            TableArg::Operator => Self::Operator,
            TableArg::Proposer => Self::Proposer,
            TableArg::Boundary => Self::Boundary,
        }
    }
}

/// What is signed, and how.
#[derive(Debug, clap::Args)]
pub struct SignArgs {
    /// The version's file; the versions before it are looked for beside it
    file: PathBuf,
    /// Write the file with your signature here, instead of into FILE
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Versions before it that do not lie beside it
    #[arg(long, value_name = "FILE")]
    earlier: Vec<PathBuf>,
    /// The policy that it names, to be shown with it
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Only show what would be signed
    #[arg(long, conflicts_with_all = ["yes", "output"])]
    review: bool,
    /// Do not ask; only with --expect
    #[arg(long, requires = "expect")]
    yes: bool,
    /// The digest that the statement must have
    #[arg(long, value_name = "sha256:…")]
    expect: Option<RosterDigest>,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    key: KeyArgs,
}

/// What is merged.
#[derive(Debug, clap::Args)]
pub struct MergeArgs {
    /// The version's file, which gets the signatures
    file: PathBuf,
    /// Files of the same version
    #[arg(value_name = "OTHER")]
    others: Vec<PathBuf>,
    /// Versions before it that do not lie beside FILE
    #[arg(long, value_name = "FILE")]
    earlier: Vec<PathBuf>,
}

/// Shows or changes a roster.
///
/// # Errors
/// Everything that is wrong with it, or why it was not signed.
pub fn run(args: &Args, talk: &Terminal) -> Result<Exit, Failure> {
    match &args.command {
        Command::Show { file, allowed_signers } => show::run(&args.config, file.as_deref(), *allowed_signers, talk),
        Command::Add(add) => draft::add(&args.config, add, talk),
        Command::Remove(remove) => draft::remove(&args.config, remove, talk),
        Command::Draft { draft } => draft::run(&args.config, draft, talk),
        Command::Sign(sign) => sign::run(sign, talk),
        Command::Merge(merge) => sign::merge(merge, talk),
    }
}
