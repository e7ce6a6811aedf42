//! The `inbox` command lists the proposals that need this person's signature.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::commands::clock::now;
use crate::commands::global::{BoundaryChoice, GlobalOptions};
use crate::home::keys::{KeyArgs, Keys};
use crate::home::trusted_rosters::{ChosenTrust, TrustArgs};
use crate::remote::client::Client;
use crate::remote::proposals::list;
use crate::remote::run_printer::held_up_words;
use crate::review::line::{LineWeight, RemarkSeverity};
use crate::review::remarks;
use crate::review::script_places::ScriptPlaces;
use crate::review::value_words::plain_or_quoted;
use crate::terminal::exit::{CommandFailure, Exit};
use crate::terminal::field_paths::leaves;
use crate::terminal::person_words::person_words;
use crate::terminal::printable_text::PrintableText;
use crate::terminal::streams::{Terminal, eprintln_quietly};
use documents::record::authorization::Authorization;
use documents::record::code::Code;
use documents::record::document::Statement;
use documents::record::envelope::Base64;
use documents::record::ident::ProposalId;
use documents::record::roster::Approver;
use documents::record::validity::Timestamp;
use judgement::trust::chain::Pinned;
use judgement::trust::trusted_roster::TrustedRoster;
use wire::api::registry_view::RegistryView;
use wire::api::view::{ProposalList, ProposalStatus, ProposalView};

/// List the pending proposals that your signature can advance: those that still need an approver of one of your groups.
/// Approved runs that cannot start, and proposals that were denied or refused in their window, are reported too.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Each line has the last digits of the id, the step, its parameters, the proposer, the number of \
signatures, the remaining time, and after `!` the most important remark of a review.

Examples:
  countersign inbox
  countersign inbox --watch                                     with a bell for each new proposal
  countersign inbox --watch --exec 'notify-send \"to sign: $COUNTERSIGN_PROPOSAL\"'
  countersign inbox --all                                       also proposals that you can't advance
  countersign inbox --boundary all                              of each boundary in your list"
)]
pub struct Args {
    /// Look for new proposals every 2 seconds until Ctrl-C, and ring the bell of the terminal for each new proposal
    #[arg(long)]
    watch: bool,
    /// Run this command for each new proposal, with its id in COUNTERSIGN_PROPOSAL and its step in COUNTERSIGN_STEP
    #[arg(long, value_name = "CMD")]
    exec: Option<String>,
    /// List all pending proposals
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    key: KeyArgs,
}

/// Pause between two requests with `--watch`.
const EVERY: Duration = Duration::from_secs(2);

/// Lists the pending proposals once, or repeatedly until the program is stopped.
///
/// # Errors
/// Returns an error if the boundary cannot be reached, or if this person is no approver.
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    match global.choice {
        BoundaryChoice::All => every_boundary(args, global, terminal),
        BoundaryChoice::One(_) | BoundaryChoice::Address | BoundaryChoice::None => one_boundary(args, global, terminal),
    }
}

/// Lists the pending proposals of each boundary of the list. A boundary that does not answer does not hide the others.
fn every_boundary(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    if args.watch {
        return Err(CommandFailure::usage("--watch reads one boundary: choose it with --boundary NAME"));
    }
    let mut exit = Exit::Done;
    for one in global.for_all_listed()? {
        let name = one.listed().map_or("", |listed| listed.name.as_str());
        if !terminal.json {
            terminal.line(&format!("== {name} =="))?;
        }
        if let Err(failure) = one_boundary(args, &one, terminal) {
            if terminal.json {
                terminal.object(&json!({"boundary": name, "error": failure.message}))?;
            } else {
                terminal.say(&format!("{name}: {failure}"));
            }
            exit = failure.exit;
        }
    }
    Ok(exit)
}

