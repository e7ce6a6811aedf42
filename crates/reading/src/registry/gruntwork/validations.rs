//! Converts the validations of a Boilerplate variable to words of a parameter's declaration.

use crate::{
    Variable, YamlKind, YamlNode,
    registry::{evaluate::ParameterPatterns, gruntwork::elements::Notes},
};

/// Adds the validations to the schema of a variable, and returns true if the variable is required. A validation that the
/// schema can't express gives a remark.
pub fn apply(found: &mut Variable, list: Option<&YamlNode>, kind: &str, notes: &mut Notes) -> bool {
    let Some(list) = list.filter(|list| list.kind != YamlKind::Null) else {
        return false;
    };
    let items = if let YamlKind::List(items) = &list.kind {
        items.as_slice()
    } else {
        std::slice::from_ref(list)
    };
    let read: Vec<(String, &YamlNode)> = items.iter().map(|item| (name_of(item), item)).collect();
    let required = read.iter().any(|(name, _)| name == "required");
    match kind {
        "string" if required => found.declared.min_length = Some(1),
        "list" if required => found.declared.min_items = Some(1),
        _ => {}
    }
    for (name, item) in read.iter().filter(|(name, _)| name != "required") {
        let applied = match (kind, name.as_str()) {
            // The options of an enum decide which values are valid.
            ("enum", _) => Ok(()),
            ("string", "length") => length(found, item),
            ("string", _) => pattern(found, name, item, required),
            _ => Err("the registry checks this validation only for `type: string`".to_owned()),
        };
        if let Err(reason) = applied {
            notes
                .remarks
                .push(found.flaw(&format!("the validation {name:?} is not checked: {reason}")));
        }
        if kind == "string" && name == "url" {
            let message = "the validation \"url\" checks only that the value begins with http:// or https:// and contains \
                           no space";
            notes.remarks.push(found.flaw(message));
        }
    }
    required
}

fn name_of(item: &YamlNode) -> String {
    let node = item.value("type").unwrap_or(item);
    if let YamlKind::Text(name) = &node.kind {
        name.to_ascii_lowercase()
    } else {
        String::new()
    }
}

/// Returns the argument with this index, or the value of this key.
fn argument<'a>(item: &'a YamlNode, index: usize, key: &str) -> Option<&'a YamlNode> {
    match item.value("args").map(|args| &args.kind) {
        Some(YamlKind::List(args)) if !args.is_empty() => args.get(index),
        _ => item.value(key),
    }
}

fn length(found: &mut Variable, item: &YamlNode) -> Result<(), String> {
    let number = |index, key| match argument(item, index, key).map(|node| &node.kind) {
        Some(YamlKind::Integer(number)) => u64::try_from(*number).ok(),
        Some(YamlKind::Text(text)) => text.parse().ok(),
        _ => None,
    };
    let (Some(low), Some(high)) = (number(0, "min"), number(1, "max")) else {
        return Err("it needs the smallest and the largest length: write args: [1, 64]".to_owned());
    };
    let low = if low == 0 {
        found.declared.min_length.unwrap_or(0)
    } else {
        low
    };
    found.declared.min_length = Some(low);
    found.declared.max_length = Some(high);
    Ok(())
}

fn pattern(
    found: &mut Variable,
    name: &str,
    item: &YamlNode,
    required: bool,
) -> Result<(), String> {
    let written = match name {
        "email" => r"^[^\s@]+@[^\s@]+\.[^\s@]+$",
        "url" => r"^[hH][tT][tT][pP][sS]?://\S+$",
        "alpha" => "^[a-zA-Z]+$",
        "digit" => "^[0-9]+$",
        "alphanumeric" => "^[a-zA-Z0-9]+$",
        "countrycode2" => "^[a-zA-Z]{2}$",
        "semver" => SEMVER,
        "regex" => match argument(item, 0, "regex").map(|node| &node.kind) {
            Some(YamlKind::Text(text)) => text,
            _ => return Err("it has no pattern: write regex: \"^...$\"".to_owned()),
        },
        _ => return Err("the registry does not know this validation".to_owned()),
    };
    if found.declared.pattern.is_some() {
        return Err("a variable can have only one pattern: join the patterns".to_owned());
    }
    let pattern = whole_pattern(written, required)?;
    found.declared.pattern = Some(pattern);
    // The author wrote the dash at the beginning, so the script expects it.
    if name == "regex" && written.starts_with("^-") {
        found.declared.leading_dash = Some(true);
    }
    Ok(())
}

/// Returns a pattern for the whole value. Gruntwork searches a match anywhere in the value, and accepts an empty value
/// unless the variable is required.
fn whole_pattern(written: &str, required: bool) -> Result<String, String> {
    let patterns = ParameterPatterns::default();
    let front = written.strip_prefix('^');
    let inner = front.unwrap_or(written);
    let escaped = inner
        .strip_suffix('$')
        .unwrap_or("")
        .chars()
        .rev()
        .take_while(|c| *c == '\\')
        .count()
        % 2
        == 1;
    let back = inner.strip_suffix('$').filter(|_| !escaped);
    let body = back.unwrap_or(inner);
    if front.is_some() || back.is_some() {
        // Each alternative of ^a|b$ is anchored on one side only.
        patterns.get(&format!("^{body}$"))?;
    }
    let anything = |anchor: Option<&str>| if anchor.is_some() { "" } else { r"[\s\S]*" };
    let whole = if front.is_some() && back.is_some() {
        body.to_owned()
    } else {
        format!("{}(?:{body}){}", anything(front), anything(back))
    };
    let pattern = if required {
        format!("^{whole}$")
    } else {
        format!("^(?:{whole})?$")
    };
    patterns.get(&pattern)?;
    Ok(pattern)
}

/// Version number of semver.org, optionally after a `v`.
const SEMVER: &str = concat!(
    r"^[vV]?(?:0|[1-9][0-9]*)\.(?:0|[1-9][0-9]*)\.(?:0|[1-9][0-9]*)",
    r"(?:-(?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*))*)?",
    r"(?:\+[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*)?$"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_the_same_values_as_in_gruntwork() {
        for (written, required, pattern) in [
            ("^[A-Z]{3}$", true, "^[A-Z]{3}$"),
            ("^[A-Z]{3}$", false, "^(?:[A-Z]{3})?$"),
            ("a|b", true, r"^[\s\S]*(?:a|b)[\s\S]*$"),
            ("^a", true, r"^(?:a)[\s\S]*$"),
            (r"a\$", true, r"^[\s\S]*(?:a\$)[\s\S]*$"),
        ] {
            assert_eq!(
                whole_pattern(written, required).as_deref(),
                Ok(pattern),
                "{written}"
            );
        }
        for refused in ["^a|b$", "(?=a)", "(", "a^b"] {
            assert!(whole_pattern(refused, true).is_err(), "{refused}");
        }
        assert!(whole_pattern(SEMVER, false).is_ok());
    }
}
