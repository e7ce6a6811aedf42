//! The health report for operators. The report states whether the boundary accepts and runs proposals.
//!
//! [`SeenNodes`] has the nodes of the boundary, as this node reads them from the database every few seconds.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock, Weak},
    time::{Duration, Instant},
};

use crate::{Caller, DataGrowth, MeasuredGrowth, Witnessing};
use crossing::{Crossing, Freeze, ListsOnHost, RequestResult, Sealed, SecretPermits};
use documents::{Name, RevokedSubject, Scope, StepRef, Timestamp, first_of, joined, locked};
use reading::FileProblem;
use sandbox::{LinuxSandbox, Unavailable, missing_interpreter};
use store::{
    Ledger, NodeState, NodesReader, NodesReport, ReadRole, Replicas, RoleState, StoreFault,
};
use verdict::{
    EligibleApprovers, ExcludedSigners, QuorumRules, Revocations, StepInForce, StepsInForce,
    Tokens, exclusion, parse_scripts,
};
use wire::{FreezeView, NodeView, NodesView, Ready, RosterView};

/// Maximum number of skipped runbooks that the notes name, because every answer of `/ready` contains the notes.
const MOST_SKIPPED: usize = 20;
/// The report has a note if the space on the disk lasts for fewer days.
const SHORT_DAYS: u64 = 14;

/// Where notes come from. The report has the notes in this order.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub enum NoteSource {
    /// The start of the service.
    Start,
    /// The listener of the service.
    Listener,
    /// Files that differ from the state in force. A seal of the files replaces these notes.
    Files,
    /// Versions of the roster that are newer than the version in force.
    Rosters,
    /// Problems of the certificate of the service.
    Certificate,
    /// Reason why the last attempt to reseal failed.
    Reseal,
    /// Reason why old log entries are not packed.
    Packing,
    /// Difference between the runbooks and the seal, if the service reports differences instead of sealing them.
    Runbooks,
    /// Runbooks that the seal in force leaves out because of an error.
    Skipped,
    /// Parts of the seal in force that do not work on this host.
    Seal,
}

/// Notes for the operator.
#[derive(Default)]
pub struct HealthNotes(Mutex<Differences>);

#[derive(Default)]
struct Differences {
    of: BTreeMap<NoteSource, Vec<String>>,
    /// Version of the roster with which newer versions were compared.
    compared: u64,
    /// Steps of the seal in force that this host can't run, each with the reason.
    beyond: BTreeMap<StepRef, String>,
}

impl Differences {
    /// Stores the notes of a source in place of its earlier notes. Returns the notes that are new.
    fn set(&mut self, source: NoteSource, notes: Vec<String>) -> Vec<String> {
        let before = self.of.insert(source, notes.clone()).unwrap_or_default();
        let is_new = |note: &String| !before.contains(note);
        notes.into_iter().filter(is_new).collect()
    }
}

/// The health report for operators.
pub struct Health {
    pub crossing: Arc<Crossing>,
    pub ledger: Ledger,
    pub sandbox: Arc<LinuxSandbox>,
    pub witnesses: Arc<Witnessing>,
    pub growth: Arc<DataGrowth>,
    pub notes: HealthNotes,
    /// The nodes, and the role of this node. Unset with a store in a file.
    pub nodes: OnceLock<(Arc<SeenNodes>, Arc<ReadRole>)>,
}

impl Health {
    /// Returns the growth of the data, and the number of days for which the disk has space at this growth. With a
    /// database server, the number is `None`.
    pub fn growth(&self) -> Option<(MeasuredGrowth, Option<u64>)> {
        let growth = self.growth.measured(self.crossing.now())?;
        Some((
            growth,
            self.crossing
                .capacity()
                .free_for_data()
                .map(|free| growth.lasts_days(free)),
        ))
    }

    fn growth_note(&self) -> Option<String> {
        let (growth, days) = self.growth()?;
        let days = days.filter(|days| *days < SHORT_DAYS)?;
        Some(format!(
            "the disk of the store has space for {days} more days at {growth}: enlarge the disk, or keep outputs for a shorter time ([retention])"
        ))
    }

    /// Stores the nodes, and the role of this node.
    pub fn set_nodes(&self, nodes: Arc<SeenNodes>, role: Arc<ReadRole>) {
        let _ = self.nodes.set((nodes, role));
    }

