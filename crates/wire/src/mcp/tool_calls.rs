//! What each tool does: its HTTP calls, and the answer that the agent gets.
//!
//! The file also has the calls about the steps of a boundary (a search, one step, and the folders), and the boundaries
//! of a server: one boundary, or all boundaries of the user's list. With a list, each call names a boundary.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::{
    ApiAnswer, ApiRequest, BoundaryApi, CancelArgs, DeniedView, GetStepArgs, GrantNote, GrantView,
    GranteeKey, ListStepsArgs, Problem, ProgressNotes, ProposalProgress, ProposalStatus,
    ProposalView, ProposeArgs, ReceiptVerification, RegistryView, StatedReason, StepDetails,
    StepPage, StepView, ToolProblem, WaitArgs, foreign_answer,
    mcp::{
        answers::{PersonWords, StepLine, visible_cut, visible_up_to},
        output_reading::OutputReading,
        sent_proposals::SentProposals,
    },
    of_value, percent_encoded, visible_detail, visible_json,
};
use documents::{
    Nonce, Outcome, ProposalId, ReceiptId, RefusedPart, Status, StepRef, Timestamp, joined, visible,
};

/// Time limit of every call, because clients end a call after 60 s without an answer.
pub const CALL_LIMIT: Duration = Duration::from_secs(45);
/// Part of [`CALL_LIMIT`] that remains for the last answer and the output after a wait.
const AFTER_WAIT: Duration = Duration::from_secs(3);
/// Time after the end of a wait in which the last answer can arrive.
const ANSWER_TIME: Duration = Duration::from_secs(1);
/// Part of [`CALL_LIMIT`] that remains for the answer without the output.
pub const BEFORE_END: Duration = Duration::from_secs(1);
/// Longest wait in one HTTP call, and the interval between two progress notes.
const NOTE_INTERVAL: Duration = Duration::from_secs(5);
/// Pause during a wait if the boundary answered at once that nothing has changed, or that it is busy.
const BUSY_PAUSE: Duration = Duration::from_secs(1);
/// Pauses before a request is sent again because no answer came.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(3),
];

/// Verifies the bytes of a bundle on this machine.
pub type VerifyBundle = Arc<dyn Fn(&[u8]) -> ReceiptVerification + Send + Sync>;

/// Makes a new nonce for a proposal whose window has the usual length. Returns an error if the system has no random bytes.
pub type NewNonce = fn() -> Result<Nonce, String>;

/// What only a server on the agent's machine has.
pub struct AgentMachine {
    pub new_nonce: NewNonce,
    pub verify: VerifyBundle,
    pub sent: SentProposals,
    /// The key that uses standing grants.
    pub grantee: Option<Arc<dyn GranteeKey>>,
    /// The standard output and the standard error that the server read last.
    pub outputs: [Mutex<OutputReading>; 2],
}

/// The calls of the tools, through one implementation of [`BoundaryApi`].
#[derive(Clone)]
pub struct ToolCalls<A> {
    api: A,
    /// `None` if the calls belong to a single request ([`ToolCalls::of_request`]).
    pub(super) machine: Option<Arc<AgentMachine>>,
}

pub type Answer<T> = Result<T, ToolProblem>;

impl<A: BoundaryApi> ToolCalls<A> {
    /// Creates the calls of a server on the agent's machine. The server verifies receipts and outputs.
    pub fn of_machine(
        api: A,
        new_nonce: NewNonce,
        verify: VerifyBundle,
        grantee: Option<Arc<dyn GranteeKey>>,
    ) -> Self {
        let machine = AgentMachine {
            new_nonce,
            verify,
            sent: SentProposals::default(),
            grantee,
            outputs: Default::default(),
        };
        Self {
            api,
            machine: Some(Arc::new(machine)),
        }
    }

    /// Creates the calls of one request. A receipt and an output are reported as the boundary's word.
    pub fn of_request(api: A) -> Self {
        Self { api, machine: None }
    }

