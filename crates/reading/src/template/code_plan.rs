//! Plan for writing values into a script in Python, JavaScript or Go, and the check of the rendered script.

use std::fmt::Write as _;

use serde_json::Value;

use crate::{
    CodeLanguage, Flaws, MARK_BYTES, RenderError, TemplatePlace, Variant,
    template::{
        code_reader::{CodeSegment, SegmentKind, ends_in_escape, is_name, segments},
        shell_quoting::plain,
        shell_roles::{mark, marks},
    },
};
use documents::to_canonical;

/// Places for the slots of a variant.
pub struct CodePlan {
    language: CodeLanguage,
    pub places: Vec<TemplatePlace>,
    /// Flaws by the checks of this version: the places that do not take every value.
    pub flaws: Flaws,
}

/// Finds the place of each slot.
pub fn plan(variant: &Variant, language: CodeLanguage) -> Result<CodePlan, Flaws> {
    let count = variant.slots.len();
    let text = variant.text(&mut |slot| mark(slot).to_string());
    let fail = |(at, message): (usize, &str)| (variant.offset(at, MARK_BYTES), message.to_owned());
    let parts = segments(language, &text).map_err(|flaw| vec![fail(flaw)])?;
    let (mut places, mut flaws) = (Vec::new(), Flaws::new());
    for (at, slot) in marks(&text) {
        let part = parts.iter().find(|part| part.start <= at && at < part.end);
        let checked = part.ok_or(NO_PLACE).and_then(|part| {
            places.push(place(part.kind)?);
            check_place(language, &text, *part, at)
        });
        flaws.extend(checked.err().map(|message| variant.flaw(slot, message)));
    }
    if count > 0
        && let Some(at) = evaluates(language, &text, &parts)
    {
        flaws = vec![fail((at, EVALUATES))];
    }
    if places.len() == count {
        Ok(CodePlan {
            language,
            places,
            flaws,
        })
    } else {
        Err(flaws)
    }
}

fn place(kind: SegmentKind) -> Result<TemplatePlace, &'static str> {
    match kind {
        SegmentKind::Code => Ok(TemplatePlace::Literal),
        SegmentKind::Text => Ok(TemplatePlace::StringLiteral),
        SegmentKind::Comment => Ok(TemplatePlace::Comment),
        SegmentKind::BlockComment => {
            Err("a value could close this comment: remove the placeholder from the comment")
        }
        SegmentKind::OtherText => Err(
            "no value can be written into a formatted, raw or template string, a bytes string or a rune: use a string in \
             plain quotes",
        ),
    }
}

fn check_place(
    language: CodeLanguage,
    text: &str,
    part: CodeSegment,
    at: usize,
) -> Result<(), &'static str> {
    let (before, after) = (&text[part.start..at], &text[at + MARK_BYTES..]);
    match part.kind {
        SegmentKind::Text if ends_in_escape(before) => Err(
            "the placeholder is inside an escape of the string: write it after the whole escape",
        ),
        SegmentKind::Text if language == CodeLanguage::Python => {
            let rest = text[part.end..].trim_start_matches([' ', '\t', '\n', ')']);
            if rest.starts_with('%')
                || rest
                    .trim_start_matches('.')
                    .trim_start()
                    .starts_with("format")
            {
                return Err(
                    "the string is a format, which would interpret the value: give the value as an argument",
                );
            }
            Ok(())
        }
        SegmentKind::Code => {
            let joined = |c: Option<char>| {
                c.is_some_and(|c| is_name(c) || matches!(c, '"' | '\'' | '`' | '.' | '\\' | '@'))
            };
            if joined(text[..at].chars().next_back())
                || joined(after.chars().next().filter(|c| *c != '.'))
            {
                return Err(
                    "the placeholder directly follows or precedes a name or a string: put spaces around it, or \
                            write it inside the quotes of a string",
                );
            }
            Ok(())
        }
        SegmentKind::Comment
            if language == CodeLanguage::Go || text[..at].matches('\n').count() < 2 =>
        {
            Err(
                "this comment may have a meaning for the language: remove the placeholder from the comment",
            )
        }
        _ => Ok(()),
    }
}

