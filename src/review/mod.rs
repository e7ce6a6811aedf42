//! What an approver is shown before signing.
//!
//! What you see is what you sign: `derive` finds out by itself what the boundary's word must not be taken for, `lines`
//! says it in lines with weights, `coverage` proves that they leave out no signed field, `render` draws them, and
//! `approve` signs the very buffer that was shown.
pub mod compare;
pub mod coverage;
pub mod derive;
pub mod gather;
pub mod hidden;
pub mod lines;
pub mod remarks;
pub mod render;

pub mod comparison;
pub mod derived;
pub mod line;
pub mod proposal_review;
pub mod signed_field;
pub mod sources;
#[cfg(test)]
pub(crate) mod tests;
pub mod words;
