//! The main part of the demo: set up, propose, review, sign, run, stop, verify offline.

use std::{collections::BTreeMap, fs, io::BufRead as _};

use serde_json::{Value, json};

use crate::{
    DemoReport, DemoResult, DemoSetup,
    cli::demo::{
        granted,
        world::{OrBroken as _, receipt, text, until},
    },
};
use client::{
    Client, CommandResult, ProposalReview, ReviewSubject, SignaturePurpose, TrustArgs, now,
    render::block, sign,
};
use documents::{Base64, Envelope, EnvelopeSignature, Status};
use wire::{ProposalView, Signatures};

/// A step that tries to read a file that no run may read.
const PRYING: &str = r#"---
countersign: 1
title: A step that pries
params:
  path:
    type: string
    pattern: "^/[A-Za-z0-9._/-]{1,250}$"
defaults: {timeout: 10s, memory: 64MiB, processes: 10}
---
# Pry

```sh {#pry title="Read a private key"}
if cat -- "$PARAM_PATH"; then
  echo 'the step says: it could be read'
else
  echo 'the step says: the file could not be read'
  exit 7
fi
```
"#;

/// Runs the main part, and returns the signed envelope of the run.
pub fn tell(world: &mut DemoSetup, tale: &mut DemoReport<'_>) -> CommandResult<Envelope> {
    tale.part("Set up")?;
    init(world, tale)?;
    granted::prepare(world)?;
    write(world, "runbooks/pry.md", PRYING)?;
    choose_sandbox(world, tale, DoctorFindings::All)?;
    serve(world, tale)?;
    let wish = json!({"step": "service:restart", "params": {"name": "shop"}, "reason": "p99 is up since 10:05"});
    let view = propose(world, tale, &wish)?;
    let signatures = approve(world, tale, &view)?;
    let (ended, _) = watch(world, tale, &view)?;
    tale.check(
        succeeded(&ended),
        "the step ran once, its receipt is in the log",
        receipt(&ended)?.as_str(),
    )?;
    granted::tell(world, tale)?;
    audit(world, tale, &ended)?;
    Ok(Envelope::new(&payload(&view)?, signatures))
}

/// Starts the boundary, and gives the agent its token and the people their roster.
pub fn serve(world: &mut DemoSetup, tale: &mut DemoReport<'_>) -> CommandResult<()> {
    let started = world.serve()?;
    tale.check(
        true,
        "a boundary serves",
        &format!(
            "{} sandbox {}",
            text(&started["url"]),
            text(&started["sandbox"])
        ),
    )?;
    hand_out(world, tale, &started)
}

/// Lets the agent propose a run.
pub fn propose(
    world: &DemoSetup,
    tale: &mut DemoReport<'_>,
    wish: &Value,
) -> CommandResult<ProposalView> {
    tale.part("An agent proposes")?;
    let view: ProposalView = world.agent()?.post("/v1/proposals", wish)?;
    tale.check(
        view.approvals.have == 0,
        &format!("{} is proposed", text(&wish["step"])),
        &format!("{} needs {} signatures", view.id, view.approvals.required),
    )?;
    Ok(view)
}

/// Lets both approvers review and sign the proposal. Returns their signatures.
pub fn approve(
    world: &DemoSetup,
    tale: &mut DemoReport<'_>,
    view: &ProposalView,
) -> CommandResult<Vec<EnvelopeSignature>> {
    tale.part("Two approvers review and sign, each with their own key")?;
    ["alice", "bob"]
        .into_iter()
        .map(|name| review_and_sign(world, tale, view, name))
        .collect()
}

/// Stops the boundary, and verifies the bundle of a run offline.
pub fn audit(
    world: &mut DemoSetup,
    tale: &mut DemoReport<'_>,
    ended: &ProposalView,
) -> CommandResult<()> {
    let path = format!("/v1/receipts/{}/bundle", receipt(ended)?);
    let bundle = world.agent()?.bytes(&path)?;
    fs::write(world.root.join(BUNDLE), bundle).or_broken(BUNDLE)?;
    tale.part("The boundary is stopped; an auditor verifies offline")?;
    let well = world.stop()?;
    tale.check(well, "the boundary is stopped", "SIGTERM, ended well")?;
    let (code, report) = verify(world, BUNDLE)?;
    let established = count(&report, "established");
    tale.check(
        code == Some(0) && report["report"]["verified"] == true && established > 0,
        "the bundle verifies against the pinned roster",
        &format!(
            "{established} checks established, {} failed, {} not checked",
            count(&report, "failed"),
            count(&report, "not-checked")
        ),
    )
}

