//! How the demo tells: plain words, aligned, readable without colour.

use serde::Serialize;

use crate::terminal::exit::CommandFailure;
use crate::terminal::screen::PrintableText;
use crate::terminal::streams::Terminal;

/// Whether a line happened as told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum DemoResult {
    /// It was checked and is so.
    AsTold,
    /// This host can't show it.
    NotShown,
    /// It was checked and is not so.
    Failed,
}

/// A line that was told.
#[derive(Debug, Serialize)]
pub(super) struct DemoLine {
    state: DemoResult,
    what: String,
    found: String,
}

/// What was told so far.
pub(super) struct DemoReport<'t> {
    terminal: &'t Terminal,
    lines: Vec<DemoLine>,
}

/// The column in which findings begin.
const COLUMN: usize = 48;

impl<'t> DemoReport<'t> {
    pub(super) const fn new(terminal: &'t Terminal) -> Self {
        Self { terminal, lines: Vec::new() }
    }

    /// A heading.
    pub(super) fn part(&self, title: &str) -> Result<(), CommandFailure> {
        self.put(&format!("\n{title}\n"))
    }

    /// One line: what was tried, and what was found.
    pub(super) fn line(&mut self, state: DemoResult, what: &str, found: &str) -> Result<(), CommandFailure> {
        let mark = match state {
            DemoResult::AsTold => "ok       ",
            DemoResult::NotShown => "NOT SHOWN",
            DemoResult::Failed => "FAILED   ",
        };
        let (what, found) = (PrintableText::text(what), PrintableText::text(found));
        self.put(&format!("  {mark}  {:<COLUMN$}  {}\n", what.as_str(), found.as_str()))?;
        self.lines.push(DemoLine { state, what: what.as_str().to_owned(), found: found.as_str().to_owned() });
        Ok(())
    }

    /// A line that is as told when `holds`.
    pub(super) fn check(&mut self, holds: bool, what: &str, found: &str) -> Result<(), CommandFailure> {
        self.line(if holds { DemoResult::AsTold } else { DemoResult::Failed }, what, found)
    }

    /// What somebody sees or a step prints, set off by a bar.
    pub(super) fn quote(&self, who: &str, text: &str) -> Result<(), CommandFailure> {
        for line in text.lines() {
            self.put(&format!("  {who:>9} | {}\n", PrintableText::text(line).as_str()))?;
        }
        Ok(())
    }

    /// Named values that somebody sees.
    pub(super) fn fields(&self, who: &str, fields: &[(&str, String)]) -> Result<(), CommandFailure> {
        for (name, value) in fields {
            self.put(&format!("  {who:>9} | {name:<8} {}\n", PrintableText::text(value).as_str()))?;
        }
        Ok(())
    }

    /// A remark.
    pub(super) fn note(&self, words: &str) -> Result<(), CommandFailure> {
        for line in words.lines() {
            self.put(&format!("  {}\n", PrintableText::text(line).as_str()))?;
        }
        Ok(())
    }

    /// Whether every line is as told.
    pub(super) fn all_as_told(&self) -> bool {
        !self.lines.is_empty() && self.lines.iter().all(|line| line.state == DemoResult::AsTold)
    }

    /// The lines, for programs.
    pub(super) fn lines(&self) -> &[DemoLine] {
        &self.lines
    }

    /// The last words.
    pub(super) fn verdict(&self) -> Result<(), CommandFailure> {
        let count = |state| self.lines.iter().filter(|line| line.state == state).count();
        let (good, hidden, bad) = (count(DemoResult::AsTold), count(DemoResult::NotShown), count(DemoResult::Failed));
        let words = if self.all_as_told() {
            format!("All {good} lines happened as told.")
        } else {
            format!("{good} lines happened as told, {hidden} could not be shown here, {bad} did not happen as told.")
        };
        self.put(&format!("\n{words}\n"))
    }

    fn put(&self, text: &str) -> Result<(), CommandFailure> {
        // With --json only the object at the end goes out.
        if self.terminal.json { Ok(()) } else { self.terminal.put(text.as_bytes()) }
    }
}