    /// Makes a proposal, and returns it as the boundary answered. People are asked unless a standing grant covers the run.
    pub async fn propose(&self, args: &ProposeArgs) -> Answer<(ProposalView, GrantNote)> {
        let note = match self.try_grants(args).await? {
            Ok(granted) => return Ok(granted),
            Err(note) => note,
        };
        // Only a server on the agent's machine knows which call is repeated.
        let machine = self.machine.as_ref();
        let nonce = machine.map(|machine| {
            machine
                .sent
                .nonce_of(args, Instant::now(), machine.new_nonce)
        });
        let nonce = nonce.transpose();
        let nonce = nonce.map_err(|error| ToolProblem::not_proposed(&error))?;
        Ok((self.post_proposal(args, nonce.as_ref(), None).await?, note))
    }

    pub(super) async fn post_proposal(
        &self,
        args: &ProposeArgs,
        nonce: Option<&Nonce>,
        grant: Option<&GrantView>,
    ) -> Answer<ProposalView> {
        let body = |nonce: Option<&Nonce>| {
            json!({
            "step": args.step, "params": args.params, "reason": args.reason, "nonce": nonce,
            "session": args.session, "plan": args.plan, "grant": grant.map(|grant| &grant.id),
            // Without a grant, `new` decides whether an earlier proposal of the same run is the answer. The nonce only
            // makes the request safe to send twice. With a grant, the nonce alone decides whether a call is the same
            // use.
            "new": grant.is_none().then_some(args.new),
            })
        };
        let post = |body| self.send(ApiRequest::post("/v1/proposals", Some(body)));
        let mut answer = post(body(nonce)).await?;
        // The token, the grant or the session may end before the usual window. The random bytes stay, so that a repeated call has the same nonce.
        let earlier = nonce.zip(latest_end(&answer));
        let earlier = earlier
            .filter(|(nonce, end)| *end < nonce.end())
            .map(|(nonce, end)| nonce.until(end));
        if let Some(earlier) = &earlier {
            answer = post(body(Some(earlier))).await?;
        }
        let made = match answer.status {
            200..300 => serde_json::from_slice::<ProposalView>(&answer.body)
                .ok()
                .map(Ok),
            400.. if serde_json::from_slice::<Problem>(&answer.body).is_ok() => {
                Some(Err(ToolProblem::of_answer(&answer)))
            }
            _ => None,
        };
        let Some(made) = made else {
            let detail = format!(
                "the answer with status {} is no document of the boundary",
                answer.status
            );
            return Err(ToolProblem::no_answer(&detail));
        };
        // After a status of 500 or more, the proposal may exist, so the call still counts as unanswered.
        if let Some((machine, nonce)) = self.machine.as_ref().zip(nonce)
            && answer.status < 500
        {
            let (grant, made) = (grant.map(|grant| grant.digest), made.as_ref().ok());
            let nonces = (nonce, earlier.as_ref().unwrap_or(nonce));
            machine.sent.answered(args, nonces, grant, made);
        }
        made
    }

    /// Reads the proposal, and waits for its end.
    pub async fn wait(
        &self,
        args: WaitArgs,
        deadline: Instant,
        notes: &ProgressNotes,
    ) -> Answer<ProposalProgress> {
        let mut view = self.proposal(&parse("id", &args.id)?).await?;
        self.until_end(&mut view, args.wait_s, deadline, notes)
            .await?;
        Ok(self.state(view, deadline).await)
    }

    /// Reads a proposal.
    pub async fn proposal(&self, id: &ProposalId) -> Answer<ProposalView> {
        of_proposal(id, self.read(&format!("/v1/proposals/{id}")).await?)
    }