/// Name of the file with the bundle of the run.
pub const BUNDLE: &str = "run.bundle.json";

/// Writes a file of the boundary.
pub fn write(world: &DemoSetup, name: &str, text: &str) -> CommandResult<()> {
    fs::write(world.home().join(name), text).or_broken(name)
}

/// Creates the directory and the configuration of the boundary.
pub fn init(world: &DemoSetup, tale: &mut DemoReport<'_>) -> CommandResult<()> {
    let home = world.home_text();
    let approver = |person: &str, key: &str| {
        format!(
            "{person}={}",
            world.key(key).with_extension("pub").display()
        )
    };
    let people = [
        approver("alice", "alice"),
        approver("alice", "alice-2"),
        approver("bob", "bob"),
        approver("carol", "carol"),
    ];
    let mut args = vec!["--json", "init", &home, "--yes", "--name", "demo"];
    people
        .iter()
        .for_each(|person| args.extend(["--approver", person]));
    world.ask(&args)?;
    tale.check(
        true,
        "init: alice, bob and carol may approve",
        "each run needs two of them; alice has two keys",
    )
}

/// Which findings of the doctor count.
#[derive(PartialEq)]
pub enum DoctorFindings {
    All,
    /// Only the layers of the sandbox. A runbook of the user may have other steps that the boundary can't run.
    Layers,
}

/// Configures the strongest sandbox level that this host supports.
pub fn choose_sandbox(
    world: &DemoSetup,
    tale: &mut DemoReport<'_>,
    counts: DoctorFindings,
) -> CommandResult<()> {
    let home = world.home_text();
    let doctor = world.program(&["--json", "doctor", &home])?;
    let report: Value = serde_json::from_slice(&doctor.stdout).or_broken("doctor")?;
    let lines = report["lines"].as_array().cloned().unwrap_or_default();
    let missing: Vec<&Value> = lines
        .iter()
        .filter(|line| line["result"] == "fix" && text(&line["what"]).starts_with("layer "))
        .collect();
    if missing.is_empty() {
        let well = counts == DoctorFindings::Layers || doctor.status.success();
        return tale.check(
            well,
            "doctor: this host supports the strict sandbox",
            "nothing to fix",
        );
    }
    for layer in &missing {
        tale.line(
            DemoResult::NotShown,
            &format!("strict: {}", text(&layer["what"])),
            text(&layer["says"]),
        )?;
    }
    tale.note(
        "This host does not support the level strict. The command continues at best-effort, the strongest level of this \
         host.",
    )?;
    let replace = |file: &str, from: &str, to: &str| {
        let text = fs::read_to_string(world.home().join(file));
        write(world, file, &text.or_broken(file)?.replace(from, to))
    };
    replace(
        "countersign.toml",
        "level = \"strict\"",
        "level = \"best-effort\"",
    )?;
    if missing
        .iter()
        .any(|layer| layer["what"] == "layer programs")
    {
        // Without this layer, the boundary refuses each run under a closed list.
        tale.note(
            "The policy of the demo allows every program of the host (sandbox.programs: mode any).",
        )?;
        replace("boundary/policy.yaml", "{mode: listed,", "{mode: any,")?;
    }
    Ok(())
}

fn hand_out(
    world: &mut DemoSetup,
    tale: &mut DemoReport<'_>,
    started: &Value,
) -> CommandResult<()> {
    let home = world.home_text();
    let args = [
        "--json",
        "token",
        "--config",
        &home,
        "create",
        "agent",
        "--owner",
        "carol",
        "--scope",
        "propose",
        "--expires",
        "1h",
    ];
    let token = world.ask(&args)?;
    world.hold_token(text(&token["secret"]));
    tale.check(
        token["secret"].is_string(),
        "the agent gets a token; the owner of the token is carol",
        "scope propose, for an hour",
    )?;
    let roster = world.ask(&["--json", "roster", "--config", &home, "show"])?;
    fs::write(world.roster(), roster.to_string()).or_broken("the roster")?;
    let envelope: Envelope = serde_json::from_value(roster).or_broken("the roster")?;
    let pinned = verdict::Pinned::from_envelope(&envelope)
        .or_broken("the roster")?
        .digest();
    tale.check(
        started["roster"] == pinned.to_string(),
        "approvers and auditors pin the roster",
        &pinned.to_string(),
    )
}

