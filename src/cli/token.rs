//! The `token` command makes, lists and revokes tokens.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::Deserialize as _;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::{
    Config, ConfigArgs, ControlRequest, NodeStatus,
    cli::seal::{self, texts},
    read_owned,
};
use boundary::bearer;
use client::{
    CommandFailure, CommandResult, Exit, PrintableText, Terminal, aligned, fail_usage, now,
    with_header,
};
use documents::{ContentDigest, Name, OidcBinding, Scope, SealedToken, joined, sha256};
use reading::duration;
use wire::{TokenView, pairs};

/// Make, list and revoke tokens.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign token create deploy-bot --owner carol --step 'service:*' --out deploy-bot.token
  countersign token list
  countersign token revoke deploy-bot

The owners of a token count as its proposer, so they can't approve its proposals.")]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Make a token, and print its secret once or write it to the file of --out
    #[command(after_help = "Examples:
  countersign token create agent --owner carol --step 'service:*' --out agent.token
  countersign token create auditor --scope read --expires 30d --out auditor.token
  countersign token create runner --owner carol --scope propose --scope operate
  countersign token create ci --oidc https://token.actions.githubusercontent.com --claim repository_id=1234 \
    --claim repository_owner_id=56 --claim ref=refs/heads/main --owner carol --step 'deploy:*' --bind commit=sha

With --oidc, the token has no secret: the ID token of a CI job opens it for ten minutes at a time. The job must get the ID \
token for the audience that this command prints (`countersign propose --oidc --boundary-id ID` does so). A token without --step is for all steps. The owners of a token can't approve its proposals.")]
    Create(Box<CreateArgs>),
    /// List all tokens that were ever made, without their secrets
    List,
    /// Revoke a token
    Revoke {
        /// The name of the token
        name: Name,
    },
}

#[derive(clap::Args)]
struct CreateArgs {
    /// The name of the token, which is never used twice in one log. The name becomes the name of the proposer
    name: Name,
    /// A person in the roster who controls the token; may be repeated
    #[arg(long = "owner", value_name = "NAME")]
    owners: Vec<Name>,
    /// A right of the token; may be repeated. propose: make proposals and see them; read: see all proposals, all
    /// receipts and the log; operate: see and cancel all proposals
    #[arg(long = "scope", value_name = "propose|read|operate", default_value = "propose", value_parser = scope)]
    scopes: Vec<Scope>,
    /// A pattern for the steps that the token may use; may be repeated; the default is all steps. `*` does not match
    /// `/`, so write `deploy/**` for all steps of a folder
    #[arg(long = "step", value_name = "PATTERN")]
    patterns: Vec<String>,
    /// The time until the token expires: 12h, 90d
    #[arg(long, value_name = "SPAN", default_value = "90d")]
    expires: String,
    /// Write the secret to this new file, which only you can read (0600)
    #[arg(long, value_name = "FILE", conflicts_with = "oidc")]
    out: Option<PathBuf>,
    #[command(flatten)]
    jobs: JobArgs,
}

/// The jobs that open a token without a secret.
#[derive(clap::Args)]
struct JobArgs {
    /// The issuer of ID tokens: the token has no secret, and the jobs of this issuer with the claims of --claim open it
    #[arg(long, value_name = "ISSUER", requires = "claims")]
    oidc: Option<String>,
    /// With --oidc: a claim that the ID token must have, with exactly this value; may be repeated. GitHub needs
    /// repository_id and repository_owner_id, GitLab project_id and ref_protected. Jobs of pull requests need event_name
    #[arg(long = "claim", value_name = "NAME=VALUE", requires = "oidc", value_parser = pair)]
    claims: Vec<(String, String)>,
    /// With --oidc: a parameter that each proposal of the job must have, with the value of this claim; may be repeated
    #[arg(long, value_name = "PARAM=CLAIM", requires = "oidc", value_parser = pair)]
    bind: Vec<(String, String)>,
    /// With --oidc: a file with the keys of the issuer (a JWK set). The boundary then never asks the issuer
    #[arg(long, value_name = "FILE", requires = "oidc")]
    jwks: Option<PathBuf>,
    /// With --oidc: a PEM file with the certificate authorities of the issuer, instead of those of the boundary's system
    #[arg(long, value_name = "FILE", requires = "oidc", conflicts_with = "jwks")]
    ca: Option<PathBuf>,
}

