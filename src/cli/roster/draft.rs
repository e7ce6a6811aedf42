//! The `roster add`, `roster remove` and `roster set` commands write the draft of the next version of the roster.
//!
//! The file also finds the roster in force of the boundary that the configuration names.

use std::path::Path;

use serde_json::{Value, json};

use crate::{
    Config, ConfigArgs, InFile as _, NodeStatus,
    node::{open_store, roster_succession, rosters},
    read_policy,
};
use client::{
    CommandFailure, CommandResult, Exit, PrintableText, Terminal, changes, fail_usage,
    read_bounded, say_standing,
};
use documents::{
    Envelope, ForeignKey, KeyId, MAX_KEY_FILE_BYTES, Roster, SshKey, json as strict,
    public_key_line,
};
use reading::{FileProblem, time};
use verdict::{Chain, SuccessionTallies, TrustedRoster};

/// Commands that write the draft of the next version of the roster.
#[derive(clap::Subcommand)]
pub enum DraftCommand {
    /// Add an entry to the draft, or add keys and groups to an entry
    Add(AddArgs),
    /// Remove an entry from the draft, or remove one of its keys for ever
    Remove(RemoveArgs),
    /// Set a value of the draft; without a value, only check the draft and take the present policy
    Set(SetArgs),
}

/// Writes the draft of the next version.
///
/// # Errors
/// Returns an error if the draft is invalid or would become invalid, or if a change has no effect.
pub fn run(config: &ConfigArgs, command: &DraftCommand, terminal: &Terminal) -> CommandResult {
    let config = config.load()?;
    let policy = read_policy(&config)?;
    let chain = rosters::chain(&config)?;
    if chain.is_none() && open_store::has_log(&config)? {
        return fail_usage(format!(
            "the boundary's log has begun, and {} does not contain version 1 of its roster: start the boundary \
             once, because the start writes the sealed versions to that directory",
            config.rosters.display()
        ));
    }
    let before = chain.as_ref().map(Chain::last);
    let version = before.map_or(1, |before| before.version() + 1);
    let path = rosters::draft_path(&config);

    let mut draft = present(&config, chain.as_ref(), version)?;
    draft.version = version;
    draft.previous = before.map(TrustedRoster::digest);
    draft.policy = policy.digest();
    let written = serde_json::to_value(&draft).unwrap_or_default();
    let mut edited = written.clone();
    match command {
        DraftCommand::Add(args) => add(&mut edited, args)?,
        DraftCommand::Remove(args) => remove(&mut edited, args)?,
        DraftCommand::Set(args) => set(&mut edited, args)?,
    }
    if edited == written && !matches!(command, DraftCommand::Set(_)) {
        return fail_usage("the draft has all of this already: nothing was changed");
    }
    let draft: Roster = strict::typed(&edited).at(&path)?;
    let next = TrustedRoster::from_tables(draft).at(&path)?;
    let envelope = Envelope::new(next.payload(), Vec::new());
    if let Some(chain) = &chain {
        let _follows = chain.check_follows(&envelope).at(&path)?;
    }
    let found = before.map(|before| changes(before.tables(), next.tables()));
    let found = found.unwrap_or_default();
    let is_new_policy = before.is_some_and(|before| before.policy() != next.policy());
    let is_changed = !found.is_empty() || is_new_policy;
    let standing = before.map(|before| SuccessionTallies::of(before, &next, &[]));
    let standing = standing.transpose().at(&path)?;
    let signed = rosters::path(&config, version);
    let there = rosters::read(&config, version)?;
    let other = there.as_ref().and_then(|there| {
        (there.payload != envelope.payload).then(|| {
            format!(
                "{} has another content and {} signatures: to use this draft, delete that file first",
                signed.display(),
                there.signatures.len()
            )
        })
    });
    let needs_nobody = standing
        .as_ref()
        .is_some_and(SuccessionTallies::is_complete);
    if let (true, Some(other)) = (needs_nobody && is_changed, &other) {
        return fail_usage(other);
    }
    rosters::write_draft(&config, next.tables())?;
    if terminal.json {
        terminal.object(json!({
            "version": version,
            "digest": next.digest(),
            "file": path.to_string_lossy(),
            "policy": {"digest": next.policy(), "changed": is_new_policy},
            "guarded": next.is_guarded(),
            "changes": found,
        }))?;
    }
    terminal.say(format!(
        "draft of version {version} of the roster, {}",
        next.digest()
    ));
    for change in &found {
        terminal.say(format!("  {} {}", change.what, change.says));
    }
    if let (Some(before), true) = (before, is_new_policy) {
        let (old, new) = (before.policy(), next.policy());
        terminal.say(format!("  changed the policy: {old} to {new}"));
    }
    for (holder, key) in next.foreign_keys() {
        let is_known = before.is_some_and(|before| {
            let mut known = before.foreign_keys().iter();
            known.any(|(_, known)| known.keyid() == key.keyid())
        });
        if !is_known {
            terminal.say(format!("warning: {}", key.warning(holder)));
        }
    }
    if !next.is_guarded() {
        terminal.say("  UNGUARDED: the following version needs no signature");
    }
    let Some(standing) = standing else {
        terminal
            .say("the log has not begun: the first start seals this version without signatures");
        return Ok(Exit::Done);
    };
    if !needs_nobody {
        terminal.say(format!(
            "to sign: countersign roster sign {}",
            path.display()
        ));
        if let Some(other) = other {
            terminal.say(&other);
        }
    } else if !is_changed {
        terminal.say(format!(
            "the draft has no change yet: edit {}, then run `countersign roster set`",
            path.display()
        ));
        return Ok(Exit::Done);
    } else if there.is_some() {
        // The chain has no such version, so a signature in the file does not count.
        let signed = signed.display();
        terminal.say(format!(
            "{signed} has this content, but a signature in it does not count: run `countersign roster merge {signed}`"
        ));
        return Ok(Exit::Done);
    } else {
        // After a crash before this write, the draft is complete, and the next `roster set` writes the version.
        rosters::write(&signed, &envelope)?;
    }
    say_standing(&standing, terminal);
    Ok(Exit::Done)
}