    /// Returns the nodes, or `None` with a store in a file.
    pub fn nodes(&self) -> Option<&SeenNodes> {
        self.nodes.get().map(|(nodes, _)| &**nodes)
    }

    /// Returns the reasons why this active node can start no run: trouble with its role as the active node, or with the
    /// database.
    fn node_trouble(&self) -> Vec<String> {
        let Some((nodes, role)) = self.nodes.get() else {
            return Vec::new();
        };
        let of_role = match role() {
            RoleState::Held => None,
            RoleState::Unconfirmed(why) => Some(format!("no run starts now: {why}")),
            RoleState::Lost => Some("another node has taken over this boundary".to_owned()),
        };
        of_role.into_iter().chain(nodes.trouble()).collect()
    }

    /// Stores the notes of a source in place of its earlier notes. Returns the notes that are new.
    pub fn set(&self, source: NoteSource, notes: impl IntoIterator<Item = String>) -> Vec<String> {
        locked(&self.notes.0).set(source, notes.into_iter().collect())
    }

    /// Stores the runbooks that the seal in force leaves out, each with its first error. Returns the notes about them.
    pub fn set_skipped(&self, skipped: &[FileProblem]) -> Vec<String> {
        let first = skipped.iter().take(MOST_SKIPPED);
        let mut notes: Vec<String> = first
            .map(|error| format!("a runbook is skipped, so its steps can't be proposed: {error}"))
            .collect();
        if let Some(more @ 1..) = skipped.len().checked_sub(MOST_SKIPPED) {
            notes.push(format!(
                "{more} more runbooks are skipped: `countersign registry check DIR` names them"
            ));
        }
        for note in self.set(NoteSource::Skipped, notes.clone()) {
            tracing::warn!("{note}");
        }
        notes
    }

    /// Stores the notes about new roster versions that still lack signatures. Approvers may sign these versions while
    /// the service runs. `in_force` is the version with which the new versions were compared. When another version
    /// comes into force, the notes are no longer shown.
    pub fn set_roster_notes(&self, in_force: u64, notes: Vec<String>) {
        let mut kept = locked(&self.notes.0);
        kept.compared = in_force;
        kept.set(NoteSource::Rosters, notes);
    }

    /// Stores the problems of the certificate of the service. The service's log gets a line for each new problem, and a
    /// line when no problem is left.
    pub fn set_certificate_notes(&self, notes: Vec<String>) {
        let is_sound = notes.is_empty();
        let was_sound = self.of(&[NoteSource::Certificate]).is_empty();
        for note in self.set(NoteSource::Certificate, notes) {
            tracing::error!("{note}");
        }
        if is_sound && !was_sound {
            tracing::info!("the certificate of the service has no problem any more");
        }
    }

    /// Returns all notes. Notes about rosters are left out if they were compared with an earlier version of the roster.
    pub fn notes(&self) -> Vec<String> {
        let in_force = self.crossing.state().roster.version();
        let kept = locked(&self.notes.0);
        let of = kept
            .of
            .iter()
            .filter(|(source, _)| **source != NoteSource::Rosters || kept.compared == in_force);
        of.flat_map(|(_, notes)| notes).cloned().collect()
    }

    fn of(&self, sources: &[NoteSource]) -> Vec<String> {
        let kept = locked(&self.notes.0);
        let of = sources.iter().filter_map(|source| kept.of.get(source));
        of.flatten().cloned().collect()
    }

    /// Returns the notes that require an action of the operator (a certificate that can't be used, a failed reseal,
    /// damaged log entries, or steps whose proposals are refused).
    pub fn must_fix(&self) -> Vec<String> {
        self.of(&[
            NoteSource::Certificate,
            NoteSource::Reseal,
            NoteSource::Packing,
            NoteSource::Seal,
        ])
    }

    /// Finds the steps of the seal in force that this host can't run and the steps whose quorum can't be met. The
    /// service reports these steps in its log, in `/ready` and in `doctor`. The boundary refuses a proposal for such a
    /// step before an approver signs it.
    pub fn note_seal(&self) -> Vec<String> {
        let sealed = self.crossing.state();
        let beyond = steps_beyond_the_host(sealed.steps(), &self.sandbox, self.crossing.secrets());
        let mut notes = notes_of(&beyond);
        let revoked = self.crossing.revoked();
        notes.extend(notes_about_people(&sealed, &revoked, self.crossing.now()));
        notes.extend(sealed.bounds().notes());
        let new = {
            let mut kept = locked(&self.notes.0);
            kept.beyond = beyond;
            kept.set(NoteSource::Seal, notes.clone())
        };
        for note in new {
            tracing::warn!("{note}");
        }
        notes
    }

