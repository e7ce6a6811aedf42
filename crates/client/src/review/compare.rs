//! Compares the proposed run with the last successful run of the step, and defines the sources and the results of a
//! review.
//!
//! All data about the last run comes from the boundary and is not verified. `ReviewSources` has the documents that a
//! review reads from the boundary or from a file, and `Derived` has the results of the checks.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hash;

use serde_json::Value;
use similar::DiffTag;
use similar::algorithms::{Capture, Compact, Replace, myers};

use crate::{
    DefinitionDifferences, LineDifference, Lines, PrintableText, ReviewedContent, RunComparison,
    leaves, plain_or_quoted,
    review::value_words::{ScriptPlaces, counted, program_words},
    terminal::screen::comment_in,
};
use documents::{
    Approvals, Authorization, AuthorizationDigest, ContentDigest, Envelope, EnvelopeSignature,
    KeyId, Layer, ListedProgram, MAX_DEFINITION_BYTES, Name, Permission, PermissionKind, Profile,
    ProgramList, SealedToken, Statement, StepDefinition, StepDigest, canonical, json,
};
use reading::{EmergencyRule, PasskeysRule, comments};
use verdict::TrustedRoster;
use wire::{AdmittedJob, ApprovalsView, SameRun, UnknownEnd};

/// Maximum number of removed entries of a list that the screen names. The same maximum applies to added entries.
const MOST_ENTRIES: usize = 16;

/// Paths of the arrays of a definition or of a sandbox that have no order. Documents sort these arrays, so an added entry
/// changes the positions of other entries.
const SETS: [&str; 11] = [
    "programs",
    "sandbox.read",
    "sandbox.write",
    "sandbox.deny",
    "sandbox.sockets",
    "sandbox.network.allow",
    "sandbox.network.hosts",
    "sandbox.network.private",
    "sandbox.network.localhost",
    "sandbox.require",
    "exclusive",
];

/// Compares the proposed run with the last successful run of the step.
pub fn compare(sources: &ReviewSources, found: &Derived, signed: &Authorization) -> RunComparison {
    let Some(last) = &sources.last else {
        return if sources.asked_last {
            RunComparison::First
        } else {
            RunComparison::Unknown
        };
    };
    let mut changed = Vec::new();
    let (mut script, mut fields) = (Vec::new(), Vec::new());
    if last.digest != signed.step.digest {
        let before = last
            .definition
            .as_ref()
            .filter(|bytes| StepDigest::of(bytes) == last.digest)
            .and_then(|bytes| {
                let value = canonical::parse_canonical(bytes, MAX_DEFINITION_BYTES).ok()?;
                json::typed::<StepDefinition>(&value)
                    .ok()
                    .map(|definition| (definition, value))
            });
        match (&before, &found.definition) {
            (Some((old, old_value)), Some((new, new_value))) => {
                // Compare the template before it is filled in, because parameters are not compared here.
                let after = new_value["source"].as_str().unwrap_or(&new.source);
                let found = definitions_diff((&old.source, old_value), (after, new_value));
                script = found.script;
                if !script.is_empty() {
                    changed.push("script".to_owned());
                }
                if !found.fields.is_empty() {
                    changed.push("definition".to_owned());
                }
                fields.extend(found.fields);
            }
            _ => changed.push("the earlier definition could not be read".to_owned()),
        }
    }
    if let Some(profile) = &last.profile {
        let both = profile.programs.is_some() && signed.sandbox.programs.is_some();
        // A profile requires the layer `programs` only with a list of programs. Compare this layer only if both runs
        // have a list, because `lists_diff` reports a list that only one of them has.
        let value = |profile: &Profile| {
            let mut profile = Profile {
                programs: None,
                ..profile.clone()
            };
            profile
                .require
                .retain(|layer| both || *layer != Layer::Programs);
            serde_json::to_value(profile)
        };
        let values = (value(profile), value(&signed.sandbox));
        if let (Ok(old), Ok(new)) = values
            && old != new
        {
            changed.push("sandbox".to_owned());
            fields.extend(fields_diff(
                &serde_json::json!({"sandbox": old}),
                &serde_json::json!({"sandbox": new}),
            ));
        }
        let lists = lists_diff(profile.programs.as_ref(), signed.sandbox.programs.as_ref());
        if !lists.is_empty() {
            changed.push("programs".to_owned());
            fields.extend(lists);
        }
    }
    if let Some(before) = &last.permissions {
        let asked = runs_diff(before, &signed.permissions);
        if !asked.is_empty() {
            if !changed.iter().any(|part| part == "programs") {
                changed.push("programs".to_owned());
            }
            fields.extend(asked);
        }
    }
    let compared = match (&last.profile, &last.permissions) {
        (Some(_), Some(_)) => "script, sandbox and programs",
        _ => "script",
    };
    RunComparison::Since {
        last: words_of(last),
        compared,
        changed,
        script,
        fields,
    }
}

