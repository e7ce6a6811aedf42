//! The `audit` command reads a whole log and repeats every decision of the boundary.

pub mod audit_output;
pub mod audit_row;
pub mod audit_table;
pub mod decisions;
pub mod open_work;
mod state;

use crate::trust_advice;
use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use serde_json::json;

use crate::{
    ChosenTrust, CommandFailure, CommandResult, DecisionFilter, Exit, GlobalOptions, KeyArgs,
    LogSource, NotBegun, OverdueReviews, PrintableText, Terminal, TrustArgs,
    commands::{
        audit::{
            audit_output::{
                AuditOutput, another_history, begin, by_its_own_seals, choose, compare,
                left_to_newer, root_at, size_of,
            },
            state::{StateChange, StateFile},
        },
        global::open_log,
    },
    contradicts_log, each_entry, expect_kept_heads, fail_usage, find_with_list,
    home::roster_versions::join,
    logs_below, no_log, now,
    remote::follow_run::{COSIGNED, COSIGNED_PAUSE},
    said_no, tell_failure,
};
use documents::{Frontier, RosterVersion, SealDigest, lines_of_others};
use verdict::{AuditEvent, Auditor, Expected, LoggedRosters, SavedAudit, SeenHead};

/// Read a whole log from its first entry and repeat every decision of the boundary.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign audit mirror/ --roster roster.json             a directory that `countersign log export` wrote
  countersign audit http://127.0.0.1:7433 --state prod.audit the next audit continues from the saved state
  countersign audit boundary/closed/0123456789abcdef         a log that a restore closed, or a backup
  countersign audit mirror/ --against /mnt/other/mirror      two copies of one log must be one history
  countersign audit mirrors/                                 each log in a directory, one after the other
  countersign audit mirror/ --no-differences                 count every difference as a failure
  countersign audit mirror/ --since 7d --step 'service:*'      a table of steps, parameters and approvers
  countersign audit mirror/ --max-unreviewed-days 7           exits with 1 if a review waits for a week
  countersign audit mirror/ --json | jq 'select(.type == \"decision\" and .outcome.status != \"succeeded\")'

A directory of `log export` contains every signed head of earlier exports under checkpoints/. The audit compares \
each of these heads with the entries.

Exit codes: 0 every check passed; 1 a check failed, possibly for the first seal or its roster, or a review is overdue; 2 no trusted roster \
connects to the log, or a file can't be read.")]
pub struct Args {
    /// A directory that `log export` wrote, a backup, a closed log, or the address of a boundary or mirror; or several, or a
    /// directory of such directories. Your token or key is sent only to the boundary of --url
    #[arg(value_name = "DIR|URL", required = true, value_hint = clap::ValueHint::AnyPath)]
    places: Vec<String>,
    #[command(flatten)]
    trust: TrustArgs,
    /// The id of the boundary. The log of any other boundary is refused
    #[arg(long, value_name = "sha256:…")]
    boundary: Option<SealDigest>,
    /// Keep the verified head and state in this file, and continue from it next time. The next audit then detects if
    /// the log was shortened or forked. The file is changed only after a complete audit without failures
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Read the log from its first entry again, even if the file of --state contains a state
    #[arg(long)]
    full: bool,
    /// Another copy of the log, to compare with this log. The shorter copy must be the beginning of the longer copy
    #[arg(long, value_name = "DIR|URL")]
    against: Option<String>,
    /// The number of distinct witnesses of the roster that must have cosigned the head. The command waits up to a
    /// minute for the cosignatures of a served log
    #[arg(long, value_name = "K", default_value_t = 0)]
    witness: u64,
    /// Count a decision as a failure if this version would decide differently, even if the seal names another version
    /// of the program
    #[arg(long)]
    no_differences: bool,
    /// Exit with 1 if an emergency, or a run whose end nobody saw, began more than N days ago by the clock of this machine and
    /// still needs a review
    #[arg(long, value_name = "N")]
    max_unreviewed_days: Option<u32>,
    #[command(flatten)]
    filter: DecisionFilter,
    #[command(flatten)]
    key: KeyArgs,
}

/// Audits the log.
///
/// # Errors
/// Returns an error if the log or the state cannot be read.
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
    let places = logs_in(&args.places);
    if let [place] = &places[..] {
        return audit_log(place, args, global, terminal);
    }
    if args.state.is_some() || args.against.is_some() || args.boundary.is_some() {
        return fail_usage("--state, --against and --boundary are for one log: name one place");
    }
    let mut worst = Exit::Done;
    for place in &places {
        let shown = PrintableText::text(place).to_string();
        terminal.answer(
            json!({"type": "log", "place": place}),
            format!("== {shown} =="),
        )?;
        match audit_log(place, args, global, terminal) {
            Ok(exit) if exit.code() > worst.code() => worst = exit,
            Ok(_) => {}
            Err(failure) => tell_failure(("place", &shown), failure, &mut worst, terminal)?,
        }
    }
    Ok(worst)
}

