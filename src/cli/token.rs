//! `token`: who may propose, read, operate.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use zeroize::Zeroizing;

use crate::cli::configured::ConfigArgs;
use crate::local::problems::problems;
use crate::node::control::{self, ControlReply, ControlRequest};
use crate::node::{serve, start, unit};
use crate::record::ident::Name;
use crate::record::token::{Scope, SealedToken};
use crate::terminal::exit::{CommandFailure, Exit};
use crate::terminal::streams::{Terminal, text_of};

/// Make, list and end tokens.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  countersign token create deploy-bot --owner carol --step 'service:*' --out deploy-bot.token
  countersign token list
  countersign token revoke deploy-bot

A token's owners count as the proposer: they can't approve what it proposes.")]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a token; its secret goes to --out, or is printed, once
    #[command(after_help = "Examples:
  countersign token create agent --owner carol --step 'service:*' --out agent.token
  countersign token create auditor --scope read --expires 30d --out auditor.token
  countersign token create runner --owner carol --scope propose --scope operate

A token without --step is for all steps. Its owners can't approve what it proposes.")]
    Create {
        /// Its name, never used twice; it becomes the proposer
        name: Name,
        /// Somebody of the roster who controls it; may be repeated
        #[arg(long = "owner", value_name = "NAME")]
        owners: Vec<Name>,
        /// What it allows; may be repeated. propose: propose, and see what it proposed; read: see all proposals and receipts, and
        /// the log; operate: see all proposals, and cancel them
        #[arg(long = "scope", value_name = "propose|read|operate", default_value = "propose", value_parser = scope)]
        scopes: Vec<Scope>,
        /// Steps that it is limited to, as patterns over refs; may be repeated; by default all
        #[arg(long = "step", value_name = "PATTERN")]
        patterns: Vec<String>,
        /// When it ends, from now: 12h, 90d
        #[arg(long, value_name = "SPAN", default_value = "90d")]
        expires: String,
        /// Write the secret to this new file, which only you can read (0600)
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// List all tokens ever made, without their secrets
    List,
    /// End a token
    Revoke {
        /// Its name
        name: Name,
    },
}

fn scope(text: &str) -> Result<Scope, String> {
    [Scope::Operate, Scope::Propose, Scope::Read]
        .into_iter()
        .find(|scope| scope.word() == text)
        .ok_or_else(|| "write propose, read or operate".to_owned())
}

/// Asks the boundary that serves; where none does, the store itself.
///
/// # Errors
/// When the boundary refuses, or can't be opened.
pub fn run(args: &Args, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    let config = args.config.load()?;
    let request = match &args.command {
        Command::Create { name, owners, scopes, patterns, expires, out: _ } => {
            let seconds = unit::seconds(expires).map_err(CommandFailure::usage)?;
            let now = (start::surroundings().now)();
            let token = SealedToken {
                name: name.clone(),
                owners: sorted(owners),
                scopes: sorted(scopes),
                patterns: sorted(patterns),
                expires_at: Some(now.plus(seconds)),
            };
            ControlRequest::TokenCreate { token }
        }
        Command::List => ControlRequest::TokenList,
        Command::Revoke { name } => ControlRequest::TokenRevoke { name: name.clone() },
    };
    // The file comes first: a secret that has no place to go would be lost, and a token's name is never used twice.
    let mut out = match &args.command {
        Command::Create { out: Some(path), .. } => Some(SecretFile::create(path)?),
        _ => None,
    };
    let one = |problem: crate::node::problem::FileProblem| problems(problem.into());
    let socket = config.socket();
    let (answer, notes) = match control::ask(&socket, &request).map_err(one)? {
        Some(answer) => (answer, None),
        None => serve::answer_offline(config, request.clone())
            .map(|(answer, notes)| (answer, Some(notes)))
            .map_err(problems)?,
    };
    if let (ControlReply::Ok(_), ControlRequest::TokenCreate { token }) = (&answer, &request) {
        tell_of(token, &notes.unwrap_or_else(|| notes_of(&socket)), terminal);
    }
    match answer {
        ControlReply::Error(message) => Err(CommandFailure::new(Exit::Refused, message)),
        ControlReply::Ok(value) => {
            match &mut out {
                Some(file) => file.fill(&value, &request, terminal)?,
                None => print(&request, &value, terminal)?,
            }
            Ok(Exit::Done)
        }
    }
}