/// Compares two definitions of a step, each with its script.
pub fn definitions_diff(old: (&str, &Value), new: (&str, &Value)) -> DefinitionDifferences {
    DefinitionDifferences {
        script: lines_diff(old, new),
        fields: fields_diff(&without_source(old.1), &without_source(new.1)),
    }
}

fn words_of(last: &LastRun) -> String {
    let runs = match last.runs {
        0 => String::new(),
        runs => format!(", {} so far", counted(runs, "success")),
    };
    format!("the boundary says: {}{runs}", last.finished_at)
}

fn without_source(definition: &Value) -> Value {
    let mut definition = definition.clone();
    if let Value::Object(fields) = &mut definition {
        fields.remove("source");
    }
    definition
}

fn lines_diff(old: (&str, &Value), new: (&str, &Value)) -> Vec<LineDifference> {
    // Each line with the place of its comment.
    let lines = |(text, definition): (&'_ str, &Value)| {
        let found = comments(definition["interpreter"].as_str().unwrap_or_default(), text);
        let mut start = 0;
        let line = text.split_inclusive('\n').map(move |line| {
            let comment = comment_in(&found, start, line);
            start += line.len();
            (line.to_owned(), comment)
        });
        line.collect::<Vec<_>>()
    };
    let (old, new) = (lines(old), lines(new));
    let changes = changed_places(&old, &new).into_iter().map(|(was, at)| {
        let (text, comment) = if was { &old[at] } else { &new[at] };
        let text = match text.strip_suffix('\n') {
            Some(line) => PrintableText::source(line, *comment),
            None => PrintableText::source(text, *comment).and(" (no newline at the end)"),
        };
        LineDifference {
            was,
            number: Some(at + 1),
            text,
        }
    });
    changes.collect()
}

/// Returns the positions of the removed and of the added lines, in their order. The flag is true for a removed line.
pub fn changed_places<T: Hash + Eq + Ord>(old: &[T], new: &[T]) -> Vec<(bool, usize)> {
    // Call the Myers algorithm directly, because the function of `similar` for texts would link all its algorithms into
    // the program.
    let mut found = Compact::new(Replace::new(Capture::new()), old, new);
    let Ok(()) = myers::diff(&mut found, old, 0..old.len(), new, 0..new.len());
    let places = found
        .into_inner()
        .into_inner()
        .into_ops()
        .into_iter()
        .flat_map(|op| {
            let (tag, before, after) = op.as_tag_tuple();
            let is_changed = tag != DiffTag::Equal;
            let was = before.filter(move |_| is_changed).map(|at| (true, at));
            was.chain(after.filter(move |_| is_changed).map(|at| (false, at)))
        });
    places.collect()
}

/// Compares the lists of programs that the two runs may start.
fn lists_diff(old: Option<&ProgramList>, new: Option<&ProgramList>) -> Vec<LineDifference> {
    let words = |list: &ProgramList| {
        list.programs()
            .iter()
            .map(program_words)
            .collect::<Vec<_>>()
    };
    if old == new {
        return Vec::new();
    }
    if let (Some(old), Some(new)) = (old, new)
        && old.is_known()
    {
        return entries_diff("programs", &words(old), &words(new));
    }
    let line = |was, list: Option<&ProgramList>| {
        let text = match list {
            None => "programs: every program of the host".to_owned(),
            Some(list) if !list.is_known() => "programs: a list that could not be read".to_owned(),
            Some(list) => format!(
                "programs: only a list, {}",
                counted(list.programs().len(), "program")
            ),
        };
        LineDifference {
            was,
            number: None,
            text: PrintableText::text(&text),
        }
    };
    vec![line(true, old), line(false, new)]
}

