//! The `inbox` command lists the proposals that need this person's signature.
//!
//! The command asks the chosen boundary, or every boundary of the list at the same time.

use std::{
    collections::BTreeSet,
    io::Write as _,
    process::{Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, TrySendError, channel, sync_channel},
    time::Duration,
};

use serde::Serialize;
use serde_json::json;

use crate::{
    BoundaryChoice, ChosenTrust, Client, CommandFailure, CommandResult, Exit, GlobalOptions,
    KeyArgs, Keys, PrintableText, ProposalFilterArgs, RevokingBoundary, Terminal, TrustArgs,
    commands::inbox_table::{ending, inbox_table},
    denial_words, eprintln_quietly, held_up_words, now, person_words,
    remote::{follow_run::next_line, proposals::list},
};
use documents::{Code, RosteredApprover, joined};
use verdict::TrustedRoster;
use wire::{
    FreezeView, GrantList, GrantStatus, GrantView, ProposalList, ProposalStatus, ProposalView,
    Ready, RegistryView,
};

/// List the pending proposals that your signature can advance: those that still need an approver of one of your groups.
/// Approved runs that cannot start, proposals that were denied or refused in their window, and a freeze are reported too.
#[derive(clap::Args)]
#[command(
    after_help = "Each line has the last digits of the id, the step, its parameters, the proposer, the number of \
signatures, the remaining time, and after `!` the most important remark of a review.

Examples:
  countersign inbox
  countersign inbox --watch                                     with a bell for each new proposal
  countersign inbox --watch --exec 'notify-send \"to sign: $COUNTERSIGN_PROPOSAL\"'
  countersign inbox --all                                       also proposals that you can't advance
  countersign inbox --step 'db/**' --by deploy-bot              only these steps, only of this proposer
  countersign inbox --boundary all                              of each boundary in your list

In a narrow terminal, the column WITH begins and ends with what differs between the proposals of a step."
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
    /// List only what your signature can advance, without reports of proposals that ended or can't start
    #[arg(long, conflicts_with = "all")]
    mine: bool,
    #[command(flatten)]
    filter: ProposalFilterArgs,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    key: KeyArgs,
}

/// Pause between two looks with `--watch`, if the boundary sends no events.
const EVERY: Duration = Duration::from_secs(2);
/// Longest pause between two looks. The boundary sends no event about the reason why an approved run can't start.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// Pause after an event, because one action causes several events.
const SETTLE: Duration = Duration::from_millis(50);

/// Lists the pending proposals once, or repeatedly until the program is stopped.
///
/// # Errors
/// Returns an error if the boundary cannot be reached, or if this person is no approver.
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
    let mut headed = None;
    let show = |one: &GlobalOptions, found| print(args, one, found, &mut headed, terminal);
    for_chosen(
        global,
        terminal,
        |one, tell| look(args, one, terminal, tell),
        show,
    )
}

/// Looks at a boundary once and passes the result to `tell`. With `--watch`, the function looks repeatedly and passes
/// each result that has something new.
fn look(
    args: &Args,
    global: &GlobalOptions,
    terminal: &Terminal,
    tell: &mut Tell<'_, InboxReading>,
) -> CommandResult<()> {
    let mut reader = None;
    let mut unreachable = false;
    let mut news = None;
    loop {
        let found = match &mut reader {
            None => InboxReader::open(args, global, terminal)
                .and_then(|opened| reader.insert(opened).read()),
            Some(reader) => reader.read(),
        };
        match found {
            Ok(found) => {
                unreachable = false;
                if !args.watch || found.is_new {
                    tell(found)?;
                }
            }
            // The boundary may be restarting, so `--watch` continues.
            Err(failure) if args.watch && failure.exit == Exit::Unreachable => {
                if !std::mem::replace(&mut unreachable, true) {
                    terminal.say(format!("{}: {failure}; trying on", global.shown_name()));
                }
            }
            Err(failure) => return Err(failure),
        }
        if !args.watch {
            return Ok(());
        }
        // After the first look, the copy of the client has its bearer, so it asks for no passphrase.
        let followed = reader
            .as_ref()
            .map(|reader| news.get_or_insert_with(|| follow_news(reader.client.clone())));
        match followed.map(|news| news.recv_timeout(LOOK_AGAIN)) {
            Some(Ok(())) => std::thread::sleep(SETTLE),
            Some(Err(RecvTimeoutError::Timeout)) => {}
            Some(Err(RecvTimeoutError::Disconnected)) | None => std::thread::sleep(EVERY),
        }
    }
}

