//! The `approve` command shows the review, asks, and signs exactly the bytes that it showed.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    Client, CommandResult, Exit, GlobalOptions, KeyArgs, Keys, MOST_REMARKS, PagerChoice,
    PrintableText, ProposalReview, ReviewSubject, SignaturePurpose, Signer, Terminal, TrustArgs,
    boundary_with, check_open,
    commands::{inbox::waiting_proposals, review::check_statement},
    deny, fail_refused, fail_usage, find_subject, held_up_words,
    home::keys,
    is_file, is_grant, myself, now,
    remote::proposals::only_one,
    review::proposal_review::SoundReview,
    search_names, signing, tell_failure,
    terminal::streams::wrapped,
    write_document,
};
use documents::{AuthorizationDigest, Envelope, EnvelopeSignature, Name, ProposalId, joined};
use wire::{ProposalStatus, ProposalView, RefusalView, Signatures};

/// Show the review of a proposal, ask, then sign exactly the bytes shown.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign approve                                   the only proposal that your signature can advance
  countersign approve 4f2a9c 77a1b3                     one review after the other, each with its own question
  countersign approve 4f2a9c --key ~/.ssh/id_ed25519    with an ssh key
  countersign approve statement.json -o signed.json     write the signed envelope to a file
  countersign approve 4f2a9c --yes --expect sha256:…    without a question, only this statement
  countersign approve grt_…                             a standing grant

Without --boundary and --url, the command searches the ids in all boundaries of your list. If one of several proposals can't \
be signed, the command tells it and goes on with the next, and the exit code is that of the worst failure.

The command asks for the last digits of the digest. If the review has more than five remarks, the number of the \
further remarks must precede these digits. The answer `d` denies the proposal, `f` shows every signed field (through $PAGER, \
if set), and any other answer stops.

The exit code is 126 if the statement differs from the values that this program computes, or if the proposal is \
over. The exit code is 2 if you trust no roster for the boundary.")]
pub struct Args {
    /// The ids of proposals, the last digits of their ids (at least 6), the ids of grants, or one envelope file (./NAME or
    /// *.json). The default is the only pending proposal that your signature can advance
    #[arg(value_name = "ID|FILE")]
    proposals: Vec<String>,
    /// With a file: write the envelope with your signature to this new file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Sign without a question; requires --expect
    #[arg(long, requires = "expect")]
    yes: bool,
    /// The digest that the statement must have. If the statement has another digest, nothing is signed
    #[arg(long, value_name = "sha256:…")]
    expect: Option<AuthorizationDigest>,
    /// Show every signed field before the question
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    pager: PagerChoice,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    key: KeyArgs,
}

/// Reviews, asks and signs: several proposals one after the other, each with its own question.
///
/// # Errors
/// Returns an error if the review of the only proposal fails, the person declines, or the boundary refuses the signature.
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
    let names = &args.proposals;
    let for_one =
        args.expect.is_some() || args.output.is_some() || names.iter().any(|name| is_file(name));
    if names.len() > 1 && for_one {
        return fail_usage(
            "--yes, --expect, -o and a file are for one proposal, because each of several proposals has its own question: \
             name one ID or FILE",
        );
    }
    let searched = search_names(names, &args.key, global, terminal)?;
    let keys = args.key.find()?;
    let approve = |at: usize| {
        let name = names.get(at).map(String::as_str);
        approve_one(
            args,
            name,
            boundary_with(&searched, at, name)?,
            &keys,
            terminal,
        )
    };
    if names.len() < 2 {
        return approve(0);
    }
    let mut exit = Exit::Done;
    for (at, name) in names.iter().enumerate() {
        let name = PrintableText::text(name);
        if !terminal.json {
            terminal.line(format!("== {name} ({} of {}) ==", at + 1, names.len()))?;
        }
        if let Err(failure) = approve(at) {
            tell_failure(("proposal", name.as_str()), failure, &mut exit, terminal)?;
        }
    }
    Ok(exit)
}

