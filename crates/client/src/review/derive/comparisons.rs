//! Compares what this program derives with what was signed, checks the steps of a grant, and finds the approval rules
//! of a run.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    Derived, EmergencyApproval, Lines, ReviewFinding, ReviewSources,
    review::{compare::compare, coverage, value_words::signed_paths},
};
use documents::{
    Approvals, Authorization, BlobDigest, GroupName, MAX_BLOB_BYTES, Name, Profile, RenderedDigest,
    StepDefinition, Timestamp, joined, json,
};
use reading::{ParameterSchema, Ruling};
use verdict::{KeyHolder, NotCounted, QuorumRules, rules_of_run};

pub fn parameters(
    definition: &StepDefinition,
    signed: &Authorization,
) -> Result<(), ReviewFinding> {
    let schema = ParameterSchema::compile(&definition.params)
        .map_err(|flaws| ReviewFinding::fails(joined(&flaws, "; ")))?;
    let checked = schema.check(&signed.params).map(drop);
    checked.map_err(|errors| ReviewFinding::fails(joined(&errors, "; ")))
}

/// Compares the script with the signed digest.
pub fn rendered(
    script: Result<&str, &String>,
    signed: &Authorization,
) -> Result<(), ReviewFinding> {
    let script = script.map_err(ReviewFinding::fails)?;
    if RenderedDigest::of(script.as_bytes()) == signed.rendered {
        Ok(())
    } else {
        Err(ReviewFinding::fails(
            "the signed script differs from the shown script",
        ))
    }
}

/// Lists the fields in which two profiles differ.
pub fn differences(derived: &Profile, signed: &Profile) -> String {
    let (derived, signed) = (serde_json::to_value(derived), serde_json::to_value(signed));
    let (Ok(Value::Object(derived)), Ok(Value::Object(signed))) = (derived, signed) else {
        return "in their form".to_owned();
    };
    let names: BTreeSet<&String> = derived.keys().chain(signed.keys()).collect();
    let differ = names
        .into_iter()
        .filter(|name| derived.get(*name) != signed.get(*name));
    let words = differ.map(|name| {
        let side = |map: &serde_json::Map<String, Value>| {
            map.get(name).map_or("nothing".to_owned(), Value::to_string)
        };
        format!(
            "the derived {name} is {}, the signed {name} is {}",
            side(&derived),
            side(&signed)
        )
    });
    joined(words, "; ")
}

/// Makes the checks of a step of a grant, and builds its lines. `run` has what all runs of this step under the grant have in
/// common. Its parameters are not checked, because each run has its own.
pub fn derive_granted(sources: &ReviewSources, run: &Authorization, now: Timestamp) -> Derived {
    let mut found = Derived::unchecked(sources);
    let mut run = run.clone();
    found.programs(sources, &mut run.sandbox);
    let run = &run;
    found.statement = run.clone().into_statement().ok();
    found.payload = found
        .statement
        .as_ref()
        .and_then(|statement| serde_json::to_value(statement).ok());
    found.definition(sources, run);
    let seal = found.sealed(sources, run);
    found.context(sources, run, seal.as_ref());
    found.tokens = sources
        .tokens
        .as_deref()
        .zip(seal)
        .and_then(|(bytes, seal)| {
            let list = json::parse_as(bytes, MAX_BLOB_BYTES).ok();
            list.filter(|_| BlobDigest::of(bytes) == seal.tokens)
        });
    // Passkeys sign no grant.
    found.passkeys = None;
    let mut lines = Lines {
        comparison: compare(sources, &found, run),
        ..Lines::default()
    };
    lines.heading_shows = signed_paths(&["step.ref", "boundary.name"]);
    if let Some(definition) = found.step() {
        lines.foot(definition, run);
    }
    lines.what_runs(sources, &found, run, now);
    let mut fields = coverage::fields(&found, &lines);
    // The grant itself states the other fields.
    fields.retain(|field| GRANTED.iter().any(|part| field.path.starts_with(part)));
    found.concluded(sources, lines, fields)
}

/// The fields that all runs of a step under a grant have in common.
const GRANTED: [&str; 5] = [
    "definition",
    "signed.predicate.boundary",
    "signed.predicate.permissions",
    "signed.predicate.sandbox",
    "signed.predicate.step",
];

const EMERGENCY: &str = "policy permits this emergency";

