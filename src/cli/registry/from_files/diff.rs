//! The `registry diff` command compares files with the seal of a running boundary.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;

use client::{Client, CommandFailure, CommandResult, Exit, PrintableText, Terminal};
use documents::{StepDigest, StepRef};
use reading::{Registry, changed_fields};
use wire::{RegistryView, StepView};

/// Difference between the files and the seal in one step.
#[derive(Serialize)]
struct Difference<'a> {
    step: &'a StepRef,
    change: &'static str,
    /// Changed fields of the definition, if the step changed.
    fields: Vec<String>,
}

pub fn run(files: &Registry, client: &Client, terminal: &Terminal) -> CommandResult {
    let view: RegistryView = client.get("/v1/registry")?;
    let same = view.seal.registry_root == files.root();
    let found = if same {
        Vec::new()
    } else {
        differences(files, &view, client)?
    };
    let exit = if same { Exit::Done } else { Exit::CheckSaidNo };
    if terminal.json {
        terminal.object(json!({"same": same, "seal": view.seal.number, "differences": found}))?;
        return Ok(exit);
    }
    let part = |one: &Difference<'_>| one.step.path().split('/').next().map(str::to_owned);
    for group in
        found.chunk_by(|a, b| a.change == b.change && a.fields == b.fields && part(a) == part(b))
    {
        let (change, fields) = (group[0].change, group[0].fields.join(", "));
        let fields = if fields.is_empty() {
            fields
        } else {
            format!(": {fields}")
        };
        let steps = match group {
            // A renamed directory is one line for its old and one for its new name.
            [first, _, _, .., last] => vec![format!(
                "{} steps, from {} to {}",
                group.len(),
                first.step,
                last.step
            )],
            few => few.iter().map(|one| one.step.to_string()).collect(),
        };
        for step in steps {
            terminal.line(PrintableText::text(&format!("{change} {step}{fields}")))?;
        }
    }
    let seal = view.seal.number;
    terminal.say(&match found.len() {
        0 if same => format!("the files are as in seal {seal}"),
        0 => format!("the files differ from seal {seal} in steps that this token may not see: use another token"),
                1 => format!("1 step differs from seal {seal}"),
        count => format!("{count} steps differ from seal {seal}"),
    });
    Ok(exit)
}

fn differences<'a>(
    files: &'a Registry,
    view: &'a RegistryView,
    client: &Client,
) -> CommandResult<Vec<Difference<'a>>> {
    let sealed: BTreeMap<&StepRef, StepDigest> = view
        .steps
        .iter()
        .map(|step| (&step.reference, step.digest))
        .collect();
    let difference = |step, change, fields| Difference {
        step,
        change,
        fields,
    };
    let mut found = Vec::new();
    for step in files.steps() {
        let reference = &step.definition.reference;
        match sealed.get(reference) {
            Some(digest) if *digest == step.digest => {}
            None => found.push(difference(reference, "added", Vec::new())),
            Some(_) => {
                let old: StepView = client.get(&format!("/v1/steps/{reference}"))?;
                let new = serde_json::from_slice(&step.canonical())
                    .map_err(CommandFailure::unreachable)?;
                let fields = changed_fields(&old.definition, &new);
                found.push(difference(reference, "changed", fields));
            }
        }
    }
    let removed = view
        .steps
        .iter()
        .map(|step| &step.reference)
        .filter(|reference| files.get(reference).is_none());
    found.extend(removed.map(|step| difference(step, "removed", Vec::new())));
    found.sort_by(|a, b| a.step.cmp(b.step));
    Ok(found)
}
