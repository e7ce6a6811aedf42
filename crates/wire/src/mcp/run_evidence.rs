//! What a run did: the facts of its receipt, and its recorded output.
//!
//! If this machine can verify bundles, the program reads the whole recorded output, and compares it with the digest
//! that the receipt states. The program also compares the receipt with the proposal that it sent. Otherwise somebody
//! between the boundary and this machine could change the text that an agent reads, or show another run.

use std::ops::Range;

use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout_at};

use crate::{
    Answer, ApiRequest, BoundaryApi, GetOutputArgs, GetReceiptArgs, OutputWindow, ReceiptCheck,
    ReceiptFacts, ReceiptVerification, ToolCalls, ToolProblem, VerificationBasis,
    mcp::{
        answers::{
            FAILED, MAX_ANSWER_BYTES, McpStream, OutputTail, WHOLE, visible_end, visible_json_text,
            visible_start,
        },
        tool_calls::{BEFORE_END, object, outcome_of, receipt_id, succeeded},
    },
};
use documents::{
    Authorization, Base64, Bundle, Consumption, Envelope, Grant, Predicate, Receipt, ReceiptId,
    Statement, Stream,
};

/// Maximum number of bytes in one window of an output, both before and after escaping.
const WINDOW_BYTES: usize = 16 << 10;
/// Maximum number of bytes of each stream in the answer about an ended run, both before and after escaping.
const TAIL_BYTES: usize = 2 << 10;
/// Code of the problem if the boundary sent the bundle of another run.
pub const ANOTHER_RUN: &str = "another-run";

/// What the answer about an ended proposal states about its run.
#[derive(Default)]
pub struct EndedRun {
    pub step: Option<String>,
    pub params: Option<Map<String, Value>>,
    pub outcome: Option<Map<String, Value>>,
    /// Lines about the hosts to which the run got no connection.
    pub refused_hosts: Vec<String>,
    /// The standing grant of the run, with the number of the use.
    pub used: Option<String>,
    pub verified: bool,
    pub verification: Option<String>,
    /// True if a check of the receipt failed.
    pub is_refuted: bool,
    /// True if no outcome can be shown, because the receipt is missing.
    pub lacks_outcome: bool,
    pub output: Option<OutputTail>,
}

impl EndedRun {
    /// Returns what is known without the receipt. On the agent's machine, the result contains no outcome, because
    /// somebody between the boundary and this machine could invent an outcome and hide the receipt.
    fn unread(why: &str, is_at_boundary: bool) -> Self {
        let word = if is_at_boundary {
            "`outcome` is the boundary's word"
        } else {
            "so no outcome is shown"
        };
        let verification = format!("not verified, because the receipt is missing: {why}; {word}");
        Self {
            verification: Some(verification),
            lacks_outcome: !is_at_boundary,
            ..Self::default()
        }
    }
}

/// The bundle of a run, before its verification.
struct RunBundle {
    bytes: Vec<u8>,
    bundle: Bundle,
    receipt: Receipt,
    authorization: Authorization,
}

/// The documents of a bundle, with the result of its verification.
struct Evidence {
    receipt: Receipt,
    used: Option<String>,
    authorization: Authorization,
    verification: ReceiptVerification,
}

impl Evidence {
    fn stream(&self, name: McpStream) -> &Stream {
        match name {
            McpStream::Stdout => &self.receipt.output.stdout,
            McpStream::Stderr => &self.receipt.output.stderr,
        }
    }
}

/// Why an output is not shown.
enum NoOutput {
    /// A check of the receipt failed.
    Refuted,
    /// The boundary sent other bytes than the receipt states.
    Altered,
    /// Only `read` of `recorded` bytes arrived in time.
    Late { read: u64, recorded: u64 },
    /// The boundary did not send the output.
    Missing(ToolProblem),
}

impl<A: BoundaryApi> ToolCalls<A> {
    /// Returns the facts of a receipt, verified on this machine if that is possible.
    pub async fn get_receipt(&self, args: GetReceiptArgs) -> Answer<ReceiptFacts> {
        let id = receipt_id(&args.id)?;
        let Evidence {
            receipt,
            authorization,
            verification,
            ..
        } = self.evidence(&id).await?;
        Ok(ReceiptFacts {
            receipt: id.to_string(),
            step: authorization.step.reference.to_string(),
            params: object(&authorization.params),
            proposer: authorization.proposer.to_string(),
            approvers: receipt
                .decision
                .approvers
                .iter()
                .map(ToString::to_string)
                .collect(),
            outcome: outcome_of(&receipt.outcome, &receipt.refused_parts()),
            refused_hosts: receipt
                .sandbox
                .refused_lines(&authorization.sandbox.network.hosts),
            started_at: receipt.started_at.to_string(),
            finished_at: receipt.finished_at.to_string(),
            log_index: receipt.consumption.index,
            output: object(&receipt.output),
            verification,
        })
    }

