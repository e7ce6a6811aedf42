//! `inbox`: what this person's signature can move.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::boundary::view::{ProposalView, RegistryView};
use crate::cli::Global;
use crate::cli::client::Client;
use crate::cli::exit::{Exit, Failure};
use crate::cli::follow::held_up_words;
use crate::cli::keys::KeyArgs;
use crate::cli::review::gather::list;
use crate::cli::review::now;
use crate::cli::review::render::span;
use crate::cli::screen::Shown;
use crate::cli::talk::Talk;
use crate::cli::trust::{Trust, TrustArgs};
use crate::record::ident::ProposalId;
use crate::record::refusal::Code;
use crate::record::roster::Approver;
use crate::trust::chain::Pinned;
use crate::trust::roster::TrustedRoster;

/// List what your signature can move: pending proposals that still need somebody of one of your groups. What is approved
/// and held up is said beside.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  countersign inbox
  countersign inbox --watch                                     with a bell for each new one
  countersign inbox --watch --exec 'notify-send \"to sign: $COUNTERSIGN_PROPOSAL\"'
  countersign inbox --all                                       also what you can't move")]
pub struct Args {
    /// Go on, and ring for each new one
    #[arg(long)]
    watch: bool,
    /// Run this for each new one, with its id in COUNTERSIGN_PROPOSAL and the step in COUNTERSIGN_STEP
    #[arg(long, value_name = "CMD")]
    exec: Option<String>,
    /// Everything that is pending
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    key: KeyArgs,
}

/// How often a watched inbox is looked into.
const EVERY: Duration = Duration::from_secs(2);

/// Lists, once or for ever.
///
/// # Errors
/// When the boundary can't be reached, or this person is no approver.
pub fn run(args: &Args, global: &Global, talk: &Talk) -> Result<Exit, Failure> {
    let client = global.reviewer(&args.key, talk)?;
    let mine = if args.all { None } else { Some(myself(args, &client)?) };
    let mut seen = BTreeSet::new();
    let mut held_up = BTreeSet::new();
    let mut unreachable = false;
    loop {
        let pending = match list(&client, &[("status", "pending")]) {
            Ok(pending) => pending,
            // A boundary that is restarted is no reason to stop watching.
            Err(failure) if args.watch && failure.exit == Exit::Unreachable => {
                if !std::mem::replace(&mut unreachable, true) {
                    talk.say(&format!("{failure}; trying on"));
                }
                std::thread::sleep(EVERY);
                continue;
            }
            Err(failure) => return Err(failure),
        };
        unreachable = false;
        if !talk.json {
            tell_held_up(&client, &mut held_up, talk);
        }
        let waiting: Vec<_> =
            pending.into_iter().filter(|view| mine.as_ref().is_none_or(|mine| can_move(mine, view))).collect();
        if waiting.is_empty() && !args.watch {
            if talk.json {
                talk.object(&json!({ "proposals": [] }))?;
            } else {
                talk.say("nothing waits for your signature");
            }
            return Ok(Exit::Done);
        }
        if talk.json && !args.watch {
            talk.object(&json!({ "proposals": waiting }))?;
        }
        // Oldest first: the newest stands where the eye is.
        for view in waiting.iter().rev().filter(|view| seen.insert(view.id.clone())) {
            if talk.json {
                if args.watch {
                    talk.object(view)?;
                }
            } else {
                talk.line(&line(view))?;
            }
            if args.watch && talk.err_is_terminal() {
                bell();
            }
            if let Some(command) = &args.exec {
                exec(command, view, talk);
            }
        }
        if !args.watch {
            return Ok(Exit::Done);
        }
        std::thread::sleep(EVERY);
    }
}

/// Says which approved runs have not begun and why, each once: who signed may think that they ran.
fn tell_held_up(client: &Client, told: &mut BTreeSet<(ProposalId, Code)>, talk: &Talk) {
    // What waits for a signature is listed all the same.
    for view in list(client, &[("status", "approved")]).unwrap_or_default() {
        if let Some(why) = &view.held_up
            && told.insert((view.id.clone(), why.code))
        {
            talk.say(&format!("{}  {} is approved and {}", ending(&view), view.step, held_up_words(why)));
        }
    }
}

