//! `review`: shows what a signature would cover, and never signs.
//!
//! What you see is what you sign: `derive` finds out by itself what the boundary's word must not be taken for, `lines`
//! says it in lines with weights, `coverage` proves that they leave out no signed field, `render` draws them, and
//! `approve` signs the very buffer that was shown.
pub mod compare;
pub mod coverage;
pub mod derive;
pub mod gather;
pub mod hidden;
pub mod lines;
pub mod remarks;
pub mod render;

#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use crate::boundary::view::{DenialsView, ProposalStatus, ProposalView};
use crate::cli::clock::now;
use crate::cli::global::Global;
use crate::cli::review::derive::{Derived, Finding, Sources, Standing, derive};
use crate::cli::review::gather::{Subject, gather};
use crate::cli::review::render::{decision, full};
use crate::crypto::digest::AuthorizationDigest;
use crate::home::directories::Home;
use crate::home::keys::{KeyArgs, Keys};
use crate::home::trusted_rosters::{TrustArgs, trust_advice};
use crate::record::authorization::Authorization;
use crate::record::code::Code;
use crate::record::document::Statement;
use crate::record::envelope::{Base64, Envelope};
use crate::record::validity::Timestamp;
use crate::remote::client::Client;
use crate::terminal::exit::{Exit, Failure};
use crate::terminal::screen::{Screen, Shown};
use crate::terminal::streams::Terminal;

/// Show what a signature would cover; never signs.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  countersign review                        the only pending proposal
  countersign review 4f2a9c                 by the ending of its id
  countersign review statement.json         a statement made with `propose --offline`
  countersign review --full                 every signed field, through $PAGER at a terminal
  countersign review --roster sha256:…      with a roster that you pinned

Exit codes: 0 all that this program derived agrees; 2 there is no trusted roster; 126 something contradicts, or the proposal is over.")]
pub struct Args {
    /// A proposal's id; or at least 6 of the last digits of an open one's; or an envelope's file, as ./NAME or *.json; nothing
    /// means the only pending proposal
    #[arg(value_name = "ID|FILE")]
    proposal: Option<String>,
    /// Show every signed field above the decision
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    key: KeyArgs,
}

/// Everything about one proposal, derived and on a screen.
#[derive(Debug)]
pub struct Review {
    /// What was gathered: `sources.payload` is the buffer that is signed.
    pub sources: Sources,
    /// What was found out.
    pub found: Derived,
}

/// Shows the review.
///
/// # Errors
/// When there is nothing to show.
pub fn run(args: &Args, global: &Global, talk: &Terminal) -> Result<Exit, Failure> {
    let client = global.reviewer(&args.key, talk)?;
    let subject = Subject::find(args.proposal.as_deref(), &client)?;
    if let Subject::Proposal(view) = &subject {
        check_open(view, matches!(view.status, ProposalStatus::Approved | ProposalStatus::Running))?;
    }
    if let Subject::File(envelope) = &subject {
        check_statement(envelope, &client, talk)?;
    }
    let keys = args.key.find().unwrap_or_default();
    let review = Review::make(&subject, &client, &args.trust, &keys, now())?;
    if talk.json {
        talk.object(&review.to_json())?;
    } else if args.full {
        talk.page(&review.full())?;
    } else {
        talk.show(&review.screen())?;
    }
    Ok(match review.found.standing {
        Standing::Sound => Exit::Done,
        Standing::NoTrust => {
            talk.say(&review.advice());
            Exit::NoTrust
        }
        Standing::Unsound => Exit::Refused,
    })
}

impl Review {
    /// Gathers, derives and renders.
    ///
    /// # Errors
    /// When the payload can't be had, or the trusted roster can't be read.
    pub fn make(
        subject: &Subject,
        client: &Client,
        trust: &TrustArgs,
        keys: &Keys,
        now: Timestamp,
    ) -> Result<Self, Failure> {
        let mut sources = gather(subject, client, &trust.find()?)?;
        let roster = sources.roster.roster();
        sources.mine = keys
            .all()
            .map(|signer| signer.key().keyid())
            .find(|keyid| roster.is_some_and(|roster| roster.approver_of(keyid).is_some()))
            .or_else(|| keys.all().next().map(|signer| signer.key().keyid()));
        let found = derive(&sources, now);
        Ok(Self { sources, found })
    }

    /// The decision screen.
    #[must_use]
    pub fn screen(&self) -> Screen {
        decision(&self.sources, &self.found)
    }

    /// The decision screen below every signed field.
    #[must_use]
    pub fn full(&self) -> Screen {
        full(&self.sources, &self.found)
    }

    /// What to do without trust.
    #[must_use]
    pub fn advice(&self) -> String {
        trust_advice(self.sources.roster.roster().map(|roster| roster.digest()), &Home::of_process().config_words())
    }

    /// Why it may not be signed.
    ///
    /// # Errors
    /// Unless it is sound.
    pub fn check_sound(&self) -> Result<Sound, Failure> {
        match self.found.standing {
            Standing::Sound => Ok(Sound(())),
            Standing::NoTrust => Err(Failure::new(
                Exit::NoTrust,
                format!("nothing was signed: you trust no roster for this boundary; {}", self.advice()),
            )),
            Standing::Unsound => {
                let why: Vec<_> = self
                    .found
                    .checks
                    .iter()
                    .filter_map(|check| match &check.finding {
                        Finding::Holds => None,
                        Finding::Fails(why) | Finding::NotChecked(why) => Some(format!("{}: {why}", check.what)),
                    })
                    .collect();
                let why = Shown::text(&why.join("; "));
                Err(Failure::new(Exit::Refused, format!("nothing was signed, this does not hold: {}", why.as_str())))
            }
        }
    }

