//! The `store` command checks the store, backs it up, and restores a backup.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::{
    Config, ConfigArgs, InStore as _,
    cli::store_move,
    in_a_shell,
    node::{backup, kept_checkpoint, last_backup, open_store, places, stored_state},
    restore,
};
use client::{
    CommandFailure, CommandResult, Exit, PrintableText, Signer as _, Terminal, now,
    value_words::counted,
};
use documents::{Name, OidcBinding, joined};
use reading::FileProblem;
use store::{Database, RESTORE, Replicas, ServerTable, StoreDefect, StoreReport, database};
use wire::TokenView;

/// Check, back up and restore the store.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign store check                      # exit code 1: there is a defect
  countersign store backup /backups/monday     # a new directory
  countersign store backup --onto /backups/monday     # later: copies only what is new
  countersign store check /backups/monday
  countersign store restore /backups/monday    # if the store is lost
  countersign store restore /backups/monday --keep-tokens ci,deploy-bot
  countersign store move --from boundary/countersign.db

`check` and `backup` also work while the boundary serves. `restore` begins a new log that names the old log. Do not copy an old database back by hand: the boundary refuses an old database, because spent nonces could be \
spent again.")]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Compare every row with the log, the log with its checkpoints, and all bytes with their digests; changes nothing
    Check {
        /// A backup. The default is the configured store and the closed logs before it
        backup: Option<PathBuf>,
    },
    /// Copy the store and its outputs at one moment; the boundary continues to serve
    ///
    /// The key, roster, policy and runbooks of the boundary are not in the backup: keep them elsewhere.
    ///
    /// With `--onto`, an earlier backup gets only what is new, and is then the same as a whole backup. If this is
    /// interrupted, the backup keeps its earlier state.
    Backup {
        /// A new directory; with `--onto`, the directory of an earlier backup
        dir: PathBuf,
        /// Bring the earlier backup in DIR up to date
        #[arg(long)]
        onto: bool,
    },
    /// Create the schema of the store in a PostgreSQL database, as the owner of the database
    ///
    /// The services use another role, which can add rows to the log but not change them.
    Migrate(Migrate),
    /// Move the log of an SQLite store into the configured PostgreSQL database, without a new log
    ///
    /// The boundary keeps its id, its log and its spent nonces. Stop the service, set `database` in countersign.toml to the
    /// URL of a database with an empty schema, and run this command. An interrupted move continues with the same command.
    /// There is no way back except a backup.
    Move(store_move::Move),
    /// Begin a new log with the state of a backup
    ///
    /// The boundary gets a new id. The first entry of the new log names the last checkpoint of the old log. Roster, policy
    /// and runbooks are those that the backup sealed. The tokens are void, because a backup does not know which tokens
    /// were revoked later. The command prints a line for each token that makes a new secret. Proposals that waited for
    /// signatures become void. Old receipts are kept and shown.
    Restore {
        /// A directory that `store backup` made
        backup: PathBuf,
        /// Tokens whose secrets stay valid, separated by commas, or `all`. Name only tokens that nobody revoked after the
        /// backup was made
        #[arg(long, value_name = "NAME,...|all", value_delimiter = ',')]
        keep_tokens: Vec<Name>,
    },
}