    pub fn beyond_the_host(&self) -> BTreeMap<StepRef, String> {
        locked(&self.notes.0).beyond.clone()
    }

    /// Returns the freeze, if the boundary is frozen.
    ///
    /// # Errors
    /// Returns a fault if the store cannot be read.
    pub fn frozen(&self) -> RequestResult<Option<FreezeView>> {
        let view = |Freeze {
                        entry,
                        at,
                        by,
                        reason,
                    }| FreezeView {
            index: entry,
            at,
            by,
            reason,
        };
        Ok(self.crossing.frozen()?.map(view))
    }

    /// Returns the health report: whether the boundary accepts and runs proposals, and notes for the operator.
    pub fn ready(&self) -> Ready {
        let probe = self.sandbox.probe();
        let sealed = self.crossing.state();
        let missing: Vec<_> = sealed
            .configuration
            .sandbox
            .require
            .iter()
            .filter(|layer| !probe.held().contains(layer))
            .collect();
        let mut notes = self.notes();
        for layer in &missing {
            let why = probe
                .layers
                .iter()
                .find(|state| state.layer == **layer)
                .and_then(|state| state.missing.as_ref());
            let why = why.map_or_else(
                || "this version does not contain the layer".to_owned(),
                |why| format!("{}; {}", why.why, why.knob),
            );
            notes.push(format!("the sandbox layer {layer} is missing: {why}"));
        }
        let (clock, disk) = (
            self.ledger.clock_trouble(),
            self.crossing.capacity().disk_trouble(),
        );
        let open = self.crossing.capacity().takes_requests();
        let of_nodes = self.node_trouble();
        let frozen = frozen_note(&sealed, &self.crossing.revoked());
        let works = clock.is_none() && disk.is_none() && of_nodes.is_empty() && frozen.is_none();
        let ready = missing.is_empty() && open && works;
        notes.extend(frozen);
        notes.extend(clock);
        notes.extend(disk);
        notes.extend(self.growth_note());
        notes.extend(of_nodes);
        notes.extend(self.nodes().map(SeenNodes::notes).unwrap_or_default());
        notes.extend(self.crossing.late_receipts().note());
        notes.extend(self.witnesses.notes());
        if !open {
            notes.push("the service is ending".to_owned());
        }
        Ready {
            ready,
            sandbox: probe.level().to_string(),
            seal: sealed.seal.number,
            roster: RosterView {
                version: sealed.roster.version(),
                digest: sealed.roster.digest(),
                guarded: sealed.roster.is_guarded(),
            },
            notes,
            nodes: self.nodes().map(SeenNodes::view),
        }
    }
}

/// Finds the steps that this host can't run, each with the reason.
pub fn steps_beyond_the_host(
    steps: &StepsInForce,
    sandbox: &LinuxSandbox,
    secrets: &SecretPermits,
) -> BTreeMap<StepRef, String> {
    parse_scripts(steps);
    let mut lists = ListsOnHost::default();
    let mut of_the_host = |held: &StepInForce| {
        let unavailable = sandbox
            .check(&held.profile)
            .err()
            .filter(Unavailable::is_of_the_host);
        let step = held.hashed.definition();
        let interpreter = || missing_interpreter(&step.source, &step.interpreter);
        let unlisted = || {
            lists
                .list_of_step(held)
                .err()
                .map(|error| error.to_string())
        };
        let secret = || secrets.objection(step);
        unavailable
            .map(|unavailable| unavailable.to_string())
            .or_else(interpreter)
            .or_else(unlisted)
            .or_else(secret)
    };
    steps
        .iter()
        .filter_map(|(reference, held)| Some((reference.clone(), of_the_host(held)?)))
        .collect()
}

