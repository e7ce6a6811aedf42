//! The `review-run` command signs a review of a run: whether the run was right, and how a run ended whose end nobody
//! saw.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

use crate::{
    Client, CommandFailure, CommandResult, Exit, GlobalOptions, KeyArgs, Keys, LineTone,
    PrintableText, ReadReceipt, RevokingBoundary, Screen, SignaturePurpose, Terminal,
    commands::review::read_envelope, fail_refused, fail_usage, home::keys, is_file, leaves,
    outcome_words, read_statement, revocation, write_document,
};
use documents::{
    Base64, Envelope, KeyId, ObservedEnd, ReceiptId, ReviewStatement, ReviewVerdict, Statement,
    Status, Subject, joined, reviewed,
};
use verdict::excluded_words;
use wire::{ReviewedView, UnsettledList};

/// Sign a review of a run: an emergency, or a run whose end nobody saw. Everybody can verify the review in the log.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign review-run rcp_… --accept --reason 'the disk was full'
  countersign review-run rcp_… --observed succeeded --evidence rcp_… --reason 'the check found it'
  countersign review-run rcp_… rcp_… --observed failed --reason 'the host was off'   one review for each
  countersign review-run rcp_… --reject --reason 'nobody asked' -o review.json   only write a file
  countersign review-run review.json                                             send the file

`countersign unsettled` lists the runs that need a review. Your newest review of a run replaces your earlier ones. If people
have settled how a run ended, a person who may settle can still say that it ended in another way: the run is then disputed,
and its standing grant can't be used, until all agree.")]
pub struct Args {
    /// The ids of the receipts (rcp_…), or a file with a signed review (./NAME or *.json)
    #[arg(value_name = "RECEIPT|FILE", required = true)]
    subjects: Vec<ReviewRunArgument>,
    /// The run was right. An emergency needs this or --reject; an unknown end needs only --observed
    #[arg(long, conflicts_with = "reject")]
    accept: bool,
    /// The run was not right
    #[arg(long)]
    reject: bool,
    /// How the run ended, as you found out: succeeded, failed, not-started or partly. Only for a run with the outcome
    /// unknown
    #[arg(long, value_name = "END", value_parser = parse_observed)]
    observed: Option<ObservedEnd>,
    /// The receipt of a check of what the run left. The reason then names the receipt and its digest. Can be repeated
    #[arg(long, value_name = "RECEIPT")]
    evidence: Vec<ReceiptId>,
    /// The reason, which all readers of the log can see
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Write the signed review to this file instead of sending it to the boundary
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    key: KeyArgs,
}

#[derive(Clone)]
enum ReviewRunArgument {
    Receipt(ReceiptId),
    File(PathBuf),
}

impl FromStr for ReviewRunArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(id) => Ok(Self::Receipt(id)),
            Err(_) if is_file(text) => Ok(Self::File(text.into())),
            Err(_) => Err(
                "expected the id of a receipt (rcp_...), or a file (./NAME or *.json)".to_owned(),
            ),
        }
    }
}

