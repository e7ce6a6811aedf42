//! Describes which values a parameter may have in the runs of a grant, and whether something bounds them.

use serde::Serialize;

use documents::{Parameter, ParameterType, canonical, joined};

/// The values of a parameter, in words.
#[derive(Debug, PartialEq)]
pub struct VaryingValues {
    /// The values.
    pub words: String,
    /// True if nothing bounds the values.
    pub unbounded: bool,
}

impl VaryingValues {
    /// Describes the values that the grant and the step both permit. `of_step` is absent if the step is unknown.
    pub fn of(granted: &Parameter, of_step: Option<&Parameter>) -> Self {
        let own = Self::of_declared(granted);
        match of_step.map(Self::of_declared) {
            Some(step) if own.unbounded && !step.unbounded => Self {
                words: format!("ANY VALUE that the step permits: {}", step.words),
                unbounded: false,
            },
            _ => own,
        }
    }

    fn of_declared(declared: &Parameter) -> Self {
        let kind = declared.kind;
        let words = match (&declared.choices, kind, declared.limits()) {
            (Some(values), ..) => match &values[..] {
                [only] => format!("always {}", written(only)),
                _ => {
                    let shown = joined(values.iter().map(written), ", ");
                    format!("one of {} values: {shown}", values.len())
                }
            },
            (None, ParameterType::Boolean, _) => "true or false".to_owned(),
            (None, ParameterType::Integer, (Some(low), Some(high))) => {
                format!("a number from {low} to {high}")
            }
            _ if *declared == Parameter::new(kind) => format!("ANY VALUE ({kind})"),
            _ => format!("each value of {}", written(declared)),
        };
        let (low, high) = declared.limits();
        let unbounded = declared.choices.is_none()
            && match kind {
                ParameterType::Boolean => false,
                ParameterType::Integer => low.is_none() || high.is_none(),
                ParameterType::String => !declared.pattern.as_deref().is_some_and(is_bound),
                ParameterType::Array => {
                    let items = declared.items.as_deref();
                    high.is_none() || items.is_none_or(|items| Self::of_declared(items).unbounded)
                }
                ParameterType::Object => true,
            };
        Self { words, unbounded }
    }
}

fn written(value: &impl Serialize) -> String {
    let bytes = canonical::canonical_of(value).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns true if a pattern bounds the values. A pattern with a repetition and a class of nearly all characters, such
/// as `.*` or `[^/]+`, does not bound them. Only the syntax that parameters permit is understood.
fn is_bound(pattern: &str) -> bool {
    let (mut wide, mut repeats, mut in_class) = (false, false, false);
    let chars: Vec<char> = pattern.chars().collect();
    let mut at = 0;
    while at < chars.len() {
        let next = chars.get(at + 1).copied();
        match chars[at] {
            '\\' => {
                wide |= next.is_some_and(|c| "SWDPp".contains(c));
                at += 1;
            }
            '[' if !in_class => {
                in_class = true;
                wide |= next == Some('^');
            }
            ']' if in_class => in_class = false,
            // A range such as ` -~` contains more than letters or digits.
            '-' if in_class && next != Some(']') && chars[at - 1] != '[' => {
                wide |= !(chars[at - 1].is_ascii_alphanumeric()
                    && next.is_some_and(|c| c.is_ascii_alphanumeric()));
            }
            '.' if !in_class => wide = true,
            '*' | '+' | '{' if !in_class => repeats = true,
            _ => {}
        }
        at += 1;
    }
    !(wide && repeats)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn only_a_value_without_a_bound_is_called_unbounded() {
        let declared =
            |value: Value| -> Parameter { serde_json::from_value(value).expect("declared") };
        let text = declared(json!({"type": "string", "maxLength": 4000}));
        for (schema, words, unbounded) in [
            (
                json!({"type": "string", "enum": ["web-1"]}),
                "always \"web-1\"",
                false,
            ),
            (
                json!({"type": "string", "enum": ["a", "b"]}),
                "one of 2 values: \"a\", \"b\"",
                false,
            ),
            (json!({"type": "boolean"}), "true or false", false),
            (json!({"type": "string"}), "ANY VALUE (string)", true),
            (
                json!({"type": "integer", "minimum": 1, "maximum": 3}),
                "a number from 1 to 3",
                false,
            ),
            (
                json!({"type": "integer", "minimum": 1}),
                "each value of {\"minimum\":1,\"type\":\"integer\"}",
                true,
            ),
            (
                json!({"type": "string", "pattern": "^(shop|cart)$"}),
                "each value of {\"pattern\":\"^(shop|cart)$\",\"type\":\"string\"}",
                false,
            ),
        ] {
            let found = VaryingValues::of(&declared(schema), Some(&text));
            assert_eq!(
                found,
                VaryingValues {
                    words: words.to_owned(),
                    unbounded
                }
            );
        }
        let of_step = declared(json!({"type": "string", "enum": ["a", "b"]}));
        let found = VaryingValues::of(&Parameter::new(ParameterType::String), Some(&of_step));
        assert!(
            !found.unbounded
                && found
                    .words
                    .ends_with("permits: one of 2 values: \"a\", \"b\""),
            "{found:?}"
        );
    }

    #[test]
    fn a_pattern_is_a_bound_unless_it_repeats_nearly_all_characters() {
        for bound in [
            "^a$",
            "^(shop|cart)$",
            "^v[0-9]+$",
            "^[a-z]{1,8}$",
            "^[A-Za-z0-9._-]+$",
            "^a\\.*$",
            "^v.$",
        ] {
            assert!(is_bound(bound), "{bound}");
        }
        for free in [
            "^.*$",
            "^.+$",
            "^[^/]+$",
            "^\\S+$",
            "^[ -~]*$",
            "^(a|.)*$",
            "^.{1,99}$",
            "^a[^b]{3}$",
            "^[\\W]+$",
        ] {
            assert!(!is_bound(free), "{free}");
        }
    }
}