    /// The object that `--json` prints.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let standing = match self.found.standing {
            Standing::Sound => "sound",
            Standing::NoTrust => "no-trust",
            Standing::Unsound => "unsound",
        };
        let checks: Vec<_> = self
            .found
            .checks
            .iter()
            .map(|check| {
                let (finding, why) = match &check.finding {
                    Finding::Holds => ("holds", None),
                    Finding::Fails(why) => ("fails", Some(why)),
                    Finding::NotChecked(why) => ("not-checked", Some(why)),
                };
                json!({"what": check.what, "finding": finding, "why": why})
            })
            .collect();
        json!({
            "standing": standing,
            "digest": self.found.digest,
            "statement": self.found.payload,
            "definition": self.found.definition.as_ref().map(|(_, value)| value),
            "rules": self.found.rules.iter().map(|(_, rule)| rule).collect::<Vec<_>>(),
            "signed_by": self.found.signers.iter().map(|(name, keyid)| json!({"name": name, "keyid": keyid})).collect::<Vec<_>>(),
            "roster": self.sources.roster.roster().map(|roster| json!({"digest": roster.digest(), "trusted": self.sources.roster.trusted().is_some()})),
            "checks": checks,
            "lines": self.found.lines.to_json(),
            "fields": self.found.lines.fields.iter().map(|field| json!({"path": field.path, "value": field.value, "why": field.why.words()})).collect::<Vec<_>>(),
            "missing": self.sources.missing,
        })
    }
}

/// All that was derived agrees with what is to be signed; only [`Review::check_sound`] makes it.
#[derive(Debug)]
#[must_use]
pub struct Sound(());

/// Lets a proposal pass that can still be moved by a signature, or is one of those that the caller takes besides.
///
/// # Errors
/// One line about how it ended.
pub fn check_open(view: &ProposalView, takes: bool) -> Result<Open, Failure> {
    if view.status == ProposalStatus::Pending || takes {
        return Ok(Open(()));
    }
    let at = view.ended_at.map_or_else(String::new, |at| format!(" at {at}"));
    let why = view.refusal.as_ref();
    let how = match view.status {
        ProposalStatus::Pending => "is pending".to_owned(),
        ProposalStatus::Approved => "has all signatures that it needs".to_owned(),
        ProposalStatus::Running => "has all signatures that it needs, and runs".to_owned(),
        ProposalStatus::Finished => {
            let outcome = view.outcome.as_ref().map_or_else(String::new, |outcome| format!(" ({})", outcome.status));
            format!("ran and ended{at}{outcome}")
        }
        ProposalStatus::Denied => match why.and_then(|why| why.detail.strip_prefix("denied by ")) {
            Some(names) => format!("was denied by {names}{at}"),
            None => format!("was denied{at}"),
        },
        ProposalStatus::Expired => format!("expired at {}", view.expires_at),
        ProposalStatus::Cancelled => format!("was withdrawn{at}"),
        ProposalStatus::Refused => {
            let why = why.map_or_else(String::new, |why| format!(" ({}: {})", why.code, why.detail));
            format!("was refused{at}{why}")
        }
    };
    let line = format!("{} {how}: nothing to sign", view.id);
    Err(Failure::new(Exit::Refused, Shown::text(&line).as_str()))
}

/// Asks the boundary whether the statement in a file was denied meanwhile, or is over. Where the boundary gives no answer this
/// says so and goes on: a statement can be signed where no boundary is near.
///
/// # Errors
/// One line about how it ended.
pub fn check_statement(envelope: &Envelope, client: &Client, talk: &Terminal) -> Result<(), Failure> {
    // What can't be read is shown as such by the review.
    let Ok(payload) = Base64::Lenient.decode("/payload", &envelope.payload) else { return Ok(()) };
    let Ok(statement) = Statement::<Authorization>::from_payload(&payload) else { return Ok(()) };
    let (id, digest) = (statement.predicate.proposal, AuthorizationDigest::of(&payload));
    let unknown = |failure: &Failure| {
        talk.say(&format!(
            "note: it could not be asked whether this statement was denied or has run by now: {}",
            Shown::text(&failure.message).as_str()
        ));
    };
    match client.get::<DenialsView>(&format!("/v1/denials/{digest}")) {
        Ok(view) => {
            if let Some(first) = view.denials.first() {
                let names: Vec<&str> = view.denials.iter().map(|denial| denial.approver.as_str()).collect();
                let line = format!("{id} was denied by {} at {}: nothing to sign", names.join(", "), first.at);
                return Err(Failure::new(Exit::Refused, Shown::text(&line).as_str()));
            }
        }
        Err(failure) => {
            unknown(&failure);
            return Ok(());
        }
    }
    match client.get::<ProposalView>(&format!("/v1/proposals/{id}")) {
        Ok(view) if view.digest == digest => check_open(&view, false).map(drop),
        Ok(_) => Ok(()),
        Err(failure) if failure.has_code(Code::NotFound) => Ok(()),
        Err(failure) => {
            unknown(&failure);
            Ok(())
        }
    }
}

/// A proposal is not over; only [`check_open`] makes it.
#[derive(Debug)]
pub struct Open(());
