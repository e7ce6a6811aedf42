//! The part of the demo about a standing grant: draft, signatures, two uses, revocation, refusal.

use serde_json::Value;

use crate::{
    DemoReport, DemoSetup,
    cli::demo::world::{OrBroken as _, receipt, text, until},
};
use client::CommandResult;
use wire::{ProposalStatus, ProposalView};

/// The rostered proposer that uses the grant.
pub const GRANTEE: &str = "deploy-bot";

/// Permits grants in the policy, and adds the grantee to the roster, before the boundary first starts.
pub fn prepare(world: &DemoSetup) -> CommandResult<()> {
    let (home, key) = (world.home_text(), world.key(GRANTEE).with_extension("pub"));
    let key = key.to_string_lossy();
    let _draft = world.ask(&[
        "--json", "roster", "--config", &home, "add", "proposer", GRANTEE, "--owner", "carol",
        "--key", &key,
    ])?;
    let policy = world.home().join("boundary/policy.yaml");
    let text = std::fs::read_to_string(&policy).or_broken("the policy")?;
    let text = text.replace("  # standing:", "  standing:");
    std::fs::write(&policy, text).or_broken("the policy")
}

/// Shows a grant from its draft to its end.
pub fn tell(world: &DemoSetup, tale: &mut DemoReport<'_>) -> CommandResult<()> {
    tale.part("Two approvers sign once for several runs")?;
    let step = "service:restart";
    let draft = [
        "draft",
        step,
        "--grantee",
        GRANTEE,
        "-p",
        "name=shop,cart",
        "--uses",
        "5",
        "--for",
        "1d",
    ];
    let draft = world.ask_as(GRANTEE, &[&["grant"], &draft[..]].concat())?;
    let (id, digest) = (text(&draft["id"]), text(&draft["digest"]));
    tale.check(
        draft["status"] == "pending",
        &format!("{GRANTEE} drafts a grant for {step}"),
        "5 runs in a day, of shop or cart",
    )?;
    let mut grant = Value::Null;
    for person in ["alice", "bob"] {
        grant = world.ask_as(person, &["approve", id, "--yes", "--expect", digest])?;
    }
    tale.check(
        grant["status"] == "active",
        "alice and bob sign the grant",
        id,
    )?;
    let mut wish = ["propose", step, "-p", "name=cart", "--grant", id];
    for number in 1..=2 {
        let view = world.ask_as(GRANTEE, &wish)?;
        let client = world.person(GRANTEE)?;
        let ended = until("the end of a run", || {
            let view: ProposalView = client.get(&format!("/v1/proposals/{}", text(&view["id"])))?;
            Ok((view.status == ProposalStatus::Finished).then_some(view))
        })?;
        tale.check(
            true,
            &format!("use {number}: nobody is asked, and the step runs"),
            receipt(&ended)?.as_str(),
        )?;
    }
    wish[3] = "name=billing";
    let refused = world.ask_as(GRANTEE, &wish);
    let words = |result: &CommandResult<Value>| match result {
        Ok(_) => "it was accepted".to_owned(),
        Err(failure) => failure.message.clone(),
    };
    let code = |result: &CommandResult<Value>, code: &str| words(result).contains(code);
    tale.check(
        code(&refused, "not-granted"),
        "a value that nobody signed is refused",
        "not-granted",
    )?;
    let _ = world.ask_as(
        "bob",
        &["revoke", id, "--yes", "--reason", "the demo is over"],
    )?;
    wish[3] = "name=cart";
    let refused = world.ask_as(GRANTEE, &wish);
    tale.check(
        code(&refused, "revoked"),
        "bob alone revokes the grant, and the next use is refused",
        "revoked",
    )
}