/// Signs and sends the review, or sends the review of a file.
///
/// # Errors
/// Returns an error if the person declines, or if the boundary refuses the review.
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
    if let [ReviewRunArgument::File(path)] = &args.subjects[..] {
        return send_file(args, path, global, terminal);
    }
    let id = |subject: &ReviewRunArgument| match subject {
        ReviewRunArgument::Receipt(id) => Ok(id.clone()),
        ReviewRunArgument::File(_) => fail_usage("give ids of receipts, or one file alone"),
    };
    let mut ids = args
        .subjects
        .iter()
        .map(id)
        .collect::<Result<Vec<_>, _>>()?;
    ids.sort();
    ids.dedup();
    if ids.len() > 1 && args.output.is_some() {
        return fail_usage("-o writes one review: give the id of one receipt");
    }
    let verdict = match (args.accept, args.reject) {
        (true, _) => ReviewVerdict::Accepted,
        (_, true) => ReviewVerdict::Rejected,
        (false, false) if args.observed.is_some() => ReviewVerdict::Accepted,
        (false, false) => {
            return fail_usage(
                "the verdict is missing: give --accept or --reject, or --observed for a run whose end nobody saw",
            );
        }
    };
    let Some(reason) = args
        .reason
        .as_deref()
        .filter(|reason| !reason.trim().is_empty())
    else {
        return fail_usage("the reason is missing: give --reason TEXT");
    };
    let client = global.reviewer(&args.key, terminal)?;
    let keys = args.key.find()?;
    let said = SaidOfRun {
        verdict,
        observed: args.observed,
        reason: reason.to_owned(),
        evidence: args.evidence.clone(),
    };
    let has_verdict = args.accept || args.reject;
    let make = |id: &ReceiptId| {
        let run = ReadReceipt::fetch(&client, id)?;
        if !has_verdict && run.signed.emergency.is_some() {
            return fail_usage(format!(
                "{id} was an emergency: give --accept or --reject beside --observed"
            ));
        }
        RunReview::make(run, &said, &client, &keys)
    };
    // Every review is made before the first signature, so an error in one review prevents all signatures.
    let reviews = ids.iter().map(make).collect::<Result<Vec<_>, _>>()?;
    for review in reviews.iter().filter(|_| !terminal.json) {
        terminal.show_aside(&review.screen());
    }
    if let Some(first) = reviews.first() {
        let verb = match verdict {
            _ if !has_verdict => "Settle the end of",
            ReviewVerdict::Accepted => "Accept",
            ReviewVerdict::Rejected => "Reject",
        };
        let runs = if reviews.len() == 1 {
            "this run".to_owned()
        } else {
            format!("these {} runs", reviews.len())
        };
        let question = format!("{verb} {runs} at {}?", first.review.boundary.name);
        revocation::ask_consent(&question, args.yes, terminal)?;
    }
    for (id, review) in ids.iter().zip(reviews) {
        let envelope = review.sign(&keys)?;
        match &args.output {
            Some(path) => write_document(path, &envelope, terminal)?,
            None => drop(tell(&send(&client, id, &envelope)?, terminal)?),
        }
    }
    Ok(Exit::Done)
}

/// What a person says about a run.
pub struct SaidOfRun {
    /// Whether the run was right.
    pub verdict: ReviewVerdict,
    /// How the run ended, if nobody saw its end.
    pub observed: Option<ObservedEnd>,
    /// The reason.
    pub reason: String,
    /// Receipts of later runs that checked the result of this run.
    pub evidence: Vec<ReceiptId>,
}

/// A review that a person can sign, with the run that it is about.
pub struct RunReview {
    run: ReadReceipt,
    evidence: Vec<ReadReceipt>,
    review: ReviewStatement,
    payload: Vec<u8>,
    signer: KeyId,
    /// True if the person approved the run.
    approved: bool,
}

