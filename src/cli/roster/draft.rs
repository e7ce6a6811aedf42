//! The `roster add`, `roster remove` and `roster draft` commands write the next version of the roster for signing.

use std::path::Path;

use serde_json::json;

use crate::{
    Config, ConfigArgs,
    node::{
        open_store,
        roster_edit::{self, EditError, RosterEntry, Table},
        roster_file::DraftRoster,
        rosters,
    },
    read_owned, read_policy, roster_file,
};
use client::{CommandFailure, Exit, PrintableText, Terminal, changes, read_bounded, say_standing};
use documents::{Envelope, ForeignKey, KeyId, MAX_KEY_FILE_BYTES, SshKey, public_key_line, time};
use reading::{FileProblem, Problems};
use verdict::{SuccessionTallies, version_file};
use workbench::problems;

/// Commands that write the next version of the roster.
#[derive(Debug, clap::Subcommand)]
pub enum DraftCommand {
    /// Add an entry, or add keys and groups to an entry, and draft the next version
    Add(AddArgs),
    /// Remove an entry, or remove one of its keys for ever, and draft the next version
    Remove(RemoveArgs),
    /// Draft the next version from the present roster.toml and policy
    Draft(DraftArgs),
}

/// Writes the next version of the roster.
///
/// # Errors
/// Returns an error if the roster is invalid or would become invalid, or if nothing changed.
pub fn run(
    config: &ConfigArgs,
    command: &DraftCommand,
    terminal: &Terminal,
) -> Result<Exit, CommandFailure> {
    match command {
        DraftCommand::Add(args) => add(config, args, terminal),
        DraftCommand::Remove(args) => remove(config, args, terminal),
        // The draft is made from the present files.
        DraftCommand::Draft(args) => draft(
            &config.load()?,
            args,
            None,
            |text| Ok(text.to_owned()),
            terminal,
        ),
    }
}

/// Returns the form in UTC of a time with an offset, and every other text as it is.
fn utc(text: &str) -> String {
    time(text).map_or_else(|_| text.to_owned(), |at| at.to_string())
}

/// Adds an entry and writes the draft.
///
/// # Errors
/// Returns an error if the entry exists already, or if the roster would become invalid.
fn add(config: &ConfigArgs, args: &AddArgs, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    let entry = RosterEntry {
        table: args.table.into(),
        name: args.name.clone(),
        keys: args
            .keys
            .iter()
            .map(|key| key_line(key))
            .collect::<Result<_, _>>()?,
        groups: args.groups.clone(),
        owners: args.owners.clone(),
        valid: [&args.valid_after, &args.valid_before].map(|at| at.as_deref().map(utc)),
    };
    let of = |table, what: &str, given: bool| {
        if given && entry.table != table {
            return Err(CommandFailure::usage(format!(
                "the option {what} is for {}s, not for {}s",
                table.word(),
                entry.table.word()
            )));
        }
        Ok(())
    };
    of(Table::Approver, "--group", !entry.groups.is_empty())?;
    of(Table::Proposer, "--owner", !entry.owners.is_empty())?;
    of(
        Table::Approver,
        "--valid-after or --valid-before",
        entry.valid.iter().any(Option::is_some),
    )?;
    let about = Some((entry.table, entry.name.as_str()));
    let exit = draft(
        &config.load()?,
        &args.draft,
        about,
        |text| roster_edit::add(text, &entry),
        terminal,
    )?;
    for key in entry
        .keys
        .iter()
        .filter_map(|line| ForeignKey::parse(line).ok())
    {
        let holder = format!("{} {}", entry.table.word(), entry.name);
        terminal.say(&format!("warning: {}", key.warning(&holder)));
    }
    Ok(exit)
}

/// Removes an entry or a key and writes the draft.
///
/// # Errors
/// Returns an error if the entry or the key does not exist, or if the roster would become invalid.
fn remove(
    config: &ConfigArgs,
    args: &RemoveArgs,
    terminal: &Terminal,
) -> Result<Exit, CommandFailure> {
    let table = args.table.into();
    let about = Some((table, args.name.as_str()));
    draft(
        &config.load()?,
        &args.draft,
        about,
        |text| roster_edit::remove(text, table, &args.name, args.key.as_ref()),
        terminal,
    )
}

