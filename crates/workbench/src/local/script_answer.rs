//! What policy answers about one script.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use client::PrintableText;
use documents::{PermissionKind, Program};
use reading::{
    Decided, DecisionPlace, Flags, Mode, PolicyDecision, PolicyVerdict, ProgramOrigin,
    RegisteredStep, Ruling, ScriptOrigin, StepPlace, TextPlace, decide_step, is_listed,
    named_origins, not_listable, with_started,
};

/// What policy answers about one script.
pub struct ScriptAnswer {
    /// File name, or reference of a step.
    pub name: String,
    /// Interpreter of the script.
    pub interpreter: String,
    /// The decision about each command.
    pub decision: PolicyDecision,
    /// Programs in the list of the run, each with its origin. `None` if policy does not allow the script, or if the run
    /// may execute every program. At a terminal, a run also has a list if policy does not say which programs can start.
    pub programs: Option<BTreeMap<Program, ProgramOrigin>>,
    /// Commands that no list can contain.
    pub not_listable: Vec<String>,
    /// What a run may execute if neither policy nor the step says `listed`. `None` if policy does not allow the script.
    pub without_list: Option<String>,
    /// The file, as the user named it.
    file: String,
    /// Place of the step, or `None` for a file that is a script.
    step: Option<StepPlace>,
}

impl ScriptAnswer {
    /// Returns the file, the line and the column of a place in the script.
    fn in_file(&self, place: TextPlace) -> (String, TextPlace) {
        match &self.step {
            Some(step) => {
                let found = step.in_script(place);
                (found.file, found.place)
            }
            None => (self.file.clone(), place),
        }
    }

    /// Returns a place in the script as `file:line:column`.
    pub fn words_of(&self, place: TextPlace) -> String {
        let (file, place) = self.in_file(place);
        format!("{file}:{place}")
    }

    /// Returns the cells of a table row: place, item, wrappers, answer, rule.
    pub fn row(&self, one: &Decided) -> [String; 5] {
        let place = one
            .place
            .map_or_else(|| "-".to_owned(), |place| self.words_of(place));
        let through = if one.via.is_empty() {
            "-".to_owned()
        } else {
            one.via.join(" > ")
        };
        // The text for a variable is not `env PATH`, because that would look like a call of the program `env`.
        let kind = if one.kind == PermissionKind::Env {
            "set"
        } else {
            one.kind.word()
        };
        [
            place,
            format!("{kind} {}", one.what),
            through,
            verdict(one.verdict).to_owned(),
            one.rule.to_string(),
        ]
    }
}

/// A script about which policy decided.
pub struct JudgedScript<'a> {
    /// File name, or reference of a step.
    pub name: String,
    /// Interpreter of the script.
    pub interpreter: String,
    /// Text of the script.
    pub source: &'a str,
    /// Programs that the step declares.
    pub declared: &'a [Program],
    /// True if policy or the step says `listed`.
    pub listed: bool,
    /// True if the step declares `sandbox=off`.
    pub off: bool,
}

impl ScriptAnswer {
    /// Decides about the script of a step.
    pub fn of_step(
        ruling: &Ruling,
        found: &RegisteredStep,
        at: DecisionPlace,
        flags: &Flags,
    ) -> Self {
        let step = found.sample();
        let lines = found
            .template
            .as_ref()
            .map(|template| template.sample_lines(&found.definition.source));
        let script = JudgedScript {
            name: name_of(found),
            interpreter: step.interpreter.clone(),
            source: &step.source,
            declared: step.programs.as_deref().unwrap_or_default(),
            listed: is_listed(ruling, &step),
            off: step.sandbox.off_reason.is_some(),
        };
        let decision = decide_step(ruling, &step, at, flags);
        let mut answered = Self::new(ruling, script, decision, at, String::new());
        place_in_source(&mut answered.decision, &lines.unwrap_or_default());
        answered.step.clone_from(&found.place);
        answered
    }

    /// Returns the answer about a script, about which policy has decided.
    pub fn new(
        ruling: &Ruling,
        script: JudgedScript<'_>,
        decision: PolicyDecision,
        at: DecisionPlace,
        file: String,
    ) -> Self {
        let JudgedScript {
            name,
            interpreter,
            source,
            declared,
            listed,
            off,
        } = script;
        let at_boundary = at != DecisionPlace::Terminal;
        let may_run = decision.verdict != PolicyVerdict::Deny;
        let without_list = (may_run && !listed).then(|| without_list(ruling, at_boundary, off));
        // Without a mode of programs, `countersign run` has a list unless policy says `mode: execute`.
        let by_default = ruling.program_mode.is_none() && ruling.mode.value != Mode::Execute;
        let has_list = may_run && (listed || (!at_boundary && !off && by_default));
        let not_listable = not_listable(&decision)
            .into_iter()
            .filter(|_| has_list)
            .map(str::to_owned)
            .collect();
        let programs = has_list.then(|| {
            with_started(
                ruling,
                named_origins(ruling, &interpreter, declared, source, &decision),
            )
        });
        Self {
            name,
            interpreter,
            decision,
            programs,
            not_listable,
            without_list,
            file,
            step: None,
        }
    }
}