impl RunReview {
    /// Makes the review, and finds the key that signs it.
    ///
    /// # Errors
    /// Returns an error if the review does not fit the run, or if no key belongs to an approver.
    pub fn make(
        run: ReadReceipt,
        said: &SaidOfRun,
        client: &Client,
        keys: &Keys,
    ) -> CommandResult<Self> {
        check_observed(run.receipt.outcome.status, said.observed)?;
        let evidence = said
            .evidence
            .iter()
            .map(|id| ReadReceipt::fetch(client, id))
            .collect::<Result<Vec<_>, _>>()?;
        if said.evidence.contains(&run.id) {
            return fail_usage(
                "a run is no evidence for itself: name the receipt of a later check",
            );
        }
        let in_force = RevokingBoundary::read(client)?;
        if in_force.boundary.id != run.signed.boundary.id {
            let detail =
                "nothing was signed: the boundary returned the receipt of another boundary";
            return fail_refused(detail);
        }
        let approver = |keyid: &KeyId| {
            in_force
                .roster
                .approver_of(keyid)
                .map(|(approver, _)| approver.name.clone())
        };
        let found = keys
            .ids()
            .into_iter()
            .find_map(|keyid| Some((keyid, approver(&keyid)?)));
        let (signer, reviewer) = found.ok_or_else(|| {
            CommandFailure::usage(format!(
                "none of your keys is the key of an approver at {}: name your key with --key FILE",
                in_force.boundary.name
            ))
        })?;
        if run.receipt.decision.excluded.contains(&reviewer) {
            return fail_refused(excluded_words(&reviewer));
        }
        let review = ReviewStatement {
            boundary: run.signed.boundary.clone(),
            verdict: said.verdict,
            reason: with_evidence(&said.reason, &evidence),
            observed: said.observed,
        };
        let statement = Statement::new(
            review.clone(),
            vec![Subject::new("receipt", run.digest.as_bytes())],
        );
        let payload = statement.to_payload().map_err(|error| {
            CommandFailure::usage(format!(
                "the review can't be written: {error}; shorten the reason"
            ))
        })?;
        let approved = run.receipt.decision.approvers.contains(&reviewer);
        Ok(Self {
            run,
            evidence,
            review,
            payload,
            signer,
            approved,
        })
    }

    /// Returns what the person must know before the signature.
    pub fn screen(&self) -> Screen {
        run_screen(&self.run, &self.review, &self.evidence, self.approved)
    }

    /// Returns what the person says.
    pub fn statement(&self) -> &ReviewStatement {
        &self.review
    }

    /// Signs the review.
    ///
    /// # Errors
    /// Returns an error if the key did not sign.
    pub fn sign(&self, keys: &Keys) -> CommandResult<Envelope> {
        let signer = keys
            .first(|key| key.keyid() == self.signer)
            .ok_or_else(|| {
                CommandFailure::usage(format!(
                    "nothing was signed: the key {} is missing now",
                    self.signer
                ))
            })?;
        let signature = keys::sign(signer, SignaturePurpose::Review, &self.payload)?;
        Ok(Envelope::new(&self.payload, vec![signature]))
    }
}

/// Sends the review of a file. The file names only the digest of the receipt, so the receipt is found among the runs that
/// need a review.
fn send_file(
    args: &Args,
    path: &Path,
    global: &GlobalOptions,
    terminal: &Terminal,
) -> CommandResult {
    let has_more = args.observed.is_some()
        || !args.evidence.is_empty()
        || args.reason.is_some()
        || args.output.is_some();
    if args.accept || args.reject || has_more {
        return fail_usage(
            "the file contains the whole review: leave the other options of the review out",
        );
    }
    let envelope = read_envelope(path)?;
    let no_review = |error| CommandFailure::usage(format!("the file is no review: {error}"));
    let (_, statement) =
        read_statement::<ReviewStatement>(Base64::Lenient, &envelope.payload).map_err(no_review)?;
    let digest = reviewed(&statement).map_err(no_review)?;
    if let Some(listed) = global.listed() {
        listed.check_id(statement.predicate.boundary.id)?;
    }
    let client = global.reviewer(&args.key, terminal)?;
    let list: UnsettledList = client.get("/v1/unsettled")?;
    for id in list.runs.into_iter().filter_map(|run| run.receipt) {
        if ReadReceipt::fetch(&client, &id)?.digest == digest {
            return tell(&send(&client, &id, &envelope)?, terminal);
        }
    }
    fail_refused(format!(
        "the list of runs that need a review has no run with the receipt {digest} of this file: see `countersign unsettled`"
    ))
}

/// Sends a signed review to the boundary.
///
/// # Errors
/// Returns an error if the boundary refuses the review or cannot be reached.
pub fn send(client: &Client, id: &ReceiptId, envelope: &Envelope) -> CommandResult<ReviewedView> {
    client.post(&format!("/v1/receipts/{id}/reviews"), envelope)
}

fn tell(answer: &ReviewedView, terminal: &Terminal) -> CommandResult {
    terminal.answer(answer, done_words(answer))
}