/// Reviews, asks and signs one proposal.
fn approve_one(
    args: &Args,
    name: Option<&str>,
    (global, client): (&GlobalOptions, &Client),
    keys: &Keys,
    terminal: &Terminal,
) -> CommandResult {
    let trust = global.trust(&args.trust);
    if let Some(name) = name.filter(|name| is_grant(name)) {
        return signing::approve(
            name,
            client,
            &trust,
            keys,
            (args.expect, (args.pager, args.full)),
            terminal,
        );
    }
    let own = if name.is_none() {
        // If no key is the key of an approver, the review says so.
        let mine = myself(keys, &trust.find()?, client).ok();
        Some(only_one(&waiting_proposals(client, mine.as_ref())?)?)
    } else {
        None
    };
    let subject = find_subject(own.as_ref().map(ProposalId::as_str).or(name), client)?;
    if matches!(subject, ReviewSubject::File(_)) && args.output.is_none() {
        return fail_usage(
            "a file for the signed envelope is missing: give -o FILE (- is the standard \
         output)",
        );
    }
    if matches!(subject, ReviewSubject::Proposal(_)) && args.output.is_some() {
        return fail_usage(
            "-o is only for envelope files, because the signature of a proposal is sent to the \
         boundary: leave -o out",
        );
    }
    match &subject {
        ReviewSubject::Proposal(view) => {
            check_open(view, false)?;
        }
        ReviewSubject::File(envelope) => check_statement(envelope, client, terminal)?,
    }
    let review = ProposalReview::make(&subject, client, &trust, &keys.ids(), now())?;
    // With `approve FILE -o -`, the command writes the envelope to the standard output.
    let is_aside = args.output.as_deref() == Some(std::path::Path::new("-")) || terminal.json;
    match (is_aside, args.full) {
        (true, _) if terminal.json && args.yes => {}
        (true, full) => terminal.show_aside(&if full { review.full() } else { review.screen() }),
        (false, true) => terminal.show(&review.full())?,
        (false, false) => review.show(terminal, args.pager)?,
    }
    let sound = review.check_sound()?;
    if let Some(expected) = args.expect
        && expected != review.found.digest
    {
        return fail_refused(format!(
            "nothing was signed: --expect names {expected}, but the digest of this statement is {}",
            review.found.digest
        ));
    }
    let (signer, approver) = keys.of_approver(review.sources.roster.trusted())?;
    let keyid = signer.key().keyid();
    let consent = if args.yes {
        Consent(sound)
    } else {
        match ask(&review, sound, &approver, terminal)? {
            Answer::Sign(consent) => consent,
            Answer::Deny(reason) => {
                let denial = deny::sign(&review, &reason, signer)?;
                return deny::hand_in(&subject, &review, denial, client, terminal);
            }
        }
    };
    let signature = sign(&review, consent, signer)?;
    match subject {
        ReviewSubject::File(envelope) => {
            let mut signatures: Vec<_> = envelope
                .signatures
                .into_iter()
                .filter(|other| other.keyid != keyid)
                .collect();
            signatures.push(signature);
            signatures.sort();
            let signed = Envelope::new(&review.sources.payload, signatures);
            if let Some(path) = &args.output {
                write_document(path, &signed, terminal)?;
                if path != std::path::Path::new("-") {
                    if terminal.json {
                        terminal.object(
                            json!({"digest": review.found.digest, "keyid": keyid, "approver": approver, "file": path.to_string_lossy()}),
                        )?;
                    }
                    terminal.say(format!(
                        "signed by {approver}; give the file to the next approver, or submit it: countersign submit {}",
                        path.display()
                    ));
                }
            }
        }
        ReviewSubject::Proposal(view) => {
            let answer = hand_in(client, &view.id, signature)?;
            let state = (answer.id.as_str(), answer.status.word());
            signing::told_signature(&answer, &approver, state, &answer.approvals, terminal)?;
            if let Some(why) = answer.held_up.as_ref().filter(|_| !terminal.json) {
                terminal.say(held_up_words(why));
            }
        }
    }
    Ok(Exit::Done)
}

/// Sends a signature to the boundary, and returns the new state of the proposal.
///
/// # Errors
/// Returns an error if the boundary refuses the signature or cannot be reached.
pub fn hand_in(
    client: &Client,
    id: &ProposalId,
    signature: EnvelopeSignature,
) -> CommandResult<ProposalView> {
    let signatures = Signatures {
        signatures: vec![signature],
    };
    let mut answer: ProposalView =
        client.post(&format!("/v1/proposals/{id}/signatures"), &signatures)?;
    answer.held_up = held_up_at_once(client, &answer);
    Ok(answer)
}

/// Asks the boundary for at most [`AT_ONCE`] why the approved run has not started. Most approved runs start within a
/// few requests.
fn held_up_at_once(client: &Client, signed: &ProposalView) -> Option<RefusalView> {
    let deadline = Instant::now() + AT_ONCE;
    let mut held_up = None;
    let mut status = signed.status;
    while status == ProposalStatus::Approved && held_up.is_none() && Instant::now() < deadline {
        std::thread::sleep(AT_ONCE / 20);
        // A failed request is not an error, because the boundary has already accepted the signature.
        let view = client
            .get::<ProposalView>(&format!("/v1/proposals/{}", signed.id))
            .ok()?;
        (status, held_up) = (view.status, view.held_up);
    }
    held_up
}

/// Longest time that this command waits for an approved run to start.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Proof that a person agreed to the digest that was shown, or that `--yes --expect` named this digest.
#[must_use]
pub struct Consent(SoundReview);

/// Number of hex digits of the digest that a person must type. Eight digits force the person to look at the end of
/// the review.
pub const DIGITS: usize = 8;

