//! Parser of templates: the text of a script with actions between `{{` and `}}`.
//!
//! The file also contains the conditions of `{{ if }}` and the errors of templates.

use std::fmt;

use serde_json::Value;

use crate::{TextLines, TextPlace, is_name};

/// Beginning of the names of parameters for outputs.
pub const OUTPUTS: &str = "outputs_";

/// Part of a template.
#[derive(Debug)]
pub enum TemplateNode {
    /// Text of the script, with its byte offset in the source.
    Text(String, usize),
    /// A placeholder. The number is its byte offset in the source.
    Value(ValueName, usize),
    /// `{{ if }}` with its branches. A branch without a condition is `{{ else }}`.
    Choice(Vec<(Option<Condition>, Vec<TemplateNode>)>),
    /// `{{ range }}` over the list of a parameter.
    Repeat(ValueName, Vec<TemplateNode>),
}

/// Names that a `{{ range }}` declares.
#[derive(Default)]
pub struct RangeScope {
    pub inside: bool,
    index: Option<String>,
    item: Option<String>,
}

/// Parses the source of a template.
pub fn parse(source: &str) -> Result<Vec<TemplateNode>, Vec<TemplateFlaw>> {
    let fail = |(at, message): (usize, String)| vec![TemplateFlaw::new(source, at, message)];
    let mut parser = TemplateParser {
        pieces: pieces(source).map_err(fail)?,
        next: 0,
        paths: Vec::new(),
        depth: 0,
    };
    let (nodes, end) = parser.list(&RangeScope::default()).map_err(fail)?;
    if let Some((at, end)) = end {
        return Err(fail((
            at,
            format!("`{{{{ {end} }}}}` has no `if` or `range` before it: remove it"),
        )));
    }
    Ok(nodes)
}

type Parsed<T> = Result<T, (usize, String)>;

enum Piece<'s> {
    Text(&'s str, usize),
    Action(&'s str, usize),
}

/// Splits the source into texts and actions. `{{-` removes the white space before the action, and `-}}` the white
/// space after it.
fn pieces(source: &str) -> Parsed<Vec<Piece<'_>>> {
    const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];
    let mut pieces = Vec::new();
    let (mut at, mut trim) = (0, false);
    loop {
        let open = source[at..].find("{{").map(|open| at + open);
        let text = &source[at..open.unwrap_or(source.len())];
        let mut text = if trim {
            text.trim_start_matches(SPACE)
        } else {
            text
        };
        let start = open.unwrap_or(source.len()) - text.len();
        let Some(open) = open else {
            pieces.push(Piece::Text(text, start));
            return Ok(pieces);
        };
        let inside = &source[open + 2..];
        let length = action_length(inside).ok_or_else(|| {
            (
                open,
                "a `{{` is not closed: close it with `}}` on the same line".to_owned(),
            )
        })?;
        let mut action = &inside[..length];
        if let Some(rest) = action
            .strip_prefix('-')
            .filter(|rest| rest.starts_with(SPACE))
        {
            action = rest;
            text = text.trim_end_matches(SPACE);
        }
        trim = false;
        if let Some(rest) = action
            .strip_suffix('-')
            .filter(|rest| rest.ends_with(SPACE))
        {
            action = rest;
            trim = true;
        }
        pieces.push(Piece::Text(text, start));
        let action = action.trim_matches(SPACE);
        if !(action.starts_with("/*") && action.ends_with("*/") && action.len() >= 4) {
            pieces.push(Piece::Action(action, open));
        }
        at = open + 2 + length + 2;
    }
}

/// Returns the length of an action, up to its `}}`. A quoted text of the action may contain `}}`.
fn action_length(inside: &str) -> Option<usize> {
    let bytes = inside.as_bytes();
    let mut at = 0;
    let comment = inside
        .trim_start_matches(['-', ' ', '\t', '\n'])
        .starts_with("/*");
    if comment {
        let end = inside.find("*/")? + 2;
        return inside[end..].find("}}").map(|close| end + close);
    }
    let mut quote = None;
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (_, b'\n') => return None,
            (Some(b'"'), b'\\') => at += 1,
            (None, byte @ (b'"' | b'`')) => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            (None, b'}') if bytes.get(at + 1) == Some(&b'}') => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

struct TemplateParser<'s> {
    pieces: Vec<Piece<'s>>,
    next: usize,
    /// Parameters of the source with the paths by which the source names them.
    paths: Vec<(String, String)>,
    depth: usize,
}