/// Reads the events of the boundary in a thread. The receiver gets a value after each event, or one for several events.
/// The receiver is disconnected if the boundary is an older version, which has no events.
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
                Err(failure) if failure.has_code(Code::NotFound) && after.take().is_none() => {
                    return;
                }
                Err(_) => {}
            }
            std::thread::sleep(EVERY);
        }
    });
    news
}

/// Result of a look at a boundary, without what was reported before.
struct InboxReading {
    /// True if the result has something new.
    is_new: bool,
    /// The heading of the table of the pending proposals.
    heading: String,
    /// The pending proposals with their rows, newest first.
    waiting: Vec<(ProposalView, String)>,
    ended: Vec<ProposalView>,
    approved: Vec<ProposalView>,
    grants: Vec<GrantView>,
    frozen: Option<FreezeView>,
}

/// Reads the proposals of one boundary, and remembers what was reported.
struct InboxReader<'a> {
    args: &'a Args,
    terminal: &'a Terminal,
    client: Client,
    /// The approver whose proposals are wanted. `None` means all proposals.
    mine: Option<RosteredApprover>,
    /// Ids of what was reported, each with a word for its kind.
    told: BTreeSet<String>,
}

impl<'a> InboxReader<'a> {
    fn open(args: &'a Args, global: &GlobalOptions, terminal: &'a Terminal) -> CommandResult<Self> {
        let client = global.reviewer(&args.key, terminal)?;
        let mine = if args.all {
            None
        } else {
            Some(myself(
                &args.key.find()?,
                &global.trust(&args.trust).find()?,
                &client,
            )?)
        };
        Ok(Self {
            args,
            terminal,
            client,
            mine,
            told: BTreeSet::new(),
        })
    }

    fn read(&mut self) -> CommandResult<InboxReading> {
        let (client, filter, before) = (&self.client, &self.args.filter, self.told.len());
        let takes = |view: &ProposalView| filter.takes(view.step.as_str(), &view.proposer);
        let mut waiting = waiting_proposals(client, self.mine.as_ref())?;
        waiting.retain(takes);
        let (heading, rows) = inbox_table(&waiting, self.terminal.width);
        let waiting = waiting.into_iter().zip(rows);
        let waiting = waiting
            .filter(|(view, _)| self.told.insert(format!("pending {}", view.id)))
            .collect();
        let (mut ended, mut approved) = (Vec::new(), Vec::new());
        if !self.args.mine {
            ended = ended_proposals(client);
            ended.retain(|view| takes(view) && self.told.insert(format!("ended {}", view.id)));
            // A failed request must not prevent the list of pending proposals.
            approved = list(client, &[("status", "approved")]).unwrap_or_default();
            approved.retain(|view| {
                let why = view.held_up.as_ref().filter(|_| takes(view));
                why.is_some_and(|why| self.told.insert(format!("{} {}", why.code, view.id)))
            });
        }
        let mut grants = waiting_grants(client, self.mine.as_ref());
        grants.retain(|view| {
            let mut steps = view.grant.steps.iter();
            steps.any(|step| filter.takes(step.reference.as_str(), view.grant.grantee.name()))
                && self.told.insert(view.id.to_string())
        });
        let frozen =
            freeze_of(client).filter(|freeze| self.told.insert(format!("frozen {}", freeze.index)));
        Ok(InboxReading {
            is_new: self.told.len() > before,
            heading,
            waiting,
            ended,
            approved,
            grants,
            frozen,
        })
    }
}

