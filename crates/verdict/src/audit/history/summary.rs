//! The summary at the end of an audit, with its warnings.

use std::collections::BTreeSet;

use crate::{
    Auditor, LATE_S, OpenRun, SealInForce, SeenHead, Summary, TrustedRoster,
    audit::bundle_check::warnings_of_foreign,
};
use documents::{RevokedSubject, joined};

impl Auditor {
    pub(super) fn summary(&self) -> Summary {
        let in_force = self.seals.current.as_deref();
        let mut warnings = Vec::new();
        // A warning names each known roster version whose next version needs no signatures. The version in force is
        // included.
        let unguarded: BTreeSet<u64> = (self.rosters().unguarded())
            .chain(
                in_force
                    .map(|seal| &*seal.roster)
                    .filter(|roster| !roster.is_guarded())
                    .map(TrustedRoster::version),
            )
            .collect();
        for version in unguarded {
            warnings.push(format!(
                "version {version} of the roster is unguarded (threshold 0): the operator of the boundary can replace \
                 it"
            ));
        }
        let keys = self.rosters().keys().foreign();
        let passkeys_count = in_force.is_some_and(|seal| seal.passkeys().is_some());
        let foreign: BTreeSet<String> = warnings_of_foreign(keys, passkeys_count).collect();
        warnings.extend(foreign);
        warnings.extend(in_force.iter().flat_map(|seal| self.of_revocations(seal)));
        warnings.extend(self.left.clone());
        if let Some(follows) = &self.follows {
            let head = SeenHead::parse(&follows.checkpoint, "").map_or_else(
                |why| format!("the last known head is not valid: {why}"),
                |head| format!("the last known head has {} entries", head.size),
            );
            warnings.push(format!(
                "this log continues the log of {} ({head}), which a restore closed and which this audit does not \
                 cover: audit that log too. Use `countersign audit` with its directory in closed/ of the \
                 boundary's private directory, with a backup, or with the directory that `log export --from` wrote. \
                 Compare the last head of that log with the head in `follows` of the summary (--json)",
                follows.id
            ));
        }
        if !self.engines.is_empty() {
            let engines = self.engines.iter().map(|engine| format!("{engine:?}"));
            warnings.push(format!(
                "the differences are not failures, because the boundary states that {} made the decisions: audit with \
                 that version too, or give --no-differences",
                joined(engines, ", ")
            ));
        }
        let open: Vec<OpenRun> = self.runs.open().collect();
        if let Some(until) = self.runs.open_until() {
            warnings.push(format!(
                "{} run(s) have no receipt yet: the runs were active when the log was read, or the end of the log was \
                 removed. The last run may continue until {until}, because of the limits that the boundary sealed",
                open.len()
            ));
        }
        warnings.extend(self.late_by_the_clock());
        warnings.extend(self.back_dated.iter().cloned());
        if let Some(now) = self.expected.now.filter(|now| now.plus(LATE_S) < self.at) {
            warnings.push(format!(
                "the last entry of the log is dated {}, but the clock of this machine shows {now}: one of the two \
                 times is wrong, or a step was run before its time",
                self.at
            ));
        }
        let [reviews, reviewed] = self.runs.reviewed.states();
        Summary {
            clean: self.failures == 0,
            name: in_force.map(|seal| seal.boundary.name.clone()),
            boundary: in_force.map(|seal| seal.boundary.id),
            entries: self.size(),
            from: self.from,
            until: self.at,
            roster: in_force.map(|seal| seal.roster.version()),
            trusted: self.rosters.trusted(),
            witnesses: self.witnesses.clone(),
            counts: self.counts.clone(),
            open,
            grants: self.runs.grants.lines(in_force, &self.revocations, self.at),
            reviews,
            reviewed,
            failures: self.failures,
            differences: self.differences,
            not_checked: self.runs.unchecked(),
            engines: self.engines.iter().cloned().collect(),
            follows: self.follows.clone(),
            rests_on: RESTS_ON.map(str::to_owned).to_vec(),
            not_shown: NOT_SHOWN.map(str::to_owned).to_vec(),
            warnings,
        }
    }

    /// Warns if the epoch in force is revoked, and about revoked keys that the roster in force still has.
    fn of_revocations(&self, in_force: &SealInForce) -> Vec<String> {
        let (roster, epoch) = (
            &in_force.roster,
            RevokedSubject::epoch(&in_force.boundary.epoch),
        );
        let mut warnings = Vec::new();
        for (subject, entry) in self.revocations.iter() {
            if let RevokedSubject::Key(keyid) = subject
                && let Some((holder, _)) = roster.statement_signer(&keyid)
            {
                warnings.push(format!(
                    "entry {entry} revoked the key {keyid} of {holder}, but version {} of the roster still has the key: \
                     remove the key in the next version",
                    roster.version()
                ));
            } else if subject == epoch {
                warnings.push(format!(
                    "entry {entry} revoked the epoch in force, so the boundary may spend no nonce before a seal with a \
                     new epoch"
                ));
            }
        }
        warnings
    }

    /// Warns about runs that must have ended by the auditor's clock but have no receipt. A missing receipt is only a
    /// warning, because the copy of the log may be old. A boundary that never shows a newer log can also withhold a
    /// receipt.
    fn late_by_the_clock(&self) -> Option<String> {
        let now = self.expected.now?;
        let known = self.runs.overdue(self.at).len();
        let late = self.runs.overdue(now);
        let first = late
            .iter()
            .map(|run| run.at)
            .min()
            .filter(|_| late.len() > known)?;
        let days = now.unix().saturating_sub(first.unix()) / 86_400;
        Some(format!(
            "{} run(s) without a receipt must have ended by the clock of this machine, and the first nonce was spent \
             {days} day(s) ago: audit a newer copy of the log; if no copy has the receipts, the boundary has withheld \
             them",
            late.len()
        ))
    }
}

/// Evidence on which the result of an audit without failures depends.
const RESTS_ON: [&str; 4] = [
    "the roster that you trust: who may approve, and which keys are the boundary's",
    "the approvers' signatures: that each run was approved as it was run, at most once, by people who may approve it",
    "the hashes: that these entries, in this order, are the log of the signed head",
    "the boundary's statements: times, who handed in an approval, what a step did and printed, which programs it \
     started, how the sandbox was enforced",
];

/// Facts that a single copy of a log can't show.
const NOT_SHOWN: [&str; 4] = [
    "a missing end of the log: keep the state of each audit (--state), or use witnesses",
    "another history that the boundary showed to others: compare this log with their copy (--against)",
    "runs outside the boundary, because its log does not contain them",
    "entries that the boundary never logged: if the boundary withholds a denial or a revocation, only the person who \
     signed it can notice this",
];
