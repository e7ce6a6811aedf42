//! Conditions of `{{ if }}`.

use serde_json::Value;

use crate::RenderError;

/// Value to which a template refers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ValueName {
    /// A parameter.
    Parameter(String),
    /// The item of the surrounding `{{ range }}`.
    Item,
    /// The index of the item, from 0.
    Index,
}

/// Condition of a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
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
        Ok(match self {
            Self::Value(name) => is_true(value(name)?),
            Self::Literal(literal) => is_true(literal),
            Self::Not(inner) => !inner.holds(value)?,
            Self::And(all) => {
                let mut holds = true;
                for one in all {
                    holds &= one.holds(value)?;
                }
                holds
            }
            Self::Or(all) => {
                let mut holds = false;
                for one in all {
                    holds |= one.holds(value)?;
                }
                holds
            }
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