/// Returns what a run may execute if neither policy nor the step says `listed`.
fn without_list(ruling: &Ruling, boundary: bool, is_off: bool) -> String {
    let why = match &ruling.program_mode {
        _ if is_off => "the step declares sandbox=off".to_owned(),
        // The only other value of the mode is `listed`.
        Some(mode) => format!("policy says sandbox.programs.mode: any ({})", mode.origin),
        None if boundary => "policy has no sandbox.programs.mode".to_owned(),
        None if ruling.mode.value == Mode::Execute => {
            format!("policy says mode: execute ({})", ruling.mode.origin)
        }
        None => {
            return "`countersign run` uses this list of programs; at a boundary every program can start".to_owned();
        }
    };
    let unused = if ruling.programs.is_empty() {
        ""
    } else {
        ", so sandbox.programs.allow has no effect"
    };
    format!("every program can start: {why}{unused}")
}

/// Returns the reference of a step, with the file of its script if the script is not in the runbook.
fn name_of(step: &RegisteredStep) -> String {
    let reference = &step.definition.reference;
    match step.place.as_ref().map(|place| &place.script) {
        Some(ScriptOrigin::File(file)) => format!("{reference} in {}", file.path),
        _ => reference.to_string(),
    }
}

/// Changes places in a script to places in its template. A command of several branches remains once.
fn place_in_source(decision: &mut PolicyDecision, lines: &[usize]) {
    if lines.is_empty() {
        return;
    }
    for place in decision
        .decided
        .iter_mut()
        .filter_map(|one| one.place.as_mut())
    {
        place.line = lines.get(place.line - 1).copied().unwrap_or(place.line);
    }
    let mut seen: Vec<Decided> = Vec::new();
    for one in std::mem::take(&mut decision.decided) {
        if !seen.contains(&one) {
            seen.push(one);
        }
    }
    seen.sort_by_key(|one| one.place);
    decision.decided = seen;
}

/// Returns the strictest of several verdicts.
pub fn worst(verdicts: impl Iterator<Item = PolicyVerdict>) -> PolicyVerdict {
    let rank = |verdict: &PolicyVerdict| match verdict {
        PolicyVerdict::Allow => 0,
        PolicyVerdict::Ask(_) => 1,
        PolicyVerdict::Deny => 2,
    };
    verdicts.max_by_key(rank).unwrap_or(PolicyVerdict::Allow)
}

/// Returns the answer for a reader.
pub fn verdict(verdict: PolicyVerdict) -> &'static str {
    match verdict {
        PolicyVerdict::Allow => "allowed",
        PolicyVerdict::Ask(_) => "asked",
        PolicyVerdict::Deny => "DENIED",
    }
}

/// The heads of the table of [`ScriptAnswer::row`].
pub const HEADS: [&str; 5] = ["PLACE", "WHAT", "THROUGH", "ANSWER", "RULE"];

/// Returns the line above the table of a script.
pub fn heading(one: &ScriptAnswer) -> String {
    let said = match one.decision.verdict {
        PolicyVerdict::Allow => "allowed",
        PolicyVerdict::Ask(_) => "would ask",
        PolicyVerdict::Deny => "DENIED",
    };
    PrintableText::text(&format!("{} ({}): {said}", one.name, one.interpreter)).to_string()
}

/// Returns the parse error if the script could not be parsed.
pub fn not_understood(one: &ScriptAnswer) -> Option<String> {
    let stop = one.decision.not_understood.as_ref()?;
    let words = format!("{}: {}", one.words_of(stop.place), stop.message);
    Some(PrintableText::text(&words).to_string())
}

/// Returns the answer as JSON.
pub fn to_json(one: &ScriptAnswer) -> Value {
    let command = |decided: &Decided| {
        let mut value = json!({
            "type": decided.kind, "what": decided.what, "via": decided.via, "verdict": word_of(decided.verdict),
            "rule": decided.rule.to_string(),
        });
        if let PolicyVerdict::Ask(why) = decided.verdict {
            value["why"] = json!(why);
        }
        if let Some(place) = decided.place {
            let (file, place) = one.in_file(place);
            value["file"] = file.into();
            value["line"] = place.line.into();
            value["column"] = place.column.into();
        }
        value
    };
    let commands: Vec<Value> = one.decision.decided.iter().map(command).collect();
    let mut value = json!({
        "name": one.name, "interpreter": one.interpreter, "verdict": word_of(one.decision.verdict), "commands": commands,
    });
    if let Some(programs) = &one.programs {
        let entry = |(name, origin): (&Program, &ProgramOrigin)| json!({"name": name, "from": origin.word(), "origin": origin.to_string()});
        value["programs"] = programs.iter().map(entry).collect();
    }
    if !one.not_listable.is_empty() {
        value["not_listable"] = json!(one.not_listable);
    }
    if let Some(stop) = &one.decision.not_understood {
        let (file, TextPlace { line, column }) = one.in_file(stop.place);
        value["not_understood"] =
            json!({"file": file, "line": line, "column": column, "message": stop.message});
    }
    value
}

/// Returns the word for a verdict in JSON.
pub fn word_of(verdict: PolicyVerdict) -> &'static str {
    match verdict {
        PolicyVerdict::Allow => "allow",
        PolicyVerdict::Ask(_) => "ask",
        PolicyVerdict::Deny => "deny",
    }
}