/// Prints what a look at a boundary found. `headed` is the address of the boundary whose heading was printed last.
fn print(
    args: &Args,
    one: &GlobalOptions,
    found: InboxReading,
    headed: &mut Option<String>,
    terminal: &Terminal,
) -> CommandResult<()> {
    let InboxReading {
        heading,
        waiting,
        ended,
        approved,
        grants,
        frozen,
        ..
    } = found;
    if terminal.json && !args.watch {
        let proposals: Vec<_> = waiting.iter().map(|(view, _)| view).collect();
        let mut value = json!({ "proposals": proposals, "ended": ended, "grants": grants });
        if let Some(freeze) = &frozen {
            value["frozen"] = json!(freeze);
        }
        object(one, &value, terminal)?;
    }
    if !terminal.json {
        if let Some(freeze) = &frozen {
            eprintln_quietly(&freeze_words(freeze));
        }
        // Report approved runs that can't start, because otherwise the approvers may believe that the run has happened.
        for view in &approved {
            if let Some(why) = &view.held_up {
                terminal.say(format!(
                    "{}  {} is approved, but {}",
                    ending(view),
                    view.step,
                    held_up_words(why)
                ));
            }
        }
        // The newest is last, as in the list.
        for view in ended.iter().rev() {
            eprintln_quietly(&ended_words(view));
        }
        if waiting.is_empty() && grants.is_empty() && !args.watch {
            terminal.say("nothing waits for your signature");
        }
    }
    let bell = || {
        if args.watch && terminal.err_is_terminal {
            let _ = std::io::stderr().write_all(b"\x07");
        }
    };
    for view in grants.iter().filter(|_| !terminal.json) {
        terminal.line(format!(
            "{}; see `countersign approve {}`",
            grant_words(view),
            view.id
        ))?;
        bell();
    }
    // Print the newest proposal last, because it is then at the end of the output, which the person sees first.
    for (view, row) in waiting.iter().rev() {
        if !terminal.json {
            if headed
                .replace(one.url.clone())
                .is_none_or(|before| before != one.url)
            {
                terminal.line(&heading)?;
            }
            terminal.line(row)?;
        } else if args.watch {
            object(one, view, terminal)?;
        }
        bell();
        if let Some(command) = &args.exec {
            exec(command, view, terminal);
        }
    }
    Ok(())
}

/// Returns the newest denied and refused proposals whose window is still open. An approver may still search for them.
fn ended_proposals(client: &Client) -> Vec<ProposalView> {
    // A failed request must not prevent the list of pending proposals.
    let newest = |status: &str| {
        client.get::<ProposalList>(&format!("/v1/proposals?status={status}&limit={MOST_ENDED}"))
    };
    let found = ["denied", "refused"]
        .iter()
        .filter_map(|status| newest(status).ok());
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
    if is_ready {
        None
    } else {
        client.get::<RegistryView>("/v1/registry").ok()?.frozen
    }
}

/// Says since when a boundary is frozen, by whom and why.
pub fn freeze_words(freeze: &FreezeView) -> PrintableText {
    let words = format!(
        "FROZEN since {} by {} (log entry {})",
        freeze.at, freeze.by, freeze.index
    );
    let reason = person_words([(freeze.by.as_str(), freeze.reason.as_str())]);
    let rest = ": nothing is proposed or run until an operator of the host runs `countersign thaw`";
    PrintableText::text(&words).then(&reason).and(rest)
}

/// Returns the pending proposals that the signature of this person can advance, or all pending proposals.
///
/// # Errors
/// Returns an error if the boundary cannot be reached.
pub fn waiting_proposals(
    client: &Client,
    mine: Option<&RosteredApprover>,
) -> CommandResult<Vec<ProposalView>> {
    let mut waiting = list(client, &[("status", ProposalStatus::Pending.word())])?;
    waiting.retain(|view| mine.is_none_or(|mine| view.approvals.need(mine)));
    Ok(waiting)
}

/// Returns the drafts of grants that the signature of this person can advance, or all drafts.
pub fn waiting_grants(client: &Client, mine: Option<&RosteredApprover>) -> Vec<GrantView> {
    // A failed request must not prevent the list of pending proposals.
    let mut grants = client
        .get::<GrantList>("/v1/grants")
        .map(|list| list.grants)
        .unwrap_or_default();
    grants.retain(|view| view.status == GrantStatus::Pending);
    grants.retain(|view| mine.is_none_or(|mine| view.approvals.need(mine)));
    grants
}

