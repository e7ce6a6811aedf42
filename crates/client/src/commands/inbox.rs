//! The `inbox` command lists the proposals that need this person's signature.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TrySendError, channel, sync_channel};
use std::time::Duration;

use serde_json::json;

use crate::commands::clock::now;
use crate::commands::global::{BoundaryChoice, GlobalOptions};
use crate::commands::inbox_table::{InboxTable, ending};
use crate::home::keys::{KeyArgs, Keys};
use crate::home::trusted_rosters::{ChosenTrust, TrustArgs};
use crate::remote::client::Client;
use crate::remote::follow_run::next_line;
use crate::remote::proposals::list;
use crate::remote::run_printer::held_up_words;
use crate::terminal::exit::{CommandFailure, Exit};
use crate::terminal::person_words::person_words;
use crate::terminal::printable_text::PrintableText;
use crate::terminal::streams::{Terminal, eprintln_quietly};
use documents::record::code::Code;
use documents::record::ident::ProposalId;
use documents::record::roster::Approver;
use judgement::trust::chain::Pinned;
use judgement::trust::trusted_roster::TrustedRoster;
use wire::api::grant_view::{GrantList, GrantStatus, GrantView};
use wire::api::registry_view::{FreezeView, RegistryView};
use wire::api::view::{ProposalList, ProposalStatus, ProposalView, Ready};

/// List the pending proposals that your signature can advance: those that still need an approver of one of your groups.
/// Approved runs that cannot start, proposals that were denied or refused in their window, and a freeze are reported too.
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
    /// Wait for new proposals until Ctrl-C, and ring the bell of the terminal for each new proposal
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

/// Pause between two looks with `--watch`, if the boundary sends no events.
const EVERY: Duration = Duration::from_secs(2);
/// Longest pause between two looks. The reason why an approved run can't start makes no event.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// Pause after an event, because one action makes several.
const SETTLE: Duration = Duration::from_millis(50);

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

/// Lists the pending proposals of each boundary of the list. All boundaries are read at the same time, and each is printed when
/// it has answered. A boundary that does not answer neither hides nor delays the others.
fn every_boundary(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    if args.watch {
        return Err(CommandFailure::usage("--watch reads one boundary: choose it with --boundary NAME"));
    }
    let all = global.for_all_once()?;
    let read = |one: &GlobalOptions| InboxReader::open(args, one, terminal)?.read(!terminal.json);
    let (send, results) = channel();
    let mut exit = Exit::Done;
    std::thread::scope(|scope| {
        for one in &all {
            let (send, read) = (send.clone(), &read);
            // The receiver is gone only if the terminal could not be written to; then nobody waits for this answer.
            scope.spawn(move || drop(send.send((one, read(one)))));
        }
        drop(send);
        for (one, found) in results {
            let name = one.listed().map_or("", |listed| listed.name.as_str());
            if !terminal.json {
                terminal.line(&format!("== {name} =="))?;
            }
            match found {
                Ok(found) => InboxPrinter::new(args, one, terminal).print(found)?,
                Err(failure) => {
                    exit = failure.exit;
                    match terminal.json {
                        true => terminal.object(&json!({"boundary": name, "error": failure.message}))?,
                        false => terminal.say(&format!("{name}: {failure}")),
                    }
                }
            }
        }
        Ok(exit)
    })
}