/// Returns the draft of the next version, or the tables of the version before if there is no such draft.
fn present(config: &Config, chain: Option<&Chain>, version: u64) -> Result<Roster, FileProblem> {
    let problem = |says: String| FileProblem::whole(rosters::draft_path(config), says);
    match (rosters::read_draft(config)?, chain) {
        (Some(draft), _) if draft.version == version => Ok(draft),
        (Some(draft), _) if draft.version > version => Err(problem(format!(
            "the draft is version {}, but the next version is {version}: correct `version`, or move the file away",
            draft.version
        ))),
        (Some(draft), Some(chain)) if is_edited(&draft, chain) => Err(problem(format!(
            "the draft is version {} and differs from that version: write `\"version\": {version}` to keep its changes, \
             or move the file away",
            draft.version
        ))),
        (_, Some(chain)) => Ok(chain.last().tables().clone()),
        (_, None) => Err(problem(
            "the draft is missing: write the first version with `countersign init`".to_owned(),
        )),
    }
}

/// Returns true if the draft of an earlier version is not the content of this version. The commands write `previous` and
/// `policy`, so these fields may differ.
fn is_edited(draft: &Roster, chain: &Chain) -> bool {
    let own = chain.version(draft.version);
    own.is_none_or(|own| {
        let own = own.tables();
        *draft
            != Roster {
                previous: draft.previous,
                policy: draft.policy,
                ..own.clone()
            }
    })
}

