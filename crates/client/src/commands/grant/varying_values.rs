//! Describes which values a parameter may have in the runs of a grant, and whether something bounds them.

use serde_json::Value;

use documents::{canonical, joined};

/// The values of a parameter, in words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct VaryingValues {
    /// The values.
    pub(super) words: String,
    /// True if nothing bounds the values.
    pub(super) unbounded: bool,
}

impl VaryingValues {
    /// Describes the values that the schema of a grant and the schema of the step both permit.
    pub(super) fn of(granted: &Value, of_step: &Value) -> Self {
        let own = Self::of_schema(granted);
        let step = Self::of_schema(of_step);
        if own.unbounded && !step.unbounded {
            return Self {
                words: format!("ANY VALUE that the step permits: {}", step.words),
                unbounded: false,
            };
        }
        own
    }

    fn of_schema(schema: &Value) -> Self {
        let text =
            |value: &Value| String::from_utf8_lossy(&canonical::to_canonical(value)).into_owned();
        let kind = schema["type"].as_str().unwrap_or("value");
        let has = |word: &str| schema.get(word).is_some();
        let words = if let Some(only) = schema.get("const") {
            format!("always {}", text(only))
        } else if let Some(values) = schema["enum"].as_array() {
            let shown = joined(values.iter().map(text), ", ");
            format!("one of {} values: {shown}", values.len())
        } else if kind == "boolean" {
            "true or false".to_owned()
        } else if kind == "integer" && has("minimum") && has("maximum") {
            format!(
                "a number from {} to {}",
                text(&schema["minimum"]),
                text(&schema["maximum"])
            )
        } else if schema.as_object().is_some_and(|map| map.len() == 1) {
            format!("ANY VALUE ({kind})")
        } else {
            format!("each value of {}", text(schema))
        };
        let unbounded = match kind {
            _ if has("const") || has("enum") => false,
            "integer" => !(has("minimum") && has("maximum")),
            "string" => !schema["pattern"].as_str().is_some_and(is_bound),
            "array" => !has("maxItems") || Self::of_schema(&schema["items"]).unbounded,
            kind => kind != "boolean",
        };
        Self { words, unbounded }
    }
}

/// Returns true if a pattern bounds the values: no repetition beside a class of nearly all characters, as in `.*` and
/// `[^/]+`. The pattern is in the closed subset of parameter patterns.
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
            // A range such as ` -~` has more than letters or digits.
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
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_value_without_a_bound_is_called_unbounded() {
        let text = json!({"type": "string", "maxLength": 4000});
        for (schema, words, unbounded) in [
            (
                json!({"type": "string", "const": "web-1"}),
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
            let found = VaryingValues::of(&schema, &text);
            assert_eq!(
                found,
                VaryingValues {
                    words: words.to_owned(),
                    unbounded
                }
            );
        }
        let of_step = json!({"type": "string", "enum": ["a", "b"]});
        let found = VaryingValues::of(&json!({"type": "string"}), &of_step);
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