fn one_boundary(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    let client = global.reviewer(&args.key, terminal)?;
    let mine =
        if args.all { None } else { Some(myself(&args.key.find()?, &global.trust(&args.trust).find()?, &client)?) };
    let named = |mut object: Value| {
        if let Some(listed) = global.listed() {
            object["boundary"] = json!(listed.name);
        }
        object
    };
    let mut seen = BTreeSet::new();
    let (mut held_up, mut told) = (BTreeSet::new(), BTreeSet::new());
    let mut unreachable = false;
    let mut headed = false;
    loop {
        let pending = match list(&client, &[("status", "pending")]) {
            Ok(pending) => pending,
            // The boundary may be restarting, so `--watch` continues.
            Err(failure) if args.watch && failure.exit == Exit::Unreachable => {
                if !std::mem::replace(&mut unreachable, true) {
                    terminal.say(&format!("{failure}; trying on"));
                }
                std::thread::sleep(EVERY);
                continue;
            }
            Err(failure) => return Err(failure),
        };
        unreachable = false;
        let ended = ended(&client);
        if !terminal.json {
            tell_held_up(&client, &mut held_up, terminal);
            // The newest is last, as in the list.
            for view in ended.iter().rev().filter(|view| told.insert(view.id.clone())) {
                eprintln_quietly(ended_words(view).as_str());
            }
        }
        let waiting: Vec<_> =
            pending.into_iter().filter(|view| mine.as_ref().is_none_or(|mine| can_move(mine, view))).collect();
        if waiting.is_empty() && !args.watch {
            if terminal.json {
                terminal.object(&named(json!({ "proposals": [], "ended": ended })))?;
            } else {
                terminal.say("nothing waits for your signature");
            }
            return Ok(Exit::Done);
        }
        if terminal.json && !args.watch {
            terminal.object(&named(json!({ "proposals": waiting, "ended": ended })))?;
        }
        let table = Table::of(&waiting, terminal.width());
        // Print the newest proposal last, because it is then at the end of the output, which the person sees first.
        for view in waiting.iter().rev().filter(|view| seen.insert(view.id.clone())) {
            if terminal.json {
                if args.watch {
                    terminal.object(view)?;
                }
            } else {
                if !std::mem::replace(&mut headed, true) {
                    terminal.line(&table.heading())?;
                }
                terminal.line(&table.row(view))?;
            }
            if args.watch && terminal.err_is_terminal() {
                bell();
            }
            if let Some(command) = &args.exec {
                exec(command, view, terminal);
            }
        }
        if !args.watch {
            return Ok(Exit::Done);
        }
        std::thread::sleep(EVERY);
    }
}

/// Reports each approved run that has not started, once and with the reason. Otherwise the approvers may believe that
/// the run has happened.
fn tell_held_up(client: &Client, told: &mut BTreeSet<(ProposalId, Code)>, terminal: &Terminal) {
    // A failed request must not prevent the list of pending proposals.
    for view in list(client, &[("status", "approved")]).unwrap_or_default() {
        if let Some(why) = &view.held_up
            && told.insert((view.id.clone(), why.code))
        {
            terminal.say(&format!("{}  {} is approved, but {}", ending(&view), view.step, held_up_words(why)));
        }
    }
}

/// Returns the newest denied and refused proposals whose window is still open. An approver may still search for them.
fn ended(client: &Client) -> Vec<ProposalView> {
    // A failed request must not prevent the list of pending proposals.
    let newest =
        |status: &str| client.get::<ProposalList>(&format!("/v1/proposals?status={status}&limit={MOST_ENDED}"));
    let found = ["denied", "refused"].iter().filter_map(|status| newest(status).ok());
    let open = |view: &ProposalView| view.expires_at > now();
    let mut found: Vec<_> = found.flat_map(|page| page.proposals).filter(open).collect();
    found.sort_by_key(|view| std::cmp::Reverse(view.ended_at));
    found.truncate(MOST_ENDED);
    found
}

/// Describes how a proposal ended, with the words of the people who denied it.
fn ended_words(view: &ProposalView) -> PrintableText {
    let why = match &view.refusal {
        Some(why) if view.status == ProposalStatus::Refused => format!("refused ({})", why.code),
        Some(why) => why.detail.clone(),
        None => view.status.word().to_owned(),
    };
    let said = view.denials.iter().map(|denial| (denial.approver.as_str(), denial.reason.as_str()));
    PrintableText::text(&format!("{}  {} was {why}", ending(view), view.step)).then(&person_words(said))
}

/// Maximum number of ended proposals that the command reports.
const MOST_ENDED: usize = 5;

fn ending(view: &ProposalView) -> &str {
    end_of(view, ENDING)
}

fn end_of(view: &ProposalView, length: usize) -> &str {
    view.id.as_str().get(view.id.as_str().len().saturating_sub(length)..).unwrap_or_default()
}

/// Minimum number of last digits that the commands accept instead of a whole id.
const ENDING: usize = 6;

/// Table with one line for each proposal, as wide as the terminal. Dots mark a cell that was cut.
struct Table {
    /// Number of last digits that make every id in the table unique.
    ending: usize,
    widths: [usize; COLUMNS],
}

const COLUMNS: usize = 7;
const HEADING: [&str; COLUMNS] = ["ID", "STEP", "WITH", "BY", "SIGNED", "LEFT", "!"];
/// Pairs of a column and its smallest width, in the order in which columns shrink in a narrow terminal. Width 0 removes
/// the column. The last column shows the most important remark, so it shrinks last and keeps at least its warning sign.
const GIVE_WAY: [(usize, usize); 7] = [(2, 16), (2, 9), (3, 6), (1, 12), (3, 0), (2, 4), (6, 1)];

