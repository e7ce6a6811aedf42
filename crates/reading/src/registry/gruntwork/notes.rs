//! Errors and remarks about a page, and the places of YAML in it.

use crate::{
    TextLines, TextPlace, YamlFlaw,
    registry::{fence_remarks::SharedRemarks, gruntwork::elements::Fence},
};

/// Errors and remarks that the reader has found.
#[derive(Default)]
pub struct Notes {
    pub flaws: Vec<YamlFlaw>,
    pub remarks: Vec<YamlFlaw>,
    /// Remarks of which the page has one for each kind.
    pub shared: SharedRemarks,
}

/// Origin of a YAML document.
#[derive(Clone)]
pub enum YamlSource {
    /// Fence of the page. The list contains the number of columns before each line of the YAML, beginning with the line
    /// after the fence.
    Fence {
        first_line: usize,
        indents: Vec<usize>,
    },
    /// File that an attribute at `place` of the page names.
    File { path: String, place: TextPlace },
}

impl YamlSource {
    /// Returns the origin of the YAML in a fence.
    pub fn of_fence(fence: &Fence, page: &TextLines<'_>) -> Self {
        let first_line = fence.place.line + 1;
        let indent = |(index, yaml): (usize, &str)| {
            let written = page.line(first_line + index).trim_end_matches('\n');
            written
                .strip_suffix(yaml)
                .map_or(0, |indent| indent.chars().count())
        };
        Self::Fence {
            first_line,
            indents: fence.text.lines().enumerate().map(indent).collect(),
        }
    }

    /// Returns the number of the first line, for the YAML reader.
    pub fn first_line(&self) -> usize {
        match self {
            Self::Fence { first_line, .. } => *first_line,
            Self::File { .. } => 1,
        }
    }

    /// Returns an error or a remark at a place of the YAML.
    pub fn flaw(&self, place: TextPlace, message: &str) -> YamlFlaw {
        match self {
            Self::Fence {
                first_line,
                indents,
            } => {
                let indent = place
                    .line
                    .checked_sub(*first_line)
                    .and_then(|index| indents.get(index))
                    .unwrap_or(&0);
                YamlFlaw::new(place.after(*indent), message)
            }
            Self::File { path, place: named } => {
                YamlFlaw::new(*named, format!("{path}:{place}: {message}"))
            }
        }
    }
}