/// Returns a note for each reason, with its steps.
pub fn notes_of(beyond: &BTreeMap<StepRef, String>) -> Vec<String> {
    let mut missing: BTreeMap<&str, Vec<&StepRef>> = BTreeMap::new();
    beyond
        .iter()
        .for_each(|(reference, why)| missing.entry(why).or_default().push(reference));
    let note = |(why, steps): (&str, Vec<&StepRef>)| {
        format!("proposals of {} are refused: {why}", some_of(&steps))
    };
    missing.into_iter().map(note).collect()
}

/// Sets of quorum rules, each with its steps.
type StepsByRules<'s> = Vec<(&'s QuorumRules, Vec<&'s StepRef>)>;

/// Groups the steps by their quorum rules. Returns the rules that the eligible approvers can meet, and notes about the
/// steps whose rules nobody can meet.
pub fn unapprovable_steps<'s>(
    eligible: &EligibleApprovers,
    all: impl Iterator<Item = (&'s StepRef, &'s QuorumRules)>,
    now: Timestamp,
) -> (StepsByRules<'s>, Vec<String>) {
    // Many steps have the same rules, so evaluate each set of rules once.
    let mut by_rules: StepsByRules<'s> = Vec::new();
    for (reference, of_step) in all {
        match by_rules.iter_mut().find(|(rules, _)| *rules == of_step) {
            Some((_, steps)) => steps.push(reference),
            None => by_rules.push((of_step, vec![reference])),
        }
    }
    let mut notes = Vec::new();
    by_rules.retain(|(rules, steps)| match eligible.check_reach(rules, |_| false, now, None) {
        Ok(()) => true,
        Err(out) => {
            let steps = some_of(steps);
            notes.push(format!(
                "proposals of {steps} are refused, because nobody can get them approved: {out}; add approvers to the roster, \
                 or ask for fewer approvals"
            ));
            false
        }
    });
    (by_rules, notes)
}

/// Returns notes about the rules of policy for grants, emergencies and unknown ends that the approvers can't meet.
pub fn unmet_people_rules(
    eligible: &EligibleApprovers,
    steps: &StepsInForce,
    now: Timestamp,
) -> Vec<String> {
    let mut unmet: BTreeMap<_, Vec<&StepRef>> = BTreeMap::new();
    for (reference, held) in steps {
        for (key, rule) in held.ruling.people_rules() {
            let Ok(rules) = QuorumRules::combine(None, &rule) else {
                continue;
            };
            if let Err(out) = eligible.check_reach(&rules, |_| false, now, None) {
                unmet
                    .entry((key, out.to_string()))
                    .or_default()
                    .push(reference);
            }
        }
    }
    let advice = "add approvers to the roster, or ask for fewer people";
    let note = |((key, out), steps): (_, Vec<_>)| {
        format!(
            "nobody can meet `{key}` of the policy for {}: {out}; {advice}",
            some_of(&steps)
        )
    };
    unmet.into_iter().map(note).collect()
}

/// Returns notes about steps for which a proposer can't get enough approvals, and about revoked keys in the roster.
pub fn notes_about_people(sealed: &Sealed, revoked: &Revocations, now: Timestamp) -> Vec<String> {
    let eligible = EligibleApprovers::of(&sealed.roster, |keyid| revoked.has_key(keyid));
    let references = sealed
        .registry
        .steps()
        .map(|step| &step.definition.reference);
    let all =
        references.filter_map(|reference| Some((reference, &*sealed.step(reference)?.1.rules)));
    let (by_rules, mut notes) = unapprovable_steps(&eligible, all, now);
    notes.extend(unmet_people_rules(&eligible, sealed.steps(), now));
    // Many proposers may lack approvals for the same reason, so report each reason once.
    let mut by_cause: Vec<Cause<'_>> = Vec::new();
    for (name, proposer) in proposers(sealed) {
        let tokens = Tokens::Sealed(&sealed.tokens, now);
        let Ok(excluded) = exclusion::judge(name, name, tokens, &sealed.roster) else {
            continue;
        };
        for (rules, steps) in &by_rules {
            let steps = steps.iter().copied();
            let steps: Vec<&StepRef> = steps.filter(|step| proposer.reaches(step)).collect();
            if steps.is_empty() {
                continue;
            }
            if let Err(out) = eligible.check_reach(rules, |name| excluded.contains(name), now, None)
            {
                let (out, owners) = (out.to_string(), owners_of(&excluded, name));
                let at = by_cause
                    .iter()
                    .position(|cause| cause.out == out && cause.owners == owners);
                let at = at.unwrap_or_else(|| {
                    by_cause.push(Cause {
                        out,
                        owners,
                        refused: Vec::new(),
                    });
                    by_cause.len() - 1
                });
                let all = &mut by_cause[at].refused;
                match all.last_mut().filter(|(last, _)| *last == name) {
                    Some((_, refused)) => refused.extend(steps),
                    None => all.push((name, steps)),
                }
            }
        }
    }
    notes.extend(by_cause.into_iter().map(
        |Cause {
             out,
             owners,
             refused,
         }| {
            let what: Vec<String> = refused
                .iter()
                .map(|(name, steps)| format!("of {} by {name}", some_of(steps)))
                .collect();
            let who = if let [(name, _)] = &*refused {
                format!("{name} proposes")
            } else {
                "they propose".to_owned()
            };
            let why = in_words(&owners, &who);
            let what = what.join(" and ");
            format!("proposals {what} are refused, because no quorum is possible: {out}; {why}")
        },
    ));
    notes.extend(revoked_in_roster(sealed, revoked));
    notes
}