    /// Returns one window of an output.
    pub async fn get_output(&self, args: GetOutputArgs, deadline: Instant) -> Answer<OutputWindow> {
        let id = receipt_id(&args.id)?;
        let evidence = self.evidence(&id).await?;
        let stream = evidence.stream(args.stream);
        let first = args.offset.min(stream.recorded);
        let end = first
            .saturating_add(WINDOW_BYTES as u64)
            .min(stream.recorded);
        let read = match self
            .recorded(&evidence, args.stream, first..end, deadline - BEFORE_END)
            .await
        {
            Err(NoOutput::Missing(problem)) => return Err(problem),
            Err(NoOutput::Late { read, recorded }) => {
                let detail =
                    format!("only {read} of {recorded} bytes of the output arrived in time");
                let advice =
                    "call `get_output` again with the same arguments: it reads on where it ended";
                return Err(ToolProblem::new("unreachable", &detail, advice));
            }
            read => read,
        };
        let (output_verified, output_verification) =
            words(read.as_ref().err(), &evidence.verification);
        let is_shown = read.is_ok();
        let (text, used) = visible_start(&read.unwrap_or_default(), WINDOW_BYTES);
        let end = first + used as u64;
        Ok(OutputWindow {
            receipt: id.to_string(),
            stream: args.stream,
            offset: first,
            bytes: used as u64,
            next_offset: (is_shown && end < stream.recorded).then_some(end),
            recorded_bytes: stream.recorded,
            truncated: stream.truncated,
            sha256: stream.sha256.to_string(),
            blake3: stream.blake3.to_string(),
            output_verified,
            output_verification,
            untrusted_output: text,
        })
    }

    /// Returns the bundle of a receipt as a JSON document with visible characters, or how to get a large bundle.
    pub async fn bundle_text(&self, id: &ReceiptId) -> Answer<String> {
        let bundle = self.bundle(id).await?;
        let text = String::from_utf8(bundle.bytes)
            .map(|text| visible_json_text(&text))
            .map_err(ToolProblem::odd)?;
        if text.len() <= MAX_ANSWER_BYTES {
            return Ok(text);
        }
        Ok(json!({"receipt": id, "bytes": text.len(), "cut": {"members": ["bundle"], "whole": WHOLE}}).to_string())
    }

    /// Returns what the receipt of an ended run states, with the end of the output. A part that does not arrive before
    /// `until` is missing in the result.
    pub(super) async fn ended_run(&self, id: &ReceiptId, until: Instant) -> EndedRun {
        let evidence = match timeout_at(until, self.evidence(id)).await {
            Ok(Ok(evidence)) => evidence,
            Ok(Err(problem)) if problem.code() == ANOTHER_RUN => {
                let words = "NOT verified: the boundary sent the receipt of another run";
                return EndedRun {
                    verification: Some(words.to_owned()),
                    is_refuted: true,
                    ..EndedRun::default()
                };
            }
            Ok(Err(problem)) => return EndedRun::unread(why(&problem), self.machine.is_none()),
            Err(_) => return EndedRun::unread("it did not arrive in time", self.machine.is_none()),
        };
        let output = Some(self.tail(&evidence, until).await);
        let verification = Some(evidence.verification.summary.clone());
        if evidence.verification.has_failed() {
            return EndedRun {
                verification,
                is_refuted: true,
                output,
                ..EndedRun::default()
            };
        }
        EndedRun {
            step: Some(evidence.authorization.step.reference.to_string()),
            params: Some(object(&evidence.authorization.params)),
            outcome: Some(outcome_of(
                &evidence.receipt.outcome,
                &evidence.receipt.refused_parts(),
            )),
            refused_hosts: evidence
                .receipt
                .sandbox
                .refused_lines(&evidence.authorization.sandbox.network.hosts),
            used: evidence.used,
            verified: evidence.verification.verified,
            verification,
            output,
            ..EndedRun::default()
        }
    }