/// Describes the state of the run after the review.
pub fn done_words(answer: &ReviewedView) -> String {
    let already = if answer.existing { "already " } else { "" };
    let mut words = format!(
        "the review of {} is {already}in the log (entry {})",
        answer.receipt, answer.index
    );
    if answer.open {
        words += "; the emergency needs more reviews";
    }
    match answer.settled {
        Some(end) => words += &format!("; the end of the run is settled: {end}"),
        None if answer.unsettled => words += "; the end of the run is not settled",
        None if !answer.open => words += "; the run needs no further review",
        None => {}
    }
    words
}

/// Checks that the review says how the run ended if, and only if, nobody saw the end.
fn check_observed(outcome: Status, observed: Option<ObservedEnd>) -> CommandResult<()> {
    match (outcome == Status::Unknown, observed) {
        (true, None) => fail_usage(
            "nobody saw how this run ended, and the review does not say it: find out what the run left, and give \
             --observed succeeded, failed, not-started or partly",
        ),
        (false, Some(_)) => fail_usage(format!(
            "--observed is only for a run with the outcome unknown, but the receipt states the outcome {outcome}: leave it out"
        )),
        (true, Some(_)) | (false, None) => Ok(()),
    }
}

/// Adds one line to the reason for each receipt of a check (section 22.4 of the formats).
fn with_evidence(reason: &str, evidence: &[ReadReceipt]) -> String {
    let lines = evidence
        .iter()
        .map(|check| format!("\nevidence {} {}", check.id, check.digest));
    std::iter::once(reason.to_owned()).chain(lines).collect()
}

/// Returns what the person must know about the run.
pub fn run_to_review(run: &ReadReceipt) -> Screen {
    let ReadReceipt {
        id,
        receipt,
        signed,
        digest,
        end_unknown_because,
    } = run;
    let mut screen = Screen::default();

    screen.heading("The run to review");
    if signed.emergency.is_some() {
        let words = "the run was an emergency, so other people approved it than normally";
        screen.field_in(LineTone::Bad, "EMERGENCY", words);
    }
    screen.field(
        "step",
        format!("{} at {}", signed.step.reference, signed.boundary.name),
    );
    let mut name = "parameters";
    for (path, value) in leaves(&signed.params) {
        let text = match path.strip_prefix('.') {
            Some(path) => PrintableText::path(path).then(PrintableText::value(value)),
            None => PrintableText::words("none"),
        };
        screen.field(std::mem::take(&mut name), &text);
    }
    let whose = PrintableText::text(signed.proposer.as_str()).and("'s words: ");
    screen.field(
        "reason",
        whose.then(PrintableText::quoted_prose(&signed.reason)),
    );
    if let Some(grant) = &signed.grant {
        screen.field(
            "under grant",
            format!("{grant}: nobody approved this run itself"),
        );
    }
    let by = if signed.grant.is_some() {
        "grant signed"
    } else {
        "approved by"
    };
    screen.field(by, joined(&receipt.decision.approvers, ", "));
    let why = end_unknown_because
        .as_ref()
        .map_or_else(PrintableText::default, |why| {
            PrintableText::words(" (the boundary says: ")
                .then(why)
                .and(")")
        });
    let tone = if receipt.outcome.status == Status::Unknown {
        LineTone::Bad
    } else {
        LineTone::Plain
    };
    screen.field_in(
        tone,
        "outcome",
        PrintableText::text(&outcome_words(&receipt.outcome)).then(&why),
    );
    if receipt.outcome.status == Status::Unknown {
        let words = format!(
            "some time between {} (the authorization was made) and {} (the boundary started again)",
            signed.issued_at, receipt.finished_at
        );
        screen.field("ran", &words);
    } else {
        screen.field("started", receipt.started_at.to_string());
        screen.field("ended", receipt.finished_at.to_string());
    }
    screen.field("receipt", format!("{id} {digest}"));
    screen
}