/// Compares the programs for which policy asks.
fn runs_diff(old: &[Permission], new: &[Permission]) -> Vec<LineDifference> {
    let words = |permissions: &[Permission]| -> Vec<PrintableText> {
        let runs = permissions
            .iter()
            .filter(|permission| permission.kind == PermissionKind::Run);
        runs.map(|permission| plain_or_quoted(&permission.what))
            .collect()
    };
    entries_diff("permission to run", &words(old), &words(new))
}

/// Compares two lists by their entries, because the position of an entry has no meaning.
fn entries_diff(
    list: &'static str,
    old: &[PrintableText],
    new: &[PrintableText],
) -> Vec<LineDifference> {
    let lines = |was: bool, sign: &'static str, mine: &[PrintableText], other: &[PrintableText]| {
        let start = PrintableText::words(list).and(": ").and(sign);
        let only: Vec<_> = mine.iter().filter(|entry| !other.contains(entry)).collect();
        let more = only.len().saturating_sub(MOST_ENTRIES);
        let mut texts: Vec<_> = only
            .iter()
            .take(MOST_ENTRIES)
            .map(|entry| start.clone().then(*entry))
            .collect();
        if more > 0 {
            texts.push(start.then(format!("{more} more")));
        }
        texts.into_iter().map(move |text| LineDifference {
            was,
            number: None,
            text,
        })
    };
    lines(true, "- ", old, new)
        .chain(lines(false, "+ ", new, old))
        .collect()
}

/// Returns the texts of the array at the path and removes the array. Returns no text for another value.
fn take_entries(document: &mut Value, path: &str) -> Vec<PrintableText> {
    let mut parents: Vec<&str> = path.split('.').collect();
    let field = parents.pop().unwrap_or_default();
    let parent = parents
        .iter()
        .try_fold(document, |value, key| value.get_mut(key));
    let Some(Value::Object(fields)) = parent else {
        return Vec::new();
    };
    let found: Option<Vec<PrintableText>> = match fields.get(field) {
        Some(Value::Array(items)) if !items.is_empty() => items
            .iter()
            .map(|item| item.is_string().then(|| PrintableText::value(item)))
            .collect(),
        _ => None,
    };
    found.map_or_else(Vec::new, |texts| {
        fields.remove(field);
        texts
    })
}

/// Compares two documents by their fields. The arrays of [`SETS`] are compared by their entries.
fn fields_diff(old: &Value, new: &Value) -> Vec<LineDifference> {
    let (mut old, mut new) = (old.clone(), new.clone());
    let mut changes = Vec::new();
    for path in SETS {
        let (before, after) = (take_entries(&mut old, path), take_entries(&mut new, path));
        changes.extend(entries_diff(path, &before, &after));
    }
    changes.extend(leaves_diff(&old, &new));
    changes
}

fn leaves_diff(old: &Value, new: &Value) -> Vec<LineDifference> {
    let list = |document: &Value| -> Vec<PrintableText> {
        let found = leaves(document);
        let found = found.into_iter();
        found
            .map(|(path, value)| {
                PrintableText::path(path.trim_start_matches('.')).then(PrintableText::value(value))
            })
            .collect()
    };
    let (old, new) = (list(old), list(new));
    let change = |was: bool| {
        move |text: &PrintableText| LineDifference {
            was,
            number: None,
            text: text.clone(),
        }
    };
    let gone = old
        .iter()
        .filter(|leaf| !new.contains(leaf))
        .map(change(true));
    let come = new
        .iter()
        .filter(|leaf| !old.contains(leaf))
        .map(change(false));
    gone.chain(come).collect()
}

/// Check with its result.
#[derive(Debug, Clone)]
pub struct ReviewCheck {
    /// Statement that is checked.
    pub what: &'static str,
    /// Result of the check.
    pub finding: ReviewFinding,
}

/// Result of a check.
#[derive(Debug, Clone, PartialEq)]
pub enum ReviewFinding {
    /// The statement is true.
    Holds,
    /// The statement is false, for this reason.
    Fails(String),
    /// The check could not be made, for this reason.
    NotChecked(String),
}

impl ReviewFinding {
    /// Returns the finding of a check that failed.
    pub fn fails(why: impl fmt::Display) -> Self {
        Self::Fails(why.to_string())
    }

    /// Returns the finding of a check that could not be made.
    pub fn unknown(why: impl fmt::Display) -> Self {
        Self::NotChecked(why.to_string())
    }
}