/// Returns the OpenSSH line of a key. `key` is the path of a key file or the OpenSSH line itself.
fn key_line(key: &str) -> Result<String, CommandFailure> {
    let line = if SshKey::parse(key).is_ok() || ForeignKey::parse(key).is_ok() {
        key.to_owned()
    } else {
        let path = Path::new(key);
        let bytes = read_bounded(path, MAX_KEY_FILE_BYTES)?;
        let line = public_key_line(&bytes).map_err(|why| {
            CommandFailure::usage(format!("{}: {why}", PrintableText::text(key).as_str()))
        });
        line?.to_owned()
    };
    // A roster may contain a key that this version cannot verify. `roster show` reports that such a key does not count.
    match SshKey::parse(&line)
        .map(|_| ())
        .or_else(|error| ForeignKey::parse(&line).map(|_| ()).map_err(|_| error))
    {
        Ok(()) => Ok(line),
        Err(error) => Err(CommandFailure::usage(format!(
            "{} contains no public key for a roster: {error}; `countersign key show FILE` prints the line of a key",
            PrintableText::text(key).as_str()
        ))),
    }
}

fn draft(
    config: &Config,
    args: &DraftArgs,
    about: Option<(Table, &str)>,
    edit: impl Fn(&str) -> Result<String, EditError>,
    terminal: &Terminal,
) -> Result<Exit, CommandFailure> {
    let one = |problem: FileProblem| problems(problem);
    let all = |found| problems(Problems::new(found));
    let at_source =
        |error: &dyn std::fmt::Display| one(FileProblem::whole(&config.roster, error.to_string()));
    let text = read_owned(&config.roster).map_err(one)?;
    let written = roster_file::read(&config.roster, &text).map_err(all)?;
    let policy = read_policy(config).map_err(all)?;
    let edited = edit(&text).map_err(|error| at_source(&error))?;
    let Some(chain) = rosters::chain(config).map_err(one)? else {
        if open_store::has_log(config).map_err(one)? {
            return Err(CommandFailure::usage(format!(
                "the boundary's log has begun, and {} does not contain version 1 of its roster: start the boundary \
                 once, because the start writes the sealed versions to that directory",
                rosters::directory(config).display()
            )));
        }
        let _same = meant(config, &written, &edited, about)?;
        put(config, &text, &edited)?;
        terminal.say("the log has not begun: this is still version 1, which the first start seals without signatures");
        if terminal.json {
            terminal.object(&json!({"version": 1, "file": config.roster.to_string_lossy()}))?;
        }
        return Ok(Exit::Done);
    };
    let before = chain.last();
    let version = before.version() + 1;
    let numbered = roster_edit::set_version(&edited, version).map_err(|error| at_source(&error))?;
    let next = meant(config, &written, &numbered, about)?;
    let next = next
        .state(Some(before.digest()), policy.digest())
        .map_err(|error| at_source(&error))?;
    let found = changes(before.tables(), next.tables());
    let path = rosters::path(config, version);
    if found.is_empty() && before.policy() == next.policy() {
        return Err(CommandFailure::usage(format!(
            "the files do not differ from version {} of the roster: edit {} or the policy first",
            before.version(),
            config.roster.display()
        )));
    }
    let mut envelope = Envelope::new(next.payload(), Vec::new());
    chain
        .check_follows(&envelope)
        .map_err(|error| at_source(&error))?;
    if let Some(there) = rosters::read(config, version).map_err(one)? {
        if there.payload == envelope.payload && !args.drop_signatures {
            // The signatures in the existing draft remain valid, because the statement has not changed.
            envelope = there;
        } else if !there.signatures.is_empty() && !args.drop_signatures {
            let who = rosters::stated(&path, &there)
                .ok()
                .and_then(|stated| SuccessionTallies::of(before, &stated, &there.signatures).ok())
                .map_or_else(|| "somebody".to_owned(), |standing| names(&standing));
            return Err(CommandFailure::usage(format!(
                "{} is signed already by {who}, so nothing was changed: give --drop-signatures to discard those \
                 signatures",
                path.display()
            )));
        }
    }
    put(config, &text, &numbered)?;
    rosters::write(&path, &envelope).map_err(one)?;
    // `roster sign` refuses a file with signatures that cannot be counted, and reports the reason.
    let standing = SuccessionTallies::of(before, &next, &envelope.signatures);
    if terminal.json {
        terminal.object(&json!({
            "version": version,
            "digest": next.digest(),
            "file": path.to_string_lossy(),
            "policy": {"digest": next.policy(), "changed": before.policy() != next.policy()},
            "guarded": next.is_guarded(),
            "changes": found,
        }))?;
    }
    terminal.say(&format!(
        "version {version} of the roster, {}",
        next.digest()
    ));
    for change in &found {
        terminal.say(&format!("  {} {}", change.what, change.says));
    }
    if before.policy() != next.policy() {
        terminal.say(&format!(
            "  changed the policy: {} to {}",
            before.policy(),
            next.policy()
        ));
    }
    if !next.is_guarded() {
        terminal.say("  UNGUARDED: the following version needs no signature");
    }
    terminal.say(&format!(
        "to sign: countersign roster sign {}",
        path.display()
    ));
    if let Ok(standing) = &standing {
        say_standing(standing, terminal);
    }
    Ok(Exit::Done)
}