    /// Waits for the end of the proposal, for at most `seconds`. Then `view` is the last state that the boundary
    /// answered. The end of the waiting time is no failure.
    ///
    /// # Errors
    /// Returns a problem that another call does not solve, for example a token that was revoked during the wait.
    pub async fn until_end(
        &self,
        view: &mut ProposalView,
        seconds: u64,
        deadline: Instant,
        notes: &ProgressNotes,
    ) -> Answer<()> {
        let until = (Instant::now() + Duration::from_secs(seconds.min(CALL_LIMIT.as_secs())))
            .min(deadline - AFTER_WAIT);
        while !view.status.has_ended() {
            let left = until.saturating_duration_since(Instant::now());
            // The boundary waits for whole seconds.
            let piece = (left.min(NOTE_INTERVAL) + Duration::from_millis(500)).as_secs();
            if piece == 0 {
                break;
            }
            let asked = Instant::now();
            let path = format!("/v1/proposals/{}?wait={piece}s", view.id);
            let Ok(read) = timeout_at(until + ANSWER_TIME, self.read::<ProposalView>(&path)).await
            else {
                break;
            };
            let is_same = match read.and_then(|now| of_proposal(&view.id, now)) {
                Ok(now) => {
                    let is_same = now.status == view.status;
                    *view = ProposalView {
                        existing: view.existing,
                        reason_not_taken: view.reason_not_taken,
                        ..now
                    };
                    is_same
                }
                Err(problem) if problem.may_pass() => true,
                Err(problem) => return Err(problem),
            };
            if !view.status.has_ended() {
                notes.send(&waiting_words(view)).await;
                // A busy boundary answers at once.
                if is_same && asked.elapsed() < BUSY_PAUSE {
                    sleep(BUSY_PAUSE).await;
                }
            }
        }
        Ok(())
    }

    /// Withdraws a proposal, or ends its run.
    pub async fn cancel(&self, args: CancelArgs, deadline: Instant) -> Answer<ProposalProgress> {
        let id: ProposalId = parse("id", &args.id)?;
        let answer = self
            .send(ApiRequest::post(
                format!("/v1/proposals/{id}/cancellation"),
                None,
            ))
            .await?;
        Ok(self
            .state(of_proposal(&id, of_json(&succeeded(answer)?)?)?, deadline)
            .await)
    }

    /// Returns the state of a proposal. If a run has ended, the outcome and the output come from its receipt. If the
    /// outcome or the output does not arrive before the deadline, the state lacks this part, because the id and the
    /// status must still reach the agent.
    pub async fn state(&self, view: ProposalView, deadline: Instant) -> ProposalProgress {
        let has_run = view.status.has_ended()
            && (view.status == ProposalStatus::Finished
                || view.receipt.is_some()
                || view.outcome.is_some());
        let run = if has_run {
            self.ended_run(&view.id.receipt(), deadline - BEFORE_END)
                .await
        } else {
            Default::default()
        };
        let reason = view.refusal.as_ref().or(view.held_up.as_ref());
        let advice = match (run.is_refuted, run.lacks_outcome) {
            (true, _) => REFUTED_ADVICE,
            (false, true) => MISSING_ADVICE,
            (false, false) => advice(&view),
        };
        let existing = match (view.existing, view.status, view.reason_not_taken) {
            (false, ..) => "",
            (true, ProposalStatus::Denied, _) => {
                "this is your earlier proposal of this run, and nothing else was proposed. "
            }
            (true, _, true) => EXISTING_WITH_REASON,
            (true, _, false) => EXISTING,
        };
        ProposalProgress {
            id: view.id.to_string(),
            step: run.step.unwrap_or_else(|| view.step.to_string()),
            status: view.status.to_string(),
            ended: view.status.has_ended(),
            advice: run.used.unwrap_or_default() + existing + advice,
            signatures_required: view.approvals.required,
            signatures_present: view.approvals.have,
            missing_groups: view
                .approvals
                .missing
                .iter()
                .map(ToString::to_string)
                .collect(),
            created_at: view.created_at.to_string(),
            expires_at: view.expires_at.to_string(),
            existing: view.existing,
            params: run.params,
            outcome: run.outcome.or_else(|| {
                view.outcome
                    .as_ref()
                    .filter(|_| !run.is_refuted && !run.lacks_outcome)
                    .map(|outcome| outcome_of(outcome, &view.refused))
            }),
            refused_hosts: run.refused_hosts,
            receipt: view.receipt.as_ref().map(ToString::to_string),
            verified: run.verified,
            verification: run.verification,
            reason: reason.map(|reason| StatedReason {
                code: reason.code.to_string(),
                detail: visible_detail(&reason.detail),
            }),
            people_said: view
                .denials
                .iter()
                .filter(|denial| !denial.reason.is_empty())
                .map(words_of)
                .collect(),
            untrusted_output: run.output,
        }
    }

