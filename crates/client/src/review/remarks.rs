//! Builds the remarks that an approver should read before signing.

use serde_json::Value;

use crate::{
    COVERED, Derived, DisplayScripts, EmergencyApproval, MOST_LINES, MOST_PARAMETERS,
    PrintableText, RemarkSeverity, ReviewFinding, ReviewLine, ReviewSources, RosterSource,
    RunComparison, TRUSTED, leaves, lines_of, path_key, plain_or_quoted,
    review::{
        render::{hidden, permission_line},
        run_inputs,
        value_words::{ScriptPlaces, clock, counted, day, grouped},
    },
    rule_words, short_id, told_rules,
};
use documents::{
    Approvals, Authorization, OWN_PROGRAMS, PermissionKind, PermissionReason, Profile, STRICT,
    Timestamp, Workdir, joined, to_canonical,
};
use reading::SandboxPermission;
use wire::{ProposalStatus, pairs};

/// Maximum size of a value, in bytes, without a remark about its length. The decision screen shows such a value in full.
const LONG: usize = 180;

/// Returns the remarks that follow from the signed bytes alone, which the `inbox` command shows too. `files` has the texts
/// of the step's files with their places.
pub fn of_statement(
    signed: &Authorization,
    definition: Option<&Value>,
    files: &[(String, String)],
    places: &ScriptPlaces,
) -> Vec<ReviewLine> {
    let mut remarks = host_needs(&signed.sandbox);
    remarks.extend(of_permissions(signed, places));
    remarks.extend(not_listed(signed));
    let mut texts = texts_of(&serde_json::to_value(signed).unwrap_or_default(), "");
    if let Some(definition) = definition {
        texts.extend(texts_of(definition, "definition"));
    }
    remarks.extend(long_values(&texts, &signed.params));
    texts.extend_from_slice(files);
    remarks.extend(hidden_texts(&texts));
    remarks.extend(only_above(&signed.params));
    remarks
}

/// Returns one remark for each resource that a run gets from the host.
fn host_needs(profile: &Profile) -> Vec<ReviewLine> {
    let mut remarks = Vec::new();
    let missing = STRICT
        .iter()
        .filter(|layer| !profile.require.contains(layer))
        .map(|layer| layer.word());
    let missing = joined(missing, ", ");
    if profile.off_reason.is_none() && !missing.is_empty() {
        let text = format!("the step runs even if the sandbox lacks these layers: {missing}");
        remarks.push(ReviewLine::remark(RemarkSeverity::HostNeed, &text));
    }
    for permission in SandboxPermission::ALL {
        let line = permission_line(permission, profile);
        let severity = match permission {
            SandboxPermission::Off => RemarkSeverity::SandboxOff,
            SandboxPermission::RunAs => RemarkSeverity::HostIdentity,
            SandboxPermission::Write if profile.workdir == Workdir::InPlace => {
                RemarkSeverity::LiveTree
            }
            SandboxPermission::Network => RemarkSeverity::Network,
            SandboxPermission::Read
            | SandboxPermission::Write
            | SandboxPermission::Deny
            | SandboxPermission::Workdir
            | SandboxPermission::Sockets
            | SandboxPermission::Proc => RemarkSeverity::HostNeed,
        };
        if line.is_remark {
            let quoted = line
                .values
                .iter()
                .map(|(value, words)| PrintableText::quoted(value).and(words));
            let values = PrintableText::joined(quoted, ", ");
            let shows = line
                .shows
                .iter()
                .map(|field| format!("signed.predicate.sandbox.{field}"));
            remarks.push(
                ReviewLine::remark(severity, PrintableText::words(line.words).then(&values))
                    .showing(shows),
            );
        }
    }
    remarks
}

/// Returns remarks about permissions that a built-in list denies, and about permissions whose program or file is
/// unknown before the run. The permissions that no list names are on a separate line of the screen.
fn of_permissions(signed: &Authorization, places: &ScriptPlaces) -> Vec<ReviewLine> {
    let mut remarks = Vec::new();
    for (why, severity) in [
        (PermissionReason::Unknown, RemarkSeverity::Unknowable),
        (PermissionReason::BuiltInDeny, RemarkSeverity::BuiltInDenied),
    ] {
        for kind in PermissionKind::ALL {
            let asked = asked(signed, kind, why);
            if asked.is_empty() {
                continue;
            }
            let names = places.with_lines(kind, &asked);
            let text = PrintableText::words(verb(kind)).then(&names);
            let text = match why {
                PermissionReason::Unknown => text
                    .and(": unknown before the run; your signature allows whatever this is, ")
                    .and(how_often(signed)),
                PermissionReason::BuiltInDeny | PermissionReason::Unlisted => {
                    text.and(": denied by a built-in list")
                }
            };
            let shows = asked.iter().flat_map(|(at, _)| permission_paths(*at));
            remarks.push(ReviewLine::remark(severity, text).showing(shows));
        }
    }
    remarks
}

