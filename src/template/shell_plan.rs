//! Plan for writing values into a shell script, and the check of the rendered script.

use crate::shell::commands::{ReadLimit, ReadScript, find_in};
use crate::shell::found::{FoundKind, NotUnderstood, ScriptFinding, Shell};
use crate::shell::outline::UNKNOWN_PART;
use crate::shell::script_shape::ShapeQuotes;
use crate::template::flaw::RenderError;
use crate::template::shell_commands::text_hazard;
use crate::template::shell_quoting::{QUOTED_PLACES, TemplatePlace, quoted};
use crate::template::shell_roles::{MARK_BYTES, MAX_SLOTS, SlotRule, mark, marks, marks_in, slot_rules};
use crate::template::variant::{Variant, VariantPart};

/// Places and rules for the slots of a variant, and the structure of its script.
#[derive(Debug)]
pub(super) struct ShellPlan {
    shell: Shell,
    pub(super) places: Vec<TemplatePlace>,
    pub(super) rules: Vec<SlotRule>,
    /// Structure of the script with the mark of each slot as its value.
    shape: Box<[u8]>,
    findings: Vec<(FoundKind, Vec<String>)>,
}

/// Flaws of a variant, each with a byte offset in the source.
pub(super) type Flaws = Vec<(usize, String)>;

/// Finds the place of each slot, and checks that every place is supported.
pub(super) fn plan(variant: &Variant, shell: Shell) -> Result<ShellPlan, Flaws> {
    let count = variant.slots.len();
    if count > MAX_SLOTS {
        return Err(vec![(0, format!("the template has more than {MAX_SLOTS} placeholders: split the script"))]);
    }
    let marked = variant.text(&mut |slot| mark(slot).to_string());
    let raw_flaw = |error: NotUnderstood| vec![flaw(variant, &marked, &error)];
    let raw = ReadScript::new(shell, &marked, ReadLimit::Step).map_err(raw_flaw)?;
    let mut visible = vec![false; count];
    let mut outline = raw.outline().map_err(raw_flaw)?;
    outline.each_word(&mut |word| marks(&word.text).for_each(|(_, slot)| visible[slot] = true));
    let raw = raw.shape(ShapeQuotes::Ignored).map_err(raw_flaw)?;
    let (mut places, mut flaws) = (Vec::new(), Flaws::new());
    let likely = likely_places(variant, shell, &raw.bytes, &visible);
    for (slot, visible) in visible.into_iter().enumerate() {
        match place(variant, shell, &raw.bytes, slot, visible, likely.as_deref().map(|likely| likely[slot])) {
            Ok(place) => places.push(place),
            Err(message) => flaws.push((variant.slots[slot].offset, message.to_owned())),
        }
    }
    if let Some(hazard) = text_hazard(&marked) {
        flaws.extend(variant.slots.iter().map(|slot| (slot.offset, hazard.to_owned())));
    }
    if !flaws.is_empty() {
        return Err(flaws);
    }
    let base = write(variant, &places, &|slot| mark(slot).to_string());
    let base_flaw = |error: NotUnderstood| vec![flaw(variant, &base, &error)];
    let read = ReadScript::new(shell, &base, ReadLimit::Step).map_err(base_flaw)?;
    let rules = slot_rules(&read.outline().map_err(base_flaw)?, count);
    let found = read.found().map_err(base_flaw)?;
    let shape = read.shape(ShapeQuotes::Kept).map_err(base_flaw)?.bytes.into();
    flaws.extend(rules.refused.into_iter().map(|(slot, message)| (variant.slots[slot].offset, message)));
    for one in found.iter().filter(|one| !matches!(one.what, FoundKind::Function(_))) {
        let name = match &one.what {
            FoundKind::Command(name) => name,
            _ => &one.source,
        };
        flaws.extend(marks(name).map(|(_, slot)| (variant.slots[slot].offset, DECIDES.to_owned())));
    }
    let plan = ShellPlan { shell, places, rules: rules.rules, shape, findings: kinds(found) };
    if flaws.is_empty() {
        flaws.extend(plan.probe(variant));
    }
    flaws.sort();
    flaws.dedup_by_key(|(offset, _)| *offset);
    if flaws.is_empty() { Ok(plan) } else { Err(flaws) }
}

