//! Runbooks of other systems, read block by block for an import.

use std::path::Path;
use std::sync::Arc;

use crate::registry::directory_walk::{RunbookDirectoryWalk, read_page, read_text};
use crate::registry::found_step::FoundStep;
use crate::registry::markdown;
use crate::registry::registered_step::{ScriptCheck, register};
use crate::registry::registry_error::RegistryError;
use crate::registry::shared_schemas::SharedSchemas;
use crate::registry::step_place::ScriptOrigin;
use documents::record::step_definition::StepDefinition;
use documents::yaml::{TextPlace, YamlFlaw};

/// One runbook file of another system.
#[derive(Debug)]
pub struct ImportedFile {
    /// Path, relative to the directory.
    pub file: String,
    /// The blocks that can be read and that are steps, in the order of the file.
    pub blocks: Vec<ImportedBlock>,
    /// References and places of blocks that can't be read. `errors` contains the reasons.
    pub unread: Vec<(String, TextPlace)>,
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
    /// Place of the script.
    pub script: ScriptOrigin,
    /// Reasons why this version can't seal the step, with the corrections.
    pub refused: Vec<RegistryError>,
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
    let (blocks, unread, errors, remarks) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut file = ImportedFile { file: relative.to_owned(), blocks, unread, errors, remarks };
    let text = match read_text(path) {
        Ok(text) => text,
        Err(errors) => return Some(ImportedFile { errors, ..file }),
    };
    let is_markdown = relative.ends_with(".md") && !relative.ends_with(".runbook.md");
    if is_markdown && markdown::is_runbook(&text) {
        return None;
    }
    let page = read_page(relative, path, &text, None);
    let page_name: Arc<str> = relative.into();
    for found in page.steps {
        let place = found.place_in(&page_name);
        let FoundStep { definition, contents, .. } = found;
        let refused = register(definition.clone(), contents, None, &SharedSchemas::default(), ScriptCheck::Shell).err();
        let refused = refused.map(|error| error.at(&place)).unwrap_or_default();
        file.blocks.push(ImportedBlock {
            definition,
            place: place.place,
            script: place.script,
            refused,
            remarks: Vec::new(),
        });
    }
    let path_of_steps = relative.strip_suffix(".mdx").unwrap_or(relative);
    file.unread = page.unread.into_iter().map(|(id, place)| (format!("{path_of_steps}:{id}"), place)).collect();
    file.errors = page.flaws;
    file.remarks = page.shared_remarks;
    file.blocks.sort_by_key(|block| block.place);
    for remark in page.remarks {
        match block_of(&file.blocks, remark.place) {
            Some(index) => file.blocks[index].remarks.push(remark),
            None => file.remarks.push(remark),
        }
    }
    let is_empty = file.blocks.is_empty() && file.errors.is_empty();
    (!is_empty).then_some(file)
}

/// Returns the index of the block to which a place belongs. The tag of a block may begin one line before its id.
fn block_of(blocks: &[ImportedBlock], place: TextPlace) -> Option<usize> {
    let at_line = |line: usize| blocks.iter().position(|block| block.place.line == line);
    let within = |block: &ImportedBlock| {
        let is_file = matches!(block.script, ScriptOrigin::File(_));
        let lines = if is_file { 1 } else { block.definition.source.lines().count() + 1 };
        (block.place.line..=block.place.line + lines).contains(&place.line)
    };
    at_line(place.line).or_else(|| at_line(place.line + 1)).or_else(|| blocks.iter().rposition(within))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remark_belongs_to_the_block_of_its_tag_or_to_the_page() {
        let home = tempfile::tempdir().expect("a directory");
        let command = "command=\"command=\" id=\"a\"";
        let text = format!(
            "<Command {command} colour=\"x\" />\n\n<Check\n  id=\"b\"\n  colour=\"x\"\n  command=\"true\"\n/>\n"
        );
        std::fs::write(home.path().join("a.mdx"), text).expect("a file");
        let (files, errors) = read_imported(home.path());
        assert_eq!((files.len(), errors), (1, Vec::new()));
        let of_blocks: Vec<usize> = files[0].blocks.iter().map(|block| block.remarks.len()).collect();
        assert_eq!(of_blocks, [0, 0]);
        let remarks: Vec<&str> = files[0].remarks.iter().map(|remark| remark.message.as_str()).collect();
        assert_eq!(remarks, ["attributes without effect: colour (lines 1, 3)"]);
    }

    #[test]
    fn a_page_with_an_error_gives_its_other_blocks() {
        let home = tempfile::tempdir().expect("a directory");
        let inputs = "<Inputs id=\"in\">\n```yaml\nvariables:\n  - name: N\n    type: odd\n```\n</Inputs>\n\n";
        let block = |id: &str, more: &str| format!("<Command id=\"{id}\" command=\"true\" {more}/>\n\n");
        let text =
            format!("{inputs}{}{}{}", block("a", "inputsId=\"in\" "), block("b", ""), block("c", "inputsId=\"in\" "));
        std::fs::write(home.path().join("a.mdx"), text).expect("a file");
        let (files, _) = read_imported(home.path());
        let steps: Vec<&str> = files[0].blocks.iter().map(|block| block.definition.reference.as_str()).collect();
        assert_eq!(steps, ["a:b"]);
        let unread: Vec<(&str, usize)> = files[0].unread.iter().map(|(step, at)| (step.as_str(), at.line)).collect();
        assert_eq!(unread, [("a:a", 9), ("a:c", 13)]);
        assert_eq!(files[0].errors.len(), 1, "{:?}", files[0].errors);
    }
}
