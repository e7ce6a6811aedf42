//! `review`: shows what a signature would cover, and never signs.
//!
//! What you see is what you sign: `derive` finds out by itself what the boundary's word must not be taken for,
//! `render` puts every signed byte on the screen, and `approve` signs the very buffer that was shown.
pub mod derive;
pub mod gather;
pub mod render;

#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use crate::cli::exit::{Exit, Failure};
use crate::cli::keys::{KeyArgs, Keys};
use crate::cli::review::derive::{Derived, Finding, Sources, Standing, derive};
use crate::cli::review::gather::{Subject, gather, trust_advice};
use crate::cli::review::render::render;
use crate::cli::screen::Screen;
use crate::cli::talk::Talk;
use crate::cli::trust::{Home, TrustArgs};
use crate::cli::{Global, talk};
use crate::crypto::sshsig::KeyId;
use crate::record::validity::Timestamp;

/// Show what a signature would cover; never signs.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  countersign review                        the only pending proposal
  countersign review 4f2a9c                 by the ending of its id
  countersign review statement.json         a statement made with `propose --offline`
  countersign review --roster sha256:…      with a roster that you pinned

Exit codes: 0 all that this program derived agrees; 2 there is no trusted roster; 126 something contradicts.")]
pub struct Args {
    /// A proposal's id; or at least 6 of the last digits of an open one's; or an envelope's file, as ./NAME or *.json; nothing
    /// means the only pending proposal
    #[arg(value_name = "ID|FILE")]
    proposal: Option<String>,
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
    /// What is shown.
    pub screen: Screen,
    /// The approver's key in the roster, if one of the user's is.
    pub mine: Option<KeyId>,
}

/// Shows the review.
///
/// # Errors
/// When there is nothing to show.
pub fn run(args: &Args, global: &Global, talk: &Talk) -> Result<Exit, Failure> {
    let client = global.reviewer(&args.key, talk)?;
    let subject = Subject::find(args.proposal.as_deref(), &client)?;
    let keys = args.key.find().unwrap_or_default();
    let review = Review::make(&subject, &client, &args.trust, &keys, now())?;
    if talk.json {
        talk.object(&review.to_json())?;
    } else {
        talk.show(&review.screen)?;
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
        client: &crate::cli::client::Client,
        trust: &TrustArgs,
        keys: &Keys,
        now: Timestamp,
    ) -> Result<Self, Failure> {
        let sources = gather(subject, client, &trust.find()?)?;
        let found = derive(&sources, now);
        let roster = sources.roster.roster();
        let mine = keys
            .all()
            .map(|signer| signer.key().keyid())
            .find(|keyid| roster.is_some_and(|roster| roster.approver_of(keyid).is_some()))
            .or_else(|| keys.all().next().map(|signer| signer.key().keyid()));
        let screen = render(&sources, &found, mine.as_ref(), now);
        Ok(Self { sources, found, screen, mine })
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
                let why = crate::cli::screen::Shown::text(&why.join("; "));
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
            "missing": self.sources.missing,
        })
    }
}

/// All that was derived agrees with what is to be signed; only [`Review::check_sound`] makes it.
#[derive(Debug)]
#[must_use]
pub struct Sound(());

/// The time by this machine's clock.
#[must_use]
pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// Shows a review as `approve` and `deny` do: the screen is part of the talk when programs read the output.
///
/// # Errors
/// When it can't be written.
pub fn show(review: &Review, talk: &talk::Talk) -> Result<(), Failure> {
    if talk.json { Ok(()) } else { talk.show(&review.screen) }
}
