//! Compares files of a step and inputs of a run with their signed digests.

use crate::{ReviewFinding, ReviewedContent};
use documents::ContentDigest;

/// Takes each content from the boundary if it has the signed digest. Returns no finding if there are no files.
pub fn check<'c>(
    signed: impl Iterator<Item = (ReviewedContent, Option<&'c Vec<u8>>)>,
) -> (Vec<ReviewedContent>, Option<ReviewFinding>) {
    let (mut lacking, mut other) = (Vec::new(), Vec::new());
    let reviewed = signed.map(|(one, given)| {
        let is_signed = |content: &&Vec<u8>| {
            ContentDigest::of(content) == one.digest
                && one.bytes.is_none_or(|bytes| content.len() as u64 == bytes)
        };
        let content = given.filter(is_signed).cloned();
        match (given, &content) {
            (None, _) => lacking.push(one.name.clone()),
            (Some(_), None) => other.push(one.name.clone()),
            (Some(_), Some(_)) => {}
        }
        ReviewedContent { content, ..one }
    });
    let reviewed: Vec<_> = reviewed.collect();
    let finding = if !other.is_empty() {
        ReviewFinding::Fails(format!(
            "the boundary gave another content of {}",
            other.join(", ")
        ))
    } else if !lacking.is_empty() {
        ReviewFinding::NotChecked(format!(
            "the boundary gave no content of {}",
            lacking.join(", ")
        ))
    } else {
        ReviewFinding::Holds
    };
    let finding = (!reviewed.is_empty()).then_some(finding);
    (reviewed, finding)
}