/// Prints the review of the proposal, and signs exactly the reviewed bytes.
fn review_and_sign(
    world: &DemoSetup,
    tale: &mut DemoReport<'_>,
    view: &ProposalView,
    name: &str,
) -> CommandResult<EnvelopeSignature> {
    let client = world.person(name)?;
    let view: ProposalView = client.get(&format!("/v1/proposals/{}", view.id))?;
    let trust = TrustArgs {
        roster: vec![world.roster().to_string_lossy().into_owned()],
        ..TrustArgs::default()
    };
    let keys = world.keys(name)?;
    let subject = ReviewSubject::Proposal(Box::new(view.clone()));
    let review = ProposalReview::make(&subject, &client, &trust, &keys.ids(), now())?;
    let sound = review.check_sound();
    // Bob sees the same script, so only the decision is printed again.
    tale.screen(
        name,
        &if name == "alice" {
            review.screen()
        } else {
            block(&review.found)
        },
    )?;
    let found = match &sound {
        Ok(_) => format!("{} checks of the review passed", review.found.checks.len()),
        Err(failure) => failure.message.clone(),
    };
    tale.check(sound.is_ok(), &format!("{name} reviews"), &found)?;
    let _sound = sound?;
    let signature = signature(world, name, &review.sources.payload)?;
    let after = hand_in(&client, &view, signature.clone())?;
    let counted = after
        .approvals
        .approvers
        .iter()
        .any(|person| person.as_str() == name);
    tale.check(
        counted,
        &format!("{name} signs"),
        &format!(
            "{} of {} signatures",
            after.approvals.have, after.approvals.required
        ),
    )?;
    Ok(signature)
}

/// Signs a statement with the key of a person.
pub fn signature(
    world: &DemoSetup,
    name: &str,
    payload: &[u8],
) -> CommandResult<EnvelopeSignature> {
    let keys = world.keys(name)?;
    let signer = keys.preferred(|_| true)?;
    sign(signer, SignaturePurpose::Approve, payload)
}

/// Hands in a signature over a proposal. Returns the new state of the proposal.
pub fn hand_in(
    client: &Client,
    view: &ProposalView,
    signature: EnvelopeSignature,
) -> CommandResult<ProposalView> {
    let body = Signatures {
        signatures: vec![signature],
    };
    client.post(&format!("/v1/proposals/{}/signatures", view.id), &body)
}

/// Prints the output of the run live. Returns the last state of the proposal, and the output.
pub fn watch(
    world: &DemoSetup,
    tale: &DemoReport<'_>,
    view: &ProposalView,
) -> CommandResult<(ProposalView, String)> {
    let agent = world.agent()?;
    let mut lines: BTreeMap<String, String> = BTreeMap::new();
    let mut output = String::new();
    for line in agent
        .lines(&format!("/v1/proposals/{}/events", view.id), None)?
        .lines()
    {
        let line = line.or_broken("the events broke off")?;
        let event: Value = serde_json::from_str(&line).or_broken("an event")?;
        if event["type"] == "output" {
            let (stream, piece) = (text(&event["stream"]).to_owned(), text(&event["text"]));
            let begun = lines.entry(stream.clone()).or_default();
            *begun += piece;
            output += piece;
            // A line may arrive in several pieces.
            while let Some(end) = begun.find('\n') {
                let line: String = begun.drain(..=end).collect();
                tale.quote(&stream, line.trim_end_matches('\n'))?;
            }
        }
    }
    for (stream, rest) in lines {
        tale.quote(&stream, &rest)?;
    }
    let ended = until("the end of the run", || {
        let view: ProposalView = agent.get(&format!("/v1/proposals/{}", view.id))?;
        let over = view.receipt.is_some() || !view.next.iter().any(|next| next == "wait");
        Ok(over.then_some(view))
    })?;
    Ok((ended, output))
}

/// Verifies a bundle in the demo's directory offline with this program. Returns the exit code and the report.
pub fn verify(world: &DemoSetup, bundle: &str) -> CommandResult<(Option<i32>, Value)> {
    let roster = world.roster();
    let output = world.program(&[
        "--json",
        "verify",
        bundle,
        "--roster",
        &roster.to_string_lossy(),
    ])?;
    let report = serde_json::from_slice(&output.stdout).or_broken("verify")?;
    Ok((output.status.code(), report))
}

fn count(report: &Value, finding: &str) -> usize {
    let checks = report["report"]["checks"].as_array();
    checks.map_or(0, |checks| {
        checks
            .iter()
            .filter(|check| check["finding"] == finding)
            .count()
    })
}

pub fn succeeded(view: &ProposalView) -> bool {
    view.outcome
        .as_ref()
        .is_some_and(|outcome| outcome.status == Status::Succeeded)
}

pub fn payload(view: &ProposalView) -> CommandResult<Vec<u8>> {
    Base64::Strict
        .decode("/payload", &view.payload)
        .or_broken("the proposal")
}
