//! Plan for writing values into a shell script, and the check of the rendered script.

use serde_json::Value;

use crate::{
    FoundKind, HOLE, MARK_BYTES, NotUnderstood, ReadLimit, ReadScript, RenderError, ScriptFinding,
    Shell, SlotRule, TemplatePlace, Variant, find_in, shell_places,
    template::{
        shell_commands::text_hazard,
        shell_places::ShellPlaces,
        shell_quoting::{plain, quoted},
        shell_roles::{mark, marks, slot_rules},
    },
};

/// Places for the slots of a variant.
pub struct ShellPlan {
    pub places: Vec<TemplatePlace>,
    /// The script with the mark of each slot as its value.
    marked: String,
    found: ShellPlaces,
}

/// Rules for the slots of a variant, and what its script does, for the checks of this version.
#[derive(Debug)]
pub struct ShellChecks {
    shell: Shell,
    pub rules: Vec<SlotRule>,
    /// The script with the mark of each slot as its value, quoted for its place.
    base: String,
    findings: Vec<(FoundKind, Vec<String>)>,
}

/// Flaws of a variant, each with a byte offset in the source.
pub type Flaws = Vec<(usize, String)>;

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
    variant.flaw(slot, message)
}

fn before(marked: &str, slot: usize) -> &str {
    marked.split(mark(slot)).next().unwrap_or_default()
}

fn is_first_line(before: &str) -> bool {
    before.starts_with("#!") && !before.contains('\n')
}

/// Finds the place of each slot.
pub fn plan(variant: &Variant) -> Result<ShellPlan, Flaws> {
    let count = variant.slots.len();
    let marked = variant.text(&mut |slot| mark(slot).to_string());
    let found = shell_places(&marked, count);
    let place = |slot: usize| found.places[slot].filter(|_| !found.after_names.contains(&slot));
    let flaws: Flaws = (0..count)
        .filter(|slot| place(*slot).is_none())
        .map(|slot| no_place(variant, &marked, slot))
        .collect();
    if flaws.is_empty() {
        Ok(ShellPlan {
            places: (0..count).filter_map(place).collect(),
            marked,
            found,
        })
    } else {
        Err(flaws)
    }
}

/// Checks that the shell parser supports every place, and that every place takes any value.
pub fn checks(variant: &Variant, shell: Shell, plan: &ShellPlan) -> Result<ShellChecks, Flaws> {
    let count = plan.places.len();
    let raw = ReadScript::new(shell, &plan.marked, ReadLimit::Step);
    let mut flaws = raw
        .and_then(|raw| confirm(variant, shell, plan, &raw))
        .map_err(|error| vec![flaw(variant, &error)])?;
    if let Some(hazard) = text_hazard(&plan.marked) {
        flaws.extend((0..count).map(|slot| variant.flaw(slot, hazard)));
    }
    if !flaws.is_empty() {
        return Err(flaws);
    }
    let base = write(variant, &plan.places, &|slot| mark(slot).to_string());
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let arithmetic = plan.found.arithmetic.iter().cloned();
    let texts = arithmetic.flat_map(|range| plan.marked[range].split(|c| !is_name(c)));
    let names = texts.map(str::to_owned).collect();
    let read = |base: &str| -> Result<_, NotUnderstood> {
        let read = ReadScript::new(shell, base, ReadLimit::Step)?;
        let rules = slot_rules(&read.readings()?, count, names);
        Ok((rules.rules, rules.refused, read.found()?))
    };
    let (rules, refused, found) = read(&base).map_err(|error| vec![flaw(variant, &error)])?;
    let flaw_of = |(slot, message): (usize, String)| variant.flaw(slot, &message);
    flaws.extend(refused.into_iter().map(flaw_of));
    for one in found
        .iter()
        .filter(|one| !matches!(one.what, FoundKind::Function(_)))
    {
        let name = match &one.what {
            FoundKind::Command(name) => name,
            _ => &one.source,
        };
        flaws.extend(marks(name).map(|(_, slot)| variant.flaw(slot, DECIDES)));
    }
    if flaws.is_empty() {
        flaws.extend(plan.probe(variant, shell));
    }
    flaws.sort();
    flaws.dedup_by_key(|(offset, _)| *offset);
    if flaws.is_empty() {
        Ok(ShellChecks {
            shell,
            rules,
            base,
            findings: kinds(found),
        })
    } else {
        Err(flaws)
    }
}

fn flaw(variant: &Variant, error: &NotUnderstood) -> (usize, String) {
    (variant.offset(error.at, MARK_BYTES), error.message.clone())
}

fn write(variant: &Variant, places: &[TemplatePlace], value: &dyn Fn(usize) -> String) -> String {
    variant.text(&mut |slot| match places[slot] {
        TemplatePlace::Number | TemplatePlace::Comment if value(slot) == mark(slot).to_string() => {
            "7".to_owned()
        }
        place => quoted(place, &value(slot)),
    })
}

