//! The `revoke` command revokes a key, a token or a grant.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

use crate::{
    Address, Client, CommandFailure, CommandResult, Exit, GlobalOptions, KeyArgs, Keys,
    RevokingBoundary, Terminal, commands::review::read_envelope, find_grant, is_grant,
    read_statement, revocation, write_document,
};
use documents::{Base64, BoundaryRef, Envelope, KeyId, Name, Revocation, RevokedSubject};
use wire::{GrantView, RevocationView};

/// Revoke a key, a token or a grant with a signed revocation, which everybody can verify in the log.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign revoke SHA256:x8… --reason 'laptop stolen'   the signatures of this key never count again
  countersign revoke token:ci-bot                          the token gives no access, and its proposals end
  countersign revoke grt_…                                 no run uses the grant any more
  countersign revoke token:ci-bot -o revocation.json       only write the revocation to a file
  countersign revoke revocation.json                       send a revocation from a file

A key can be revoked by its holder, with the same key, or by an operator of the roster. A token can be revoked by one of
its owners or by an operator. A grant can be revoked by an approver of one of its steps, the grantee or an operator. `countersign freeze` stops everything at once.")]
pub struct Args {
    /// The id of a key (SHA256:…), token:NAME, the id of a grant, or a file with a signed revocation (./NAME or *.json)
    #[arg(value_name = "SUBJECT|FILE")]
    subject: RevokeArgument,
    /// The reason, which all readers of the log can see
    #[arg(long, default_value = "")]
    reason: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Write the signed revocation to this file instead of sending it to the boundary
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    key: KeyArgs,
}

#[derive(Clone)]
enum RevokeArgument {
    Subject(RevokedSubject, String),
    Grant(String),
    File(PathBuf),
}

impl FromStr for RevokeArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if is_grant(text) {
            return Ok(Self::Grant(text.to_owned()));
        }
        if let Some(name) = text.strip_prefix("token:") {
            let name: Name = name
                .parse()
                .map_err(|error| format!("{name:?} is no name of a token: {error}"))?;
            return Ok(Self::Subject(
                RevokedSubject::token(&name),
                format!("the token {name}"),
            ));
        }
        if let Ok(keyid) = text.parse::<KeyId>() {
            return Ok(Self::Subject(
                RevokedSubject::Key(keyid),
                format!("the key {keyid}"),
            ));
        }
        if text.contains('/') || Path::new(text).extension().is_some_and(|end| end == "json") {
            return Ok(Self::File(text.into()));
        }
        Err("expected the id of a key (SHA256: and 43 characters), token:NAME, the id of a grant (grt_...), or a file (./NAME or *.json)".to_owned())
    }
}

/// Signs and sends the revocation, or sends the revocation of a file.
///
/// # Errors
/// Returns an error if the person declines, or if the boundary refuses the revocation.
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
    let client = || global.reviewer(&args.key, terminal);
    let (subject, words) = match &args.subject {
        RevokeArgument::Grant(name) => {
            let client = client()?;
            let view = find_grant(name, &client)?;
            let keys = args.key.find()?;
            let envelope = sign_end(&view, &args.reason, &keys, &client, |boundary| {
                let question = format!("Revoke {} at {}?", grant_words(&view), boundary.name);
                revocation::ask_consent(&question, args.yes, terminal)
            })?;
            return finish(args, &client, &envelope, &grant_words(&view), terminal);
        }
        RevokeArgument::File(path) => {
            let envelope: Envelope = read_envelope(path)?;
            let (_, statement) = read_statement::<Revocation>(Base64::Lenient, &envelope.payload)
                .map_err(|error| {
                CommandFailure::usage(format!("the file is no revocation: {error}"))
            })?;
            if let Some(listed) = global.listed() {
                listed.check_id(statement.predicate.boundary.id)?;
            }
            // The file is signed, so the request needs no key and no token.
            let client = Client::new(Address::parse(&global.url)?, &global.tls, None, None)?;
            let answer = revocation::send(&client, &envelope)?;
            return told(&answer, None, terminal);
        }
        RevokeArgument::Subject(subject, words) => (*subject, words.clone()),
    };
    let client = client()?;
    let keys = args.key.find()?;
    if let Some(own) = keys.first(|key| subject == RevokedSubject::Key(key.keyid())) {
        let envelope = RevokingBoundary::sign_own(&client, &args.reason, own, |boundary| {
            let question = format!("Revoke {words}, your own key, at {}?", boundary.name);
            revocation::ask_consent(&question, args.yes, terminal)
        })?;
        return finish(args, &client, &envelope, &words, terminal);
    }
    let boundary = RevokingBoundary::read(&client)?;
    let whose = match subject {
        RevokedSubject::Key(keyid) => boundary
            .roster
            .statement_signer(&keyid)
            .map(|(holder, _)| format!(" of {holder}")),
        _ => None,
    };
    let question = format!(
        "Revoke {words}{} at {}?",
        whose.unwrap_or_default(),
        boundary.boundary.name
    );
    revocation::ask_consent(&question, args.yes, terminal)?;
    let envelope = boundary.sign(subject, &args.reason, &keys)?;
    finish(args, &client, &envelope, &words, terminal)
}

/// Returns the words for a revoked grant.
pub fn grant_words(view: &GrantView) -> String {
    format!("the grant {}", view.id)
}

/// Signs the revocation of a grant, after `agree` has accepted the boundary.
///
/// # Errors
/// Returns the error of `agree`, or an error if no key can sign the revocation.
pub fn sign_end(
    view: &GrantView,
    reason: &str,
    keys: &Keys,
    client: &Client,
    agree: impl FnOnce(&BoundaryRef) -> CommandResult<()>,
) -> CommandResult<Envelope> {
    let subject = RevokedSubject::Grant(view.digest);
    // The grantee may end the grant, but may have no right to read the roster of the boundary.
    if let Some(signer) = keys.first(|key| view.grant.grantee.key() == Some(&key.keyid())) {
        agree(&view.grant.boundary)?;
        return revocation::sign(view.grant.boundary.clone(), subject, reason, signer);
    }
    let boundary = RevokingBoundary::read(client)?;
    agree(&boundary.boundary)?;
    boundary.sign(subject, reason, keys)
}

/// Sends the revocation, or writes it to the named file.
fn finish(
    args: &Args,
    client: &Client,
    envelope: &Envelope,
    words: &str,
    terminal: &Terminal,
) -> CommandResult {
    match &args.output {
        Some(path) => write_document(path, envelope, terminal).map(|()| Exit::Done),
        None => told(&revocation::send(client, envelope)?, Some(words), terminal),
    }
}

/// Prints what the boundary answered to a revocation.
///
/// # Errors
/// Returns an error if the standard output cannot be written.
pub fn told(answer: &RevocationView, what: Option<&str>, terminal: &Terminal) -> CommandResult {
    terminal.answer(answer, revocation::done_words(answer, what))
}
