//! Review: the screen that an approver reads before signing.
//!
//! `gather` reads the documents. `derive` checks the authorization without trust in the boundary. `lines` describes the
//! results in lines, each with a weight. `coverage` proves that the lines leave out no signed field. `render` draws the
//! screen. The command `approve` signs exactly the bytes from which the screen was made.
pub mod compare;
pub mod coverage;
pub mod derive;
pub mod gather;
pub mod lines;
pub mod remarks;
pub mod render;

pub mod line;
mod program_lines;
pub mod proposal_review;
pub mod reviewed_content;
pub mod run_inputs;
pub mod step_files;
pub mod value_words;

#[cfg(test)]
pub(crate) mod tests {
    pub(crate) mod review_case;
}