/// Returns true for an option of an interpreter whose next argument is a program, for example `-euc`, and for the names
/// of functions and settings that run a text as code.
fn is_program_option(text: &str) -> bool {
    let letters = |rest: &str| {
        rest.len() < 6 && rest.chars().all(char::is_alphabetic) && rest.contains(['c', 'e'])
    };
    matches!(
        text,
        "--eval" | "shell" | "eval" | "exec" | "execSync" | "Function" | "constructor" | "vm"
    ) || text.strip_prefix('-').is_some_and(letters)
}

/// Returns the place of a call that runs a text as code.
fn evaluates(language: CodeLanguage, text: &str, parts: &[CodeSegment]) -> Option<usize> {
    let names: &[&str] = match language {
        CodeLanguage::Python => &[
            "eval",
            "exec",
            "compile",
            "system",
            "popen",
            "getoutput",
            "getstatusoutput",
            "shell",
            "__import__",
            "import_module",
            "literal_eval",
            "create_subprocess_shell",
            "pty",
            "spawn",
            "timeit",
            "runpy",
        ],
        CodeLanguage::JavaScript => &[
            "eval",
            "Function",
            "exec",
            "execSync",
            "shell",
            "require",
            "import",
            "vm",
            "constructor",
        ],
        CodeLanguage::Go => &[],
    };
    for (index, part) in parts.iter().enumerate() {
        let source = &text[part.start..part.end];
        if part.kind == SegmentKind::Code {
            let mut from = 0;
            for word in source.split(|c: char| !is_name(c)) {
                let (at, end) = (from, from + word.len());
                from = end + source[end..].chars().next().map_or(0, char::len_utf8);
                let after = source[end..].trim_start();
                // For these names, only a call counts. The other names count everywhere, because a script can call them
                // through an alias.
                let only_calls =
                    matches!(word, "compile" | "spawn" | "require" | "import" | "shell");
                let call = !only_calls
                    || after.starts_with('(')
                    || word == "shell" && after.starts_with(['=', ':']);
                // `require("fs")` loads a literal module.
                let module = matches!(word, "require" | "import");
                let next = parts
                    .get(index + 1)
                    .map_or("", |next| &text[next.start..next.end]);
                let literal = module && after == "(" && marks(next).next().is_none();
                // `re.compile` compiles no code.
                let method = word == "compile" && source[..at].ends_with('.');
                if names.contains(&word) && call && !literal && !method {
                    return Some(part.start + at);
                }
            }
        } else if is_program_option(source.trim_matches(['"', '\'', '`'])) {
            return Some(part.start);
        }
    }
    None
}

impl CodePlan {
    /// Checks that the strings and comments of a rendered script are the planned ones.
    pub fn check(
        &self,
        variant: &Variant,
        script: &str,
        values: &[Value],
    ) -> Result<(), RenderError> {
        let harmless: Vec<Value> = values.iter().map(harmless_value).collect();
        let like = self.render(variant, &harmless)?;
        let kinds = |text: &str| {
            segments(self.language, text)
                .map(|parts| parts.iter().map(|part| part.kind).collect::<Vec<_>>())
        };
        match (kinds(script), kinds(&like)) {
            (Ok(script_kinds), Ok(like_kinds)) if script_kinds == like_kinds => Ok(()),
            _ => Err(RenderError::new(
                "",
                "the values can't be written in their places: give other values",
            )),
        }
    }

    /// Returns the script with these values.
    pub fn render(&self, variant: &Variant, values: &[Value]) -> Result<String, RenderError> {
        let mut written = Vec::new();
        for (slot, value) in values.iter().enumerate() {
            let text = self.written(slot, value);
            written.push(text.map_err(|message| variant.error(slot, message))?);
        }
        Ok(variant.text(&mut |slot| written[slot].clone()))
    }