/// A new file for a secret. It is removed again when no secret came.
struct SecretFile {
    path: PathBuf,
    file: File,
    filled: bool,
}

impl SecretFile {
    fn create(path: &Path) -> Result<Self, CommandFailure> {
        let file = File::options().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
            let advice = if error.kind() == ErrorKind::AlreadyExists { "; choose another name" } else { "" };
            CommandFailure::usage(format!("can't write {}: {error}{advice}; no token was made", path.display()))
        })?;
        Ok(Self { path: path.to_owned(), file, filled: false })
    }

    fn fill(&mut self, secret: &Value, request: &ControlRequest, terminal: &Terminal) -> Result<(), CommandFailure> {
        let ControlRequest::TokenCreate { token } = request else { return Ok(()) };
        let text = Zeroizing::new(format!("{}\n", secret.as_str().unwrap_or_default()));
        self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_all()).map_err(|error| {
            CommandFailure::usage(format!(
                "can't write {}: {error}; the secret is lost, so end the token: countersign token revoke {}",
                self.path.display(),
                token.name
            ))
        })?;
        self.filled = true;
        if terminal.json {
            return terminal.object(&serde_json::json!({"token": token, "file": self.path.to_string_lossy()}));
        }
        terminal.say(&format!(
            "wrote {} (mode 0600); give it with --token-file or COUNTERSIGN_TOKEN_FILE",
            self.path.display()
        ));
        warn_without_owner(token, terminal);
        Ok(())
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        if !self.filled {
            // It is empty or cut off. If it can't be removed it holds no token that works.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn warn_without_owner(token: &SealedToken, terminal: &Terminal) {
    if token.owners.is_empty() {
        terminal.say("It has no owner: nobody but the token itself is kept from approving what it proposes.");
    }
}

fn sorted<T: Ord + Clone>(items: &[T]) -> Vec<T> {
    let mut items = items.to_vec();
    items.sort();
    items.dedup();
    items
}

fn print(request: &ControlRequest, value: &Value, terminal: &Terminal) -> Result<(), CommandFailure> {
    match request {
        ControlRequest::TokenCreate { token } if terminal.json => {
            terminal.object(&serde_json::json!({"token": token, "secret": value}))
        }
        _ if terminal.json => terminal.object(value),
        ControlRequest::TokenCreate { token } => {
            terminal.say("The secret is shown this once; who has it may use the token. Give it in COUNTERSIGN_TOKEN or a file of mode 0600.");
            warn_without_owner(token, terminal);
            terminal.line(value.as_str().unwrap_or_default())
        }
        ControlRequest::TokenRevoke { name } => terminal.line(&format!("{name} is revoked")),
        _ => list(value, terminal),
    }
}

fn list(value: &Value, terminal: &Terminal) -> Result<(), CommandFailure> {
    let joined = |token: &Value, field: &str, none: &str| {
        let items: Vec<&str> = token[field].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if items.is_empty() { none.to_owned() } else { items.join(",") }
    };
    let mut rows = vec![["NAME", "STATE", "SCOPES", "OWNERS", "STEPS", "ENDS"].map(str::to_owned)];
    let now = (start::surroundings().now)().to_string();
    for token in value.as_array().into_iter().flatten() {
        let ends = text_of(token, "expires_at");
        let state = if !text_of(token, "revoked_at").is_empty() {
            "revoked"
        } else if !ends.is_empty() && ends <= now.as_str() {
            "expired"
        } else {
            "valid"
        };
        rows.push([
            text_of(token, "name").to_owned(),
            state.to_owned(),
            joined(token, "scopes", "-"),
            joined(token, "owners", "-"),
            joined(token, "patterns", "all"),
            if ends.is_empty() { "never".to_owned() } else { ends.to_owned() },
        ]);
    }
    terminal.put(crate::terminal::table::aligned(&rows).as_bytes())
}

/// What a service says to an operator.
fn notes_of(socket: &Path) -> Vec<String> {
    match control::ask(socket, &ControlRequest::Status) {
        Ok(Some(ControlReply::Ok(status))) => {
            status["notes"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

/// What can't be approved of a new token's proposals.
fn tell_of(token: &SealedToken, notes: &[String], terminal: &Terminal) {
    let ours = [" are refused", " and of "].map(|next| format!(" by {}{next}", token.name));
    for note in notes.iter().filter(|note| ours.iter().any(|ours| note.contains(ours))) {
        terminal.say(&format!("note: {note}"));
    }
}