/// Adds an entry, or adds keys, groups and owners to an entry.
fn add(draft: &mut Value, args: &AddArgs) -> CommandResult<()> {
    for (option, table, is_given) in [
        ("--group", TableArg::Approver, !args.groups.is_empty()),
        ("--owner", TableArg::Proposer, !args.owners.is_empty()),
        (
            "--valid-after or --valid-before",
            TableArg::Approver,
            args.valid_after.is_some() || args.valid_before.is_some(),
        ),
    ] {
        if is_given && args.table != table {
            return fail_usage(format!("the option {option} is for {}", table.word()));
        }
    }
    let keys = args.keys.iter().map(|key| key_line(key));
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    for group in &args.groups {
        draft["groups"]
            .as_object_mut()
            .map(|groups| groups.entry(group).or_insert_with(|| json!({})));
    }
    let entry = &mut draft[args.table.word()][&args.name];
    let lists = [
        ("keys", &keys, None),
        ("groups", &args.groups, Some(TableArg::Approver)),
        ("owners", &args.owners, Some(TableArg::Proposer)),
    ];
    for (field, items, _) in lists
        .into_iter()
        .filter(|(_, _, table)| table.is_none_or(|table| table == args.table))
    {
        let list = &mut entry[field];
        let mut all = list.as_array().cloned().unwrap_or_default();
        let new = items.iter().filter(|item| !all.contains(&json!(item)));
        let new: Vec<Value> = new.map(|item| json!(item)).collect();
        all.extend(new);
        *list = Value::Array(all);
    }
    for (field, at) in [
        ("valid_after", &args.valid_after),
        ("valid_before", &args.valid_before),
    ] {
        if let Some(at) = at {
            // A time with an offset becomes a time in UTC.
            entry[field] = json!(time(at).map_or_else(|_| at.clone(), |at| at.to_string()));
        }
    }
    Ok(())
}

/// Removes an entry or one of its keys.
fn remove(draft: &mut Value, args: &RemoveArgs) -> CommandResult<()> {
    let (table, name) = (args.table.word(), &args.name);
    let missing = || {
        CommandFailure::usage(format!(
            "{name} is not in `{table}` of the roster: nothing was changed"
        ))
    };
    let entries = draft[table].as_object_mut().ok_or_else(missing)?;
    let Some(key) = &args.key else {
        return entries.remove(name).map(drop).ok_or_else(missing);
    };
    let keys = entries.get_mut(name).ok_or_else(missing)?["keys"].as_array_mut();
    let keys = keys.ok_or_else(missing)?;
    let before = keys.len();
    keys.retain(|line| keyid(line.as_str().unwrap_or_default()).as_ref() != Some(key));
    if keys.len() == before {
        return fail_usage(format!("{name} has no key {key}: nothing was changed"));
    }
    if keys.is_empty() {
        return fail_usage(format!(
            "{key} is the only key of {name}: add another key first, or remove {name} completely"
        ));
    }
    Ok(())
}

fn keyid(line: &str) -> Option<KeyId> {
    let key = SshKey::parse(line).map(|key| key.keyid()).ok();
    key.or_else(|| ForeignKey::parse(line).map(|key| key.keyid()).ok())
}

/// Sets a value. `null` removes the value.
fn set(draft: &mut Value, args: &SetArgs) -> CommandResult<()> {
    let (Some(field), Some(value)) = (&args.field, &args.value) else {
        return Ok(());
    };
    let value = strict::parse(value.as_bytes(), value.len()).unwrap_or_else(|_| json!(value));
    let pointer = format!("/{field}");
    let (parent, last) = pointer.rsplit_once('/').unwrap_or_default();
    let parent = draft.pointer_mut(parent).and_then(Value::as_object_mut);
    let parent = parent.ok_or_else(|| {
        CommandFailure::usage(format!(
            "the roster has no place {field}: name a field such as threshold or groups/ops/presence"
        ))
    })?;
    let last = last.replace("~1", "/").replace("~0", "~");
    if value.is_null() {
        parent.remove(&last);
    } else {
        parent.insert(last, value);
    }
    Ok(())
}

/// Returns the OpenSSH line of a key. `key` is the path of a key file or the OpenSSH line itself.
fn key_line(key: &str) -> CommandResult<String> {
    if keyid(key).is_some() {
        return Ok(key.to_owned());
    }
    let shown = PrintableText::text(key);
    let bytes = read_bounded(Path::new(key), MAX_KEY_FILE_BYTES)?;
    let line = public_key_line(&bytes)
        .map_err(|why| CommandFailure::usage(format!("{}: {why}", shown.as_str())))?;
    // A roster may contain a key that this version cannot verify. `roster show` reports that such a key does not count.
    match SshKey::parse(line) {
        Err(error) if keyid(line).is_none() => fail_usage(format!(
            "{} contains no public key for a roster: {error}; `countersign key show FILE` prints the line of a key",
            shown.as_str()
        )),
        _ => Ok(line.to_owned()),
    }
}