    fn written(&self, slot: usize, value: &Value) -> Result<String, String> {
        match self.places[slot] {
            TemplatePlace::Literal => self.literal(value),
            TemplatePlace::Comment => {
                let text = plain(value)?;
                if text.chars().any(|c| !(' '..='~').contains(&c)) {
                    return Err(
                        "a value in a comment may contain only printable ASCII characters"
                            .to_owned(),
                    );
                }
                Ok(text)
            }
            _ => {
                let text = plain(value)?;
                self.escaped(&text)
            }
        }
    }

    /// Returns a text for the inside of a string in quotes.
    fn escaped(&self, text: &str) -> Result<String, String> {
        let mut escaped = String::new();
        for character in text.chars() {
            match character {
                '\0' => return Err("the value contains a NUL character: remove it".to_owned()),
                ' '..='~' if !matches!(character, '\\' | '"' | '\'' | '`') => {
                    escaped.push(character);
                }
                _ if self.language == CodeLanguage::JavaScript => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        let _ = write!(escaped, "\\u{unit:04x}");
                    }
                }
                _ if u32::from(character) > 0xFFFF => {
                    let _ = write!(escaped, "\\U{:08x}", u32::from(character));
                }
                _ => {
                    let _ = write!(escaped, "\\u{:04x}", u32::from(character));
                }
            }
        }
        Ok(escaped)
    }

    /// Returns a literal of the language.
    fn literal(&self, value: &Value) -> Result<String, String> {
        let python = self.language == CodeLanguage::Python;
        Ok(match value {
            Value::String(text) => format!("\"{}\"", self.escaped(text)?),
            Value::Bool(true) if python => "True".to_owned(),
            Value::Bool(false) if python => "False".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Number(number) if number.as_i64().is_some_and(|number| number < 0) => {
                format!("({number})")
            }
            Value::Number(number) => number.to_string(),
            Value::Null => return Err("null is not a value: leave out the parameter".to_owned()),
            Value::Array(items) if python => {
                let items: Result<Vec<String>, String> =
                    items.iter().map(|item| self.literal(item)).collect();
                format!("[{}]", items?.join(", "))
            }
            Value::Object(entries) if python => {
                let entry = |(name, value): (&String, &Value)| {
                    Ok(format!(
                        "\"{}\": {}",
                        self.escaped(name)?,
                        self.literal(value)?
                    ))
                };
                let entries: Result<Vec<String>, String> = entries.iter().map(entry).collect();
                format!("{{{}}}", entries?.join(", "))
            }
            // In a literal object, the name `__proto__` would set the prototype.
            Value::Array(_) | Value::Object(_) if self.language == CodeLanguage::JavaScript => {
                let json = String::from_utf8_lossy(&to_canonical(value)).into_owned();
                format!("JSON.parse(\"{}\")", self.escaped(&json)?)
            }
            Value::Array(_) | Value::Object(_) => {
                return Err(
                    "Go has no literal for this list or object: read $COUNTERSIGN_PARAMS in the script".to_owned()
                );
            }
        })
    }
}

/// Returns a harmless value of the same shape.
fn harmless_value(value: &Value) -> Value {
    match value {
        Value::String(_) => Value::from("x"),
        Value::Number(_) => Value::from(7),
        Value::Array(items) => items.iter().map(harmless_value).collect(),
        Value::Object(entries) => entries
            .iter()
            .map(|(name, value)| (name.clone(), harmless_value(value)))
            .collect(),
        other => other.clone(),
    }
}

const EVALUATES: &str = "the script runs text as code here: use no placeholder in this script, and read the environment \
                         variables of the parameters instead (`PARAM_NAME`)";
const NO_PLACE: &str =
    "no value can be written in this place: write the placeholder inside a string";
