//! What an operator is told: whether proposals are taken and run, and why not.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::boundary::sealed::Sealed;
use crate::boundary::view::{Ready, RosterView};
use crate::boundary::{Boundary, PROPOSAL_ROOM};
use crate::decision::exclusion::{self, Excluded, Tokens};
use crate::decision::quorum::Rules;
use crate::decision::reach::Eligible;
use crate::policy::patterns::Pattern;
use crate::record::ident::{Name, StepRef};
use crate::record::token::Scope;
use crate::record::validity::Timestamp;
use crate::sandbox::Sandbox;

/// What differs between the files and what is in force.
#[derive(Debug, Default)]
pub struct Notes(Mutex<Differences>);

#[derive(Debug, Default)]
struct Differences {
    /// What the start found.
    start: Vec<String>,
    /// The versions of the roster that follow the one in force.
    rosters: Vec<String>,
    /// Why the last reseal failed.
    reseal: Option<String>,
    /// What the seal in force can't do here.
    seal: Vec<String>,
}

impl Notes {
    /// Keeps why a reseal failed; nothing when it succeeded.
    pub(super) fn resealed(&self, failed: Option<String>) {
        self.lock().reseal = failed;
    }

    fn lock(&self) -> MutexGuard<'_, Differences> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Boundary {
    /// What a start found, for an operator.
    pub fn set_notes(&self, notes: Vec<String>) {
        self.notes.lock().start = notes;
    }

    /// What versions of the roster wait for: they may be signed while the boundary serves.
    pub fn set_roster_notes(&self, notes: Vec<String>) {
        self.notes.lock().rosters = notes;
    }

    /// How the files differ from what is in force.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let notes = self.notes.lock();
        let differences = notes.start.iter().chain(&notes.rosters).chain(&notes.reseal);
        differences.chain(&notes.seal).cloned().collect()
    }

    /// Looks for what the seal in force can't do: steps that this host can't run, and quorums that can't be met. It is told
    /// in the log, in `/ready` and by `doctor`; proposals of it are refused before anybody signs.
    pub fn note_seal(&self) -> Vec<String> {
        let sealed = self.state();
        let mut notes = steps_beyond_the_host(&sealed, &*self.sandbox);
        notes.extend(quorums_out_of_reach(&sealed, self.now()));
        let before = std::mem::replace(&mut self.notes.lock().seal, notes.clone());
        for note in notes.iter().filter(|note| !before.contains(note)) {
            tracing::warn!("{note}");
        }
        notes
    }

    /// Why no proposal is taken for want of room on the disk; nothing where there is room.
    #[must_use]
    pub fn disk_trouble(&self) -> Option<String> {
        let free = match self.outputs.room() {
            Ok(free) => free,
            Err(error) => return Some(format!("the disk of the store can't be asked for its free space: {error}")),
        };
        let reserved = self.reserved.load(Ordering::SeqCst);
        let needed = reserved.saturating_add(PROPOSAL_ROOM);
        (free < needed).then(|| {
            format!(
                "the disk of the store is almost full: {} MiB are free and {} MiB are needed ({} MiB for the store, {} MiB \
                 for runs that go on), so proposals are refused as busy: make room on it",
                free >> 20,
                needed.div_ceil(1 << 20),
                PROPOSAL_ROOM >> 20,
                reserved.div_ceil(1 << 20)
            )
        })
    }

    /// Whether proposals are taken and run, and what an operator should know.
    #[must_use]
    pub fn ready(&self) -> Ready {
        let probe = self.sandbox.probe();
        let sealed = self.state();
        let missing: Vec<_> =
            sealed.configuration.sandbox.require.iter().filter(|layer| !probe.held().contains(layer)).collect();
        let mut notes = self.notes();
        for layer in &missing {
            let why = probe.layers.iter().find(|state| state.layer == **layer).and_then(|state| state.missing.as_ref());
            let why = why
                .map_or_else(|| "not built into this version".to_owned(), |why| format!("{}; {}", why.why, why.knob));
            notes.push(format!("the sandbox layer {} is missing: {why}", layer.word()));
        }
        let (clock, disk) = (self.ledger.clock_trouble(), self.disk_trouble());
        let open = !self.crossings.is_closed();
        let ready = missing.is_empty() && open && clock.is_none() && disk.is_none();
        notes.extend(clock);
        notes.extend(disk);
        notes.extend(self.witnesses.notes());
        if !open {
            notes.push("the service is ending".to_owned());
        }
        Ready {
            ready,
            sandbox: probe.level().word().to_owned(),
            seal: sealed.seal.number,
            roster: RosterView {
                version: sealed.roster.version(),
                digest: sealed.roster.digest(),
                guarded: sealed.roster.is_guarded(),
            },
            notes,
        }
    }
}