/// The action that ended a list, with its place.
type ListEnd<'s> = Option<(usize, &'s str)>;

impl<'s> TemplateParser<'s> {
    fn list(&mut self, scope: &RangeScope) -> Parsed<(Vec<TemplateNode>, ListEnd<'s>)> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.get(self.next) {
            self.next += 1;
            let (action, at) = match piece {
                Piece::Text("", _) => continue,
                Piece::Text(text, at) => {
                    nodes.push(TemplateNode::Text((*text).to_owned(), *at));
                    continue;
                }
                Piece::Action(action, at) => (*action, *at),
            };
            if let Some(text) = literal(action) {
                nodes.push(TemplateNode::Text(text.to_owned(), at));
                continue;
            }
            let (word, rest) = action.split_once([' ', '\t']).unwrap_or((action, ""));
            match word {
                "end" | "else" => return Ok((nodes, Some((at, action)))),
                "if" => nodes.push(self.choice(rest, at, scope)?),
                "range" => nodes.push(self.repeat(rest, at, scope)?),
                _ => nodes.push(TemplateNode::Value(
                    self.value(action, scope).map_err(|message| (at, message))?,
                    at,
                )),
            }
        }
        Ok((nodes, None))
    }

    fn open(&mut self, at: usize) -> Parsed<()> {
        self.depth += 1;
        if self.depth > MAX_NESTING {
            return Err((
                at,
                format!(
                    "conditions are nested deeper than {MAX_NESTING} levels: reduce the nesting"
                ),
            ));
        }
        Ok(())
    }

    fn choice(&mut self, condition: &str, at: usize, scope: &RangeScope) -> Parsed<TemplateNode> {
        self.open(at)?;
        let mut branches = Vec::new();
        let mut condition = Some(self.condition(condition, at, scope)?);
        loop {
            let last = condition.is_none();
            let (nodes, end) = self.list(scope)?;
            branches.push((condition, nodes));
            let Some((place, end)) = end else {
                return Err((
                    at,
                    "`{{ if }}` is not closed: close it with `{{ end }}`".to_owned(),
                ));
            };
            condition = match end.split_whitespace().collect::<Vec<_>>()[..] {
                ["end"] => break,
                ["else"] if !last => None,
                ["else", "if", ..] if !last => {
                    let rest = end.split_once("if").map_or("", |(_, rest)| rest);
                    Some(self.condition(rest, place, scope)?)
                }
                _ => {
                    return Err((
                        place,
                        format!("`{{{{ {end} }}}}` can't stand here: write `{{{{ end }}}}`"),
                    ));
                }
            };
        }
        if branches
            .last()
            .is_some_and(|(condition, _)| condition.is_some())
        {
            branches.push((None, Vec::new()));
        }
        self.depth -= 1;
        Ok(TemplateNode::Choice(branches))
    }

    fn condition(&mut self, text: &str, at: usize, scope: &RangeScope) -> Parsed<Condition> {
        parse_condition(text, &mut |name| self.value(name, scope)).map_err(|message| (at, message))
    }

    /// Reads `range .list` or `range $item := .list` or `range $index, $item := .list`.
    fn repeat(&mut self, text: &str, at: usize, scope: &RangeScope) -> Parsed<TemplateNode> {
        if scope.inside {
            let message = "`range` is in another `range`: use one `range`, or a loop of the script";
            return Err((at, message.to_owned()));
        }
        self.open(at)?;
        let (names, list) = text
            .split_once(":=")
            .map_or((None, text), |(names, list)| (Some(names), list));
        let mut inner = RangeScope {
            inside: true,
            ..RangeScope::default()
        };
        if let Some(names) = names {
            let names: Vec<&str> = names.split(',').map(str::trim).collect();
            let good = |name: &&str| name.strip_prefix('$').is_some_and(is_word);
            match names[..] {
                [item] if good(&item) => inner.item = Some(item.to_owned()),
                [index, item] if good(&index) && good(&item) && index != item => {
                    inner.index = Some(index.to_owned());
                    inner.item = Some(item.to_owned());
                }
                _ => {
                    return Err((
                        at,
                        "write `{{ range $index, $item := .inputs.List }}`".to_owned(),
                    ));
                }
            }
        }
        let list = self
            .value(list.trim(), scope)
            .map_err(|message| (at, message))?;
        let (nodes, end) = self.list(&inner)?;
        match end {
            Some((_, "end")) => {}
            Some((place, _)) => {
                return Err((place, "a `range` has no `else`: use `{{ if }}`".to_owned()));
            }
            None => {
                return Err((
                    at,
                    "`{{ range }}` is not closed: close it with `{{ end }}`".to_owned(),
                ));
            }
        }
        self.depth -= 1;
        Ok(TemplateNode::Repeat(list, nodes))
    }

    /// Reads the name of a value, for example `.Name`, `.inputs.Name`, `.outputs.block.key`, `.` or `$item`.
    fn value(&mut self, text: &str, scope: &RangeScope) -> Result<ValueName, String> {
        if scope.inside && (text == "." || scope.item.as_deref() == Some(text)) {
            return Ok(ValueName::Item);
        }
        if scope.inside && scope.index.as_deref() == Some(text) {
            return Ok(ValueName::Index);
        }
        let path = match text.strip_prefix("$.") {
            Some(path) => path,
            None if scope.inside && text.starts_with('.') => {
                return Err(format!(
                    "inside `range`, `{text}` is a part of the item: write `${text}` for a parameter"
                ));
            }
            None => text.strip_prefix('.').ok_or_else(|| not_a_name(text))?,
        };
        let name = match path.split('.').collect::<Vec<_>>()[..] {
            [name] | ["inputs", name] if is_word(name) && !matches!(name, "inputs" | "outputs") => {
                name.to_owned()
            }
            ["outputs", block, key]
                if is_word(&block.replace('-', "_")) && is_word(&key.replace('-', "_")) =>
            {
                format!("{OUTPUTS}{block}_{key}").replace('-', "_")
            }
            _ => return Err(not_a_name(text)),
        };
        let place = if let Some(output) = path.strip_prefix("outputs.") {
            format!("outputs.{}", output.replace('-', "_"))
        } else {
            name.clone()
        };
        match self.paths.iter().find(|(known, _)| *known == name) {
            Some((_, other)) if *other != place => Err(format!(
                "`.{other}` and `.{place}` are both the parameter `{name}`: rename one of them"
            )),
            Some(_) => Ok(ValueName::Parameter(name)),
            None => {
                self.paths.push((name.clone(), place));
                Ok(ValueName::Parameter(name))
            }
        }
    }
}