impl Table {
    fn of(views: &[ProposalView], width: usize) -> Self {
        let unique = |length: &usize| {
            let ends: BTreeSet<&str> = views.iter().map(|view| end_of(view, *length)).collect();
            ends.len() == views.len()
        };
        let ending = (ENDING..).find(|length| *length >= 36 || unique(length)).unwrap_or(ENDING);
        let mut table = Self { ending, widths: HEADING.map(str::len) };
        for view in views {
            for (width, cell) in table.widths.iter_mut().zip(table_cells(view, ending)) {
                *width = (*width).max(cell.as_str().len());
            }
        }
        for (column, least) in GIVE_WAY {
            let shown = table.widths.iter().filter(|width| **width > 0).count();
            let all = table.widths.iter().sum::<usize>() + 2 * (shown - 1);
            if all <= width {
                break;
            }
            if least == 0 {
                table.widths[column] = 0;
                continue;
            }
            let spare = table.widths[column].saturating_sub(least.max(HEADING[column].len()));
            let less = if column == COLUMNS - 1 { spare } else { all.saturating_sub(width).min(spare) };
            table.widths[column] -= less;
        }
        table
    }

    fn heading(&self) -> String {
        self.line(HEADING.map(PrintableText::words))
    }

    fn row(&self, view: &ProposalView) -> String {
        self.line(table_cells(view, self.ending))
    }

    fn line(&self, cells: [PrintableText; COLUMNS]) -> String {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(self.widths).filter(|(_, width)| *width > 0) {
            // In a column with a width of 1, only the warning sign fits.
            let cell = if width == 1 {
                cell.as_str().get(..1).unwrap_or_default().to_owned()
            } else {
                cell.cut(width).as_str().to_owned()
            };
            line.push_str(&format!("{cell:<width$}  "));
        }
        line.trim_end().to_owned()
    }
}

/// Returns the parameters of a proposal in one line.
#[must_use]
pub fn parameter_words(view: &ProposalView) -> PrintableText {
    let mut found = Vec::new();
    leaves(&view.params, String::new(), &mut found);
    let found = found.iter().filter(|(path, _)| !path.is_empty());
    let params =
        found.map(|(path, value)| PrintableText::text(path.trim_start_matches('.')).and("=").then(&value_of(value)));
    PrintableText::joined(params, " ")
}

/// Returns the time that is left until the proposal expires, in words.
#[must_use]
pub fn time_left(view: &ProposalView, now: Timestamp) -> String {
    match (view.expires_at.unix() - now.unix()).max(0) {
        left @ 0..60 => format!("{left} s"),
        left @ 60..7200 => format!("{} min", left / 60),
        left => format!("{} h", left / 3600),
    }
}

fn table_cells(view: &ProposalView, ending: usize) -> [PrintableText; COLUMNS] {
    [
        PrintableText::text(end_of(view, ending)),
        PrintableText::text(view.step.as_str()),
        parameter_words(view),
        PrintableText::text(view.proposer.as_str()),
        PrintableText::text(&format!("{} of {}", view.approvals.have, view.approvals.required)),
        PrintableText::text(&time_left(view, now())),
        heaviest(view),
    ]
}

fn value_of(value: &Value) -> PrintableText {
    match value {
        Value::String(text) => plain_or_quoted(text),
        other => PrintableText::value(other),
    }
}

/// Returns the most important remark that the signed bytes alone justify. A full review also uses other documents.
#[must_use]
pub fn heaviest(view: &ProposalView) -> PrintableText {
    let payload = Base64::Strict.decode("/payload", &view.payload).ok();
    let signed = payload.and_then(|payload| Statement::<Authorization>::from_payload(&payload).ok());
    let Some(signed) = signed else { return PrintableText::words("! unreadable") };
    let remarks = remarks::of_statement(&signed.predicate, None, &[], &ScriptPlaces::default());
    let unknown = view.unknown_end.as_ref().map(|_| RemarkSeverity::UnknownEnd);
    let heaviest = remarks.iter().filter_map(|line| match line.weight {
        LineWeight::Remark(heaviness) => Some(heaviness),
        LineWeight::Always => None,
    });
    heaviest
        .chain(unknown)
        .min()
        .map_or(PrintableText::default(), |heaviness| PrintableText::words("! ").and(heaviness.word()))
}