impl JobArgs {
    /// Returns the binding, with the keys and the certificate authorities of the issuer.
    fn binding(&self) -> CommandResult<(Option<OidcBinding>, [Option<String>; 2])> {
        let Some(issuer) = self.oidc.clone() else {
            return Ok((None, [None, None]));
        };
        let map = |option: &str, pairs: &[(String, String)]| {
            let map: BTreeMap<String, String> = pairs.iter().cloned().collect();
            if map.len() == pairs.len() {
                return Ok(map);
            }
            fail_usage(format!(
                "{option} names the same thing twice: write each name once"
            ))
        };
        let file = |path: &Option<PathBuf>| path.as_deref().map(text_file).transpose();
        let files = [file(&self.jwks)?, file(&self.ca)?];
        let [jwks, ca] = files
            .each_ref()
            .map(|file| Some(ContentDigest::of(file.as_ref()?.as_bytes())));
        let binding = OidcBinding {
            issuer,
            claims: map("--claim", &self.claims)?,
            bind: map("--bind", &self.bind)?,
            jwks,
            ca,
        };
        Ok((Some(binding), files))
    }
}

/// Maximum size of a file of an issuer in bytes. The keys of GitHub have 8 KiB.
const MAX_ISSUER_FILE: usize = 64 << 10;

fn text_file(path: &Path) -> CommandResult<String> {
    let text = read_owned(path).map_err(CommandFailure::usage)?;
    if text.len() > MAX_ISSUER_FILE {
        return fail_usage(format!(
            "{} has more than {MAX_ISSUER_FILE} bytes",
            path.display()
        ));
    }
    Ok(text)
}

fn pair(text: &str) -> Result<(String, String), &'static str> {
    let pair = text
        .split_once('=')
        .filter(|(name, value)| !name.is_empty() && !value.is_empty());
    pair.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or("write NAME=VALUE")
}

fn scope(text: &str) -> Result<Scope, &'static str> {
    Scope::ALL
        .into_iter()
        .find(|scope| scope.word() == text)
        .ok_or("the scope must be propose, read or operate")
}

/// Sends the request to the running boundary, or uses the store directly if no boundary runs.
///
/// # Errors
/// Returns an error if the boundary refuses, or if the store cannot be opened.
pub fn run(args: &Args, terminal: &Terminal) -> CommandResult {
    let config = args.config.load()?;
    match &args.command {
        Command::Create(args) => create(&config, args, terminal)?,
        Command::List => list(&seal::ask(&config, ControlRequest::TokenList)?, terminal)?,
        Command::Revoke { name } => {
            let value = seal::ask(&config, ControlRequest::TokenRevoke { name: name.clone() })?;
            return terminal.answer(&value, format!("{name} is revoked"));
        }
    }
    Ok(Exit::Done)
}

fn create(config: &Config, args: &CreateArgs, terminal: &Terminal) -> CommandResult<()> {
    let seconds = duration(&args.expires).map_err(CommandFailure::usage)?;
    let (oidc, [jwks, ca]) = args.jobs.binding()?;
    let mut random = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *random).map_err(CommandFailure::usage)?;
    // Only the digest of a digest of the secret leaves this process.
    let secret = Zeroizing::new(bearer(*random));
    let credential = match &oidc {
        Some(binding) => binding.credential().map_err(CommandFailure::usage)?,
        None => SealedToken::of_secret(&sha256(secret.as_bytes())),
    };
    let token = SealedToken {
        name: args.name.clone(),
        owners: sorted(&args.owners),
        scopes: sorted(&args.scopes),
        patterns: sorted(&args.patterns),
        expires_at: Some(now().plus(seconds)),
        credential,
        oidc,
    };
    // Create the file first, because the secret is available only once and the name of a token cannot be used again.
    let file = args.out.as_deref().map(SecretFile::create).transpose()?;
    let request = ControlRequest::TokenCreate {
        token: Box::new(token.clone()),
        jwks,
        ca,
    };
    let (value, notes) = seal::answer(config, request)?;
    let notes = notes.unwrap_or_else(|| {
        let status = NodeStatus::ask(config).ok().flatten();
        status.map(|status| status.ready.notes).unwrap_or_default()
    });
    tell_of(&token, &notes, terminal);
    let Some(binding) = &token.oidc else {
        if let Some(file) = file {
            return file.fill(&secret, &token, terminal);
        }
        if terminal.json {
            return terminal.object(json!({"token": token, "secret": *secret}));
        }
        terminal.say(
            "The secret is shown only once, and anyone with the secret can use the token. Give the secret in \
             COUNTERSIGN_TOKEN or a file of mode 0600.",
        );
        warn_without_owner(&token, terminal);
        return terminal.line(&*secret);
    };
    for warning in texts(&value["warnings"]) {
        terminal.say(format!("warning: {warning}"));
    }
    let audience = &value["audience"];
    if terminal.json {
        return terminal.object(json!({"token": token, "audience": audience}));
    }
    terminal.say(format!(
        "{} has no secret: {}. Jobs must get their ID tokens for this audience:",
        token.name,
        binding_words(binding)
    ));
    warn_without_owner(&token, terminal);
    terminal.line(audience.as_str().unwrap_or_default())
}