/// Returns the line for a grant that needs a signature.
pub fn grant_words(view: &GrantView) -> PrintableText {
    let grant = &view.grant;
    let steps = grant.steps.iter().map(|step| &step.reference);
    PrintableText::text(&format!(
        "STANDING GRANT for {}: {} runs of {} until {}",
        grant.grantee,
        grant.max_uses,
        joined(steps, ", "),
        grant.expires_at
    ))
}

/// Describes how a proposal ended, with the words of the people who denied it.
fn ended_words(view: &ProposalView) -> PrintableText {
    let why = match &view.refusal {
        Some(why) if view.status == ProposalStatus::Refused => format!("refused ({})", why.code),
        Some(why) => why.detail.clone(),
        None => view.status.to_string(),
    };
    PrintableText::text(&format!("{}  {} was {why}", ending(view), view.step))
        .then(denial_words(&view.denials))
}

/// Maximum number of ended proposals that the command reports.
const MOST_ENDED: usize = 5;

/// Finds the approver with the keys of this user, first in the trusted rosters, then in the roster of the boundary. The
/// untrusted roster of the boundary is sufficient, because a list signs nothing.
///
/// # Errors
/// Returns an error if no key belongs to an approver, or if the roster of the boundary can't be read.
pub fn myself(
    keys: &Keys,
    trust: &[ChosenTrust],
    client: &Client,
) -> CommandResult<RosteredApprover> {
    let ids = keys.ids();
    let find = |roster: &TrustedRoster| {
        ids.iter()
            .find_map(|keyid| roster.approver_of(keyid))
            .map(|(approver, _)| approver.clone())
    };
    if let Some(mine) = trust.iter().find_map(|trust| find(trust.roster()?)) {
        return Ok(mine);
    }
    let roster = RevokingBoundary::read(client)?.roster;
    find(&roster).ok_or_else(|| {
        let ids = joined(&ids, ", ");
        CommandFailure::usage(format!(
            "none of your keys ({ids}) is the key of an approver in roster version {}: name \
        your key with --key FILE, ask to \
             be added, or list --all",
            roster.version()
        ))
    })
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
        Ok(status) => terminal.say(format!("--exec for {}: {status}", view.id)),
        Err(error) => terminal.say(format!("--exec can't be run: {error}")),
    }
}

/// Longest time for an answer of one of several boundaries to a request that only reads, unless the options set another
/// limit. The limit leaves time for the start of the program, so that a command ends within ten seconds if a boundary
/// does not answer.
pub const PATIENCE: Duration = Duration::from_millis(9700);

/// Function that takes a result of a boundary. Returns an error if the result can't be shown.
pub type Tell<'t, T> = dyn FnMut(T) -> CommandResult<()> + 't;