    /// Reads a JSON document.
    pub async fn read<T: DeserializeOwned>(&self, path: &str) -> Answer<T> {
        of_json(&succeeded(self.send(ApiRequest::get(path)).await?)?)
    }

    /// Sends a request. If no answer comes, the request is sent again: reading changes nothing, a cancellation can be
    /// repeated, and a proposal of a machine has a nonce.
    pub(super) async fn send(&self, request: ApiRequest) -> Answer<ApiAnswer> {
        let mut pauses = PAUSES.iter();
        loop {
            match (self.api.call(request.clone()).await, pauses.next()) {
                (Ok(answer), _) => return Ok(answer),
                (Err(_), Some(pause)) => sleep(*pause).await,
                (Err(error), None) => return Err(ToolProblem::no_answer(&error.0)),
            }
        }
    }
}

/// Describes the state of an open proposal for a progress note. The text contains only numbers and fixed words.
pub fn waiting_words(view: &ProposalView) -> String {
    match view.status {
        ProposalStatus::Pending => {
            format!(
                "{} of {} signatures",
                view.approvals.have, view.approvals.required
            )
        }
        other => other.to_string(),
    }
}

fn words_of(denial: &DeniedView) -> PersonWords {
    PersonWords {
        name: visible(denial.approver.as_str()),
        words: visible_detail(&denial.reason),
    }
}

/// Returns the latest possible end, if the boundary refused the end of a nonce because it is too late.
fn latest_end(answer: &ApiAnswer) -> Option<Timestamp> {
    if !(400..500).contains(&answer.status) {
        return None;
    }
    let problem: Problem = serde_json::from_slice(&answer.body).ok()?;
    let place = problem
        .errors
        .into_iter()
        .find(|place| place.pointer == "/nonce")?;
    place.detail.parse().ok()
}

/// Words about a call that repeated an earlier proposal.
const EXISTING: &str = "this is your earlier proposal of this run, and nothing else was proposed: only if the user wants \
    one more run, propose with `new: true`. ";
const EXISTING_WITH_REASON: &str = "this is your earlier proposal of this run, with its own reason: your new reason was \
    not taken, and nothing else was proposed. Only if the user wants one more run, propose with `new: true`. ";
/// Advice about a run whose receipt was forged, or belongs to another run.
const REFUTED_ADVICE: &str = "do not rely on this run: read `verification`, and tell the user";
/// Advice about a run whose receipt did not arrive.
const MISSING_ADVICE: &str =
    "call `wait` again: the receipt states the outcome. If it stays missing, tell the user";

fn advice(view: &ProposalView) -> &'static str {
    match view.status {
        ProposalStatus::Pending => {
            "people must sign: tell the user which proposal waits, then call `wait`. A pending proposal is no refusal"
        }
        ProposalStatus::Approved | ProposalStatus::Running => "call `wait` until `ended` is true",
        ProposalStatus::Finished
            if view
                .outcome
                .as_ref()
                .is_some_and(|outcome| outcome.status == Status::Warned) =>
        {
            "the step warned with exit code 2, which is no success: read the output, and tell the user before you go on"
        }
        ProposalStatus::Finished => {
            "read `outcome` and `verified`; `get_output` has the whole output, `get_receipt` the evidence"
        }
        ProposalStatus::Denied => {
            "a person said no: read `people_said`, tell the user, and do not propose the same run again"
        }
        ProposalStatus::Expired => "nobody signed in time: ask the user before you propose again",
        ProposalStatus::Cancelled => {
            "the proposal was withdrawn: only if the user still wants the run, propose with `new: true`"
        }
        ProposalStatus::Refused => {
            "this run is not possible: read `reason`, tell the user, and propose again only if `reason` says so"
        }
    }
}

pub fn parse<T: FromStr<Err: Display>>(name: &str, text: &str) -> Answer<T> {
    text.parse()
        .map_err(|error| ToolProblem::arguments(format_args!("`{name}`: {error}")))
}