/// Returns a remark about paths that policy asks about, but that the list of programs does not contain.
///
/// A name without `/` may be a builtin of the shell, which needs no entry.
fn not_listed(signed: &Authorization) -> Option<ReviewLine> {
    let list = signed.sandbox.listed();
    if list.is_empty() || list.iter().any(|one| one.name.as_str() == OWN_PROGRAMS) {
        return None;
    }
    let listed = |what: &str| {
        let name = what.rsplit('/').next().unwrap_or_default();
        list.iter().any(|one| {
            one.name.as_str() == name || one.path.as_str().rsplit('/').next() == Some(name)
        })
    };
    let reasons = [PermissionReason::Unlisted, PermissionReason::BuiltInDeny];
    let asked = reasons
        .into_iter()
        .flat_map(|why| asked(signed, PermissionKind::Run, why));
    let names: Vec<_> = asked
        .map(|(_, what)| what)
        .filter(|what| what.contains('/') && !listed(what))
        .collect();
    if names.is_empty() {
        return None;
    }
    let text = PrintableText::joined(names.into_iter().map(plain_or_quoted), ", ").and(
        ": not in the list of programs, so such a file can't start on the boundary's host, unless it is a link to a listed \
         program or an executable file of the step",
    );
    Some(ReviewLine::remark(RemarkSeverity::HostNeed, text))
}

/// Returns the permissions of this kind for which policy gives this reason, with their positions.
pub fn asked(
    signed: &Authorization,
    kind: PermissionKind,
    why: PermissionReason,
) -> Vec<(usize, &str)> {
    let permissions = signed.permissions.iter().enumerate();
    let asked =
        permissions.filter(|(_, permission)| permission.kind == kind && permission.why == why);
    asked
        .map(|(at, permission)| (at, permission.what.as_str()))
        .collect()
}

/// Returns the paths of the three fields of a permission.
pub fn permission_paths(at: usize) -> [String; 3] {
    ["type", "what", "why"].map(|field| format!("signed.predicate.permissions[{at}].{field}"))
}

/// Returns how often a signature allows its permissions: once, or in each run under a grant.
pub fn how_often(signed: &Authorization) -> &'static str {
    if signed.grant.is_some() {
        "in each run"
    } else {
        "once"
    }
}

/// Returns the verb for a permission of this kind, or an empty text for a program.
pub fn verb(kind: PermissionKind) -> &'static str {
    match kind {
        PermissionKind::Run => "",
        PermissionKind::Read => "reads ",
        PermissionKind::Write => "writes ",
        PermissionKind::Env => "takes from the environment ",
    }
}

/// Returns all texts and field names of a document, each with its place.
fn texts_of(document: &Value, prefix: &str) -> Vec<(String, String)> {
    let mut texts = Vec::new();
    for (path, value) in leaves(document) {
        let place = if prefix.is_empty() {
            path.trim_start_matches('.').to_owned()
        } else {
            format!("{prefix}{path}")
        };
        if let Value::String(text) = value {
            texts.push((place, text.clone()));
        }
    }
    keys_of(document, prefix, &mut texts);
    texts
}

fn keys_of(value: &Value, place: &str, texts: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                if !key.is_ascii() || key.bytes().any(|c| c.is_ascii_control()) {
                    texts.push((format!("a name in {place}"), key.clone()));
                }
                keys_of(value, if place.is_empty() { key } else { place }, texts);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| keys_of(item, place, texts)),
        _ => {}
    }
}

