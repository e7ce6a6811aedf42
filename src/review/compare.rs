//! Compares the proposed run with the last successful run of the step. All data about the last run comes from the
//! boundary and is not verified.

use serde_json::Value;
use similar::ChangeTag;
use similar::algorithms::{Capture, Compact, Replace, myers};

use crate::crypto::digest::StepDigest;
use crate::crypto::{canonical, json};
use crate::record::authorization::{Authorization, PermissionKind};
use crate::record::step_definition::{MAX_DEFINITION_BYTES, StepDefinition};
use crate::review::comparison::{LineDifference, RunComparison};
use crate::review::derived::Derived;
use crate::review::sources::{LastRun, ReviewSources};
use crate::review::value_words::counted;
use crate::terminal::field_paths::leaves;
use crate::terminal::printable_text::PrintableText;

/// Compares the proposed run with the last successful run of the step.
#[must_use]
pub fn compare(sources: &ReviewSources, found: &Derived, signed: &Authorization) -> RunComparison {
    let Some(last) = &sources.last else {
        return if sources.asked_last { RunComparison::First } else { RunComparison::Unknown };
    };
    let mut changed = Vec::new();
    let (mut script, mut fields) = (Vec::new(), Vec::new());
    if last.digest != signed.step.digest {
        let before = last.definition.as_ref().filter(|bytes| StepDigest::of(bytes) == last.digest).and_then(|bytes| {
            let value = canonical::parse_canonical(bytes, MAX_DEFINITION_BYTES).ok()?;
            json::typed::<StepDefinition>(&value).ok().map(|definition| (definition, value))
        });
        match (&before, &found.definition) {
            (Some((old, old_value)), Some((new, new_value))) => {
                script = lines_diff(&old.source, &new.source);
                if !script.is_empty() {
                    changed.push("script".to_owned());
                }
                let other = fields_diff(&without_source(old_value), &without_source(new_value));
                if !other.is_empty() {
                    changed.push("definition".to_owned());
                }
                fields.extend(other);
            }
            _ => changed.push("the earlier definition could not be read".to_owned()),
        }
    }
    if let Some(profile) = &last.profile {
        let values = (serde_json::to_value(profile), serde_json::to_value(&signed.sandbox));
        if let (Ok(old), Ok(new)) = values
            && old != new
        {
            changed.push("sandbox".to_owned());
            fields.extend(fields_diff(&serde_json::json!({"sandbox": old}), &serde_json::json!({"sandbox": new})));
        }
    }
    if let Some(before) = &last.permissions {
        let runs = |permissions: &[crate::record::authorization::Permission]| -> Vec<String> {
            let runs = permissions.iter().filter(|permission| permission.kind == PermissionKind::Run);
            runs.map(|permission| permission.what.clone()).collect()
        };
        let (old, new) = (runs(before), runs(&signed.permissions));
        if old != new {
            changed.push("programs".to_owned());
            let list = |programs: &[String]| serde_json::json!({ "programs": programs });
            fields.extend(fields_diff(&list(&old), &list(&new)));
        }
    }
    let compared = match (&last.profile, &last.permissions) {
        (Some(_), Some(_)) => "script, sandbox and programs",
        _ => "script",
    };
    RunComparison::Since { last: words_of(last), compared, changed, script, fields }
}

fn words_of(last: &LastRun) -> String {
    match usize::try_from(last.runs) {
        Ok(runs) if runs > 0 => format!("the boundary says: {}, {} so far", last.finished_at, counted(runs, "success")),
        _ => format!("the boundary says: {}", last.finished_at),
    }
}

fn without_source(definition: &Value) -> Value {
    let mut definition = definition.clone();
    if let Value::Object(fields) = &mut definition {
        fields.remove("source");
    }
    definition
}

fn lines_diff(old: &str, new: &str) -> Vec<LineDifference> {
    let lines = |text| str::split_inclusive(text, '\n').collect::<Vec<&str>>();
    let (old, new) = (lines(old), lines(new));
    // Call the Myers algorithm directly, because the function of `similar` for texts would link all its algorithms into
    // the program.
    let mut found = Compact::new(Replace::new(Capture::new()), &old[..], &new[..]);
    let Ok(()) = myers::diff(&mut found, &old[..], 0..old.len(), &new[..], 0..new.len());
    let ops = found.into_inner().into_inner().into_ops();
    let changes = ops.iter().flat_map(|op| op.iter_changes(&old[..], &new[..])).filter_map(|change| {
        let (was, index) = match change.tag() {
            ChangeTag::Equal => return None,
            ChangeTag::Delete => (true, change.old_index()),
            ChangeTag::Insert => (false, change.new_index()),
        };
        let text = change.value();
        let text = match text.strip_suffix('\n') {
            Some(line) => PrintableText::source(line),
            None => PrintableText::source(text).and(" (no newline at the end)"),
        };
        Some(LineDifference { was, number: index.map(|index| index + 1), text })
    });
    changes.collect()
}

fn fields_diff(old: &Value, new: &Value) -> Vec<LineDifference> {
    let list = |document: &Value| -> Vec<PrintableText> {
        let mut found = Vec::new();
        leaves(document, String::new(), &mut found);
        let found = found.into_iter();
        found
            .map(|(path, value)| PrintableText::path(path.trim_start_matches('.')).then(&PrintableText::value(value)))
            .collect()
    };
    let (old, new) = (list(old), list(new));
    let change = |was: bool| move |text: &PrintableText| LineDifference { was, number: None, text: text.clone() };
    let gone = old.iter().filter(|leaf| !new.contains(leaf)).map(change(true));
    let come = new.iter().filter(|leaf| !old.contains(leaf)).map(change(false));
    gone.chain(come).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::crypto::canonical::to_canonical;
    use crate::crypto::digest::StepDigest;
    use crate::record::profile::{Limits, Profile, STRICT};
    use crate::review::review_case::{case, kubectl, painted};
    use crate::review::sources::LastRun;

    #[test]
    fn differences_from_the_last_run_are_shown() {
        let mut sources = case().sources();
        let mut before = case();
        before.definition["source"] = "set -eu\nsystemctl reload nginx\n".into();
        before.definition["interpreter"] = "sh".into();
        let definition = to_canonical(&before.definition);
        let limits = Limits { processes: 7, ..Limits::default() };
        sources.last = Some(LastRun {
            receipt: "rcp_019aa0b0-5c00-7000-8000-000000000000".into(),
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
            "  was       | programs[0] = \"kubectl\"",
            "  parameters  host = \"web-3\"  (last success: \"web-2\")",
            "gone = nothing  (last success: 1)",
            "  remarks     1. changed since the last success: script, definition, sandbox, programs; ",
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
