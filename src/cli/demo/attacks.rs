//! The attacks of the demo. The demo sends each attack to the running boundary.

use std::fs;

use serde_json::{Value, json};

use crate::{
    DemoReport, DemoResult, DemoSetup,
    cli::demo::{
        story::{self, BUNDLE, payload, signature, succeeded, verify, watch},
        world::{OrBroken as _, broken, text, until},
    },
};
use client::{Client, CommandResult};
use documents::{Base64, Envelope, EnvelopeSignature, canonical, joined};
use wire::{ProposalStatus, ProposalView, RegistryView};

/// `ran` is the envelope of the earlier run, whose nonce is spent.
pub fn try_all(
    world: &mut DemoSetup,
    tale: &mut DemoReport<'_>,
    ran: &Envelope,
) -> CommandResult<()> {
    tale.part("The boundary serves again. Now each attack is tried")?;
    let _ = world.serve()?;
    let agent = world.agent()?;
    let (code, receipt) = hand_in(&agent, ran);
    let shown = receipt.as_deref().unwrap_or("no receipt");
    tale.check(
        code == "nonce-replayed" && receipt.is_some(),
        "the same approval again",
        &format!("{code}, answered with {shown}"),
    )?;
    let fresh = propose(&agent, "service:restart", json!({"name": "shop"}))?;
    with_one_statement(world, tale, &agent, &fresh)?;
    edited_runbook(world, tale, &agent, &fresh)?;
    flipped_byte(world, tale)?;
    prying_step(world, tale, &agent)
}

/// Sends changed and incomplete envelopes of a statement whose nonce is not spent.
fn with_one_statement(
    world: &DemoSetup,
    tale: &mut DemoReport<'_>,
    agent: &Client,
    fresh: &ProposalView,
) -> CommandResult<()> {
    let bytes = payload(fresh)?;
    let by = |name: &str| signature(world, name, &bytes);
    let by_two = |payload: &[u8], other: &str| -> CommandResult<_> {
        Ok(Envelope::new(
            payload,
            sorted(vec![by("alice")?, by(other)?]),
        ))
    };
    let mut changed: Value = serde_json::from_slice(&bytes).or_broken("the proposal")?;
    changed["predicate"]["params"]["name"] = Value::from("billing");
    let changed = canonical::to_canonical(&changed);
    let attacks = [
        (
            "a changed parameter under good signatures",
            by_two(&changed, "bob")?,
            "bad-signature",
        ),
        (
            "one signature too few",
            Envelope::new(&bytes, vec![by("alice")?]),
            "quorum-missing",
        ),
        (
            "the same person twice, with two keys",
            by_two(&bytes, "alice-2")?,
            "quorum-missing",
        ),
        (
            "a stranger's key",
            by_two(&bytes, "mallory")?,
            "unknown-signer",
        ),
        (
            "the agent's owner approves",
            by_two(&bytes, "carol")?,
            "self-approval",
        ),
    ];
    for (what, envelope, expected) in &attacks {
        let (code, _) = hand_in(agent, envelope);
        tale.check(code == *expected, what, &code)?;
    }
    let still: ProposalView = agent.get(&format!("/v1/proposals/{}", fresh.id))?;
    tale.check(
        still.status == ProposalStatus::Pending,
        "these attacks did not spend the nonce",
        "the proposal is still pending",
    )
}

/// Changes a runbook. Before a reseal, the boundary still runs the sealed bytes. After a reseal, the boundary refuses
/// the old approval.
fn edited_runbook(
    world: &DemoSetup,
    tale: &mut DemoReport<'_>,
    agent: &Client,
    fresh: &ProposalView,
) -> CommandResult<()> {
    let path = world.home().join("runbooks/service.md");
    let before = fs::read_to_string(&path).or_broken("the runbook")?;
    let edited = before.replace(
        "set -euo pipefail\n",
        "set -euo pipefail\nprintf 'HELLO FROM THE EDITED RUNBOOK\\n'\n",
    );
    if edited == before {
        return Err(broken("the runbook could not be edited"));
    }
    fs::write(&path, edited).or_broken("the runbook")?;
    let (ended, output) = approve_and_run(world, tale, agent, fresh)?;
    let sealed_ran =
        succeeded(&ended) && output.contains("was restarted") && !output.contains("EDITED");
    tale.check(
        sealed_ran,
        "an edited runbook without a new seal",
        "the sealed bytes ran, not the edited ones",
    )?;
    let late = propose(agent, "service:restart", json!({"name": "shop"}))?;
    let root = |agent: &Client| {
        agent
            .get::<RegistryView>("/v1/registry")
            .map(|view| view.seal.registry_root)
    };
    let old = root(agent)?;
    world.signal(rustix::process::Signal::HUP)?;
    until("the reseal", || Ok((root(agent)? != old).then_some(())))?;
    let bytes = payload(&late)?;
    let by = |name: &str| signature(world, name, &bytes);
    let signatures = sorted(vec![by("alice")?, by("bob")?]);
    let (code, _) = hand_in(agent, &Envelope::new(&bytes, signatures));
    tale.check(
        code == "step-changed",
        "an old approval, after a reseal of the edited runbook",
        &code,
    )
}