/// Returns one remark about all texts with hidden characters.
fn hidden_texts(texts: &[(String, String)]) -> Option<ReviewLine> {
    let mut told: Vec<PrintableText> = Vec::new();
    for (place, text) in texts {
        let is_prose = place.starts_with("params.")
            || ["reason", "definition.title"].contains(&place.as_str());
        let what = hidden(text, is_prose.then(DisplayScripts::of_process));
        if what.is_empty() {
            continue;
        }
        let more = what.len().saturating_sub(MOST_KINDS);
        let mut words = place_name(place).and(" has ").then(PrintableText::joined(
            what.into_iter().take(MOST_KINDS),
            ", ",
        ));
        if more > 0 {
            words = words.then(format!(" and {more} more"));
        }
        told.push(words);
    }
    if told.is_empty() {
        return None;
    }
    let more = told.len().saturating_sub(MOST_PLACES);
    let mut text = PrintableText::words("hidden text: ").then(PrintableText::joined(
        told.into_iter().take(MOST_PLACES),
        "; ",
    ));
    if more > 0 {
        let fields = if more == 1 {
            "another field has"
        } else {
            &*format!("{more} other fields have")
        };
        text = text.then(format!("; {fields} some too"));
    }
    Some(ReviewLine::remark(RemarkSeverity::HiddenText, text))
}

/// Maximum number of findings for one field. `MOST_PLACES` is the maximum number of fields.
const MOST_KINDS: usize = 3;
const MOST_PLACES: usize = 4;
/// Maximum number of characters of the name of a place.
const MOST_OF_PLACE: usize = 80;

/// Names the place of a text. The proposer can choose a long name of a field.
fn place_name(place: &str) -> PrintableText {
    let words = match place.strip_prefix("params.") {
        Some(name) => format!("the parameter {name}"),
        None if place == "definition.source" => "the script".to_owned(),
        None if place == "definition.title" => "the title".to_owned(),
        None if place == "reason" => "the reason".to_owned(),
        None => place.to_owned(),
    };
    PrintableText::text(&words).cut(MOST_OF_PLACE)
}

/// Returns one remark about all long values except the script, which the screen always shows in full.
fn long_values(texts: &[(String, String)], params: &Value) -> Option<ReviewLine> {
    let texts = texts
        .iter()
        .filter(|(place, _)| place != "definition.source");
    let texts = texts.map(|(place, text)| (place.clone(), text.len()));
    let folded = params
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, value)| value.is_array() || value.is_object());
    let folded = folded.map(|(key, value)| {
        (
            format!("params.{}", path_key(key)),
            to_canonical(value).len(),
        )
    });
    let long: Vec<_> = texts
        .chain(folded)
        .filter(|(_, size)| *size > LONG)
        .collect();
    let named = long.iter().take(MOST_PLACES);
    let named = named.map(|(place, size)| place_name(place).then(format!(" has {size} bytes")));
    let mut told = PrintableText::joined(named, ", ");
    if long.len() > MOST_PLACES {
        told = told.then(format!(" and {} more are long", long.len() - MOST_PLACES));
    }
    let words = match long.len() {
        0 => return None,
        1 => ": read it whole",
        _ => ": read them whole",
    };
    Some(ReviewLine::remark(
        RemarkSeverity::LongValue,
        told.and(words),
    ))
}

/// Returns a remark about the parameters that the decision screen leaves out.
fn only_above(params: &Value) -> Option<ReviewLine> {
    let more = params
        .as_object()
        .map_or(0, serde_json::Map::len)
        .saturating_sub(MOST_PARAMETERS);
    if more == 0 {
        return None;
    }
    let (are, them) = if more == 1 {
        ("parameter is", "it")
    } else {
        ("parameters are", "them")
    };
    let text = format!(
        "{more} {are} shown only above the script, under \"Values in full\": read {them} there"
    );
    Some(ReviewLine::remark(RemarkSeverity::LongValue, &text))
}

/// Returns the remarks about the comparison with the last successful run.
pub fn of_comparison(
    sources: &ReviewSources,
    signed: &Authorization,
    comparison: &RunComparison,
    now: Timestamp,
) -> Vec<ReviewLine> {
    let mut remarks = Vec::new();
    match comparison {
        RunComparison::Unknown => {}
        RunComparison::First => {
            let text = PrintableText::words("no success of this step is known");
            remarks.push(ReviewLine::remark(RemarkSeverity::FirstRun, text));
        }
        RunComparison::Since { changed, .. } if changed.is_empty() => {}
        RunComparison::Since {
            changed, script, ..
        } => {
            let at = sources.last.as_ref().map_or("", |last| &*last.finished_at);
            let lines = match script.len() {
                0 => String::new(),
                lines => format!(": {}", counted(lines, "line")),
            };
            let day = day(at, &now.to_string());
            let text = format!(
                "{} changed since the last success ({day}){lines}",
                changed.join(", ")
            );
            remarks.push(ReviewLine::remark(RemarkSeverity::Changed, &text));
        }
    }
    remarks.extend(masked(sources, signed));
    remarks
}

