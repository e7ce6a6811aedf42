//! Builds the lines of a review, for the screen and for `--json`.
//!
//! Each line names the signed fields that its text shows. From these names, the module `coverage` proves that the
//! screen leaves out no field.

mod values;

use serde_json::Value;

use crate::{
    Derived, FieldReason, LineTone, Lines, MOST_PARAMETERS, PrintableText, ROW, ReviewFinding,
    ReviewLine, ReviewSources, RosterSource, SignedField, StatementVerdict, duration_ms, leaves,
    lines_of, path_key, plain_or_quoted,
    review::{
        compare::compare,
        coverage::EqualValues,
        lines::values::{END, LeafText, PROSE, changed, folded, in_full, in_row, label_of},
        program_lines, remarks, run_inputs, step_files,
        value_words::{
            bytes, clock, counted, grouped, is_default, left_words, listed, paths, signed_paths,
        },
    },
    rule_words, short_id, told_rules,
};
use documents::{
    Authorization, Format, ISOLATED, Layer, Limits, Name, NetworkMode, Proc, Profile, STRICT,
    StepDefinition, Template, Timestamp, Workdir, joined,
};

/// Maximum number of rows (of 80 columns) for all parameters together. Above this number, each parameter gets one row.
const PARAMETER_ROWS: usize = 15;

impl Lines {
    /// Builds the lines that do not depend on the results of the checks.
    pub fn of(sources: &ReviewSources, found: &Derived, now: Timestamp) -> Self {
        let mut lines = Self::default();
        let Some(statement) = &found.statement else {
            lines.heading = PrintableText::words(
                "This is not an authorization that this program can read. Its bytes, as text:",
            );
            return lines;
        };
        let signed = &statement.predicate;
        let definition = found.step();
        lines.comparison = compare(sources, found, signed);
        lines.heading(sources, signed);
        if let Some(definition) = definition {
            lines.foot(definition, signed);
        }
        lines.parameters(sources, signed);
        lines.reason(signed);
        lines.always.extend(remarks::job(sources));
        lines.what_runs(sources, found, signed, now);
        lines.until(signed, now);
        lines
    }

    /// Adds the lines about what a run gets, reaches and needs, and the remarks.
    pub fn what_runs(
        &mut self,
        sources: &ReviewSources,
        found: &Derived,
        signed: &Authorization,
        now: Timestamp,
    ) {
        let definition = found.step();
        self.always.extend(step_files::line(&found.files));
        self.always.extend(run_inputs::lines(
            sources,
            signed,
            definition,
            &found.inputs,
        ));
        self.always
            .extend(program_lines::asked(definition, signed, &found.places));
        self.always.extend(program_lines::may_run(
            &signed.sandbox,
            found.has_programs(),
        ));
        self.above
            .extend(program_lines::listed(&signed.sandbox, found.has_programs()));
        self.sandbox(&signed.sandbox);
        self.limits(&signed.sandbox.limits, definition);
        self.always.extend(
            definition
                .and_then(|definition| program_lines::given_secrets(definition, &signed.params)),
        );
        self.besides(found);
        self.signatures(sources, found, definition);
        let texts: Vec<_> = found.texts().collect();
        self.remarks = remarks::of_statement(signed, found.document(), &texts, &found.places);
        self.remarks.extend(remarks::emergency(found));
        self.remarks.extend(remarks::of_contents(signed, found));
        self.remarks.extend(remarks::of_comparison(
            sources,
            signed,
            &self.comparison,
            now,
        ));
        self.remarks.extend(remarks::unknown_end(sources, now));
        self.remarks.extend(remarks::same_runs(sources, now));
    }

    /// Adds the remarks about the checks, the line about trust, and the fields.
    pub fn conclude(&mut self, sources: &ReviewSources, found: &Derived, fields: Vec<SignedField>) {
        self.remarks.extend(remarks::of_checks(sources, found));
        self.remarks.sort_by_key(|line| line.weight);
        self.trust(sources, found);
        if found.statement.is_some() {
            let count = |fits: fn(&FieldReason) -> bool| {
                fields.iter().filter(|field| fits(&field.why)).count()
            };
            let same = count(|why| matches!(why, FieldReason::Equals(_) | FieldReason::Default));
            let schema = count(|why| matches!(why, FieldReason::Schema));
            let mut words = format!("{same} more are defaults or follow from the fields shown");
            if schema > 0 {
                words += &format!(", {schema} only limit the parameters");
            }
            let open = count(|why| matches!(why, FieldReason::Open(_)));
            if open > 0 {
                words += &format!("; FOR {open}, THIS COULD NOT BE PROVED");
            }
            self.above.push(ReviewLine::always("fields", &words));
        }
        self.fields = fields;
    }

