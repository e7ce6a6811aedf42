//! The `policy check` command decides about scripts, runbooks, paths and variables.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::json;

use crate::cli::policy::source::{
    PolicyAtHand, PolicySource, ScriptAnswer, decided_to_json, heading, heads, is_interpreter, not_understood, to_json,
    verdict, word_of, worst,
};
use crate::local::grant_options::GrantArgs;
use crate::local::project::real_path;
use client::terminal::exit::{CommandFailure, Exit};
use client::terminal::printable_text::PrintableText;
use client::terminal::streams::Terminal;
use client::terminal::table::aligned;
use documents::record::authorization::{PermissionKind, PermissionReason};
use judgement::policy::decide::{Decided, Flags, PolicyVerdict, decide_env, decide_path};
use judgement::policy::lists::{KINDS, word};
use judgement::policy::origin::RuleOrigin;

/// Decide if a script or runbook would run, a path could be read or written, or a variable could be inherited. The exit
/// code is the result.
///
/// If policy would ask, the answer counts as no, because no person is there to answer. The options -y, --allow-* and --deny-all answer
/// questions in advance, as for `run`. With --boundary the answer counts as yes, because the approvers will be
/// asked.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 all is allowed; 1 an item is denied, or policy would ask (not with --boundary); 2 \
wrong usage, or a policy or runbook that can't be read.

Examples:
  countersign policy check deploy.sh
  countersign policy check --policy ci-policy.yaml runbooks/service.md
  countersign policy check deploy.sh --allow-run kubectl,jq -y
  countersign policy check --read /etc/hosts --write dist/app.js --env AWS_PROFILE --runbook deploy/service
  countersign policy check --boundary --policy boundary/policy.yaml runbooks/service.md --json"
)]
pub(super) struct Args {
    /// A script, a runbook (*.md, *.mdx), or - for the standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// A path: check if the step may read the path
    #[arg(long, value_name = "PATH")]
    read: Vec<PathBuf>,
    /// A path: check if the step may write the path
    #[arg(long, value_name = "PATH")]
    write: Vec<PathBuf>,
    /// A variable: check if the step may inherit the variable
    #[arg(long, value_name = "NAME")]
    env: Vec<String>,
    #[command(flatten)]
    source: PolicySource,
    #[command(flatten)]
    grants: GrantArgs,
}

pub(super) fn run(args: &Args, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    if args.file.is_none() && args.read.is_empty() && args.write.is_empty() && args.env.is_empty() {
        return Err(CommandFailure::usage(
            "name a script or a runbook, or give --read PATH, --write PATH or --env NAME",
        ));
    }
    let (held, flags) = args.source.hold(args.file.as_deref(), &args.grants)?;
    let mut answered = match &args.file {
        Some(file) => args.source.answer(file, &held, &flags)?,
        None => Vec::new(),
    };
    let mut things = things(args, &held, &flags)?;
    if args.grants.yes {
        for one in answered.iter_mut().map(|one| &mut one.decision) {
            allow_unlisted(&mut one.decided);
            if one.not_understood.is_none() {
                one.verdict = worst(one.decided.iter().map(|one| one.verdict));
            }
        }
        allow_unlisted(&mut things);
    }
    let verdicts = answered.iter().map(|one| one.decision.verdict);
    let whole = worst(verdicts.chain(things.iter().map(|one| one.verdict)));
    let warnings = warnings(&held, &answered);
    if terminal.json {
        let steps: Vec<_> = answered.iter().map(to_json).collect();
        let at = if args.source.boundary { "boundary" } else { "terminal" };
        terminal.object(&json!({
            "verdict": word_of(whole), "at": at, "policy": held.found.file, "scripts": steps,
            "asked": things.iter().map(decided_to_json).collect::<Vec<_>>(), "warnings": warnings,
        }))?;
    } else {
        terminal.line(&held.line())?;
        for one in &answered {
            terminal.line(&heading(one))?;
            if let Some(message) = not_understood(one) {
                terminal.line(&format!("  {message}"))?;
            }
            let stopped = one.decision.decided.iter().filter(|one| one.verdict != PolicyVerdict::Allow);
            let rows: Vec<[String; 5]> = stopped.map(|decided| one.row(decided)).collect();
            if !rows.is_empty() {
                let rows: Vec<_> = std::iter::once(heads()).chain(rows).collect();
                terminal.put(aligned(&rows).as_bytes())?;
            }
        }
        for one in &things {
            let (kind, answer) = (word(one.kind), verdict(one.verdict));
            terminal.line(PrintableText::text(&format!("{kind} {}: {answer} ({})", one.what, one.rule)).as_str())?;
        }
        for warning in &warnings {
            terminal.say(&format!("warning: {warning}"));
        }
    }
    Ok(match whole {
        PolicyVerdict::Allow => Exit::Done,
        PolicyVerdict::Ask(_) if args.source.boundary => Exit::Done,
        PolicyVerdict::Ask(_) | PolicyVerdict::Deny => Exit::CheckSaidNo,
    })
}

/// Decides about the paths and variables that the user named. Symbolic links in the paths are followed.
fn things(args: &Args, held: &PolicyAtHand, flags: &Flags) -> Result<Vec<Decided>, CommandFailure> {
    let at = args.source.at();
    let mut things = Vec::new();
    for (kind, paths) in [(PermissionKind::Read, &args.read), (PermissionKind::Write, &args.write)] {
        for path in paths {
            let real = real_path(&held.project.cwd.join(path));
            let Some(real) = real.to_str() else {
                return Err(CommandFailure::usage(format!("{}: the real path is not UTF-8", path.display())));
            };
            things.push(decide_path(&held.ruling, kind, real, at, flags));
        }
    }
    things.extend(args.env.iter().map(|name| decide_env(&held.ruling, name, at, flags)));
    Ok(things)
}

fn allow_unlisted(decided: &mut [Decided]) {
    for one in decided.iter_mut().filter(|one| one.verdict == PolicyVerdict::Ask(PermissionReason::Unlisted)) {
        one.verdict = PolicyVerdict::Allow;
    }
}

/// Returns a warning for each item whose permission allows more than the name of the item suggests.
fn warnings(held: &PolicyAtHand, answered: &[ScriptAnswer]) -> Vec<String> {
    let mut found = BTreeSet::new();
    for kind in KINDS {
        for entry in held.ruling.written.of(kind).allow.entries() {
            let (text, origin) = (entry.listed.text(), &entry.origin);
            if entry.listed.is_everything() {
                found.insert(format!("{}.allow {text:?} ({origin}) allows everything that no list denies", word(kind)));
            } else if kind == PermissionKind::Run && is_interpreter(text) {
                found.insert(format!(
                    "run.allow {text:?} ({origin}) allows everything that this program can run, so only the sandbox \
                     restricts it"
                ));
            }
        }
    }
    let ran = answered.iter().flat_map(|one| &one.decision.decided);
    for one in ran.filter(|one| one.verdict == PolicyVerdict::Allow && one.kind == PermissionKind::Run) {
        // A rule that the user wrote has its own warning already.
        let built_in = matches!(
            &one.rule,
            judgement::policy::applied_rule::AppliedRule::Listed { origin: RuleOrigin::BuiltIn, .. }
        );
        if built_in && is_interpreter(&one.what) {
            found.insert(format!(
                "{} is allowed and executes its arguments and input, so only the sandbox restricts it",
                one.what
            ));
        }
    }
    found.into_iter().collect()
}
