//! What a run did: the facts of its receipt, and its recorded output.
//!
//! If this machine can verify bundles, the program reads the whole recorded output, and compares it with the digest that
//! the receipt states. Else somebody between the boundary and this machine could change the text that an agent reads.

use std::ops::Range;

use serde_json::{Map, Value};
use tokio::time::{Instant, timeout_at};

use crate::mcp::answers::{
    GetOutputArgs, GetReceiptArgs, McpStream, OutputTail, OutputWindow, ReceiptFacts, ReceiptVerification,
    VerificationBasis,
};
use crate::mcp::boundary_api::{ApiRequest, BoundaryApi};
use crate::mcp::tool_calls::{Answer, ToolCalls, object, receipt_id, succeeded};
use crate::mcp::tool_problem::ToolProblem;
use crate::mcp::visible_text::{visible_end, visible_json_text, visible_start};
use crate::record::authorization::Authorization;
use crate::record::bundle::Bundle;
use crate::record::document::{Predicate, Statement};
use crate::record::envelope::{Base64, Envelope};
use crate::record::ident::ReceiptId;
use crate::record::receipt::{Receipt, RecordedDigest, Stream};

/// Number of bytes in one window of an output, before and after the escapes.
const WINDOW_BYTES: usize = 16 << 10;
/// Number of bytes of each stream in the answer about an ended run, before and after the escapes.
const TAIL_BYTES: usize = 2 << 10;
/// Number of bytes that one call has in memory while it reads a whole output.
const PIECE_BYTES: u64 = 4 << 20;

/// Code of the problem if the boundary sent the bundle of another run.
const ANOTHER_RUN: &str = "another-run";

/// What the answer about an ended proposal states about its run.
#[derive(Debug, Default)]
pub(super) struct EndedRun {
    pub(super) step: Option<String>,
    pub(super) outcome: Option<Map<String, Value>>,
    pub(super) verified: bool,
    pub(super) verification: Option<String>,
    pub(super) output: Option<OutputTail>,
}

impl EndedRun {
    /// Returns what is known without the receipt.
    fn unread(why: &str) -> Self {
        let words = "not verified, because the receipt could not be read";
        let verification = Some(format!("{words} ({why}): `outcome` is the boundary's word"));
        Self { verification, ..Self::default() }
    }
}

/// The bundle of a run, before its verification.
struct RunBundle {
    bytes: Vec<u8>,
    receipt: Receipt,
    authorization: Authorization,
}

/// The documents of a bundle, with the result of its verification.
struct Evidence {
    receipt: Receipt,
    authorization: Authorization,
    verification: ReceiptVerification,
}

impl<A: BoundaryApi> ToolCalls<A> {
    /// Returns the facts of a receipt, verified on this machine if that is possible.
    pub async fn get_receipt(&self, args: GetReceiptArgs) -> Answer<ReceiptFacts> {
        let id = receipt_id(&args.id)?;
        let Evidence { receipt, authorization, verification } = self.evidence(&id).await?;
        Ok(ReceiptFacts {
            receipt: id.to_string(),
            step: authorization.step.reference.to_string(),
            params: object(&authorization.params),
            proposer: authorization.proposer.to_string(),
            approvers: receipt.decision.approvers.iter().map(ToString::to_string).collect(),
            outcome: object(&receipt.outcome),
            started_at: receipt.started_at.to_string(),
            finished_at: receipt.finished_at.to_string(),
            log_index: receipt.consumption.index,
            output: object(&receipt.output),
            verification,
        })
    }

    /// Returns one window of an output.
    pub async fn get_output(&self, args: GetOutputArgs) -> Answer<OutputWindow> {
        let id = receipt_id(&args.id)?;
        let evidence = self.evidence(&id).await?;
        let stream = match args.stream {
            McpStream::Stdout => &evidence.receipt.output.stdout,
            McpStream::Stderr => &evidence.receipt.output.stderr,
        };
        let first = args.offset.min(stream.recorded);
        let end = first.saturating_add(WINDOW_BYTES as u64).min(stream.recorded);
        let bytes = self.recorded(stream, first..end).await?;
        let (output_verified, output_verification) = words(bytes.is_none(), &evidence.verification);
        let (text, used) = visible_start(bytes.as_deref().unwrap_or_default(), WINDOW_BYTES);
        let end = first + used as u64;
        Ok(OutputWindow {
            receipt: id.to_string(),
            stream: args.stream,
            offset: first,
            bytes: used as u64,
            next_offset: (bytes.is_some() && end < stream.recorded).then_some(end),
            recorded_bytes: stream.recorded,
            truncated: stream.truncated,
            sha256: stream.sha256.to_string(),
            blake3: stream.blake3.to_string(),
            output_verified,
            output_verification,
            untrusted_output: text,
        })
    }

    /// Returns what the receipt of an ended run states, with the end of the output, or that they did not arrive in time.
    pub(super) async fn ended_run(&self, id: &ReceiptId, until: Instant) -> EndedRun {
        let read = timeout_at(until, self.read_ended_run(id)).await;
        read.unwrap_or_else(|_| EndedRun::unread("it did not arrive in time"))
    }

    async fn read_ended_run(&self, id: &ReceiptId) -> EndedRun {
        match self.evidence(id).await {
            Ok(evidence) => EndedRun {
                step: Some(evidence.authorization.step.reference.to_string()),
                outcome: Some(object(&evidence.receipt.outcome)),
                verified: evidence.verification.verified,
                output: self.tail(&evidence).await.ok(),
                verification: Some(evidence.verification.summary),
            },
            Err(problem) => EndedRun::unread(problem.code()),
        }
    }