/// Returns a remark about an earlier run of this step with these parameters whose end nobody saw. The run may have had its
/// effect.
pub fn unknown_end(sources: &ReviewSources, now: Timestamp) -> Option<ReviewLine> {
    let run = sources.unknown_end.as_ref()?;
    let words = format!(
        "the same run ended unknown at {} (",
        clock(run.finished_at, now)
    );
    let text = PrintableText::text(&words)
        .then(short_id(run.receipt.as_str()))
        .and(")");
    Some(ReviewLine::remark(RemarkSeverity::UnknownEnd, text))
}

/// Returns a remark for each other proposal of the same run, as the boundary reports them. The proposer may have asked twice
/// for one run.
pub fn same_runs(sources: &ReviewSources, now: Timestamp) -> impl Iterator<Item = ReviewLine> {
    sources.same_runs.iter().map(move |other| {
        let words = match (other.status, other.ended_at) {
            (ProposalStatus::Pending, _) => "is also pending".to_owned(),
            (status @ (ProposalStatus::Finished | ProposalStatus::Denied), Some(at)) => {
                let how = if status == ProposalStatus::Denied {
                    "was denied"
                } else {
                    "succeeded"
                };
                match (now.unix() - at.unix()).max(0) {
                    seconds @ 0..60 => format!("{how} {seconds} s ago"),
                    seconds => format!("{how} {} min ago", seconds / 60),
                }
            }
            (status, _) => format!("is also {status}"),
        };
        let text = PrintableText::text(&format!("the same run {words} ("));
        let text = text.then(short_id(other.proposal.as_str())).and(")");
        ReviewLine::remark(RemarkSeverity::SameRun, text)
    })
}

/// Maximum number of characters for the claims of a job.
const MOST_CLAIMS: usize = 320;

/// Returns the line about the CI job that made the proposal. No signature covers the line, so it names its source.
pub fn job(sources: &ReviewSources) -> Option<ReviewLine> {
    let job = sources.job.as_ref()?;
    // A long claim must not push the other lines of the decision off the screen.
    let claims = PrintableText::text(&pairs(&job.claims)).cut(MOST_CLAIMS);
    let page = job.job.iter().map(|page| format!(", job {page}"));
    let bound = job
        .bind
        .iter()
        .map(|(parameter, claim)| format!("; {parameter} is its claim {claim}"));
    let text = PrintableText::words("the boundary says: admitted by OIDC of ")
        .then(&job.issuer)
        .and(" as ")
        .then(&claims)
        .then(page.chain(bound).collect::<String>());
    Some(ReviewLine::always("job", text))
}

