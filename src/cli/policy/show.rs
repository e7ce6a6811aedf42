//! The `policy show` command prints the rules in force with their sources.

use serde::Serialize;
use serde_json::{Value, json};

use crate::{PolicyOptions, is_interpreter};
use client::{CommandResult, Exit, LineTone, Screen, Terminal, aligned, with_header};
use documents::{PermissionKind, Program, joined};
use reading::{ListEntry, ListSide, RuleOrigin, Ruling, TRUSTED, WithOrigin};
use sandbox::always_readable;
use workbench::Project;

/// Show the rules in force and the source of each rule.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign policy show
  countersign policy show deploy/service:restart
  countersign policy show --policy boundary/policy.yaml --json")]
pub struct Args {
    /// A step or a runbook, such as `deploy/service:restart`, which selects overrides and grants
    step: Option<String>,
    #[command(flatten)]
    under: PolicyOptions,
}

pub fn run(args: &Args, terminal: &Terminal) -> CommandResult {
    let runbook = args
        .step
        .as_deref()
        .map(|step| step.rsplit_once(':').map_or(step, |(path, _)| path));
    let held = args.under.hold(Project::here()?, runbook, None)?;
    let ruling = &held.ruling;
    // The order is the order in which policy applies the rules.
    let mut entries: Vec<(&'static str, &'static str, &ListEntry)> = Vec::new();
    for kind in PermissionKind::ALL {
        for lists in [&ruling.written, &*ruling.built_in] {
            for (side, list) in [
                (ListSide::Deny, &lists.of(kind).deny),
                (ListSide::Allow, &lists.of(kind).allow),
            ] {
                entries.extend(
                    list.entries()
                        .iter()
                        .map(|entry| (kind.word(), side.word(), entry)),
                );
            }
        }
    }
    let readable: Vec<String> = always_readable()
        .map(|path| path.display().to_string())
        .collect();
    let (mode, origin) = (ruling.mode.value.word(), &ruling.mode.origin);
    let standing = ruling.standing.as_ref().map(sourced);
    let emergency = ruling.emergency.as_ref().map(sourced);
    if terminal.json {
        let rules: Vec<Value> = entries
            .iter()
            .map(|(kind, side, entry)| {
                json!({"type": kind, "list": side, "pattern": entry.listed.text(), "origin": entry.origin.to_string()})
            })
            .collect();
        let entry = |(name, origin): (&Program, &RuleOrigin)| json!({"name": name, "origin": origin.to_string()});
        let allowed: Vec<Value> = ruling.programs.iter().map(entry).collect();
        terminal.object(json!({
            "policy": held.found.file,
            "digest": held.found.file.as_ref().map(|_| held.found.policy.digest()),
            "mode": {"value": mode, "origin": origin.to_string()},
            "approvals": ruling.approvals.as_ref().map(sourced),
            "standing": standing,
            "emergency": emergency,
            "programs": {"mode": ruling.program_mode.as_ref().map(sourced), "allow": allowed},
            "rules": rules,
            "trusted_directories": TRUSTED,
            "always_readable": readable,
        }))?;
        return Ok(Exit::Done);
    }
    for note in held.other_endings() {
        terminal.say(format!("note: {note}"));
    }
    for warning in warnings(ruling) {
        terminal.say(format!("warning: {warning}"));
    }
    let mut fields = held.heading();
    if held.found.file.is_some() {
        fields.push(("digest", held.found.policy.digest().to_string()));
    }
    fields.push(("mode", format!("{mode}, {origin}")));
    if let Some(rule) = &ruling.approvals {
        let each = if rule.value.each == Some(true) {
            "each of"
        } else {
            "of"
        };
        let text = format!(
            "{} {each} {}, {}",
            rule.value.required,
            joined(&rule.value.from, ","),
            rule.origin
        );
        fields.push(("approvals", text));
    }
    for (name, rule) in [("standing", standing), ("emergency", emergency)] {
        if let Some(rule) = rule {
            let origin = rule["origin"].as_str().unwrap_or_default();
            fields.push((name, format!("{}, {origin}", rule["value"])));
        }
    }
    for (limit, rule) in &ruling.limits {
        let text = format!("{} {}, {}", limit.field(), rule.value, rule.origin);
        fields.push(("limit", text));
    }
    if let Some(rule) = &ruling.proc {
        fields.push(("proc", format!("{}, {}", rule.value, rule.origin)));
    }
    fields.extend(
        programs_lines(ruling)
            .into_iter()
            .map(|line| ("programs", line)),
    );
    let mut screen = Screen::default();
    screen.heading("Policy");
    for (name, value) in fields {
        screen.field(name, &value);
    }
    screen.heading("Rules");
    terminal.show(&screen)?;
    let cells = entries.iter().map(|(kind, side, entry)| {
        [
            (*kind).to_owned(),
            (*side).to_owned(),
            entry.listed.text().to_string(),
            entry.origin.to_string(),
        ]
    });
    let rows = with_header(["KIND", "LIST", "PATTERN", "ORIGIN"], cells);
    terminal.put(aligned(&rows))?;
    let mut screen = Screen::default();
    screen.heading("How they decide");
    screen.say(
        LineTone::Plain,
        "The written deny lists decide first, then the written allow lists, then the built-in lists in the same \
         order, then the mode.",
    );
    screen.say(
        LineTone::Plain,
        &format!(
            "A rule allows a command by its bare name, or by its path in {}.",
            TRUSTED.join(", ")
        ),
    );
    screen.heading("Always readable by a run");
    for path in &readable {
        screen.say(LineTone::Plain, path);
    }
    terminal.line("")?;
    terminal.show(&screen)?;
    Ok(Exit::Done)
}

/// Returns a rule and its source as JSON.
fn sourced<T: Serialize>(rule: &WithOrigin<T>) -> Value {
    json!({"value": rule.value, "origin": rule.origin.to_string()})
}

/// Returns a warning for each written rule that allows more than its pattern suggests.
fn warnings(ruling: &Ruling) -> Vec<String> {
    let mut found = Vec::new();
    for kind in PermissionKind::ALL {
        for entry in ruling.written.of(kind).allow.entries() {
            let (text, origin) = (entry.listed.text(), &entry.origin);
            if entry.listed.is_everything() {
                found.push(format!(
                    "{kind}.allow {text:?} ({origin}) allows everything that no list denies"
                ));
            } else if kind == PermissionKind::Run && is_interpreter(text) {
                found.push(format!(
                    "run.allow {text:?} ({origin}) allows everything that this program can run, so only the sandbox \
                     restricts it"
                ));
            }
        }
    }
    found
}

/// Returns a line with the mode of the list of programs, and one line for each rule that adds programs to the list.
fn programs_lines(ruling: &Ruling) -> Vec<String> {
    let mode = ruling
        .program_mode
        .iter()
        .map(|mode| format!("{}, {}", mode.value, mode.origin));
    let mut lines: Vec<String> = mode.collect();
    let mut origins: Vec<(&RuleOrigin, Vec<&str>)> = Vec::new();
    for (name, origin) in &ruling.programs {
        match origins.iter_mut().find(|(other, _)| *other == origin) {
            Some((_, names)) => names.push(name.as_str()),
            None => origins.push((origin, vec![name.as_str()])),
        }
    }
    lines.extend(
        origins
            .into_iter()
            .map(|(origin, names)| format!("{}, {origin}", names.join(", "))),
    );
    lines
}
