//! Finds what Gruntwork's own registry takes from a tag. That registry searches the text of the tag, and does not parse
//! MDX.
//!
//! On rare pages, that registry finds another id or script than the MDX parser. A remark then tells the author that the
//! two programs run different scripts.

/// Returns true if Gruntwork's registry takes this id and this script from the text between the name of an element and
/// its `>`. `path` is the path of the script, if it is in a file.
pub fn takes(attributes: &str, id: &str, script: &str, path: Option<&str>) -> bool {
    let command = first_value(attributes, "command");
    first_value(attributes, "id") == id
        && match path {
            None => without_entities(command) == script,
            Some(path) => command.is_empty() && first_value(attributes, "path") == path,
        }
}

/// Returns the first text after `name=` in any form of quotes, wherever `name` occurs. The forms have a fixed order.
fn first_value<'a>(attributes: &'a str, name: &str) -> &'a str {
    for (open, close) in [
        ("=\"", "\""),
        ("='", "'"),
        ("={`", "`}"),
        ("={\"", "\"}"),
        ("={'", "'}"),
    ] {
        for (at, found) in attributes.match_indices(&format!("{name}{open}")) {
            let rest = &attributes[at + found.len()..];
            let end = rest
                .find(&close[..1])
                .filter(|end| rest[*end..].starts_with(close));
            if let Some(end) = end {
                return &rest[..end];
            }
        }
    }
    ""
}

/// Replaces the five entities that Gruntwork's registry replaces, in the same order.
fn without_entities(text: &str) -> String {
    let entities = [
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&amp;", "&"),
    ];
    entities
        .iter()
        .fold(text.to_owned(), |text, (entity, c)| text.replace(entity, c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_occurrence_of_a_name_counts_even_inside_of_another_text() {
        let inline = |attributes, id, text| takes(attributes, id, text, None);
        assert!(inline(
            r#" id="a" command="echo &quot;x&quot;""#,
            "a",
            "echo \"x\""
        ));
        assert!(inline(
            r#" title='command="rm"' id="a" command="echo""#,
            "a",
            "rm"
        ));
        let nothing = r#" inputs-id="b" id="a" command={"a\"b"} x="y""#;
        assert!(inline(nothing, "b", "") && !inline(nothing, "b", "a\"b"));
        assert!(inline(" id='a' command={`two\nlines`}", "a", "two\nlines"));
        let file = |attributes| takes(attributes, "a", "true", Some("a.sh"));
        assert!(file(r#" id="a" path="a.sh""#));
        assert!(!file(r#" id="a" path={name}"#));
        assert!(!file(r#" id="a" command="true" path="a.sh""#));
    }
}