/// Returns a note if the boundary is frozen.
pub fn frozen_note(sealed: &Sealed, revoked: &Revocations) -> Option<String> {
    let entry = revoked.now().epoch(&sealed.boundary.epoch)?;
    Some(format!(
        "the boundary is frozen since log entry {entry}: run `countersign thaw` on this host to end the freeze"
    ))
}

/// Returns a note for each revoked key that the roster in force still has.
fn revoked_in_roster(sealed: &Sealed, revoked: &Revocations) -> Vec<String> {
    let keys = revoked.iter().filter_map(|(subject, _)| match subject {
        RevokedSubject::Key(keyid) => Some(keyid),
        _ => None,
    });
    let rostered =
        keys.filter_map(|keyid| Some((keyid, sealed.roster.statement_signer(&keyid)?.0)));
    let note = |(keyid, holder): (_, &_)| {
        format!(
            "the key {keyid} of {holder} is revoked: remove it in the next version of the roster"
        )
    };
    rostered.map(note).collect()
}

/// Returns the reason why a proposer has too few approvers, and the next action.
pub fn of_owners(excluded: &ExcludedSigners, proposer: &Name) -> String {
    in_words(
        &owners_of(excluded, proposer),
        &format!("{proposer} proposes"),
    )
}

fn owners_of(excluded: &ExcludedSigners, proposer: &Name) -> Vec<Name> {
    excluded
        .names()
        .iter()
        .filter(|name| *name != proposer)
        .cloned()
        .collect()
}

fn in_words(owners: &[Name], who_proposes: &str) -> String {
    if owners.is_empty() {
        return "add approvers to the roster, or ask for fewer approvals".to_owned();
    }
    format!(
        "{} can't approve what {who_proposes}, because they control the proposer: propose with a token of other \
         owners, or add approvers to the roster",
        joined(owners, ", ")
    )
}

/// Reason why a quorum can't be met, and the proposals that the boundary refuses for this reason.
struct Cause<'s> {
    out: String,
    owners: Vec<Name>,
    refused: Vec<(&'s Name, Vec<&'s StepRef>)>,
}

fn proposers(sealed: &Sealed) -> Vec<(&Name, Caller)> {
    let tokens = sealed
        .tokens
        .iter()
        .filter(|token| token.scopes.contains(&Scope::Propose))
        .map(|token| (&token.name, Caller::of_token(token)));
    let rostered = sealed.roster.tables().proposers.keys();
    tokens
        .chain(rostered.map(|name| (name, Caller::default())))
        .collect()
}

/// Returns the names of the first steps in a list, and the number of the other steps.
pub fn some_of(steps: &[&StepRef]) -> String {
    first_of(steps, MOST_NAMED)
}

/// Maximum number of steps that a note names.
const MOST_NAMED: usize = 5;

/// Pause between two reads, which is also the interval of a node's heartbeats.
const PAUSE: Duration = Duration::from_secs(5);

/// The nodes of the boundary, from the last report of the database.
pub struct SeenNodes {
    me: Name,
    replicas: Replicas,
    last: Mutex<LastReport>,
}