    /// Returns all lines as JSON.
    pub fn to_json(&self) -> Value {
        let heading =
            ReviewLine::always("heading", self.heading.clone()).showing(self.heading_shows.clone());
        let foot = ReviewLine::always("script", self.foot.clone());
        let lines = [&heading, &foot]
            .into_iter()
            .chain(&self.above)
            .chain(&self.always)
            .chain(&self.remarks)
            .map(ReviewLine::to_json);
        Value::Array(lines.collect())
    }

    fn push(
        &mut self,
        name: &'static str,
        text: impl Into<PrintableText>,
        shows: impl IntoIterator<Item = String>,
    ) {
        self.always
            .push(ReviewLine::always(name, text).showing(shows));
    }

    fn heading(&mut self, sources: &ReviewSources, signed: &Authorization) {
        let mut heading = PrintableText::words(if signed.emergency.is_some() {
            "EMERGENCY: "
        } else {
            ""
        })
        .then(signed.step.reference.as_str())
        .and(" at ")
        .then(signed.boundary.name.as_str())
        .and(", asked by ")
        .then(signed.proposer.as_str());
        let owners: Vec<&Name> = sources
            .told
            .iter()
            .flat_map(|told| &told.approvals.excluded)
            .filter(|name| **name != signed.proposer)
            .collect();
        if !owners.is_empty() {
            heading = heading.and(" (owner ").then(listed(&owners)).and(")");
        }
        self.heading = heading.and(", ").then(short_id(signed.proposal.as_str()));
        self.heading_shows = signed_paths(&["step.ref", "boundary.name", "proposer"]);
        let id = PrintableText::text(signed.proposal.as_str())
            .and(", nonce ")
            .then(signed.nonce.to_string());
        let mut window = format!("{} to {}", signed.not_before, signed.expires_at);
        if signed.issued_at != signed.not_before {
            window += &format!(", issued {}", signed.issued_at);
        }
        let shows = signed_paths(&["not_before", "expires_at", "issued_at"]);
        self.above.extend([
            ReviewLine::always("proposal", id).showing(signed_paths(&["proposal", "nonce"])),
            ReviewLine::always("window", window).showing(shows),
        ]);
    }

    /// Builds the line below the script, which also shows the title of the step.
    pub fn foot(&mut self, definition: &StepDefinition, signed: &Authorization) {
        let (lines, ends) = lines_of(&definition.source);
        let mut foot = plain_or_quoted(&definition.interpreter)
            .and(", ")
            .then(format!(
                "{}, {} bytes",
                counted(lines.len(), "line"),
                grouped(definition.source.len())
            ));
        if !ends {
            foot = foot.and(", no newline at the end");
        }
        foot = foot.and(match definition.format {
            Format::Markdown => "",
            Format::Gruntwork => ", from a page of Gruntwork",
            Format::Rundown => ", from a page of Rundown",
            Format::Runnable => ", from runnable fences",
        });
        if definition.template == Template::Gruntwork {
            let filled = signed.grant.is_none();
            foot = foot.and(if filled {
                ", a filled-in template"
            } else {
                ", a template that each run fills in"
            });
        }
        if definition.check {
            foot = foot.and(", a check by the word of its author");
        }
        if !definition.title.is_empty() {
            let title = Value::from(definition.title.as_str());
            let title = self.value(&PrintableText::words("the title = "), &title, PROSE);
            foot = foot.and(", title ").then(&title);
        }
        self.foot = match self.comparison.words() {
            Some(words) => foot.and("; ").then(&words),
            None => foot,
        };
        self.heading_shows.extend(
            [
                "interpreter",
                "source",
                "title",
                "format",
                "template",
                "check",
            ]
            .map(|path| format!("definition.{path}")),
        );
    }

    /// Formats a value for a line. A long value is shortened, and the screen shows the full value above the script.
    fn value(&mut self, label: &PrintableText, value: &Value, leaf: LeafText) -> PrintableText {
        let (shown, is_whole) = in_full(value, leaf);
        if !is_whole {
            self.put_above(label, value, leaf);
        }
        shown
    }

    /// Adds a value to the long values above the script, with one line for each part of the value.
    fn put_above(&mut self, label: &PrintableText, value: &Value, leaf: LeafText) {
        let name = label.as_str().strip_suffix(" = ").unwrap_or_default();
        for (path, part) in leaves(value) {
            let label = if path.is_empty() {
                label.clone()
            } else {
                PrintableText::path(&format!("{name}{path}"))
            };
            self.whole.push(label.then(leaf(part)));
        }
    }