/// What a person must type to agree.
pub struct AskedText {
    /// The end of the digest.
    pub tail: String,
    /// Number of the further remarks. If there are any, the number must precede the digits.
    pub more: usize,
}

impl AskedText {
    /// Returns what this review asks for.
    pub fn of(review: &ProposalReview) -> Self {
        let hex = review.found.digest.hex();
        let more = review
            .found
            .lines
            .remarks
            .len()
            .saturating_sub(MOST_REMARKS);
        Self {
            tail: hex[hex.len() - DIGITS..].to_owned(),
            more,
        }
    }

    /// Returns the text that must be typed.
    fn words(&self) -> String {
        if self.more == 0 {
            self.tail.clone()
        } else {
            format!("{} {}", self.more, self.tail)
        }
    }

    fn agrees(&self, typed: &str) -> bool {
        joined(typed.split_whitespace(), " ").eq_ignore_ascii_case(&self.words())
    }

    /// Checks the text that a person typed.
    ///
    /// # Errors
    /// Returns an error if the typed text is not the text that the review asks for.
    pub fn check(&self, typed: &str, sound: SoundReview) -> CommandResult<Consent> {
        if self.agrees(typed) {
            return Ok(Consent(sound));
        }
        let what = match self.more {
            0 => "the end of the digest",
            _ => "the number of the further remarks, a space, and the end of the digest",
        };
        fail_refused(format!(
            "nothing was signed: the typed text must be {what}: {}",
            self.words()
        ))
    }
}

enum Answer {
    Sign(Consent),
    /// The person denies, for this reason.
    Deny(String),
}

fn ask(
    review: &ProposalReview,
    sound: SoundReview,
    approver: &Name,
    terminal: &Terminal,
) -> CommandResult<Answer> {
    let asked = AskedText::of(review);
    let signed = deny::statement(review)?;
    let question = format!(
        "Sign {} at {} as {approver}? Type {}, or d deny, f fields:",
        signed.step.reference,
        signed.boundary.name,
        asked.words()
    );
    let question = wrapped(&question, terminal.width);
    loop {
        let answer = terminal.ask(
            &question,
            "without a terminal, give --yes --expect sha256:...",
        )?;
        if answer.eq_ignore_ascii_case("f") {
            terminal.page(&review.full())?;
        } else if answer.eq_ignore_ascii_case("d") {
            let reason = deny::ask_reason(review, terminal)?;
            deny::ask_consent(terminal)?;
            return Ok(Answer::Deny(reason));
        } else {
            return asked.check(&answer, sound).map(Answer::Sign);
        }
    }
}

/// Signs the same buffer that the review was made from.
///
/// # Errors
/// Returns an error if the key did not sign.
pub fn sign(
    review: &ProposalReview,
    consent: Consent,
    signer: &dyn Signer,
) -> CommandResult<EnvelopeSignature> {
    let Consent(_sound) = consent;
    keys::sign(signer, SignaturePurpose::Approve, &review.sources.payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        FileSigner, SIGNED,
        review::{
            render::full,
            tests::review_case::{case, judged, key, section, signature},
        },
        terminal::tests::screen_decoder,
        write_secret_key,
    };
    use documents::to_canonical;

    #[test]
    fn an_approval_requires_the_last_digest_digits_and_the_number_of_further_remarks() {
        let asked = |more| AskedText {
            tail: "40d1c539".to_owned(),
            more,
        };
        assert!(asked(0).agrees("40D1c539"));
        assert!(asked(7).agrees("7 40d1c539"));
        for (answer, more) in [
            ("", 0),
            ("40d1c53", 0),
            ("7 40d1c539", 0),
            ("40d1c539", 7),
            ("6 40d1c539", 7),
            ("40d1c539 7", 7),
            ("7", 7),
            ("yes", 0),
        ] {
            assert!(!asked(more).agrees(answer), "{answer:?} with {more}");
        }
    }

    // The test decodes the screen and compares the decoded text with the verified bytes.
    #[test]
    fn promise_4_the_bytes_shown_are_the_bytes_signed() {
        let mut case = case();
        case.reason = "one\n\u{202e}two \\ three".to_owned();
        let sources = case.sources();
        let found = judged(&sources);
        let shown = full(&sources, &found).paint(80, false);
        let review = ProposalReview { sources, found };
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("key.pem");
        write_secret_key(&file, &key(1)).expect("written");
        let signer = FileSigner::open(&file).expect("a key");
        let signed = sign(
            &review,
            Consent(review.check_sound().expect("sound")),
            &signer,
        )
        .expect("signed");
        let read = to_canonical(&screen_decoder::document(
            &section(&screen_decoder::logical(&shown), SIGNED),
            &[],
        ));
        assert_eq!(signed, signature(1, &read));
    }
}
