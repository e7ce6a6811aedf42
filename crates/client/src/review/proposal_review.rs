//! Review of one proposal: its sources, its checks and its screen.

use serde_json::{Value, json};
use verdict::TrustedRoster;

use crate::{
    Client, CommandFailure, CommandResult, Derived, MOST_LINES, PrintableText, ReviewFinding,
    ReviewSources, ReviewSubject, Screen, StatementVerdict, Terminal, TrustArgs, denial_words,
    derive, fail_refused,
    review::{
        gather::gather,
        render::{block, decision, full, texts},
    },
    text_lines, trust_advice,
};
use documents::{KeyId, Timestamp};
use wire::{ProposalStatus, ProposalView};

/// Option for long texts.
#[derive(Clone, Copy, clap::Args)]
pub struct PagerChoice {
    /// Print everything directly. Without this option, a script of more than 60 lines opens in $PAGER at a terminal
    #[arg(long)]
    pub no_pager: bool,
}

/// Review of one proposal.
pub struct ProposalReview {
    /// Documents of the review. The approver signs the bytes in `sources.payload`.
    pub sources: ReviewSources,
    /// Results of the checks.
    pub found: Derived,
}

impl ProposalReview {
    /// Reads the documents and makes the checks for the person with these keys. The checks use the first key that
    /// belongs to an approver, or else the first key.
    ///
    /// # Errors
    /// Returns an error if the payload or the trusted roster can't be read.
    pub fn make(
        subject: &ReviewSubject,
        client: &Client,
        trust: &TrustArgs,
        keys: &[KeyId],
        now: Timestamp,
    ) -> CommandResult<Self> {
        let sources = gather(subject, client, &trust.find()?)?;
        let roster = sources.roster.roster();
        let mine = keys
            .iter()
            .find(|keyid| roster.is_some_and(|roster| roster.approver_of(keyid).is_some()))
            .or(keys.first())
            .copied();
        Ok(Self::of(ReviewSources { mine, ..sources }, now))
    }

    fn of(sources: ReviewSources, now: Timestamp) -> Self {
        Self {
            found: derive(&sources, now),
            sources,
        }
    }

    /// Makes the checks again, over the same documents at another time.
    pub fn again(self, now: Timestamp) -> Self {
        Self::of(self.sources, now)
    }

    /// Draws the decision screen.
    pub fn screen(&self) -> Screen {
        decision(&self.sources, &self.found)
    }

    /// Shows the decision screen. At a terminal, long texts open in the pager, and the decision follows below.
    ///
    /// # Errors
    /// Returns an error if the standard output cannot be written.
    pub fn show(&self, terminal: &Terminal, pager: PagerChoice) -> CommandResult<()> {
        if pager.no_pager || text_lines(&self.found) <= MOST_LINES {
            return terminal.show(&self.screen());
        }
        terminal.page(&texts(&self.sources, &self.found))?;
        terminal.show(&block(&self.found))
    }

    /// Draws the list of all signed fields, then the decision screen.
    pub fn full(&self) -> Screen {
        full(&self.sources, &self.found)
    }

    /// Returns the advice for an approver who has no trusted roster for the boundary.
    pub fn advice(&self) -> String {
        let seen = self.sources.roster.roster().map(TrustedRoster::digest);
        trust_advice(seen, "boundary")
    }

    /// Checks that no failed check forbids a signature.
    ///
    /// # Errors
    /// Returns the reasons why the statement may not be signed.
    pub fn check_sound(&self) -> CommandResult<SoundReview> {
        let roster = self.sources.roster.roster();
        check_standing(self.found.standing, roster, &self.found.flaws()).map(SoundReview)
    }

    /// Returns the object that `--json` prints.
    pub fn to_json(&self) -> Value {
        let standing = match self.found.standing {
            StatementVerdict::Sound => "sound",
            StatementVerdict::NoTrust => "no-trust",
            StatementVerdict::Unsound => "unsound",
        };
        let checks: Vec<_> = self
            .found
            .checks
            .iter()
            .map(|check| {
                let (finding, why) = match &check.finding {
                    ReviewFinding::Holds => ("holds", None),
                    ReviewFinding::Fails(why) => ("fails", Some(why)),
                    ReviewFinding::NotChecked(why) => ("not-checked", Some(why)),
                };
                json!({"what": check.what, "finding": finding, "why": why})
            })
            .collect();
        json!({
            "standing": standing,
            "digest": self.found.digest,
            "statement": self.found.payload,
            "definition": self.found.document(),
            "rules": self.found.rules.iter().map(|(_, rule)| rule).collect::<Vec<_>>(),
            "emergency": self.found.is_emergency(),
            "emergency_rule": self.found.emergency.as_ref().map(|emergency| &emergency.rule),
            "signed_by": self.found.signers.iter().map(|(name, keyid)| json!({"name": name, "keyid": keyid})).collect::<Vec<_>>(),
            "roster": self.sources.roster.roster().map(|roster| json!({"digest": roster.digest(), "trusted": self.sources.roster.trusted().is_some()})),
            "checks": checks,
            "lines": self.found.lines.to_json(),
            "fields": self.found.lines.fields.iter().map(|field| json!({"path": field.path, "value": field.value, "why": field.why.words()})).collect::<Vec<_>>(),
            "missing": self.sources.missing,
        })
    }
}