/// Returns the named places. A directory that is no log, but contains directories with logs, is replaced by these
/// directories.
fn logs_in(named: &[String]) -> Vec<String> {
    let mut places = Vec::new();
    for name in named {
        let logs = logs_below(Path::new(name));
        match logs.is_empty() {
            true => places.push(name.clone()),
            false => places.extend(logs.iter().map(|log| log.to_string_lossy().into_owned())),
        }
    }
    places
}

fn audit_log(
    named: &str,
    args: &Args,
    global: &GlobalOptions,
    terminal: &Terminal,
) -> CommandResult {
    let trust = find_with_list(&args.trust)?;
    let file = args.state.as_deref().map(StateFile::open).transpose()?;
    let kept = file.as_ref().map(StateFile::read).transpose()?.flatten();
    let place = open_log(named, global, &args.key, terminal)?;
    let other = args
        .against
        .as_deref()
        .map(|other| open_log(other, global, &args.key, terminal))
        .transpose()?;
    let head = head_of(named, args, &place)?;
    let size = size_of(&head)?;
    let mut expected = Expected {
        boundary: args.boundary,
        heads: Vec::new(),
        witnesses: args.witness,
        now: Some(now()),
        no_differences: args.no_differences,
    };
    if let Some(kept) = &kept {
        expect_what_was_seen(kept, &mut expected, terminal)?;
    }
    let damaged = expect_kept_heads(&place, &mut expected)?;
    let against = match &other {
        Some(other) => {
            let from = args.against.as_deref().unwrap_or_default();
            let note = other.head()?.ok_or_else(|| no_log(from))?;
            let seen =
                SeenHead::parse(&note, from).map_err(|why| said_no(format!("{from}: {why}")))?;
            (seen.size <= size).then(|| expected.heads.push(seen.clone()));
            Some((other, seen))
        }
        None => None,
    };
    let mut out = AuditOutput::new(terminal, size, args.filter.clone());
    // A comparison with an earlier size needs the root hash at that size, so the log must be read from its first entry.
    let goes_on = kept
        .as_ref()
        .filter(|kept| {
            !args.full && other.is_none() && kept.is_ours() && kept.size > 0 && kept.size <= size
        })
        // The earlier audit accepted differences that this audit must report as failures, so the log must be read from
        // its first entry.
        .filter(|kept| !args.no_differences || kept.engines.is_empty());
    let resumed = match goes_on {
        Some(kept) => resume(&place, &trust, &expected, kept, &head, size, terminal)?,
        None => None,
    };
    let mut auditor = match resumed {
        Some(auditor) => auditor,
        None => match begin(&place, &trust, &expected, size)? {
            Ok(auditor) => auditor,
            Err(not_begun) => return tell_not_begun(not_begun, terminal),
        },
    };
    each_entry(&place, auditor.size(), size, |entry| {
        let said = auditor
            .entry(entry, &place)
            .map_err(|error| place.unreadable(error))?;
        out.say(said)?;
        out.progress(auditor.size());
        Ok(())
    })?;
    let (said, mut summary) = auditor
        .finish(&head, &place)
        .map_err(|error| place.unreadable(error))?;
    out.say(said)?;
    // If the other copy is longer, its tiles must prove that it begins with the audited log.
    let differs = match &against {
        Some((other, seen)) if seen.size > size => compare(&auditor, &head, other, seen)?,
        Some((other, seen))
            if auditor
                .unsigned()
                .any(|unsigned| unsigned.note == seen.note) =>
        {
            match by_its_own_seals(&auditor, other, seen) {
                Some(there) if there.root != root_at(&place, size, there.size)? => {
                    Some(another_history(seen))
                }
                _ => None,
            }
        }
        _ => None,
    };
    for finding in differs.into_iter().chain(damaged) {
        summary.clean = false;
        summary.failures += 1;
        out.say(vec![AuditEvent::Finding(Box::new(finding))])?;
    }
    // The findings are printed before the state is saved, so that no finding is lost.
    let overdue = OverdueReviews::of(&summary, args.max_unreviewed_days, now());
    out.end(&summary, kept.as_ref().and_then(|kept| kept.seen), &overdue)?;
    if let Some(file) = &file {
        match auditor.keep(&head).filter(|_| summary.clean) {
            Some(state) => match file.keep(&state, kept.as_ref(), |earlier| {
                root_at(&place, size, earlier)
            })? {
                StateChange::Here => {}
                StateChange::Further(entries) => terminal.say(format!(
                    "The state was not changed, because another audit has saved a state of {entries} entries in the \
                     meantime."
                )),
                StateChange::Forked(entries) => {
                    return Err(said_no(format!(
                        "FORK: another audit has saved a head of {entries} entries in the meantime, and the first \
                         {entries} entries of this log have another root hash: the boundary showed two histories, \
                         or one of the two copies was changed; the state was not changed: keep the state and this \
                         log"
                    )));
                }
            },
            None => terminal.say("The state was not changed, because this log did not pass the audit."),
        }
    }
    Ok(if summary.clean && overdue.receipts.is_empty() {
        Exit::Done
    } else {
        Exit::CheckSaidNo
    })
}

