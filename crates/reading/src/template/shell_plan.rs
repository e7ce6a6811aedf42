//! Plan for writing values into a shell script, and the check of the rendered script.

use crate::{
    shell::{
        commands::{ReadLimit, ReadScript, find_in},
        found::{FoundKind, NotUnderstood, ScriptFinding, Shell},
        outline::UNKNOWN_PART,
        script_shape::ShapeQuotes,
    },
    template::{
        flaw::RenderError,
        shell_commands::text_hazard,
        shell_places::{HereDocumentBody, ShellPlaces, shell_places},
        shell_quoting::{TemplatePlace, quoted},
        shell_roles::{MARK_BYTES, MAX_SLOTS, SlotRule, mark, marks, marks_in, slot_rules},
        template_rules::TemplateRules,
        variant::Variant,
    },
};

/// Places for the slots of a variant.
#[derive(Debug)]
pub(super) struct ShellPlan {
    pub(super) places: Vec<TemplatePlace>,
    /// The script with the mark of each slot as its value.
    marked: String,
    bodies: Vec<HereDocumentBody>,
    /// The checks of this version, if the present rules apply.
    checks: Option<ShellChecks>,
}

/// Rules for the slots of a variant, and the structure of its script.
#[derive(Debug)]
struct ShellChecks {
    shell: Shell,
    rules: Vec<SlotRule>,
    /// Structure of the script with the mark of each slot as its value.
    shape: Box<[u8]>,
    findings: Vec<(FoundKind, Vec<String>)>,
}

/// Flaws of a variant, each with a byte offset in the source.
pub(super) type Flaws = Vec<(usize, String)>;

fn no_place(variant: &Variant, marked: &str, slot: usize) -> (usize, String) {
    let before = before(marked, slot);
    let message = match before
        .bytes()
        .rev()
        .take_while(|byte| *byte == b'\\')
        .count()
    {
        _ if is_first_line(before) => {
            "the first line names the interpreter: write the interpreter without a placeholder"
        }
        backslashes if backslashes % 2 == 1 => {
            "a backslash is before the placeholder: remove the backslash"
        }
        _ => NO_PLACE,
    };
    (variant.slots[slot].offset, message.to_owned())
}

fn before(marked: &str, slot: usize) -> &str {
    marked.split(mark(slot)).next().unwrap_or_default()
}

fn is_first_line(before: &str) -> bool {
    before.starts_with("#!") && !before.contains('\n')
}

/// Finds the place of each slot. By the present rules, also checks that the shell parser supports every place, and that
/// every place takes any value.
pub(super) fn plan(
    variant: &Variant,
    shell: Shell,
    rules: TemplateRules,
) -> Result<ShellPlan, Flaws> {
    let count = variant.slots.len();
    if count > MAX_SLOTS {
        return Err(vec![(
            0,
            format!("the template has more than {MAX_SLOTS} placeholders: split the script"),
        )]);
    }
    let marked = variant.text(&mut |slot| mark(slot).to_string());
    let ShellPlaces {
        places,
        bodies,
        arithmetic,
    } = shell_places(&marked, count);
    let refused = places
        .iter()
        .enumerate()
        .filter(|(_, place)| place.is_none());
    let mut flaws: Flaws = refused
        .map(|(slot, _)| no_place(variant, &marked, slot))
        .collect();
    if !flaws.is_empty() {
        return Err(flaws);
    }
    let mut plan = ShellPlan {
        places: places.into_iter().flatten().collect(),
        marked,
        bodies,
        checks: None,
    };
    if rules == TemplateRules::Frozen {
        return Ok(plan);
    }
    let raw_flaw = |error: NotUnderstood| vec![flaw(variant, &plan.marked, &error)];
    let raw = ReadScript::new(shell, &plan.marked, ReadLimit::Step).map_err(raw_flaw)?;
    let mut visible = vec![false; count];
    let mut outline = raw.outline().map_err(raw_flaw)?;
    outline.each_word(&mut |word| marks(&word.text).for_each(|(_, slot)| visible[slot] = true));
    let raw = raw.shape(ShapeQuotes::Ignored).map_err(raw_flaw)?;
    flaws.extend(confirm(variant, shell, &plan, &raw.bytes, &visible));
    if let Some(hazard) = text_hazard(&plan.marked) {
        flaws.extend(
            variant
                .slots
                .iter()
                .map(|slot| (slot.offset, hazard.to_owned())),
        );
    }
    if !flaws.is_empty() {
        return Err(flaws);
    }
    let base = write(variant, &plan.places, &|slot| mark(slot).to_string());
    let base_flaw = |error: NotUnderstood| vec![flaw(variant, &base, &error)];
    let read = ReadScript::new(shell, &base, ReadLimit::Step).map_err(base_flaw)?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let texts = arithmetic
        .into_iter()
        .flat_map(|range| plan.marked[range].split(|c| !is_name(c)));
    let names = texts.map(str::to_owned).collect();
    let rules = slot_rules(&read.outline().map_err(base_flaw)?, count, names);
    let found = read.found().map_err(base_flaw)?;
    let shape = read
        .shape(ShapeQuotes::Kept)
        .map_err(base_flaw)?
        .bytes
        .into();
    flaws.extend(
        rules
            .refused
            .into_iter()
            .map(|(slot, message)| (variant.slots[slot].offset, message)),
    );
    for one in found
        .iter()
        .filter(|one| !matches!(one.what, FoundKind::Function(_)))
    {
        let name = match &one.what {
            FoundKind::Command(name) => name,
            _ => &one.source,
        };
        flaws.extend(marks(name).map(|(_, slot)| (variant.slots[slot].offset, DECIDES.to_owned())));
    }
    if flaws.is_empty() {
        flaws.extend(plan.probe(variant, shell));
    }
    plan.checks = Some(ShellChecks {
        shell,
        rules: rules.rules,
        shape,
        findings: kinds(found),
    });
    flaws.sort();
    flaws.dedup_by_key(|(offset, _)| *offset);
    if flaws.is_empty() {
        Ok(plan)
    } else {
        Err(flaws)
    }
}

