//! The output of the demo: plain aligned lines that are readable without colour.

use serde::Serialize;

use crate::terminal::exit::Failure;
use crate::terminal::screen::Shown;
use crate::terminal::streams::Terminal;

/// The result of one line of the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum State {
    /// The check confirmed the claim.
    AsTold,
    /// This host cannot show the claim.
    NotShown,
    /// The check contradicted the claim.
    Failed,
}

/// One printed line of the demo.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    state: State,
    what: String,
    found: String,
}

/// The lines that were printed so far.
pub(super) struct Tale<'t> {
    terminal: &'t Terminal,
    lines: Vec<Line>,
}

/// The column in which results begin.
const COLUMN: usize = 48;

impl<'t> Tale<'t> {
    pub(super) const fn new(terminal: &'t Terminal) -> Self {
        Self { terminal, lines: Vec::new() }
    }

    /// Prints a heading.
    pub(super) fn part(&self, title: &str) -> Result<(), Failure> {
        self.put(&format!("\n{title}\n"))
    }

    /// Prints one line with a claim and its result.
    pub(super) fn line(&mut self, state: State, what: &str, found: &str) -> Result<(), Failure> {
        let mark = match state {
            State::AsTold => "ok       ",
            State::NotShown => "NOT SHOWN",
            State::Failed => "FAILED   ",
        };
        let (what, found) = (Shown::text(what), Shown::text(found));
        self.put(&format!("  {mark}  {:<COLUMN$}  {}\n", what.as_str(), found.as_str()))?;
        self.lines.push(Line { state, what: what.as_str().to_owned(), found: found.as_str().to_owned() });
        Ok(())
    }

    /// Prints a line that counts as confirmed if `holds` is true.
    pub(super) fn check(&mut self, holds: bool, what: &str, found: &str) -> Result<(), Failure> {
        self.line(if holds { State::AsTold } else { State::Failed }, what, found)
    }

    /// Prints text of a person or of a step after a bar.
    pub(super) fn quote(&self, who: &str, text: &str) -> Result<(), Failure> {
        for line in text.lines() {
            self.put(&format!("  {who:>9} | {}\n", Shown::text(line).as_str()))?;
        }
        Ok(())
    }

    /// Prints named values after a bar.
    pub(super) fn fields(&self, who: &str, fields: &[(&str, String)]) -> Result<(), Failure> {
        for (name, value) in fields {
            self.put(&format!("  {who:>9} | {name:<8} {}\n", Shown::text(value).as_str()))?;
        }
        Ok(())
    }

    /// Prints a remark.
    pub(super) fn note(&self, words: &str) -> Result<(), Failure> {
        for line in words.lines() {
            self.put(&format!("  {}\n", Shown::text(line).as_str()))?;
        }
        Ok(())
    }

    /// Returns true if every line was confirmed.
    pub(super) fn all_as_told(&self) -> bool {
        !self.lines.is_empty() && self.lines.iter().all(|line| line.state == State::AsTold)
    }

    /// Returns the lines for programs.
    pub(super) fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Prints the final verdict.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        let count = |state| self.lines.iter().filter(|line| line.state == state).count();
        let (good, hidden, bad) = (count(State::AsTold), count(State::NotShown), count(State::Failed));
        let words = if self.all_as_told() {
            format!("All {good} lines were confirmed.")
        } else {
            format!("{good} lines were confirmed, {hidden} could not be shown on this host, {bad} failed.")
        };
        self.put(&format!("\n{words}\n"))
    }

    fn put(&self, text: &str) -> Result<(), Failure> {
        // With `--json`, only the object at the end is printed.
        if self.terminal.json { Ok(()) } else { self.terminal.put(text.as_bytes()) }
    }
}