/// Returns the slots that fail alone, if all slots together fail.
fn failing(slots: usize, fails: impl Fn(&dyn Fn(usize) -> bool) -> bool) -> Vec<usize> {
    if !fails(&|_| true) {
        return Vec::new();
    }
    (0..slots)
        .filter(|slot| fails(&|other| other == *slot))
        .collect()
}

/// Returns a flaw for each slot in which the shell parser does not read a value full of special characters as this
/// value. `raw` is the script with the mark of each slot as its value.
fn confirm(
    variant: &Variant,
    shell: Shell,
    plan: &ShellPlan,
    raw: &ReadScript<'_>,
) -> Result<Flaws, NotUnderstood> {
    let places = &plan.places;
    let mut visible = vec![false; places.len()];
    for script in raw.readings()? {
        script.each_word(&mut |word, _| {
            marks(&word.text).for_each(|(_, slot)| visible[slot] = true);
        });
    }
    let is_number = |slot: usize| places[slot] == TemplatePlace::Number;
    let fits = |slot: usize| match places[slot] {
        TemplatePlace::Comment => !visible[slot] && !is_first_line(before(&plan.marked, slot)),
        TemplatePlace::Number => !visible[slot],
        _ => visible[slot],
    };
    // Returns true if the parser reads a script with special characters in these slots as the same script.
    let is_read = |special: &dyn Fn(usize) -> bool| {
        let value = |slot: usize| match special(slot) {
            true if is_number(slot) => "7".to_owned(),
            true => EVERY_SPECIAL.to_owned(),
            false => mark(slot).to_string(),
        };
        let values: Vec<String> = (0..places.len()).map(value).collect();
        let text = variant.text(&mut |slot| {
            if special(slot) {
                quoted(places[slot], &values[slot])
            } else {
                values[slot].clone()
            }
        });
        let is_text = |planned: &str, found: &str| is_filled(planned, found, &values);
        ReadScript::new(shell, &text, ReadLimit::Step)
            .and_then(|tried| tried.is_like(raw, false, &is_text))
    };
    // One parse is enough if the places of all slots are right.
    let all = is_read(&|slot| fits(slot) && !is_number(slot)) == Ok(true);
    let holds = |slot: usize| {
        let alone = || is_read(&|other| other == slot);
        fits(slot)
            && if is_number(slot) {
                alone().is_ok()
            } else {
                all || alone() == Ok(true)
            }
    };
    let mut wrong: Vec<usize> = (0..places.len()).filter(|slot| !holds(*slot)).collect();
    if wrong.is_empty() && !all {
        // A place that is right alone is wrong together with the others.
        wrong = (0..places.len()).collect();
    }
    let flaws = wrong.into_iter();
    Ok(flaws
        .map(|slot| no_place(variant, &plan.marked, slot))
        .collect())
}

impl ShellPlan {
    /// Returns the script with a harmless value in each place.
    pub fn sample(&self, variant: &Variant) -> String {
        write(variant, &self.places, &|_| "7".to_owned())
    }

    /// Looks for slots whose value the parser finds again as a command, for example in `sh -c`.
    fn probe(&self, variant: &Variant, shell: Shell) -> Flaws {
        let is_text = |slot: usize| {
            !matches!(
                self.places[slot],
                TemplatePlace::Number | TemplatePlace::Comment
            )
        };
        let mut flaws = Flaws::new();
        for probe in PROBES {
            let evaluated = failing(self.places.len(), |chosen| {
                let script = write(variant, &self.places, &|slot| {
                    if is_text(slot) && chosen(slot) {
                        probe.to_owned()
                    } else {
                        mark(slot).to_string()
                    }
                });
                find_in(shell, &script, ReadLimit::Step).map_or(true, |found| {
                    found.iter().any(|one| match &one.what {
                        FoundKind::Command(name)
                        | FoundKind::Function(name)
                        | FoundKind::Setting(name)
                        | FoundKind::HarmlessSetting(name) => name.contains(PROBE_NAME),
                        FoundKind::Unknown(_) => false,
                    })
                })
            });
            flaws.extend(
                evaluated
                    .into_iter()
                    .map(|slot| variant.flaw(slot, EVALUATED)),
            );
        }
        flaws
    }

    /// Returns a part of the marked script with the values.
    fn fill(&self, text: &str, values: &[String]) -> String {
        let (mut filled, mut rest) = (String::new(), text);
        while let Some((at, slot)) = marks(rest).next() {
            filled.push_str(&rest[..at]);
            filled.push_str(&quoted(self.places[slot], &values[slot]));
            rest = &rest[at + MARK_BYTES..];
        }
        filled + rest
    }

