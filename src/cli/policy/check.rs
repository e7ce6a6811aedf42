//! `policy check`: whether a script or runbook would run.

use std::collections::BTreeSet;

use serde_json::json;

use crate::cli::exit::{Exit, Failure};
use crate::cli::policy::source::{
    Answered, Held, Source, heading, heads, is_interpreter, not_understood, row, to_json, word_of, worst,
};
use crate::cli::table::aligned;
use crate::cli::talk::Talk;
use crate::policy::Origin;
use crate::policy::decide::Verdict;
use crate::policy::lists::{KINDS, word};
use crate::record::authorization::PermissionKind;

/// Says by the exit code whether a script or runbook would run.
///
/// What is asked for is a no here, as it would be where nobody answers. With --boundary it is a yes: people who sign
/// are asked.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 all is allowed; 1 something is denied, or would be asked for (the output says which; with \
--boundary only what is denied); 2 wrong usage, or a policy or runbook that can't be read.

Examples:
  countersign policy check deploy.sh
  countersign policy check --policy ci-policy.yaml runbooks/service.md
  countersign policy check --boundary --policy boundary/policy.yaml runbooks/service.md --json"
)]
pub(super) struct Args {
    #[command(flatten)]
    source: Source,
}

/// Checks.
pub(super) fn run(args: &Args, talk: &Talk) -> Result<Exit, Failure> {
    let (held, answered) = args.source.answer()?;
    let verdict = worst(&answered);
    let warnings = warnings(&held, &answered);
    if talk.json {
        let steps: Vec<_> = answered.iter().map(to_json).collect();
        let at = if args.source.boundary { "boundary" } else { "terminal" };
        talk.object(&json!({
            "verdict": word_of(verdict), "at": at, "policy": held.found.file, "scripts": steps, "warnings": warnings,
        }))?;
    } else {
        talk.line(&held.line())?;
        for one in &answered {
            talk.line(&heading(one))?;
            if let Some(message) = not_understood(one) {
                talk.line(&format!("  {message}"))?;
            }
            let stopped = one.decision.decided.iter().filter(|one| one.verdict != Verdict::Allow);
            let rows: Vec<[String; 5]> = stopped.map(row).collect();
            if !rows.is_empty() {
                let rows: Vec<_> = std::iter::once(heads()).chain(rows).collect();
                talk.put(aligned(&rows).as_bytes())?;
            }
        }
        for warning in &warnings {
            talk.say(&format!("warning: {warning}"));
        }
    }
    Ok(match verdict {
        Verdict::Allow => Exit::Done,
        Verdict::Ask(_) if args.source.boundary => Exit::Done,
        Verdict::Ask(_) | Verdict::Deny => Exit::CheckSaidNo,
    })
}

/// What is allowed and worth more than it looks.
fn warnings(held: &Held, answered: &[Answered]) -> Vec<String> {
    let mut found = BTreeSet::new();
    for kind in KINDS {
        for entry in held.ruling.written.of(kind).allow.entries() {
            let (text, origin) = (entry.listed.text(), &entry.origin);
            if entry.listed.is_everything() {
                found.insert(format!("{}.allow {text:?} ({origin}) allows everything that no list denies", word(kind)));
            } else if kind == PermissionKind::Run && is_interpreter(text) {
                found.insert(format!(
                    "run.allow {text:?} ({origin}) allows whatever a script lets it run: there only the sandbox holds"
                ));
            }
        }
    }
    let ran = answered.iter().flat_map(|one| &one.decision.decided);
    for one in ran.filter(|one| one.verdict == Verdict::Allow && one.kind == PermissionKind::Run) {
        // What a written rule allows has been said.
        let built_in = matches!(&one.rule, crate::policy::decide::Rule::Listed { origin: Origin::BuiltIn, .. });
        if built_in && is_interpreter(&one.what) {
            found.insert(format!(
                "{} is allowed and runs whatever its arguments and input say: there only the sandbox holds",
                one.what
            ));
        }
    }
    found.into_iter().collect()
}
