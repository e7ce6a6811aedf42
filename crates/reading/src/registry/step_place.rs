//! Place of a step in its runbook, and places of the lines of its script.

use std::{path::Path, sync::Arc};

use crate::{OtherFile, TextPlace};

/// Place of a step and of its script.
#[derive(Debug, Clone)]
pub struct StepPlace {
    /// File of the runbook, as errors name the file.
    pub file: Arc<str>,
    /// Place of the step's id.
    pub place: TextPlace,
    /// Place of the script.
    pub script: ScriptOrigin,
    /// Line of the script to which the reader has added text at its beginning, and number of added characters.
    pub added: (usize, usize),
}

/// Place of a script.
#[derive(Debug, Clone)]
pub enum ScriptOrigin {
    /// The script begins below this line of the runbook.
    Below(usize),
    /// An attribute at this place contains the script.
    Attribute(TextPlace),
    /// A file, which the runbook names.
    File(OtherFile),
}

/// Place of a line of a script.
pub struct ScriptLine {
    /// File that contains the line, as errors name the file.
    pub file: String,
    /// Line number in the file, from 1.
    pub line: usize,
    /// Column number in characters, from 1.
    pub column: usize,
    /// Runbook and place that name the file, if the script is in a file of its own. For example `"restart" at
    /// web.mdx:17:3`.
    pub used_by: Option<String>,
}

impl StepPlace {
    /// Returns the column without the text that the reader has added.
    pub(super) fn column_in_file(&self, line: usize, column: usize) -> usize {
        if line == self.added.0 {
            column.saturating_sub(self.added.1).max(1)
        } else {
            column
        }
    }

    /// Returns the place of a line and a column of the script, which both count from 1.
    pub fn in_script(&self, line: usize, column: usize) -> ScriptLine {
        let column = self.column_in_file(line, column);
        let own = |line, column| ScriptLine {
            file: self.file.to_string(),
            line,
            column,
            used_by: None,
        };
        match &self.script {
            ScriptOrigin::Below(above) => own(above + line, column),
            // The first line of the script follows the name of the attribute.
            ScriptOrigin::Attribute(at) if line <= 1 => own(at.line, at.column),
            ScriptOrigin::Attribute(at) => own(at.line + line - 1, column),
            ScriptOrigin::File(other) => {
                let (file, used_by) = in_other_file(&self.file, other);
                ScriptLine {
                    file,
                    line,
                    column,
                    used_by: Some(used_by),
                }
            }
        }
    }
}

/// Returns the path of a file that the runbook `page` names, and the words that name its user.
pub fn in_other_file(page: &str, other: &OtherFile) -> (String, String) {
    let path = Path::new(&other.path);
    let plain: std::path::PathBuf = path
        .components()
        .filter(|part| part.as_os_str() != ".")
        .collect();
    let file = Path::new(page)
        .parent()
        .unwrap_or(Path::new(""))
        .join(plain)
        .display()
        .to_string();
    let OtherFile { user, named_at, .. } = other;
    (
        file,
        format!("{user:?} at {page}:{}:{}", named_at.line, named_at.column),
    )
}