fn ending(view: &ProposalView) -> &str {
    view.id.as_str().get(view.id.as_str().len().saturating_sub(6)..).unwrap_or_default()
}

fn line(view: &ProposalView) -> String {
    let ending = ending(view);
    let left = view.expires_at.unix() - now().unix();
    let reason: String = view.reason.chars().take(60).collect();
    let cut = if reason.len() < view.reason.len() { "..." } else { "" };
    format!(
        "{ending}  {}  by {}, {} of {} signed, {} left  says {}{cut}",
        view.step,
        view.proposer,
        view.approvals.have,
        view.approvals.required,
        span(left.max(0)),
        Shown::quoted(&reason).as_str()
    )
}

/// Who this person is: by a trusted roster, else by the boundary's (a list is no signature).
fn myself(args: &Args, client: &Client) -> Result<Approver, Failure> {
    let keys = args.key.find()?;
    let find = |roster: &TrustedRoster| {
        keys.all().find_map(|signer| roster.approver_of(&signer.key().keyid())).map(|(approver, _)| approver.clone())
    };
    let trust: Vec<Trust> = args.trust.find()?;
    for trust in &trust {
        if let Pinned::Roster(roster) = &trust.pinned
            && let Some(mine) = find(roster)
        {
            return Ok(mine);
        }
    }
    let registry: RegistryView = client.get("/v1/registry")?;
    let payload = client.blob(registry.seal.roster.as_bytes())?;
    let roster = TrustedRoster::from_payload(&payload)
        .map_err(|error| Failure::new(Exit::Unreachable, format!("the boundary's roster can't be read: {error}")))?;
    find(&roster).ok_or_else(|| {
        Failure::usage("none of your keys is an approver's in the roster: name yours with --key FILE, ask to be added, or list --all")
    })
}

/// Whether this person's signature brings the quorum nearer.
fn can_move(mine: &Approver, view: &ProposalView) -> bool {
    let approvals = &view.approvals;
    let counts = !approvals.excluded.contains(&mine.name) && !approvals.approvers.contains(&mine.name);
    counts && approvals.missing.iter().any(|group| mine.groups.contains(group))
}

fn bell() {
    use std::io::Write as _;
    let _ = std::io::stderr().write_all(b"\x07");
}

/// Runs the user's own command line; the proposal reaches it only as variables, never as part of the text.
fn exec(command: &str, view: &ProposalView, talk: &Talk) {
    let run = Command::new("/bin/sh")
        .args(["-c", command])
        .env("COUNTERSIGN_PROPOSAL", view.id.as_str())
        .env("COUNTERSIGN_STEP", view.step.as_str())
        .stdin(Stdio::null())
        .status();
    match run {
        Ok(status) if status.success() => {}
        Ok(status) => talk.say(&format!("--exec for {}: {status}", view.id)),
        Err(error) => talk.say(&format!("--exec can't be run: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(missing: &[&str], approvers: &[&str], excluded: &[&str]) -> ProposalView {
        let digest = format!("sha256:{}", "0".repeat(64));
        serde_json::from_value(json!({
            "id": "prp_019aa0b0-5c00-7000-8000-000000000001", "status": "pending", "next": [], "step": "a:b",
            "step_digest": digest, "params": {}, "params_digest": digest, "proposer": "agent", "reason": "",
            "digest": digest, "payload": "", "created_at": "2026-11-20T09:30:00Z", "expires_at": "2026-11-20T10:30:00Z",
            "approvals": {"rules": [], "required": 2, "have": 0, "approvers": approvers, "missing": missing, "excluded": excluded},
        }))
        .expect("a view")
    }

    #[test]
    fn the_inbox_holds_what_my_signature_moves_and_nothing_else() {
        let mine: Approver =
            serde_json::from_value(json!({"name": "alice", "groups": ["ops"], "keys": []})).expect("approver");
        assert!(can_move(&mine, &view(&["ops", "sec"], &["bob"], &["carol"])));
        assert!(!can_move(&mine, &view(&["sec"], &[], &[])), "another group is needed");
        assert!(!can_move(&mine, &view(&["ops"], &["alice"], &[])), "signed already");
        assert!(!can_move(&mine, &view(&["ops"], &[], &["alice"])), "owner of the proposer");
        assert!(!can_move(&mine, &view(&[], &["bob"], &[])), "nobody is needed");
    }
}