fn one_boundary(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> Result<Exit, CommandFailure> {
    let reader = InboxReader::open(args, global, terminal)?;
    let mut printer = InboxPrinter::new(args, global, terminal);
    let mut unreachable = false;
    let mut news = None;
    loop {
        match reader.read(!terminal.json) {
            Ok(found) => {
                unreachable = false;
                printer.print(found)?;
            }
            // The boundary may be restarting, so `--watch` continues.
            Err(failure) if args.watch && failure.exit == Exit::Unreachable => {
                if !std::mem::replace(&mut unreachable, true) {
                    terminal.say(&format!("{failure}; trying on"));
                }
            }
            Err(failure) => return Err(failure),
        }
        if !args.watch {
            return Ok(Exit::Done);
        }
        // After the first look, the copy of the client has its bearer, so it asks for no passphrase.
        match news.get_or_insert_with(|| follow_news(reader.client.clone())).recv_timeout(LOOK_AGAIN) {
            Ok(()) => std::thread::sleep(SETTLE),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(EVERY),
        }
    }
}

/// Reads the events of the boundary in a thread. The receiver gets a value after each event, or one for several events. It
/// is disconnected if the boundary has no events, because its version is older.
fn follow_news(client: Client) -> Receiver<()> {
    let (sender, news) = sync_channel(1);
    std::thread::spawn(move || {
        let mut after = None;
        loop {
            match client.lines("/v1/events", after) {
                Ok(mut lines) => {
                    // Something may have happened before the stream began.
                    let _ = sender.try_send(());
                    while let Ok(Some(event)) = next_line(&mut lines) {
                        after = event["seq"].as_u64().or(after);
                        if let Err(TrySendError::Disconnected(())) = sender.try_send(()) {
                            return;
                        }
                    }
                }
                Err(failure) if failure.has_code(Code::NotFound) && after.take().is_none() => return,
                Err(_) => {}
            }
            std::thread::sleep(EVERY);
        }
    });
    news
}

/// What one look at a boundary finds.
struct InboxReading {
    waiting: Vec<ProposalView>,
    ended: Vec<ProposalView>,
    approved: Vec<ProposalView>,
    grants: Vec<GrantView>,
    frozen: Option<FreezeView>,
}

/// Reads the proposals of one boundary.
struct InboxReader {
    client: Client,
    /// The approver whose proposals are wanted. `None` means all proposals.
    mine: Option<Approver>,
}

impl InboxReader {
    fn open(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> Result<Self, CommandFailure> {
        let client = global.reviewer(&args.key, terminal)?;
        let mine =
            if args.all { None } else { Some(myself(&args.key.find()?, &global.trust(&args.trust).find()?, &client)?) };
        Ok(Self { client, mine })
    }

    fn read(&self, with_approved: bool) -> Result<InboxReading, CommandFailure> {
        let mut waiting = list(&self.client, &[("status", "pending")])?;
        waiting.retain(|view| self.mine.as_ref().is_none_or(|mine| view.approvals.need(mine)));
        // A failed request must not prevent the list of pending proposals.
        let approved = with_approved.then(|| list(&self.client, &[("status", "approved")]).unwrap_or_default());
        let grants = waiting_grants(&self.client, self.mine.as_ref());
        Ok(InboxReading {
            waiting,
            ended: ended(&self.client),
            approved: approved.unwrap_or_default(),
            grants,
            frozen: freeze_of(&self.client),
        })
    }
}

/// Prints what the looks at one boundary find, each proposal once.
struct InboxPrinter<'a> {
    args: &'a Args,
    global: &'a GlobalOptions,
    terminal: &'a Terminal,
    seen: BTreeSet<ProposalId>,
    held_up: BTreeSet<(ProposalId, Code)>,
    told: BTreeSet<ProposalId>,
    grants: BTreeSet<String>,
    /// Log entry of the freeze that was told.
    frozen: Option<u64>,
    headed: bool,
}

impl<'a> InboxPrinter<'a> {
    fn new(args: &'a Args, global: &'a GlobalOptions, terminal: &'a Terminal) -> Self {
        let (seen, held_up, told, grants, frozen) = Default::default();
        Self { args, global, terminal, seen, held_up, told, grants, frozen, headed: false }
    }

    fn print(&mut self, found: InboxReading) -> Result<(), CommandFailure> {
        let InboxReading { waiting, ended, approved, grants, frozen } = found;
        let (args, terminal) = (self.args, self.terminal);
        let before = std::mem::replace(&mut self.frozen, frozen.as_ref().map(|freeze| freeze.index));
        if let Some(freeze) = frozen.as_ref().filter(|freeze| !terminal.json && before != Some(freeze.index)) {
            eprintln_quietly(freeze_words(freeze).as_str());
        }
        if !terminal.json {
            tell_held_up(&approved, &mut self.held_up, terminal);
            // The newest is last, as in the list.
            for view in ended.iter().rev().filter(|view| self.told.insert(view.id.clone())) {
                eprintln_quietly(ended_words(view).as_str());
            }
        }
        if terminal.json && !args.watch {
            let mut object = json!({ "proposals": waiting, "ended": ended, "grants": grants });
            if let Some(freeze) = &frozen {
                object["frozen"] = json!(freeze);
            }
            if let Some(listed) = self.global.listed() {
                object["boundary"] = json!(listed.name);
            }
            terminal.object(&object)?;
        }
        if waiting.is_empty() && grants.is_empty() && !args.watch && !terminal.json {
            terminal.say("nothing waits for your signature");
        }
        for view in grants.iter().filter(|view| !terminal.json && self.grants.insert(view.id.to_string())) {
            terminal.line(&format!("{}; see `countersign approve {}`", grant_words(view).as_str(), view.id))?;
            if args.watch && terminal.err_is_terminal() {
                bell();
            }
        }
        let table = InboxTable::of(&waiting, terminal.width());
        // Print the newest proposal last, because it is then at the end of the output, which the person sees first.
        for view in waiting.iter().rev().filter(|view| self.seen.insert(view.id.clone())) {
            if terminal.json {
                if args.watch {
                    terminal.object(view)?;
                }
            } else {
                if !std::mem::replace(&mut self.headed, true) {
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
        Ok(())
    }
}

/// Reports each approved run that has not started, once and with the reason. Otherwise the approvers may believe that
/// the run has happened.
fn tell_held_up(approved: &[ProposalView], told: &mut BTreeSet<(ProposalId, Code)>, terminal: &Terminal) {
    for view in approved {
        if let Some(why) = &view.held_up
            && told.insert((view.id.clone(), why.code))
        {
            terminal.say(&format!("{}  {} is approved, but {}", ending(view), view.step, held_up_words(why)));
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

/// Returns the freeze of a boundary. A failed request must not prevent the list of pending proposals.
fn freeze_of(client: &Client) -> Option<FreezeView> {
    // The registry can be long, so the program reads it only if the boundary says that it is not ready.
    let is_ready = client.get::<Ready>("/ready").is_ok();
    if is_ready { None } else { client.get::<RegistryView>("/v1/registry").ok()?.frozen }
}

/// Says since when a boundary is frozen, by whom and why.
pub fn freeze_words(freeze: &FreezeView) -> PrintableText {
    let words = format!("FROZEN since {} by {} (log entry {})", freeze.at, freeze.by, freeze.index);
    let reason = person_words([(freeze.by.as_str(), freeze.reason.as_str())]);
    let rest = ": nothing is proposed or run until an operator of the host runs `countersign thaw`";
    PrintableText::text(&words).then(&reason).and(rest)
}

/// Returns the drafts of grants that the signature of this person can advance, or all drafts.
pub fn waiting_grants(client: &Client, mine: Option<&Approver>) -> Vec<GrantView> {
    // A failed request must not prevent the list of pending proposals.
    let mut grants = client.get::<GrantList>("/v1/grants").map(|list| list.grants).unwrap_or_default();
    grants.retain(|view| view.status == GrantStatus::Pending);
    grants.retain(|view| mine.is_none_or(|mine| view.approvals.need(mine)));
    grants
}

/// Returns the line for a grant that needs a signature.
pub fn grant_words(view: &GrantView) -> PrintableText {
    let grant = &view.grant;
    let steps: Vec<&str> = grant.steps.iter().map(|step| step.reference.as_str()).collect();
    PrintableText::text(&format!(
        "STANDING GRANT for {}: {} runs of {} until {}",
        grant.grantee.name,
        grant.max_uses,
        steps.join(", "),
        grant.expires_at
    ))
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
    use crate::commands::inbox_table::tests::view;

    #[test]
    fn the_inbox_lists_only_proposals_that_need_the_signature_of_the_person() {
        let mine: Approver =
            serde_json::from_value(json!({"name": "alice", "groups": ["ops"], "keys": []})).expect("approver");
        assert!(view(&["ops", "sec"], &["bob"], &["carol"]).approvals.need(&mine));
        assert!(!view(&["sec"], &[], &[]).approvals.need(&mine), "another group is needed");
        assert!(!view(&["ops"], &["alice"], &[]).approvals.need(&mine), "signed already");
        assert!(!view(&["ops"], &[], &["alice"]).approvals.need(&mine), "owner of the proposer");
        assert!(!view(&[], &["bob"], &[]).approvals.need(&mine), "nobody is needed");
    }
}