    async fn tail(&self, evidence: &Evidence, until: Instant) -> OutputTail {
        let (mut ends, mut flaws, mut is_cut) = (Vec::new(), Vec::new(), false);
        for name in [McpStream::Stdout, McpStream::Stderr] {
            let stream = evidence.stream(name);
            let first = stream.recorded.saturating_sub(TAIL_BYTES as u64);
            let bytes = match self
                .recorded(evidence, name, first..stream.recorded, until)
                .await
            {
                Ok(bytes) => bytes,
                Err(flaw) => {
                    is_cut |= stream.recorded > 0;
                    flaws.push(flaw);
                    Vec::new()
                }
            };
            // The tail may begin in the middle of a character.
            let start = bytes
                .iter()
                .take(3)
                .take_while(|byte| first > 0 && **byte & 0xc0 == 0x80)
                .count();
            let (text, cut) = visible_end(&bytes[start..], TAIL_BYTES);
            is_cut |= cut || stream.bytes > TAIL_BYTES as u64;
            ends.push(text);
        }
        let altered = flaws.iter().find(|flaw| matches!(flaw, NoOutput::Altered));
        let (output_verified, output_verification) =
            words(altered.or(flaws.first()), &evidence.verification);
        let stderr = ends.pop().unwrap_or_default();
        let stdout = ends.pop().unwrap_or_default();
        OutputTail {
            stdout,
            stderr,
            is_cut,
            output_verified,
            output_verification,
        }
    }

    /// Reads the bundle of a run.
    async fn bundle(&self, id: &ReceiptId) -> Answer<RunBundle> {
        let bytes = succeeded(
            self.send(ApiRequest::get(format!("/v1/receipts/{id}/bundle")))
                .await?,
        )?;
        let bundle = Bundle::parse(&bytes).map_err(ToolProblem::odd)?;
        let (receipt, authorization) = receipt_of(&bundle)?;
        if authorization.proposal.receipt() != *id {
            let advice = "do not rely on this boundary's answers, and tell the user";
            return Err(ToolProblem::new(
                ANOTHER_RUN,
                "the boundary sent the receipt of another run",
                advice,
            ));
        }
        Ok(RunBundle {
            bytes,
            bundle,
            receipt,
            authorization,
        })
    }

    /// Reads and verifies the bundle of a run. The facts come from the same bytes that are verified.
    async fn evidence(&self, id: &ReceiptId) -> Answer<Evidence> {
        let RunBundle {
            bytes,
            bundle,
            receipt,
            authorization,
        } = self.bundle(id).await?;
        let used = use_of(&bundle, &authorization)?;
        let Some(machine) = &self.machine else {
            let summary = "the boundary's word: nothing was verified here. `countersign verify` checks the bundle offline";
            let verification = ReceiptVerification {
                verified: false,
                basis: VerificationBasis::BoundaryWord,
                summary: summary.to_owned(),
                checks: Vec::new(),
                not_checked: vec!["every fact of this answer".to_owned()],
            };
            return Ok(Evidence {
                receipt,
                used,
                authorization,
                verification,
            });
        };
        let verify = machine.verify.clone();
        let made = tokio::task::spawn_blocking(move || verify(&bytes)).await;
        let mut verification = made.map_err(|error| {
            ToolProblem::odd(format_args!("the verification ended early: {error}"))
        })?;
        let plan = bundle
            .plan
            .as_deref()
            .map(|plan| receipt_of(plan).map(|(_, signed)| signed.proposal.receipt()));
        let plan = plan.transpose()?;
        let ended = Some(receipt.finished_at);
        let differences =
            machine
                .sent
                .differences(&authorization, &bundle.step["params"], plan.as_ref(), ended);
        if !differences.is_empty() {
            let differences = differences.join(", ");
            let detail = format!(
                "the receipt differs from the proposal that this server sent: {differences}"
            );
            verification.verified = false;
            verification.summary = format!("NOT verified: {detail}");
            verification.checks.push(ReceiptCheck {
                name: "own-proposal".to_owned(),
                finding: FAILED.to_owned(),
                detail,
            });
        }
        Ok(Evidence {
            receipt,
            used,
            authorization,
            verification,
        })
    }

