//! The output of the demo, as aligned lines that are readable without colour.

use serde::Serialize;

use client::{CommandResult, PrintableText, Screen, Terminal};

#[derive(PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DemoResult {
    /// The check confirmed the statement in the line.
    AsTold,
    /// The check cannot be made on this host.
    NotShown,
    /// The check contradicted the statement in the line.
    Failed,
}

#[derive(Serialize)]
pub struct DemoLine {
    state: DemoResult,
    what: String,
    found: String,
}

/// The lines that were printed so far.
pub struct DemoReport<'t> {
    terminal: &'t Terminal,
    lines: Vec<DemoLine>,
}

/// The column in which results begin.
const COLUMN: usize = 48;
/// The width of a person's screen in characters. A digest fits into one line.
const SCREEN_WIDTH: usize = 80;

impl<'t> DemoReport<'t> {
    pub const fn new(terminal: &'t Terminal) -> Self {
        Self {
            terminal,
            lines: Vec::new(),
        }
    }

    pub fn part(&self, title: &str) -> CommandResult<()> {
        self.put(&format!("\n{title}\n"))
    }

    /// Prints one line with a statement and its result.
    pub fn line(&mut self, state: DemoResult, what: &str, found: &str) -> CommandResult<()> {
        let mark = match state {
            DemoResult::AsTold => "ok       ",
            DemoResult::NotShown => "NOT SHOWN",
            DemoResult::Failed => "FAILED   ",
        };
        let what = PrintableText::text(what).to_string();
        let found = PrintableText::text(found).to_string();
        self.put(&format!("  {mark}  {what:<COLUMN$}  {found}\n"))?;
        self.lines.push(DemoLine { state, what, found });
        Ok(())
    }

    /// Prints a line. The line counts as confirmed if `holds` is true.
    pub fn check(&mut self, holds: bool, what: &str, found: &str) -> CommandResult<()> {
        self.line(
            if holds {
                DemoResult::AsTold
            } else {
                DemoResult::Failed
            },
            what,
            found,
        )
    }

    /// Prints text that a person or a step wrote, with a vertical bar before each line.
    pub fn quote(&self, who: &str, text: &str) -> CommandResult<()> {
        for line in text.lines() {
            self.put(&format!("  {who:>9} | {}\n", PrintableText::text(line)))?;
        }
        Ok(())
    }

    /// Prints the screen of a person, with a vertical bar before each line.
    pub fn screen(&self, who: &str, screen: &Screen) -> CommandResult<()> {
        screen
            .paint(SCREEN_WIDTH, false)
            .lines()
            .try_for_each(|line| self.put(&format!("  {who:>9} | {line}\n")))
    }

    pub fn note(&self, words: &str) -> CommandResult<()> {
        for line in words.lines() {
            self.put(&format!("  {}\n", PrintableText::text(line)))?;
        }
        Ok(())
    }

    /// Returns true if every line was confirmed.
    pub fn all_as_told(&self) -> bool {
        !self.lines.is_empty()
            && self
                .lines
                .iter()
                .all(|line| line.state == DemoResult::AsTold)
    }

    /// Returns true if no check contradicted a line.
    pub fn none_failed(&self) -> bool {
        self.lines
            .iter()
            .all(|line| line.state != DemoResult::Failed)
    }

    pub fn lines(&self) -> &[DemoLine] {
        &self.lines
    }

    pub fn verdict(&self) -> CommandResult<()> {
        let count = |state| self.lines.iter().filter(|line| line.state == state).count();
        let [good, hidden, bad] =
            [DemoResult::AsTold, DemoResult::NotShown, DemoResult::Failed].map(count);
        let words = if self.all_as_told() {
            format!("All {good} lines were confirmed.")
        } else {
            format!(
                "{good} lines were confirmed, {hidden} could not be shown on this host, {bad} failed."
            )
        };
        self.put(&format!("\n{words}\n"))
    }

    fn put(&self, text: &str) -> CommandResult<()> {
        // With `--json`, the demo prints only one object at the end.
        if self.terminal.json {
            Ok(())
        } else {
            self.terminal.put(text)
        }
    }
}