/// Finds the approver with the keys of this user, first in the trusted rosters, then in the roster of the boundary. The
/// untrusted roster of the boundary is sufficient, because a list signs nothing.
///
/// # Errors
/// Returns an error if no key belongs to an approver, or if the roster of the boundary can't be read.
pub fn myself(keys: &Keys, trust: &[ChosenTrust], client: &Client) -> Result<Approver, CommandFailure> {
    let find = |roster: &TrustedRoster| {
        keys.all().find_map(|signer| roster.approver_of(&signer.key().keyid())).map(|(approver, _)| approver.clone())
    };
    for trust in trust {
        if let Pinned::Roster(roster) = &trust.pinned
            && let Some(mine) = find(roster)
        {
            return Ok(mine);
        }
    }
    let registry: RegistryView = client.get("/v1/registry")?;
    let payload = client.blob(registry.seal.roster.as_bytes())?;
    let roster = TrustedRoster::from_payload(&payload).map_err(|error| {
        CommandFailure::new(Exit::Unreachable, format!("the boundary's roster can't be read: {error}"))
    })?;
    find(&roster).ok_or_else(|| {
        let ids: Vec<String> = keys.all().map(|signer| signer.key().keyid().to_string()).collect();
        CommandFailure::usage(format!(
            "none of your keys ({}) is the key of an approver in roster version {}: name your key with --key FILE, ask to \
             be added, or list --all",
            ids.join(", "),
            roster.version()
        ))
    })
}

/// Returns true if the signature of this person would count towards the quorum.
#[must_use]
pub fn can_move(mine: &Approver, view: &ProposalView) -> bool {
    let approvals = &view.approvals;
    let counts = !approvals.excluded.contains(&mine.name) && !approvals.approvers.contains(&mine.name);
    counts && approvals.missing.iter().any(|group| mine.groups.contains(group))
}

fn bell() {
    use std::io::Write as _;
    let _ = std::io::stderr().write_all(b"\x07");
}

/// Runs the command line of the user. The proposal is passed only in variables, so its text cannot inject shell code.
fn exec(command: &str, view: &ProposalView, terminal: &Terminal) {
    let run = Command::new("/bin/sh")
        .args(["-c", command])
        .env("COUNTERSIGN_PROPOSAL", view.id.as_str())
        .env("COUNTERSIGN_STEP", view.step.as_str())
        .stdin(Stdio::null())
        .status();
    match run {
        Ok(status) if status.success() => {}
        Ok(status) => terminal.say(&format!("--exec for {}: {status}", view.id)),
        Err(error) => terminal.say(&format!("--exec can't be run: {error}")),
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
    fn the_inbox_has_one_line_for_each_proposal_and_fits_the_terminal() {
        let mut one = view(&["ops"], &[], &[]);
        one.params = json!({"name": "shop", "release": "2026-11-20 candidate 4", "zone": "eu\u{202e}"});
        let mut two = view(&["ops"], &["bob"], &[]);
        two.id = "prp_019aa0b0-5c00-7000-8000-000001000001".parse().expect("id");
        let views = [one, two];
        let lines = |width: usize| {
            let table = Table::of(&views, width);
            [table.heading(), table.row(&views[0]), table.row(&views[1])]
        };
        for width in [48, 60, 80, 140] {
            for line in lines(width) {
                assert!(line.len() <= width, "{width}: {line}");
                assert!(line.bytes().all(|c| (0x20..0x7f).contains(&c)), "{line}");
            }
        }
        let [heading, first, second] = lines(140);
        assert!(heading.starts_with("ID ") && heading.ends_with('!'), "{heading}");
        assert!(first.contains(r#"name=shop release="2026-11-20 candidate 4" zone="eu\u{202e}""#), "{first}");
        assert!(first.contains("  agent  0 of 2 ") && first.contains("! unreadable"), "{first}");
        assert!(first.starts_with("0000001 ") && second.starts_with("1000001 "), "{first}\n{second}");
        let narrow = &lines(60)[1];
        assert!(narrow.contains("  name=sh") && narrow.contains("...  agent"), "{narrow}");
        assert!(narrow.ends_with("  ! unreadable"), "{narrow}");
        // In a narrow terminal, the column of the proposer shrinks before the last column.
        let [heading, first, _] = lines(48);
        assert!(!heading.contains("BY") && first.contains("  0 of 2 ") && first.ends_with("  ! unreadable"), "{first}");
    }

    #[test]
    fn the_inbox_lists_only_proposals_that_need_the_signature_of_the_person() {
        let mine: Approver =
            serde_json::from_value(json!({"name": "alice", "groups": ["ops"], "keys": []})).expect("approver");
        assert!(can_move(&mine, &view(&["ops", "sec"], &["bob"], &["carol"])));
        assert!(!can_move(&mine, &view(&["sec"], &[], &[])), "another group is needed");
        assert!(!can_move(&mine, &view(&["ops"], &["alice"], &[])), "signed already");
        assert!(!can_move(&mine, &view(&["ops"], &[], &["alice"])), "owner of the proposer");
        assert!(!can_move(&mine, &view(&[], &["bob"], &[])), "nobody is needed");
    }
}