#[derive(clap::Args)]
struct Migrate {
    /// postgres://OWNER@HOST:PORT/DATABASE?schema=SCHEMA, with the owner of the database
    url: String,
    /// The role with which the services connect
    #[arg(long, value_name = "NAME")]
    service_role: String,
    /// File with the password of the owner
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// PEM file with the certificate authorities of the server
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl Migrate {
    fn run(&self, terminal: &Terminal) -> CommandResult {
        let table = ServerTable {
            node: "migration"
                .parse()
                .map_err(|_| CommandFailure::usage("no name"))?,
            password_file: self.password_file.clone(),
            ca: self.ca.clone(),
            certificate: None,
            key: None,
            replicas: Replicas::None,
        };
        database::migrate(&self.url, &table, &self.service_role, &mut |text| {
            terminal.say(text)
        })
        .map_err(CommandFailure::usage)?;
        terminal.say(format!(
            "The schema of the store is ready for the role {}: set `database` and [postgres] in countersign.toml, then start \
             the service.",
            self.service_role
        ));
        Ok(Exit::Done)
    }
}

/// Runs the subcommand.
///
/// # Errors
/// Returns an error if the configuration, the store or the backup cannot be used.
pub fn run(args: &Args, terminal: &Terminal) -> CommandResult {
    let config = || args.config.load();
    match &args.command {
        // The schema does not belong to a configuration.
        Command::Migrate(migrate) => migrate.run(terminal),
        Command::Move(args) => store_move::run(args, &config()?, terminal),
        Command::Check { backup } => check(&config()?, backup.as_deref(), terminal),
        Command::Backup { dir, onto } => back_up(&config()?, dir, *onto, terminal),
        Command::Restore {
            backup,
            keep_tokens,
        } => {
            let restored = restore::restore(&config()?, backup, keep_tokens)?;
            if terminal.json {
                terminal.object(&restored)?;
                return Ok(Exit::Done);
            }
            terminal.line(format!(
                "boundary  {}\nold log   {}, {} entries, now in {}\ntokens    {} kept, {} void",
                restored.id,
                restored.follows,
                restored.entries,
                shown(restored.closed.display()),
                restored.tokens,
                restored.void_tokens.len()
            ))?;
            list_void_tokens(&restored.void_tokens, &args.config.path(None), terminal)?;
            for note in &restored.notes {
                terminal.say(note);
            }
            terminal.say(
                "A new log begins. Proposals that waited for signatures, and standing grants, are void: make them again. Old receipts \
                 verify as before. Replace the pinned boundary id with the new id. A freeze of the old log has ended. If a key \
                 was revoked after the backup, revoke the key again with `countersign revoke`.",
            );
            Ok(Exit::Done)
        }
    }
}

/// Overwrites the line about the progress on a terminal.
fn tell_progress(words: &str, terminal: &Terminal) {
    if !terminal.json && terminal.err_is_terminal {
        let _ = write!(std::io::stderr(), "\r{words}");
    }
}

fn back_up(config: &Config, dir: &Path, onto: bool, terminal: &Terminal) -> CommandResult {
    let began = now();
    let progress =
        |done: u64, all: u64| tell_progress(&format!("{} % ", done * 100 / all.max(1)), terminal);
    let copy = if onto {
        backup::back_up_onto
    } else {
        backup::back_up
    };
    let made = copy(config, dir, &progress)?;
    tell_progress("", terminal);
    if let Err(error) = last_backup::write(config, &made.id, began) {
        terminal.say(format!(
            "note: the backup is complete, but its time can't be stored for `doctor --production` ({error})"
        ));
    }
    let new = if onto {
        format!(" ({} new)", made.added)
    } else {
        String::new()
    };
    if terminal.json {
        terminal.object(&made)?;
        return Ok(Exit::Done);
    }
    terminal.put(format!(
        "{}: {} bytes, {} entries{new}, {} output files\n{}",
        shown(made.backup.display()),
        made.bytes,
        made.entries,
        made.outputs,
        made.checkpoint
    ))?;
    terminal.say(format!(
        "The note above is the signed checkpoint of the log at this moment; the backup has it in the file `{}`.",
        kept_checkpoint::FILE
    ));
    terminal
        .say("The backup has no key: keep boundary/key.pem, the roster, the policy and the runbooks in another place.");
    Ok(Exit::Done)
}

/// Prints each void token with the command that makes a new secret for it, or binds it to the same jobs.
fn list_void_tokens(tokens: &[TokenView], config: &Path, terminal: &Terminal) -> CommandResult<()> {
    if tokens.is_empty() {
        return Ok(());
    }
    terminal.say(
        "These tokens are void, because a backup does not know which tokens were revoked later. To make a new secret for \
         a token that nobody revoked, run its line:",
    );
    let now = now();
    for TokenView { token, .. } in tokens {
        let ends = token
            .expires_at
            .map_or_else(|| "never".to_owned(), |end| end.to_string());
        let mut words = vec![format!(
            "--config {}",
            quoted(&config.display().to_string())
        )];
        words.extend(token.owners.iter().map(|owner| format!("--owner {owner}")));
        words.extend(token.scopes.iter().map(|scope| format!("--scope {scope}")));
        words.extend(
            token
                .patterns
                .iter()
                .map(|pattern| format!("--step {}", quoted(pattern))),
        );
        // The new secret ends when the old secret would have ended.
        words.extend(
            token
                .expires_at
                .map(|end| format!("--expires {}s", (end.unix() - now.unix()).max(1))),
        );
        match &token.oidc {
            None => words.push(format!("--out {}-new.token", token.name)),
            Some(binding) => {
                let OidcBinding {
                    issuer,
                    claims,
                    bind,
                    jwks,
                    ca,
                } = binding;
                words.push(format!("--oidc {}", quoted(issuer)));
                let pair = |option: &str, (name, value)| {
                    format!("--{option} {}", quoted(&format!("{name}={value}")))
                };
                words.extend(claims.iter().map(|claim| pair("claim", claim)));
                words.extend(bind.iter().map(|bound| pair("bind", bound)));
                let files = [("jwks", jwks), ("ca", ca)]
                    .into_iter()
                    .filter(|(_, file)| file.is_some());
                words.extend(files.map(|(option, _)| format!("--{option} FILE")));
            }
        }
        let (name, words) = (&token.name, words.join(" "));
        let owners = if token.owners.is_empty() {
            "none".to_owned()
        } else {
            joined(&token.owners, ", ")
        };
        terminal.line(format!(
            "  {name}  owners: {owners}  ends: {ends}\n    countersign token create {name} {words}"
        ))?;
    }
    Ok(())
}

/// Quotes a word for a shell.
fn quoted(text: &str) -> String {
    in_a_shell(PrintableText::text(text).as_str())
}

fn check(config: &Config, backup: Option<&Path>, terminal: &Terminal) -> CommandResult {
    let mut places = Vec::new();
    let in_directory = |path: &Path| {
        (
            Database::File(path.join(places::DATABASE)),
            path.join(places::OUTPUTS),
        )
    };
    // The lock prevents a service from starting during the check.
    let mut lock = None;
    match backup {
        Some(path) if path.is_dir() => places.push(in_directory(path)),
        Some(path) => places.push((Database::File(path.to_owned()), config.outputs())),
        None => {
            if config.database.exists().is_ok_and(|exists| exists) {
                lock = config.database.lock(&config.data).ok();
            }
            places.push((config.database.clone(), config.outputs()));
            let closed = places::closed(config);
            places.extend(closed.iter().map(|closed| in_directory(closed)));
        }
    }
    let mut wrong = false;
    for (number, (database, outputs)) in places.iter().enumerate() {
        let mut progress =
            |seen: u64, of: u64| tell_progress(&format!("{seen} of {of} entries "), terminal);
        let mut report =
            restore::look_through(config, database, outputs, &mut progress).in_store(database)?;
        tell_progress("", terminal);
        if backup.is_none() && number == 0 {
            report.defects.extend(behind(config, database)?);
        }
        wrong |= !report.defects.is_empty();
        tell(database, &report, terminal)?;
    }
    drop(lock);
    Ok(if wrong { Exit::CheckSaidNo } else { Exit::Done })
}

/// Returns a defect for each known checkpoint that does not match the log.
fn behind(config: &Config, database: &Database) -> CommandResult<Vec<StoreDefect>> {
    // Read the checkpoints before the store is opened, because a running service could store newer checkpoints in
    // between.
    let known = kept_checkpoint::read_known(config);
    let key = open_store::open_key(config)?;
    let defect = |problem: FileProblem| StoreDefect {
        place: problem.file,
        what: problem.message,
        fix: RESTORE,
    };
    let ledger = match stored_state::ledger_at_rest(config, &key, database) {
        Ok(ledger) => ledger,
        Err(problems) => return Ok(problems.list().iter().cloned().map(defect).collect()),
    };
    let compared = kept_checkpoint::compare(config, known, &ledger, key.key()).into_iter();
    Ok(compared
        .filter_map(|(_, result)| Some(defect(result.err()?)))
        .collect())
}

fn tell(database: &Database, report: &StoreReport, terminal: &Terminal) -> CommandResult<()> {
    let root = format!("sha256:{}", documents::hex(&report.root));
    if terminal.json {
        let counts: BTreeMap<_, _> = report.counts.iter().copied().collect();
        return terminal.object(json!({
            "store": database.to_string(),
            "boundary": report.boundary,
            "entries": report.size,
            "root": root,
            "counts": counts,
            "notes": report.notes,
            "defects": report.defects,
        }));
    }
    let mut text = format!("{}\n", shown(database));
    let counts = report
        .counts
        .iter()
        .map(|(what, count)| format!("{count} {what}"));
    text += &format!("  seen      {}\n", joined(counts, ", "));
    text += &format!("  log       {} entries, root {root}\n", report.size);
    for note in &report.notes {
        text += &format!("  note      {}\n", PrintableText::message(note));
    }
    for defect in &report.defects {
        text += &format!(
            "  DEFECT    {}\n",
            PrintableText::text(&format!("{}: {}", defect.place, defect.what))
        );
        text += &format!("            {}\n", defect.fix);
    }
    text += &match report.defects.len() {
        0 => "  no defect\n".to_owned(),
        more => format!("  {}\n", counted(more, "defect")),
    };
    terminal.put(text)
}

fn shown(place: impl std::fmt::Display) -> String {
    PrintableText::text(&place.to_string()).to_string()
}