/// Result of all checks, which decides whether the approver may sign. The worst result is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StatementVerdict {
    /// All checks passed.
    Sound,
    /// No check failed, but the approver has no trusted roster for the boundary.
    NoTrust,
    /// A check failed or could not be made.
    Unsound,
}

/// The rule of policy for an emergency, with the approval rules that this rule replaces.
#[derive(Clone)]
pub struct EmergencyApproval {
    /// The rule.
    pub rule: EmergencyRule,
    /// Approval rules for a run of this step that is no emergency.
    pub normally: Vec<(&'static str, Approvals)>,
}

/// Results of the checks, with the checked documents.
#[derive(Clone)]
pub struct Derived {
    /// Digest of the payload that the approvers sign.
    pub digest: AuthorizationDigest,
    /// Statement in the payload, parsed strictly.
    pub statement: Option<Statement<Authorization>>,
    /// Payload as JSON, for the list of all fields.
    pub payload: Option<Value>,
    /// Definition of the step, if the definition has the signed digest.
    pub definition: Option<(StepDefinition, Value)>,
    /// Files of the definition, with the contents that have the signed digests.
    pub files: Vec<ReviewedContent>,
    /// Inputs of the run, with the contents that have the signed digests.
    pub inputs: Vec<ReviewedContent>,
    /// Lines of the script at which policy asks for a permission.
    pub places: ScriptPlaces,
    /// Approval rules of policy and of the step. All rules must be met.
    pub rules: Vec<(&'static str, Approvals)>,
    /// The passkeys that count by policy, or `None` if none counts.
    pub passkeys: Option<PasskeysRule>,
    /// What policy says about the emergency. `None` if the run is no emergency, or if policy permits none.
    pub emergency: Option<EmergencyApproval>,
    /// Tokens of the seal, if the review needs them.
    pub tokens: Option<Vec<SealedToken>>,
    /// Sandbox profile that this program derived from the sealed documents.
    pub profile: Option<Profile>,
    /// Approvers whose signatures over this payload were verified.
    pub signers: Vec<(Name, KeyId)>,
    /// Signatures that are not valid or do not belong to an approver, with the reasons.
    pub strangers: Vec<String>,
    /// All checks, in order.
    pub checks: Vec<ReviewCheck>,
    /// Result of all checks.
    pub standing: StatementVerdict,
    /// Lines for the screen.
    pub lines: Lines,
}

impl Derived {
    /// Returns the definition with the signed digest, and with the filled-in script.
    pub fn step(&self) -> Option<&StepDefinition> {
        self.definition.as_ref().map(|(step, _)| step)
    }

    /// Returns the definition with the signed digest as a document.
    pub fn document(&self) -> Option<&Value> {
        self.definition.as_ref().map(|(_, document)| document)
    }

    /// Returns true if the statement says that the run is an emergency.
    pub fn is_emergency(&self) -> bool {
        self.statement
            .as_ref()
            .is_some_and(|statement| statement.predicate.emergency.is_some())
    }

    /// Returns the checks that failed or could not be made, with the reasons.
    pub fn flaws(&self) -> Vec<String> {
        let flaw = |check: &ReviewCheck| match &check.finding {
            ReviewFinding::Holds => None,
            ReviewFinding::Fails(why) | ReviewFinding::NotChecked(why) => {
                Some(format!("{}: {why}", check.what))
            }
        };
        self.checks.iter().filter_map(flaw).collect()
    }

    /// Returns the files of the step, then the inputs of the run.
    pub fn contents(&self) -> impl Iterator<Item = &ReviewedContent> {
        self.files.iter().chain(&self.inputs)
    }

    /// Returns the texts among the contents, each with its place for a remark.
    pub fn texts(&self) -> impl Iterator<Item = (String, String)> {
        self.contents().filter_map(|one| {
            Some((
                format!("the {} {}", one.kind, one.name),
                one.text()?.to_owned(),
            ))
        })
    }