fn flipped_byte(world: &DemoSetup, tale: &mut DemoReport<'_>) -> CommandResult<()> {
    const WHAT: &str = "the bundle";
    let bytes = fs::read(world.root.join(BUNDLE)).or_broken(WHAT)?;
    let mut bundle: Value = serde_json::from_slice(&bytes).or_broken(WHAT)?;
    let mut receipt: Envelope =
        serde_json::from_value(bundle["receipt"].clone()).or_broken(WHAT)?;
    let mut payload = Base64::Strict
        .decode("/receipt/payload", &receipt.payload)
        .or_broken(WHAT)?;
    // The flipped bit is in the digit of an exit code. The changed document is still canonical JSON, but it is not
    // the signed document.
    let flipped = b"\"exit_code\":0";
    let place = payload
        .windows(flipped.len())
        .position(|window| window == flipped)
        .ok_or("the receipt has no exit code")
        .or_broken(WHAT)?;
    payload[place + flipped.len() - 1] ^= 1;
    receipt = Envelope::new(&payload, receipt.signatures);
    bundle["receipt"] = serde_json::to_value(&receipt).or_broken(WHAT)?;
    fs::write(world.root.join("flipped.bundle.json"), bundle.to_string()).or_broken(WHAT)?;
    let (code, report) = verify(world, "flipped.bundle.json")?;
    let checks = report["report"]["checks"].as_array().into_iter().flatten();
    let failed = checks.filter(|check| check["finding"] == "failed");
    let failed = joined(failed.map(|check| text(&check["name"])), ", ");
    tale.check(
        code == Some(1) && report["report"]["verified"] == false && !failed.is_empty(),
        "one byte of the receipt flipped",
        &format!("verify exits 1: {failed} failed"),
    )
}

/// Runs a step that tries to read the private key of alice, with the approval of two people who were deceived.
fn prying_step(world: &DemoSetup, tale: &mut DemoReport<'_>, agent: &Client) -> CommandResult<()> {
    const WHAT: &str = "a step that reads an approver's key";
    let path = world.key("alice");
    let secret = fs::read_to_string(&path).or_broken("the key of alice")?;
    let mut lines = secret.lines();
    let canary = lines
        .find(|line| !line.starts_with('-'))
        .unwrap_or_default();
    if canary.len() < 32 {
        return Err(broken("the key file has an unexpected format"));
    }
    let view = propose(agent, "pry:pry", json!({"path": path}))?;
    let (ended, output) = approve_and_run(world, tale, agent, &view)?;
    if ended.receipt.is_none() {
        let why = ended.refusal.map_or_else(
            || "the step did not run".to_owned(),
            |refusal| format!("{}: {}", refusal.code, refusal.detail),
        );
        return tale.line(DemoResult::NotShown, WHAT, &why);
    }
    let said = output.contains("the step says: the file could not be read");
    let exit = ended.outcome.as_ref().and_then(|outcome| outcome.exit_code);
    let held = said && exit == Some(7) && !output.contains(canary);
    let found = if held {
        "refused by the sandbox: the step could not open the file"
    } else {
        "NOT refused: read the output above"
    };
    tale.check(held, WHAT, found)
}

/// Signs the proposal as alice and bob, and waits for the end of the run. Returns the outcome of the run and its
/// output.
fn approve_and_run(
    world: &DemoSetup,
    tale: &DemoReport<'_>,
    agent: &Client,
    view: &ProposalView,
) -> CommandResult<(ProposalView, String)> {
    let bytes = payload(view)?;
    for name in ["alice", "bob"] {
        let _ = story::hand_in(agent, view, signature(world, name, &bytes)?)?;
    }
    watch(world, tale, view)
}

fn propose(agent: &Client, step: &str, params: Value) -> CommandResult<ProposalView> {
    agent.post(
        "/v1/proposals",
        &json!({"step": step, "params": params, "reason": "an attack of the demo", "new": true}),
    )
}

fn sorted(mut signatures: Vec<EnvelopeSignature>) -> Vec<EnvelopeSignature> {
    signatures.sort();
    signatures
}

/// Sends an envelope. Returns the code of the refusal, and the receipt that the refusal names.
fn hand_in(agent: &Client, envelope: &Envelope) -> (String, Option<String>) {
    match agent.post::<Value>("/v1/authorizations", envelope) {
        Ok(_) => ("ACCEPTED: it ran".to_owned(), None),
        Err(failure) => {
            let problem = failure.problem.unwrap_or_default();
            let code = match text(&problem["type"]).trim_start_matches("/problems/") {
                "" => failure.message,
                code => code.to_owned(),
            };
            (code, problem["receipt"].as_str().map(str::to_owned))
        }
    }
}