    /// Adds one line for each parameter, so that the parts of one parameter can't push another parameter off the
    /// screen.
    fn parameters(&mut self, sources: &ReviewSources, signed: &Authorization) {
        let none = serde_json::Map::new();
        let params = signed.params.as_object().unwrap_or(&none);
        if params.is_empty() {
            self.push("parameters", "none", signed_paths(&["params"]));
        }
        self.parameters = params
            .iter()
            .map(|(key, value)| label_of(key).then(&in_row(value).0))
            .collect();
        let rows_of = |(key, value): (&String, &Value)| {
            (label_of(key).width() + in_full(value, PROSE).0.width()).div_ceil(ROW)
        };
        let in_rows = params.iter().map(rows_of).sum::<usize>() > PARAMETER_ROWS;
        let before = sources
            .last
            .as_ref()
            .and_then(|last| last.params.as_object());
        let mut name = "parameters";
        let (mut only_above, mut rows) = (Vec::new(), Vec::new());
        for (at, (key, value)) in params.iter().enumerate() {
            let label = label_of(key);
            let (shown, is_whole) = if in_rows {
                in_row(value)
            } else {
                in_full(value, PROSE)
            };
            if at >= MOST_PARAMETERS || !is_whole {
                self.put_above(&label, value, PROSE);
            }
            let name_of = path_key(key);
            let shows = leaves(value)
                .into_iter()
                .map(|(path, _)| format!("signed.predicate.params.{name_of}{path}"));
            if at >= MOST_PARAMETERS {
                only_above.extend(shows);
                continue;
            }
            let mut text = label.then(&shown);
            if let Some(change) = before.and_then(|before| changed(before.get(key), value)) {
                text = text.and("  (").then(&change).and(")");
            }
            rows.push(ReviewLine::always(name, text).showing(shows));
            name = "";
        }
        // Three blanks in a row are an escape in a value, so no value can imitate another parameter.
        let in_one_row = PrintableText::joined(rows.iter().map(|row| row.text.clone()), "   ");
        if in_one_row.width() <= ROW && rows.len() > 1 {
            let shows: Vec<_> = rows.drain(..).flat_map(|row| row.shows).collect();
            rows.push(ReviewLine::always("parameters", in_one_row).showing(shows));
        }
        self.always.append(&mut rows);
        if !only_above.is_empty() {
            let text = format!(
                "and {} more, in full above the script",
                params.len() - MOST_PARAMETERS
            );
            self.push("", &text, only_above);
        }
        for (key, was) in before
            .into_iter()
            .flatten()
            .filter(|(key, _)| !params.contains_key(*key))
        {
            let text = label_of(key)
                .and("nothing  (last success: ")
                .then(folded(was, PROSE).cut(END))
                .and(")");
            self.push("", text, []);
        }
    }

    fn reason(&mut self, signed: &Authorization) {
        let text = if signed.reason.is_empty() {
            PrintableText::words("none is given")
        } else {
            let value = Value::from(signed.reason.as_str());
            self.value(&PrintableText::words("the reason = "), &value, PROSE)
                .and("  (")
                .then(signed.proposer.as_str())
                .and("'s words, not checked)")
        };
        self.push("reason", text, signed_paths(&["reason"]));
    }

    fn sandbox(&mut self, profile: &Profile) {
        let mut parts = Vec::new();
        // The line `may run` shows the layer `programs`.
        let required = profile
            .require
            .iter()
            .filter(|layer| **layer != Layer::Programs);
        let layers = joined(required.clone(), ", ");
        parts.push(if required.copied().eq(STRICT) {
            PrintableText::words(if profile.off_reason.is_some() {
                "OFF, all layers named"
            } else {
                "strict"
            })
        } else if layers.is_empty() {
            PrintableText::words(if profile.off_reason.is_some() {
                "OFF"
            } else {
                "no layer is required"
            })
        } else {
            format!("only these layers are required: {layers}").into()
        });
        parts.push(PrintableText::words(match profile.workdir {
            Workdir::Private => "own empty directory",
            Workdir::Copy => "works in a private copy",
            Workdir::Overlay => "works under an overlay",
            Workdir::InPlace => "works in live trees",
        }));
        parts.push(PrintableText::words(match profile.network.mode {
            NetworkMode::None => "no network",
            NetworkMode::Allow => "network only to listed hosts",
            NetworkMode::Host => "the host's network",
        }));
        let files = profile.read.len() + profile.write.len() + profile.sockets.len();
        parts.push(match files {
            0 => PrintableText::words("no files of the host"),
            some => format!("{} of the host", counted(some, "path")).into(),
        });
        if profile.proc == Proc::Full {
            parts.push(PrintableText::words("the whole of /proc"));
        }
        if profile.run_as != ISOLATED {
            parts.push(PrintableText::words("a user of the host"));
        }
        let text = PrintableText::joined(parts, ", ");
        let mut shows = signed_paths(&["sandbox.workdir", "sandbox.network.mode"]);
        shows.extend(paths(
            "signed.predicate.sandbox.require",
            profile.require.len(),
        ));
        self.push("sandbox", text, shows);
        if !profile.deny.is_empty() {
            let text = PrintableText::joined(
                profile
                    .deny
                    .iter()
                    .map(|pattern| PrintableText::quoted(pattern)),
                ", ",
            );
            let shows = paths("signed.predicate.sandbox.deny", profile.deny.len());
            self.push("no access", text, shows);
        }
    }

