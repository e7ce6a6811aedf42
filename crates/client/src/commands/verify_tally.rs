//! Counts the results of several bundles, and lists them at the end.

use std::collections::BTreeMap;
use std::path::Path;

use crate::{Exit, LineTone, PrintableText, Screen};
use verdict::Facts;

/// Word of a verified bundle in the list.
pub const VERIFIED: &str = "verified";
/// Word of a bundle for which versions of the roster are missing.
pub const UNDECIDED: &str = "not decided";

/// Results of several bundles.
pub struct Tally {
    pub exit: Exit,
    lines: Vec<(&'static str, String, PrintableText)>,
    receipts: BTreeMap<String, usize>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            exit: Exit::Done,
            lines: Vec::new(),
            receipts: BTreeMap::new(),
        }
    }
}

impl Tally {
    pub fn worst(&mut self, one: Exit) {
        if one.code() > self.exit.code() {
            self.exit = one;
        }
    }

    /// Adds a result. `why` is the reason if the bundle is not verified, and empty otherwise.
    pub fn add(&mut self, verdict: &'static str, path: &Path, facts: Option<&Facts>, why: &str) {
        let mut words = path.to_string_lossy().into_owned();
        if let Some(approved) = facts.and_then(|facts| facts.approved.as_ref()) {
            words = format!("{words}: {} of {}", approved.receipt, approved.step);
            if let Some(used) = &approved.grant {
                let number = used.use_number.unwrap_or_default();
                words = format!(
                    "{words}, under standing grant {}, use {number} of {}",
                    used.grant, used.max_uses
                );
            }
            if approved.emergency {
                words.push_str(", an EMERGENCY");
            }
            *self
                .receipts
                .entry(approved.receipt.to_string())
                .or_default() += 1;
        }
        if !why.is_empty() {
            words = format!("{words}: {why}");
        }
        let boundary = facts.map_or_else(String::new, |facts| facts.boundary.name.to_string());
        self.lines
            .push((verdict, boundary, PrintableText::text(&words)));
    }

    pub fn screen(&self, skipped: &[(String, String)]) -> Screen {
        let mut screen = Screen::default();
        screen.heading("All bundles");
        let width = self
            .lines
            .iter()
            .map(|(_, boundary, _)| boundary.len())
            .fold(8, usize::max);
        screen.push(
            LineTone::Faint,
            format!("  RESULT       {:<width$}  ", "BOUNDARY"),
            "FILE",
        );
        for (verdict, boundary, words) in &self.lines {
            let tone = match *verdict {
                VERIFIED => LineTone::Good,
                UNDECIDED => LineTone::Strong,
                _ => LineTone::Bad,
            };
            screen.push(
                tone,
                format!("  {verdict:<12} {boundary:<width$}  "),
                words.clone(),
            );
        }
        for (name, why) in skipped {
            screen.push(LineTone::Faint, "  other file   ", format!("{name}: {why}"));
        }
        for (receipt, times) in self.receipts.iter().filter(|(_, times)| **times > 1) {
            screen.say(
                LineTone::Bad,
                &format!(
                    "{times} of the bundles belong to the same run {receipt}: count this run once."
                ),
            );
        }
        let count = |word: &str| {
            self.lines
                .iter()
                .filter(|(verdict, ..)| *verdict == word)
                .count()
        };
        let undecided = match count(UNDECIDED) {
            0 => String::new(),
            some => format!(", {some} not decided"),
        };
        screen.say(
            LineTone::Plain,
            &format!(
                "{} of {} verified{undecided}",
                count(VERIFIED),
                self.lines.len()
            ),
        );
        screen
    }
}