    /// Returns true if the step has executable files.
    pub fn has_programs(&self) -> bool {
        self.files.iter().any(|one| one.executable)
    }
}

/// Name of the check that the sandbox follows from the sealed documents.
pub const SANDBOX: &str = "the sandbox is the one that this program derives";

/// Name of the check that the authorization and the seal name the same boundary and the same epoch.
pub const SEALED: &str = "boundary and epoch are those of the seal";

/// Name of the check that the script has the signed digest.
pub const SCRIPT_DIGEST: &str = "the script to run has the signed digest";

/// Name of the check that the screen leaves out no signed field.
pub const COVERED: &str =
    "every signed field is shown, or equals a shown value or a built-in default";

/// Name of the check that the approver trusts the roster in force.
pub const TRUSTED: &str = "the roster in force is the roster that you trust";

/// Documents that a review reads from the boundary or from a file, without verification.
#[derive(Clone, Default)]
pub struct ReviewSources {
    /// Bytes that the approver's signature would cover.
    pub payload: Vec<u8>,
    /// The list of programs that the payload names by its digest, as the boundary sent it.
    pub programs: Vec<ListedProgram>,
    /// Definition of the step, read by the digest in the payload.
    pub definition: Option<Vec<u8>>,
    /// Contents of the step's files, read by the digests in the definition.
    pub contents: BTreeMap<ContentDigest, Vec<u8>>,
    /// Contents of the run's inputs, by their names.
    pub inputs: BTreeMap<String, Vec<u8>>,
    /// Steps of the earlier runs of the session, as the boundary reports them. `None` if the boundary reported none.
    pub session_runs: Option<Vec<String>>,
    /// Seal in force.
    pub seal: Option<Envelope>,
    /// Tokens that the seal names, if the review needs them.
    pub tokens: Option<Vec<u8>>,
    /// Policy that the seal names.
    pub policy: Option<Vec<u8>>,
    /// Built-in lists that the seal names.
    pub builtins: Option<Vec<u8>>,
    /// Configuration that the seal names.
    pub configuration: Option<Vec<u8>>,
    /// Roster for the review.
    pub roster: RosterSource,
    /// Signatures in a file.
    pub signatures: Vec<EnvelopeSignature>,
    /// State of the proposal, as the boundary reports it.
    pub told: Option<ReportedState>,
    /// Reason why the boundary can't run the statement any more, as the boundary reports it.
    pub gone: Option<String>,
    /// Earlier run of the step with these parameters whose end nobody saw: its receipt and the time of the receipt, as
    /// the boundary reports them.
    pub unknown_end: Option<UnknownEnd>,
    /// Other proposals of the same run, as the boundary reports them.
    pub same_runs: Vec<SameRun>,
    /// CI job that made the proposal, as the boundary reports it.
    pub job: Option<AdmittedJob>,
    /// Last successful run of the step, as the boundary reports it.
    pub last: Option<LastRun>,
    /// True if the boundary reported the last successful run, or reported that there is none.
    pub asked_last: bool,
    /// Key with which the approver would sign.
    pub mine: Option<KeyId>,
    /// Documents that could not be read, with the reasons.
    pub missing: Vec<String>,
}

/// Roster for the review.
#[derive(Clone, Default)]
pub enum RosterSource {
    /// No roster is known.
    #[default]
    None,
    /// Roster that the approver trusts, with its source.
    Trusted(Box<TrustedRoster>, String),
    /// Roster of the boundary, which the approver does not trust.
    BoundarysWord(Box<TrustedRoster>),
}

impl RosterSource {
    /// Returns the roster, trusted or not.
    pub fn roster(&self) -> Option<&TrustedRoster> {
        match self {
            Self::None => None,
            Self::Trusted(roster, _) | Self::BoundarysWord(roster) => Some(roster),
        }
    }

    /// Returns the roster only if the approver trusts it.
    pub fn trusted(&self) -> Option<&TrustedRoster> {
        match self {
            Self::Trusted(roster, _) => Some(roster),
            Self::None | Self::BoundarysWord(_) => None,
        }
    }
}

/// State of a proposal, as the boundary reports it.
#[derive(Clone)]
pub struct ReportedState {
    /// Status of the proposal.
    pub status: String,
    /// Reason why the approved run has not started.
    pub held_up: Option<String>,
    /// The approvers whose signatures count or can't count, and what is missing.
    pub approvals: ApprovalsView,
}

/// Last successful run of a step, as the boundary reports it.
#[derive(Clone)]
pub struct LastRun {
    /// End of the run.
    pub finished_at: String,
    /// Digest of the step definition that ran.
    pub digest: StepDigest,
    /// Definition that ran, if the boundary sent it.
    pub definition: Option<Vec<u8>>,
    /// Parameters of the run.
    pub params: Value,
    /// Number of successful runs of the step.
    pub runs: u64,
    /// Sandbox profile of the run, if the receipt could be read.
    pub profile: Option<Profile>,
    /// Permissions of the run, if the receipt could be read.
    pub permissions: Option<Vec<Permission>>,
    /// Number of denied file names that the run masked, if the receipt states the number.
    pub masked: Option<u64>,
    /// Number of file names that an earlier run with the same profile masked. Present only if the last run masked no
    /// names and its receipt contains this warning.
    pub masked_before: Option<u64>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{
        LastRun,
        review::{
            compare::{fields_diff, lists_diff},
            tests::review_case::{case, kubectl, painted, program_list},
        },
    };
    use documents::{
        Layer, Limits, OWN_PROGRAMS, Profile, ProgramList, STRICT, StepDigest, to_canonical,
    };

