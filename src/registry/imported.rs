//! Runbooks of other systems, read block by block for an import.

use std::path::Path;

use crate::record::step_definition::StepDefinition;
use crate::registry::directory_walk::{RunbookDirectoryWalk, read_page, read_text};
use crate::registry::markdown;
use crate::registry::registered_step::register;
use crate::registry::registry_error::RegistryError;
use crate::registry::shared_schemas::SharedSchemas;
use crate::yaml::{TextPlace, YamlFlaw};

/// One runbook file of another system.
#[derive(Debug)]
pub struct ImportedFile {
    /// Path, relative to the directory.
    pub file: String,
    /// The blocks that are steps, in the order of the file. If a block can't be read, the list is empty.
    pub blocks: Vec<ImportedBlock>,
    /// Errors of the file. No block of the file can be sealed before they are corrected.
    pub errors: Vec<YamlFlaw>,
    /// Remarks that belong to no block.
    pub remarks: Vec<YamlFlaw>,
}

/// One block of a runbook file that is a step.
#[derive(Debug)]
pub struct ImportedBlock {
    /// Definition of the step.
    pub definition: StepDefinition,
    /// Place of the step's id.
    pub place: TextPlace,
    /// Reason why this version can't seal the step, with the correction.
    pub refused: Option<String>,
    /// Remarks about the block.
    pub remarks: Vec<YamlFlaw>,
}

/// Reads every runbook of another system below `dir`: `*.mdx`, `*.runbook.md`, and `*.md` with runnable fences. Files
/// without a step and runbooks in Countersign Markdown are left out. Also returns the errors of paths.
#[must_use]
pub fn read_imported(dir: &Path) -> (Vec<ImportedFile>, Vec<RegistryError>) {
    let mut walk = RunbookDirectoryWalk::through(dir, String::new(), None);
    walk.files.sort();
    let found = walk.files.iter().filter_map(|(relative, path)| read_file(relative, path)).collect();
    walk.errors.sort();
    (found, walk.errors)
}

fn read_file(relative: &str, path: &Path) -> Option<ImportedFile> {
    let mut file =
        ImportedFile { file: relative.to_owned(), blocks: Vec::new(), errors: Vec::new(), remarks: Vec::new() };
    let text = match read_text(path) {
        Ok(text) => text,
        Err(errors) => return Some(ImportedFile { errors, ..file }),
    };
    let is_markdown = relative.ends_with(".md") && !relative.ends_with(".runbook.md");
    // The name of the step does not matter here.
    if is_markdown && !matches!(markdown::read(&text, "x"), Ok(None)) {
        return None;
    }
    let page = match read_page(relative, path, &text, None) {
        Ok(page) => page,
        Err(errors) => return Some(ImportedFile { errors, ..file }),
    };
    for found in page.steps {
        let refused = register(found.definition.clone(), None, &SharedSchemas::default()).err();
        let (definition, place) = (found.definition, found.place);
        file.blocks.push(ImportedBlock { definition, place, refused, remarks: Vec::new() });
    }
    file.blocks.sort_by_key(|block| block.place);
    for remark in page.remarks {
        match block_of(&file.blocks, remark.place) {
            Some(index) => file.blocks[index].remarks.push(remark),
            None => file.remarks.push(remark),
        }
    }
    (!file.blocks.is_empty()).then_some(file)
}

/// Returns the index of the block to which a place belongs. The tag of a block may begin one line before its id.
fn block_of(blocks: &[ImportedBlock], place: TextPlace) -> Option<usize> {
    let at_line = |line: usize| blocks.iter().position(|block| block.place.line == line);
    let within = |block: &ImportedBlock| {
        let lines = block.definition.source.lines().count() + 1;
        (block.place.line..=block.place.line + lines).contains(&place.line)
    };
    at_line(place.line).or_else(|| at_line(place.line + 1)).or_else(|| blocks.iter().rposition(within))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remark_belongs_to_the_block_of_its_tag() {
        let home = tempfile::tempdir().expect("a directory");
        let text = "<Command id=\"a\" colour=\"x\" command=\"true\" />\n\n<Check\n  id=\"b\"\n  colour=\"x\"\n  command=\"true\"\n/>\n";
        std::fs::write(home.path().join("a.mdx"), text).expect("a file");
        let (files, errors) = read_imported(home.path());
        assert_eq!((files.len(), errors), (1, Vec::new()));
        let remarks: Vec<Vec<&str>> = files[0]
            .blocks
            .iter()
            .map(|block| block.remarks.iter().map(|remark| remark.message.as_str()).collect())
            .collect();
        assert_eq!(
            remarks,
            [["attributes of <Command> without effect: colour"], ["attributes of <Check> without effect: colour"]]
        );
        assert_eq!(files[0].remarks, []);
    }
}