/// Returns the text of an action that is only a text in quotes, for example ``{{`{{.Names}}`}}``.
fn literal(action: &str) -> Option<&str> {
    let quote = action
        .chars()
        .next()
        .filter(|quote| matches!(quote, '"' | '`'))?;
    let text = action.get(1..)?.strip_suffix(quote)?;
    (!text.contains(quote) && (quote == '`' || !text.contains('\\'))).then_some(text)
}

fn is_word(text: &str) -> bool {
    is_name(text) && text.len() <= MAX_NAME
}

fn not_a_name(text: &str) -> String {
    let short: String = text.chars().take(60).collect();
    format!(
        "`{{{{ {short} }}}}` is not supported: write `{{{{ .inputs.Name }}}}` or `{{{{ .outputs.block.key }}}}`, and \
         compute other values in the script, from the environment variable of the parameter (`PARAM_NAME`); if another \
         program reads this text, write {{{{`{{{{{short}}}}}`}}}}"
    )
}

/// Maximum nesting of conditions, because each level uses stack.
const MAX_NESTING: usize = 16;
/// Maximum length of a name, in bytes.
const MAX_NAME: usize = 64;

/// Flaw in a template, with its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{place}: {message}")]
pub struct TemplateFlaw {
    /// Byte offset in the source.
    pub offset: usize,
    /// Place in the source.
    pub place: TextPlace,
    /// The problem, and what to write instead.
    pub message: String,
}

