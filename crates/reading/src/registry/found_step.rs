//! A step that a runbook file contains, with its place there and the places of the lines of its script.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{OtherFile, TextPlace, YamlFlaw, refuse};
use documents::{
    Approvals, DeclaredSandbox, Format, Parameter, SessionUse, StepDefinition, StepRef, Template,
};

/// Step with the place of its id.
#[derive(Debug)]
pub struct FoundStep {
    /// Definition of the step. In a box, because a large registry has many steps at the same time.
    pub definition: Box<StepDefinition>,
    /// Contents of the definition's files, in the same order.
    pub contents: Vec<Arc<[u8]>>,
    /// Place of the step's id.
    pub place: TextPlace,
    /// Place of the script.
    pub script: ScriptOrigin,
    /// Line of the script to which the reader has added text at its beginning, and number of added characters.
    pub added: (usize, usize),
}

/// Returns the definition of a step that declares nothing but its script.
pub fn plain_definition(
    reference: StepRef,
    format: Format,
    title: String,
    interpreter: String,
    source: String,
) -> StepDefinition {
    StepDefinition {
        reference,
        format,
        title,
        interpreter,
        source,
        files: Vec::new(),
        params: Parameter::object(BTreeMap::new(), Vec::new()).into(),
        template: Template::None,
        sandbox: DeclaredSandbox::default(),
        approvals: Approvals::unspecified(),
        secrets: Vec::new(),
        outputs: Vec::new(),
        session: SessionUse::None,
        exclusive: None,
        plan: None,
        check: false,
        programs: None,
    }
}

/// Adds a step. If an earlier step has the same id, also adds an error, but keeps the step so that its script is
/// checked.
pub fn add_step(found: &mut Vec<FoundStep>, one: FoundStep, flaws: &mut Vec<YamlFlaw>) {
    let reference = &one.definition.reference;
    if let Some(FoundStep { place: at, .. }) = found
        .iter()
        .find(|first| first.definition.reference == *reference)
    {
        let message = format!(
            "the step {reference} already exists at {at}: change the id of one of the two steps"
        );
        refuse(flaws, one.place, message);
    }
    found.push(one);
}

impl FoundStep {
    /// Returns the place of the step in this file.
    pub fn place_in(&self, file: &Arc<str>) -> StepPlace {
        StepPlace {
            file: Arc::clone(file),
            place: self.place,
            script: self.script.clone(),
            added: self.added,
        }
    }
}

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
    /// Place in the file.
    pub place: TextPlace,
    /// Runbook and place that name the file, if the script is in a file of its own. For example `"restart" at
    /// web.mdx:17:3`.
    pub used_by: Option<String>,
}

impl StepPlace {
    /// Returns a place of the script without the text that the reader has added.
    pub(super) fn without_added(&self, mut at: TextPlace) -> TextPlace {
        if at.line == self.added.0 {
            at.column = at.column.saturating_sub(self.added.1).max(1);
        }
        at
    }

    /// Converts a place in the script to the file and the place that contain it.
    pub fn in_script(&self, at: TextPlace) -> ScriptLine {
        let mut place = self.without_added(at);
        match &self.script {
            ScriptOrigin::Below(above) => place.line += above,
            // The first line of the script follows the name of the attribute.
            ScriptOrigin::Attribute(named) if place.line <= 1 => place = *named,
            ScriptOrigin::Attribute(named) => place.line += named.line - 1,
            ScriptOrigin::File(other) => {
                let (file, used_by) = in_other_file(&self.file, other);
                return ScriptLine {
                    file,
                    place,
                    used_by: Some(used_by),
                };
            }
        }
        ScriptLine {
            file: self.file.to_string(),
            place,
            used_by: None,
        }
    }
}

/// Returns the path of a file that the runbook `page` names, and the words that name its user.
pub fn in_other_file(page: &str, other: &OtherFile) -> (String, String) {
    let above = Path::new(page).parent().unwrap_or(Path::new(""));
    let parts = Path::new(&other.path).components();
    let parts = parts.filter(|part| part.as_os_str() != ".");
    let file = above.join(parts.collect::<PathBuf>()).display().to_string();
    let OtherFile { user, named_at, .. } = other;
    (file, format!("{user:?} at {page}:{named_at}"))
}