fn names(standing: &SuccessionTallies) -> String {
    let mut names: Vec<_> = standing
        .of_before
        .signed
        .iter()
        .chain(&standing.of_next.signed)
        .map(|name| name.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

/// Parses the edited text again, and refuses the edit if it changed an entry that the command does not name.
fn meant(
    config: &Config,
    written: &DraftRoster,
    edited: &str,
    about: Option<(Table, &str)>,
) -> Result<DraftRoster, CommandFailure> {
    let now = roster_file::read(&config.roster, edited)
        .map_err(|found| problems(Problems::new(found)))?;
    let own = about
        .map(|(table, name)| format!("{} {name}", table.word()))
        .unwrap_or_default();
    let is_meant = |says: &str| {
        // The statement contains a group only if at least one approver is in the group.
        says.starts_with("group ")
            || says
                .strip_prefix(&own)
                .is_some_and(|rest| rest.starts_with([';', ':']))
    };
    let odd = changes(written.tables(), now.tables())
        .into_iter()
        .find(|change| !is_meant(&change.says));
    match odd {
        None => Ok(now),
        Some(change) => Err(CommandFailure::usage(format!(
            "this command can't edit {} ({} would be {}): edit the file by hand, then run `countersign roster draft`",
            config.roster.display(),
            change.says,
            change.what
        ))),
    }
}

fn put(config: &Config, before: &str, text: &str) -> Result<(), CommandFailure> {
    if before == text {
        return Ok(());
    }
    version_file::replace(&config.roster, text.as_bytes(), 0o600)
        .map(drop)
        .map_err(|error| {
            CommandFailure::usage(format!(
                "{} can't be written ({error}): nothing was changed",
                config.roster.display()
            ))
        })
}

/// Options for an existing draft.
#[derive(Debug, Clone, clap::Args)]
pub struct DraftArgs {
    /// Replace a draft that people have signed already. Their signatures are lost
    #[arg(long)]
    drop_signatures: bool,
}

/// The entry to add.
#[derive(Debug, clap::Args)]
pub struct AddArgs {
    /// The roster table to which the entry is added
    #[arg(value_enum)]
    table: TableArg,
    /// The name of the new or existing entry
    name: String,
    /// A public key: an OpenSSH line, or a file with such a line
    #[arg(long = "key", value_name = "FILE|LINE", required = true)]
    keys: Vec<String>,
    /// For an approver: the name of a group that the approver joins; may be repeated
    #[arg(long = "group", value_name = "NAME")]
    groups: Vec<String>,
    /// For a proposer: the name of an owner, who cannot approve what the proposer proposes; may be repeated
    #[arg(long = "owner", value_name = "NAME")]
    owners: Vec<String>,
    /// For an approver: the time from which signatures count, such as 2026-01-31T00:00:00Z or 2026-01-31T01:00:00+01:00
    #[arg(long, value_name = "TIME")]
    valid_after: Option<String>,
    /// For an approver: the time from which signatures no longer count
    #[arg(long, value_name = "TIME")]
    valid_before: Option<String>,
    #[command(flatten)]
    draft: DraftArgs,
}

/// The entry to remove.
#[derive(Debug, clap::Args)]
pub struct RemoveArgs {
    /// The roster table that contains the entry
    #[arg(value_enum)]
    table: TableArg,
    /// The name of the entry to remove
    name: String,
    /// Remove only this key, and keep the entry
    #[arg(long, value_name = "SHA256:…")]
    key: Option<KeyId>,
    #[command(flatten)]
    draft: DraftArgs,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum TableArg {
    /// A person who may sign approvals and the next version of the roster
    Approver,
    /// A person who may read everything and cancel runs
    Operator,
    /// A person or program that may propose with a key
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
