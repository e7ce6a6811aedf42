//! Remarks that several blocks of a page share, so that a page has one remark of each kind.

use std::collections::{BTreeMap, BTreeSet};

use crate::{TextPlace, YamlFlaw};

/// Kind of remark: the text before the names, and the text after the names.
pub type RemarkKind = (&'static str, &'static str);

/// Remarks of one page.
#[derive(Debug, Default)]
pub struct SharedRemarks(BTreeMap<RemarkKind, (BTreeSet<String>, BTreeSet<TextPlace>)>);

impl SharedRemarks {
    /// Adds a name to the remark of this kind.
    pub fn add(&mut self, kind: RemarkKind, name: &str, place: TextPlace) {
        let (names, places) = self.0.entry(kind).or_default();
        names.insert(name.to_owned());
        places.insert(place);
    }

    /// Returns the remarks, each at its first place.
    pub fn into_remarks(self) -> Vec<YamlFlaw> {
        let remark = |((before, after), (names, places)): (
            RemarkKind,
            (BTreeSet<String>, BTreeSet<TextPlace>),
        )| {
            let names: Vec<String> = names.into_iter().collect();
            let lines: BTreeSet<usize> = places.iter().map(|place| place.line).collect();
            let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
            let places_of = if lines.len() > 1 {
                format!(" (lines {})", lines.join(", "))
            } else {
                String::new()
            };
            let message = format!("{before}{}{after}{places_of}", names.join(", "));
            YamlFlaw::new(places.first().copied().unwrap_or_default(), message)
        };
        let mut remarks: Vec<YamlFlaw> = self.0.into_iter().map(remark).collect();
        remarks.sort();
        remarks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_remark_names_all_lines_of_its_kind() {
        let at = |line| TextPlace { line, column: 2 };
        let mut remarks = SharedRemarks::default();
        for (name, line) in [("b", 9), ("a", 3), ("a", 9)] {
            remarks.add(("without effect: ", ""), name, at(line));
        }
        remarks.add(("unknown: ", ", write x"), "c", at(5));
        let lines: Vec<String> = remarks
            .into_remarks()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            lines,
            [
                "3:2: without effect: a, b (lines 3, 9)",
                "5:2: unknown: c, write x"
            ]
        );
    }
}