    fn words(old: Option<&ProgramList>, new: Option<&ProgramList>) -> Vec<String> {
        let difference = lists_diff(old, new);
        let sign = |was: bool| if was { "was" } else { "now" };
        difference
            .iter()
            .map(|line| format!("{} {}", sign(line.was), line.text))
            .collect()
    }

    #[test]
    fn lists_of_programs_are_compared_by_entry() {
        let old = program_list(&[
            ("awk", "/usr/bin/mawk"),
            ("cat", "/usr/bin/cat"),
            ("id", "/usr/bin/id"),
        ]);
        let new = program_list(&[
            ("awk", "/usr/bin/gawk"),
            ("cat", "/usr/bin/cat"),
            ("hostname", "/usr/bin/hostname"),
            ("id", "/usr/bin/id"),
            (OWN_PROGRAMS, OWN_PROGRAMS),
        ]);
        assert_eq!(
            words(old.as_ref(), new.as_ref()),
            [
                "was programs: - awk (the file /usr/bin/mawk)",
                "now programs: + awk (the file /usr/bin/gawk)",
                "now programs: + hostname (the file /usr/bin/hostname)",
                "now programs: + every file in the directories that the run may write",
            ]
        );
        assert!(words(old.as_ref(), old.as_ref()).is_empty() && words(None, None).is_empty());
        assert_eq!(
            words(None, old.as_ref()),
            [
                "was programs: every program of the host",
                "now programs: only a list, 3 programs"
            ]
        );
        assert_eq!(
            words(old.as_ref(), None)[1],
            "now programs: every program of the host"
        );
        // At most 16 entries are named.
        let many: Vec<_> = (0..20)
            .map(|at| (format!("p{at}"), format!("/usr/bin/p{at}")))
            .collect();
        let many: Vec<_> = many
            .iter()
            .map(|(name, path)| (name.as_str(), path.as_str()))
            .collect();
        let lines = words(
            program_list(&many[..1]).as_ref(),
            program_list(&many).as_ref(),
        );
        assert_eq!(lines.len(), 17, "{lines:?}");
        assert_eq!(lines[16], "now programs: + 3 more");
    }

    #[test]
    fn an_added_program_is_one_line_and_no_change_of_the_sandbox() {
        let mut case = case();
        case.spoil = |signed| {
            signed.sandbox.programs = program_list(&[
                ("awk", "/usr/bin/mawk"),
                ("bash", "/usr/bin/bash"),
                ("id", "/usr/bin/id"),
            ]);
        };
        let mut sources = case.sources();
        let mut profile = Profile::nothing(STRICT.to_vec(), Limits::default());
        profile.programs = program_list(&[("bash", "/usr/bin/bash"), ("id", "/usr/bin/id")]);
        let last = sources.last.as_mut().expect("a last run");
        (last.profile, last.permissions) = (Some(profile), Some(Vec::new()));
        let screen = painted(&sources, 400, false);
        assert!(
            screen.contains("programs changed since the last success (19 Nov)\n"),
            "{screen}"
        );
        let changes: Vec<_> = screen
            .lines()
            .filter(|line| line.starts_with("  was ") || line.starts_with("  now "))
            .collect();
        assert_eq!(
            changes,
            ["  now       | programs: + awk (the file /usr/bin/mawk)"],
            "{screen}"
        );
        // The layer `programs` is no further change.
        case.spoil = |signed| {
            signed.sandbox.programs = program_list(&[("bash", "/usr/bin/bash")]);
            signed.sandbox.require.push(Layer::Programs);
            signed.sandbox.require.sort();
        };
        let mut sources = case.sources();
        sources.last.as_mut().expect("a last run").profile =
            Some(Profile::nothing(STRICT.to_vec(), Limits::default()));
        let screen = painted(&sources, 400, false);
        assert!(
            screen.contains("programs changed since the last success (19 Nov)\n"),
            "{screen}"
        );
        assert!(
            screen.contains("  now       | programs: only a list, 1 program\n"),
            "{screen}"
        );
    }