/// Checks that the result of all checks permits a signature. `flaws` are the failed checks.
///
/// # Errors
/// Returns the reasons why the statement may not be signed.
pub fn check_standing(
    standing: StatementVerdict,
    roster: Option<&TrustedRoster>,
    flaws: &[String],
) -> CommandResult<()> {
    match standing {
        StatementVerdict::Sound => Ok(()),
        StatementVerdict::NoTrust => Err(CommandFailure::no_trust(format!(
            "nothing was signed: you trust no roster for this boundary; {}",
            trust_advice(roster.map(TrustedRoster::digest), "boundary")
        ))),
        StatementVerdict::Unsound => fail_refused(format!(
            "nothing was signed, because these checks failed: {}",
            PrintableText::text(&flaws.join("; "))
        )),
    }
}

/// Proof that all checks passed. Only [`ProposalReview::check_sound`] creates this proof.
#[must_use]
pub struct SoundReview(());

/// Checks that a signature can still change the proposal. The caller sets `stops` if its signature can also stop a run
/// that has all signatures.
///
/// # Errors
/// Returns one line about the state of the proposal.
pub fn check_open(view: &ProposalView, stops: bool) -> CommandResult<()> {
    let is_open = match view.status {
        ProposalStatus::Pending => true,
        ProposalStatus::Approved | ProposalStatus::Running => stops,
        _ => false,
    };
    if is_open {
        return Ok(());
    }
    let at = view
        .ended_at
        .map_or_else(String::new, |at| format!(" at {at}"));
    let why = view.refusal.as_ref();
    let how = match view.status {
        ProposalStatus::Pending => "is pending".to_owned(),
        ProposalStatus::Approved => "has all signatures that it needs".to_owned(),
        ProposalStatus::Running => "has all signatures that it needs, and runs".to_owned(),
        ProposalStatus::Finished => {
            let outcome = view
                .outcome
                .as_ref()
                .map_or_else(String::new, |outcome| format!(" ({})", outcome.status));
            format!("ran and ended{at}{outcome}")
        }
        ProposalStatus::Denied => match why.and_then(|why| why.detail.strip_prefix("denied by ")) {
            Some(names) => format!("was denied by {names}{at}"),
            None => format!("was denied{at}"),
        },
        ProposalStatus::Expired => format!("expired at {}", view.expires_at),
        ProposalStatus::Cancelled => format!("was withdrawn{at}"),
        ProposalStatus::Refused => {
            let why = why.map_or_else(String::new, |why| {
                format!(" ({}: {})", why.code, why.detail)
            });
            format!("was refused{at}{why}")
        }
    };
    let line = PrintableText::text(&format!("{} {how}", view.id))
        .then(denial_words(&view.denials))
        .and(": nothing to sign");
    fail_refused(line)
}

#[cfg(test)]
mod tests {
    use crate::{
        ProposalReview,
        review::tests::review_case::{case, judged},
    };

    #[test]
    fn the_review_is_available_as_json() {
        let sources = case().sources();
        let review = ProposalReview {
            found: judged(&sources),
            sources,
        };
        let said = review.to_json();
        let names: Vec<_> = said["lines"]
            .as_array()
            .expect("lines")
            .iter()
            .map(|line| line["name"].as_str().expect("a name"))
            .collect();
        for name in [
            "heading",
            "script",
            "proposal",
            "window",
            "fields",
            "parameters",
            "reason",
            "may run",
            "sandbox",
            "limits",
            "signatures",
            "until",
            "trust",
        ] {
            assert!(names.contains(&name), "{name}: {names:?}");
        }
        let fields = said["fields"].as_array().expect("fields");
        assert!(
            fields.len() > 50 && fields.iter().all(|field| field["why"] != "NOT SHOWN"),
            "{fields:#?}"
        );
        assert_eq!(said["standing"], "sound");
    }
}