    /// Returns a part of a recorded stream. At the boundary itself, nothing can be verified, and only this part is read.
    async fn recorded(
        &self,
        evidence: &Evidence,
        name: McpStream,
        part: Range<u64>,
        until: Instant,
    ) -> Result<Vec<u8>, NoOutput> {
        if evidence.verification.has_failed() {
            return Err(NoOutput::Refuted);
        }
        let stream = evidence.stream(name);
        let Some(machine) = &self.machine else {
            let late = |_| NoOutput::Late {
                read: 0,
                recorded: stream.recorded,
            };
            return timeout_at(until, self.piece(stream, part))
                .await
                .map_err(late)?;
        };
        let reading = &machine.outputs[name as usize];
        let read = timeout_at(until, async {
            let mut reading = reading.lock().await;
            reading.begin(stream, &part);
            loop {
                let next = reading.next();
                if next.is_empty() {
                    return reading.checked(&part).ok_or(NoOutput::Altered);
                }
                let piece = self.piece(stream, next).await?;
                reading.add(&piece);
            }
        });
        read.await.unwrap_or_else(|_| {
            let read = reading.try_lock().map_or(0, |reading| reading.next().start);
            Err(NoOutput::Late {
                read,
                recorded: stream.recorded,
            })
        })
    }

    async fn piece(&self, stream: &Stream, bytes: Range<u64>) -> Result<Vec<u8>, NoOutput> {
        if bytes.is_empty() {
            return Ok(Vec::new());
        }
        let range = Some(format!("bytes={}-{}", bytes.start, bytes.end - 1));
        let request = ApiRequest {
            range,
            ..ApiRequest::get(format!("/v1/outputs/{}", stream.blake3))
        };
        let piece = self
            .send(request)
            .await
            .and_then(succeeded)
            .map_err(NoOutput::Missing)?;
        if piece.len() as u64 == bytes.end - bytes.start {
            Ok(piece)
        } else {
            Err(NoOutput::Altered)
        }
    }
}

/// Returns whether an output is verified, and the reason.
fn words(flaw: Option<&NoOutput>, verification: &ReceiptVerification) -> (bool, String) {
    let is_verified = flaw.is_none() && verification.verified;
    let summary = &verification.summary;
    let text = match flaw {
        None if is_verified => {
            "verified: all recorded bytes have the digest that the verified receipt states".to_owned()
        }
        None => format!("the receipt is not verified, so the output is not either: {summary}"),
        Some(NoOutput::Refuted) => {
            format!("{summary}; so the output is not shown. `get_receipt` lists the checks; tell the user")
        }
        Some(NoOutput::Altered) => {
            "NOT verified: the boundary sent other bytes than its receipt states, so the altered \
                                    text is not shown; do not rely on this output, and tell the user"
                .to_owned()
        }
        Some(NoOutput::Late { read, recorded }) => format!(
            "the output is missing, because only {read} of {recorded} bytes arrived in time: call `get_output`, which \
             reads on where this call ended"
        ),
        Some(NoOutput::Missing(problem)) => format!("the output is missing: {}", why(problem)),
    };
    (is_verified, text)
}

/// Returns why a document did not arrive. The text is fixed, because the words of a problem can come from anybody.
fn why(problem: &ToolProblem) -> &'static str {
    match problem.code() {
        "not-found" => "the boundary does not have it any more, or not for this token",
        "unauthenticated" | "forbidden" => "the token does not permit to read it",
        "rate-limited" | "busy" => "the boundary has too many requests now",
        "standby" | "database" => "the boundary can't use its database now",
        "unreachable" => "no readable answer arrived",
        _ => "the boundary refused to send it",
    }
}

fn receipt_of(bundle: &Bundle) -> Answer<(Receipt, Authorization)> {
    let receipt: Receipt = predicate(&bundle.receipt)?;
    let authorization = predicate(&bundle.authorization)?;
    Ok((receipt, authorization))
}

/// Returns which use of a grant the run was.
fn use_of(bundle: &Bundle, authorization: &Authorization) -> Answer<Option<String>> {
    let Some(grant) = &bundle.grant else {
        return Ok(None);
    };
    let (grant, consumption) = (
        predicate::<Grant>(grant)?,
        predicate::<Consumption>(&bundle.consumption)?,
    );
    let item = consumption
        .spent
        .iter()
        .find(|item| item.nonce == authorization.nonce);
    let used = item
        .and_then(|item| item.grant_use)
        .map_or(0, |used| used.0);
    let (id, most) = (grant.grant, grant.max_uses);
    Ok(Some(format!(
        "ran under standing grant {id}, use {used} of {most}; nobody was asked. "
    )))
}

fn predicate<P: Predicate>(envelope: &Envelope) -> Answer<P> {
    let payload = Base64::Strict
        .decode("/payload", &envelope.payload)
        .map_err(ToolProblem::odd)?;
    Statement::<P>::from_payload(&payload)
        .map(|statement| statement.predicate)
        .map_err(ToolProblem::odd)
}
