//! TOML with places: what operators write.
//!
//! Read into the tree of `yaml`, so that every flaw of a file is reported together, each with line and column.

use toml::de::{DeTable, DeValue};

use crate::yaml::{Flaw, Key, Kind, Node, Place};

/// Reads a TOML text whole; what can't be read is a flaw, and the rest is read all the same.
#[must_use]
pub fn read(text: &str) -> (Node, Vec<Flaw>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let places = Places::new(text);
    let mut flaws: Vec<Flaw> = errors
        .iter()
        .map(|error| {
            let place = error.span().map_or(Place { line: 1, column: 1 }, |span| places.of(span.start));
            Flaw::new(place, format!("{}: write it as TOML", error.message()))
        })
        .collect();
    let entries = entries(table.get_ref(), &places, &mut flaws);
    (Node { place: Place { line: 1, column: 1 }, kind: Kind::Map(entries) }, flaws)
}

fn entries(table: &DeTable<'_>, places: &Places<'_>, flaws: &mut Vec<Flaw>) -> Vec<(Key, Node)> {
    table
        .iter()
        .map(|(name, value)| {
            let key = Key { place: places.of(name.span().start), name: name.get_ref().to_string() };
            (key, node(value.get_ref(), places.of(value.span().start), places, flaws))
        })
        .collect()
}

fn node(value: &DeValue<'_>, place: Place, places: &Places<'_>, flaws: &mut Vec<Flaw>) -> Node {
    let kind = match value {
        DeValue::String(text) => Kind::Text(text.to_string()),
        DeValue::Boolean(flag) => Kind::Boolean(*flag),
        // Only people write dates here, and every field that takes one takes it as text too.
        DeValue::Datetime(time) => Kind::Text(time.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Kind::Integer(number),
            Err(_) => {
                flaws.push(Flaw::new(place, "the number is too large: write a smaller one"));
                Kind::Integer(0)
            }
        },
        DeValue::Float(number) => {
            flaws.push(Flaw::new(place, format!("{} is a fraction: write a whole number", number.as_str())));
            Kind::Integer(0)
        }
        DeValue::Array(items) => Kind::List(
            items.iter().map(|item| node(item.get_ref(), places.of(item.span().start), places, flaws)).collect(),
        ),
        DeValue::Table(table) => Kind::Map(entries(table, places, flaws)),
    };
    Node { place, kind }
}

struct Places<'a> {
    text: &'a str,
    /// Where each line begins, in bytes.
    lines: Vec<usize>,
}

impl<'a> Places<'a> {
    fn new(text: &'a str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, lines }
    }

    fn of(&self, offset: usize) -> Place {
        let line = self.lines.partition_point(|start| *start <= offset).max(1);
        let before = self.text.get(self.lines[line - 1]..offset).unwrap_or("");
        Place { line, column: before.chars().count() + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_places() {
        let (tree, flaws) = read("a = 1\n[b]\n\u{fc} = \"x\"\n\"c\" = [true, 2]\n");
        // A bare key of other letters is no TOML 1.0; the rest is read.
        assert!(flaws.len() <= 2, "{flaws:?}");
        assert_eq!(tree.value("a").map(|node| (node.place.line, node.place.column)), Some((1, 5)));
        let list = tree.value("b").and_then(|b| b.value("c")).expect("c");
        assert_eq!((list.place.line, list.place.column), (4, 7));
    }

    #[test]
    fn every_flaw_is_reported_together() {
        let (_, flaws) = read("a = \nb = 1.5\nc = 99999999999999999999\n");
        let lines: Vec<usize> = flaws.iter().map(|flaw| flaw.place.line).collect();
        assert!(lines.contains(&1) && lines.contains(&2) && lines.contains(&3), "{flaws:?}");
    }

    #[test]
    fn any_text_is_read_without_a_panic() {
        for text in ["", "\u{0}", "[", "a", "[[a]]\n[a]", "a.b=1\na=2", "=\n=", "\"", "a = {", "\u{feff}a=1", "a=[[[[["]
        {
            let _ = read(text);
        }
    }
}