    fn limits(&mut self, limits: &Limits, definition: Option<&StepDefinition>) {
        let default = Limits::default();
        let cpu = match limits.cpu_milli {
            whole if whole.is_multiple_of(1000) => format!("{} CPU", whole / 1000),
            part => format!("{}.{:03} CPU", part / 1000, part % 1000),
        };
        let mut parts = vec![
            duration_ms(limits.wall_ms),
            bytes(limits.memory_bytes),
            counted(limits.processes, "process"),
            cpu,
        ];
        let mut shows = signed_paths(&[
            "sandbox.limits.wall_ms",
            "sandbox.limits.memory_bytes",
            "sandbox.limits.processes",
            "sandbox.limits.cpu_milli",
        ]);
        for (path, value, usual, words) in [
            (
                "file_bytes",
                limits.file_bytes,
                default.file_bytes,
                "a file",
            ),
            (
                "disk_bytes",
                limits.disk_bytes,
                default.disk_bytes,
                "of disk",
            ),
            (
                "output_bytes",
                limits.output_bytes,
                default.output_bytes,
                "of recorded output",
            ),
        ] {
            if value != usual {
                parts.push(format!("{} {words}", bytes(value)));
                shows.push(format!("signed.predicate.sandbox.limits.{path}"));
            }
        }
        let mut text = PrintableText::text(&parts.join(", "));
        if let Some(name) = definition.and_then(|definition| definition.exclusive.as_ref()) {
            text = text
                .and(", one run at a time of ")
                .then(plain_or_quoted(name));
            shows.push("definition.exclusive".to_owned());
        }
        self.push("limits", text, shows);
    }

    /// Adds a line for each field of the definition that has no other line and differs from its default.
    fn besides(&mut self, found: &Derived) {
        let (Some((_, definition)), Some(ground)) = (&found.definition, EqualValues::of(found))
        else {
            return;
        };
        let mut name = "step";
        for (path, value) in leaves(definition) {
            let shows = format!("definition{path}");
            let elsewhere = self.heading_shows.contains(&shows)
                || path.starts_with(".approvals.")
                || self.always.iter().any(|line| line.shows.contains(&shows));
            if elsewhere || ground.of_definition(&path, value).is_some() {
                continue;
            }
            let label = PrintableText::path(&path[1..]);
            let text = self.value(&label, value, PrintableText::value);
            self.always.push(
                ReviewLine::always(name, label.then(&text))
                    .showing([shows])
                    .toned(LineTone::Bad),
            );
            name = "";
        }
    }