fn flaw(variant: &Variant, script: &str, error: &NotUnderstood) -> (usize, String) {
    let line = script
        .split_inclusive('\n')
        .take(error.place.line - 1)
        .map(str::len)
        .sum::<usize>();
    let column = script[line..]
        .char_indices()
        .nth(error.place.column - 1)
        .map_or(0, |(at, _)| at);
    (
        variant.offset(line + column, MARK_BYTES),
        error.message.clone(),
    )
}

fn write(variant: &Variant, places: &[TemplatePlace], value: &dyn Fn(usize) -> String) -> String {
    variant.text(&mut |slot| match places[slot] {
        TemplatePlace::Number | TemplatePlace::Comment if value(slot) == mark(slot).to_string() => {
            "7".to_owned()
        }
        place => quoted(place, &value(slot)),
    })
}

/// Returns a flaw for each slot in which the shell parser does not read a value full of special characters as this value.
fn confirm(
    variant: &Variant,
    shell: Shell,
    plan: &ShellPlan,
    raw: &[u8],
    visible: &[bool],
) -> Flaws {
    let places = &plan.places;
    let is_filled_with_special = |slots: &dyn Fn(usize) -> bool| {
        let value = |slot| {
            if slots(slot) {
                EVERY_SPECIAL.to_owned()
            } else {
                mark(slot).to_string()
            }
        };
        let text = |slot| {
            if slots(slot) {
                quoted(places[slot], EVERY_SPECIAL)
            } else {
                mark(slot).to_string()
            }
        };
        let values: Vec<String> = (0..places.len()).map(value).collect();
        shape(shell, &variant.text(&mut |slot| text(slot)))
            .is_ok_and(|tried| is_filled(raw, &tried, &values))
    };
    let is_word =
        |slot: usize| !matches!(places[slot], TemplatePlace::Comment | TemplatePlace::Number);
    // One parse is enough if the places of all slots are right.
    let all = is_filled_with_special(&|slot| is_word(slot) && visible[slot]);
    let holds = |slot: usize| {
        let script = |text: &str| {
            variant.text(&mut |other| {
                if other == slot {
                    text.to_owned()
                } else {
                    mark(other).to_string()
                }
            })
        };
        match places[slot] {
            _ if visible[slot] != is_word(slot) => false,
            TemplatePlace::Comment if is_first_line(before(&plan.marked, slot)) => false,
            TemplatePlace::Comment => {
                shape(shell, &script(EVERY_SPECIAL)).is_ok_and(|tried| tried == raw)
            }
            TemplatePlace::Number => shape(shell, &script("7")).is_ok(),
            _ => all || is_filled_with_special(&|other| other == slot),
        }
    };
    let flaws: Flaws = (0..places.len())
        .filter(|slot| !holds(*slot))
        .map(|slot| no_place(variant, &plan.marked, slot))
        .collect();
    // A place that holds alone may not hold beside the others.
    if flaws.is_empty() && !all {
        (0..places.len())
            .map(|slot| no_place(variant, &plan.marked, slot))
            .collect()
    } else {
        flaws
    }
}