/// The entry to add.
#[derive(clap::Args)]
pub struct AddArgs {
    /// The kind of the entry
    #[arg(value_enum)]
    table: TableArg,
    /// The name of the new or existing entry
    name: String,
    /// A public key: an OpenSSH line, or a file with such a line
    #[arg(long = "key", value_name = "FILE|LINE", required = true)]
    keys: Vec<String>,
    /// For an approver: the name of a group that the approver joins; may be repeated. A new group is added to the roster
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
}

/// The entry to remove.
#[derive(clap::Args)]
pub struct RemoveArgs {
    /// The kind of the entry
    #[arg(value_enum)]
    table: TableArg,
    /// The name of the entry to remove
    name: String,
    /// Remove only this key, and keep the entry
    #[arg(long, value_name = "SHA256:…")]
    key: Option<KeyId>,
}

/// The value to set.
#[derive(clap::Args)]
pub struct SetArgs {
    /// The place of the value, such as threshold or groups/ops/presence. Write ~1 for a slash in a name
    #[arg(requires = "value")]
    field: Option<String>,
    /// The value: JSON or a text. null removes the value
    value: Option<String>,
}

documents::words! {
    #[derive(clap::ValueEnum)]
    enum TableArg {
        /// A person who may sign approvals and the next version of the roster
        Approver = "approvers",
        /// A person who may read everything and cancel runs
        Operator = "operators",
        /// A person or program that may propose with a key
        Proposer = "proposers",
        /// A boundary and its keys
        Boundary = "boundaries",
    }
}

/// Returns the roster in force from the running service or the files. Before the first start, this is the
/// draft of version 1.
///
/// # Errors
/// Returns all errors of the roster.
pub fn of_configuration(
    config: &ConfigArgs,
    terminal: &Terminal,
) -> CommandResult<(Envelope, TrustedRoster)> {
    let config = config.load()?;
    // The sealed roster is in force, even if the files differ. A running boundary reports the version of the sealed
    // roster, and whether the files differ.
    let status = NodeStatus::ask(&config).ok().flatten();
    for note in status.iter().flat_map(|status| &status.ready.notes) {
        terminal.say(format!("note: {note}"));
    }
    let in_force = status.map(|status| status.ready.roster.digest);
    if let Some(waits) = roster_succession::waiting(&config) {
        terminal.say(&waits);
    }
    if let Some(chain) = rosters::chain(&config)? {
        if let Some(known) = in_force.and_then(|digest| chain.number_of(&digest))
            && known < chain.last().version()
        {
            terminal.say(format!(
                "version {} is signed: {} to put it in force, or to see why it can't be",
                chain.last().version(),
                config.puts_in_force()
            ));
        }
        let last = chain.last().version();
        let wanted = in_force.map_or(Some(last), |digest| chain.number_of(&digest));
        let wanted =
            wanted.and_then(|version| Some((chain.envelope(version)?, chain.version(version)?)));
        if let Some((envelope, roster)) = wanted {
            if in_force.is_none() && roster.version() > 1 {
                terminal
                    .say("the boundary does not serve: this is the newest signed version, which the next start seals");
            }
            return Ok((envelope, roster));
        }
    }
    if let Some(digest) = in_force {
        return fail_usage(format!(
            "the roster in force is {digest}, and no file in {} contains it: start the boundary again, because the \
             start writes the sealed versions there",
            config.rosters.display()
        ));
    }
    let policy = read_policy(&config)?;
    let first = rosters::newest(&config, Some(&policy))?;
    Ok((
        Envelope::new(first.last().payload(), Vec::new()),
        first.last().clone(),
    ))
}