    fn signatures(
        &mut self,
        sources: &ReviewSources,
        found: &Derived,
        definition: Option<&StepDefinition>,
    ) {
        let mut tone = LineTone::Plain;
        let told = sources.told.as_ref();
        let have: Vec<&Name> = match told {
            Some(told) => told.approvals.approvers.iter().collect(),
            None => found.signers.iter().map(|(name, _)| name).collect(),
        };
        let names = if have.is_empty() {
            String::new()
        } else {
            format!(" ({})", listed(&have))
        };
        let mut rules = told_rules(&found.rules, definition);
        let mut parts = vec![match (rules.as_slice(), told) {
            // If there is only one simple rule, the count includes the rule.
            ([(_, rule)], _) if rule.each.is_none() && !rule.from.is_empty() => {
                let groups = joined(&rule.from, " or ");
                let words = format!("{} of {} of {groups}{names}", have.len(), rule.required);
                rules.clear();
                words
            }
            (_, Some(told)) => format!("{} of {}{names}", have.len(), told.approvals.required),
            (_, None) => format!("{} verified by this program{names}", have.len()),
        }];
        parts.extend(
            rules
                .iter()
                .map(|(asks, rule)| format!("{asks} {}", rule_words(rule))),
        );
        let roster = sources.roster.roster();
        for (name, group) in roster.iter().flat_map(|roster| &roster.tables().groups) {
            let Some(presence) = group.presence else {
                continue;
            };
            if found.rules.iter().any(|(_, rule)| rule.from.contains(name)) {
                parts.push(format!("of {name}: only {presence} count"));
            }
        }
        parts.extend(found.passkey_words(sources));
        if let Some(mine) = &sources.mine {
            let name = roster
                .and_then(|roster| roster.statement_approver(mine))
                .map(|(person, _)| &person.name);
            let signed = |name: &Name| {
                told.is_some_and(|told| told.approvals.approvers.contains(name))
                    || found.signers.iter().any(|(signer, _)| signer == name)
            };
            let mut bad = |words: String| {
                tone = LineTone::Bad;
                words
            };
            parts.push(match name {
                None => bad(format!(
                    "your key {mine} belongs to no approver in this roster, so its signature does not count"
                )),
                Some(name) if told.is_some_and(|told| told.approvals.excluded.contains(name)) => {
                    bad(format!("you are {name}, WHO CAN'T COUNT for this run"))
                }
                Some(name) if signed(name) => bad(format!("you, {name}, signed already")),
                Some(_) => format!("yours is number {}", have.len() + 1),
            });
        }
        if let Some(told) = told.filter(|told| !told.approvals.excluded.is_empty()) {
            parts.push(format!(
                "{} can't count",
                listed(&told.approvals.excluded.iter().collect::<Vec<_>>())
            ));
        }
        let mut line = ReviewLine::always("signatures", parts.join("; ")).toned(tone);
        if let Some(definition) = definition.filter(|definition| !is_default(&definition.approvals))
        {
            line.shows = vec![
                "definition.approvals.required".to_owned(),
                "definition.approvals.each".to_owned(),
            ];
            line.shows.extend(paths(
                "definition.approvals.from",
                definition.approvals.from.len(),
            ));
            if definition.approvals.from.is_empty() {
                line.shows.push("definition.approvals.from".to_owned());
            }
        }
        self.always.push(line);
        if let Some(told) = told.filter(|told| told.status != "pending") {
            let held_up = told
                .held_up
                .as_ref()
                .map_or_else(String::new, |why| format!(", held up ({why})"));
            self.push("status", format!("{}{held_up}", told.status), []);
        }
    }

    fn until(&mut self, signed: &Authorization, now: Timestamp) {
        let left = signed.expires_at.unix() - now.unix();
        let (tone, words) = if left <= 0 {
            (LineTone::Bad, "EXPIRED".to_owned())
        } else {
            (LineTone::Plain, left_words(left))
        };
        let mut text = format!("{} ({words})", clock(signed.expires_at, now));
        if signed.not_before > now {
            text += &format!(", not before {}", clock(signed.not_before, now));
        }
        self.always
            .push(ReviewLine::always("until", &text).toned(tone));
    }

    fn trust(&mut self, sources: &ReviewSources, found: &Derived) {
        let roster = match &sources.roster {
            RosterSource::None => "no roster".to_owned(),
            RosterSource::Trusted(roster, from) => {
                let unguarded = if roster.is_guarded() {
                    ""
                } else {
                    ", UNGUARDED (threshold 0)"
                };
                format!(
                    "roster {} version {}{unguarded}, {from}",
                    roster.tables().name,
                    roster.version()
                )
            }
            RosterSource::BoundarysWord(roster) => {
                format!(
                    "none: only the boundary states the roster {}",
                    roster.digest()
                )
            }
        };
        let all = found.checks.len();
        let holding = found
            .checks
            .iter()
            .filter(|check| check.finding == ReviewFinding::Holds)
            .count();
        let checks = if holding == all {
            "all checks hold".to_owned()
        } else {
            format!("{} of {all} checks FAILED OR WERE NOT MADE", all - holding)
        };
        let tone = match found.standing {
            StatementVerdict::Sound if self.remarks.is_empty() => LineTone::Good,
            StatementVerdict::Sound => LineTone::Plain,
            StatementVerdict::NoTrust | StatementVerdict::Unsound => LineTone::Bad,
        };
        self.always
            .push(ReviewLine::always("trust", format!("{roster}; {checks}")).toned(tone));
    }
}

#[cfg(test)]
mod tests;