fn flaw(variant: &Variant, script: &str, error: &NotUnderstood) -> (usize, String) {
    let line = script.split_inclusive('\n').take(error.place.line - 1).map(str::len).sum::<usize>();
    let column = script[line..].char_indices().nth(error.place.column - 1).map_or(0, |(at, _)| at);
    (variant.offset(line + column, mark(0).len_utf8()), error.message.clone())
}

fn write(variant: &Variant, places: &[TemplatePlace], value: &dyn Fn(usize) -> String) -> String {
    variant.text(&mut |slot| match places[slot] {
        TemplatePlace::Number if value(slot) == mark(slot).to_string() => "7".to_owned(),
        place => quoted(place, &value(slot)),
    })
}

/// Returns the most likely place of each slot, if the parser reads a value full of special characters in all these places
/// as this value. One parse is then enough for all slots.
fn likely_places(variant: &Variant, shell: Shell, raw: &[u8], visible: &[bool]) -> Option<Vec<TemplatePlace>> {
    let likely: Vec<TemplatePlace> = (0..visible.len()).map(|slot| likely_first(variant, slot)[0]).collect();
    let value = |slot: usize| if visible[slot] { EVERY_SPECIAL.to_owned() } else { mark(slot).to_string() };
    let script =
        variant.text(&mut |slot| if visible[slot] { quoted(likely[slot], EVERY_SPECIAL) } else { value(slot) });
    let values: Vec<String> = (0..visible.len()).map(value).collect();
    shape(shell, &script).is_ok_and(|tried| is_filled(raw, &tried, &values)).then_some(likely)
}

/// Finds the place of a slot: the only quoting with which the parser reads a value full of special characters as this
/// value. `known` is this place if it is already known for a visible slot.
fn place(
    variant: &Variant,
    shell: Shell,
    raw: &[u8],
    slot: usize,
    visible: bool,
    known: Option<TemplatePlace>,
) -> Result<TemplatePlace, &'static str> {
    let before = variant.before(slot);
    let script =
        |text: &str| variant.text(&mut |other| if other == slot { text.to_owned() } else { mark(other).to_string() });
    if !visible {
        // A comment ends at the end of the line, so that the mark becomes a command.
        let probe = script(&format!("\n{}\n", mark(slot)));
        let mut shown = false;
        if let Ok(mut outline) = ReadScript::new(shell, &probe, ReadLimit::Step).and_then(|read| read.outline()) {
            outline.each_word(&mut |word| shown |= marks(&word.text).any(|(_, other)| other == slot));
        }
        let first_line = before.starts_with("#!") && !before.contains('\n');
        return match (shown, first_line) {
            (true, false) => Ok(TemplatePlace::Comment),
            (true, true) => Err("the first line names the interpreter: write the interpreter without a placeholder"),
            (false, _) if shape(shell, &script("7")).is_ok() => Ok(TemplatePlace::Number),
            (false, _) => Err(NO_PLACE),
        };
    }
    let values: Vec<String> = (0..variant.slots.len())
        .map(|other| if other == slot { EVERY_SPECIAL.to_owned() } else { mark(other).to_string() })
        .collect();
    for place in likely_first(variant, slot) {
        if known != Some(place) {
            let Ok(tried) = shape(shell, &script(&quoted(place, EVERY_SPECIAL))) else { continue };
            if !is_filled(raw, &tried, &values) {
                continue;
            }
        }
        let backslashes = before.bytes().rev().take_while(|byte| *byte == b'\\').count();
        let escapes =
            matches!(place, TemplatePlace::BareWord | TemplatePlace::DoubleQuotes | TemplatePlace::HereDocument);
        if escapes && backslashes % 2 == 1 {
            return Err("a backslash is before the placeholder: remove the backslash");
        }
        return Ok(place);
    }
    Err(NO_PLACE)
}