/// Adds the boundary and the head of the last audit to what this audit expects.
fn expect_what_was_seen(
    kept: &SavedAudit,
    expected: &mut Expected,
    terminal: &Terminal,
) -> CommandResult<()> {
    if expected
        .boundary
        .is_some_and(|boundary| boundary != kept.boundary)
    {
        let message = format!(
            "the state belongs to the boundary {}: use a separate state file for each boundary",
            kept.boundary
        );
        return fail_usage(message);
    }
    expected.boundary = Some(kept.boundary);
    let mut seen = SeenHead::parse(&kept.checkpoint, "the state of your last audit")
        .map_err(|why| CommandFailure::usage(format!("the state's checkpoint: {why}")))?;
    seen.verified = true;
    seen.at = kept.seen;
    expected.heads.push(seen);
    if !kept.is_ours() {
        terminal.say(format!("The audit reads the log from the first entry, because another version of the program saved the state ({}).", PrintableText::text(&kept.program)));
    }
    Ok(())
}

/// Returns the head of the log. Cosignatures arrive a short time after the log has grown, so the function requests the
/// head again until enough witnesses have cosigned.
fn head_of(named: &str, args: &Args, place: &LogSource) -> CommandResult<String> {
    let grows = named.starts_with("http://");
    let deadline = Instant::now() + COSIGNED;
    loop {
        let head = place.head()?.ok_or_else(|| no_log(named))?;
        if lines_of_others(&head) >= args.witness || !grows || Instant::now() > deadline {
            return Ok(head);
        }
        std::thread::sleep(COSIGNED_PAUSE);
    }
}

/// Creates an auditor that resumes from the stored state, if the log still begins with the entries of that state.
fn resume(
    place: &LogSource,
    trust: &[ChosenTrust],
    expected: &Expected,
    kept: &SavedAudit,
    head: &str,
    size: u64,
    terminal: &Terminal,
) -> CommandResult<Option<Auditor>> {
    let Some(mut tree) = kept.frontier() else {
        return Ok(None);
    };
    // The later seals name the roster versions that connect a newer trusted roster with the log.
    let mut found = LoggedRosters::default();
    for part in &kept.rosters {
        let read = found.part(part, place);
        read.map_err(|error| place.unreadable(error))?;
    }
    let versions = found.versions();
    each_entry(place, kept.size, size, |entry| {
        tree.append(entry.hash());
        let read = found.entry(entry, place);
        read.map_err(|error| place.unreadable(error))
    })?;
    let later = found.versions();
    if !head.contains(&root_line(&tree)) {
        terminal.say(
            "The log does not continue from the state of your last audit, so the audit reads the log from the first \
             entry.",
        );
        return Ok(None);
    }
    let again = |trust: &ChosenTrust, versions: &[RosterVersion]| {
        Auditor::resume(
            trust.pinned.clone(),
            versions,
            expected.clone(),
            kept,
            place,
        )
    };
    let joined = join(trust, &later);
    match choose(&joined, |trust| {
        again(trust, &later).or_else(|_| again(trust, &versions))
    }) {
        // Do not resume: the audit from the first entry reports that a trusted roster has another version.
        Ok(deciding) if contradicts_log(&deciding.unconnected, &later).is_some() => Ok(None),
        Ok(deciding) => Ok(Some(left_to_newer(deciding))),
        Err(refused) => {
            for (trust, why) in refused {
                terminal.say(format!(
                    "The audit can't continue from the state with {}: {why}",
                    trust.from
                ));
            }
            Ok(None)
        }
    }
}

fn root_line(tree: &Frontier) -> String {
    use base64::Engine as _;
    format!(
        "\n{}\n{}\n",
        tree.size(),
        base64::engine::general_purpose::STANDARD.encode(tree.root())
    )
}

fn tell_not_begun(not_begun: NotBegun, terminal: &Terminal) -> CommandResult {
    let exit = not_begun.exit();
    if !terminal.json {
        terminal.say(not_begun.words());
        return Ok(exit);
    }
    match not_begun {
                NotBegun::Untrusted { message, first } => terminal.object(
            json!({"type": "untrusted", "message": message, "first_roster": first, "advice": trust_advice(first, "log")}),
        )?,
        NotBegun::Broken(finding) => terminal.object(AuditEvent::Finding(Box::new(finding)))?,
    }
    Ok(exit)
}