impl TemplateFlaw {
    /// Returns the flaw at this byte of the source.
    pub fn new(source: &str, offset: usize, message: impl Into<String>) -> Self {
        Self {
            offset: offset.min(source.len()),
            place: TextLines::of(source).place(offset),
            message: message.into(),
        }
    }

    /// Returns the message with its place in the script.
    pub fn in_words(&self) -> String {
        let TextPlace { line, column } = self.place;
        format!(
            "line {line}, column {column} of the script: {}",
            self.message
        )
    }
}

/// Reason why a template can't be rendered with the given parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderError {
    /// Name of the parameter, empty if the error concerns several parameters together.
    pub parameter: String,
    /// The problem, and how to correct it.
    pub message: String,
}

impl fmt::Display for RenderError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if !self.parameter.is_empty() {
            write!(f, "/{}: ", self.parameter)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for RenderError {}

impl RenderError {
    pub(super) fn new(parameter: &str, message: impl Into<String>) -> Self {
        Self {
            parameter: parameter.to_owned(),
            message: message.into(),
        }
    }
}

/// Value to which a template refers.
#[derive(Debug)]
pub enum ValueName {
    /// A parameter.
    Parameter(String),
    /// The item of the surrounding `{{ range }}`.
    Item,
    /// The index of the item, from 0.
    Index,
}

/// Condition of a branch.
#[derive(Debug)]
pub enum Condition {
    /// A value, which is true unless it is empty, zero or false.
    Value(ValueName),
    /// A literal text, number, or `true` or `false`.
    Literal(Value),
    /// `eq a b …`: the first value equals one of the other values.
    Equal(Vec<Condition>),
    /// `ne a b`
    Differ(Vec<Condition>),
    Not(Box<Condition>),
    And(Vec<Condition>),
    Or(Vec<Condition>),
}

/// Parses a condition. `name` reads the name of a value.
pub fn parse_condition(
    text: &str,
    name: &mut dyn FnMut(&str) -> Result<ValueName, String>,
) -> Result<Condition, String> {
    let tokens = tokens(text)?;
    let mut rest = &tokens[..];
    let condition = expression(&mut rest, name, 0)?;
    if !rest.is_empty() {
        return Err(format!(
            "the condition `{}` can't be read: {WRITE}",
            text.trim()
        ));
    }
    Ok(condition)
}

fn tokens(text: &str) -> Result<Vec<&str>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '(' | ')' => 1,
            '"' => {
                let end = rest[1..]
                    .find('"')
                    .filter(|end| !rest[1..=*end].contains('\\'));
                end.ok_or("a text in a condition is not closed, or has a backslash: write a plain text in quotes")? + 2
            }
            _ => rest.find([' ', '\t', '(', ')', '"']).unwrap_or(rest.len()),
        };
        tokens.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// Reads a function with its arguments, or one operand.
fn expression(
    rest: &mut &[&str],
    name: &mut dyn FnMut(&str) -> Result<ValueName, String>,
    depth: usize,
) -> Result<Condition, String> {
    let function = match rest.first().copied() {
        Some(function @ ("eq" | "ne" | "not" | "and" | "or")) => function,
        _ => return operand(rest, name, depth),
    };
    *rest = &rest[1..];
    let mut arguments = Vec::new();
    while rest.first().is_some_and(|token| *token != ")") {
        arguments.push(operand(rest, name, depth)?);
    }
    let count = arguments.len();
    Ok(match function {
        "eq" if count >= 2 => Condition::Equal(arguments),
        "ne" if count == 2 => Condition::Differ(arguments),
        "not" if count == 1 => Condition::Not(Box::new(arguments.remove(0))),
        "and" if count >= 1 => Condition::And(arguments),
        "or" if count >= 1 => Condition::Or(arguments),
        _ => {
            return Err(format!(
                "`{function}` has the wrong number of arguments: {WRITE}"
            ));
        }
    })
}