    /// Returns the script with these values.
    pub fn render(&self, variant: &Variant, values: &[Value]) -> Result<String, RenderError> {
        let values = texts(variant, values)?;
        for (slot, value) in values.iter().enumerate() {
            check_value(self.places[slot], value)
                .map_err(|message| variant.error(slot, message))?;
        }
        let fill = |text: &str| self.fill(text, &values);
        let ends = |line: &str, delimiter: &str| line == delimiter;
        let mut bodies = self.found.bodies.iter();
        if bodies.any(|body| body.any_line(&self.marked, fill, ends)) {
            let in_body = |slot: &usize| {
                matches!(
                    self.places[*slot],
                    TemplatePlace::HereDocument | TemplatePlace::QuotedHereDocument
                )
            };
            let slot = (0..values.len())
                .filter(in_body)
                .max_by_key(|slot| values[*slot].contains('\n'));
            return Err(variant.error(slot.unwrap_or_default(), CANT_WRITE));
        }
        Ok(fill(&self.marked))
    }
}

impl ShellChecks {
    /// Checks that each value obeys the rule of its slot, and that the rendered script has the planned structure.
    /// `dash` returns true for a slot whose schema allows a dash at the beginning.
    pub fn check(
        &self,
        variant: &Variant,
        plan: &ShellPlan,
        script: &str,
        values: &[Value],
        dash: impl Fn(usize) -> bool,
    ) -> Result<(), RenderError> {
        let values = texts(variant, values)?;
        for (slot, value) in values.iter().enumerate() {
            check_rule(&self.rules[slot], value, dash(slot))
                .map_err(|message| variant.error(slot, message))?;
        }
        let Err(message) = self.structure(script, &values) else {
            return Ok(());
        };
        // Find the value that can't be written, with harmless values in the other slots.
        for slot in 0..values.len() {
            let only = |at: usize| {
                if at == slot {
                    values[at].clone()
                } else {
                    mark(at).to_string()
                }
            };
            let only: Vec<String> = (0..values.len()).map(only).collect();
            let script = write(variant, &plan.places, &|at| only[at].clone());
            if let Err(message) = self.structure(&script, &only) {
                return Err(variant.error(slot, message));
            }
        }
        Err(RenderError::new("", message))
    }

    /// Checks that a script has the planned structure with these values.
    fn structure(&self, script: &str, values: &[String]) -> Result<(), String> {
        let refused = |error: NotUnderstood| {
            format!(
                "{CANT_WRITE} (line {} of the script: {})",
                error.place.line, error.message
            )
        };
        let read = |text| ReadScript::new(self.shell, text, ReadLimit::Step).map_err(refused);
        let (base, read) = (read(&self.base)?, read(script)?);
        let is_text = |planned: &str, found: &str| is_filled(planned, found, values);
        if !read.is_like(&base, true, &is_text).map_err(refused)? {
            return Err(CANT_WRITE.to_owned());
        }
        let mut is_damaged = false;
        for reading in read.readings().map_err(refused)? {
            reading.each_word(&mut |body, delimiter| {
                let mut lines = body.text.split('\n');
                is_damaged |=
                    delimiter.is_some_and(|end| lines.any(|line| dash_damages(line, &end.text)));
            });
        }
        if self.shell == Shell::Sh && is_damaged {
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
        // A value may make an unknown part known, but may not make a known part unknown.
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

/// Returns the text of each value.
fn texts(variant: &Variant, values: &[Value]) -> Result<Vec<String>, RenderError> {
    let text = |(slot, value)| plain(value).map_err(|message| variant.error(slot, message));
    values.iter().enumerate().map(text).collect()
}

/// Checks a value by the rules of its place.
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

/// Returns true if dash would lose a byte of a line of a here-document: dash 0.5.12 drops the first byte of a character
/// outside of ASCII that follows the beginning of the delimiter at the beginning of a line.
fn dash_damages(line: &str, delimiter: &str) -> bool {
    let bytes = line.bytes().zip(delimiter.bytes());
    let same = bytes.take_while(|(a, b)| a == b).count();
    let is_damaged = line
        .as_bytes()
        .get(same)
        .is_some_and(|byte| !byte.is_ascii());
    let is_unknown = line.get(same..).is_some_and(|rest| rest.starts_with(HOLE));
    same > 0 && is_damaged && !is_unknown
}

fn is_number(value: &str) -> bool {
    value == "0"
        || value.len() <= 16
            && !value.starts_with('0')
            && !value.is_empty()
            && value.bytes().all(|b| b.is_ascii_digit())
}

/// Returns true if `found` is the text `planned` with the values in place of the marks.
fn is_filled(planned: &str, found: &str, values: &[String]) -> bool {
    let (mut planned, mut found) = (planned, found);
    while let Some((at, slot)) = marks(planned).next() {
        let rest = found
            .strip_prefix(&planned[..at])
            .and_then(|rest| rest.strip_prefix(values[slot].as_str()));
        let Some(rest) = rest else { return false };
        (planned, found) = (&planned[at + MARK_BYTES..], rest);
    }
    planned == found
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