/// New file for the secret of a token. The file is deleted again if no secret is written.
struct SecretFile {
    path: PathBuf,
    file: File,
    filled: bool,
}

impl SecretFile {
    fn create(path: &Path) -> CommandResult<Self> {
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| {
                let advice = if error.kind() == ErrorKind::AlreadyExists {
                    "; choose another name"
                } else {
                    ""
                };
                CommandFailure::usage(format!(
                    "can't write {}: {error}{advice}; no token was made",
                    path.display()
                ))
            })?;
        Ok(Self {
            path: path.to_owned(),
            file,
            filled: false,
        })
    }

    fn fill(mut self, secret: &str, token: &SealedToken, terminal: &Terminal) -> CommandResult<()> {
        let text = Zeroizing::new(format!("{secret}\n"));
        self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_all()).map_err(|error| {
            CommandFailure::usage(format!(
                "can't write {}: {error}; the secret is lost, so revoke the token: countersign token revoke {}",
                self.path.display(),
                token.name
            ))
        })?;
        self.filled = true;
        if terminal.json {
            return terminal.object(json!({"token": token, "file": self.path.to_string_lossy()}));
        }
        terminal.say(format!(
            "wrote the token to {} (mode 0600); commands read it with --token-file or COUNTERSIGN_TOKEN_FILE",
            self.path.display()
        ));
        warn_without_owner(token, terminal);
        Ok(())
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        if !self.filled {
            // An error is ignored, because the file contains no usable token.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn warn_without_owner(token: &SealedToken, terminal: &Terminal) {
    if token.owners.is_empty() && token.scopes.contains(&Scope::Propose) {
        terminal.say("The token has no owner, so every approver may approve its proposals.");
    }
}

fn sorted<T: Ord + Clone>(items: &[T]) -> Vec<T> {
    let mut items = items.to_vec();
    items.sort();
    items.dedup();
    items
}

fn list(value: &Value, terminal: &Terminal) -> CommandResult<()> {
    if terminal.json {
        return terminal.object(value);
    }
    let tokens = Vec::<TokenView>::deserialize(value).map_err(CommandFailure::unreachable)?;
    let or = |words: String, none: &str| {
        if words.is_empty() {
            none.to_owned()
        } else {
            words
        }
    };
    let now = now();
    let row = |TokenView {
                   token, revoked_at, ..
               }: &TokenView| {
        let ends = token.expires_at;
        let state = match revoked_at {
            Some(_) => "revoked",
            None if ends.is_some_and(|end| end <= now) => "expired",
            None => "valid",
        };
        let scopes = token.scopes.iter().map(|scope| scope.word());
        [
            token.name.to_string(),
            state.to_owned(),
            or(joined(scopes, ","), "-"),
            or(joined(&token.owners, ","), "-"),
            or(joined(&token.patterns, ","), "all"),
            ends.map_or_else(|| "never".to_owned(), |end| end.to_string()),
        ]
    };
    let header = ["NAME", "STATE", "SCOPES", "OWNERS", "STEPS", "ENDS"];
    let rows = with_header(header, tokens.iter().map(row));
    terminal.put(aligned(&rows))?;
    for TokenView { token, .. } in &tokens {
        if let Some(binding) = &token.oidc {
            let words = binding_words(binding);
            terminal.line(format!("{} has no secret: {words}", token.name))?;
        }
    }
    Ok(())
}

/// Returns the jobs of a binding in words.
fn binding_words(binding: &OidcBinding) -> String {
    let mut words = format!(
        "jobs of {} with {} open it",
        binding.issuer,
        pairs(&binding.claims)
    );
    for (parameter, claim) in &binding.bind {
        words += &format!("; the parameter {parameter} is the claim {claim}");
    }
    if binding.jwks.is_some() {
        words += "; its keys are pinned";
    }
    PrintableText::text(&words).to_string()
}

/// Prints each note of the service that names the new token. Such a note names steps for which this token cannot get a
/// quorum.
fn tell_of(token: &SealedToken, notes: &[String], terminal: &Terminal) {
    let ours = [" are refused", " and of "].map(|next| format!(" by {}{next}", token.name));
    for note in notes
        .iter()
        .filter(|note| ours.iter().any(|ours| note.contains(ours)))
    {
        terminal.say(format!("note: {note}"));
    }
}