    /// Returns the bundle of a receipt as a JSON document with visible characters.
    pub async fn bundle_text(&self, id: &ReceiptId) -> Answer<String> {
        let bundle = self.bundle(id).await?;
        String::from_utf8(bundle.bytes).map(|text| visible_json_text(&text)).map_err(ToolProblem::odd)
    }

    async fn tail(&self, evidence: &Evidence) -> Answer<OutputTail> {
        let (mut ends, mut is_altered, mut is_cut) = (Vec::new(), false, false);
        for stream in [&evidence.receipt.output.stdout, &evidence.receipt.output.stderr] {
            let first = stream.recorded.saturating_sub(TAIL_BYTES as u64);
            let bytes = self.recorded(stream, first..stream.recorded).await?;
            is_altered |= bytes.is_none();
            let bytes = bytes.unwrap_or_default();
            // The tail may begin in the middle of a character.
            let start = bytes.iter().take(3).take_while(|byte| first > 0 && **byte & 0xc0 == 0x80).count();
            let (text, cut) = visible_end(&bytes[start..], TAIL_BYTES);
            is_cut |= cut || stream.bytes > TAIL_BYTES as u64;
            ends.push(text);
        }
        let (output_verified, output_verification) = words(is_altered, &evidence.verification);
        let stderr = ends.pop().unwrap_or_default();
        let stdout = ends.pop().unwrap_or_default();
        Ok(OutputTail { stdout, stderr, is_cut, output_verified, output_verification })
    }

    /// Reads the bundle of a run.
    async fn bundle(&self, id: &ReceiptId) -> Answer<RunBundle> {
        let bytes = succeeded(self.send(ApiRequest::get(format!("/v1/receipts/{id}/bundle"))).await?)?;
        let bundle = Bundle::parse(&bytes).map_err(ToolProblem::odd)?;
        let receipt: Receipt = predicate(&bundle.receipt)?;
        let authorization: Authorization = predicate(&receipt.authorization)?;
        if authorization.proposal.receipt() != *id {
            let advice = "do not rely on this boundary's answers, and tell the user";
            return Err(ToolProblem::new(ANOTHER_RUN, "the boundary sent the receipt of another run", advice));
        }
        Ok(RunBundle { bytes, receipt, authorization })
    }

    /// Reads and verifies the bundle of a run. The facts come from the same bytes that are verified.
    async fn evidence(&self, id: &ReceiptId) -> Answer<Evidence> {
        let RunBundle { bytes, receipt, authorization } = self.bundle(id).await?;
        let verification = match &self.machine {
            None => ReceiptVerification {
                verified: false,
                basis: VerificationBasis::BoundaryWord,
                summary:
                    "the boundary's word: nothing was verified here. `countersign verify` checks the bundle offline"
                        .to_owned(),
                checks: Vec::new(),
                not_checked: vec!["every fact of this answer".to_owned()],
            },
            Some(machine) => {
                let verify = machine.verify.clone();
                let made = tokio::task::spawn_blocking(move || verify(&bytes)).await;
                made.map_err(|error| ToolProblem::odd(format_args!("the verification ended early: {error}")))?
            }
        };
        Ok(Evidence { receipt, authorization, verification })
    }

    /// Returns a part of the recorded bytes, or `None` if the boundary sent other bytes than the receipt states. At the
    /// boundary itself, nothing can be verified, and only this part is read.
    async fn recorded(&self, stream: &Stream, part: Range<u64>) -> Answer<Option<Vec<u8>>> {
        let all = if self.machine.is_some() { 0..stream.recorded } else { part.clone() };
        let (mut digest, mut kept, mut first) = (RecordedDigest::default(), Vec::new(), all.start);
        while first < all.end {
            let end = first.saturating_add(PIECE_BYTES).min(all.end);
            let range = Some(format!("bytes={first}-{}", end - 1));
            let request = ApiRequest { range, ..ApiRequest::get(format!("/v1/outputs/{}", stream.blake3)) };
            let piece = succeeded(self.send(request).await?)?;
            if piece.len() as u64 != end - first {
                return Ok(None);
            }
            digest.update(&piece);
            let place = |byte: u64| usize::try_from(byte.clamp(first, end) - first).unwrap_or_default();
            kept.extend_from_slice(&piece[place(part.start)..place(part.end)]);
            first = end;
        }
        let is_same = self.machine.is_none() || digest.finish() == stream.sha256;
        Ok(is_same.then_some(kept))
    }
}

/// Returns whether an output is verified, and the reason.
fn words(is_altered: bool, verification: &ReceiptVerification) -> (bool, String) {
    if is_altered {
        let words = "NOT verified: the boundary sent other bytes than its receipt states, so the altered text is not \
                     shown; do not rely on this output, and tell the user";
        (false, words.to_owned())
    } else if verification.verified {
        (true, "verified: all recorded bytes have the digest that the verified receipt states".to_owned())
    } else {
        (false, format!("the receipt is not verified, so the output is not either: {}", verification.summary))
    }
}

fn predicate<P: Predicate>(envelope: &Envelope) -> Answer<P> {
    let payload = Base64::Strict.decode("/payload", &envelope.payload).map_err(ToolProblem::odd)?;
    Statement::<P>::from_payload(&payload).map(|statement| statement.predicate).map_err(ToolProblem::odd)
}