    #[test]
    fn declared_programs_and_paths_are_compared_by_entry() {
        let mut case = case();
        case.definition["programs"] = json!(["awk", "jq", "tar"]);
        case.definition["sandbox"] = json!({"read": ["/srv/a", "/srv/b"]});
        case.spoil =
            |signed| signed.sandbox.read = ["/srv/a", "/srv/b"].map(str::to_owned).to_vec();
        let mut sources = case.sources();
        let mut before = case.definition.clone();
        before["programs"] = json!(["jq", "tar"]);
        before["sandbox"] = json!({"read": ["/srv/b"]});
        let before = to_canonical(&before);
        let mut profile = Profile::nothing(STRICT.to_vec(), Limits::default());
        profile.read = vec!["/srv/b".to_owned()];
        let last = sources.last.as_mut().expect("a last run");
        (last.digest, last.definition) = (StepDigest::of(&before), Some(before));
        (last.profile, last.permissions) = (Some(profile), Some(Vec::new()));
        let screen = painted(&sources, 400, false);
        let changes: Vec<_> = screen
            .lines()
            .filter(|line| line.starts_with("  was ") || line.starts_with("  now "))
            .collect();
        let expected = [
            "programs: + \"awk\"",
            "sandbox.read: + \"/srv/a\"",
            "sandbox.read: + \"/srv/a\"",
        ];
        assert_eq!(
            changes,
            expected.map(|text| format!("  now       | {text}")),
            "{screen}"
        );
        // The order of another array has a meaning.
        let (one, two) = (json!({"a": [1, 2]}), json!({"a": [2, 1]}));
        assert_eq!(fields_diff(&one, &two).len(), 4);
        let (none, empty) = (json!({}), json!({"programs": []}));
        assert!(!fields_diff(&none, &empty).is_empty());
    }

    #[test]
    fn differences_from_the_last_run_are_shown() {
        let mut sources = case().sources();
        let mut before = case();
        before.definition["source"] = "set -eu\nsystemctl reload nginx\n".into();
        before.definition["interpreter"] = "sh".into();
        let definition = to_canonical(&before.definition);
        let limits = Limits {
            processes: 7,
            ..Limits::default()
        };
        sources.last = Some(LastRun {
            finished_at: "2026-11-19T09:00:00Z".into(),
            digest: StepDigest::of(&definition),
            definition: Some(definition),
            params: json!({"host": "web-2", "gone": 1}),
            runs: 2,
            profile: Some(Profile::nothing(STRICT.to_vec(), limits)),
            permissions: Some(vec![kubectl()]),
            masked: None,
            masked_before: None,
        });
        let screen = painted(&sources, 400, false);
        for expected in [
            "CHANGED since the last successful run (the boundary says: 2026-11-19T09:00:00Z, 2 successes so far): script, definition, sandbox, programs\n",
            "  was     2 | systemctl reload nginx",
            "  now     2 | systemctl restart \"nginx@$PARAM_HOST\"",
            "  was       | interpreter = \"sh\"",
            "  now       | interpreter = \"bash\"",
            "  was       | sandbox.limits.processes = 7",
            "  now       | sandbox.limits.processes = 100",
            "  was       | permission to run: - kubectl\n",
            "  parameters  host = \"web-3\"  (last success: \"web-2\")",
            "gone = nothing  (last success: 1)",
            "  remarks     1. script, definition, sandbox, programs changed since the last success (19 Nov): 2 lines\n",
        ] {
            assert!(screen.contains(expected), "{expected}\n{screen}");
        }
        // A definition with another digest is not compared.
        if let Some(last) = &mut sources.last {
            last.definition = Some(b"{}".to_vec());
        }
        assert!(painted(&sources, 400, false).contains("the earlier definition could not be read"));
    }
}