impl ShellPlan {
    /// Returns the script with a harmless value in each place.
    pub(super) fn sample(&self, variant: &Variant) -> String {
        write(variant, &self.places, &|_| "7".to_owned())
    }

    /// Returns true if the value of the slot must be a whole number.
    pub(super) fn needs_number(&self, slot: usize) -> bool {
        self.checks
            .as_ref()
            .is_some_and(|checks| checks.rules[slot].number)
    }

    /// Looks for slots whose value the parser finds again as a command, for example in `sh -c`.
    fn probe(&self, variant: &Variant, shell: Shell) -> Flaws {
        let mut flaws = Flaws::new();
        let slots = 0..variant.slots.len();
        for probe in PROBES {
            let runs = |slots: &[usize]| {
                let script = write(variant, &self.places, &|slot| {
                    let quoted = !matches!(
                        self.places[slot],
                        TemplatePlace::Number | TemplatePlace::Comment
                    );
                    if quoted && slots.contains(&slot) {
                        probe.to_owned()
                    } else {
                        mark(slot).to_string()
                    }
                });
                match find_in(shell, &script, ReadLimit::Step) {
                    Err(_) => true,
                    Ok(found) => found.iter().any(|one| match &one.what {
                        FoundKind::Command(name)
                        | FoundKind::Function(name)
                        | FoundKind::Setting(name)
                        | FoundKind::HarmlessSetting(name) => name.contains(PROBE_NAME),
                        FoundKind::Unknown(_) => false,
                    }),
                }
            };
            if runs(&slots.clone().collect::<Vec<_>>()) {
                let evaluated = slots.clone().filter(|slot| runs(&[*slot]));
                flaws.extend(
                    evaluated.map(|slot| (variant.slots[slot].offset, EVALUATED.to_owned())),
                );
            }
        }
        flaws
    }

    /// Returns the script with these values. By the present rules, also checks that its structure is the planned
    /// structure. `dash` returns true for a slot whose schema allows a dash at the beginning.
    pub(super) fn render(
        &self,
        variant: &Variant,
        values: &[String],
        dash: &dyn Fn(usize) -> bool,
    ) -> Result<String, RenderError> {
        let fail =
            |slot: usize, message: &str| RenderError::new(&variant.slots[slot].parameter, message);
        for (slot, value) in values.iter().enumerate() {
            let by_rule = self.checks.as_ref().map_or(Ok(()), |checks| {
                check_rule(&checks.rules[slot], value, dash(slot))
            });
            by_rule.map_err(|message| fail(slot, message))?;
            check_value(self.places[slot], value).map_err(|message| fail(slot, &message))?;
        }
        let texts: Vec<String> = values
            .iter()
            .zip(&self.places)
            .map(|(value, place)| quoted(*place, value))
            .collect();
        let fill = |text: &str| {
            let (mut filled, mut rest) = (String::new(), text);
            while let Some((at, slot)) = marks(rest).next() {
                filled.push_str(&rest[..at]);
                filled.push_str(&texts[slot]);
                rest = &rest[at + MARK_BYTES..];
            }
            filled + rest
        };
        if self
            .bodies
            .iter()
            .any(|body| body.ends_early(&self.marked, fill))
        {
            let in_body = |slot: &usize| {
                matches!(
                    self.places[*slot],
                    TemplatePlace::HereDocument | TemplatePlace::QuotedHereDocument
                )
            };
            let slot = (0..values.len())
                .filter(in_body)
                .max_by_key(|slot| values[*slot].contains('\n'));
            return Err(fail(slot.unwrap_or_default(), CANT_WRITE));
        }
        let script = fill(&self.marked);
        let Some(checks) = &self.checks else {
            return Ok(script);
        };
        let Err(message) = checks.structure(&script, values) else {
            return Ok(script);
        };
        // Find the value that can't be written, with harmless values in the other slots.
        for slot in 0..values.len() {
            let only: Vec<String> = (0..values.len())
                .map(|at| {
                    if at == slot {
                        values[at].clone()
                    } else {
                        mark(at).to_string()
                    }
                })
                .collect();
            let script = write(variant, &self.places, &|at| only[at].clone());
            if let Err(message) = checks.structure(&script, &only) {
                return Err(fail(slot, &message));
            }
        }
        Err(RenderError::new("", message))
    }
}