impl Derived {
    /// Finds the approval rules of the run, and checks that policy permits an emergency.
    pub fn approval_rules(&mut self, signed: &Authorization, ruling: &Ruling, of_step: &Approvals) {
        let of_policy = ruling.approvals.as_ref().map(|rule| &rule.value);
        self.passkeys = ruling.passkeys;
        let normally = rules("policy asks", of_policy, of_step);
        if signed.emergency.is_none() {
            self.rules = normally;
            return;
        }
        let permitted = QuorumRules::combine(of_policy, of_step)
            .map_err(ReviewFinding::fails)
            .and_then(|usual| {
                rules_of_run(signed, usual, ruling, of_step)
                    .map(drop)
                    .map_err(ReviewFinding::fails)
            });
        self.keep(EMERGENCY, permitted);
        if let Some(rule) = &ruling.emergency {
            self.rules = rules(
                "in an emergency, policy asks",
                Some(&rule.value.approvals()),
                of_step,
            );
            self.emergency = Some(EmergencyApproval {
                rule: rule.value.clone(),
                normally,
            });
        }
    }

    /// Returns why a further signature of this approver can't count for the run. The result is `None` if only the signature
    /// can show whether it counts.
    pub fn cannot_count(
        &self,
        sources: &ReviewSources,
        approver: &Name,
        by_passkey: bool,
    ) -> Option<NotCounted> {
        let (told, roster) = (sources.told.as_ref()?, sources.roster.roster()?);
        if told.approvals.excluded.contains(approver) {
            return Some(NotCounted::Excluded);
        }
        let most = self
            .passkeys
            .filter(|_| by_passkey && !told.approvals.by_passkey.contains(approver))?
            .most;
        // The rules in which a person counts. If a rule needs a person of each group, also the groups.
        let places = |name: &Name| -> BTreeSet<(usize, Option<&GroupName>)> {
            let has = |group: &&GroupName| {
                roster
                    .approver(name)
                    .is_some_and(|person| person.groups.contains(group))
            };
            let rules = self.rules.iter().enumerate();
            let places = rules.flat_map(|(at, (_, rule))| {
                rule.from
                    .iter()
                    .filter(has)
                    .map(move |group| (at, (rule.each == Some(true)).then_some(group)))
            });
            places.collect()
        };
        // A passkey that counts in more rules could replace a counted passkey.
        let replaces_none = told
            .approvals
            .by_passkey
            .iter()
            .all(|other| places(approver).is_subset(&places(other)));
        (told.approvals.by_passkey.len() as u64 >= most && replaces_none)
            .then_some(NotCounted::MorePasskeys)
    }

    /// Says who signed with a passkey, and which passkeys count by policy.
    pub fn passkey_words(&self, sources: &ReviewSources) -> Vec<String> {
        let Some(roster) = sources.roster.roster() else {
            return Vec::new();
        };
        let by_passkey = |keyid| {
            roster
                .foreign_keys()
                .iter()
                .any(|(_, key)| key.keyid() == keyid)
        };
        let signed = self
            .signers
            .iter()
            .filter(|(_, keyid)| by_passkey(*keyid))
            .map(|(name, _)| name);
        let mut words = Vec::new();
        for name in signed.chain(
            sources
                .told
                .iter()
                .flat_map(|told| &told.approvals.by_passkey),
        ) {
            let own = |holder: &KeyHolder| matches!(holder, KeyHolder::Approver(holder) if holder == name);
            let keys = roster
                .foreign_keys()
                .iter()
                .filter(|(holder, _)| own(holder))
                .map(|(_, key)| key);
            let hosts: Vec<&str> = keys.filter_map(|key| Some(key.passkey()?.host())).collect();
            words.push(format!(
                "{name} signed with a passkey of {}",
                hosts.join(" or ")
            ));
        }
        if let Some(rule) = self.passkeys {
            let count = if rule.most == 1 {
                "1 passkey counts".to_owned()
            } else {
                format!("{} passkeys count", rule.most)
            };
            let alone = if rule.alone {
                ""
            } else {
                ", and each rule also needs a signature with another key"
            };
            words.push(format!("at most {count}{alone}"));
        }
        words
    }
}

/// Returns the rule of policy and the rule of the step. A step without groups uses the groups of policy.
fn rules(
    asks: &'static str,
    policy: Option<&Approvals>,
    step: &Approvals,
) -> Vec<(&'static str, Approvals)> {
    let own = match policy {
        Some(policy) if step.from.is_empty() => Approvals {
            required: step.required,
            from: policy.from.clone(),
            each: step.each,
        },
        _ => step.clone(),
    };
    policy
        .cloned()
        .map(|rule| (asks, rule))
        .into_iter()
        .chain([("the step asks", own)])
        .collect()
}