pub fn receipt_id(text: &str) -> Answer<ReceiptId> {
    if text.starts_with("rcp_") {
        return parse("id", text);
    }
    parse::<ProposalId>("id", text).map(|proposal| proposal.receipt())
}

pub fn succeeded(answer: ApiAnswer) -> Answer<Vec<u8>> {
    if (200..300).contains(&answer.status) {
        Ok(answer.body)
    } else {
        Err(ToolProblem::of_answer(&answer))
    }
}

/// Checks that the boundary answered with the proposal that was asked for.
fn of_proposal(id: &ProposalId, view: ProposalView) -> Answer<ProposalView> {
    if view.id == *id {
        Ok(view)
    } else {
        Err(ToolProblem::odd("the answer is about another proposal"))
    }
}

pub fn of_json<T: DeserializeOwned>(bytes: &[u8]) -> Answer<T> {
    let value = serde_json::from_slice(bytes).map_err(|_| {
        ToolProblem::new(
            "unreachable",
            &foreign_answer(200, bytes),
            "tell the operator of the boundary",
        )
    })?;
    of_value(&value).map_err(ToolProblem::odd)
}

/// Returns an outcome as an object, with the programs that the list of the run refused.
pub fn outcome_of(outcome: &Outcome, refused: &[RefusedPart]) -> Map<String, Value> {
    let mut members = object(outcome);
    if !refused.is_empty() {
        members.extend(object(&json!({ "refused": refused })));
    }
    members
}

/// Returns a value as an object with visible text. Each document type of the callers is an object.
pub fn object(value: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(value).map(visible_json) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    }
}

/// Maximum number of bytes of a script in an answer.
const MAX_SCRIPT_BYTES: usize = 16 << 10;
/// Maximum number of bytes of the schema of the parameters in an answer.
const MAX_SCHEMA_BYTES: usize = 16 << 10;
/// Maximum number of bytes of each text of a step in a list.
const MAX_LINE_BYTES: usize = 150;

impl<A: BoundaryApi> ToolCalls<A> {
    /// Lists the steps that the token may see. With a query, the steps that fit best come first.
    pub async fn list_steps(&self, args: ListStepsArgs) -> Answer<StepPage> {
        let mut path = format!(
            "/v1/registry?query={}",
            percent_encoded(&args.query.unwrap_or_default())
        );
        if let Some(cursor) = args.cursor {
            path += &format!("&cursor={}", percent_encoded(&cursor));
        }
        let registry: RegistryView = self.read(&path).await?;
        let page = registry
            .page
            .ok_or_else(|| ToolProblem::odd("the list of the steps is no page"))?;
        let short = |text: &str| visible_cut(text, MAX_LINE_BYTES);
        let steps = registry.steps.iter().map(|step| StepLine {
            step: step.reference.to_string(),
            title: short(&step.title),
            parameters: short(&step.parameters.join(", ")),
            unavailable: step.unavailable.as_deref().map(short),
        });
        Ok(StepPage {
            boundary: registry.boundary.name.to_string(),
            steps: steps.collect(),
            found_steps: page.found_steps,
            visible_steps: page.visible_steps,
            next_cursor: page.cursor,
        })
    }

    /// Describes one step.
    pub async fn get_step(&self, args: GetStepArgs) -> Answer<StepDetails> {
        // If the text is only the path of a runbook, the refusal of the boundary names steps that the caller may mean.
        // So the path alone passes this check.
        let end = if args.step.contains(':') { "" } else { ":x" };
        let _: StepRef = parse("step", &format!("{}{end}", args.step))?;
        let view: StepView = self.read(&format!("/v1/steps/{}", args.step)).await?;
        let text = |name: &str| view.definition[name].as_str().unwrap_or_default();
        let (script, script_is_cut) = visible_up_to(text("source"), MAX_SCRIPT_BYTES);
        let parameters = object(&view.definition["params"]);
        let parameters_is_cut =
            serde_json::to_vec(&parameters).is_ok_and(|json| json.len() > MAX_SCHEMA_BYTES);
        Ok(StepDetails {
            step: args.step,
            digest: view.digest.to_string(),
            title: visible(text("title")),
            parameters: if parameters_is_cut {
                Map::new()
            } else {
                parameters
            },
            parameters_is_cut,
            approvals: view.approvals.iter().map(object).collect(),
            permissions: view.permissions.iter().map(object).collect(),
            denied: view.denied.as_deref().map(visible_detail),
            needs_session: matches!(text("session"), "read" | "write"),
            plan_step: view.definition["plan"]["step"].as_str().map(visible),
            sandbox: object(&view.sandbox),
            interpreter: visible(text("interpreter")),
            script,
            script_is_cut,
        })
    }

