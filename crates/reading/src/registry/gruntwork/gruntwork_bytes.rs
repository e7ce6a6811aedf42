//! What Gruntwork's own registry takes from a tag. It searches the text of the tag, and does not read it as MDX.
//!
//! The two readers differ for rare pages only. A remark then tells the author that the two programs run different
//! scripts.

/// Id and script that Gruntwork's registry takes from the text of the attributes.
#[derive(Debug, PartialEq)]
pub struct GruntworkStep {
    pub id: String,
    pub script: GruntworkScript,
}

/// Script of a step for Gruntwork's registry.
#[derive(Debug, PartialEq)]
pub enum GruntworkScript {
    Inline(String),
    File(String),
    None,
}

/// Reads the text between the name of the element and its `>`.
pub fn read(attributes: &str) -> GruntworkStep {
    let command = first_value(attributes, "command");
    let path = first_value(attributes, "path");
    let script = match (command.is_empty(), path.is_empty()) {
        (false, _) => GruntworkScript::Inline(without_entities(command)),
        (true, false) => GruntworkScript::File(path.to_owned()),
        (true, true) => GruntworkScript::None,
    };
    GruntworkStep {
        id: first_value(attributes, "id").to_owned(),
        script,
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

/// Replaces the five entities that Gruntwork's registry knows, in its order.
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
        let inline = |id: &str, text: &str| GruntworkStep {
            id: id.to_owned(),
            script: GruntworkScript::Inline(text.to_owned()),
        };
        assert_eq!(
            read(r#" id="a" command="echo &quot;x&quot;""#),
            inline("a", "echo \"x\"")
        );
        assert_eq!(
            read(r#" title='command="rm"' id="a" command="echo""#),
            inline("a", "rm")
        );
        let nothing = GruntworkStep {
            id: "b".to_owned(),
            script: GruntworkScript::None,
        };
        assert_eq!(
            read(r#" inputs-id="b" id="a" command={"a\"b"} x="y""#),
            nothing
        );
        assert_eq!(
            read(" id='a' command={`two\nlines`}"),
            inline("a", "two\nlines")
        );
        let file = GruntworkStep {
            id: "a".to_owned(),
            script: GruntworkScript::File("a.sh".to_owned()),
        };
        assert_eq!(read(r#" id="a" path="a.sh""#), file);
        assert_eq!(read(r#" id="a" path={name}"#).script, GruntworkScript::None);
    }
}