impl ShellChecks {
    /// Checks that a script has the planned structure with these values.
    fn structure(&self, script: &str, values: &[String]) -> Result<(), String> {
        let refused = |error: NotUnderstood| {
            format!(
                "{CANT_WRITE} (line {} of the script: {})",
                error.place.line, error.message
            )
        };
        let read = ReadScript::new(self.shell, script, ReadLimit::Step).map_err(refused)?;
        let shape = read.shape(ShapeQuotes::Kept).map_err(refused)?;
        if !is_filled(&self.shape, &shape.bytes, values) {
            return Err(CANT_WRITE.to_owned());
        }
        if self.shell == Shell::Sh
            && shape
                .here_documents
                .iter()
                .any(|(body, end)| dash_damages(body, end))
        {
            return Err(DAMAGED.to_owned());
        }
        let found = kinds(read.found().map_err(refused)?);
        let known = |one: &&(FoundKind, Vec<String>)| !matches!(one.0, FoundKind::Unknown(_));
        if !found
            .iter()
            .filter(known)
            .eq(self.findings.iter().filter(known))
        {
            return Err(CHANGES.to_owned());
        }
        // A value may make an unknown part known, but not the other way round.
        let mut before: Vec<&(FoundKind, Vec<String>)> =
            self.findings.iter().filter(|one| !known(one)).collect();
        for one in found.iter().filter(|one| !known(one)) {
            match before.iter().position(|other| *other == one) {
                Some(at) => drop(before.swap_remove(at)),
                None => return Err(CHANGES.to_owned()),
            }
        }
        Ok(())
    }
}

/// Checks a value by the frozen rules of its place.
fn check_value(place: TemplatePlace, value: &str) -> Result<(), String> {
    let control = |c: &char| c.is_control() && !matches!(c, '\n' | '\t' | '\u{1b}') && c.is_ascii();
    if let Some(character) = value.chars().find(control) {
        return Err(format!(
            "the value contains the control character U+{:04X}: remove it",
            u32::from(character)
        ));
    }
    if place == TemplatePlace::Comment && value.contains('\n') {
        return Err(
            "the value has several lines, but its place is a comment: give one line".to_owned(),
        );
    }
    if place == TemplatePlace::Number && !is_number(value) {
        return Err(NUMBER.to_owned());
    }
    Ok(())
}

/// Checks a value by the rule of its slot.
fn check_rule(rule: &SlotRule, value: &str, dash: bool) -> Result<(), &'static str> {
    if rule.number && !is_number(value.strip_prefix('-').unwrap_or(value)) {
        return Err(NUMBER);
    }
    if value.starts_with('-') && (rule.never_dash || rule.argument && !dash) {
        return Err(
            "the value begins with `-`, so the command could use it as an option: remove the dash; the author of a \
                    Gruntwork page can allow it with `type: enum`, `type: float` or a `regex` that begins with ^-",
        );
    }
    if rule.no_array && value.starts_with('(') {
        return Err(
            "the value begins with `(`, so the shell could read it as an array: remove the bracket",
        );
    }
    if rule.make
        && !value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._/:@%+,=-".contains(&byte))
    {
        return Err(
            "`make` can run parts of its arguments: give a value of letters, digits and `._/:@%+,=-` only",
        );
    }
    if rule.make && rule.argument && value.contains('=') {
        return Err(
            "`make` takes `NAME=VALUE` as a variable, which can name a program: give a value without `=`",
        );
    }
    if rule.evaluated && (value.contains('=') || value.contains("++") || value.contains("--")) {
        return Err(
            "the script uses this variable in arithmetic, where `=`, `++` and `--` change variables: give another value",
        );
    }
    if rule.split && (value.starts_with('-') || value.contains([' ', '\t', '\n', '*', '?', '['])) {
        return Err(
            "the shell splits the output of this command into words, so the value may not contain white space, `*`, `?` \
                    or `[`: write \"$(...)\" with quotes in the runbook",
        );
    }
    Ok(())
}