impl ShellPlan {
    /// Returns the script with a harmless value in each place.
    pub(super) fn sample(&self, variant: &Variant) -> String {
        write(variant, &self.places, &|_| "7".to_owned())
    }

    /// Looks for slots whose value the parser finds again as a command, for example in `sh -c`.
    fn probe(&self, variant: &Variant) -> Flaws {
        let mut flaws = Flaws::new();
        let slots = 0..variant.slots.len();
        for probe in PROBES {
            let runs = |slots: &[usize]| {
                let script = write(variant, &self.places, &|slot| {
                    let quoted = !matches!(self.places[slot], TemplatePlace::Number | TemplatePlace::Comment);
                    if quoted && slots.contains(&slot) { probe.to_owned() } else { mark(slot).to_string() }
                });
                match find_in(self.shell, &script, ReadLimit::Step) {
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
                flaws.extend(evaluated.map(|slot| (variant.slots[slot].offset, EVALUATED.to_owned())));
            }
        }
        flaws
    }

    /// Returns the script with these values, after checking that its structure is the planned structure. `dash` returns
    /// true for a slot whose schema allows a dash at the beginning.
    pub(super) fn render(
        &self,
        variant: &Variant,
        values: &[String],
        dash: &dyn Fn(usize) -> bool,
    ) -> Result<String, RenderError> {
        for (slot, value) in values.iter().enumerate() {
            self.check_value(slot, value, dash(slot))
                .map_err(|message| RenderError::new(&variant.slots[slot].parameter, message))?;
        }
        let script = write(variant, &self.places, &|slot| values[slot].clone());
        let Err(message) = self.check_structure(&script, values) else { return Ok(script) };
        // Find the value that can't be written, with harmless values in the other slots.
        for slot in 0..values.len() {
            let only: Vec<String> = (0..values.len())
                .map(|at| if at == slot { values[at].clone() } else { mark(at).to_string() })
                .collect();
            let script = write(variant, &self.places, &|at| only[at].clone());
            if let Err(message) = self.check_structure(&script, &only) {
                return Err(RenderError::new(&variant.slots[slot].parameter, message));
            }
        }
        Err(RenderError::new("", message))
    }

    fn check_value(&self, slot: usize, value: &str, dash: bool) -> Result<(), String> {
        let (place, rule) = (self.places[slot], &self.rules[slot]);
        let control = |c: &char| c.is_control() && !matches!(c, '\n' | '\t' | '\u{1b}') && c.is_ascii();
        if let Some(character) = value.chars().find(control) {
            return Err(format!("the value contains the control character U+{:04X}: remove it", u32::from(character)));
        }
        if place == TemplatePlace::Comment && value.contains('\n') {
            return Err("the value has several lines, but its place is a comment: give one line".to_owned());
        }
        if place == TemplatePlace::Number && !is_number(value)
            || rule.number && !is_number(value.strip_prefix('-').unwrap_or(value))
        {
            return Err(
                "the script evaluates the value as arithmetic: give a whole number without a sign and without zeros \
                        at its beginning, because a shell reads 010 as 8"
                    .to_owned(),
            );
        }
        if value.starts_with('-') && (rule.never_dash || rule.argument && !dash) {
            return Err(
                "the value begins with `-`, so the command could use it as an option: remove the dash; the author of \
                        a Gruntwork page can allow it with `type: enum`, `type: float` or a `regex` that begins with ^-"
                    .to_owned(),
            );
        }
        if rule.no_array && value.starts_with('(') {
            return Err(
                "the value begins with `(`, so the shell could read it as an array: remove the bracket".to_owned()
            );
        }
        if rule.no_dollar && value.contains('$') {
            return Err("`make` expands `$` in its arguments and can run the result: remove the `$`".to_owned());
        }
        if rule.split && (value.starts_with('-') || value.contains([' ', '\t', '\n', '*', '?', '['])) {
            return Err(
                "the shell splits the output of this command into words, so the value may not contain white space, \
                        `*`, `?` or `[`: write \"$(...)\" with quotes in the runbook"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// Checks that a script has the planned structure with these values.
    fn check_structure(&self, script: &str, values: &[String]) -> Result<(), String> {
        let refused =
            |error: NotUnderstood| format!("{CANT_WRITE} (line {} of the script: {})", error.place.line, error.message);
        let read = ReadScript::new(self.shell, script, ReadLimit::Step).map_err(refused)?;
        let shape = read.shape(ShapeQuotes::Kept).map_err(refused)?;
        if !is_filled(&self.shape, &shape.bytes, values) {
            return Err(CANT_WRITE.to_owned());
        }
        if self.shell == Shell::Sh && shape.here_documents.iter().any(|(body, end)| dash_damages(body, end)) {
            return Err(DAMAGED.to_owned());
        }
        let found = kinds(read.found().map_err(refused)?);
        let known = |one: &&(FoundKind, Vec<String>)| !matches!(one.0, FoundKind::Unknown(_));
        if !found.iter().filter(known).eq(self.findings.iter().filter(known)) {
            return Err(CHANGES.to_owned());
        }
        // A value may make an unknown part known, but not the other way round.
        let mut before: Vec<&(FoundKind, Vec<String>)> = self.findings.iter().filter(|one| !known(one)).collect();
        for one in found.iter().filter(|one| !known(one)) {
            match before.iter().position(|other| *other == one) {
                Some(at) => drop(before.swap_remove(at)),
                None => return Err(CHANGES.to_owned()),
            }
        }
        Ok(())
    }
}

/// Returns true if dash would lose a byte of a here-document: dash 0.5.12 drops the first byte of a character outside of
/// ASCII that follows the beginning of the delimiter at the beginning of a line.
fn dash_damages(body: &str, delimiter: &str) -> bool {
    body.split('\n').any(|line| {
        let same = line.bytes().zip(delimiter.bytes()).take_while(|(a, b)| a == b).count();
        let rest = line.as_bytes().get(same..).unwrap_or_default();
        let unknown = line.get(same..).is_some_and(|rest| rest.starts_with(UNKNOWN_PART));
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

/// Returns all places of a value in a word, the most likely place first. Each wrong place costs a parse of the script.
fn likely_first(variant: &Variant, slot: usize) -> [TemplatePlace; 5] {
    let before = variant.parts.iter().take_while(|part| !matches!(part, VariantPart::Slot(at) if *at == slot));
    let before: String = before.map(|part| if let VariantPart::Text(text, _) = part { text } else { "" }).collect();
    let line = before.rsplit('\n').next().unwrap_or_default();
    let is_open = |quote: char| line.matches(quote).count() % 2 == 1;
    let likely = match () {
        () if is_open('"') => TemplatePlace::DoubleQuotes,
        () if is_open('\'') => TemplatePlace::SingleQuotes,
        () => TemplatePlace::BareWord,
    };
    let mut places = QUOTED_PLACES;
    places.sort_by_key(|place| *place != likely);
    places
}

/// Returns the structure of a script without its quotes.
fn shape(shell: Shell, script: &str) -> Result<Vec<u8>, NotUnderstood> {
    Ok(ReadScript::new(shell, script, ReadLimit::Step)?.shape(ShapeQuotes::Ignored)?.bytes)
}

/// Returns true if `found` is the structure `planned` with the values in place of the marks.
fn is_filled(planned: &[u8], found: &[u8], values: &[String]) -> bool {
    let (mut planned, mut found) = (planned, found);
    loop {
        let mark = marks_in(planned).next();
        let (at, value) = mark.map_or((planned.len(), ""), |(at, slot)| (at, values[slot].as_str()));
        let rest = found.strip_prefix(&planned[..at]).and_then(|rest| rest.strip_prefix(value.as_bytes()));
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
const EVALUATED: &str =
    "a shell runs this text as code: read the environment variable `PARAM_NAME` inside the code instead";
const CANT_WRITE: &str = "the value can't be written in its place in the script: give another value";
const DAMAGED: &str = "dash would lose a byte of this here-document, because a line begins like its delimiter and continues with a \
                       character outside of ASCII: choose another delimiter, or write `bash` in the runbook";
const CHANGES: &str = "the value would change what the script runs: give another value";