/// Steps whose sandbox this host can't hold, by what is missing.
fn steps_beyond_the_host(sealed: &Sealed, sandbox: &dyn Sandbox) -> Vec<String> {
    let mut missing: BTreeMap<String, Vec<&StepRef>> = BTreeMap::new();
    for step in sealed.registry.steps() {
        let reference = &step.definition.reference;
        let Some((_, held)) = sealed.step(reference) else { continue };
        if let Err(unavailable) = sandbox.check(&held.profile)
            && unavailable.is_of_the_host()
        {
            missing.entry(unavailable.to_string()).or_default().push(reference);
        }
    }
    let note = |(why, steps): (String, Vec<&StepRef>)| {
        format!("proposals of {} are refused, because this host can't run them: {why}", some_of(&steps))
    };
    missing.into_iter().map(note).collect()
}

/// Steps that nobody can get approved, and those that one proposer can't.
fn quorums_out_of_reach(sealed: &Sealed, now: Timestamp) -> Vec<String> {
    let eligible = Eligible::of(&sealed.roster);
    // Many steps have the same rules.
    let mut by_rules: Vec<(&Rules, Vec<&StepRef>)> = Vec::new();
    for step in sealed.registry.steps() {
        let reference = &step.definition.reference;
        let Some((_, held)) = sealed.step(reference) else { continue };
        match by_rules.iter_mut().find(|(rules, _)| **rules == *held.rules) {
            Some((_, steps)) => steps.push(reference),
            None => by_rules.push((&held.rules, vec![reference])),
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
    for proposer in proposers(sealed) {
        let tokens = Tokens::Sealed(&sealed.tokens, now);
        let Ok(excluded) = exclusion::judge(&proposer.name, &proposer.name, tokens, &sealed.roster) else { continue };
        for (rules, steps) in &by_rules {
            let may = |step: &&StepRef| {
                proposer.patterns.is_empty() || proposer.patterns.iter().any(|pattern| pattern.matches(step.as_str()))
            };
            let steps: Vec<&StepRef> = steps.iter().copied().filter(may).collect();
            if steps.is_empty() {
                continue;
            }
            if let Err(out) = eligible.check_reach(rules, |name| excluded.contains(name), now, None) {
                notes.push(format!(
                    "proposals of {} by {} are refused, because their approvals can't come together: {out}; {}",
                    some_of(&steps),
                    proposer.name,
                    of_owners(&excluded, &proposer.name)
                ));
            }
        }
    }
    notes
}

/// Why people are missing for a proposer, and what to do.
pub(super) fn of_owners(excluded: &Excluded, proposer: &Name) -> String {
    let owners: Vec<String> =
        excluded.names().iter().filter(|name| *name != proposer).map(ToString::to_string).collect();
    if owners.is_empty() {
        return "add approvers to the roster, or ask for fewer approvals".to_owned();
    }
    format!(
        "{} can't approve what {proposer} proposes, which they control: propose with a token of other owners, or add \
         approvers to the roster",
        owners.join(", ")
    )
}

struct Proposer {
    name: Name,
    patterns: Vec<Pattern>,
}

fn proposers(sealed: &Sealed) -> Vec<Proposer> {
    let tokens = sealed.tokens.iter().filter(|token| token.scopes.contains(&Scope::Propose));
    let tokens = tokens.map(|token| Proposer {
        name: token.name.clone(),
        patterns: token.patterns.iter().filter_map(|pattern| Pattern::parse(pattern).ok()).collect(),
    });
    let rostered = sealed.roster.tables().proposer.iter();
    tokens.chain(rostered.map(|entry| Proposer { name: entry.name.clone(), patterns: Vec::new() })).collect()
}

/// The first of some steps, and how many more there are.
fn some_of(steps: &[&StepRef]) -> String {
    let names: Vec<&str> = steps.iter().take(MOST_NAMED).map(|step| step.as_str()).collect();
    match steps.len().saturating_sub(MOST_NAMED) {
        0 => names.join(", "),
        more => format!("{} and {more} more steps", names.join(", ")),
    }
}

/// Steps that a note names.
const MOST_NAMED: usize = 5;