/// Returns what the person must know before the signature. `approved` is true if this person approved the run.
fn run_screen(
    run: &ReadReceipt,
    review: &ReviewStatement,
    evidence: &[ReadReceipt],
    approved: bool,
) -> Screen {
    let mut screen = run_to_review(run);
    for check in evidence {
        let words = format!(
            "{} of {}: {}, ended {}",
            check.id,
            check.signed.step.reference,
            outcome_words(&check.receipt.outcome),
            check.receipt.finished_at
        );
        screen.field("evidence", &words);
    }
    screen.heading("Your review");
    screen.field("verdict", review.verdict.word());
    if let Some(end) = review.observed {
        screen.field("observed", end.word());
    }
    screen.field("reason", PrintableText::quoted_prose(&review.reason));
    if approved && run.signed.emergency.is_some() {
        let words = "you approved this run, so your review does not count towards the reviews that the emergency needs";
        screen.field_in(LineTone::Bad, "note", words);
    }
    screen
}

fn parse_observed(text: &str) -> Result<ObservedEnd, String> {
    serde_json::from_value(text.replace('-', "_").into())
        .map_err(|_| "write succeeded, failed, not-started or partly".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use serde_json::Value;

    use super::*;

    const BUNDLE: &[u8] = include_bytes!("../../../../tests/conformance/golden/valid/bundle.json");

    /// Returns the receipt of the golden bundle.
    fn golden() -> ReadReceipt {
        let bundle: Value = serde_json::from_slice(BUNDLE).expect("JSON");
        let envelope: Envelope =
            serde_json::from_value(bundle["receipt"].clone()).expect("an envelope");
        let authorization = bundle["authorization"].clone();
        let payload = Base64::Strict
            .decode(
                "/payload",
                authorization["payload"].as_str().expect("a payload"),
            )
            .expect("base64");
        let signed: Value = serde_json::from_slice(&payload).expect("JSON");
        let proposal = signed["predicate"]["proposal"].as_str().expect("an id");
        let id = format!("rcp_{}", proposal.strip_prefix("prp_").expect("a prefix"));
        let id: ReceiptId = id.parse().expect("an id");
        let view = json!({"id": id, "index": 3, "envelope": envelope, "authorization": authorization, "end_unknown_because": "it crashed\u{1b}"});
        ReadReceipt::of(serde_json::from_value(view).expect("a view"), &id).expect("a receipt")
    }

    fn review(run: &ReadReceipt, reason: String, observed: Option<ObservedEnd>) -> ReviewStatement {
        ReviewStatement {
            boundary: run.signed.boundary.clone(),
            verdict: ReviewVerdict::Accepted,
            reason,
            observed,
        }
    }

    #[test]
    fn a_receipt_of_another_run_than_the_named_one_is_refused() {
        let run = golden();
        let other: ReceiptId = "rcp_019aa0b0-5c00-7000-8000-00000077a1b3"
            .parse()
            .expect("an id");
        let bundle: Value = serde_json::from_slice(BUNDLE).expect("JSON");
        let view = json!({
            "id": run.id, "index": 3, "envelope": bundle["receipt"], "authorization": bundle["authorization"],
        });
        let refused = ReadReceipt::of(serde_json::from_value(view).expect("a view"), &other)
            .expect_err("another run");
        assert_eq!(refused.exit, Exit::Refused, "{refused}");
    }

    #[test]
    fn the_screen_shows_the_run_and_the_whole_review() {
        let mut run = golden();
        run.signed.emergency = Some(documents::Emergency::yes());
        run.receipt.outcome.status = Status::Unknown;
        run.signed.params = json!({"count": 3, "zones": ["a", "b\u{202e}"]});
        let reason = with_evidence("fine", std::slice::from_ref(&run));
        let screen = run_screen(
            &run,
            &review(&run, reason, Some(ObservedEnd::NotStarted)),
            &[run.clone()],
            true,
        );
        let text = screen.paint(400, false);
        let digest = format!("{} {}", run.id, run.digest);
        for part in [
            "  EMERGENCY     the run was an emergency",
            &format!(
                "  step          {} at {}",
                run.signed.step.reference, run.signed.boundary.name
            ),
            &format!("  approved by   {}", run.receipt.decision.approvers[0]),
            "  parameters    count = 3\n",
            r#" zones[1] = "b\u{202e}""#,
            "  outcome       unknown",
            r"(the boundary says: it crashed\x1b)",
            &format!("  receipt       {digest}"),
            &format!("  evidence      {} of ", run.id),
            "  verdict       accepted",
            "  observed      not started",
            &format!(r#"  reason        "fine\nevidence {digest}""#),
            "  note          you approved this run, so your review does not count",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let plain = golden();
        let text = run_screen(&plain, &review(&plain, "fine".to_owned(), None), &[], true)
            .paint(400, false);
        assert!(
            !text.contains("EMERGENCY") && !text.contains("note") && !text.contains("observed"),
            "{text}"
        );
    }

    #[test]
    fn the_review_names_the_digest_of_the_payload_of_the_receipt() {
        let run = golden();
        let bundle: Value = serde_json::from_slice(BUNDLE).expect("JSON");
        let payload = Base64::Strict
            .decode("", bundle["receipt"]["payload"].as_str().expect("text"))
            .expect("base64");
        let statement = Statement::new(
            review(&run, String::new(), None),
            vec![Subject::new("receipt", run.digest.as_bytes())],
        );
        let written = statement.to_payload().expect("a payload");
        let read = Statement::<ReviewStatement>::from_payload(&written).expect("a review");
        assert_eq!(
            reviewed(&read).expect("a digest"),
            documents::ContentDigest::of(&payload)
        );
    }

    #[test]
    fn only_an_unknown_end_needs_an_observation() {
        let says = |outcome, observed| {
            check_observed(outcome, observed)
                .err()
                .map(|failure| failure.message)
        };
        assert_eq!(says(Status::Succeeded, None), None);
        assert_eq!(says(Status::Unknown, Some(ObservedEnd::Partly)), None);
        assert!(
            says(Status::Unknown, None)
                .is_some_and(|message| message.contains("--observed succeeded"))
        );
        assert!(
            says(Status::Failed, Some(ObservedEnd::Failed))
                .is_some_and(|message| message.contains("outcome failed"))
        );
    }

    #[test]
    fn the_words_of_the_command_line_are_those_of_the_document_with_hyphens() {
        for (text, end) in [
            ("succeeded", ObservedEnd::Succeeded),
            ("failed", ObservedEnd::Failed),
            ("not-started", ObservedEnd::NotStarted),
            ("partly", ObservedEnd::Partly),
        ] {
            assert_eq!(parse_observed(text), Ok(end));
        }
        assert!(parse_observed("unknown").is_err());
        assert!(matches!("./review".parse(), Ok(ReviewRunArgument::File(_))));
        assert!(matches!(
            "rcp_019aa0b0-5c00-7000-8000-00000077a1b3".parse(),
            Ok(ReviewRunArgument::Receipt(_))
        ));
        assert!(
            "prp_019aa0b0-5c00-7000-8000-00000077a1b3"
                .parse::<ReviewRunArgument>()
                .is_err()
        );
    }

    #[test]
    fn the_answer_says_what_the_run_still_needs() {
        let receipt = golden().id;
        let words = |open, unsettled, settled| {
            done_words(&ReviewedView {
                receipt: receipt.clone(),
                index: 9,
                existing: false,
                open,
                unsettled,
                settled,
            })
        };
        assert!(
            words(false, false, None)
                .ends_with("in the log (entry 9); the run needs no further review")
        );
        assert!(words(true, false, None).ends_with("(entry 9); the emergency needs more reviews"));
        assert!(
            words(true, true, None)
                .ends_with("needs more reviews; the end of the run is not settled")
        );
        assert!(
            words(false, false, Some(ObservedEnd::Partly))
                .ends_with("; the end of the run is settled: partly")
        );
    }
}