    /// Returns the seal in force, and each folder of runbooks with the number of its steps.
    pub(super) async fn folders(&self) -> Answer<Value> {
        let registry: RegistryView = self.read("/v1/registry").await?;
        let mut folders: BTreeMap<&str, u64> = BTreeMap::new();
        for step in &registry.steps {
            let folder = step
                .reference
                .path()
                .rsplit_once('/')
                .map_or("", |(folder, _)| folder);
            *folders.entry(folder).or_default() += 1;
        }
        let folders: Vec<Value> = folders
            .iter()
            .map(|(folder, steps)| json!({"folder": folder, "steps": steps}))
            .collect();
        Ok(visible_json(json!({
            "boundary": registry.boundary,
            "seal": registry.seal,
            "frozen": registry.frozen,
            "visible_steps": registry.steps.len(),
            "folders": folders,
        })))
    }
}

/// Name of the argument that names a boundary.
pub const BOUNDARY: &str = "boundary";
/// Time for which a search of all boundaries waits for each boundary.
const PATIENCE: Duration = Duration::from_secs(10);
/// Maximum number of steps of each boundary in the answer to a search of all boundaries.
const STEPS_OF_EACH: usize = 5;

/// The boundaries by their names in the user's list. Without a list, the only boundary has an empty name.
#[derive(Clone)]
pub struct ServedBoundaries<A>(pub Arc<BTreeMap<String, ToolCalls<A>>>);

impl<A: BoundaryApi> ServedBoundaries<A> {
    /// Returns the only boundary, or `None` if the server has a list.
    pub fn only(&self) -> Option<&ToolCalls<A>> {
        self.0.get("")
    }

    /// Returns the boundary that the arguments name, and removes the name.
    pub fn of_arguments(&self, arguments: &mut Map<String, Value>) -> Answer<&ToolCalls<A>> {
        self.only().map_or_else(
            || {
                let name = arguments.remove(BOUNDARY);
                name.as_ref()
                    .and_then(Value::as_str)
                    .and_then(|name| self.0.get(name))
                    .ok_or_else(|| {
                        let names = joined(self.0.keys(), ", ");
                        ToolProblem::arguments(format_args!("/{BOUNDARY}: expected one of {names}"))
                    })
            },
            Ok,
        )
    }