fn operand(
    rest: &mut &[&str],
    name: &mut dyn FnMut(&str) -> Result<ValueName, String>,
    depth: usize,
) -> Result<Condition, String> {
    let Some((token, after)) = rest.split_first() else {
        return Err(format!("a condition is missing: {WRITE}"));
    };
    *rest = after;
    Ok(match *token {
        "(" => {
            if depth >= MAX_DEPTH {
                return Err("a condition has too many brackets: reduce the nesting".to_owned());
            }
            let inner = expression(rest, name, depth + 1)?;
            if rest.first() != Some(&")") {
                return Err(format!("a bracket in a condition is not closed: {WRITE}"));
            }
            *rest = &rest[1..];
            inner
        }
        "true" => Condition::Literal(Value::Bool(true)),
        "false" => Condition::Literal(Value::Bool(false)),
        text if text.starts_with('"') => Condition::Literal(Value::from(&text[1..text.len() - 1])),
        text if text.starts_with(['.', '$']) => Condition::Value(name(text)?),
        text => match text.parse::<i64>() {
            Ok(number) => Condition::Literal(Value::from(number)),
            Err(_) => return Err(format!("`{text}` is not supported in a condition: {WRITE}")),
        },
    })
}

const WRITE: &str =
    "write for example `{{ if eq .inputs.Name \"text\" }}`, with `eq`, `ne`, `not`, `and`, `or`";
const MAX_DEPTH: usize = 16;

impl Condition {
    /// Calls `visit` for each value of the condition.
    pub(super) fn each_value(&self, visit: &mut dyn FnMut(&ValueName)) {
        match self {
            Self::Value(name) => visit(name),
            Self::Literal(_) => {}
            Self::Not(inner) => inner.each_value(visit),
            Self::Equal(all) | Self::Differ(all) | Self::And(all) | Self::Or(all) => {
                all.iter().for_each(|one| one.each_value(visit));
            }
        }
    }

    /// Returns whether the condition holds. `value` returns the value of a name.
    pub(super) fn holds<'v>(
        &'v self,
        value: &dyn Fn(&ValueName) -> Result<&'v Value, RenderError>,
    ) -> Result<bool, RenderError> {
        let each = |all: &'v [Self]| -> Result<Vec<bool>, RenderError> {
            all.iter().map(|one| one.holds(value)).collect()
        };
        Ok(match self {
            Self::Value(name) => is_true(value(name)?),
            Self::Literal(literal) => is_true(literal),
            Self::Not(inner) => !inner.holds(value)?,
            Self::And(all) => !each(all)?.contains(&false),
            Self::Or(all) => each(all)?.contains(&true),
            Self::Equal(all) => compare(all, value)?,
            Self::Differ(all) => !compare(all, value)?,
        })
    }

    /// Returns the value of an operand of `eq` or `ne`, with the name of its parameter.
    fn operand<'v>(
        &'v self,
        value: &dyn Fn(&ValueName) -> Result<&'v Value, RenderError>,
    ) -> Result<(Value, &'v str), RenderError> {
        Ok(match self {
            Self::Value(name) => {
                let parameter = if let ValueName::Parameter(name) = name {
                    name.as_str()
                } else {
                    ""
                };
                (value(name)?.clone(), parameter)
            }
            Self::Literal(literal) => (literal.clone(), ""),
            _ => (Value::Bool(self.holds(value)?), ""),
        })
    }
}

fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_i64() != Some(0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(entries) => !entries.is_empty(),
    }
}

fn compare<'v>(
    all: &'v [Condition],
    value: &dyn Fn(&ValueName) -> Result<&'v Value, RenderError>,
) -> Result<bool, RenderError> {
    let (first, name) = all[0].operand(value)?;
    let mut equal = false;
    for one in &all[1..] {
        let (other, second) = one.operand(value)?;
        let alike = matches!(
            (&first, &other),
            (Value::String(_), Value::String(_))
                | (Value::Number(_), Value::Number(_))
                | (Value::Bool(_), Value::Bool(_))
        );
        if !alike {
            return Err(RenderError::new(
                if name.is_empty() { second } else { name },
                "a condition compares values of different types: compare a text with a text in quotes, a number with a \
                 number, and a boolean with `true` or `false`",
            ));
        }
        equal |= first == other;
    }
    Ok(equal)
}