/// Returns the remark about an emergency: who approves the run, who does normally, and who must review it afterwards.
pub fn emergency(found: &Derived) -> Option<ReviewLine> {
    if !found.is_emergency() {
        return None;
    }
    let definition = found.step();
    let words = |rules: &[(&'static str, Approvals)]| {
        joined(
            told_rules(rules, definition)
                .into_iter()
                .map(|(_, rule)| rule_words(rule)),
            " and ",
        )
    };
    let text = match &found.emergency {
        Some(EmergencyApproval { rule, normally }) => format!(
            "EMERGENCY: approved by {}, normally by {}; afterwards {} must review the run",
            words(&found.rules),
            words(normally),
            rule_words(&rule.review.approvals())
        ),
        None => {
            "EMERGENCY: other people approve the run than normally, and people must review it afterwards; this program \
                 found no rule for this"
                .to_owned()
        }
    };
    let shows = ["signed.predicate.emergency".to_owned()];
    Some(ReviewLine::remark(RemarkSeverity::Emergency, &text).showing(shows))
}

/// Returns a remark about files whose content can't be shown, and a remark about long texts.
pub fn of_contents(signed: &Authorization, found: &Derived) -> Vec<ReviewLine> {
    let opaque: Vec<_> = found
        .contents()
        .filter(|one| one.text().is_none())
        .collect();
    let mut remarks = Vec::new();
    if !opaque.is_empty() {
        let named = opaque.iter().take(MOST_PLACES).map(|one| {
            let from = match one.kind {
                "file" => "of the runbook".to_owned(),
                _ => format!("from {}", signed.proposer),
            };
            let words = format!(
                ": content that can't be shown, {} bytes {from}",
                grouped(one.size())
            );
            plain_or_quoted(&one.name)
                .cut(run_inputs::MOST_OF_NAME)
                .then(&words)
        });
        let mut text = PrintableText::joined(named, "; ");
        if opaque.len() > MOST_PLACES {
            text = text.then(format!("; and {} more files", opaque.len() - MOST_PLACES));
        }
        remarks.push(ReviewLine::remark(RemarkSeverity::Opaque, text));
    }
    let script = found
        .step()
        .into_iter()
        .map(|step| (String::new(), step.source.clone()));
    let long = script
        .chain(found.texts().map(|(place, text)| (place + " has ", text)))
        .map(|(place, text)| (place, lines_of(&text).0.len()))
        .filter(|(_, lines)| *lines > MOST_LINES);
    let named: Vec<_> = long
        .map(|(place, lines)| PrintableText::text(&(place + &counted(lines, "line"))))
        .collect();
    if !named.is_empty() {
        let text = PrintableText::joined(named, ", ").and(": read all of them; f shows them again");
        remarks.push(ReviewLine::remark(RemarkSeverity::LongValue, text));
    }
    remarks
}

/// Returns a remark about denied file names that the last run masked, because a mask covers a file only if the file
/// exists when a run starts.
fn masked(sources: &ReviewSources, signed: &Authorization) -> Option<ReviewLine> {
    let last = sources.last.as_ref()?;
    let names = |count: u64| counted(count, "denied name");
    let (severity, text) = match (last.masked.unwrap_or(0), last.masked_before) {
        (_, Some(before)) => {
            let text = format!(
                "the last run hid none of the {} that the run before hid: these names were moved or removed, and a run \
                 may read the files",
                names(before)
            );
            (RemarkSeverity::LiveTree, text)
        }
        (0, None) => return None,
        (now, None) if signed.sandbox.deny.is_empty() => (
            RemarkSeverity::LiveTree,
            format!(
                "the last run hid {}, but this profile hides no name",
                names(now)
            ),
        ),
        (now, None) => {
            let text = format!(
                "the last run hid {}; which names this run can't see is decided when the run starts",
                names(now)
            );
            (RemarkSeverity::HostNeed, text)
        }
    };
    Some(ReviewLine::remark(severity, &text))
}

/// Returns remarks about failed checks, missing documents and signatures that do not count.
pub fn of_checks(sources: &ReviewSources, found: &Derived) -> Vec<ReviewLine> {
    let mut remarks = Vec::new();
    let mut add = |text: &str| remarks.push(ReviewLine::remark(RemarkSeverity::Fails, text));
    let no_trust = !matches!(sources.roster, RosterSource::Trusted(..));
    for check in &found.checks {
        if let ReviewFinding::Fails(why) = &check.finding {
            add(&format!("NOT TRUE: {}: {why}", check.what));
        }
    }
    if no_trust {
        add(
            "You trust no roster for this boundary. Only the boundary itself states who may approve, who the boundary \
             is and which policy is in force. You can't sign anything like this.",
        );
    }
    // One remark names all documents that are missing for the same reason.
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for missing in &sources.missing {
        let (what, why) = missing.split_once(": ").unwrap_or((missing, ""));
        match reasons.iter_mut().find(|(reason, _)| *reason == why) {
            Some((_, things)) => things.push(what),
            None => reasons.push((why, vec![what])),
        }
    }
    for (why, things) in reasons {
        add(&format!(
            "these documents could not be fetched: {}: {why}",
            things.join(", ")
        ));
    }
    let open = found
        .checks
        .iter()
        .filter_map(|check| match &check.finding {
            ReviewFinding::NotChecked(why)
                if check.what != COVERED && !(no_trust && check.what == TRUSTED) =>
            {
                Some(format!("{} ({why})", check.what))
            }
            _ => None,
        });
    let open = joined(open, "; ");
    if !open.is_empty() {
        add(&format!("not checked: {open}"));
    }
    for stranger in &found.strangers {
        add(&format!(
            "a signature in the file does not count: {stranger}"
        ));
    }
    remarks
}

#[cfg(test)]
mod tests;