/// Returns true if dash would lose a byte of a here-document: dash 0.5.12 drops the first byte of a character outside of
/// ASCII that follows the beginning of the delimiter at the beginning of a line.
fn dash_damages(body: &str, delimiter: &str) -> bool {
    body.split('\n').any(|line| {
        let same = line
            .bytes()
            .zip(delimiter.bytes())
            .take_while(|(a, b)| a == b)
            .count();
        let rest = line.as_bytes().get(same..).unwrap_or_default();
        let unknown = line
            .get(same..)
            .is_some_and(|rest| rest.starts_with(UNKNOWN_PART));
        same > 0 && rest.first().is_some_and(|byte| !byte.is_ascii()) && !unknown
    })
}

fn is_number(value: &str) -> bool {
    value == "0"
        || value.len() <= 16
            && !value.starts_with('0')
            && !value.is_empty()
            && value.bytes().all(|b| b.is_ascii_digit())
}

/// Returns the structure of a script without its quotes.
fn shape(shell: Shell, script: &str) -> Result<Vec<u8>, NotUnderstood> {
    Ok(ReadScript::new(shell, script, ReadLimit::Step)?
        .shape(ShapeQuotes::Ignored)?
        .bytes)
}

/// Returns true if `found` is the structure `planned` with the values in place of the marks.
fn is_filled(planned: &[u8], found: &[u8], values: &[String]) -> bool {
    let (mut planned, mut found) = (planned, found);
    loop {
        let mark = marks_in(planned).next();
        let (at, value) = mark.map_or((planned.len(), ""), |(at, slot)| {
            (at, values[slot].as_str())
        });
        let rest = found
            .strip_prefix(&planned[..at])
            .and_then(|rest| rest.strip_prefix(value.as_bytes()));
        match (rest, mark) {
            (Some(rest), Some(_)) => (planned, found) = (&planned[at + MARK_BYTES..], rest),
            (rest, _) => return rest.is_some_and(<[u8]>::is_empty),
        }
    }
}

fn kinds(found: Vec<ScriptFinding>) -> Vec<(FoundKind, Vec<String>)> {
    found.into_iter().map(|one| (one.what, one.via)).collect()
}

/// A value with every special character of shells. The letter at its beginning would continue a name, and the backslash
/// before the first quote would be an escape in `$'…'`.
const EVERY_SPECIAL: &str = "a\\nb'c\"d$(e)`f`${g} ;h&i|j<k>l*m?n[o]{p,q}~#r!%(s)\\";
const PROBE_NAME: &str = "countersign-probe";
/// Values that run a command if a shell evaluates them, also inside other quotes.
const PROBES: [&str; 6] = [
    "a; countersign-probe; b",
    "a$(countersign-probe)b",
    "a`countersign-probe`b",
    "a'; countersign-probe; 'b",
    "a\"; countersign-probe; \"b",
    "countersign-probe",
];
const NO_PLACE: &str = "no value can be written in this place: put the placeholder into a word of its own, or into double \
                        quotes, and write `${NAME}` with braces for a variable before it; or write `$PARAM_NAME`, the \
                        environment variable of the parameter";
const DECIDES: &str = "the value would decide which command runs, or what this part of the script does: write this part \
                       without a placeholder, and choose between commands, for example with `case \"$PARAM_NAME\" in jq) jq \
                       --version ;; esac`";
const NUMBER: &str = "the script evaluates the value as arithmetic: give a whole number without a sign and without zeros at its \
                      beginning, because a shell reads 010 as 8";
const EVALUATED: &str = "a shell runs this text as code: read the environment variable `PARAM_NAME` inside the code instead";
const CANT_WRITE: &str =
    "the value can't be written in its place in the script: give another value";
const DAMAGED: &str = "dash would lose a byte of this here-document, because a line begins like its delimiter and continues with a \
                       character outside of ASCII: choose another delimiter, or write `bash` in the runbook";
const CHANGES: &str = "the value would change what the script runs: give another value";
