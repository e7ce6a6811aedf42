//! Parser of TOML that stores the line and column of each value.
//!
//! The result is the tree type of the module `yaml`, so that all errors of a file can be reported together.

use toml::de::{DeTable, DeValue};

use reading::{Key, TextLines, TextPlace, YamlFlaw, YamlKind, YamlNode};

/// Parses a TOML text. The parser continues after a syntax error, so that all errors are reported together.
pub fn read(text: &str) -> (YamlNode, Vec<YamlFlaw>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let places = TextLines::of(text);
    let mut flaws = Vec::new();
    let entries = entries(table.get_ref(), &places, &mut flaws);
    flaws.extend(errors.iter().map(|error| {
        let span = error.span().unwrap_or_default();
        let place = places.place(span.start);
        let name = text.get(span).unwrap_or_default();
        match first_line(text, &entries, name, place).filter(|_| error.message() == "duplicate key")
        {
            Some(line) => YamlFlaw::new(
                place,
                format!("{name} is in line {line} already: change that line"),
            ),
            None => YamlFlaw::new(place, format!("{}: write it as TOML", error.message())),
        }
    }));
    flaws.sort_by_key(|flaw| (flaw.place.line, flaw.place.column));
    (
        YamlNode {
            place: TextPlace::START,
            kind: YamlKind::Map(entries),
        },
        flaws,
    )
}

/// Returns the line of an earlier key or header with the name of the key at `place`.
fn first_line(
    text: &str,
    entries: &[(Key, YamlNode)],
    name: &str,
    place: TextPlace,
) -> Option<usize> {
    let here = text.lines().nth(place.line - 1)?.trim();
    if here.starts_with('[') {
        // The tree contains only the last of two tables with the same header.
        return text
            .lines()
            .position(|line| line.trim() == here)
            .map(|at| at + 1)
            .filter(|line| *line < place.line);
    }
    nearest_before(entries, name, place).map(|first| first.line)
}

/// Returns the nearest place before `before` at which a key has this name.
fn nearest_before(entries: &[(Key, YamlNode)], name: &str, before: TextPlace) -> Option<TextPlace> {
    let own = entries
        .iter()
        .filter(|(key, _)| key.name == name)
        .map(|(key, _)| key.place);
    let below = entries.iter().filter_map(|(_, node)| match &node.kind {
        YamlKind::Map(entries) => nearest_before(entries, name, before),
        _ => None,
    });
    own.chain(below).filter(|place| *place < before).max()
}

fn entries(
    table: &DeTable<'_>,
    places: &TextLines<'_>,
    flaws: &mut Vec<YamlFlaw>,
) -> Vec<(Key, YamlNode)> {
    table
        .iter()
        .map(|(name, value)| {
            let key = Key {
                place: places.place(name.span().start),
                name: name.get_ref().to_string(),
            };
            (
                key,
                node(
                    value.get_ref(),
                    places.place(value.span().start),
                    places,
                    flaws,
                ),
            )
        })
        .collect()
}

fn node(
    value: &DeValue<'_>,
    place: TextPlace,
    places: &TextLines<'_>,
    flaws: &mut Vec<YamlFlaw>,
) -> YamlNode {
    let kind = match value {
        DeValue::String(text) => YamlKind::Text(text.to_string()),
        DeValue::Boolean(flag) => YamlKind::Boolean(*flag),
        // The fields for dates also accept text.
        DeValue::Datetime(time) => YamlKind::Text(time.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => YamlKind::Integer(number),
            Err(_) => {
                flaws.push(YamlFlaw::new(
                    place,
                    "the number is too large: write a smaller number",
                ));
                YamlKind::Integer(0)
            }
        },
        DeValue::Float(number) => {
            flaws.push(YamlFlaw::new(
                place,
                format!("{} is a fraction: write a whole number", number.as_str()),
            ));
            YamlKind::Integer(0)
        }
        DeValue::Array(items) => YamlKind::List(
            items
                .iter()
                .map(|item| {
                    node(
                        item.get_ref(),
                        places.place(item.span().start),
                        places,
                        flaws,
                    )
                })
                .collect(),
        ),
        DeValue::Table(table) => YamlKind::Map(entries(table, places, flaws)),
    };
    YamlNode { place, kind }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_line_and_column() {
        let (tree, flaws) = read("a = 1\n[b]\n\u{fc} = \"x\"\n\"c\" = [true, 2]\n");
        // TOML 1.0 does not allow this bare key. The parser must still read the rest of the text.
        assert!(flaws.len() <= 2, "{flaws:?}");
        assert_eq!(
            tree.value("a")
                .map(|node| (node.place.line, node.place.column)),
            Some((1, 5))
        );
        let list = tree.value("b").and_then(|b| b.value("c")).expect("c");
        assert_eq!((list.place.line, list.place.column), (4, 7));
    }

    #[test]
    fn all_toml_errors_are_reported_together() {
        let (_, flaws) = read("a = \nb = 1.5\nc = 99999999999999999999\n");
        let lines: Vec<usize> = flaws.iter().map(|flaw| flaw.place.line).collect();
        assert!(
            lines.contains(&1) && lines.contains(&2) && lines.contains(&3),
            "{flaws:?}"
        );
    }

    #[test]
    fn a_key_that_is_there_twice_is_reported_with_both_lines() {
        for (text, place, says) in [
            (
                "[tls]\n# certificate = \"\"\n[a]\ntls = 1\n[tls]\nkey = \"k\"\n",
                (5, 2),
                "tls is in line 1 already: change that line",
            ),
            (
                "[b]\nx = 1\n[a]\nx = 1\nx = 2\n",
                (5, 1),
                "x is in line 4 already: change that line",
            ),
        ] {
            let (_, flaws) = read(text);
            let [flaw] = &*flaws else { panic!("{flaws:?}") };
            assert_eq!(
                ((flaw.place.line, flaw.place.column), &*flaw.message),
                (place, says),
                "{text}"
            );
        }
    }

    #[test]
    fn no_text_causes_a_panic() {
        for text in [
            "",
            "\u{0}",
            "[",
            "a",
            "[[a]]\n[a]",
            "a.b=1\na=2",
            "=\n=",
            "\"",
            "a = {",
            "\u{feff}a=1",
            "a=[[[[[",
        ] {
            let _ = read(text);
        }
    }
}
