//! A step that a runbook file contains.

use std::{collections::BTreeMap, sync::Arc};

use crate::{ScriptOrigin, StepPlace, TextPlace, YamlFlaw, refuse};
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

/// Adds a step, so that its script is checked, and an error if an earlier step has the same id.
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