/// Asks each of these boundaries in a thread of its own. `take` gets each result when it arrives, so a boundary that does not
/// answer delays no other.
///
/// # Errors
/// Returns the error of `take`.
pub fn ask_each<T: Send>(
    all: &[GlobalOptions],
    ask: impl Fn(&GlobalOptions, &mut Tell<'_, T>) -> CommandResult<()> + Sync,
    mut take: impl FnMut(&GlobalOptions, CommandResult<T>) -> CommandResult<()>,
) -> CommandResult<()> {
    let (send, results) = channel();
    std::thread::scope(|scope| {
        for one in all {
            let (send, ask) = (send.clone(), &ask);
            scope.spawn(move || {
                let limited = GlobalOptions {
                    patience: one.patience.or(Some(PATIENCE)),
                    ..one.clone()
                };
                // The receiver is gone only if the output can't be written. Then nobody reads this error.
                let mut tell = |found| {
                    send.send((one, Ok(found)))
                        .map_err(|_| CommandFailure::usage("the output is closed"))
                };
                if let Err(failure) = ask(&limited, &mut tell) {
                    let _ = send.send((one, Err(failure)));
                }
            });
        }
        drop(send);
        results
            .into_iter()
            .try_for_each(|(one, found)| take(one, found))
    })
}

/// Asks the chosen boundary, or every boundary of the list, and shows each result when it arrives. If every boundary is
/// asked, a heading names each boundary, and a failure is printed and does not stop the others. The result then has the
/// highest exit code of all failures.
///
/// # Errors
/// Returns the error of one chosen boundary, an error if the list can't be used, or the error of `show`.
pub fn for_chosen<T: Send>(
    global: &GlobalOptions,
    terminal: &Terminal,
    ask: impl Fn(&GlobalOptions, &mut Tell<'_, T>) -> CommandResult<()> + Sync,
    mut show: impl FnMut(&GlobalOptions, T) -> CommandResult<()>,
) -> CommandResult {
    if !matches!(global.choice, BoundaryChoice::All) {
        return ask(global, &mut |found| show(global, found)).map(|()| Exit::Done);
    }
    let (mut exit, mut headed) = (Exit::Done, String::new());
    ask_each(&global.for_all_listed()?, ask, |one, found| {
        let name = one.shown_name();
        if !terminal.json && headed != name {
            terminal.line(format!("== {name} =="))?;
            name.clone_into(&mut headed);
        }
        match found {
            Ok(found) => show(one, found),
            Err(failure) => tell_failure(("boundary", name), failure, &mut exit, terminal),
        }
    })?;
    Ok(exit)
}

/// Like [`for_chosen`], for a command that reads one document of each boundary. Without `--json`, `text` prints the
/// document.
///
/// # Errors
/// Returns the errors of [`for_chosen`].
pub fn show_chosen<T: Send + Serialize>(
    global: &GlobalOptions,
    terminal: &Terminal,
    read: impl Fn(&GlobalOptions) -> CommandResult<T> + Sync,
    text: impl Fn(&GlobalOptions, T) -> CommandResult<()>,
) -> CommandResult {
    let show = |one: &GlobalOptions, found| {
        if terminal.json {
            object(one, &found, terminal)
        } else {
            text(one, found)
        }
    };
    for_chosen(global, terminal, |one, tell| tell(read(one)?), show)
}

/// Prints a JSON object, with the name that its boundary has in the list.
///
/// # Errors
/// Returns an error if the standard output cannot be written.
pub fn object(
    one: &GlobalOptions,
    value: &impl Serialize,
    terminal: &Terminal,
) -> CommandResult<()> {
    let mut value = json!(value);
    if let Some(listed) = one.listed() {
        value["boundary"] = json!(listed.name);
    }
    terminal.object(&value)
}

/// Prints the failure of one of several subjects, for example of a boundary, and keeps the highest exit code.
///
/// # Errors
/// Returns an error if the standard output cannot be written.
pub fn tell_failure(
    (kind, name): (&str, &str),
    failure: CommandFailure,
    exit: &mut Exit,
    terminal: &Terminal,
) -> CommandResult<()> {
    if failure.quiet {
        return Err(failure);
    }
    if failure.exit.code() > exit.code() {
        *exit = failure.exit;
    }
    let value = json!({kind: name, "error": failure.message});
    terminal.report(value, format!("{name}: {failure}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::inbox_table::tests::view;

    #[test]
    fn the_inbox_lists_only_proposals_that_need_the_signature_of_the_person() {
        let mine = RosteredApprover {
            name: "alice".parse().expect("a name"),
            entry: serde_json::from_value(json!({"groups": ["ops"], "keys": []}))
                .expect("approver"),
        };
        assert!(
            view(&["ops", "sec"], &["bob"], &["carol"])
                .approvals
                .need(&mine)
        );
        assert!(
            !view(&["sec"], &[], &[]).approvals.need(&mine),
            "another group is needed"
        );
        assert!(
            !view(&["ops"], &["alice"], &[]).approvals.need(&mine),
            "signed already"
        );
        assert!(
            !view(&["ops"], &[], &["alice"]).approvals.need(&mine),
            "owner of the proposer"
        );
        assert!(
            !view(&[], &["bob"], &[]).approvals.need(&mine),
            "nobody is needed"
        );
    }
}