    /// Searches the steps of all boundaries at the same time, and returns the first steps of each. A boundary that does
    /// not answer in time is named with its problem, and does not delay the steps of the other boundaries.
    pub async fn search_all(&self, args: &ListStepsArgs) -> Value {
        let mut searches = JoinSet::new();
        for (name, calls) in self.0.iter() {
            let (name, calls, args) = (name.clone(), calls.clone(), args.clone());
            searches.spawn(async move {
                let late = |_| {
                    Err(ToolProblem::no_answer(
                        "the boundary did not answer within 10 s",
                    ))
                };
                match timeout(PATIENCE, calls.list_steps(args))
                    .await
                    .unwrap_or_else(late)
                {
                    Ok(page) => {
                        let steps: Vec<_> = page.steps.into_iter().take(STEPS_OF_EACH).collect();
                        json!({BOUNDARY: name, "steps": steps, "found_steps": page.found_steps})
                    }
                    Err(problem) => json!({BOUNDARY: name, "problem": problem.detail()}),
                }
            });
        }
        let mut found = searches.join_all().await;
        found.sort_by_key(|one| one[BOUNDARY].to_string());
        json!({"boundaries": found})
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::*;
    use crate::{ApiUnreachable, VerificationBasis};

    /// A boundary with a list of answers. After the last answer, it answers no request.
    #[derive(Clone, Default)]
    struct ListedAnswers {
        statuses: Arc<Mutex<VecDeque<u16>>>,
        nonces: Arc<Mutex<Vec<Value>>>,
    }

    impl BoundaryApi for ListedAnswers {
        async fn call(&self, request: ApiRequest) -> Result<ApiAnswer, ApiUnreachable> {
            let status = self.statuses.lock().expect("no panic").pop_front();
            self.nonces
                .lock()
                .expect("no panic")
                .extend(request.body.map(|body| body["nonce"].clone()));
            match status {
                Some(status) => {
                    let problem = json!({"type": "/problems/x", "title": "t", "status": status, "detail": "d"});
                    Ok(ApiAnswer {
                        status,
                        body: problem.to_string().into_bytes(),
                    })
                }
                None => std::future::pending().await,
            }
        }
    }

    fn counted() -> Result<Nonce, String> {
        static COUNT: AtomicU8 = AtomicU8::new(0);
        Ok(Nonce::new(
            Timestamp::from_unix(1_800_000_000),
            [COUNT.fetch_add(1, Ordering::Relaxed); 16],
        ))
    }

    #[test]
    fn only_a_refusal_of_the_nonce_names_a_latest_end() {
        let answer = |status: u16, pointer: &str, detail: &str| {
            let place = json!({"pointer": pointer, "detail": detail});
            let problem = json!({"type": "/problems/malformed", "title": "t", "status": status, "detail": "d", "errors": [place]});
            latest_end(&ApiAnswer {
                status,
                body: problem.to_string().into_bytes(),
            })
        };
        let end = "2026-11-20T10:30:00Z";
        assert_eq!(answer(400, "/nonce", end), end.parse().ok());
        // After a status of 500 or more, the proposal may exist.
        for (status, pointer, detail) in [
            (503, "/nonce", end),
            (400, "/step", end),
            (400, "/nonce", "has ended"),
        ] {
            assert_eq!(
                answer(status, pointer, detail),
                None,
                "{status} {pointer} {detail}"
            );
        }
    }

    /// Makes the same proposal once for each answer, and returns the nonces.
    async fn nonces(calls: &ToolCalls<ListedAnswers>, statuses: &[u16]) -> Vec<Value> {
        calls
            .api
            .statuses
            .lock()
            .expect("no panic")
            .extend(statuses);
        let args: ProposeArgs =
            serde_json::from_value(json!({"step": "a:b", "reason": "x"})).expect("arguments");
        for _ in statuses {
            calls
                .propose(&args)
                .await
                .expect_err("no answer is a proposal");
        }
        std::mem::take(&mut *calls.api.nonces.lock().expect("no panic"))
    }

    #[tokio::test]
    async fn a_proposal_keeps_its_nonce_until_the_boundary_itself_has_answered() {
        let verify: VerifyBundle = Arc::new(|_| panic!("no receipt"));
        let calls = ToolCalls::of_machine(ListedAnswers::default(), counted, verify, None);
        let sent = nonces(&calls, &[504, 500, 409, 409]).await;
        assert!(
            sent[0] == sent[1] && sent[1] == sent[2] && sent[2] != sent[3],
            "{sent:?}"
        );
        let calls = ToolCalls::of_request(ListedAnswers::default());
        let sent = nonces(&calls, &[504, 504]).await;
        assert_eq!(
            sent,
            [Value::Null, Value::Null],
            "a request is no repetition"
        );
        let again =
            ToolProblem::no_answer("").of_propose().into_json()["problem"]["advice"].to_string();
        assert!(again.contains("no second run"), "{again}");
    }

    /// A boundary that sends a bundle, and no output.
    #[derive(Clone)]
    struct WithoutOutputs(&'static [u8]);

    impl BoundaryApi for WithoutOutputs {
        async fn call(&self, request: ApiRequest) -> Result<ApiAnswer, ApiUnreachable> {
            if request.path.ends_with("/bundle") {
                return Ok(ApiAnswer {
                    status: 200,
                    body: self.0.to_vec(),
                });
            }
            std::future::pending().await
        }
    }

    fn finished(id: &str) -> ProposalView {
        let digest = format!("sha256:{}", "0".repeat(64));
        let view = json!({
            "id": format!("prp_{id}"), "status": "finished", "receipt": format!("rcp_{id}"), "next": [], "step": "a:b",
            "params": {}, "proposer": "agent", "reason": "x", "payload": "", "step_digest": digest, "digest": digest,
            "params_digest": digest, "created_at": "2026-01-01T00:00:00Z", "expires_at": "2026-01-02T00:00:00Z",
            "approvals": {"rules": [], "required": 1, "have": 1, "approvers": [], "missing": [], "excluded": []},
        });
        serde_json::from_value(view).expect("a view")
    }

    /// Reads the state of a finished proposal in a short time.
    async fn state_of<A: BoundaryApi>(
        calls: &ToolCalls<A>,
        view: ProposalView,
    ) -> ProposalProgress {
        let deadline = Instant::now() + BEFORE_END + Duration::from_millis(200);
        timeout_at(deadline, calls.state(view, deadline))
            .await
            .expect("before the deadline")
    }

    #[tokio::test]
    async fn the_advice_of_each_status_never_proposes_after_a_denial() {
        use ProposalStatus::{
            Approved, Cancelled, Denied, Expired, Finished, Pending, Refused, Running,
        };
        let calls = ToolCalls::of_request(ListedAnswers::default());
        for status in [
            Pending, Approved, Running, Finished, Denied, Expired, Cancelled, Refused,
        ] {
            for (existing, reason_not_taken) in [(false, false), (true, false), (true, true)] {
                let made = finished("0192f0c1-0000-7000-8000-000000000001");
                let view = ProposalView {
                    status,
                    existing,
                    reason_not_taken,
                    receipt: None,
                    outcome: None,
                    ..made
                };
                let told = if status == Finished {
                    advice(&view).to_owned()
                } else {
                    state_of(&calls, view).await.advice
                };
                match status {
                    Denied => {
                        assert!(
                            told.contains("`people_said`") && told.contains("do not propose"),
                            "{told}"
                        );
                        assert!(!told.contains("new: true"), "{told}");
                    }
                    Cancelled => assert!(told.contains("`new: true`"), "{told}"),
                    _ if status != Finished => {
                        assert_eq!(told.contains("`new: true`"), existing, "{told}")
                    }
                    _ => {}
                }
                assert!(
                    !told.contains("--") && !told.contains("/v1/"),
                    "tools have no options and no paths: {told}"
                );
            }
        }
    }

    #[tokio::test]
    async fn evidence_that_does_not_arrive_delays_no_status_and_a_missing_output_discards_no_receipt()
     {
        let calls = ToolCalls::of_request(ListedAnswers::default());
        let state = state_of(&calls, finished("0192f0c1-0000-7000-8000-000000000001")).await;
        assert!(state.ended && state.untrusted_output.is_none(), "{state:?}");
        assert!(
            state
                .verification
                .is_some_and(|words| words.contains("did not arrive in time"))
        );

        let verify: VerifyBundle = Arc::new(|_| ReceiptVerification {
            verified: true,
            basis: VerificationBasis::ThisMachine,
            summary: "verified".to_owned(),
            checks: Vec::new(),
            not_checked: Vec::new(),
        });
        let bundle = include_bytes!("../../../../tests/conformance/golden/valid/bundle.json");
        let calls = ToolCalls::of_machine(WithoutOutputs(bundle), counted, verify, None);
        let state = state_of(&calls, finished("01a1f881-8440-7000-8000-000000000001")).await;
        assert!(
            state.verified && state.outcome.is_some() && state.params.is_some(),
            "{state:?}"
        );
        let output = state.untrusted_output.expect("the reason");
        assert!(output.is_cut && !output.output_verified, "{output:?}");
        assert!(
            output.output_verification.contains("arrived in time"),
            "{output:?}"
        );
    }
}