struct LastReport {
    report: Option<NodesReport>,
    /// Time of the report. Before the first report, the time when the reading began.
    at: Instant,
    /// The reason why the last read failed.
    fault: Option<StoreFault>,
}

impl SeenNodes {
    /// Starts a thread that reads the nodes, and that ends after the returned value was dropped. `me` is the name of
    /// this node.
    ///
    /// # Errors
    /// Returns an error if the thread can't be started.
    pub fn watch(me: &Name, replicas: Replicas, reader: NodesReader) -> std::io::Result<Arc<Self>> {
        let last = Mutex::new(LastReport {
            report: None,
            at: Instant::now(),
            fault: None,
        });
        let seen = Arc::new(Self {
            me: me.clone(),
            replicas,
            last,
        });
        let kept = Arc::downgrade(&seen);
        std::thread::Builder::new()
            .name("store-nodes".to_owned())
            .spawn(move || keep_reading(&reader, &kept))?;
        Ok(seen)
    }

    /// Returns the last report, with the present ages of the heartbeats.
    pub fn report(&self) -> Option<NodesReport> {
        let last = locked(&self.last);
        let mut report = last.report.clone()?;
        let since = i64::try_from(last.at.elapsed().as_secs()).unwrap_or(i64::MAX);
        report
            .nodes
            .iter_mut()
            .for_each(|node| node.beat_age_s = node.beat_age_s.saturating_add(since));
        Some(report)
    }

    /// Returns the nodes for `/ready`. The list is empty before the first report.
    pub fn view(&self) -> NodesView {
        let nodes = self.report().map(|report| report.nodes).unwrap_or_default();
        let view = |node: NodeState| NodeView {
            state: node.word().to_owned(),
            name: node.name,
            beat_age_s: node.beat_age_s,
            open_runs: node.open_runs,
        };
        NodesView {
            node: self.me.clone(),
            replicas: self.replicas.to_string(),
            nodes: nodes.into_iter().map(view).collect(),
        }
    }

    /// Returns the reasons why no node can work now: the database does not answer, or a server process hangs.
    pub fn trouble(&self) -> Vec<String> {
        let last = locked(&self.last);
        let age_s = last.at.elapsed().as_secs();
        if age_s >= NodeState::SILENT_S.unsigned_abs() {
            let why = last
                .fault
                .as_ref()
                .map(|fault| format!(": {fault}"))
                .unwrap_or_default();
            return vec![format!("the database has not answered for {age_s} s{why}")];
        }
        last.report
            .as_ref()
            .map(|report| report.hanging.clone())
            .unwrap_or_default()
    }

    /// Returns a note about each other node whose heartbeats are missing.
    pub fn notes(&self) -> Vec<String> {
        let nodes = self.report().map(|report| report.nodes).unwrap_or_default();
        nodes
            .iter()
            .filter(|node| node.name != self.me)
            .filter_map(silence)
            .collect()
    }

    /// Returns the nodes in one line, for a node that stands by.
    pub fn summary(&self) -> String {
        let nodes = self.view().nodes.into_iter();
        let nodes = nodes.map(|node| {
            format!(
                "; {}: {}, last sign {} s ago",
                node.name, node.state, node.beat_age_s
            )
        });
        let trouble = self.trouble().into_iter().map(|why| format!("; {why}"));
        format!(
            "; this node: {}; replicas: {}{}",
            self.me,
            self.replicas,
            nodes.chain(trouble).collect::<String>()
        )
    }
}

/// Returns what to do about a node whose heartbeats are missing.
pub fn silence(node: &NodeState) -> Option<String> {
    let (name, sign) = (&node.name, node.last_sign());
    node.is_silent().then(|| {
        format!(
            "the node {name} is silent ({sign}); start it, or if it will never come back, run `countersign node \
             lost {name}`: otherwise no run starts after a restart of the database"
        )
    })
}

fn keep_reading(reader: &NodesReader, kept: &Weak<SeenNodes>) {
    while let Some(seen) = kept.upgrade() {
        let read = reader.read();
        let mut last = locked(&seen.last);
        match read {
            Ok(report) => {
                *last = LastReport {
                    report: Some(report),
                    at: Instant::now(),
                    fault: None,
                }
            }
            Err(fault) => last.fault = Some(fault),
        }
        drop(last);
        drop(seen);
        std::thread::sleep(PAUSE);
    }
}
